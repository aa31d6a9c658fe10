Feature: Compensation
  As an implementer of the workflow DSL
  I want to ensure that what was done is undone if the workflow fails
  So that my implementation conforms to the expected behavior

  Scenario: Compensate In Reverse Order
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: test
      name: compensate
      version: '1.0.0'
    do:
      - hotel:
          call: sql
          with:
            query: SELECT book()
          metadata:
            compensate:
              - freeHotel:
                  set:
                    freed: ${ .booking }
      - flight:
          call: sql
          with:
            query: SELECT fly()
          metadata:
            compensate:
              - freeFlight:
                  set:
                    freed: ${ .booking }
      - pay:
          call: sql
          with:
            query: SELECT pay()
    """
    And given hotel answers:
    """yaml
    booking: h
    """
    And given flight answers:
    """yaml
    booking: f
    """
    And given pay fails 1 times with status 402
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    status: 402
    instance: /do/2/pay
    """
    And freeFlight should run before freeHotel
    And freeHotel should complete with output:
    """yaml
    freed: h
    """

  Scenario: Compensate A Cancelled Workflow
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: test
      name: compensate-cancel
      version: '1.0.0'
    do:
      - hotel:
          call: sql
          with:
            query: SELECT book()
          metadata:
            compensate:
              - freeHotel:
                  call: sql
                  with:
                    query: SELECT free()
      - rest:
          wait:
            hours: 1
    """
    And given the workflow is cancelled
    And given freeHotel fails 2 times with status 500
    When the workflow is executed
    Then the workflow should cancel
    And rest should cancel
    And freeHotel should complete
    And the workflow should take 3 seconds

  Scenario: Tell Of A Dead End
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: test
      name: compensate-dead-end
      version: '1.0.0'
    do:
      - hotel:
          call: sql
          with:
            query: SELECT book()
          metadata:
            compensate:
              - freeHotel:
                  call: sql
                  with:
                    query: SELECT free()
      - oops:
          raise:
            error:
              type: https://example.com/oops
              status: 418
    """
    And given freeHotel fails 99 times with status 500
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    status: 418
    uncompensated: [ /do/0/hotel ]
    """
