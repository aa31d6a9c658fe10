Feature: Timeout
  As an implementer of the workflow DSL
  I want to ensure that tasks and workflows end in time
  So that my implementation conforms to the expected behavior

  Scenario: Workflow Timeout
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: test
      name: timeout
      version: '1.0.0'
    timeout:
      after:
        seconds: 30
    do:
      - rest:
          wait:
            seconds: 60
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    status: 408
    type: https://open-workflow-specification.org/dsl/errors/types/timeout
    """
    And the workflow should take 30 seconds
    And rest should cancel

  Scenario: Task Timeout By Reference Is Caught
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: test
      name: timeout-task
      version: '1.0.0'
    use:
      timeouts:
        short:
          after:
            seconds: 5
    do:
      - guard:
          try:
            - slow:
                timeout: short
                do:
                  - one:
                      wait:
                        seconds: 3
                  - two:
                      wait:
                        seconds: 3
          catch:
            errors:
              with:
                type: https://serverlessworkflow.io/spec/1.0.0/errors/timeout
            do:
              - tell:
                  set:
                    late: true
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    late: true
    """
    And the workflow should take 5 seconds
    And one should complete
    And two should cancel
