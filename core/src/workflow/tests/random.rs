use super::*;
use serde_json::{Value, json};

/// A small generator of numbers that look random (xorshift).
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % (below.max(1) as u64)).unwrap()
    }
}

pub fn sample() -> Value {
    json!({"use": {"retries": {"r": {"delay": "PT1S", "limit": {"attempt": {"count": 2}}}}}, "do": [
        {"a": {"set": {"list": [1, 2], "n": "${ .n }"}, "export": {"as": "."}}},
        {"l": {"for": {"each": "x", "in": ".list"}, "do": [
            {"q": {"call": "sql", "with": {"query": "q", "params": ["${ $x }"]},
                   "output": {"as": "{list: [3], n: .}"}}}]}},
        {"t": {"try": [{"h": {"call": "http", "with": {"method": "get", "endpoint": "https://x.org"}}},
                       {"z": {"raise": {"error": {"type": "https://e.org", "status": 500}}}}],
               "catch": {"retry": "r", "do": [{"w": {"wait": {"seconds": 1}}}]}}},
        {"s": {"switch": [{"y": {"when": ".n == 1", "then": "a"}}, {"z": {"then": "end"}}]}}
    ]})
}

pub fn mutate(value: &mut Value, dice: &mut Dice) {
    let odd = [
        json!(null),
        json!("${"),
        json!("${ $x }"),
        json!([]),
        json!({}),
        json!(-1),
        json!("end"),
        json!({"do": []}),
        json!(1e300),
        json!("é\u{0}~/"),
        json!([[]]),
        json!(true),
    ];
    if dice.roll(4) == 0 {
        *value = odd[dice.roll(odd.len())].clone();
        return;
    }
    match value {
        Value::Array(items) if !items.is_empty() => {
            let at = dice.roll(items.len());
            mutate(&mut items[at], dice);
        }
        Value::Object(map) if !map.is_empty() => {
            let key = map.keys().nth(dice.roll(map.len())).unwrap().clone();
            match dice.roll(5) {
                0 => drop(map.remove(&key)),
                1 => drop(map.insert(
                    ["do", "for", "try", "call", "x"][dice.roll(5)].into(),
                    odd[dice.roll(odd.len())].clone(),
                )),
                _ => mutate(&mut map[&key], dice),
            }
        }
        other => *other = odd[dice.roll(odd.len())].clone(),
    }
}

#[test]
fn no_document_panics_and_none_is_refused_without_a_reason() {
    let (mut dice, mut refused) = (Dice(42), 0);
    for _ in 0..60 {
        let mut document = sample();
        for _ in 0..=dice.roll(3) {
            mutate(&mut document, &mut dice);
        }
        if let Err(found) = Definition::parse(&document, &Limits::default()) {
            assert!(!found.is_empty(), "{document}");
            refused += 1;
        }
    }
    assert!(refused > 20, "{refused}");
}

/// Any event for any step, whether it makes sense or not.
pub fn anything(dice: &mut Dice, state: &State) -> Event {
    let mut steps: Vec<&str> = state.pending_steps().chain(state.timers()).collect();
    steps.extend(["/do/1/l/do/0/q#0", "/do/1/both/fork/branches/0/each", ""]);
    let step = steps[dice.roll(steps.len())].to_owned();
    match dice.roll(40) {
        0 => Event::Start { input: json!(1) },
        1 if dice.roll(9) == 0 => Event::Cancelled { compensate: dice.roll(2) == 0 },
        2 if dice.roll(9) == 0 => Event::TimedOut,
        3 => Event::Suspended,
        4..=7 => Event::Resumed,
        8..=10 => failed(&step, "communication"),
        11..=16 => fired(&step),
        17..=20 => {
            Event::Page { step, from: dice.roll(9) as u64, items: vec![json!(1); dice.roll(4)] }
        }
        21..=26 => {
            let kind = ["a", "b", "c"][dice.roll(3)];
            let event = json!({"type": kind, "data": {"k": dice.roll(2)}});
            Event::Heard { step, event }
        }
        _ => done(&step, json!(dice.roll(3))),
    }
}

