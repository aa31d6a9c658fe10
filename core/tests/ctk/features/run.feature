Feature: Run Task
  As an implementer of the workflow DSL
  I want to ensure that workflows can run other workflows
  So that my implementation conforms to the expected behavior

  Scenario: Run A Workflow And Use Its Output
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: test
      name: run
      version: '1.0.0'
    do:
      - child:
          run:
            workflow:
              namespace: test
              name: other
              version: '1.0.0'
              input:
                id: ${ .id }
          output:
            as: .result
    """
    And given the workflow input is:
    """yaml
    id: 7
    """
    And given child answers:
    """yaml
    result: [ 1, 2 ]
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    - 1
    - 2
    """

  Scenario: Run A Workflow Without Waiting
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: test
      name: run-no-await
      version: '1.0.0'
    do:
      - child:
          run:
            await: false
            workflow:
              namespace: test
              name: other
              version: latest
    """
    And given the workflow input is:
    """yaml
    id: 7
    """
    And given child never answers
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    id: 7
    """

  Scenario: Run A Workflow That Fails
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: test
      name: run-fails
      version: '1.0.0'
    do:
      - guard:
          try:
            - child:
                run:
                  workflow:
                    namespace: test
                    name: other
                    version: latest
          catch:
            as: err
            do:
              - tell:
                  set:
                    at: ${ $err.instance }
    """
    And given child fails 1 times with status 500
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    at: /do/0/guard/try/0/child
    """
