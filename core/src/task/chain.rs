//! Tasks that wait for others: what a wait comes to, and whether tasks wait for each other in a ring.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// What becomes of a run when a task that it depends on does not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// It is left out.
    Skip,
    /// It runs all the same.
    Run,
    /// It waits for a success.
    Wait,
}

impl OnFailure {
    /// The policies' names.
    pub const NAMES: [&'static str; 3] = ["skip", "run", "wait"];

    /// Reads a policy; None when it is none.
    pub fn parse(text: &str) -> Option<OnFailure> {
        let all = [OnFailure::Skip, OnFailure::Run, OnFailure::Wait];
        all.into_iter().zip(OnFailure::NAMES).find(|(_, name)| *name == text).map(|(it, _)| it)
    }
}

/// How the run that is waited for stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upstream<'a> {
    Succeeded,
    /// It is over with another status than succeeded.
    Failed(&'a str),
    /// It is still to be done, or being done.
    Open,
    /// It is still to be made.
    NotYet,
    /// It is made when its task is resumed.
    Paused,
    /// It is not made: its task is disabled.
    Disabled,
}

/// What a wait comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is to be waited for.
    Met,
    /// The run that waits is to be left out.
    GivenUp,
    /// It goes on; for what, as it follows on "waits for".
    Waits(String),
}

/// What a wait for the run of task `name` comes to.
pub fn verdict(policy: OnFailure, name: &str, upstream: Upstream) -> Verdict {
    let waits = |more: &str| Verdict::Waits(format!("{name}{more}"));
    match (upstream, policy) {
        (Upstream::Succeeded, _) | (Upstream::Failed(_), OnFailure::Run) => Verdict::Met,
        (Upstream::Failed(_), OnFailure::Skip) => Verdict::GivenUp,
        (Upstream::Failed("failed"), OnFailure::Wait) => waits(", whose run failed"),
        (Upstream::Failed(status), OnFailure::Wait) => waits(&format!(", whose run was {status}")),
        (Upstream::Open | Upstream::NotYet, _) => waits(""),
        (Upstream::Paused, _) => waits(", which is paused"),
        (Upstream::Disabled, _) => waits(", which is disabled"),
    }
}

/// The shortest way from `start` back to itself along `edges`, with `start` at both ends.
pub fn ring<T: Copy + Eq + Hash>(start: T, edges: &[(T, T)]) -> Option<Vec<T>> {
    let mut next: HashMap<T, Vec<T>> = HashMap::new();
    for (from, to) in edges {
        next.entry(*from).or_default().push(*to);
    }
    let mut came_from: HashMap<T, T> = HashMap::new();
    let mut open = VecDeque::from([start]);
    while let Some(at) = open.pop_front() {
        for to in next.get(&at).into_iter().flatten() {
            if came_from.contains_key(to) {
                continue;
            }
            came_from.insert(*to, at);
            if *to == start {
                return Some(way_back(start, at, &came_from));
            }
            open.push_back(*to);
        }
    }
    None
}

fn way_back<T: Copy + Eq + Hash>(start: T, last: T, came_from: &HashMap<T, T>) -> Vec<T> {
    let (mut way, mut at) = (vec![start], last);
    while at != start {
        way.push(at);
        let Some(before) = came_from.get(&at) else { break };
        at = *before;
    }
    way.push(start);
    way.reverse();
    way
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_counts_as_the_policy_says() {
        let come = |policy, upstream| verdict(policy, "load", upstream);
        let waits = |more: &str| Verdict::Waits(format!("load{more}"));
        for policy in [OnFailure::Skip, OnFailure::Run, OnFailure::Wait] {
            assert_eq!(come(policy, Upstream::Succeeded), Verdict::Met);
            assert_eq!(come(policy, Upstream::Open), waits(""));
            assert_eq!(come(policy, Upstream::NotYet), waits(""));
            assert_eq!(come(policy, Upstream::Paused), waits(", which is paused"));
            assert_eq!(come(policy, Upstream::Disabled), waits(", which is disabled"));
        }
        assert_eq!(come(OnFailure::Skip, Upstream::Failed("skipped")), Verdict::GivenUp);
        assert_eq!(come(OnFailure::Run, Upstream::Failed("failed")), Verdict::Met);
        assert_eq!(come(OnFailure::Wait, Upstream::Failed("failed")), waits(", whose run failed"));
        assert_eq!(
            come(OnFailure::Wait, Upstream::Failed("cancelled")),
            waits(", whose run was cancelled")
        );
        for (name, policy) in OnFailure::NAMES.iter().zip(["skip", "run", "wait"]) {
            assert_eq!((*name, OnFailure::parse(name).is_some()), (policy, true));
        }
        assert_eq!(OnFailure::parse("fail"), None);
    }

    #[test]
    fn a_ring_is_found_by_its_shortest_way() {
        assert_eq!(ring(1, &[(1, 2), (2, 3), (1, 3)]), None);
        assert_eq!(ring(1, &[(1, 1)]), Some(vec![1, 1]));
        assert_eq!(ring(1, &[(1, 2), (2, 1)]), Some(vec![1, 2, 1]));
        let edges = [(1, 2), (2, 3), (3, 4), (4, 1), (1, 5), (5, 4), (6, 1), (2, 4)];
        assert_eq!(ring(1, &edges).map(|way| way.len()), Some(4));
        // A ring that does not go through it is not its own.
        assert_eq!(ring(1, &[(1, 2), (2, 3), (3, 2)]), None);
    }

    #[test]
    fn many_diamonds_are_looked_at_once() {
        let edges: Vec<(u32, u32)> =
            (0..200).flat_map(|n| [(3 * n, 3 * n + 1), (3 * n, 3 * n + 2)]).collect();
        let back = (0..200).flat_map(|n| [(3 * n + 1, 3 * n + 3), (3 * n + 2, 3 * n + 3)]);
        let edges: Vec<(u32, u32)> = edges.into_iter().chain(back).collect();
        assert_eq!(ring(0, &edges), None);
    }
}