#[test]
fn random_events_never_panic_and_ends_are_final() {
    let mut ends = 0;
    for (definition, seed) in [(define(sample()), 7), (paged(&all()), 8)] {
        let mut dice = Dice(seed);
        for _ in 0..40 {
            let mut state = start(&definition, json!({"n": 1})).state;
            for _ in 0..60 {
                let event = anything(&mut dice, &state);
                let before = state.clone();
                let advanced = step(&definition, Some(state), event);
                if advanced.ignored.is_some_and(|i| i != Ignored::Parked) {
                    assert_eq!((&advanced.state, advanced.commands.len()), (&before, 0));
                }
                let ended = advanced.commands.iter().any(|c| {
                    matches!(c, Command::Complete { .. } | Command::Fault { .. } | Command::Cancel)
                });
                assert_eq!(ended, advanced.state.is_terminal() && !before.is_terminal());
                assert_eq!(advanced.state.pending_step().is_none(), advanced.state.is_terminal());
                ends += usize::from(ended);
                state = advanced.state;
            }
        }
    }
    assert!(ends > 20, "{ends}");
}

/// What is outside of a run: what it has asked for and not got, told by its commands alone.
#[derive(Default)]
struct Outside {
    asked: std::collections::BTreeMap<String, Command>,
    timers: std::collections::BTreeSet<String>,
    kept: std::collections::BTreeMap<String, Vec<Value>>,
    /// Steps with their attempts, as they were begun.
    begun: std::collections::BTreeSet<(String, u32)>,
}

impl Outside {
    fn hear(&mut self, commands: &[Command]) {
        for command in commands {
            let attempt = match command {
                Command::Sql { attempt, .. }
                | Command::Http { attempt, .. }
                | Command::Run { attempt, .. }
                | Command::Listen { attempt, .. } => Some(*attempt),
                _ => None,
            };
            if let Some(step) = command.asks() {
                if let Some(attempt) = attempt {
                    assert!(self.begun.insert((step.to_owned(), attempt)), "twice: {command:?}");
                }
                let other = self.asked.insert(step.to_owned(), command.clone());
                assert!(other.is_none(), "{other:?} and {command:?}");
            }
            match command {
                Command::SetTimer { step, .. } => drop(self.timers.insert(step.clone())),
                Command::ClearTimer { step } => {
                    assert!(self.timers.remove(step), "no timer {step}");
                }
                Command::Withdraw { step } => {
                    assert!(self.asked.remove(step).is_some(), "not asked for {step}");
                }
                Command::Keep { step, items } => {
                    drop(self.kept.insert(step.clone(), items.clone()))
                }
                Command::Forget { step } => {
                    self.kept.remove(step);
                    self.asked.remove(step);
                }
                Command::Complete { .. } | Command::Fault { .. } | Command::Cancel => {
                    self.asked.clear();
                    self.timers.clear();
                }
                _ => {}
            }
        }
    }

    /// The state and the commands tell the same.
    fn agrees_with(&self, definition: &Definition, state: &State) {
        let asked: std::collections::BTreeSet<String> =
            pending_commands(definition, &runtime(), state, NOW)
                .unwrap()
                .iter()
                .filter_map(|c| c.asks().map(str::to_owned))
                .collect();
        assert_eq!(asked, self.asked.keys().cloned().collect());
        assert_eq!(state.timers().map(str::to_owned).collect::<Vec<_>>().len(), self.timers.len());
        assert!(state.timers().all(|step| self.timers.contains(step)));
    }

