//! Bar charts as SVG.

use super::decimal::Decimal;
use super::format::{NumberFormat, Separators};
use super::html::escape;
use super::layout::MAX_SERIES;
use super::view::cut;

/// How a chart looks.
#[derive(Clone, Debug)]
pub struct ChartOptions {
    pub title: Option<String>,
    /// One name per value of a point.
    pub series: Vec<String>,
    /// Size in pixels, without slanted labels; it scales with the page.
    pub width: u32,
    pub height: u32,
    /// How values are written; found from the values if none.
    pub format: Option<NumberFormat>,
    pub separators: Separators,
}

impl Default for ChartOptions {
    fn default() -> Self {
        ChartOptions {
            title: None,
            series: Vec::new(),
            width: 720,
            height: 300,
            format: None,
            separators: Separators::default(),
        }
    }
}

/// One group of bars; what has no number has no bar.
#[derive(Clone, Debug, Default)]
pub struct Point {
    pub label: String,
    pub values: Vec<Option<f64>>,
}

/// Colours of the series on white and on black, told apart also by most colour-blind people.
const COLOURS: [(&str, &str); MAX_SERIES] = [
    ("#2f6fb7", "#6ea8e8"),
    ("#e08a1e", "#f0a94f"),
    ("#2a9d8f", "#5cc8ba"),
    ("#b5476d", "#e07f9f"),
    ("#7a5ea8", "#ab93d6"),
    ("#6b7280", "#a3aab8"),
];

/// Size of the letters, and what one takes of a line on average.
const FONT: f64 = 11.0;
const LETTER: f64 = 6.3;
/// Longest label in characters.
const MAX_LABEL: usize = 24;
/// Most groups drawn: beyond, bars are thinner than a pixel.
const MAX_POINTS: usize = 366;

/// What a line of labels below the axis takes.
const FLAT_DEPTH: f64 = 22.0;

/// Where things stand on the page.
struct Frame {
    left: f64,
    top: f64,
    right: f64,
    bottom: f64,
    low: f64,
    high: f64,
}

impl Frame {
    fn y(&self, value: f64) -> f64 {
        let share = (value - self.low) / (self.high - self.low);
        self.bottom - share.clamp(0.0, 1.0) * (self.bottom - self.top)
    }
}

/// Grouped bars with axis, labels and legend.
pub fn bar_chart_svg(options: &ChartOptions, points: &[Point]) -> String {
    let (width, height) = (options.width.clamp(200, 4000), options.height.clamp(120, 4000));
    let series = options.series.len().clamp(1, MAX_SERIES);
    let shown = &points[..points.len().min(MAX_POINTS)];
    let values = || {
        let sound = |v: &f64| v.abs() < 1e290;
        shown.iter().flat_map(|p| p.values.iter().take(series).flatten().copied()).filter(sound)
    };
    let ticks = ticks(values());
    let chosen = |found| options.format.clone().unwrap_or(found);
    let tick_format = chosen(value_format(ticks.iter().copied()));
    let format = chosen(value_format(values()));
    let labels: Vec<String> =
        ticks.iter().map(|t| show(*t, &tick_format, options.separators)).collect();
    let widest = labels.iter().map(|l| text_width(l)).fold(0.0, f64::max);
    let mut left = (widest + 12.0).min(f64::from(width) / 3.0);
    let mut plot = f64::from(width) - left - 12.0;
    let x_labels = XLabels::plan(shown, plot);
    // A slanted first label reaches beyond the first group, and all make the picture deeper.
    let missing = (x_labels.reach - left - plot / shown.len().max(1) as f64 / 2.0).max(0.0);
    (left, plot) = (left + missing, plot - missing);
    let height = height + (x_labels.depth - FLAT_DEPTH) as u32;
    let (mut top, title_at) = (10.0, 22.0);
    if options.title.is_some() {
        top += 24.0;
    }
    let legend_at = top + 8.0;
    let legend = if options.series.len() > 1 {
        legend(options, left, legend_at, plot)
    } else {
        (String::new(), 0.0)
    };
    top += legend.1 + 8.0;
    let frame = Frame {
        left,
        top,
        right: left + plot,
        bottom: (f64::from(height) - x_labels.depth - 8.0).max(top + 20.0),
        low: ticks.first().copied().unwrap_or(0.0),
        high: ticks.last().copied().unwrap_or(1.0),
    };
    let mut out = open(options, width, height);
    if let Some(title) = &options.title {
        out.push_str(&heading((left, title_at), &cut(title, (plot / 7.5) as usize)));
    }
    out.push_str(&legend.0);
    out.push_str(&grid(&frame, &ticks, &labels));
    out.push_str(&bars(options, shown, series, &frame, &format));
    out.push_str(&x_labels.draw(shown, &frame));
    if values().next().is_none() {
        let middle = ((frame.left + frame.right) / 2.0, (frame.top + frame.bottom) / 2.0);
        out.push_str(&remark(middle, "middle", "no data"));
    }
    if shown.len() < points.len() {
        let cut = format!("first {} of {}", shown.len(), points.len());
        out.push_str(&remark((frame.right, title_at), "end", &cut));
    }
    out.push_str("</svg>");
    out
}

