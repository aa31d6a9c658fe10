use super::*;
use serde_json::{Value, json};

fn only(document: Value) -> Command {
    let mut begun = start(&define(document), json!({"id": 5, "token": "t", "user": "u"}));
    assert_eq!(begun.commands.len(), 1, "{:?}", begun.commands);
    begun.commands.remove(0)
}

fn http(authentication: Value) -> Value {
    json!([{"h": {"call": "http", "with": {"method": "get",
        "endpoint": {"uri": "https://x.org/{id}", "authentication": authentication}}}}])
}

fn auth(document: Value) -> Authentication {
    match only(document) {
        Command::Http { authentication, .. } => *authentication.unwrap(),
        other => panic!("{other:?}"),
    }
}

fn plain(text: &str) -> Text {
    Text::Plain(text.into())
}

fn secret(name: &str, path: &[&str]) -> Text {
    let path = path.iter().map(|p| (*p).to_owned()).collect();
    Text::Secret(SecretRef { name: name.into(), path })
}

#[test]
fn requests_authenticate_and_secrets_stay_names() {
    let basic =
        json!({"basic": {"username": "${ .user }", "password": "${ $secrets.db.password }"}});
    let use_ = json!({"secrets": ["db"], "authentications": {"mine": basic}});
    assert_eq!(
        auth(json!({"use": use_, "do": http(json!({"use": "mine"}))})),
        Authentication::Basic { username: plain("u"), password: secret("db", &["password"]) }
    );
    assert_eq!(
        auth(json!({"use": use_, "do": http(json!({"basic": {"use": "db"}}))})),
        Authentication::Basic {
            username: secret("db", &["username"]),
            password: secret("db", &["password"])
        }
    );
    assert_eq!(
        auth(json!({"do": http(json!({"bearer": {"token": "${ .token }"}}))})),
        Authentication::Bearer { token: plain("t") }
    );
    let oauth2 = json!({"oauth2": {"authority": "https://id.org/{user}/", "grant": "client_credentials",
        "client": {"id": "me", "secret": "${ $secrets.db }", "authentication": "client_secret_basic"},
        "scopes": ["a", "${ .user }"]}});
    assert_eq!(
        auth(json!({"use": {"secrets": ["db"]}, "do": http(oauth2)})),
        Authentication::OAuth2 {
            token_url: "https://id.org/u/oauth2/token".into(),
            client_id: plain("me"),
            client_secret: secret("db", &[]),
            basic: true,
            json: false,
            scopes: vec!["a".into(), "u".into()],
            audiences: vec![],
        }
    );
}

#[test]
fn a_header_may_be_a_secret_and_data_can_never_be() {
    let command = only(json!({"use": {"secrets": ["s"]}, "do": [{"h": {"call": "http", "with": {
        "method": "get", "endpoint": "https://x.org",
        "headers": {"X-Key": "${ $secrets.s.key }", "X-Id": "${ .id }"}}}}]}));
    match command {
        Command::Http { headers, secret_headers, .. } => {
            assert_eq!(headers, json!({"X-Id": 5}));
            let key = SecretRef { name: "s".into(), path: vec!["key".into()] };
            assert_eq!(secret_headers, [("X-Key".to_owned(), key)]);
        }
        other => panic!("{other:?}"),
    }
    let found = problems(json!({"use": {"secrets": ["s"]}, "do": [
        {"a": {"set": {"x": "${ $secrets.s }"}}},
        {"b": {"call": "http", "with": {"method": "get", "endpoint": "https://x.org",
            "headers": {"A": "${ \"Bearer \" + $secrets.s }", "B": "${ $secrets.t }"}}}},
        {"c": {"if": "$secrets.s == 1", "set": {}}}]}));
    let codes: Vec<(&str, &str)> = found.iter().map(|(p, c, _)| (p.as_str(), *c)).collect();
    assert_eq!(
        codes,
        [
            ("/do/0/a/set/x", "secret_in_expression"),
            ("/do/1/b/with/headers/B", "unknown_name"),
            ("/do/1/b/with/headers/A", "secret_in_expression"),
            ("/do/2/c/if", "secret_in_expression")
        ]
    );
}

#[test]
fn functions_run_where_they_are_called() {
    let definition = define(json!({"use": {"functions": {"ship": {"do": [
            {"q": {"call": "sql", "with": {"query": "q", "params": ["${ .order }"]}}}]}}},
        "do": [{"a": {"call": "ship", "with": {"order": "${ .id }"}}},
               {"b": {"call": "ship", "with": {"order": 7}, "output": {"as": "{n: .}"}}}]}));
    let now = start(&definition, json!({"id": 5}));
    let (a, b) = ("/do/0/a/call/ship/do/0/q", "/do/1/b/call/ship/do/0/q");
    assert!(matches!(&now.commands[..], [Command::Sql { step, params, .. }]
        if step == a && params == &[json!(5)]));
    let now = step(&definition, Some(now.state), done(a, json!(1)));
    assert_eq!(asked(&now), [b]);
    let end = step(&definition, Some(now.state), done(b, json!(2)));
    assert_eq!(completed(&end), &json!({"n": 2}));
    let places: Vec<&EffectRef> = definition.effects().collect();
    assert!(
        matches!(places[0], EffectRef::Sql { pointer, .. } if pointer == "/use/functions/ship/do/0/q")
    );
}

