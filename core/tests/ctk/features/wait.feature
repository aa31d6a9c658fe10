Feature: Wait Task
  As an implementer of the workflow DSL
  I want to ensure that workflows can wait
  So that my implementation conforms to the expected behavior

  Scenario: Wait For A Duration
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: test
      name: wait
      version: '1.0.0'
    do:
      - rest:
          wait:
            minutes: 2
            seconds: 30
      - after:
          set:
            rested: true
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    rested: true
    """
    And the workflow should take 150 seconds
    And rest should run before after

  Scenario: Wait For A Computed Duration
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: test
      name: wait-computed
      version: '1.0.0'
    do:
      - rest:
          wait: ${ .length }
    """
    And given the workflow input is:
    """yaml
    length: PT1M30S
    """
    When the workflow is executed
    Then the workflow should complete
    And the workflow should take 90 seconds