/// The chart's title.
fn heading((x, y): (f64, f64), title: &str) -> String {
    format!(
        "<text class=\"ac-title\" x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"14\" \
         font-weight=\"600\" fill=\"#1f2937\">{}</text>",
        escape(title)
    )
}

/// A word of ours about the picture.
fn remark((x, y): (f64, f64), anchor: &str, text: &str) -> String {
    format!(
        "<text class=\"ac-text\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" \
         fill=\"#6b7280\">{text}</text>"
    )
}

/// The start of the picture. Attributes hold the light colours, so that it looks right also where
/// style sheets are dropped; the sheet adds the dark ones.
fn open(options: &ChartOptions, width: u32, height: u32) -> String {
    let mut dark = String::new();
    for (i, (_, colour)) in COLOURS.iter().enumerate() {
        dark.push_str(&format!(".ac-{i}{{fill:{colour}}}"));
    }
    let title = options.title.as_deref().unwrap_or("Bar chart");
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         width=\"{width}\" height=\"{height}\" role=\"img\" aria-label=\"{}\" \
         font-family=\"system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,'DejaVu \
         Sans',sans-serif\" font-size=\"{FONT}\" style=\"max-width:100%;height:auto\"><style>\
         @media screen and (prefers-color-scheme:dark){{.ac-text{{fill:#a3aab8}}\
         .ac-title{{fill:#e5e7eb}}.ac-grid{{stroke:#374151}}.ac-axis{{stroke:#9ca3af}}{dark}}}\
         </style>",
        escape(title)
    )
}

/// About how wide a text is in pixels.
fn text_width(text: &str) -> f64 {
    use unicode_width::UnicodeWidthStr;
    text.width() as f64 * LETTER
}

/// Round numbers that cover the values and zero, where bars stand.
fn ticks(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let (low, high) = values.fold((0f64, 0f64), |(low, high), v| (low.min(v), high.max(v)));
    let span = high - low;
    if span <= f64::MIN_POSITIVE * 1e10 {
        return vec![0.0, 1.0];
    }
    let power = 10f64.powf((span / 5.0).log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0]
        .into_iter()
        .map(|nice| nice * power)
        .find(|step| span / step <= 5.001)
        .unwrap_or(power * 10.0);
    // Not below zero and not above where there is nothing: steps are counted, not added up.
    let (first, last) = ((low / step - 1e-9).floor() as i64, (high / step + 1e-9).ceil() as i64);
    let first = if low < 0.0 { first } else { 0 };
    (first..=last.clamp(first + 1, first + 20)).map(|n| n as f64 * step).collect()
}

/// Grouped digits with as many decimals as the values need, two at the least if any.
pub fn value_format(values: impl Iterator<Item = f64>) -> NumberFormat {
    let mut decimals = 0;
    for value in values {
        let needed = (0..=6).find(|d| {
            let scaled = value * 10f64.powi(*d);
            (scaled - scaled.round()).abs() <= scaled.abs().max(1.0) * 1e-9
        });
        decimals = decimals.max(needed.unwrap_or(2));
    }
    NumberFormat::plain(decimals as usize)
}

/// A value as it is written beside its bar.
pub fn show(value: f64, format: &NumberFormat, separators: Separators) -> String {
    match Decimal::parse(&value.to_string()) {
        Some(number) if value.abs() < 1e15 => format.apply(&number, separators),
        _ => format!("{value:.2e}"),
    }
}

fn grid(frame: &Frame, ticks: &[f64], labels: &[String]) -> String {
    let mut out = String::new();
    for (tick, label) in ticks.iter().zip(labels) {
        let y = frame.y(*tick);
        let (class, colour) =
            if *tick == 0.0 { ("ac-axis", "#6b7280") } else { ("ac-grid", "#e5e7eb") };
        out.push_str(&format!(
            "<line class=\"{class}\" x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\" \
             stroke=\"{colour}\"/><text class=\"ac-text\" x=\"{:.1}\" y=\"{:.1}\" \
             text-anchor=\"end\" fill=\"#6b7280\">{}</text>",
            frame.left,
            frame.right,
            frame.left - 6.0,
            y + 4.0,
            escape(label)
        ));
    }
    out
}

