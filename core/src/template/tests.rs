use std::time::{Duration, Instant};

use minijinja::Environment;
use serde_json::{Value, json};

use super::*;

fn body(source: &str, data: Value) -> Result<String, TemplateError> {
    let template = MessageTemplate::parse("s", source, None).unwrap();
    template.render(&data).map(|message| message.body)
}

fn body_error(source: &str, data: Value) -> TemplateError {
    match body(source, data) {
        Err(error) => error,
        Ok(text) => panic!("{source} rendered {} bytes: {text:.80}", text.len()),
    }
}

#[test]
fn a_message_is_rendered_and_only_html_is_escaped() {
    let template = MessageTemplate::parse(
        "Order {{ order.id }} is late",
        "Dear {{ name }},\n{% for i in items %}- {{ i.sku }}: {{ i.n }}\n{% endfor %}",
        Some("<p>{{ name }}</p>{{ data | tojson }}"),
    )
    .unwrap();
    let data = json!({"order": {"id": 7}, "name": "A & <b>", "data": {"b": 1, "a": [null, true]},
        "items": [{"sku": "x", "n": 1.5}, {"sku": "y", "n": 20}]});
    let message = template.render(&data).unwrap();
    assert_eq!(message.subject, "Order 7 is late");
    assert_eq!(message.body, "Dear A & <b>,\n- x: 1.5\n- y: 20\n");
    assert_eq!(message.html.unwrap(), "<p>A &amp; &lt;b&gt;</p>{\"a\": [null, true], \"b\": 1}");
    let variables: Vec<String> = template.variables().into_iter().collect();
    assert_eq!(variables, ["data", "items", "name", "order.id"]);
}

#[test]
fn values_of_the_data_are_never_code() {
    let data = json!({"x": "{{ 7*7 }}${jndi:ldap://x}{% raw %}"});
    assert_eq!(body("{{ x }}", data).unwrap(), "{{ 7*7 }}${jndi:ldap://x}{% raw %}");
}

#[test]
fn a_missing_variable_is_named() {
    for (source, name) in [
        ("{{ order.id }}", "order.id"),
        ("\n{{ nobody }}", "nobody"),
        ("{{ order.customer.name }}", "order.customer"),
        ("{{ order.customer['x'].name.first }}", "order.customer"),
        ("{% for i in list %}{{ i.sku }}{% endfor %}", "i.sku"),
        ("{% for i in list %}{{ i.sku.x }}{% endfor %}", "i.sku"),
        ("{{ nobody | upper }}", "nobody"),
        ("{% for x in nobody %}{% endfor %}", "nobody"),
        ("{% if nobody %}{% endif %}", "nobody"),
        ("{% if nobody > 1 %}{% endif %}", "nobody"),
        ("{{ 1 + nobody }}", "nobody"),
        ("{{ items[5] }}", "items[5]"),
        ("{{ 'a' ~ nobody }}", "nobody"),
        ("{{ nobody | join(',') }}", "nobody"),
    ] {
        let error = body_error(source, json!({"order": {}, "items": [], "list": [{}]}));
        let expected = format!("template variable \"{name}\" is not in the data");
        assert_eq!(error.message, expected, "{source}: {error:?}");
        assert_eq!(error.part, "body");
        assert_eq!(error.line, Some(1 + source.matches('\n').count()), "{source}");
    }
    assert_eq!(body("{{ nobody | default('-') }}{{ x is defined }}", json!({})).unwrap(), "-False");
}

