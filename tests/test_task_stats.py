"""Watching tasks: figures, streaks, the timeline, and what status(), doctor() and get_metrics() say of them."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from support.database import Database
from support.paths import ROOT
from test_doctor import findings
from test_readme import statements

Role = Callable[..., str]
NOW = datetime.now(UTC).replace(microsecond=0)
GOOD, BAD = ("succeeded",), ("failed", "interrupted", "quarantined")


def schedule(db: Database | psycopg.Connection[Any], name: str, when: str = "@yearly", command: str = "SELECT 1") -> None:
    db.execute("SELECT automate.schedule_task(%s, 'sql', %s, %s)", [name, when, command])


def record(db: Database, task: str, at: datetime, status: str, late: float = 0, took: float = 0, **more: Any) -> None:
    """A run as the workers write it; late and took in seconds."""
    began = at + timedelta(seconds=late)
    row = {"scheduled_at": at, "due_at": at, "recorded_at": at, "status": status}
    if status == "skipped":
        row |= {"through": at, "finished_at": at}
    elif status not in ("queued", "waiting", "running"):
        row |= {"started_at": began, "finished_at": began + timedelta(seconds=took)}
    row |= more
    names, holes = ", ".join(row), ", ".join(["%s"] * len(row))
    db.execute(
        f"INSERT INTO automate.task_run (task, owner, {names}) SELECT id, owner, {holes} FROM automate.task WHERE name = %s",
        [*row.values(), task],
    )


def percentile(values: list[float], percent: int) -> float:
    """Between its two neighbours in proportion, as PostgreSQL's percentile_cont has it."""
    ordered = sorted(values)
    place = (len(ordered) - 1) * percent / 100
    low = int(place)
    return ordered[low] + (ordered[min(low + 1, len(ordered) - 1)] - ordered[low]) * (place - low)


def stats(db: Database | psycopg.Connection[Any], task: str) -> dict[str, Any]:
    cursor = db.execute("SELECT * FROM automate.task_stats WHERE task = %s", [task])
    names = [column.name for column in cursor.description or []]
    (row,) = cursor.fetchall()
    return dict(zip(names, row, strict=True))


# --- task_stats ---------------------------------------------------------------------------------


def test_figures_are_those_of_the_runs(db: Database) -> None:
    schedule(db, "t")
    schedule(db, "other")
    record(db, "other", NOW, "failed", took=99)
    draw = random.Random(11)
    lates, tooks, words = [], [], []
    for number in range(300):
        at = NOW - timedelta(minutes=300 - number)
        status = draw.choice(["succeeded", "succeeded", *BAD, "cancelled", "skipped"])
        late, took = draw.random() * 2, draw.random() * 50
        late, took = round(late, 6), round(took, 6)
        record(db, "t", at, status, late, took, **({"instants": 4} if status == "skipped" else {}))
        words.append(status)
        if status != "skipped":
            lates.append(late * 1000)
            tooks.append(took * 1000)
    record(db, "t", NOW, "queued")
    found = stats(db, "t")
    counts = {word: words.count(word) for word in words}
    failed = sum(counts[word] for word in BAD)
    assert (found["runs"], found["succeeded"], found["failed"]) == (301 - counts["skipped"], counts["succeeded"], failed)
    assert (found["cancelled"], found["skipped"]) == (counts["cancelled"], 4 * counts["skipped"])
    assert float(found["success_rate"]) == pytest.approx(counts["succeeded"] / (counts["succeeded"] + failed), abs=1e-4)
    for percent in (50, 95, 99):
        assert float(found[f"p{percent}_ms"]) == pytest.approx(percentile(tooks, percent), abs=0.002)
        assert float(found[f"late_p{percent}_ms"]) == pytest.approx(percentile(lates, percent), abs=0.002)
    assert (found["last_status"], found["last_at"], found["status"]) == ("queued", NOW, "active")
    assert found["next_run_at"] > NOW


@pytest.mark.parametrize(("outcomes", "streak"), [
    ("", None), ("s", "1 succeeded"), ("f", "1 failed"), ("sssf", "1 failed"), ("fsss", "3 succeeded"),
    ("sfiq", "3 failed"), ("sfcf", "2 failed"), ("fsksk", "2 succeeded"), ("ck", None), ("fs", "1 succeeded"),
])
def test_streaks(db: Database, outcomes: str, streak: str | None) -> None:
    words = {"s": "succeeded", "f": "failed", "i": "interrupted", "q": "quarantined", "c": "cancelled", "k": "skipped"}
    schedule(db, "t")
    for number, letter in enumerate(outcomes):
        record(db, "t", NOW - timedelta(minutes=60 - number), words[letter])
    assert stats(db, "t")["streak"] == streak
    # What is in trouble is what failed last.
    expected = [int(streak.split()[0])] if streak and "failed" in streak else []
    assert [row[0] for row in db.rows("SELECT streak FROM automate.task_trouble WHERE trouble = 'failing'")] == expected


