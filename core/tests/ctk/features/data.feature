Feature: Export And If
  As an implementer of the workflow DSL
  I want to ensure that data flow and conditions work as specified
  So that my implementation conforms to the expected behavior

  Scenario: Export To The Context
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: test
      name: export
      version: '1.0.0'
    do:
      - one:
          set:
            a: 1
          export:
            as: '$context + {one: .a}'
      - two:
          set:
            b: ${ $context.one + $context.start }
          export:
            as: '{sum: $output.b}'
      - three:
          set: ${ $context }
    """
    And given the workflow input is:
    """yaml
    start: 10
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    sum: 11
    """

  Scenario: Skip By If
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: test
      name: if
      version: '1.0.0'
    do:
      - young:
          if: .age < 18
          set:
            allowed: false
          then: end
      - old:
          set:
            allowed: true
            age: ${ .age }
    """
    And given the workflow input is:
    """yaml
    age: 20
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    allowed: true
    age: 20
    """
    And young should skip

  Scenario: Validate The Input
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: test
      name: schema
      version: '1.0.0'
    input:
      schema:
        format: json
        document:
          type: object
          required: [ id ]
    do:
      - work:
          set: {}
    """
    And given the workflow input is:
    """yaml
    name: x
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    status: 400
    type: https://open-workflow-specification.org/dsl/errors/types/validation
    """
    And work should not run
