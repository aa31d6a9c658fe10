"""The clock is set back, or far forward, over days on which it changes: nothing runs twice, no storm follows.

The server's clock stays; the first open instant of each task is moved instead, which is all that a
task knows of the time before. core/src/task/settle.rs has the same with a clock of its own.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from support.database import Database


def schedule(db: Database, name: str, when: str, more: str) -> None:
    command = f"INSERT INTO log VALUES ('{name}')"
    db.execute(f"SELECT automate.schedule_task(%s, 'sql', %s, %s, {more})", [name, when, command])


@pytest.fixture
def stopped(db: Database) -> Database:
    """Nothing is done until `go`."""
    db.execute("CREATE TABLE log (task text)")
    db.execute("SELECT automate.pause()")
    return db


def go(db: Database) -> None:
    db.execute("SELECT automate.resume()")


def settled(db: Database) -> None:
    """Waits until what was due has run."""
    due = "SELECT NOT EXISTS (SELECT FROM automate.task WHERE status = 'active' AND next_run_at <= now())"
    db.wait_until(f"{due} AND NOT EXISTS (SELECT FROM automate.task_run WHERE finished_at IS NULL)", deadline=90)


def accounted(db: Database, name: str, step: float) -> int:
    """Every instant is there once, and each run that succeeded did its work once; the number of instants."""
    rows = db.rows(
        "SELECT scheduled_at, coalesce(through, scheduled_at), instants, status FROM automate.task_runs"
        " WHERE task = %s ORDER BY 1", [name]
    )
    for before, row in zip(rows, rows[1:], strict=False):
        assert (row[0] - before[1]).total_seconds() == step, f"{before} is followed by {row}"
    done = sum(row[3] == "succeeded" for row in rows)
    assert db.one("SELECT count(*) FROM log WHERE task = %s", [name]) == done
    return sum(row[2] for row in rows)


def test_an_hour_back(stopped: Database) -> None:
    db = stopped
    schedule(db, "tick", "* * * * * *", "misfire => 'all'")
    # What the clock has passed already is settled: the next instant is an hour ahead.
    db.execute("UPDATE automate.task SET next_run_at = date_trunc('second', now()) + interval '1 hour'")
    next_run, began = db.rows("SELECT next_run_at, clock_timestamp() FROM automate.task")[0]
    go(db)
    # The coordinator works meanwhile: what is asked for is done, and what else is due.
    db.execute("SELECT automate.execute_task('tick')")
    schedule(db, "other", "* * * * * *", "misfire => 'all'")
    db.wait_until("SELECT count(*) >= 3 FROM log WHERE task = 'other'", deadline=60)
    db.wait_until("SELECT clock_timestamp() > %s + interval '2 s'", [began])
    settled(db)
    assert db.rows("SELECT cause, status FROM automate.task_runs WHERE task = 'tick'") == [("manual", "succeeded")]
    assert db.one("SELECT next_run_at FROM automate.task WHERE name = 'tick'") == next_run


def test_a_day_forward(stopped: Database) -> None:
    db = stopped
    hour = db.one("SELECT date_trunc('hour', now())")
    policies = {"skip": 0, "once": 1, "all": 24, "last 3": 3}
    for policy in policies:
        schedule(db, policy, "30 * * * *", f"misfire => '{policy}', time_zone => 'UTC', valid_until => now() + interval '1 day'")
    # The last of them is over an hour late, whenever this test runs.
    first = hour - timedelta(hours=25, minutes=30)
    db.execute("UPDATE automate.task SET next_run_at = %s, valid_until = %s", [first, first + timedelta(hours=23)])
    schedule(db, "tick", "* * * * * *", "misfire => 'all'")
    db.execute("UPDATE automate.task SET next_run_at = date_trunc('second', now()) - interval '1 day' WHERE name = 'tick'")
    go(db)
    db.wait_until("SELECT next_run_at > now() FROM automate.task WHERE name = 'tick'", deadline=60)
    db.execute("SELECT automate.pause_task('tick')")
    settled(db)
    for policy, runs in policies.items():
        assert db.one("SELECT count(*) FROM log WHERE task = %s", [policy]) == runs, policy
        assert accounted(db, policy, 3600) == 24
    # Of a day of seconds no more than the last thousand run, besides those that became due meanwhile.
    assert accounted(db, "tick", 1) >= 86_400
    skipped = db.one("SELECT max(instants) FROM automate.task_runs WHERE task = 'tick'")
    made = db.one("SELECT count(*) FROM automate.task_runs WHERE task = 'tick' AND status = 'succeeded'")
    assert skipped >= 85_000 and 1000 <= made <= 1000 + 120


def local(db: Database, name: str) -> list[str]:
    rows = db.rows(
        "SELECT to_char(scheduled_at AT TIME ZONE 'Europe/Zurich', 'DD HH24:MI') || ' ' ||"
        " extract(hour FROM scheduled_at AT TIME ZONE 'Europe/Zurich' - scheduled_at AT TIME ZONE 'UTC')"
        " FROM automate.task_runs WHERE task = %s AND status = 'succeeded' ORDER BY scheduled_at", [name]
    )
    return [text for (text,) in rows]


@pytest.mark.parametrize(("begin", "hours", "nightly", "hourly"), [
    # In spring 02:30 is not there: its run comes where the clock goes on, and the day has 23 hours.
    (datetime(2026, 3, 28, 12, tzinfo=UTC), 23, ["29 03:00 2"], ["29 01:00 1", "29 03:00 2"]),
    # In autumn 02:30 comes twice, and is run once; the day has 25 hours.
    (datetime(2025, 10, 25, 11, tzinfo=UTC), 25, ["26 02:30 2"], ["26 02:00 2", "26 02:00 1"]),
])
def test_a_leap_over_a_day_on_which_the_clock_changes(
    stopped: Database, begin: datetime, hours: int, nightly: list[str], hourly: list[str]
) -> None:
    db = stopped
    for name, when in (("nightly", "30 2 * * *"), ("hourly", "0 * * * *")):
        schedule(db, name, when, "misfire => 'all', time_zone => 'Europe/Zurich'")
    end = begin + timedelta(hours=hours - 1)
    first = "SELECT run_at FROM automate.next_runs(%s, 1, 'Europe/Zurich', %s)"
    for name, when in (("nightly", "30 2 * * *"), ("hourly", "0 * * * *")):
        at = db.one(first, [when, begin - timedelta(seconds=1)])
        db.execute("UPDATE automate.task SET next_run_at = %s, valid_until = %s WHERE name = %s", [at, end, name])
    go(db)
    settled(db)
    assert local(db, "nightly") == nightly
    found = local(db, "hourly")
    assert len(found) == hours
    place = found.index(hourly[0])
    assert found[place : place + 2] == hourly
    assert accounted(db, "hourly", 3600) == hours
    # The same instants come due once more: they are settled, and nothing runs again.
    for name, when in (("nightly", "30 2 * * *"), ("hourly", "0 * * * *")):
        at = db.one(first, [when, begin - timedelta(seconds=1)])
        db.execute("UPDATE automate.task SET status = 'active', next_run_at = %s WHERE name = %s", [at, name])
    db.execute("SELECT automate.pause()")
    go(db)
    settled(db)
    assert (len(local(db, "nightly")), len(local(db, "hourly"))) == (1, hours)
    assert db.one("SELECT count(*) FROM log") == 1 + hours
