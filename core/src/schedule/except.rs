//! What of a schedule is left out.

use chrono::{DateTime, Duration, Utc};
use chrono_tz::Tz;

use super::window::{Moment, Window, first_change};

/// Runs and windows that are looked at for one run: far beyond 50 years of a window a day.
const LOOKS: u32 = 20_000;

/// The windows in which a schedule does not run, and those to which it keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Except {
    pub(super) zone: Tz,
    pub(super) except: Vec<Window>,
    pub(super) only: Vec<Window>,
}

/// What the windows say of an instant.
enum Verdict {
    Runs,
    /// It does not run before this.
    Waits(DateTime<Utc>),
    Never,
}

impl Except {
    /// The first instant after `after`, and not after `until`, that `next` has and no window takes
    /// away.
    pub(super) fn next(
        &self,
        mut after: DateTime<Utc>,
        until: DateTime<Utc>,
        next: impl Fn(DateTime<Utc>) -> Option<DateTime<Utc>>,
    ) -> Option<DateTime<Utc>> {
        for _ in 0..LOOKS {
            let found = next(after).filter(|found| *found <= until)?;
            after = match self.judge(found) {
                Verdict::Runs => return Some(found),
                // What begins as the window ends is to be found.
                Verdict::Waits(end) => found.max(end - Duration::nanoseconds(1)),
                Verdict::Never => return None,
            };
        }
        None
    }

    fn judge(&self, instant: DateTime<Utc>) -> Verdict {
        let at = Moment::new(instant, self.zone);
        let end = if let Some(window) = self.except.iter().find(|window| window.covers(at)) {
            window.change(at)
        } else if !self.only.is_empty() && !self.only.iter().any(|window| window.covers(at)) {
            first_change(&self.only, at)
        } else {
            return Verdict::Runs;
        };
        end.map_or(Verdict::Never, Verdict::Waits)
    }
}