#[test]
fn what_is_wrong_in_a_function_is_wrong_once_and_where_it_is_written() {
    let found = problems(json!({"use": {"functions": {
            "f": {"set": {"x": "${ ( }"}}, "g": {"call": "g"}}},
        "do": [{"a": {"call": "f"}}, {"b": {"call": "f"}}, {"c": {"call": "g"}},
               {"d": {"call": "ff"}}, {"e": {"call": "log:1.0.0@global"}}]}));
    let codes: Vec<(&str, &str)> = found.iter().map(|(p, c, _)| (p.as_str(), *c)).collect();
    assert_eq!(
        codes,
        [
            ("/use/functions/f/set/x", "invalid_expression"),
            ("/use/functions/g/call", "cycle"),
            ("/do/3/d/call", "unknown_call"),
            ("/do/4/e/call", "unsupported_task")
        ]
    );
}

#[test]
fn other_workflows_reports_and_people() {
    let command = only(json!({"do": [{"r": {"run": {"workflow": {"namespace": "n", "name": "w",
        "version": "1.0.0", "input": {"id": "${ .id }"}}}}}]}));
    assert_eq!(
        command,
        Command::Run {
            step: "/do/0/r".into(),
            name: "r".into(),
            attempt: 1,
            namespace: "n".into(),
            workflow: "w".into(),
            version: "1.0.0".into(),
            input: json!({"id": 5}),
            wait: true,
        }
    );
    let definition = define(json!({"do": [
        {"r": {"run": {"workflow": {"name": "w"}, "await": false}}},
        {"s": {"run": {"workflow": {"name": "w"}, "return": "none"}}}]}));
    let now = start(&definition, json!({"x": 1}));
    let waits: Vec<bool> =
        now.commands.iter().map(|c| matches!(c, Command::Run { wait: true, .. })).collect();
    assert_eq!(waits, [false, true]);
    let end = step(&definition, Some(now.state), done("/do/1/s", json!("out")));
    assert_eq!(completed(&end), &json!(null));
    let approval = only(json!({"do": [{"a": {"call": "approval", "with": {"role": "boss",
        "subject": "${ \"Order \\(.id)\" }", "escalate": {"after": "PT4H", "role": "ceo"}}}}]}));
    assert!(
        matches!(approval, Command::Approval { arguments, .. } if arguments["subject"] == "Order 5")
    );
    let report =
        only(json!({"do": [{"a": {"call": "report", "with": {"name": "r", "format": "pdf",
        "params": {"id": "${ .id }"}}, "timeout": {"after": "PT5M"}}}]}));
    assert!(matches!(report, Command::Report { timeout_ms: Some(300_000), arguments, .. }
        if arguments == json!({"name": "r", "format": "pdf", "params": {"id": 5}})));
}

#[test]
fn schedules_are_read_and_handed_on() {
    let with = |schedule: Value| json!({"schedule": schedule, "do": [{"a": {"set": {}}}]});
    let definition = define(with(json!({"cron": "0 3 1 * *"})));
    assert_eq!(definition.schedule().unwrap().cron.as_deref(), Some("0 3 1 * *"));
    let definition = define(with(json!({"every": "PT5M"})));
    assert_eq!(definition.schedule().unwrap().every_ms, Some(300_000));
    let definition = define(with(json!({"after": {"minutes": 1}})));
    assert_eq!(definition.schedule().unwrap().after_ms, Some(60_000));
    let definition =
        define(with(json!({"on": {"one": {"with": {"type": "paid"}}}, "read": "envelope"})));
    let start = definition.schedule().unwrap();
    let event = |kind: &str| json!({"type": kind, "data": {"n": 1}});
    assert_eq!(start.starts_on(&definition, &runtime(), &event("sent")), None);
    let input = start.starts_on(&definition, &runtime(), &event("paid"));
    assert_eq!(input, Some(json!([event("paid")])));
    for (wrong, code) in [
        (json!({"cron": "0 3 1 *"}), "invalid_schedule"),
        (json!({"cron": "every 5 min"}), "invalid_schedule"),
        (json!({"every": {"seconds": 0}}), "invalid_duration"),
        (json!({"every": "PT1M", "cron": "0 0 * * *"}), "missing_key"),
        (json!({"every": "PT1M", "read": "data"}), "wrong_key"),
    ] {
        assert_eq!(problems(with(wrong.clone()))[0].1, code, "{wrong}");
    }
}

#[test]
fn features_tell_what_a_definition_needs() {
    let definition = define(json!({"do": [
        {"f": {"fork": {"branches": [{"a": {"wait": "PT1S", "timeout": {"after": "PT1S"}}}]}}},
        {"s": {"call": "sql", "with": {"query": "q"}, "timeout": {"after": "PT1S"},
               "metadata": {"compensate": [{"u": {"set": {}}}]}}}]}));
    let used: Vec<(Feature, &str)> = definition.features().collect();
    assert_eq!(
        used,
        [
            (Feature::Fork, "/do/0/f/fork"),
            (Feature::TaskTimeout, "/do/0/f/fork/branches/0/a/timeout"),
            (Feature::Compensation, "/do/1/s/metadata/compensate")
        ]
    );
    assert_eq!(define(json!({"do": [{"a": sql("q")}]})).features().count(), 0);
}
