"""Cron expressions against croniter and cronsim: random ones, each where its dialect is ours.

What differs by design, and is therefore not asked for here:
- croniter joins `#` and `L` of the day of week, and `*/2` of either day field, with the other field
  in ways of its own; it takes the last day of a month that has no 31st for `31W`, knows `W` alone only,
  and neither `LW` nor `#` beside a number; `26-26` is any value to it. In an overlap it runs in both passes, whatever the hours.
- cronsim knows no `W`. Only expressions of 5 fields that name their minutes and hours have rules for the
  days when the clock is moved, and several runs in a gap are not made one. The others follow the clock:
  that is `"gap": "skip", "overlap_hour": "twice"` here. It gets lost in an overlap of half an hour.
- neither knows `L-3`, which tests/days.rs of the core tries day by day.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import islice
from zoneinfo import ZoneInfo

from croniter import CroniterBadDateError, croniter
from cronsim import CronSim, CronSimError

from support.database import Database

RUNS = 12
Case = tuple[str, str, datetime]
Peer = Callable[[str, datetime], Iterator[datetime]]

# What has no summer time, and wall clocks of whole, half and quarter hours.
STEADY = ["UTC", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Eucla", "America/Phoenix", "Pacific/Kiritimati"]
# Zones with the noon (UTC) before the clock is put forward or back by an hour.
MOVED = [
    ("Europe/Zurich", "2026-03-28"), ("Europe/Zurich", "2026-10-24"),
    ("America/New_York", "2026-03-07"), ("America/New_York", "2026-10-31"),
    ("Asia/Tehran", "2022-03-20"), ("Asia/Tehran", "2022-09-20"),
    ("America/Sao_Paulo", "2018-11-03"), ("America/Sao_Paulo", "2018-02-16"),
    ("Australia/Sydney", "2026-10-02"), ("Australia/Sydney", "2026-04-03"),
]
# Half an hour: only forward, see above.
HALF = [("Australia/Lord_Howe", "2026-10-02")]


def wall(zone: str) -> tzinfo:
    return UTC if zone == "UTC" else ZoneInfo(zone)


def cronsim_runs(text: str, after: datetime) -> Iterator[datetime]:
    return iter(CronSim(text.replace("?", "*"), after))


def croniter_runs(text: str, after: datetime) -> Iterator[datetime]:
    *rest, week = text.lower().split()
    there = " ".join([*rest, re.sub(r"\b([0-7])l\b", r"l\1", week)])
    return croniter(there, after, ret_type=datetime, second_at_beginning=True)


class Dice(random.Random):
    """Makes fields."""

    def part(self, low: int, high: int) -> str:
        first, second = sorted(self.sample(range(low, high + 1), 2))
        return self.choice([str(first), str(first), f"{first}-{second}", f"{first}-{second}/{self.randint(1, 5)}"])

    def named(self, low: int, high: int) -> str:
        return ",".join(self.part(low, high) for _ in range(self.randint(1, 3)))

    def field(self, low: int, high: int) -> str:
        return self.choice(["*", f"*/{self.randint(1, high)}", self.named(low, high), self.named(low, high)])

    def months(self) -> str:
        return self.choice(["*", "*", "*", self.named(1, 12), "jan,jul", "mar-jun"])

    def dates(self) -> str:
        last = self.choice(["L", "LW", "1,15,L", f"{self.randint(1, 28)},LW"])
        return self.choice(["*", "?", self.field(1, 31), self.named(1, 31), last])

    def weekdays(self) -> str:
        day = self.randint(0, 7)
        special = self.choice([f"{day}L", f"{day}#{self.randint(1, 5)}", f"{day}L,{self.randint(1, 6)}#2", "fri#3"])
        return self.choice(["*", "?", self.field(0, 7), "mon-fri", "SAT,sun", special])

    def croniter_days(self) -> str:
        """Both day fields, as far as croniter means the same."""
        day = self.randint(0, 7)
        dates = self.choice(["L", "1,15,L", f"{self.randint(1, 28)}W", self.named(1, 31)])
        week = self.choice([f"{day}L", f"{day}#{self.randint(1, 5)}", "fri#3", self.named(0, 6), "mon-fri"])
        plain = f"{self.named(1, 31)} {self.months()} {self.named(0, 6)}"
        return self.choice([f"{dates} {self.months()} *", f"* {self.months()} {week}", plain, f"* {self.months()} *"])

    def moment(self) -> datetime:
        return datetime(2024, 1, 1, tzinfo=UTC) + timedelta(seconds=self.randrange(6 * 366 * 86_400))


def ours(db: Database, cases: list[Case], options: dict[str, str]) -> list[list[datetime]]:
    """The runs of each case from the server."""
    asked = [
        {"schedule": json.dumps({"cron": text, **options}), "zone": zone, "after": after.isoformat()}
        for text, zone, after in cases
    ]
    found: list[list[datetime]] = [[] for _ in cases]
    for number, run_at in db.rows(
        """SELECT c.number, r.run_at
           FROM jsonb_array_elements(%s::jsonb) WITH ORDINALITY AS c(asked, number),
                automate.next_runs(asked ->> 'schedule', %s, asked ->> 'zone', (asked ->> 'after')::timestamptz) r
           ORDER BY 1, 2""",
        [json.dumps(asked), RUNS],
    ):
        found[number - 1].append(run_at.astimezone(UTC))
    return found


def theirs(peer: Peer, text: str, zone: str, after: datetime) -> list[datetime]:
    """What the peer finds until it gives up; a run that comes several times is one."""
    found: list[datetime] = []
    try:
        for run in islice(peer(text, after.astimezone(wall(zone))), 100):
            if run.astimezone(UTC) not in found:
                found.append(run.astimezone(UTC))
            if len(found) == RUNS:
                break
    except (CronSimError, CroniterBadDateError):
        pass
    return found


def compare(db: Database, cases: list[Case], peer: Peer, least: int, **options: str) -> None:
    total = 0
    for (text, zone, after), found in zip(cases, ours(db, cases, options), strict=True):
        expected = theirs(peer, text, zone, after)
        # Where the peer gives up, ours may look for some years more.
        assert found[: len(expected)] == expected, f"{text} in {zone} after {after} {options}"
        total += len(expected)
    assert total >= least, f"only {total} runs were compared"


def test_cronsim_on_ordinary_days(db: Database) -> None:
    dice = Dice(1)
    cases = [
        (
            f"{dice.field(0, 59)} {dice.field(0, 23)} {dice.dates()} {dice.months()} {dice.weekdays()}",
            dice.choice(STEADY),
            dice.moment(),
        )
        for _ in range(400)
    ]
    compare(db, cases, cronsim_runs, 4000)


def test_croniter_on_ordinary_days(db: Database) -> None:
    dice = Dice(2)
    cases = [
        (
            f"{dice.field(0, 59)} {dice.field(0, 59)} {dice.field(0, 23)} {dice.croniter_days()}",
            dice.choice(STEADY),
            dice.moment(),
        )
        for _ in range(300)
    ]
    compare(db, cases, croniter_runs, 3000)


def moved(dice: Dice, days: list[tuple[str, str]]) -> tuple[str, datetime]:
    zone, day = dice.choice(days)
    return zone, datetime.fromisoformat(f"{day} 12:00+00:00")


def test_cronsim_where_the_clock_is_moved_and_hours_are_named(db: Database) -> None:
    dice = Dice(3)
    cases = []
    for _ in range(300):
        hours = ",".join(str(hour) for hour in {dice.choice([0, 1, 2, 2, 3, 23]) for _ in range(2)})
        text = f"{dice.named(0, 59)} {hours} {dice.dates() if dice.random() < 0.2 else '*'} * *"
        cases.append((text, *moved(dice, MOVED + HALF)))
    compare(db, cases, cronsim_runs, 3000)
    compare(db, cases, cronsim_runs, 3000, gap="run", overlap_hour="once")


def test_cronsim_where_the_clock_is_moved_and_followed(db: Database) -> None:
    dice = Dice(4)
    cases = []
    for _ in range(300):
        minutes = dice.choice([dice.field(0, 59), "0,30", "*/20"])
        hours = dice.choice([dice.field(0, 23), "2", "1-3", "0,23", "*/2"])
        # Not every second: the clock would not be moved within so few runs.
        text = f"{dice.randint(0, 59)} {minutes} {hours} * * *"
        zone, after = moved(dice, MOVED)
        cases.append((text, zone, after + timedelta(minutes=dice.randrange(24 * 60))))
    compare(db, cases, cronsim_runs, 3000, gap="skip", overlap_hour="twice")


def test_both_where_the_clock_is_moved_and_every_hour_has_runs(db: Database) -> None:
    dice = Dice(5)
    cases = []
    for _ in range(100):
        zone, after = moved(dice, MOVED)
        cases.append((f"{dice.named(0, 59)} * * * *", zone, after + timedelta(hours=dice.randrange(20))))
    compare(db, cases, cronsim_runs, 1000)
    compare(db, cases, croniter_runs, 1000)
