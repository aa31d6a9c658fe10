use super::*;
use serde_json::{Value, json};

fn table(columns: &[(&str, bool)], rows: &[&[Option<&str>]]) -> Table {
    let column =
        |(name, numeric): &(&str, bool)| Column { name: (*name).into(), numeric: *numeric };
    let cell = |c: &Option<&str>| c.map(str::to_owned);
    Table {
        columns: columns.iter().map(column).collect(),
        rows: rows.iter().map(|row| row.iter().map(cell).collect()).collect(),
        truncated_of: None,
    }
}

fn carriers() -> Table {
    table(
        &[("carrier", false), ("flights", true), ("delay", true)],
        &[
            &[Some("United"), Some("58665"), Some("12.106")],
            &[Some("日本航空"), Some("1200.5"), None],
            &[Some("a\nb\u{1b}[31m"), Some("-3"), Some("0.1")],
        ],
    )
}

fn data(table: Table) -> Data {
    Data {
        datasets: [("d".to_owned(), table)].into(),
        as_of: "2013-01-02 06:00".into(),
        params: json!({"day": "2013-01-01"}),
    }
}

fn report(block: Value) -> Definition {
    parse(&json!({
        "title": "Delays on {{ params.day }}",
        "params": {"day": {"type": "date"}},
        "datasets": {"d": {"sql": "SELECT 1"}},
        "layout": [block],
    }))
    .unwrap()
}

fn carriers_report() -> Definition {
    report(json!({"table": {"data": "d", "totals": ["flights"],
        "columns": {"flights": {"format": "#,##0.0"}, "delay": {"label": "delay (min)"}}}}))
}

fn shown(def: &Definition, data: &Data, format: Format) -> String {
    String::from_utf8(render(def, data, format).unwrap()).unwrap()
}

