"""Recurrence rules of RFC 5545 on the server, beside an independent implementation (python-dateutil)."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any

from dateutil.rrule import rrulestr

from support.database import Database

FREQS = ["YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY", "MINUTELY", "SECONDLY"]
DAYS = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"]
SHOWN = 12


def some(draw: random.Random, low: int, high: int, most: int = 3, backward: bool = False) -> str:
    numbers = draw.sample(range(low, high + 1), draw.randint(1, most))
    return ",".join(str(-n if backward and n and draw.random() < 0.4 else n) for n in numbers)


def by_days(draw: random.Random, freq: str) -> list[str]:
    """Which days: the parts that RFC 5545 lets stand together, and both sides read alike."""
    parts = []
    if draw.random() < 0.4:
        parts.append(f"BYMONTH={some(draw, 1, 12)}")
    plain = ",".join(draw.sample(DAYS, draw.randint(1, 3)))
    if freq in ("YEARLY", "MONTHLY") and draw.random() < 0.4:
        most = 5 if freq == "MONTHLY" or parts else 40
        plain = ",".join(f"{draw.choice(['', '-'])}{draw.randint(1, most)}{day}" for day in plain.split(","))
    kind = draw.random()
    if freq == "YEARLY" and kind < 0.15:
        day = draw.choice(DAYS)
        # Weeks of two years are told by the calendar's year there, and so here.
        return [f"BYWEEKNO={some(draw, 2, 51)}", f"BYDAY={day}"]
    if freq == "YEARLY" and kind < 0.3:
        return [*parts[:0], f"BYYEARDAY={some(draw, 1, 366, 4, backward=True)}"]
    if kind < 0.5:
        parts.append(f"BYDAY={plain}")
    elif kind < 0.8 and freq != "WEEKLY":
        parts.append(f"BYMONTHDAY={some(draw, 1, 31, 4, backward=True)}")
    return parts


def rule(draw: random.Random) -> str:
    freq = draw.choice(FREQS)
    parts = [f"FREQ={freq}"]
    if draw.random() < 0.5:
        parts.append(f"INTERVAL={draw.randint(2, 5)}")
    if draw.random() < 0.3:
        parts.append(f"WKST={draw.choice(DAYS)}")
    days = by_days(draw, freq)
    times = []
    if draw.random() < 0.4:
        times.append(f"BYHOUR={some(draw, 0, 23)}")
    if draw.random() < 0.4:
        times.append(f"BYMINUTE={some(draw, 0, 59)}")
    if draw.random() < 0.2:
        times.append(f"BYSECOND={some(draw, 0, 59)}")
    # Positions in the first week count from the first day there, and from the week's begin here.
    if (days or times) and freq in ("YEARLY", "MONTHLY", "DAILY") and draw.random() < 0.3:
        times.append(f"BYSETPOS={some(draw, 1, 4, 2, backward=True)}")
    if draw.random() < 0.2:
        times.append(f"COUNT={draw.randint(1, 40)}")
    return ";".join(parts + days + times)


def expected(text: str, start: datetime, after: datetime) -> list[datetime] | None:
    """The first runs after a moment; None for rules that are too empty to be walked through."""
    found: list[datetime] = []
    end = after + timedelta(days=365 * 12)
    steps = 0
    for at in rrulestr(text + f";UNTIL={end:%Y%m%dT%H%M%S}" if "COUNT" not in text else text, dtstart=start):
        steps += 1
        if at > after:
            found.append(at)
        if len(found) == SHOWN:
            return found
        if steps > 20_000:
            return None
    # An end of its own, or fewer than asked for within twelve years.
    return found if "COUNT" in text else None


def test_rules_mean_what_they_mean_elsewhere(db: Database) -> None:
    draw = random.Random(5545)
    compared = 0
    calls: list[tuple[str, datetime, list[datetime]]] = []
    while len(calls) < 600:
        text = rule(draw)
        start = datetime(2026, draw.randint(1, 12), draw.randint(1, 28), draw.randint(0, 23), draw.randint(0, 59))
        after = start + timedelta(seconds=draw.choice([-1, 0, 86_400 * draw.randint(0, 400)]))
        if "FREQ=SECONDLY" in text or "FREQ=MINUTELY" in text or "FREQ=HOURLY" in text:
            if "BYMONTH" in text or "BYDAY" in text or "INTERVAL" in text or "BYHOUR" in text:
                # The other side steps through every empty hour, minute and second.
                text = ";".join(p for p in text.split(";") if p.split("=")[0] not in ("BYMONTH", "BYDAY", "BYMONTHDAY", "BYHOUR"))
            after = start + timedelta(seconds=draw.randint(-1, 4000))
        runs = expected(text, start, after)
        if runs is not None:
            calls.append((json.dumps({"rrule": text, "from": start.isoformat()}), after, runs))
    for schedule, after, runs in calls:
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
