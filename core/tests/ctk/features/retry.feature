Feature: Retry
  As an implementer of the workflow DSL
  I want to ensure that failed tasks are tried again
  So that my implementation conforms to the expected behavior

  Scenario: Retry With Exponential Backoff
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: test
      name: retry
      version: '1.0.0'
    use:
      retries:
        twice:
          delay:
            seconds: 2
          backoff:
            exponential: {}
          limit:
            attempt:
              count: 3
    do:
      - guard:
          try:
            - ask:
                call: sql
                with:
                  query: SELECT 1
          catch:
            errors:
              with:
                status: 503
            retry: twice
    """
    And given ask fails 2 times with status 503
    And given ask answers:
    """yaml
    answer: 42
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    answer: 42
    """
    And the workflow should take 6 seconds

  Scenario: Retry Gives Up
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: test
      name: retry-gives-up
      version: '1.0.0'
    do:
      - guard:
          try:
            - ask:
                call: sql
                with:
                  query: SELECT 1
          catch:
            retry:
              delay:
                seconds: 1
              backoff:
                linear: {}
              limit:
                attempt:
                  count: 2
    """
    And given ask fails 9 times with status 503
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    status: 503
    instance: /do/0/guard/try/0/ask
    """
    And guard should fault

  Scenario: Retry Only When
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: test
      name: retry-when
      version: '1.0.0'
    do:
      - guard:
          try:
            - ask:
                call: sql
                with:
                  query: SELECT 1
          catch:
            retry:
              when: $error.status >= 500
              limit:
                attempt:
                  count: 5
            do:
              - give:
                  set:
                    up: true
    """
    And given ask fails 1 times with status 404
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    up: true
    """
