use super::*;
use crate::workflow::import::import;

fn node(id: &str) -> Value {
    json!({"id": id, "type": "set", "data": {"at": id}})
}

fn drawing(nodes: &[&str], edges: &[(&str, &str)]) -> Value {
    let nodes: Vec<Value> = nodes.iter().map(|id| node(id)).collect();
    let edges: Vec<Value> = edges.iter().map(|(s, t)| json!({"source": s, "target": t})).collect();
    json!({"nodes": nodes, "edges": edges})
}

fn made(drawing: &Value) -> Value {
    let document = import(drawing).unwrap();
    define(document.clone());
    document["do"].clone()
}

fn refused(drawing: &Value) -> (&'static str, String) {
    let problem = import(drawing).unwrap_err().remove(0);
    (problem.code, problem.message)
}

#[test]
fn a_chain_and_its_templates() {
    let found = made(&json!({"nodes": [
        {"id": "reserve", "type": "sql", "position": {"x": 0, "y": 0},
         "data": {"query": "SELECT shop.reserve($1)", "params": ["{{ input.order_id }}"]}},
        {"id": "charge", "type": "http", "data": {"method": "POST", "url": "https://psp.example/charges",
         "body": {"order": "{{ input.order_id }}", "text": "Order {{ reserve.rows[0].id }}!"},
         "retry": {"max": 3, "delay_s": 2}}},
        {"id": "cool", "type": "wait", "data": {"seconds": 300}},
        {"id": "tell", "type": "notify", "data": {"template": "paid", "to": "{{ input.email }}"}}],
        "edges": [{"source": "reserve", "target": "charge"}, {"source": "charge", "target": "cool"},
                  {"source": "cool", "target": "tell"}]}));
    assert_eq!(
        found,
        json!([
            {"reserve": {"call": "sql", "with": {"query": "SELECT shop.reserve($1)",
             "params": ["${ $workflow.input[\"order_id\"] }"]},
             "export": {"as": "$context + {\"reserve\": .}"}}},
            {"charge": {"try": [{"charge": {"call": "http", "with": {"method": "POST",
             "body": {"order": "${ $workflow.input[\"order_id\"] }",
                      "text": "${ \"Order \\($context[\"reserve\"][\"rows\"][0][\"id\"])!\" }"},
             "endpoint": "https://psp.example/charges"}}}], "catch": {"retry": {
             "delay": {"seconds": 2}, "backoff": {"exponential": {}},
             "limit": {"attempt": {"count": 3}}}}}},
            {"cool": {"wait": {"seconds": 300}}},
            {"tell": {"call": "notify", "with": {"template": "paid",
             "to": "${ $workflow.input[\"email\"] }"}}}
        ])
    );
}

#[test]
fn conditions_become_a_switch() {
    let mut given = drawing(
        &["a", "big", "small", "last"],
        &[("a", "big"), ("a", "small"), ("big", "last"), ("small", "last")],
    );
    given["edges"][0]["condition"] = json!("{{ input.n }} > 9");
    let found = made(&given);
    assert_eq!(
        found[1],
        json!({"a_next": {"switch": [
            {"case1": {"when": "${ ($workflow.input[\"n\"]) > 9 }", "then": "big"}},
            {"otherwise": {"then": "small"}}]}})
    );
    assert_eq!(found[2], json!({"big": {"set": {"at": "big"}, "then": "last"}}));
    assert_eq!(output(found, json!({"n": 10})), json!({"at": "last"}));
    // Without an else, the workflow ends there.
    let mut given = drawing(&["a", "b"], &[("a", "b")]);
    given["edges"][0]["condition"] = json!(".at == \"x\"");
    assert_eq!(output(made(&given), json!({})), json!({"at": "a"}));
}

#[test]
fn branches_become_a_fork() {
    let edges = [("a", "b"), ("a", "c"), ("c", "d"), ("b", "e"), ("d", "e")];
    let found = made(&drawing(&["a", "b", "c", "d", "e"], &edges));
    assert_eq!(
        found[1],
        json!({"a_branches": {"fork": {"branches": [
            {"b": {"set": {"at": "b"}}},
            {"c_branch": {"do": [{"c": {"set": {"at": "c"}}}, {"d": {"set": {"at": "d"}}}]}}]}}})
    );
    assert_eq!(found[2], json!({"e": {"set": {"at": "e"}}}));
    assert_eq!(found.as_array().map(Vec::len), Some(3));
    // A fork within a branch, and branches that end apart.
    let edges = [("a", "b"), ("a", "c"), ("b", "d"), ("b", "e"), ("d", "f"), ("e", "f")];
    let found = made(&drawing(&["a", "b", "c", "d", "e", "f"], &edges));
    let inner = &found[1]["a_branches"]["fork"]["branches"][0]["b_branch"]["do"];
    assert_eq!(inner[1]["b_branches"]["fork"]["branches"].as_array().map(Vec::len), Some(2));
    assert_eq!(inner[2], json!({"f": {"set": {"at": "f"}}}));
}

#[test]
fn what_has_no_form_is_named() {
    let (code, message) =
        refused(&drawing(&["a", "b", "c"], &[("a", "b"), ("b", "c"), ("c", "b")]));
    assert_eq!(code, "cycle");
    assert!(message.contains("\"b\", \"c\"") && !message.contains("\"a\""), "{message}");
    let (code, message) = refused(&drawing(&["a", "b", "c"], &[("a", "c"), ("b", "c")]));
    assert_eq!((code, message.contains("\"a\", \"b\"")), ("several_starts", true));
    let edges = [("a", "b"), ("a", "c"), ("b", "d"), ("c", "d"), ("c", "e"), ("d", "f")];
    let (code, message) = refused(&drawing(&["a", "b", "c", "d", "e", "f"], &edges));
    assert_eq!(code, "overlap", "{message}");
    assert!(message.contains("\"d\""), "{message}");
    assert_eq!(refused(&drawing(&["a", "a"], &[])).0, "duplicate_name");
    assert_eq!(refused(&drawing(&["a"], &[("a", "x")])).0, "unknown_node");
    assert_eq!(refused(&drawing(&["a"], &[("a", "a")])).0, "cycle");
    assert_eq!(refused(&json!([{"id": "a", "type": "sqk"}])).0, "unknown_type");
    assert_eq!(
        refused(&json!([{"id": "a", "type": "set", "data": {"x": "{{ inptu.x }}"}}])).0,
        "invalid_template"
    );
    assert_eq!(refused(&json!([])).0, "wrong_type");
}