/// Each of these must be an error, and soon; the report that DESIGN rests on names most of them.
#[test]
fn abuse_is_an_error_and_ends_soon() {
    let loops = "{% for a in range(100) %}".repeat(5) + "x" + &"{% endfor %}".repeat(5);
    let doubling = "{% set ns = namespace(s='x') %}{% for i in range(100) %}\
                    {% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s }}";
    let nested = format!("{{{{ {}1{} }}}}", "(".repeat(140), ")".repeat(140));
    let replace = "{{ ('a'*100000) | replace('a', 'b'*100000) }}";
    let join = "{{ range(10000) | join('x'*100000) }}";
    let sources = [
        loops.as_str(),
        doubling,
        "{{ 'x' * 2000000000 }}",
        "{{ ['x'] * 2000000000 }}",
        "{{ ''.__class__.__mro__ }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% macro f(n) %}{{ f(n) }}{{ f(n) }}{% endmacro %}{{ f(1) }}",
        "{% for x in tree recursive %}{{ loop(tree) }}{% endfor %}",
        "{{ range(1000000000) | list }}",
        "{% for i in range(1000000000) %}{% endfor %}",
        "{{ '%1000000000d' | format(1) }}",
        "{{ 'a\nb' | indent(2000000000) }}",
        replace,
        join,
        "{{ debug() }}",
        "{% for i in range(9) %}{{ big | tojson }}{% endfor %}",
        "{% for i in range(12) %}{{ big }}{% endfor %}",
        "{% for i in range(2000) %}{{ big | sort }}{% endfor %}",
        "{{ 9223372036854775807 * 9223372036854775807 * 9223372036854775807 }}",
        "{{ 2 ** 100000 }}",
        "{{ 1 / 0 }}{{ 1 // 0 }}",
        "{{ 10 | batch(0) }}",
        "{{ self.body() }}",
        "{% set x %}{% for i in range(9000) %}{{ big }}{% endfor %}{% endset %}",
    ];
    let data = json!({"tree": [[[[1]]]], "big": "y".repeat(90_000)});
    for source in sources.iter().chain([&nested.as_str()]) {
        let start = Instant::now();
        let outcome = MessageTemplate::parse("s", source, None).map(|t| t.render(&data));
        let took = start.elapsed();
        assert!(took < Duration::from_secs(3), "{source:.60}: {took:?}");
        if *source != nested {
            let failed = match &outcome {
                Ok(rendered) => rendered.is_err(),
                Err(_) => true,
            };
            assert!(failed, "{source:.60} rendered");
        }
    }
}

#[test]
fn other_templates_cannot_be_reached() {
    for source in [
        "{% include 'subject' %}",
        "{% import 'subject' as s %}",
        "{% extends 'subject' %}",
        "{% from 'subject' import s %}",
        "{% block x %}{% endblock %}",
    ] {
        let problems = validate("s", source, None);
        assert_eq!(problems.len(), 1, "{source}");
        assert!(problems[0].message.starts_with("syntax error"), "{}", problems[0].message);
        assert!(problems[0].hint.as_ref().unwrap().contains("not available"), "{source}");
    }
}

#[test]
fn output_has_a_limit_for_the_whole_message() {
    let data = json!({"x": "y".repeat(100_000)});
    let six = "{% for i in range(6) %}{{ x }}{% endfor %}";
    assert_eq!(body(six, data.clone()).unwrap().len(), 600_000);
    let template = MessageTemplate::parse("s", six, Some(six)).unwrap();
    let error = template.render(&data).unwrap_err();
    assert_eq!(error.message, "message is longer than the 1048576 bytes allowed");
    assert_eq!(error.part, "html");
    let template = MessageTemplate::parse("{{ x }}", "", None).unwrap();
    assert!(template.render(&data).unwrap_err().message.starts_with("subject is longer"));
    let ten = json!({"a": [{"x": "y".repeat(10_000_000)}]});
    let error = body("-", ten).unwrap_err();
    assert!(error.message.contains("a string of 10000000 bytes"), "{error}");
}

/// A report of ordinary size is well within the budget.
#[test]
fn a_table_of_a_thousand_rows_is_rendered() {
    let row = json!({"a": "some text", "b": 12.5, "c": true, "d": "2026-01-01"});
    let source = "<table>{% for r in rows %}<tr><td>{{ r.a }}</td><td>{{ r.b }}</td>\
                  <td>{{ r.c }}</td><td>{{ r.d }}</td></tr>{% endfor %}</table>";
    let template = MessageTemplate::parse("s", "b", Some(source)).unwrap();
    let message = template.render(&json!({"rows": vec![row; 1000]})).unwrap();
    assert_eq!(message.html.unwrap().matches("<tr>").count(), 1000);
}

#[test]
fn subject_is_one_line() {
    let template = MessageTemplate::parse("Hello {{ name }}", "", None).unwrap();
    for bad in [
        "a\r\nBcc: x@y",
        "a\nb",
        "a\rb",
        "a\u{85}b",
        "a\u{2028}b",
        "a\u{2029}b",
        "a\0b",
        "a\tb",
        "a\u{7f}",
    ] {
        let error = template.render(&json!({"name": bad})).unwrap_err();
        assert!(error.message.starts_with("subject holds a "), "{bad:?}: {error}");
        assert!(!error.message.contains("Bcc"));
        assert!(check_header_value(bad).is_err(), "{bad:?}");
    }
    let error = template.render(&json!({"name": "a\nb"})).unwrap_err();
    assert_eq!(error.message, "subject holds a line break (U+000A) at character 8");
    assert_eq!(template.render(&json!({"name": "Zoë 🎉"})).unwrap().subject, "Hello Zoë 🎉");
    assert!(check_header_value("https://example.com/x?y=z").is_ok());
}

