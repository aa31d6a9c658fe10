Feature: Schedule
  As an implementer of the workflow DSL
  I want to ensure that workflows start by themselves
  So that my implementation conforms to the expected behavior

  Scenario: Start By Cron
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: test
      name: cron
      version: '1.0.0'
    schedule:
      cron: 0 3 1 * *
    do:
      - work:
          set: {}
    """
    When the workflow is executed
    Then the workflow should start by cron '0 3 1 * *'

  Scenario: Start Every
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: test
      name: every
      version: '1.0.0'
    schedule:
      every:
        minutes: 5
    do:
      - work:
          set: {}
    """
    When the workflow is executed
    Then the workflow should start every 300 seconds

  Scenario: Start After The Run Before
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: test
      name: after
      version: '1.0.0'
    schedule:
      after: PT10S
    do:
      - work:
          set: {}
    """
    When the workflow is executed
    Then the workflow should start after 10 seconds

  Scenario: Start On An Event
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: test
      name: on
      version: '1.0.0'
    schedule:
      on:
        one:
          with:
            type: heartbeat.low
    do:
      - call:
          set:
            patient: ${ $workflow.input[0].patient }
    """
    When the workflow is started by the event:
    """yaml
    type: heartbeat.low
    data: { patient: 7 }
    """
    Then the workflow should complete with output:
    """yaml
    patient: 7
    """
