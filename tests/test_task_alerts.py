"""Alerts of tasks: what begins to fail, works again or has not succeeded for too long is told once."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from psycopg import errors

from support.database import Database
from support.smtp import SmtpServer

Role = Callable[..., str]
NEVER = "0 0 1 1 *"
# Fails while the table is empty.
COMMAND = "SELECT 1 / (SELECT count(*) FROM works)"


@pytest.fixture
def desk(db: Database) -> Database:
    db.execute("CREATE TABLE works (x int)")
    db.execute("SELECT automate.create_channel('desk', 'log')")
    return db


def task(db: Any, alert: dict[str, Any], name: str = "load", when: str = NEVER, **more: Any) -> None:
    names = "".join(f", {key} => %s" for key in more)
    db.execute(
        f"SELECT automate.schedule_task(%s, 'sql', %s, %s, alert => %s{names})",
        [name, when, COMMAND, json.dumps(alert), *more.values()],
    )


def run(db: Database, status: str, name: str = "load") -> None:
    """A run to its end, and until it is counted."""
    job = db.one("SELECT automate.execute_task(%s)", [name])
    db.wait_until("SELECT status = %s FROM automate.task_runs WHERE job = %s", [status, job])
    db.wait_until("SELECT NOT EXISTS (SELECT FROM automate.task_news)")
    db.wait_until("SELECT NOT EXISTS (SELECT FROM automate.job WHERE kind = 'alert')")


def mend(db: Database) -> None:
    db.execute("INSERT INTO works VALUES (1)")


def spoil(db: Database) -> None:
    db.execute("TRUNCATE works")


def told(db: Database) -> list[str]:
    return [row[0] for row in db.rows("SELECT subject FROM automate.notification ORDER BY created_at, id")]


def test_a_streak_is_told_once_and_so_is_its_end(desk: Database) -> None:
    db = desk
    task(db, {"to": ["desk:ops"]}, description="From the shop")
    run(db, "failed")
    run(db, "failed")
    assert told(db) == ["Task load failed"]
    body, data, owner = db.rows("SELECT body, data, owner::text FROM automate.notification")[0]
    assert owner == "postgres"
    assert "22012: division by zero" in body and "From the shop" in body and f"in database {db.name}" in body
    assert data["run"]["status"] == "failed" and data["failures"] == 1
    assert data["next_run_at"].endswith("Z") or "+" in data["next_run_at"]
    assert db.rows("SELECT failures, failing FROM automate.task_alert") == [(2, True)]
    mend(db)
    run(db, "succeeded")
    run(db, "succeeded")
    assert told(db) == ["Task load failed", "Task load works again"]
    assert db.rows("SELECT failures, failing, failing_since FROM automate.task_alert") == [(0, False, None)]
    spoil(db)
    run(db, "failed")
    assert told(db)[2:] == ["Task load failed"]
    assert db.rows("SELECT recipient, state FROM automate.delivery") == [("ops", "sent")] * 3


def test_after_failures_and_retries(desk: Database) -> None:
    db = desk
    task(db, {"to": "desk:ops", "after_failures": 2}, retries=1, backoff="10 ms")
    run(db, "failed")
    assert told(db) == []
    run(db, "failed")
    assert told(db) == ["Task load failed 2 times in a row"]
    assert "failed after 2 attempts" in db.one("SELECT body FROM automate.notification")
    mend(db)
    run(db, "succeeded")
    spoil(db)
    run(db, "failed")
    assert told(db) == ["Task load failed 2 times in a row", "Task load works again"]


def test_stale_is_told_once_and_ended_by_a_success(desk: Database) -> None:
    db = desk
    task(db, {"to": ["desk:ops"], "on": ["stale", "recovery"], "stale_after": "1 s"})
    db.wait_until("SELECT count(*) = 1 FROM automate.notification", deadline=20)
    assert told(db) == ["Task load has not succeeded for too long"]
    run(db, "failed")
    assert len(told(db)) == 1
    mend(db)
    run(db, "succeeded")
    assert told(db)[1] == "Task load works again"
    # The time begins again.
    db.wait_until("SELECT count(*) = 3 FROM automate.notification", deadline=20)
    assert db.rows("SELECT stale, stale_at FROM automate.task_alert") == [(True, None)]


def test_a_paused_task_is_not_stale(desk: Database) -> None:
    db = desk
    task(db, {"to": ["desk:ops"], "stale_after": "1 s"}, "held")
    task(db, {"to": ["desk:ops"], "stale_after": "1 s"}, "made_disabled", enabled=False)
    db.execute("SELECT automate.pause_task('held')")
    db.wait_until("SELECT bool_and(stale_at IS NULL) FROM automate.task_alert", deadline=20)
    assert db.rows("SELECT stale FROM automate.task_alert") == [(False,), (False,)]
    assert told(db) == []
    db.execute("SELECT automate.resume_task('made_disabled')")
    db.wait_until("SELECT count(*) = 1 FROM automate.notification", deadline=20)
    assert told(db) == ["Task made_disabled has not succeeded for too long"]


def test_a_template_and_a_mail(desk: Database, smtp: SmtpServer) -> None:
    db = desk
    db.execute(
        "SELECT automate.create_channel('mail', 'smtp', %s)",
        [json.dumps({"host": "127.0.0.1", "port": smtp.port, "tls": "none", "from": "pg@example.com"})],
    )
    db.execute("SELECT automate.create_template('oops', '{{ alert }}: {{ task.name }}', '{{ error }} at {{ run.scheduled_at }}')")
    task(db, {"to": ["mail:anna@example.com"], "template": "oops"})
    run(db, "failed")
    db.wait_until("SELECT state = 'sent' FROM automate.delivery", deadline=20)
    assert told(db) == ["failure: load"]
    assert len(smtp.mails) == 1


def test_events_for_rules(desk: Database) -> None:
    db = desk
    db.execute("CREATE TABLE heard (what text, task text)")
    db.execute(
        "SELECT automate.create_rule('hears', %s, on_event => 'task.*')",
        ['[{"sql": "INSERT INTO heard VALUES ($1, $2)", "params": ["${ .event.name }", "${ .event.payload.task.name }"]}]'],
    )
    task(db, {"event": True})
    run(db, "failed")
    mend(db)
    run(db, "succeeded")
    db.wait_until("SELECT count(*) = 2 FROM heard")
    assert db.rows("SELECT what, task FROM heard ORDER BY what") == [("task.failed", "load"), ("task.recovered", "load")]
    assert told(db) == []


def test_what_cannot_be_told_changes_nothing_else(desk: Database) -> None:
    db = desk
    db.execute("SELECT automate.create_template('bad', 'x', '{{ nothing.there }}')")
    task(db, {"to": ["desk:ops"], "template": "bad", "event": True})
    run(db, "failed")
    assert db.one("SELECT count(*) FROM automate.event WHERE name = 'task.failed'") == 1
    assert told(db) == []
    db.wait_until("SELECT problem LIKE '%%template \"bad\"%%' FROM automate.task_alert")
    # A dead letter like any other: mended, it is told after all.
    job = db.one("SELECT id FROM automate.job_history WHERE kind = 'alert' AND status = 'failed'")
    assert db.one("SELECT problem_job FROM automate.task_alert") == job
    db.execute("SELECT automate.create_template('bad', 'mended', '{{ error }}')")
    db.execute("SELECT automate.retry_job(%s)", [job])
    db.wait_until("SELECT count(*) = 1 FROM automate.notification")
    db.wait_until("SELECT problem IS NULL FROM automate.task_alert")
    db.execute("SELECT automate.disable_channel('desk')")
    mend(db)
    run(db, "succeeded")
    db.wait_until("SELECT problem LIKE '%%is disabled%%' FROM automate.task_alert")


def test_cancelled_and_skipped_runs_are_no_failures(desk: Database) -> None:
    db = desk
    task(db, {"to": ["desk:ops"]})
    with db.connect(autocommit=False) as session:
        job = session.execute("SELECT automate.execute_task('load')").fetchone()[0]  # type: ignore[index]
        assert session.execute("SELECT automate.cancel_job(%s)", [job]).fetchone() == (True,)
        session.commit()
    db.wait_until("SELECT status = 'cancelled' FROM automate.task_runs")
    db.wait_until("SELECT NOT EXISTS (SELECT FROM automate.task_news)")
    assert db.rows("SELECT failures FROM automate.task_alert") == [(0,)]
    assert told(db) == []


def test_what_a_rollback_undoes_is_not_told(desk: Database) -> None:
    db = desk
    task(db, {"to": ["desk:ops"]})
    with db.connect(autocommit=False) as session:
        session.execute("SELECT automate.execute_task('load')")
        session.rollback()
    run(db, "failed")
    assert told(db) == ["Task load failed"]


BAD = [
    ({}, "the alert tells nobody", None),
    ({"to": ["desk:ops"], "om": ["failure"]}, 'unknown key "om"', 'Did you mean "on"?'),
    ({"to": ["desk:ops"], "on": ["failures"]}, "/on", 'Did you mean "failure"?'),
    ({"to": ["desk:ops"], "stale_after": "26 hour s"}, "/stale_after", None),
    ({"to": ["desk:ops"], "on": ["stale"]}, "needs a time", "stale_after"),
    ({"to": ["desk:ops"], "after_failures": 0}, "1 to 1000", None),
    (["desk:ops"], "an object is expected", None),
]


@pytest.mark.parametrize("alert, message, hint", BAD)
def test_bad_alerts(desk: Database, alert: Any, message: str, hint: str | None) -> None:
    with pytest.raises(errors.InvalidParameterValue) as caught:
        task(desk, alert)
    diag = caught.value.diag
    assert message in f"{diag.message_primary} {diag.message_detail}"
    assert diag.message_detail and diag.message_hint
    if hint:
        assert hint in diag.message_hint


def test_channels_and_templates_are_the_owners(desk: Database, role: Role) -> None:
    db = desk
    session = db.connect(role("ann"))
    session.execute("CREATE TABLE works2 (x int)")
    sql = "SELECT automate.schedule_task('t', 'sql', '@daily', 'SELECT 1', alert => %s)"
    with pytest.raises(errors.UndefinedObject) as caught:
        session.execute(sql, ['{"to": ["desk:ops"]}'])
    assert caught.value.diag.message_primary == 'channel "desk" does not exist'
    with pytest.raises(errors.UndefinedObject) as caught:
        session.execute(sql, ['{"event": true, "template": "oops"}'])
    assert caught.value.diag.message_primary == 'template "oops" does not exist'
    session.execute(sql, ['{"event": true}'])
    assert session.execute("SELECT owner::text <> 'postgres' FROM automate.task_alert").fetchone() == (True,)
    assert db.connect(role("eve")).execute("SELECT count(*) FROM automate.task_alert").fetchone() == (0,)
    assert db.one("SELECT count(*) FROM automate.task") == 1
