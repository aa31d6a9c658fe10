"""Making up for the past: one run for each instant that has none which succeeded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from psycopg import errors

from support.cluster import Cluster
from support.database import Database
from support.jobs import idle

Role = Callable[..., str]

DAY = "date_trunc('day', now() - interval '3 days')"


def schedule(db: Any, name: str, command: str, when: str = "0 * * * *", more: str = "enabled => false") -> None:
    db.execute(
        f"SELECT automate.schedule_task(%s, 'sql', %s, %s, time_zone => 'UTC', {more})", [name, when, command]
    )


def backfill(db: Any, name: str, since: str, until: str) -> str:
    row = db.execute(f"SELECT automate.backfill_task('{name}', {since}, until => {until})").fetchone()
    return str(row[0])


def completed(db: Database, id_: str, deadline: float = 30) -> tuple[int, int, int]:
    """Waits for its end; how many are done, failed, and all."""
    db.wait_until("SELECT status = 'completed' FROM automate.task_backfill_progress WHERE id = %s", [id_], deadline)
    row = db.rows("SELECT done, failed, total, fraction, open, eta FROM automate.task_backfill_progress WHERE id = %s", [id_])[0]
    assert row[3:] == (1, 0, None)
    return row[:3]


def refused(db: Database, kind: type[Exception], sql: str) -> Any:
    with pytest.raises(kind) as caught:
        db.execute(sql)
    diag = caught.value.diag  # type: ignore[attr-defined]
    assert diag.message_primary and diag.message_detail and diag.message_hint
    return diag


def test_each_instant_once_oldest_first(db: Database) -> None:
    db.execute("CREATE TABLE log (id bigint GENERATED ALWAYS AS IDENTITY, at timestamptz DEFAULT clock_timestamp())")
    schedule(db, "t", "INSERT INTO log DEFAULT VALUES")
    id_ = backfill(db, "t", DAY, f"{DAY} + interval '23 hours'")
    assert completed(db, id_) == (24, 0, 24)
    assert db.one("SELECT count(*) FROM log") == 24
    rows = db.rows("SELECT scheduled_at, started_at, cause, status FROM automate.task_runs ORDER BY scheduled_at")
    assert [row[0].hour for row in rows] == list(range(24))
    assert {row[2:] for row in rows} == {("backfill", "succeeded")}
    # One after the other.
    begun = [row[1] for row in rows]
    assert begun == sorted(begun)
    assert db.one("SELECT max(attempts) FROM automate.job_history") == 1
    # Nothing is left to be done the second time.
    assert completed(db, backfill(db, "t", DAY, f"{DAY} + interval '23 hours'")) == (24, 0, 24)
    assert db.one("SELECT count(*) FROM log") == 24


def test_only_what_did_not_succeed(db: Database) -> None:
    db.execute("CREATE TABLE log (id bigint GENERATED ALWAYS AS IDENTITY)")
    db.execute("CREATE TABLE bad (a int)")
    schedule(db, "t", "INSERT INTO log SELECT FROM bad HAVING count(*) = 0 OR 1 / (count(*) - count(*)) > 0")
    # 0 to 4 h: skipped in a row from an hour before; 6 h: failed; 7 h: succeeded; 9 h: cancelled; 11 to 13 h: skipped.
    for first, last, status, error in [
        (-1, 4, "skipped", "missed"), (6, 6, "failed", "x"), (7, 7, "succeeded", None), (9, 9, "cancelled", "y"),
        (11, 13, "skipped", "paused"),
    ]:
        db.execute(
            f"""INSERT INTO automate.task_run (task, scheduled_at, due_at, status, finished_at, error, through, instants, owner)
            SELECT id, {DAY} + %(a)s * interval '1 hour', now(), %(s)s, now(), %(e)s,
                   CASE WHEN %(s)s = 'skipped' THEN {DAY} + %(z)s * interval '1 hour' END, %(z)s - %(a)s + 1, owner FROM automate.task""",
            {"a": first, "z": last, "s": status, "e": error},
        )
    id_ = backfill(db, "t", DAY, f"{DAY} + interval '12 hours'")
    assert completed(db, id_) == (13, 0, 13)
    assert db.one("SELECT count(*) FROM log") == 12
    shown = db.rows(
        f"""SELECT extract(epoch FROM scheduled_at - {DAY})::int / 3600, extract(epoch FROM through - {DAY})::int / 3600,
        instants, error FROM automate.task_runs WHERE status = 'skipped' ORDER BY 1"""
    )
    # What is left of the rows of skipped instants on either side.
    assert shown == [(-1, -1, 1, "missed"), (13, 13, 1, "paused")]
    hours = db.rows(
        f"""SELECT array_agg(extract(epoch FROM scheduled_at - {DAY})::int / 3600 ORDER BY scheduled_at), cause
        FROM automate.task_runs WHERE status = 'succeeded' GROUP BY cause ORDER BY cause"""
    )
    assert hours == [([0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12], "backfill"), ([7], "schedule")]


def test_failures_are_counted_and_made_up_for_later(db: Database) -> None:
    db.execute("CREATE TABLE ok (a int)")
    schedule(db, "t", "SELECT 1 / count(*) FROM ok")
    since, until = DAY, f"{DAY} + interval '2 hours'"
    assert completed(db, backfill(db, "t", since, until)) == (0, 3, 3)
    db.execute("INSERT INTO ok VALUES (1)")
    assert completed(db, backfill(db, "t", since, until)) == (3, 0, 3)
    assert db.rows("SELECT DISTINCT status, error FROM automate.task_runs") == [("succeeded", None)]


def test_scheduled_runs_neither_wait_nor_are_skipped(db: Database) -> None:
    db.execute("CREATE TABLE log (what text)")
    db.execute("SELECT pg_advisory_lock(7)")
    schedule(
        db, "t",
        "INSERT INTO log SELECT current_setting('x.none', true) FROM pg_advisory_xact_lock_shared(7)",
        "* * * * * *", "overlap => 'skip'",
    )
    db.wait_until("SELECT count(*) >= 1 FROM automate.task_runs WHERE status = 'running'")
    db.execute("SELECT automate.pause_task('t')")
    db.execute("SELECT automate.cancel_task_run('t')")
    idle(db)
    id_ = backfill(db, "t", "now() - interval '20 minutes'", "now() - interval '19 minutes'")
    db.wait_until("SELECT count(*) = 1 FROM automate.task_runs WHERE cause = 'backfill' AND status = 'running'")
    db.execute("SELECT automate.resume_task('t')")
    # A run of the schedule is made and begins beside the one for the past.
    db.wait_until("SELECT count(*) >= 1 FROM automate.task_runs WHERE cause = 'schedule' AND status = 'running'")
    assert db.one("SELECT count(*) FROM automate.task_runs WHERE cause = 'backfill' AND status = 'running'") == 1
    priorities = dict(db.rows("SELECT r.cause, max(j.priority) FROM automate.task_run r JOIN automate.job j ON j.id = r.job GROUP BY 1"))
    assert priorities == {"backfill": 200, "schedule": 100}
    db.execute("SELECT automate.pause_task('t'), pg_advisory_unlock(7)")
    completed(db, id_)


def test_cancel_and_go_on(db: Database) -> None:
    db.execute("CREATE TABLE log (a int)")
    db.execute("SELECT pg_advisory_lock(8)")
    schedule(db, "t", "INSERT INTO log SELECT 1 FROM pg_advisory_xact_lock_shared(8)", "* * * * *")
    since, until = "now() - interval '1 day'", "now() - interval '1 hour'"
    id_ = backfill(db, "t", since, until)
    db.wait_until("SELECT count(*) >= 1 FROM automate.task_runs WHERE status = 'running'")
    # Some at a time: not all are made.
    assert db.one("SELECT open FROM automate.task_backfill_progress") == 100
    assert db.one("SELECT automate.cancel_backfill(%s::uuid)", [id_]) is True
    assert db.one("SELECT automate.cancel_backfill(%s::uuid)", [id_]) is False
    db.wait_until("SELECT finished_at IS NOT NULL FROM automate.task_backfill_progress")
    status, done, failed, error = db.rows("SELECT status, done, failed, error FROM automate.task_backfill_progress")[0]
    assert (status, done, failed, error) == ("cancelled", 0, 100, "cancelled: by postgres")
    assert db.one("SELECT count(*) FROM automate.job") == 0 and db.one("SELECT count(*) FROM log") == 0
    db.execute("SELECT pg_advisory_unlock(8)")
    done, failed, total = completed(db, backfill(db, "t", since, until))
    assert (done, failed) == (total, 0) and total in (1380, 1381)
    assert db.one("SELECT count(*) FROM log") == total


def test_together_when_overlap_is_allowed(db: Database) -> None:
    db.execute("CREATE TABLE log (a int)")
    schedule(db, "t", "INSERT INTO log VALUES (1)", "* * * * *", "enabled => false, overlap => 'allow'")
    done, failed, total = completed(db, backfill(db, "t", "now() - interval '3 days'", "now()"))
    assert (done, failed) == (total, 0) and total in (4320, 4321)
    assert db.one("SELECT count(*) FROM log") == db.one("SELECT run_count FROM automate.task") == total


def test_rollback_rights_and_the_end_of_a_task(db: Database, role: Role) -> None:
    ann = role("ann")
    with db.connect(ann) as session:
        schedule(session, "t", "SELECT pg_sleep(3600)")
        id_ = backfill(session, "t", DAY, "now()")
        assert session.execute("SELECT count(*) FROM automate.task_backfill_progress").fetchone() == (1,)
    with db.connect(role("bob")) as session:
        assert session.execute("SELECT count(*) FROM automate.task_backfill_progress").fetchone() == (0,)
        with pytest.raises(errors.UndefinedObject, match="does not exist"):
            session.execute("SELECT automate.cancel_backfill(%s::uuid)", [id_])
    with db.connect(autocommit=False) as session:
        backfill(session, "t", DAY, "now()")
        session.rollback()
    assert db.one("SELECT count(*) FROM automate.task_backfill") == 1
    db.wait_until("SELECT count(*) >= 1 FROM automate.task_runs WHERE status = 'running'")
    db.execute("SELECT automate.cancel_task_run('t')")
    db.execute("SELECT automate.unschedule_task('t')")
    assert db.one("SELECT count(*) FROM automate.task_backfill") == 0


def test_survives_a_crash(new_cluster: Callable[..., Cluster]) -> None:
    cluster = new_cluster(fsync=False)
    db = Database(cluster, "postgres")
    db.execute("CREATE EXTENSION pg_automate; CREATE TABLE log (a int)")
    schedule(db, "t", "INSERT INTO log VALUES (1)", "* * * * *")
    id_ = backfill(db, "t", "now() - interval '2 days'", "now()")
    db.wait_until("SELECT count(*) >= 200 FROM log", deadline=30)
    db.close()
    cluster.kill9()
    cluster.start()
    done, failed, total = completed(db, id_, 90)
    assert (done, failed) == (total, 0) and total in (2880, 2881)
    assert db.one("SELECT count(*) FROM log") == total
    db.close()


def test_bad_requests(db: Database) -> None:
    schedule(db, "t", "SELECT 1", "* * * * * *")
    call = "SELECT automate.backfill_task"
    diag = refused(db, errors.ProgramLimitExceeded, f"{call}('t', now() - interval '2 days', now())")
    assert "more than 100000 instants" in diag.message_primary
    diag = refused(db, errors.NoDataFound, f"{call}('t', now() + interval '1 day', now() + interval '2 days')")
    assert "no instant there" in diag.message_primary
    refused(db, errors.NoDataFound, f"{call}('t', now(), now() - interval '2 days')")
    refused(db, errors.InvalidParameterValue, f"{call}('t', '-infinity', now())")
    diag = refused(db, errors.NullValueNotAllowed, f"{call}('t', NULL, now())")
    assert "from must not be NULL" in diag.message_primary
    refused(db, errors.UndefinedObject, f"{call}('tt', now() - interval '1 day', now())")
    refused(db, errors.UndefinedObject, "SELECT automate.cancel_backfill('00000000-0000-0000-0000-000000000000')")
    db.execute("SELECT automate.create_trigger('tr', 'event', event => 'e')")
    db.execute("""SELECT automate.schedule_task('on', 'sql', '{"on_trigger": "tr"}', 'SELECT 1')""")
    diag = refused(db, errors.ObjectNotInPrerequisiteState, f"{call}('on', now() - interval '1 day', now())")
    assert "runs when a trigger fires" in diag.message_primary
    # Within its validity only.
    schedule(db, "v", "SELECT 1", "0 * * * *", f"enabled => false, valid_from => {DAY} + interval '5 hours'")
    assert completed(db, backfill(db, "v", DAY, f"{DAY} + interval '6 hours'")) == (2, 0, 2)


def test_nobody_who_holds_a_task_holds_up_the_others(db: Database) -> None:
    schedule(db, "held", "SELECT 1")
    schedule(db, "free", "SELECT 1")
    until = f"{DAY} + interval '1 hour'"
    with db.connect(autocommit=False) as other:
        held = backfill(db, "held", DAY, until)
        completed(db, held)
        other.execute("SELECT automate.alter_task('held', priority => 1)")
        db.execute("UPDATE automate.task_run SET status = 'failed', error = 'x'")
        with db.connect() as third:
            third.execute("SET statement_timeout = '100 ms'")
            with pytest.raises(errors.QueryCanceled):
                backfill(third, "held", DAY, until)
        # As if it had been asked for just before the other session took the task.
        db.execute("UPDATE automate.task_backfill SET status = 'running', finished_at = NULL, next_at = from_at, kept = 0, succeeded = NULL, failed = NULL")
        assert completed(db, backfill(db, "free", DAY, until)) == (2, 0, 2)
        assert db.rows("SELECT status, done, failed FROM automate.task_backfill_progress WHERE id = %s", [held]) == [("running", 0, 2)]
        other.rollback()
    db.wait_until("SELECT status = 'completed' FROM automate.task_backfill WHERE id = %s", [held])
    assert db.rows("SELECT DISTINCT status FROM automate.task_run") == [("succeeded",)]


def test_what_cannot_go_on_says_why(db: Database) -> None:
    schedule(db, "t", "SELECT 1")
    schedule(db, "good", "SELECT 1")
    db.execute("SELECT automate.pause('test')")
    bad, good = (backfill(db, name, DAY, f"{DAY} + interval '1 hour'") for name in ("t", "good"))
    db.execute("""UPDATE automate.task_backfill SET schedule = '{"cron": "nonsense"}' WHERE id = %s""", [bad])
    db.execute("SELECT automate.resume()")
    completed(db, good)
    db.wait_until("SELECT finished_at IS NOT NULL FROM automate.task_backfill WHERE id = %s", [bad])
    status, error = db.rows("SELECT status, error FROM automate.task_backfill WHERE id = %s", [bad])[0]
    assert status == "failed" and "nonsense" in error


def test_a_failed_workflow_starts_anew(db: Database) -> None:
    db.execute("CREATE TABLE ok (a int)")
    db.execute("""SELECT automate.create_workflow('w', '{"do": [{"s": {"call": "sql", "with": {"query": "SELECT 1 / count(*) FROM ok"}}}]}')""")
    db.execute("SELECT automate.schedule_task('t', 'workflow', '0 0 * * *', 'w', time_zone => 'UTC', enabled => false)")
    since, until = DAY, f"{DAY} + interval '1 hour'"
    completed(db, backfill(db, "t", since, until))
    db.wait_until("SELECT count(*) = 1 FROM automate.run WHERE status = 'faulted'")
    # Whatever became of the run that it started, the instant is to be done again.
    db.execute("UPDATE automate.task_run SET status = 'failed', error = 'x'")
    db.execute("INSERT INTO ok VALUES (1)")
    completed(db, backfill(db, "t", since, until))
    db.wait_until("SELECT count(*) = 1 FROM automate.run WHERE status = 'completed'")
