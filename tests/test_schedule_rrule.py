"""Recurrence rules of RFC 5545 on the server, beside an independent implementation (python-dateutil)."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from dateutil.rrule import rrulestr

from support.database import Database

FREQS = ["YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY", "MINUTELY", "SECONDLY"]
DAYS = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"]
SHOWN = 12


def some(draw: random.Random, low: int, high: int, most: int = 3, backward: bool = False) -> str:
    numbers = draw.sample(range(low, high + 1), draw.randint(1, most))
    return ",".join(str(-n if backward and n and draw.random() < 0.4 else n) for n in numbers)


def by_days(draw: random.Random, freq: str, interval: bool) -> list[str]:
    """Which days: parts that both sides read alike, and that leave some (the other side looks for
    what never comes until the year 9999)."""
    parts = []
    if draw.random() < 0.4 and not (freq == "MONTHLY" and interval):
        parts.append(f"BYMONTH={some(draw, 1, 12)}")
    plain = draw.sample(DAYS, draw.randint(1, 3))
    kind = draw.random()
    if freq == "YEARLY" and kind < 0.15:
        # Days in a week of two years are told by the calendar's year there.
        return [f"BYWEEKNO={some(draw, 2, 51)}", f"BYDAY={plain[0]}"]
    if freq == "YEARLY" and kind < 0.3:
        return [f"BYYEARDAY={some(draw, 1, 365, 4, backward=True)}"]
    if kind < 0.6:
        if freq in ("YEARLY", "MONTHLY") and draw.random() < 0.6:
            most = 4 if freq == "MONTHLY" or parts else 40
            plain = [f"{draw.choice(['', '-'])}{draw.randint(1, most)}{day}" for day in plain]
        parts.append(f"BYDAY={','.join(plain)}")
    elif kind < 0.85 and freq != "WEEKLY":
        parts.append(f"BYMONTHDAY={some(draw, 1, 28, 4, backward=True)}")
    return parts


def rule(draw: random.Random) -> str:
    freq = draw.choice(FREQS)
    parts = [f"FREQ={freq}"]
    interval = draw.random() < 0.5
    if interval:
        parts.append(f"INTERVAL={draw.randint(2, 5)}")
    if draw.random() < 0.3:
        parts.append(f"WKST={draw.choice(DAYS)}")
    of_days = FREQS.index(freq) < 4
    by = by_days(draw, freq, interval) if of_days else []
    # The other side steps through each empty hour, minute and second.
    for unit, part, most in (("DAILY", "BYHOUR", 23), ("HOURLY", "BYMINUTE", 59), ("MINUTELY", "BYSECOND", 59)):
        if draw.random() < 0.4 and FREQS.index(freq) <= FREQS.index(unit):
            by.append(f"{part}={some(draw, 0, most)}")
    # Positions in the first week count from the first day there, and from the week's begin here.
    if by and freq != "WEEKLY" and draw.random() < 0.3:
        by.append(f"BYSETPOS={draw.choice(['1', '-1', '1,-1', '-1,2'])}")
    if draw.random() < 0.2:
        by.append(f"COUNT={draw.randint(1, 40)}")
    return ";".join(parts + by)


def expected(text: str, start: datetime, after: datetime) -> list[datetime]:
    """The first runs after a moment."""
    return list(islice((at for at in rrulestr(text, dtstart=start) if at > after), SHOWN))


def test_rules_mean_what_they_mean_elsewhere(db: Database) -> None:
    draw = random.Random(5545)
    compared = 0
    for _ in range(500):
        text = rule(draw)
        start = datetime(2026, draw.randint(1, 12), draw.randint(1, 28), draw.randint(0, 23), draw.randint(0, 59))
        dense = any(f"FREQ={freq}" in text for freq in FREQS[4:])
        after = start + timedelta(seconds=draw.choice([-1, 0, draw.randint(0, 4000 if dense else 86_400 * 400)]))
        runs = expected(text, start, after)
        schedule = json.dumps({"rrule": text, "from": start.isoformat()})
        found = db.rows(
            "SELECT run_at FROM automate.next_runs(%s, %s, 'UTC', %s)", [schedule, SHOWN, after.replace(tzinfo=UTC)]
        )
        assert [at.replace(tzinfo=None) for (at,) in found] == runs, (schedule, after)
        compared += len(runs)
    assert compared > 4000


def local(db: Database, schedule: Any, zone: str, after: str, n: int = 3) -> list[tuple[str, str | None]]:
    return db.rows(
        "SELECT to_char(run_at AT TIME ZONE %s, 'MM-DD HH24:MI'), note FROM automate.next_runs(%s, %s, %s, %s)",
        [zone, json.dumps(schedule), n, zone, after],
    )


def test_clock_changes_are_ours(db: Database) -> None:
    nightly = {"rrule": "FREQ=DAILY", "from": "2026-01-01 02:30"}
    assert local(db, nightly, "Europe/Zurich", "2026-03-28T12:00Z") == [
        ("03-29 03:00", "the clock goes forward from 02:00 to 03:00"), ("03-30 02:30", None), ("03-31 02:30", None)]
    assert local(db, nightly, "Europe/Zurich", "2026-10-24T12:00Z") == [
        ("10-25 02:30", "02:30 comes twice: the first"), ("10-26 02:30", None), ("10-27 02:30", None)]


def test_a_task_keeps_its_first_day(db: Database) -> None:
    db.execute("""SELECT automate.schedule_task('pay', 'sql', '{"rrule": "freq=monthly;byday=-1fr;byhour=8"}', 'SELECT 1',
                  time_zone => 'Europe/Zurich')""")
    kept, today, at = db.rows(
        "SELECT schedule, (now() AT TIME ZONE 'Europe/Zurich')::date::text, next_run_at AT TIME ZONE 'Europe/Zurich' FROM automate.task"
    )[0]
    assert kept == {"rrule": "FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=8", "from": today, "time_zone": "Europe/Zurich"}
    assert (at.weekday(), at.hour, (at + timedelta(days=7)).month != at.month) == (4, 8, True)
