//! As much of Gherkin as the conformance kit uses: scenarios, steps, doc strings.

use serde_json::Value;

pub struct Scenario {
    pub name: String,
    pub steps: Vec<Step>,
}

/// One Given, When, Then or And, without that word.
pub struct Step {
    pub text: String,
    /// The text between the triple quotes, without its indentation.
    pub doc: String,
}

impl Step {
    pub fn yaml(&self) -> Value {
        serde_norway::from_str(&self.doc).unwrap_or_else(|e| panic!("{}: {e}", self.doc))
    }

    /// What stands between single quotes.
    pub fn quoted(&self) -> Vec<String> {
        self.text.split('\'').skip(1).step_by(2).map(str::to_owned).collect()
    }
}

pub fn scenarios(text: &str) -> Vec<Scenario> {
    let mut scenarios: Vec<Scenario> = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let trimmed = line.trim();
        if let Some(name) = trimmed.strip_prefix("Scenario:") {
            scenarios.push(Scenario { name: name.trim().to_owned(), steps: Vec::new() });
            continue;
        }
        let Some(scenario) = scenarios.last_mut() else { continue };
        let words = ["Given ", "When ", "Then ", "And "];
        if let Some(rest) = words.iter().find_map(|w| trimmed.strip_prefix(w)) {
            scenario.steps.push(Step { text: rest.trim().to_owned(), doc: String::new() });
        } else if trimmed.starts_with("\"\"\"") {
            let indent = line.len() - line.trim_start().len();
            let doc: Vec<&str> = lines
                .by_ref()
                .take_while(|l| !l.trim().starts_with("\"\"\""))
                .map(|l| l.get(indent..).unwrap_or_default())
                .collect();
            let step = scenario.steps.last_mut().expect("a doc string follows a step");
            step.doc = doc.join("\n");
        } else {
            let ignorable = trimmed.is_empty() || trimmed.starts_with('#');
            assert!(ignorable, "unknown line in a scenario: {trimmed}");
        }
    }
    scenarios
}
