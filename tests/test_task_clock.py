"""The clock of the machine is set: back, forward, over a day on which it changes. Nothing runs twice, no storm follows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from support.cluster import Cluster
from support.database import Database

LIBRARY = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")
pytestmark = pytest.mark.skipif(not LIBRARY.exists(), reason="Debian's package faketime is not installed")


class Clocked(Cluster):
    """A server whose wall clock is set by `shift`; what measures time apart from it goes on."""

    @property
    def _offset(self) -> Path:
        return self.base / "offset"

    def shift(self, by: timedelta) -> None:
        """Sets the server's clock so far from the machine's."""
        # Replaced at once: it is read all the time.
        new = self.base / "offset.new"
        new.write_text(f"{by.total_seconds():+.0f}\n")
        new.chmod(0o644)
        new.rename(self._offset)

    def _environment(self) -> dict[str, str]:
        fake = {
            "LD_PRELOAD": str(LIBRARY), "FAKETIME_TIMESTAMP_FILE": str(self._offset), "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1",
        }
        return {**super()._environment(), **fake}


class Clock:
    """A database on a server whose clock stands where the test wants it."""

    def __init__(self, server: Clocked) -> None:
        self.server = server
        self.by = timedelta()
        self.db = Database(server, "postgres")

    def set(self, moment: datetime) -> None:
        """Sets the clock to a moment."""
        self.move(moment - datetime.now(UTC) - self.by)

    def move(self, by: timedelta) -> None:
        """Sets the clock forward, or back."""
        self.by += by
        self.server.shift(self.by)

    def nudge(self) -> None:
        """Has the coordinator look at what is due: it sleeps by another clock."""
        self.db.execute("SELECT automate.schedule_task('nudge', 'sql', '@yearly', 'SELECT 1')")
        self.db.execute("SELECT automate.unschedule_task('nudge')")


@pytest.fixture
def clock() -> Iterator[Clock]:
    server = Clocked(fsync=False)
    server.base.chmod(0o755)
    server.shift(timedelta())
    server.create().start()
    clock = Clock(server)
    clock.db.execute("CREATE EXTENSION pg_automate")
    clock.db.execute("CREATE TABLE log (task text)")
    yield clock
    clock.db.close()
    server.destroy()


def schedule(db: Database, name: str, when: str, more: str = "") -> None:
    command = f"INSERT INTO log VALUES ('{name}')"
    more = f", {more}" if more else ""
    db.execute(f"SELECT automate.schedule_task(%s, 'sql', %s, %s{more})", [name, when, command])


def accounted(db: Database, name: str, step: float) -> int:
    """Every instant is there once, and each run that succeeded did its work once; the number of instants."""
    rows = db.rows(
        "SELECT scheduled_at, coalesce(through, scheduled_at), instants, status FROM automate.task_runs"
        " WHERE task = %s ORDER BY 1", [name]
    )
    count = 0
    for before, row in zip([None, *rows], rows, strict=False):
        if before is not None:
            assert (row[0] - before[1]).total_seconds() == step, f"{before} is followed by {row}"
        assert (row[1] - row[0]).total_seconds() == step * (row[2] - 1), row
        count += row[2]
    done = sum(row[3] == "succeeded" for row in rows)
    assert db.one("SELECT count(*) FROM log WHERE task = %s", [name]) == done
    return count


def settled(db: Database) -> None:
    """Waits until what was due has run."""
    db.wait_until("SELECT NOT EXISTS (SELECT FROM automate.task_run WHERE finished_at IS NULL)", deadline=60)


def test_an_hour_back(clock: Clock) -> None:
    db = clock.db
    schedule(db, "tick", "* * * * * *", "misfire => 'all'")
    db.wait_until("SELECT count(*) >= 3 FROM log", deadline=30)
    clock.move(timedelta(hours=-1))
    clock.nudge()
    settled(db)
    before = db.one("SELECT count(*) FROM log")
    db.wait_until("SELECT clock_timestamp() > now() - interval '1 hour' AND next_run_at > clock_timestamp() + interval '50 min' FROM automate.task")
    began = db.one("SELECT clock_timestamp()")
    db.wait_until("SELECT clock_timestamp() > %s + interval '3 s'", [began])
    # The hour has been, and does not come again.
    assert db.one("SELECT count(*) FROM log") == before
    # The coordinator works meanwhile, and what is asked for is done.
    db.execute("SELECT automate.execute_task('tick')")
    db.wait_until("SELECT count(*) = %s FROM log", [before + 1])
    db.execute("DELETE FROM automate.task_run WHERE cause = 'manual'")
    db.execute("DELETE FROM log WHERE ctid = (SELECT max(ctid) FROM log)")
    # Forward again: it goes on where it was, with every instant that passed meanwhile.
    clock.move(timedelta(hours=1))
    clock.nudge()
    db.wait_until("SELECT count(*) >= %s FROM log", [before + 3], deadline=30)
    db.execute("SELECT automate.pause_task('tick')")
    settled(db)
    assert accounted(db, "tick", 1) >= before + 3


def test_a_day_forward(clock: Clock) -> None:
    db = clock.db
    clock.set(datetime(2027, 5, 10, 12, 30, tzinfo=UTC))
    policies = {"skip": 0, "once": 1, "all": 24, "last 3": 3}
    for policy in policies:
        schedule(db, policy, "0 * * * *", f"misfire => '{policy}', time_zone => 'UTC'")
    schedule(db, "tick", "* * * * * *", "misfire => 'all'")
    db.wait_until("SELECT count(*) >= 2 FROM log WHERE task = 'tick'", deadline=30)
    clock.move(timedelta(days=1))
    clock.nudge()
    db.wait_until("SELECT min(next_run_at) > timestamptz '2027-05-11 12:30+00' FROM automate.task", deadline=60)
    db.execute("SELECT automate.pause_task('tick')")
    settled(db)
    for policy, runs in policies.items():
        assert db.one("SELECT count(*) FROM log WHERE task = %s", [policy]) == runs, policy
        assert accounted(db, policy, 3600) == 24
        assert db.one("SELECT next_run_at FROM automate.task WHERE name = %s", [policy]) == datetime(2027, 5, 11, 13, tzinfo=UTC)
    # Of a day of seconds no more than the last thousand run, and no run was made twice.
    assert accounted(db, "tick", 1) >= 86_400
    made = db.one("SELECT count(*) FROM automate.task_runs WHERE task = 'tick' AND status = 'succeeded'")
    assert 1000 <= made <= 1100


def local(db: Database, name: str) -> list[str]:
    rows = db.rows(
        "SELECT to_char(scheduled_at AT TIME ZONE 'Europe/Zurich', 'DD HH24:MI') || ' ' ||"
        " extract(hour FROM scheduled_at AT TIME ZONE 'Europe/Zurich' - scheduled_at AT TIME ZONE 'UTC')"
        " FROM automate.task_runs WHERE task = %s AND status = 'succeeded' ORDER BY scheduled_at", [name]
    )
    return [text for (text,) in rows]


@pytest.mark.parametrize(("begin", "hours", "nightly", "hourly"), [
    # In spring 02:30 is not there: its run comes where the clock goes on, and the day has 23 hours.
    (datetime(2027, 3, 27, 11, 30, tzinfo=UTC), 23, ["28 03:00 2"], ["28 01:00 1", "28 03:00 2"]),
    # In autumn 02:30 comes twice, and is run once; the day has 25 hours.
    (datetime(2027, 10, 30, 10, 30, tzinfo=UTC), 25, ["31 02:30 2"], ["31 02:00 2", "31 02:00 1"]),
])
def test_a_leap_over_a_day_on_which_the_clock_changes(
    clock: Clock, begin: datetime, hours: int, nightly: list[str], hourly: list[str]
) -> None:
    db = clock.db
    clock.set(begin)
    for name, when in (("nightly", "30 2 * * *"), ("hourly", "0 * * * *")):
        schedule(db, name, when, "misfire => 'all', time_zone => 'Europe/Zurich'")
    clock.move(timedelta(hours=hours))
    clock.nudge()
    db.wait_until("SELECT min(run_count) > 0 FROM automate.task", deadline=60)
    settled(db)
    assert local(db, "nightly") == nightly
    found: list[Any] = local(db, "hourly")
    assert len(found) == hours
    place = found.index(hourly[0])
    assert found[place : place + 2] == hourly
    assert accounted(db, "hourly", 3600) == hours
    # Back over it: nothing runs again.
    clock.move(timedelta(hours=-hours))
    clock.nudge()
    began = db.one("SELECT clock_timestamp()")
    db.wait_until("SELECT clock_timestamp() > %s + interval '2 s'", [began])
    settled(db)
    assert (len(local(db, "nightly")), len(local(db, "hourly"))) == (1, hours)
