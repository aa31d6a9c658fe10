Feature: Parallel For And Fork
  As an implementer of the workflow DSL
  I want to ensure that branches go on side by side
  So that my implementation conforms to the expected behavior

  Scenario: Fork Joins All Branches
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: test
      name: fork-all
      version: '1.0.0'
    do:
      - both:
          fork:
            branches:
              - slow:
                  do:
                    - rest:
                        wait: PT10S
                    - say:
                        set: ${ "slow" }
              - quick:
                  call: sql
                  with:
                    query: SELECT 1
    """
    And given quick answers:
    """yaml
    1
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    - slow
    - 1
    """
    And the workflow should take 10 seconds

  Scenario: Parallel For Collects In Order
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: test
      name: parallel
      version: '1.0.0'
    do:
      - each:
          for:
            each: n
            in: .items
          metadata:
            maxParallel: 2
            collect: true
          do:
            - rest:
                wait:
                  seconds: ${ $n }
            - give:
                set: ${ $n * 10 }
    """
    And given the workflow input is:
    """yaml
    items: [ 3, 1, 1, 1 ]
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    - 30
    - 10
    - 10
    - 10
    """
    And the workflow should take 3 seconds
    And give should run 4 times