#[test]
fn text_is_an_aligned_table() {
    let want = "\
Delays on 2013-01-01
====================
As of 2013-01-02 06:00

   carrier   | flights  | delay (min)
-------------+----------+-------------
 United      | 58,665.0 |      12.106
 日本航空    |  1,200.5 |
 a↵b\u{fffd}[31m     |     -3.0 |         0.1
-------------+----------+-------------
 Total       | 59,862.5 |
(3 rows)
";
    let got = shown(&carriers_report(), &data(carriers()), Format::Text);
    // Widths are those of a terminal, so compare without counting blanks, then the rules.
    let squeeze = |s: &str| s.split_whitespace().collect::<Vec<_>>().join(" ");
    let rules = |s: &str| s.replace("-------------", "-").matches("-+-").count();
    assert_eq!(squeeze(&got.replace('-', "")), squeeze(&want.replace('-', "")));
    assert!(rules(&got) > 0);
    use unicode_width::UnicodeWidthStr;
    let lines: Vec<&str> = got.lines().filter(|l| l.contains('|')).collect();
    let bar = |l: &str| l.split('|').next().map(|s| s.width());
    assert!(lines.iter().all(|l| bar(l) == bar(lines[0])), "{got}");
}

#[test]
fn limits_are_said_and_totals_count_every_row() {
    let mut source = carriers();
    source.truncated_of = Some(9);
    let def = report(json!({"table": {"data": "d", "totals": ["flights"], "limit": 1}}));
    let got = shown(&def, &data(source), Format::Text);
    assert!(got.contains("(showing 1 of 9 rows, totals over the first 3)"), "{got}");
    assert!(got.contains("59862.5"), "{got}");
}

#[test]
fn totals_refuse_what_is_no_number_and_keep_nan() {
    let def = report(json!({"table": {"data": "d", "totals": ["n"]}}));
    let rows = |values: &[&'static str]| {
        let mut source = table(&[("n", true)], &[]);
        source.rows = values.iter().map(|v| vec![Some((*v).to_owned())]).collect();
        render(&def, &data(source), Format::Text)
    };
    let error = rows(&["1", "$2.00"]).unwrap_err();
    assert_eq!(error.to_string(), "column \"n\" cannot be totalled: \"$2.00\" is not a number");
    assert!(error.hint().is_some());
    let nan = String::from_utf8(rows(&["1", "Infinity", "-Infinity"]).unwrap()).unwrap();
    assert!(nan.ends_with(" NaN\n(3 rows)\n"), "{nan}");
}

#[test]
fn unknown_columns_and_datasets_are_named() {
    let def = report(json!({"table": {"data": "d", "totals": ["fligths"]}}));
    for format in [Format::Text, Format::Html] {
        let error = render(&def, &data(carriers()), format).unwrap_err();
        assert_eq!(error.hint().as_deref(), Some("Did you mean \"flights\"?"));
    }
    let error = render(&def, &Data::default(), Format::Csv).unwrap_err();
    assert_eq!(error, RenderError::MissingDataset("d".into()));
}

#[test]
fn html_escapes_all_data() {
    let hostile = "<script>alert('x')</script>\"&\u{0}";
    let mut source = carriers();
    source.rows[0][0] = Some(hostile.into());
    source.columns[0].name = hostile.into();
    let mut data = data(source);
    data.params = json!({"day": hostile});
    data.as_of = hostile.into();
    let def = report(json!({"table": {"data": "d", "title": "{{ params.day }}"}}));
    let got = shown(&def, &data, Format::Html);
    assert!(!got.contains("<script") && !got.contains("alert('x')"), "{got}");
    assert_eq!(got.matches("&lt;script&gt;").count(), 6, "{got}");
    let chart = ChartOptions {
        title: Some(hostile.into()),
        series: vec![hostile.into(), "b".into()],
        ..ChartOptions::default()
    };
    let point = Point { label: hostile.into(), values: vec![Some(1.0), Some(2.0)] };
    let svg = bar_chart_svg(&chart, &[point]);
    assert!(!svg.contains("<script") && !svg.contains('\0'), "{svg}");
}

#[test]
fn long_cells_are_cut_in_text_and_html_only() {
    let long = "ж".repeat(2_000);
    let source = table(&[("a", false)], &[&[Some(&long)]]);
    let def = report(json!({"table": {"data": "d"}}));
    let count = |format| shown(&def, &data(source.clone()), format).matches('ж').count();
    assert_eq!(count(Format::Text), 79);
    assert_eq!(count(Format::Html), 499);
    assert_eq!(count(Format::Csv), 2_000);
}

#[test]
fn csv_keeps_values_and_defuses_formulas() {
    let source = table(
        &[("a", false), ("=b", true)],
        &[&[Some("x,\"y\"\r\nz"), Some("-5")], &[Some("=1+1"), None], &[Some(""), Some("1e5")]],
    );
    let def = report(json!({"table": {"data": "d"}}));
    let got = shown(&def, &data(source.clone()), Format::Csv);
    let want = "\"a\",\"'=b\"\r\n\"x,\"\"y\"\"\r\nz\",-5\r\n\"'=1+1\",\"\"\r\n\"\",1e5\r\n";
    assert_eq!(got, want);
    let free = Definition { csv_guard: false, ..def };
    assert!(shown(&free, &data(source), Format::Csv).contains("\"=1+1\""));
}

#[test]
fn output_is_bounded() {
    let wide = "x".repeat(100_000);
    let row: Vec<Option<&str>> = vec![Some(&wide)];
    let rows: Vec<&[Option<&str>]> = (0..300).map(|_| row.as_slice()).collect();
    let def = report(json!({"table": {"data": "d"}}));
    let source = table(&[("a", false)], &rows);
    assert_eq!(render(&def, &data(source), Format::Csv), Err(RenderError::TooLarge));
}

#[test]
fn emptiness_is_that_of_the_data() {
    let def = report(json!({"table": {"data": "d"}}));
    assert!(data(table(&[("a", false)], &[])).is_empty(&def));
    assert!(!data(carriers()).is_empty(&def));
    assert!(data(carriers()).is_empty(&report(json!({"text": "words only"}))));
}

#[test]
fn text_chart_draws_bars_on_both_sides() {
    let source = table(
        &[("day", false), ("n", true)],
        &[&[Some("mon"), Some("30")], &[Some("tue"), Some("-10")], &[Some("wed"), None]],
    );
    let def = report(json!({"chart": {"type": "bar", "data": "d", "x": "day", "y": "n"}}));
    let got = shown(&def, &data(source), Format::Text);
    let lines: Vec<&str> = got.lines().skip(4).collect();
    assert_eq!(lines[0], format!(" mon  {}│{} 30", " ".repeat(10), "█".repeat(30)));
    assert_eq!(lines[1], format!(" tue  {}│ -10", "█".repeat(10)));
    assert_eq!(lines[2], format!(" wed  {}│", " ".repeat(10)));
}

#[test]
fn charts_take_any_values() {
    let point = |v: Option<f64>| Point { label: "x".into(), values: vec![v; 3] };
    let sets: [&[Option<f64>]; 8] = [
        &[],
        &[None],
        &[Some(0.0)],
        &[Some(f64::NAN), Some(f64::INFINITY), Some(1.0)],
        &[Some(f64::MAX), Some(f64::MIN)],
        &[Some(1e280), Some(-1e280)],
        &[Some(1e-300), Some(f64::MIN_POSITIVE)],
        &[Some(-5.0), Some(-1.0)],
    ];
    for values in sets {
        let points: Vec<Point> = values.iter().map(|v| point(*v)).collect();
        let options = ChartOptions { series: vec!["a".into(); 3], ..ChartOptions::default() };
        let svg = bar_chart_svg(&options, &points);
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{values:?} {svg}");
        assert!(svg.ends_with("</svg>"));
    }
    let many: Vec<Point> = (0..5_000).map(|_| point(Some(1.0))).collect();
    assert!(bar_chart_svg(&ChartOptions::default(), &many).contains("first 366 of 5000"));
}

/// Where the labels below the axis stand.
fn labels(svg: &str) -> Vec<f64> {
    let texts = svg.split("<text").filter_map(|t| t.split("</text>").next());
    let place = |t: &str| t.split("x=\"").nth(1)?.split('"').next()?.parse().ok();
    texts.filter(|t| t.contains(">2013-")).filter_map(place).collect()
}

#[test]
fn date_labels_never_touch() {
    for count in [1, 7, 31, 120, 365] {
        let point =
            |n| Point { label: format!("2013-01-{n:02}"), values: vec![Some(f64::from(n))] };
        let points: Vec<Point> = (1..=count).map(point).collect();
        let options = ChartOptions { series: vec!["n".into()], ..ChartOptions::default() };
        let places = labels(&bar_chart_svg(&options, &points));
        assert!(!places.is_empty());
        let nearest = places.windows(2).map(|w| w[1] - w[0]).fold(f64::INFINITY, f64::min);
        assert!(nearest > 63.0, "{count}: {nearest}");
    }
}