#[test]
fn validate_reports_every_part_with_its_line() {
    let problems = validate(
        "{{ a | uper }}",
        "first\n{{ b | lowr }}\n{% if c is definde %}{% endif %}",
        Some("<p>\n\n{{ d }"),
    );
    let found: Vec<(&str, &str)> =
        problems.iter().map(|p| (p.pointer.as_str(), p.message.as_str())).collect();
    assert_eq!(found[0], ("/subject", "unknown filter \"uper\" (line 1)"));
    assert_eq!(found[1], ("/body", "unknown filter \"lowr\" (line 2)"));
    assert_eq!(found[2], ("/body", "unknown test \"definde\" (line 3)"));
    assert_eq!(found[3].0, "/html");
    assert!(
        found[3].1.contains("syntax error") && found[3].1.ends_with("(line 3)"),
        "{}",
        found[3].1
    );
    assert_eq!(problems[0].hint.as_deref(), Some("Did you mean \"upper\"?"));
    let long = validate("s", &"x".repeat(MAX_SOURCE + 1), None);
    assert!(long[0].message.contains("longer than"));
    assert!(!validate("s", &"{{".repeat(1000), None).is_empty());
    assert!(!validate("s", &format!("{{{{ {} }}}}", "[".repeat(100_000)), None).is_empty());
}

#[test]
fn validate_takes_what_the_engine_takes() {
    for source in [
        "{{ 'a | b is c' }}",
        "{{ \"it's | x\" | upper }}",
        "{# {{ a | nope }} #}",
        "{% raw %}{{ a | nope }}{% endraw %}{{ a|e }}",
        "a | b {single} is nope",
        "{{ x.is }}",
        "{{ x is not none }}",
        "{{ x is divisibleby(3) }}",
        "{% filter upper %}a{% endfilter %}",
        "{{ '}}' | length }}",
        "{{ x | default('%}') }}",
        "{{ x if x is defined else 'is it' }}",
        "{{ {'is': 1}['is'] }}",
        "{{ x | map(attribute='filter') | list }}",
        "{{ a|e|upper }}",
    ] {
        assert_eq!(validate("s", source, None), vec![], "{source}");
    }
}

#[test]
fn names_are_those_of_the_engine() {
    let environment = Environment::new();
    for (kind, known) in [("filter", names::FILTERS), ("test", names::TESTS)] {
        let expression = environment.compile_expression_owned(format!("name is {kind}")).unwrap();
        for name in known {
            let value = expression.eval(minijinja::context!(name => *name)).unwrap();
            assert!(value.is_true(), "{kind} {name}");
        }
    }
    let functions: Vec<String> =
        environment.globals().map(|(name, _)| name.to_string()).filter(|n| n != "debug").collect();
    assert_eq!(functions, names::FUNCTIONS);
}

#[test]
fn data_must_be_an_object_and_not_too_deep() {
    assert!(body("x", json!([1])).unwrap_err().message.contains("not a JSON object"));
    assert_eq!(body("x", Value::Null).unwrap(), "x");
    let mut deep = json!({});
    for _ in 0..90 {
        deep = json!({ "a": deep });
    }
    assert!(body("{{ a }}", deep.clone()).is_ok());
    for _ in 0..20 {
        deep = json!({ "a": deep });
    }
    assert!(body("{{ a }}", deep).unwrap_err().message.contains("nested deeper"));
}

#[test]
fn errors_do_not_show_the_data() {
    for source in [
        "{{ secret * 1.5 }}",
        "{{ secret + 1 }}",
        "{{ secret | int }}",
        "{{ secret.x }}",
        "{{ secret() }}",
        "{{ secret | round }}",
        "{{ obj.secret() }}",
        "{{ obj[secret] }}",
    ] {
        let data = json!({"secret": "hunter2", "obj": {}});
        let error = body_error(source, data);
        assert!(!format!("{error:?}").contains("hunter2"), "{source}: {error:?}");
    }
}

/// Random texts made of what templates are made of never panic.
#[test]
fn random_templates_never_panic() {
    let pieces = [
        "{{", "}}", "{%", "%}", "{#", "#}", " x ", "|", "is ", "if ", "for ", "in ", "endfor",
        "endif", "'", "\"", "(", ")", "[", "]", "upper", "\\", "é", "\n", "-", "range(9)", "set ",
        "=", "macro ", "raw", "endraw", ".", "1", "filter ", "🎉",
    ];
    let mut state = 42u64;
    for _ in 0..4_000 {
        let mut source = String::new();
        for _ in 0..12 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            source.push_str(pieces[(state >> 33) as usize % pieces.len()]);
        }
        if let Ok(template) = MessageTemplate::parse(&source, &source, Some(&source)) {
            let _ = template.render(&json!({"x": [1, "a"]}));
            template.variables();
        }
    }
}