/// The bars, and their values above them where there is room.
fn bars(
    options: &ChartOptions,
    points: &[Point],
    series: usize,
    frame: &Frame,
    format: &NumberFormat,
) -> String {
    let mut out = String::new();
    let band = (frame.right - frame.left) / points.len().max(1) as f64;
    let gap = if band > 8.0 { band * 0.24 } else { band * 0.1 };
    let bar = ((band - gap) / series as f64).min(56.0);
    let zero = frame.y(0.0);
    let texts: Vec<f64> = points
        .iter()
        .flat_map(|p| p.values.iter().take(series).flatten())
        .map(|v| text_width(&show(*v, format, options.separators)))
        .collect();
    let labelled = texts.iter().all(|width| width + 4.0 < bar.max(band * 0.9 / series as f64));
    for (i, point) in points.iter().enumerate() {
        let start = frame.left + band * (i as f64 + 0.5) - bar * series as f64 / 2.0;
        for (j, value) in point.values.iter().take(series).enumerate() {
            let Some(value) = value.filter(|v| v.abs() < 1e290) else { continue };
            let y = frame.y(value);
            let (x, top, tall) = (start + bar * j as f64, y.min(zero), (y - zero).abs());
            let inner = (bar - if bar > 4.0 { 1.0 } else { 0.0 }).max(0.5);
            let text = escape(&show(value, format, options.separators));
            let name = options.series.get(j).map(|n| format!("{}: ", escape(n)));
            out.push_str(&format!(
                "<rect class=\"ac-{j}\" x=\"{x:.1}\" y=\"{top:.1}\" width=\"{inner:.1}\" \
                 height=\"{tall:.1}\" fill=\"{}\"><title>{} – {}{text}</title></rect>",
                COLOURS[j % MAX_SERIES].0,
                escape(&point.label),
                name.unwrap_or_default(),
            ));
            if labelled {
                let at = if value < 0.0 { y + 12.0 } else { y - 4.0 };
                out.push_str(&format!(
                    "<text class=\"ac-text\" x=\"{:.1}\" y=\"{at:.1}\" text-anchor=\"middle\" \
                     fill=\"#4b5563\">{text}</text>",
                    x + inner / 2.0
                ));
            }
        }
    }
    out
}

/// The legend, and how deep it is.
fn legend(options: &ChartOptions, left: f64, top: f64, plot: f64) -> (String, f64) {
    let (mut out, mut x, mut y) = (String::new(), left, top);
    for (i, name) in options.series.iter().take(MAX_SERIES).enumerate() {
        let name = cut(name, MAX_LABEL);
        let wide = text_width(&name) + 30.0;
        if x > left && x + wide > left + plot {
            (x, y) = (left, y + 16.0);
        }
        out.push_str(&format!(
            "<rect class=\"ac-{i}\" x=\"{x:.1}\" y=\"{:.1}\" width=\"10\" height=\"10\" rx=\"2\" \
             fill=\"{}\"/><text class=\"ac-text\" x=\"{:.1}\" y=\"{:.1}\" fill=\"#4b5563\">{}</text>",
            y - 5.0,
            COLOURS[i % MAX_SERIES].0,
            x + 15.0,
            y + 4.0,
            escape(&name)
        ));
        x += wide;
    }
    (out, y - top + 16.0)
}

/// How the labels below the groups stand so that none touches another.
struct XLabels {
    /// Every how many groups one is labelled.
    every: usize,
    slanted: bool,
    /// How many pixels they need below the axis.
    depth: f64,
    /// How far the longest reaches to the left of its group's middle.
    reach: f64,
}

impl XLabels {
    fn plan(points: &[Point], plot: f64) -> XLabels {
        let band = plot / points.len().max(1) as f64;
        let widths = points.iter().map(|p| text_width(&cut(&p.label, MAX_LABEL)));
        let widest = widths.fold(0.0, f64::max);
        // Dates and numbers are understood when some are left out; names are not, they slant.
        let ordered = points.iter().all(|p| p.label.starts_with(|c: char| c.is_ascii_digit()));
        let fits = |room: f64| ((room / band).ceil() as usize).max(1);
        if ordered || widest + 8.0 <= band {
            return XLabels {
                every: fits(widest + 10.0),
                slanted: false,
                depth: FLAT_DEPTH,
                reach: 0.0,
            };
        }
        XLabels {
            every: fits(FONT + 5.0),
            slanted: true,
            depth: widest * 0.62 + FLAT_DEPTH,
            reach: widest * 0.8,
        }
    }

    fn draw(&self, points: &[Point], frame: &Frame) -> String {
        let mut out = String::new();
        let band = (frame.right - frame.left) / points.len().max(1) as f64;
        for (i, point) in points.iter().enumerate().step_by(self.every) {
            let (x, y) = (frame.left + band * (i as f64 + 0.5), frame.bottom + 16.0);
            let label = escape(&cut(&point.label, MAX_LABEL));
            let stand = if self.slanted {
                format!("text-anchor=\"end\" transform=\"rotate(-38 {x:.1} {y:.1})\"")
            } else {
                "text-anchor=\"middle\"".to_owned()
            };
            out.push_str(&format!(
                "<text class=\"ac-text\" x=\"{x:.1}\" y=\"{y:.1}\" {stand} \
                 fill=\"#6b7280\">{label}</text>"
            ));
        }
        out
    }
}
