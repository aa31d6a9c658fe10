//! Schedules as pg_cron writes them.

/// Why a schedule of pg_cron has no counterpart.
const REBOOT: &str =
    "it runs when the server starts: a schedule is about time, and nothing runs at a start";

/// A schedule of pg_cron as ours: five fields, of which the day of the month may be `$` (the last
/// one), a macro such as `@daily`, or `30 seconds`.
pub fn schedule_of_pg_cron(text: &str) -> Result<String, &'static str> {
    let words: Vec<&str> = text.split_whitespace().collect();
    match words.as_slice() {
        [word] if word.eq_ignore_ascii_case("@reboot") => Err(REBOOT),
        [count, unit]
            if count.bytes().all(|c| c.is_ascii_digit())
                && ["second", "seconds"].contains(&unit.to_ascii_lowercase().as_str()) =>
        {
            Ok(format!("every {count} s"))
        }
        [minute, hour, day, month, weekday] => {
            Ok([minute, hour, day.replace('$', "L").as_str(), month, weekday].join(" "))
        }
        words => Ok(words.join(" ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_has_its_counterpart() {
        let read = |text| schedule_of_pg_cron(text).unwrap();
        assert_eq!(read(" 30 seconds "), "every 30 s");
        assert_eq!(read("1 second"), "every 1 s");
        assert_eq!(read("30 3 * *  6"), "30 3 * * 6");
        assert_eq!(read("0 12 $ * *"), "0 12 L * *");
        assert_eq!(read("0 12 1,$ * *"), "0 12 1,L * *");
        assert_eq!(read("@daily"), "@daily");
        assert_eq!(schedule_of_pg_cron("@reboot"), Err(REBOOT));
    }
}
