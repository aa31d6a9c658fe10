use super::overlay::base;
use super::*;
use serde_json::json;

fn seen(base: &str, completed: i64, faulted: i64, waiting: i64) -> Seen {
    Seen {
        base: base.into(),
        completed,
        faulted,
        waiting,
        attempts: 1,
        started_us: 0,
        finished_us: Some(2_500_000),
        ..Seen::default()
    }
}

fn document() -> serde_json::Value {
    json!({"do": [
        {"load": {"call": "sql", "with": {"query": "SELECT\n  1"}}},
        {"which": {"switch": [{"big": {"when": ".n > 1", "then": "pay"}}, {"else": {"then": "end"}}]}},
        {"all": {"for": {"each": "n", "in": ".items"}, "do": [
            {"cool": {"wait": {"minutes": 5}}}]}},
        {"pay": {"try": [{"post": {"call": "http", "with": {"method": "post",
            "endpoint": "https://psp.example/charges?key=1"}}}],
            "catch": {"do": [{"tell": {"emit": {"event": {"with": {"type": "pay.failed"}}}}}]}}}]})
}

fn outline() -> Outline {
    Outline::of(&document(), "shop").unwrap()
}

#[test]
fn suffixes_of_turns_are_no_part_of_a_task() {
    assert_eq!(base("/do/0/a/do/1/b#12@3^1"), "/do/0/a/do/1/b");
    assert_eq!(base("/do/0/a#b"), "/do/0/a#b");
    assert_eq!(base("/do/0/12"), "/do/0/12");
}

#[test]
fn the_tree_shows_every_task_its_cases_and_its_parts() {
    let tree = text(&outline(), None);
    for part in [
        "├─ load",
        "SELECT 1",
        "◇ big",
        "→ pay; .n > 1",
        "each n in .items",
        "5 min",
        "POST psp.example/charges",
        "catch",
        "pay.failed",
    ] {
        assert!(tree.contains(part), "{part}\n{tree}");
    }
    assert!(!tree.contains("key=1"));
    assert!(tree.lines().all(|line| unicode_width::UnicodeWidthStr::width(line) <= 98), "{tree}");
}

#[test]
fn a_run_lies_over_its_definition() {
    let rows = vec![seen("/do/0/load", 1, 0, 0), seen("/do/2/all/do/0/cool", 6, 1, 1)];
    let overlay = Overlay::new("r".into(), "waiting".into(), 9_000_000, rows);
    let tree = text(&outline(), Some(&overlay));
    let line = |name: &str| tree.lines().find(|l| l.contains(name)).unwrap().to_owned();
    assert!(line("─ load").contains("✓ completed 2.5 s"), "{tree}");
    assert!(line("─ cool").contains("… waiting 9 s; 6 done, 1 failed"), "{tree}");
    assert!(!line("─ post").contains("completed"));
    assert!(svg(&outline(), Some(&overlay)).contains("class=\"bx k-wait waiting\""));
    assert!(mermaid(&outline(), Some(&overlay), "TB").contains("class n1 completed"));
}

#[test]
fn mermaid_leads_where_the_document_leads() {
    let chart = mermaid(&outline(), None, "LR");
    assert!(chart.starts_with("flowchart LR\n"));
    for edge in
        ["start --> n1", "n1 --> n2", "n2 -->|\"big\"| n4", "n2 -->|\"else\"| finish", "n3 --> n4"]
    {
        assert!(chart.contains(&format!("  {edge}\n")), "{edge}\n{chart}");
    }
    assert!(!chart.contains("n2 --> "), "a switch with an else goes on by its cases: {chart}");
    let open = chart.matches("subgraph").count();
    assert_eq!(open, chart.lines().filter(|l| l.trim() == "end").count());
}

#[test]
fn hostile_names_stay_text() {
    let name = "</text><script>alert(1)</script>\"]\u{202e}";
    let document =
        json!({"do": [{name: {"set": {name: 1}}}, {"s": {"switch": [{name: {"when": name}}]}}]});
    let outline = Outline::of(&document, name).unwrap();
    let attempt = Attempt {
        step: name.into(),
        name: name.into(),
        attempt: 1,
        status: name.into(),
        started: name.into(),
        took_us: 1,
        input: Some(name.into()),
        output: None,
        error: None,
    };
    let overlay = Overlay::new(name.into(), name.into(), 1, Vec::new());
    let bar = Bar {
        step: name.into(),
        name: name.into(),
        attempt: 1,
        status: name.into(),
        started_us: 0,
        ended_us: 1,
    };
    for page in [
        svg(&outline, Some(&overlay)),
        html(&outline, Some(&overlay), &[attempt], 0, &document),
        timeline_svg(name, &[bar]),
    ] {
        assert!(!page.contains("<script"), "{page}");
    }
    let chart = mermaid(&outline, None, "TB");
    assert!(!chart.contains('<') || !chart.contains("<script"), "{chart}");
    assert!(!text(&outline, None).contains('\u{202e}'));
}

#[test]
fn bars_stand_where_their_times_are() {
    let bar = |from, to, status: &str| Bar {
        step: "/do/0/a".into(),
        name: "a".into(),
        attempt: 1,
        status: status.into(),
        started_us: from,
        ended_us: to,
    };
    let lines =
        bars(&[bar(0, 50, "completed"), bar(50, 100, "faulted"), bar(100, 100, "waiting")], 10);
    assert_eq!(lines, ["█████     ", "     ▒▒▒▒▒", "         ░"]);
    assert_eq!(bars(&[], 10), Vec::<String>::new());
}

#[test]
fn what_cannot_be_drawn_is_said() {
    assert_eq!(Outline::of(&json!({}), "").unwrap_err(), DrawError::NoTasks);
    let many: Vec<_> = (0..2_001).map(|i| json!({format!("t{i}"): {"set": {}}})).collect();
    assert_eq!(Outline::of(&json!({ "do": many }), "").unwrap_err(), DrawError::TooMany);
}
