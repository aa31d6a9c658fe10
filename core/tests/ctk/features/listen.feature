Feature: Listen Task
  As an implementer of the workflow DSL
  I want to ensure that workflows can wait for events
  So that my implementation conforms to the expected behavior

  Scenario: Listen To One Event
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: test
      name: listen-one
      version: '1.0.0'
    do:
      - hear:
          listen:
            to:
              one:
                with:
                  type: order.paid
                  data: ${ .order == $workflow.input.order }
    """
    And given the workflow input is:
    """yaml
    order: 5
    """
    And given the event arrives:
    """yaml
    type: order.paid
    data: { order: 4 }
    """
    And given the event arrives:
    """yaml
    type: order.paid
    data: { order: 5, by: card }
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    - order: 5
      by: card
    """

  Scenario: Listen To All Events With Correlation
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: test
      name: listen-all
      version: '1.0.0'
    do:
      - hear:
          listen:
            read: envelope
            to:
              all:
                - with:
                    type: temperature
                  correlate:
                    room:
                      from: .data.room
                - with:
                    type: humidity
                  correlate:
                    room:
                      from: .data.room
          output:
            as: '[.[] | .data.value]'
    """
    And given the event arrives:
    """yaml
    type: temperature
    data: { room: 1, value: 20 }
    """
    And given the event arrives:
    """yaml
    type: humidity
    data: { room: 2, value: 90 }
    """
    And given the event arrives:
    """yaml
    type: humidity
    data: { room: 1, value: 40 }
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    - 20
    - 40
    """

  Scenario: Listen To Any Event Until Another
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: test
      name: listen-until
      version: '1.0.0'
    do:
      - hear:
          listen:
            to:
              any:
                - with:
                    type: 'beat\..*'
              until:
                one:
                  with:
                    type: gone
    """
    And given the event arrives:
    """yaml
    type: beat.slow
    data: 1
    """
    And given the event arrives:
    """yaml
    type: other
    data: 2
    """
    And given the event arrives:
    """yaml
    type: beat.fast
    data: 3
    """
    And given the event arrives:
    """yaml
    type: gone
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    - 1
    - 3
    """

  Scenario: Listen And Handle Each Event
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: test
      name: listen-foreach
      version: '1.0.0'
    do:
      - hear:
          listen:
            to:
              any: []
              until: ${ length == 2 }
          foreach:
            item: event
            at: i
            output:
              as: '{n: ., i: $i}'
            do:
              - double:
                  set: ${ $event * 2 }
    """
    And given the event arrives:
    """yaml
    type: a
    data: 3
    """
    And given the event arrives:
    """yaml
    type: b
    data: 4
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    - n: 6
      i: 0
    - n: 8
      i: 1
    """
    And double should run 2 times