    /// Something that can happen, and what it takes away.
    fn happening(&mut self, dice: &mut Dice, may_fail: bool) -> Event {
        if !self.timers.is_empty() && (self.asked.is_empty() || dice.roll(3) == 0) {
            let step = self.timers.iter().nth(dice.roll(self.timers.len())).unwrap().clone();
            self.timers.remove(&step);
            return fired(&step);
        }
        let step = self.asked.keys().nth(dice.roll(self.asked.len())).unwrap().clone();
        match self.asked[&step].clone() {
            Command::Page { from, limit, .. } => {
                self.asked.remove(&step);
                let (from_, to) = (from as usize, (from + limit) as usize);
                let kept = &self.kept[&step];
                Event::Page { from, items: kept[from_..to.min(kept.len())].to_vec(), step }
            }
            Command::Listen { .. } => {
                let kind = ["a", "b", "c"][dice.roll(3)];
                Event::Heard { step, event: json!({"type": kind, "data": {"k": dice.roll(2)}}) }
            }
            _ if may_fail && dice.roll(5) == 0 => {
                self.asked.remove(&step);
                failed(&step, ["communication", "timeout"][dice.roll(2)])
            }
            command => {
                self.asked.remove(&step);
                let output = match command {
                    Command::Sql { params, .. } => json!(params),
                    other => json!(other.asks()),
                };
                done(&step, output)
            }
        }
    }
}

/// A bit of everything.
pub fn all() -> Value {
    let undo = |q: &str| json!({"compensate": [{"u": sql(q)}]});
    json!({"do": [
        {"list": {"set": {"items": [1, 2, 3, 4, 5, 6, 7]}}},
        {"both": {"fork": {"branches": [
            {"each": {"for": {"each": "x", "in": ".items"},
                "metadata": {"maxParallel": 3, "onItemError": "continue", "collect": true},
                "do": [{"q": {"call": "sql", "with": {"query": "q", "params": ["${ $x }"]},
                              "metadata": undo("undo q")}}]}},
            {"race": {"fork": {"compete": true, "branches": [
                {"slow": {"do": [{"w": {"wait": "PT1M"}}, {"s": sql("s")}]}},
                {"quick": {"timeout": {"after": "PT2M"}, "try": [{"h": sql("h")}, {"i": sql("i")}],
                    "catch": {"retry": {"delay": "PT1S", "limit": {"attempt": {"count": 2}}},
                              "do": [{"g": sql("g")}]}}}]}}},
            {"ears": {"listen": {"to": {"all": [{"with": {"type": "a"}, "correlate": {"k": {"from": ".data.k"}}},
                                                 {"with": {"type": "b"}, "correlate": {"k": {"from": ".data.k"}}}]}}}},
            {"more": {"listen": {"to": {"any": [{"with": {"type": "c"}}], "until": "length > 1"}},
                "foreach": {"do": [{"e": sql("e")}]}}},
            {"turns": {"for": {"in": ".items"}, "do": [{"t": sql("t")}]}}]}}},
        {"sub": {"run": {"workflow": {"name": "w"}}, "metadata": undo("undo sub")}},
        {"over": {"set": {"done": true}}}
    ]})
}

fn paged(document: &Value) -> Definition {
    let limits = Limits { max_items_in_state: 4, page_items: 2, ..Limits::default() };
    Definition::parse(document, &limits).unwrap()
}

#[test]
fn no_step_is_lost_or_doubled_whatever_the_order() {
    let definition = paged(&all());
    let mut ends = [0; 3];
    for seed in 1..60 {
        let (mut dice, mut outside) = (Dice(seed * 7_919), Outside::default());
        let mut now = start(&definition, json!({}));
        let mut happened = Vec::new();
        outside.hear(&now.commands);
        for _ in 0..2_000 {
            if now.state.is_terminal() {
                break;
            }
            outside.agrees_with(&definition, &now.state);
            let event = match dice.roll(400) {
                0 => Event::Cancelled { compensate: true },
                1 => Event::TimedOut,
                _ => outside.happening(&mut dice, seed % 3 == 0),
            };
            let heard = matches!(event, Event::Heard { .. });
            let before = now.state.clone();
            now = step(&definition, Some(now.state), event.clone());
            if heard && now.ignored.is_none() && !now.state.is_terminal() {
                // A listening step that is over is not asked for any more.
                let listening: Vec<&str> = now.state.pending_steps().collect();
                let step = event.step().unwrap();
                if !listening.contains(&step) && !withdraws(&now, step) {
                    outside.asked.remove(step);
                }
            }
            outside.hear(&now.commands);
            // The same event a second time changes nothing.
            if !heard && now.ignored.is_none() && event.step().is_some() {
                let again = step(&definition, Some(now.state.clone()), event.clone());
                if again.ignored.is_some() {
                    assert_eq!(again.state, now.state);
                } else {
                    // It was asked for once more: the back-off of a try, or the next page.
                    assert!(
                        asked(&now).contains(&event.step().unwrap())
                            || outside.timers.contains(event.step().unwrap()),
                        "{event:?}"
                    );
                }
            }
            happened.push((event, before));
        }
        ends[match now.commands.last() {
            Some(Command::Complete { output }) => {
                assert_eq!(output, &json!({"done": true}));
                0
            }
            Some(Command::Fault { .. }) => 1,
            Some(Command::Cancel) => 2,
            other => panic!("{other:?} after {} events", happened.len()),
        }] += 1;
        replay(&definition, &happened);
    }
    assert!(ends.iter().all(|n| *n > 0), "{ends:?}");
}

