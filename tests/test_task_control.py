"""Steering tasks: altering and cancelling them, and runs that take the place of others."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from psycopg import errors

from support.database import Database
from support.jobs import ended, enqueue, idle, succeeded
from support.paths import ROOT
from test_readme import statements

Role = Callable[..., str]
YEARLY = "0 0 1 1 *"


def schedule(db: Any, name: str, command: str = "SELECT 1", when: str = YEARLY, more: str = "") -> Any:
    sql = f"SELECT automate.schedule_task(%s, 'sql', %s, %s{', ' + more if more else ''})"
    return db.execute(sql, [name, when, command]).fetchone()[0]


def refused(db: Database, kind: type[Exception], sql: str, params: list[Any] | None = None) -> Any:
    """A refusal with a message, a DETAIL and a HINT; its parts."""
    with pytest.raises(kind) as caught:
        db.execute(sql, params)
    diag = caught.value.diag  # type: ignore[attr-defined]
    assert diag.message_primary and diag.message_detail and diag.message_hint, diag.message_primary
    return diag


def task(db: Database, name: str, columns: str) -> Any:
    (row,) = db.rows(f"SELECT {columns} FROM automate.task WHERE name = %s", [name])
    return row[0] if len(row) == 1 else row


def runs_of(db: Database, name: str) -> list[tuple[Any, ...]]:
    return db.rows("SELECT status, error FROM automate.task_runs WHERE task = %s ORDER BY scheduled_at", [name])


def running(db: Database, name: str) -> None:
    db.wait_until("SELECT count(*) = 1 FROM automate.task_runs WHERE task = %s AND status = 'running'", [name])


# --- altering -----------------------------------------------------------------------------------


def test_alter_changes_what_is_given_and_nothing_else(db: Database) -> None:
    schedule(db, "up")
    schedule(
        db, "t", "SELECT 1", YEARLY,
        "jitter => '1 s', timeout => '5 s', priority => 7, concurrency_key => 'k', description => 'd', "
        "depends_on => '{up}', valid_until => '2999-01-01', retries => 2",
    )
    shown = (
        "schedule ->> 'cron', time_zone, command, args, misfire, overlap, jitter_ms, timeout_ms, retries, backoff_ms, "
        "priority, concurrency_key, on_upstream_failure, valid_from, valid_until, alert, description, status, next_run_at"
    )
    before = task(db, "t", shown)
    db.execute("SELECT automate.alter_task('t')")
    assert task(db, "t", shown) == before
    db.execute("""SELECT automate.alter_task('t', misfire => 'last 3', overlap => 'queue', jitter => '2 s', timeout => '9 s',
        retries => 4, backoff => '1 s', priority => 50, description => 'other', concurrency_key => 'k2',
        on_upstream_failure => 'run', command => 'SELECT $1::int', args => '{"params": [3]}', depends_on => '{}', new_name => 't2')""")
    after = task(db, "t2", shown)
    assert after[2:13] == (
        "SELECT $1::int", {"params": [3]}, "last 3", "queue", 2000, 9000, 4, 1000, 50, "k2", "run",
    )
    assert (after[0], after[14], after[16:]) == (before[0], before[14], ("other", *before[17:]))
    assert db.rows("SELECT * FROM automate.task_dependency") == []
    db.execute("""SELECT automate.alter_task('t2', timeout => '0', description => '', concurrency_key => '',
        valid_until => 'infinity', depends_on => '{up}')""")
    assert task(db, "t2", "timeout_ms, description, concurrency_key, valid_until, priority") == (None, None, None, None, 50)
    assert db.one("SELECT count(*) FROM automate.task_dependency") == 1
    db.execute("SELECT automate.execute_task('t2')")
    db.wait_until("SELECT status = 'succeeded' FROM automate.task_runs WHERE task = 't2'")


def test_only_when_it_runs_moves_the_next_run(db: Database) -> None:
    schedule(db, "t", when="0 12 * * *", more="time_zone => 'UTC'")
    # As if it had been set forward by hand: nothing but a change of the times may touch it.
    db.execute("UPDATE automate.task SET next_run_at = '2999-01-01'")
    db.execute("SELECT automate.alter_task('t', command => 'SELECT 2', priority => 3)")
    assert task(db, "t", "next_run_at").year == 2999
    db.execute("SELECT automate.alter_task('t', time_zone => 'Asia/Tokyo')")
    at, zone, kept = task(db, "t", "next_run_at, time_zone, schedule ->> 'time_zone'")
    assert (at.astimezone(UTC).hour, zone, kept) == (3, "Asia/Tokyo", "Asia/Tokyo")
    db.execute("SELECT automate.alter_task('t', schedule => '0 13 * * *')")
    assert task(db, "t", "next_run_at").astimezone(UTC).hour == 4
    db.execute("SELECT automate.alter_task('t', valid_from => '2998-05-05 00:00+00')")
    assert task(db, "t", "next_run_at") == datetime(2998, 5, 5, 4, tzinfo=UTC)
    db.execute("SELECT automate.pause_task('t'); SELECT automate.resume_task('t')")
    assert task(db, "t", "next_run_at") == datetime(2998, 5, 5, 4, tzinfo=UTC)
    db.execute("SELECT automate.alter_task('t', valid_from => '-infinity')")
    assert task(db, "t", "next_run_at") < datetime.now(UTC) + timedelta(days=2)


def test_what_was_due_by_the_old_schedule_is_recorded(db: Database) -> None:
    schedule(db, "t", when="0 * * * *", more="time_zone => 'UTC'")
    db.execute("SELECT automate.pause_task('t')")
    db.execute("UPDATE automate.task SET next_run_at = date_trunc('hour', now()) - interval '2 hours'")
    db.execute("SELECT automate.alter_task('t', schedule => '30 * * * *')")
    assert db.rows("SELECT status, error, instants FROM automate.task_runs") == [("skipped", "paused", 3)]
    assert task(db, "t", "status, next_run_at > now(), extract(minute FROM next_run_at)::int") == ("paused", True, 30)


def test_enabled_and_what_is_broken(db: Database, role: Role) -> None:
    schedule(db, "t", more="enabled => false")
    db.execute("SELECT automate.alter_task('t', schedule => '0 1 * * *')")
    assert task(db, "t", "status") == "disabled"
    db.execute("SELECT automate.alter_task('t', enabled => true)")
    assert task(db, "t", "status, next_run_at > now()") == ("active", True)
    db.execute("SELECT automate.alter_task('t', enabled => false)")
    assert task(db, "t", "status, status_reason") == ("disabled", None)
    # One that ended by itself goes on with a schedule that has a run to come.
    soon = datetime.now(UTC) + timedelta(milliseconds=200)
    schedule(db, "once", when=f"at {soon.isoformat()}")
    db.wait_until("SELECT status = 'disabled' FROM automate.task WHERE name = 'once'")
    db.execute("SELECT automate.alter_task('once', priority => 5)")
    assert task(db, "once", "status_reason") == "its schedule has no further run"
    diag = refused(db, errors.InvalidParameterValue, "SELECT automate.resume_task('once')")
    assert "no run to come" in diag.message_primary
    db.execute("SELECT automate.alter_task('once', schedule => %s)", [YEARLY])
    assert task(db, "once", "status, status_reason, next_run_at > now()") == ("active", None, True)
    # A task for a trigger's firings becomes one by the clock, and back.
    db.execute("SELECT automate.create_trigger('tr', 'event', event => 'e')")
    db.execute("""SELECT automate.alter_task('once', schedule => '{"on_trigger": "tr"}')""")
    assert task(db, "once", "next_run_at, on_trigger IS NOT NULL") == (None, True)
    db.execute("SELECT automate.emit_event('e', '{}')")
    db.wait_until("SELECT count(*) = 1 FROM automate.task_runs WHERE cause = 'trigger' AND status = 'succeeded'")
    db.execute("SELECT automate.alter_task('once', schedule => %s)", [YEARLY])
    assert task(db, "once", "next_run_at > now(), on_trigger") == (True, None)


@pytest.mark.parametrize("change, kind, text", [
    ("schedule => '61 * * * *'", errors.InvalidParameterValue, "61"),
    ("time_zone => 'Europe/Zürich'", errors.InvalidParameterValue, "time zone"),
    ("misfire => 'onc'", errors.InvalidParameterValue, 'misfire cannot be "onc"'),
    ("overlap => 'sometimes'", errors.InvalidParameterValue, "overlap cannot be"),
    ("command => 'SELECT * FROM nowhere'", errors.UndefinedTable, "nowhere"),
    ("args => '{\"params\": [1]}'", errors.InvalidParameterValue, "takes 0 parameters"),
    ("retries => 100", errors.InvalidParameterValue, "retries must be 0 to 99"),
    ("depends_on => '{nothing}'", errors.UndefinedObject, 'task "nothing" does not exist'),
    ("valid_until => '2001-01-01'", errors.InvalidParameterValue, "no run to come"),
    ("new_name => 'other'", errors.DuplicateObject, 'task "other" already exists'),
    ("new_name => ' '", errors.InvalidParameterValue, "must not be empty"),
])
def test_bad_changes_change_nothing(db: Database, change: str, kind: type[Exception], text: str) -> None:
    schedule(db, "t")
    schedule(db, "other")
    before = db.rows("SELECT t FROM automate.task AS t ORDER BY name")
    diag = refused(db, kind, f"SELECT automate.alter_task('t', {change})")
    assert text in diag.message_primary
    assert db.rows("SELECT t FROM automate.task AS t ORDER BY name") == before


def test_rights_and_the_owners_eyes(db: Database, role: Role) -> None:
    ann, bob = role("ann"), role("bob")
    with db.connect(ann) as session:
        session.execute("CREATE TABLE secret (a int)")
        schedule(session, "t", "SELECT * FROM secret")
        schedule(session, "gone", "SELECT 1")
    for call in ("alter_task('t')", "cancel_task_run('t')", "backfill_task('t', now() - interval '2 years', now())"):
        with db.connect(bob) as session, pytest.raises(errors.UndefinedObject):
            session.execute(f"SELECT automate.{call}")  # type: ignore[arg-type]
    # A superuser's change is looked at with the rights of the owner.
    db.execute("CREATE TABLE hidden (a int)")
    diag = refused(db, errors.InsufficientPrivilege, "SELECT automate.alter_task('t', command => 'SELECT * FROM hidden')")
    assert "hidden" in diag.message_primary
    db.execute(f"GRANT {ann} TO {bob}")
    with db.connect(bob) as session:
        session.execute("SELECT automate.alter_task('t', command => 'SELECT a FROM secret')")
    assert task(db, "t", "command, owner::text") == ("SELECT a FROM secret", ann)
    by = db.rows("SELECT by_role, action, old, new FROM automate.task_audit WHERE task = 't' ORDER BY id")
    assert [row[:2] for row in by] == [(ann, "create"), (bob, "alter")]
    assert by[1][2:] == ({"command": "SELECT * FROM secret"}, {"command": "SELECT a FROM secret"})


def test_hostile_search_path(db: Database, role: Role) -> None:
    ann = role("ann")
    db.execute(f"CREATE SCHEMA evil AUTHORIZATION {ann}")
    with db.connect(ann) as session:
        schedule(session, "t")
        session.execute("CREATE TABLE evil.task (a int)")
        session.execute("CREATE FUNCTION evil.now() RETURNS timestamptz LANGUAGE sql AS 'SELECT NULL::timestamptz'")
        session.execute("SET search_path = evil, pg_catalog")
        session.execute("SELECT automate.alter_task('t', schedule => '0 1 * * *', priority => 5)")
        session.execute("SELECT automate.backfill_task('t', pg_catalog.now() - interval '2 days', pg_catalog.now())")
        session.execute("SELECT automate.cancel_task_run('t')")
    assert task(db, "t", "priority, updated_at IS NOT NULL") == (5, True)


def test_audit_of_a_tasks_life(db: Database) -> None:
    schedule(db, "t")
    db.execute("SELECT automate.pause_task('t'), automate.pause_task('t')")
    db.execute("SELECT automate.resume_task('t')")
    db.execute("SELECT automate.alter_task('t', new_name => 'u', priority => 3)")
    db.execute("SELECT automate.unschedule_task('u')")
    entries = db.rows("SELECT action, task, old, new FROM automate.task_audit ORDER BY id")
    assert [entry[:2] for entry in entries] == [
        ("create", "t"), ("pause", "t"), ("resume", "t"), ("alter", "u"), ("drop", "u"),
    ]
    assert entries[0][3]["command"] == "SELECT 1" and entries[4][2]["priority"] == 3
    assert entries[3][2:] == ({"name": "t", "priority": 100}, {"name": "u", "priority": 3})


def test_rollback_and_two_sessions(db: Database) -> None:
    schedule(db, "t")
    first, second = db.connect(autocommit=False), db.connect()
    first.execute("SELECT automate.alter_task('t', priority => 1)")
    waits = threading.Thread(target=lambda: second.execute("SELECT automate.alter_task('t', retries => 9)"))
    waits.start()
    db.wait_until("SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%%retries%%'")
    first.commit()
    waits.join(20)
    assert task(db, "t", "priority, retries") == (1, 9)
    first.execute("SELECT automate.alter_task('t', priority => 2), automate.cancel_task_run('t')")
    first.rollback()
    assert task(db, "t", "priority") == 1


def test_a_thousand_tasks_altered_at_once(db: Database) -> None:
    db.execute("SELECT automate.schedule_task('t' || n, 'sql', '0 0 1 1 *', 'SELECT 1') FROM generate_series(1, 1000) AS n")
    db.execute("SELECT automate.alter_task(name, schedule => '0 0 2 1 *') FROM automate.task")
    assert db.one("SELECT count(*) FROM automate.task WHERE extract(day FROM next_run_at) = 2") == 1000


# --- cancelling ---------------------------------------------------------------------------------


def test_cancel_a_running_statement(db: Database) -> None:
    schedule(db, "slow", "SELECT pg_sleep(3600)", more="retries => 5")
    job = db.one("SELECT automate.execute_task('slow')")
    running(db, "slow")
    assert db.one("SELECT automate.cancel_task_run('slow', reason => 'too slow')") == 1
    db.wait_until("SELECT finished_at IS NOT NULL FROM automate.task_runs")
    assert runs_of(db, "slow") == [("cancelled", "57014: cancelled: by postgres: too slow")]
    # No retry: it is over.
    assert ended(db, job) == ("cancelled", "57014: cancelled: by postgres: too slow")
    assert db.one("SELECT automate.cancel_task_run('slow')") == 0


def test_cancel_takes_effect_at_commit(db: Database) -> None:
    schedule(db, "held", "SELECT pg_advisory_xact_lock(11)")
    db.execute("SELECT pg_advisory_lock(11)")
    db.execute("SELECT automate.execute_task('held')")
    running(db, "held")
    with db.connect(autocommit=False) as other:
        assert other.execute("SELECT automate.cancel_task_run('held')").fetchone() == (1,)
        other.rollback()
    db.execute("SELECT pg_advisory_unlock(11)")
    db.wait_until("SELECT finished_at IS NOT NULL FROM automate.task_runs")
    assert runs_of(db, "held") == [("succeeded", None)]


def test_cancel_what_waits_ends_at_once(db: Database) -> None:
    schedule(db, "fails", "SELECT 1 / (SELECT 0)", more="retries => 3, backoff => '1 hour'")
    schedule(db, "queued", "SELECT 1")
    db.execute("SELECT automate.execute_task('fails')")
    db.wait_until("SELECT status = 'retrying' FROM automate.task_runs")
    db.execute("SELECT automate.pause('test')")
    db.execute("SELECT automate.execute_task('queued'), automate.execute_task('queued')")
    # One instant, then all; in the same transaction they are over.
    at = db.one("SELECT min(scheduled_at) FROM automate.task_runs WHERE task = 'queued'")
    with db.connect(autocommit=False) as other:
        row = other.execute("SELECT automate.cancel_task_run('queued', %s)", [at]).fetchone()
        assert row == (1,)
        statuses = other.execute("SELECT status FROM automate.task_runs WHERE task = 'queued' ORDER BY scheduled_at").fetchall()
        assert statuses == [("cancelled",), ("queued",)]
        other.commit()
    assert db.one("SELECT automate.cancel_task_run('queued')") == 1
    assert db.one("SELECT automate.cancel_task_run('fails')") == 1
    assert db.one("SELECT count(*) FROM automate.job") == 0
    assert {row for name in ("queued", "fails") for row in runs_of(db, name)} == {("cancelled", "cancelled: by postgres")}
    db.execute("SELECT automate.resume()")


def test_cancel_while_paused(db: Database) -> None:
    schedule(db, "slow", "SELECT pg_sleep(3600)")
    db.execute("SELECT automate.execute_task('slow')")
    running(db, "slow")
    db.execute("SELECT automate.pause('test')")
    db.execute("SELECT automate.cancel_task_run('slow')")
    db.wait_until("SELECT status = 'cancelled' FROM automate.task_runs")


def test_cancel_a_statement_at_top_level(db: Database) -> None:
    db.execute("CREATE TABLE log (what text)")
    db.execute("""CREATE PROCEDURE long() LANGUAGE plpgsql AS $$
        BEGIN INSERT INTO log VALUES ('kept'); COMMIT; INSERT INTO log VALUES ('undone'); PERFORM pg_sleep(3600); END $$""")
    schedule(db, "top", "CALL long()", more="retries => 3")
    db.execute("SELECT automate.execute_task('top')")
    db.wait_until("SELECT count(*) = 1 FROM log")
    running(db, "top")
    db.execute("SELECT automate.cancel_task_run('top')")
    db.wait_until("SELECT finished_at IS NOT NULL FROM automate.task_runs")
    assert runs_of(db, "top") == [("cancelled", "57014: cancelled: by postgres")]
    assert db.rows("SELECT what FROM log") == [("kept",)]
    assert db.one("SELECT count(*) FROM automate.job") == 0


def test_a_cancel_of_the_server_keeps_its_meaning(db: Database) -> None:
    schedule(db, "slow", "SELECT pg_sleep(3600)")
    db.execute("SELECT automate.execute_task('slow')")
    running(db, "slow")
    db.execute("SELECT pg_cancel_backend(pid) FROM automate.activity WHERE job IS NOT NULL")
    db.wait_until("SELECT finished_at IS NOT NULL FROM automate.task_runs")
    ((status, error),) = runs_of(db, "slow")
    assert status == "failed" and error.startswith("57014: canceling statement")


def test_a_request_for_one_job_never_hits_another(db: Database) -> None:
    """The executor is told, again and again, to cancel a job that it does not do."""
    db.execute("CREATE TABLE log (what int)")
    held = enqueue(db, "SELECT pg_advisory_lock_shared(12)")
    succeeded(db, held)
    pid = db.one("SELECT pid FROM automate.activity WHERE worker = 'executor'")
    jobs = [enqueue(db, "INSERT INTO log SELECT $1::int FROM pg_sleep(0.01)", n) for n in range(100)]
    # The signal by which it is told; its slot names none of these jobs.
    while db.one("SELECT count(*) FROM automate.job") > 0:
        os.kill(pid, signal.SIGUSR2)
    for job in jobs:
        assert ended(db, job) == ("succeeded", None)
    assert db.one("SELECT array_agg(what ORDER BY what) FROM log") == list(range(100))
    assert db.one("SELECT max(attempts) FROM automate.job_history") == 1


def test_storm_of_cancels_hits_only_what_is_meant(db: Database) -> None:
    """Short runs are cancelled while jobs of others follow in the same executor."""
    db.execute("CREATE TABLE log (what int)")
    schedule(db, "short", "SELECT pg_sleep(0.005)", more="overlap => 'allow'")
    others = []
    for round_ in range(60):
        db.execute("SELECT automate.execute_task('short')")
        others.append(enqueue(db, "INSERT INTO log SELECT $1::int FROM pg_sleep(0.003)", round_))
        db.execute("SELECT automate.cancel_task_run('short')")
    idle(db, 30)
    for job in others:
        assert ended(db, job) == ("succeeded", None)
    assert db.one("SELECT array_agg(what ORDER BY what) FROM log") == list(range(60))
    statuses = {status for status, _ in runs_of(db, "short")}
    assert statuses <= {"succeeded", "cancelled"} and len(runs_of(db, "short")) == 60
    assert db.one("SELECT count(*) FROM automate.task_run WHERE finished_at IS NULL") == 0


def test_replace_lets_the_later_run_begin(db: Database) -> None:
    schedule(db, "r", "SELECT pg_sleep(3600)", "* * * * * *", "overlap => 'replace'")
    db.wait_until("SELECT count(*) >= 2 FROM automate.task_runs WHERE status = 'cancelled'", deadline=20)
    db.execute("SELECT automate.pause_task('r')")
    db.wait_until("""SELECT count(*) FILTER (WHERE status = 'running') = 1 AND count(*) FILTER (WHERE finished_at IS NULL) = 1
        FROM automate.task_runs""")
    rows = db.rows("SELECT status, error, started_at, finished_at FROM automate.task_runs ORDER BY scheduled_at")
    assert rows[-1][0] == "running"
    assert {row[0] for row in rows[:-1]} == {"cancelled"}
    assert {row[1].removeprefix("57014: ") for row in rows[:-1]} == {"cancelled: replaced by a later run"}
    begun = [row for row in rows if row[2] is not None]
    for earlier, later in zip(begun, begun[1:]):
        assert later[2] >= earlier[2]
    db.execute("SELECT automate.cancel_task_run('r')")
    idle(db)


def test_cancel_what_a_run_has_started(db: Database) -> None:
    db.execute("""SELECT automate.create_workflow('w', '{"do": [{"s": {"wait": {"hours": 1}}}]}')""")
    db.execute("SELECT automate.schedule_task('w', 'workflow', %s, 'w')", [YEARLY])
    db.execute("SELECT automate.execute_task('w')")
    run = db.wait_until("SELECT id FROM automate.run WHERE status = 'waiting'")
    assert db.rows("SELECT status, started FROM automate.task_run") == [("running", run)]
    assert db.one("SELECT automate.cancel_task_run('w')") == 1
    db.wait_until("SELECT status = 'cancelled' FROM automate.run WHERE id = %s", [run])


def report(db: Database, query: str) -> None:
    db.execute(
        "SELECT automate.create_report('r', %s)",
        ['{"title": "t", "datasets": {"d": {"sql": "%s"}}, "layout": [{"table": {"data": "d"}}]}' % query],
    )
    db.execute("SELECT automate.schedule_task('r', 'report', %s, 'r', priority => 1)", [YEARLY])


def test_cancel_a_report_that_is_rendered(db: Database) -> None:
    db.execute("SELECT pg_advisory_lock(76)")
    report(db, "SELECT 1 AS a FROM pg_advisory_xact_lock(76)")
    db.execute("SELECT automate.execute_task('r')")
    db.wait_until("SELECT EXISTS (SELECT FROM automate.report_run AS p JOIN automate.activity AS a ON a.job = p.job)")
    db.execute("SELECT automate.cancel_task_run('r')")
    error = db.wait_until("SELECT error FROM automate.report_run WHERE status = 'failed'")
    assert error.startswith("57014")
    db.wait_until("SELECT status = 'cancelled' FROM automate.task_run")
    assert runs_of(db, "r") == [("cancelled", "57014: cancelled: by postgres")]
    db.execute("SELECT pg_advisory_unlock(76)")


def test_cancel_a_report_that_waits(db: Database) -> None:
    report(db, "SELECT 1 AS a")
    # The only executor starts the report, and is then kept busy.
    db.execute("SELECT automate.limit_role('postgres', running => 1), pg_advisory_lock(76)")
    db.execute(
        "SELECT automate.execute_task('r'), automate.enqueue_sql('SELECT pg_advisory_xact_lock(76)', priority => 50)"
    )
    db.wait_until(
        "SELECT EXISTS (SELECT FROM automate.report_run WHERE status = 'pending') AND EXISTS"
        " (SELECT FROM automate.job AS j JOIN automate.activity AS a ON a.job = j.id WHERE j.kind = 'sql')"
    )
    db.execute("SELECT automate.cancel_task_run('r')")
    assert db.wait_until("SELECT error FROM automate.report_run WHERE status = 'failed'") == "cancelled: by postgres"
    db.wait_until("SELECT status = 'cancelled' FROM automate.task_run")
    assert runs_of(db, "r") == [("cancelled", "57014: cancelled: by postgres")]
    db.execute("SELECT pg_advisory_unlock(76)")
    idle(db)


def test_bad_requests_to_cancel(db: Database) -> None:
    schedule(db, "tame")
    diag = refused(db, errors.UndefinedObject, "SELECT automate.cancel_task_run('tamr')")
    assert diag.message_hint == 'Did you mean "tame"?'
    refused(db, errors.InvalidParameterValue, "SELECT automate.cancel_task_run('tame', reason => repeat('x', 1001))")
    refused(db, errors.NullValueNotAllowed, "SELECT automate.cancel_task_run(NULL)")


# --- docs/task-control.md -----------------------------------------------------------------------


def test_the_examples_of_the_document_run(db: Database, role: Role) -> None:
    text = (ROOT / "docs" / "task-control.md").read_text()
    examples = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    assert len(examples) == 5
    session = db.connect(role("reader"))
    answers: list[Any] = []
    for example in examples:
        for statement in statements(example):
            cursor = session.execute(statement)  # type: ignore[arg-type]
            answers.append(cursor.fetchall() if cursor.description else None)
    assert task(db, "rollup", "schedule ->> 'cron', priority, timeout_ms, description") == ("30 2 * * *", 50, None, None)
    db.wait_until("SELECT status = 'completed' FROM automate.task_backfill_progress")
    # The run that was cancelled may have been quicker.
    by_hand = db.one("SELECT count(*) FROM automate.task_runs WHERE cause = 'manual' AND status = 'succeeded'")
    assert session.execute("SELECT count(*) FROM rollup").fetchone() == (7 + by_hand,)
    assert [row[0] for row in answers[-1]] == ["create", "alter", "alter", "pause", "resume"]