def test_a_task_without_runs_has_a_row_and_real_ones_are_counted(db: Database) -> None:
    schedule(db, "fresh")
    found = stats(db, "fresh")
    assert (found["runs"], found["success_rate"], found["p50_ms"], found["last_status"]) == (0, None, None, None)
    db.execute("SELECT automate.execute_task('fresh')")
    db.wait_until("SELECT succeeded = 1 FROM automate.task_stats")
    found = stats(db, "fresh")
    assert (found["streak"], found["last_status"], found["success_rate"]) == ("1 succeeded", "succeeded", 1)
    assert found["p50_ms"] >= 0 and found["late_p50_ms"] >= 0


def test_everybody_sees_their_own(db: Database, role: Role) -> None:
    ann, eve, watch = role("ann"), role("eve"), role("watch", level="monitor")
    with db.connect(ann) as hers:
        schedule(hers, "t")
    record(db, "t", NOW - timedelta(minutes=1), "failed", took=1)
    seen = {}
    for who in (ann, eve, watch):
        session = db.connect(who)
        # What lies in the way is not used.
        session.execute("CREATE TEMP TABLE task_run (status text); SET search_path = pg_temp, public")
        seen[who] = [
            len(session.execute("SELECT FROM automate.task_stats").fetchall()),
            len(session.execute("SELECT FROM automate.task_trouble").fetchall()),
            len(session.execute("SELECT FROM automate.task_timeline() WHERE task <> ''").fetchall()),
            findings(session).get("task t") is not None,
            session.execute("SELECT automate.get_metrics() -> 'tasks' -> 'trouble'").fetchone(),
        ]
    assert seen[ann] == seen[watch] == [1, 1, 1, True, ({"failing": 1},)]
    assert seen[eve] == [0, 0, 0, False, ({},)]
    nobody = db.connect(role("nobody", level=None))
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        nobody.execute("SELECT * FROM automate.task_stats")


# --- task_timeline ------------------------------------------------------------------------------


def timeline(db: Database, since: str = "1 hour", width: int = 60) -> list[tuple[str, str, str]]:
    return db.rows("SELECT * FROM automate.task_timeline(%s, %s)", [since, width])


def test_the_timeline_shows_each_run_where_it_was(db: Database) -> None:
    for name in ("éclair", "b", "c", "idle"):
        schedule(db, name)
    # In the middle of a minute, so that no mark depends on the moment of the test.
    ago = datetime.now(UTC) - timedelta(seconds=30)
    minutes = lambda count: ago - timedelta(minutes=count)  # noqa: E731
    record(db, "éclair", minutes(50), "succeeded")
    record(db, "éclair", minutes(40), "failed", took=300)
    record(db, "éclair", minutes(20), "skipped")
    record(db, "éclair", minutes(10), "cancelled")
    # Of two on one mark the worse is shown.
    record(db, "b", minutes(30), "failed")
    record(db, "b", minutes(30) + timedelta(seconds=1), "succeeded")
    # Began before the line does, and goes on.
    record(db, "c", minutes(100), "running", started_at=minutes(100))
    record(db, "c", minutes(5), "queued")
    rows = timeline(db)
    assert [row[0] for row in rows] == ["", "b", "c", "éclair", "", ""]
    lines = {task: line for task, line, _ in rows if task}
    assert all(len(line) == 60 for line in lines.values())
    assert lines["éclair"] == "." * 9 + "+" + "." * 9 + "=====x" + "." * 14 + "-" + "." * 9 + "c" + "." * 10
    assert lines["b"] == "." * 29 + "x" + "." * 30
    assert lines["c"] == "=" * 54 + "=" * 5 + ">"
    assert {task: outcome for task, _, outcome in rows if task} == {
        "b": "1 succeeded, 1 failed", "c": "2 open", "éclair": "1 succeeded, 1 failed, 1 skipped, 1 cancelled"
    }
    assert rows[0][2] == "one mark: 00:01:00" and "x failed" in rows[-2][1] and "runs now" in rows[-1][1]


@pytest.mark.parametrize(("since", "width", "form"), [
    ("1 hour", 60, r"(\|\d\d:\d\d      ){5}"), ("5 minutes", 24, r"(\|\d\d:\d\d:\d\d   ){2}"),
    ("30 days", 36, r"(\|\d\d-\d\d      ){3}"), ("1 hour", 10, r"\|\d\d:\d\d    "),
])
def test_the_axis_has_times_of_the_session(db: Database, since: str, width: int, form: str) -> None:
    db.execute("SET TimeZone = 'Asia/Kathmandu'")
    (axis, *_) = timeline(db, since, width)
    assert len(axis[1]) == width and re.fullmatch(form, axis[1])
    if form.startswith(r"(\|\d\d:\d\d  "):
        begin = db.one("SELECT to_char(now() - %s::interval, 'HH24:MI')", [since])
        assert axis[1][1:6] == begin


@pytest.mark.parametrize(("since", "width"), [("0", 60), ("-1 hour", 60), ("20 years", 60), ("1 hour", 9), ("1 hour", 1001), (None, 60)])
def test_the_timeline_refuses_what_it_cannot_draw(db: Database, since: str | None, width: int) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue) as caught:
        db.execute("SELECT * FROM automate.task_timeline(%s::interval, %s)", [since, width])
    assert caught.value.diag.message_detail and caught.value.diag.message_hint