fn withdraws(now: &Advanced, id: &str) -> bool {
    now.commands.iter().any(|c| matches!(c, Command::Withdraw { step } if step == id))
}

/// Any prefix of the events gives the state that there was.
fn replay(definition: &Definition, happened: &[(Event, State)]) {
    let mut now = start(definition, json!({}));
    for (event, before) in happened {
        assert_eq!(&now.state, before);
        now = step(definition, Some(now.state), event.clone());
    }
}

/// Branches whose outcome is the same in whatever order they go on.
fn ordered() -> Definition {
    let document = json!({"do": [
        {"items": {"set": "${ [1, 2, 3, 4, 5, 6] }"}},
        {"f": {"fork": {"branches": [
            {"each": {"for": {"in": "."}, "metadata": {"maxParallel": 2, "collect": true}, "do": [
                {"a": {"call": "sql", "with": {"query": "a", "params": ["${ $item }"]}}},
                {"b": {"fork": {"branches": [{"x": sql("x")}, {"y": {"set": "${ . }"}}]}}}]}},
            {"turns": {"for": {"in": "."}, "do": [
                {"c": {"call": "sql", "with": {"query": "c", "params": ["${ $index }"]}}}]}}]}}}]});
    paged(&document)
}

#[test]
fn the_outcome_does_not_depend_on_the_order() {
    let definition = ordered();
    let mut outcomes = std::collections::BTreeSet::new();
    for seed in 1..30 {
        let (mut dice, mut outside) = (Dice(seed * 104_729), Outside::default());
        let mut now = start(&definition, json!({}));
        outside.hear(&now.commands);
        while !now.state.is_terminal() {
            let event = outside.happening(&mut dice, false);
            now = step(&definition, Some(now.state), event);
            outside.hear(&now.commands);
        }
        outcomes.insert(completed(&now).to_string());
    }
    assert_eq!(outcomes.len(), 1, "{outcomes:#?}");
}

#[test]
fn a_run_can_be_suspended_anywhere_and_ends_the_same() {
    let definition = ordered();
    let (mut outcomes, mut parked) = (std::collections::BTreeSet::new(), 0);
    for seed in 1..30 {
        let (mut dice, mut outside) = (Dice(seed * 15_485_863), Outside::default());
        let mut now = start(&definition, json!({}));
        outside.hear(&now.commands);
        while !now.state.is_terminal() {
            now = step(&definition, Some(now.state), Event::Suspended);
            assert_eq!((now.ignored, now.commands.len()), (None, 0));
            // What was under way comes to its end meanwhile; nothing else begins.
            for _ in 0..1 + dice.roll(3) {
                if outside.asked.is_empty() && outside.timers.is_empty() {
                    break;
                }
                let event = outside.happening(&mut dice, false);
                now = step(&definition, Some(now.state), event);
                assert_eq!((now.ignored, now.commands.len()), (Some(Ignored::Parked), 0));
                parked += 1;
            }
            now = step(&definition, Some(now.state), Event::Resumed);
            outside.hear(&now.commands);
        }
        outcomes.insert(completed(&now).to_string());
    }
    assert!(parked > 500, "{parked}");
    assert_eq!(outcomes.len(), 1, "{outcomes:#?}");
}