# --- status(), doctor(), get_metrics() ----------------------------------------------------------


def test_a_failing_task_is_told_until_it_succeeds(db: Database) -> None:
    db.execute("CREATE TABLE door (open bool)")
    db.execute("INSERT INTO door VALUES (false)")
    schedule(db, "it's", command="SELECT 1 / (SELECT count(*) FROM door WHERE open)")
    for count in (1, 2):
        db.execute("SELECT automate.execute_task('it''s')")
        db.wait_until("SELECT failed = %s FROM automate.task_stats", [count])
    severity, finding, remedy = findings(db)["task it's"]
    assert (severity, finding) == ("warning", "failed 2 times in a row, last: 22012: division by zero")
    assert [row[1] for row in db.rows(remedy)] == ["failed", "failed"]
    assert db.rows("SELECT state, detail FROM automate.status() WHERE item = 'tasks failing'") == [
        ("1", "it's (2 in a row): see automate.task_trouble")
    ]
    assert db.rows("SELECT state, detail FROM automate.status() WHERE item = 'task runs, last day'") == [
        ("2 made", "2 failed, 0 instants skipped: see automate.task_runs")
    ]
    # Nobody needs to be told of what they have paused.
    db.execute("SELECT automate.pause_task('it''s')")
    assert "task it's" not in findings(db)
    db.execute("SELECT automate.resume_task('it''s')")
    db.execute("UPDATE door SET open = true")
    db.execute("SELECT automate.execute_task('it''s')")
    db.wait_until("SELECT streak = '1 succeeded' FROM automate.task_stats")
    assert "task it's" not in findings(db)
    assert db.rows("SELECT item FROM automate.status() WHERE item LIKE 'tasks %'") == []
    metrics = db.one("SELECT automate.get_metrics() -> 'tasks'")
    assert (metrics["count"], metrics["success_rate"], metrics["trouble"], metrics["skipped"]) == (3, 0.3333, {}, 0)
    assert metrics["lateness"]["p99_ms"] >= metrics["lateness"]["p50_ms"] >= 0


def test_what_cannot_run_is_told(db: Database, role: Role) -> None:
    ann, bob = role("ann"), role("bob")
    for who in (ann, bob):
        for name in ("a", "b"):
            schedule(db.connect(who), name)
    db.execute(f"ALTER ROLE {ann} NOLOGIN")
    found = findings(db)[f"tasks of {ann}"]
    assert found[:2] == ("warning", "nobody can run them, since their owner may not log in: 2")
    assert f"tasks of {bob}" not in findings(db)
    db.execute(found[2])
    assert findings(db) == {}
    # Disabled by itself is no trouble when its time is over, and trouble when it cannot run.
    db.execute("SELECT automate.pause()")
    db.execute("UPDATE automate.task SET status = 'disabled', status_reason = 'its schedule has no further run' WHERE name = 'a'")
    assert set(findings(db)) == {"pause"}
    db.execute("UPDATE automate.task SET status_reason = 'no such zone' WHERE name = 'a' AND owner = %s::regrole", [bob])
    assert findings(db)["task a"][1] == "disabled: no such zone"


def test_what_is_late_or_overdue_is_told(db: Database, role: Role) -> None:
    ann = role("ann")
    for name in ("a", "b"):
        schedule(db.connect(ann), name)
    db.execute("SELECT automate.pause()")
    db.execute("UPDATE automate.task SET next_run_at = now() - interval '1 hour'")
    severity, finding, remedy = findings(db)[f"tasks of {ann}"]
    assert severity == "notice" and finding.startswith("due while nothing runs: 2, the first since ")
    assert db.rows("SELECT state FROM automate.status() WHERE item = 'tasks overdue'") == [("2",)]
    # Not paused, and somebody keeps the coordinator from it.
    with db.connect(autocommit=False) as other:
        other.execute("SELECT FROM automate.task FOR UPDATE")
        db.execute(remedy)
        severity, finding, _ = findings(db)[f"tasks of {ann}"]
        assert severity == "warning" and finding.startswith("due, and their runs are not made: 2")
        assert db.rows("SELECT state FROM automate.status() WHERE item = 'tasks late'") == [("2",)]
    db.wait_until("SELECT NOT EXISTS (SELECT FROM automate.task_trouble)")


# --- docs/tasks.md ------------------------------------------------------------------------------


def test_the_examples_of_the_document_run(db: Database, role: Role) -> None:
    text = (ROOT / "docs" / "tasks.md").read_text()
    examples = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    session = db.connect(role("reader"))
    for example in examples:
        for statement in statements(example):
            session.execute(statement)  # type: ignore[arg-type]
    assert len(examples) >= 5
    for link in re.findall(r"\]\(([a-z-]+\.md)\)", text):
        assert link in {"schedules.md", "task-types.md", "task-control.md", "task-chains.md", "triggers.md", "reference.md"}
