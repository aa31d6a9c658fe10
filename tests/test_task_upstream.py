"""Tasks that depend on others: a run waits for those of the same instant, and goes once."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import errors

from support.database import Database
from support.paths import ROOT
from test_readme import statements

Role = Callable[..., str]
NEVER = "0 0 1 1 *"


def task(db: Any, name: str, command: str = "SELECT 1", when: str = NEVER, **more: Any) -> None:
    names = "".join(f", {key} => %s" for key in more)
    db.execute(
        f"SELECT automate.schedule_task(%s, 'sql', %s, %s{names})", [name, when, command, *more.values()]
    )


def at(seconds: float) -> datetime:
    """A whole second to come."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).replace(microsecond=0)


def once(moment: datetime) -> str:
    return f"at {moment.isoformat()}"


def ended(db: Database, name: str, status: str = "succeeded") -> None:
    sql = "SELECT status FROM automate.task_runs WHERE task = %s AND finished_at IS NOT NULL ORDER BY scheduled_at DESC LIMIT 1"
    assert db.wait_until(sql, [name], deadline=20) == status


def waits(db: Database, name: str, reason: str) -> None:
    db.wait_until(
        "SELECT EXISTS (SELECT FROM automate.task_runs WHERE task = %s AND status = 'waiting' AND error = %s)",
        [name, reason], deadline=20,
    )


def refused(db: Any, kind: type[Exception], sql: str, params: list[Any] | None = None) -> Any:
    with pytest.raises(kind) as caught:
        db.execute(sql, params)
    return caught.value.diag  # type: ignore[attr-defined]


@pytest.fixture
def log(db: Database) -> Database:
    db.execute("CREATE TABLE log (id bigint GENERATED ALWAYS AS IDENTITY, what text)")
    db.execute("CREATE TABLE gate (shut boolean)")
    return db


def what(db: Database) -> list[str]:
    return [row[0] for row in db.rows("SELECT what FROM log ORDER BY id")]


def say(text: str) -> str:
    return f"INSERT INTO log (what) VALUES ('{text}')"


# --- waiting ------------------------------------------------------------------------------------


def test_a_run_waits_until_all_have_succeeded(log: Database) -> None:
    db, when = log, once(at(2))
    task(db, "a", f"SELECT pg_advisory_xact_lock(71); {say('a')}", when)
    task(db, "b", f"SELECT pg_advisory_xact_lock(72); {say('b')}", when)
    task(db, "c", say("c"), when, depends_on=["a", "b"])
    db.execute("SELECT pg_advisory_lock(71), pg_advisory_lock(72)")
    waits(db, "c", "waits for a and for b")
    rows = db.rows(
        "SELECT u.name, w.upstream_at = w.scheduled_at FROM automate.task_wait AS w JOIN automate.task AS u ON u.id = w.upstream ORDER BY 1"
    )
    assert rows == [("a", True), ("b", True)]
    db.execute("SELECT pg_advisory_unlock(71)")
    waits(db, "c", "waits for b")
    db.execute("SELECT pg_advisory_unlock(72)")
    ended(db, "c")
    assert what(db) == ["a", "b", "c"]
    assert db.rows("SELECT status, error, attempts, cause FROM automate.task_runs WHERE task = 'c'") == [
        ("succeeded", None, 1, "schedule")
    ]
    assert db.one("SELECT count(*) FROM automate.task_wait") == 0
    assert db.one("SELECT count(*) FROM automate.task_news") == 0


def test_an_hourly_and_a_daily_meet_where_both_are_due(log: Database) -> None:
    """The upstream's latest instant that is not after ours counts, not that of the same name."""
    db, moment = log, at(3)
    task(db, "often", say("often"), "* * * * * *")
    task(db, "seldom", say("seldom"), once(moment + timedelta(milliseconds=300)), depends_on=["often"])
    ended(db, "seldom")
    db.execute("SELECT automate.pause_task('often')")
    done = db.one(
        "SELECT finished_at FROM automate.task_runs WHERE task = 'often' AND scheduled_at = %s", [moment]
    )
    started = db.one("SELECT started_at FROM automate.task_runs WHERE task = 'seldom'")
    assert started >= done


def test_a_chain_goes_in_its_order_second_by_second(log: Database) -> None:
    db = log
    task(db, "a", say("a"), "* * * * * *")
    task(db, "b", say("b"), "* * * * * *", depends_on=["a"])
    task(db, "c", say("c"), "* * * * * *", depends_on=["b"])
    db.wait_until("SELECT count(*) >= 4 FROM log WHERE what = 'c'", deadline=30)
    for name in "abc":
        db.execute("SELECT automate.pause_task(%s)", [name])
    db.wait_until("SELECT NOT EXISTS (SELECT FROM automate.job WHERE status <> 'held')")
    # For each instant at which all three ran, each began after the one before had ended.
    rows = db.rows(
        """SELECT a.finished_at <= b.started_at AND b.finished_at <= c.started_at
           FROM automate.task_runs AS a JOIN automate.task_runs AS b USING (scheduled_at)
           JOIN automate.task_runs AS c USING (scheduled_at)
           WHERE a.task = 'a' AND b.task = 'b' AND c.task = 'c' AND c.status = 'succeeded'
             AND a.status = 'succeeded' AND b.status = 'succeeded'"""
    )
    assert len(rows) >= 3 and set(rows) == {(True,)}


def test_two_that_end_at_once_let_go_once(log: Database) -> None:
    db, moment = log, at(2)
    names = [f"u{number}" for number in range(8)]
    for name in names:
        task(db, name, "SELECT pg_advisory_xact_lock_shared(73)", once(moment))
    db.execute("SELECT pg_advisory_lock(73)")
    for number in range(20):
        task(db, f"d{number}", say(f"d{number}"), once(moment), depends_on=names)
    db.wait_until("SELECT count(*) = 20 FROM automate.task_runs WHERE status = 'waiting'", deadline=20)
    db.execute("SELECT pg_advisory_unlock(73)")
    db.wait_until("SELECT count(*) = 20 FROM automate.task_runs WHERE status = 'succeeded' AND task LIKE 'd%%'", deadline=20)
    assert sorted(what(db)) == sorted(f"d{number}" for number in range(20))
    assert db.one("SELECT count(*) FROM automate.task_wait") == 0


def test_nobody_waits_for_who_ends_a_run_and_does_not_commit(log: Database) -> None:
    db, when = log, once(at(2))
    task(db, "u")
    task(db, "a", say("a"), when, depends_on=["u"])
    task(db, "b", say("b"), when, depends_on=["a"])
    task(db, "other", say("other"))
    waits(db, "b", "waits for a")
    with db.connect(autocommit=False) as session:
        session.execute("SELECT automate.cancel_job(job) FROM automate.task_runs WHERE task = 'a'")
        # A new run that waits for it is looked at again and again, and stops nothing else.
        task(db, "c", say("c"), once(at(2)), depends_on=["a"])
        db.wait_until("SELECT EXISTS (SELECT FROM automate.task_runs WHERE task = 'c')", deadline=20)
        db.execute("SELECT automate.execute_task('other')")
        ended(db, "other")
        assert db.rows("SELECT task FROM automate.task_runs WHERE status = 'waiting' ORDER BY 1") == [("a",), ("b",), ("c",)]
        session.commit()
    ended(db, "b", "skipped")
    ended(db, "c", "skipped")
    assert what(db) == ["other"]


def test_execute_task_does_not_wait_and_a_trigger_does(log: Database) -> None:
    db = log
    db.execute("SELECT automate.create_trigger('t', 'event', event => 'e')")
    task(db, "a", say("a"))
    task(db, "b", say("b"), '{"on_trigger": "t"}', depends_on=["a"])
    db.execute("SELECT automate.execute_task('b')")
    ended(db, "b")
    db.execute("""SELECT automate.emit_event('e', '{"x": 1}')""")
    # It has never run: the first run to come is waited for.
    waits(db, "b", "waits for a")
    assert what(db) == ["b"]
    db.execute("SELECT automate.execute_task('a')")
    db.wait_until("SELECT count(*) = 3 FROM log")
    assert what(db) == ["b", "a", "b"]
    # Its latest run has succeeded: nothing to wait for.
    db.execute("""SELECT automate.emit_event('e', '{"x": 2}')""")
    db.wait_until("SELECT count(*) = 4 FROM log")


def test_overlap_counts_runs_that_wait(log: Database) -> None:
    db = log
    task(db, "a", "SELECT pg_advisory_xact_lock(74)", once(at(1)))
    task(db, "b", say("b"), "* * * * * *", depends_on=["a"])
    db.execute("SELECT pg_advisory_lock(74)")
    db.wait_until(
        "SELECT count(*) >= 2 FROM automate.task_runs WHERE task = 'b' AND error = 'overlap'", deadline=20
    )
    assert db.one("SELECT count(*) FROM automate.task_runs WHERE task = 'b' AND status = 'waiting'") == 1
    db.execute("SELECT pg_advisory_unlock(74), automate.pause_task('b')")
    db.wait_until("SELECT count(*) > 0 FROM log")


# --- failures -----------------------------------------------------------------------------------


def test_a_failure_skips_the_whole_chain(log: Database) -> None:
    db, when = log, once(at(2))
    task(db, "a", "SELECT 1 / (SELECT count(*) FROM gate)", when)
    task(db, "b", say("b"), when, depends_on=["a"])
    task(db, "c", say("c"), when, depends_on=["b"])
    task(db, "always", say("always"), when, depends_on=["b"], on_upstream_failure="run")
    ended(db, "c", "skipped")
    ended(db, "always")
    rows = db.rows("SELECT task, status, error, job IS NULL FROM automate.task_runs WHERE task IN ('b', 'c') ORDER BY 1")
    assert rows == [("b", "skipped", "upstream", True), ("c", "skipped", "upstream", True)]
    assert what(db) == ["always"]
    db.wait_until("SELECT NOT EXISTS (SELECT FROM automate.job)")
    assert db.one("SELECT count(*) FROM automate.task_wait") == 0


@pytest.mark.parametrize("how", ["retry", "later run"])
def test_wait_goes_on_until_a_success(log: Database, how: str) -> None:
    db, when = log, once(at(2))
    task(db, "a", "SELECT 1 / (SELECT count(*) FROM gate)", when)
    task(db, "b", say("b"), when, depends_on=["a"], on_upstream_failure="wait")
    waits(db, "b", "waits for a, whose run failed")
    db.execute("INSERT INTO gate VALUES (true)")
    if how == "retry":
        db.execute("SELECT automate.retry_job(job) FROM automate.task_runs WHERE task = 'a'")
    else:
        db.execute("SELECT automate.execute_task('a')")
    ended(db, "b")
    assert what(db) == ["b"]


def test_cancelling_either_end(log: Database) -> None:
    db, when = log, once(at(2))
    task(db, "a", "SELECT pg_advisory_xact_lock(75)", when, concurrency_key="k")
    db.execute("SELECT pg_advisory_lock(75)")
    task(db, "b", say("b"), when, depends_on=["a"])
    task(db, "c", say("c"), when, depends_on=["b"])
    task(db, "d", say("d"), when, depends_on=["a"])
    waits(db, "c", "waits for b")
    # The run that waits is taken out of the queue: what waits for it is left out.
    assert db.one("SELECT automate.cancel_job(job) FROM automate.task_runs WHERE task = 'b'")
    ended(db, "c", "skipped")
    ended(db, "b", "cancelled")
    db.execute("SELECT automate.cancel_task_run('a')")
    ended(db, "a", "cancelled")
    ended(db, "d", "skipped")
    db.execute("SELECT pg_advisory_unlock(75)")
    db.wait_until("SELECT NOT EXISTS (SELECT FROM automate.task_wait) AND NOT EXISTS (SELECT FROM automate.job)")
    assert what(db) == []


def test_what_cannot_come_is_said(log: Database) -> None:
    db, moment = log, at(2)
    task(db, "a", say("a"), "* * * * * *", enabled=False)
    task(db, "b", say("b"), once(moment), depends_on=["a"])
    waits(db, "b", "waits for a, which is disabled")
    db.execute("SELECT automate.resume_task('a')")
    # The instant was passed without a run.
    ended(db, "b", "skipped")
    db.execute("SELECT automate.pause_task('a')")
    moment = at(2)
    task(db, "c", say("c"), once(moment), depends_on=["a"])
    waits(db, "c", "waits for a, which is paused")
    db.execute("SELECT automate.resume_task('a')")
    ended(db, "c", "skipped")
    assert "b" not in what(db) and "c" not in what(db)


# --- definitions --------------------------------------------------------------------------------


def test_definitions_are_checked(db: Database, role: Role) -> None:
    task(db, "nightly")
    diag = refused(
        db, errors.UndefinedObject,
        "SELECT automate.schedule_task('t', 'sql', '@daily', 'SELECT 1', depends_on => '{nightli}')",
    )
    assert diag.message_hint == 'Did you mean "nightly"?'
    diag = refused(
        db, errors.InvalidParameterValue,
        "SELECT automate.schedule_task('t', 'sql', '@daily', 'SELECT 1', depends_on => '{t}')",
    )
    assert (diag.message_primary, diag.message_detail) == (
        'task "t" would wait for itself', "Each of these depends on the next: t -> t."
    )
    diag = refused(
        db, errors.InvalidParameterValue,
        "SELECT automate.schedule_task('t', 'sql', '@daily', 'SELECT 1', depends_on => '{nightly}', on_upstream_failure => 'skipp')",
    )
    assert diag.message_hint == 'Did you mean "skip"?'
    assert db.one("SELECT count(*) FROM automate.task") == 1
    task(db, "t", depends_on=["nightly", "nightly"])
    assert db.one("SELECT count(*) FROM automate.task_dependency") == 1
    diag = refused(db, errors.DependentObjectsStillExist, "SELECT automate.unschedule_task('nightly')")
    assert diag.message_detail == 'These wait for it: "t".'
    assert diag.message_hint == "Remove those first, or leave it out of their depends_on."
    db.execute("SELECT automate.unschedule_task('t'), automate.unschedule_task('nightly')")
    # Another's task is none of a role's affair, unless it has the owner's privileges.
    ann, bob = role("ann"), role("bob")
    task(db.connect(ann), "load")
    session = db.connect(bob)
    sql = "SELECT automate.schedule_task('t', 'sql', '@daily', 'SELECT 1', depends_on => '{load}')"
    refused(session, errors.UndefinedObject, sql)
    db.execute(f"GRANT {ann} TO {bob}")
    session.execute(sql)  # type: ignore[arg-type]
    assert db.one("SELECT owner::text FROM automate.task_dependency") == bob
    other = db.connect(role("eve"))
    assert other.execute("SELECT count(*) FROM automate.task_wait").fetchone() == (0,)


def test_unschedule_takes_what_waits_with_it(log: Database) -> None:
    db, when = log, once(at(2))
    task(db, "a", say("a"), NEVER)
    task(db, "b", say("b"), when, depends_on=["a"])
    waits(db, "b", "waits for a")
    db.execute("SELECT automate.unschedule_task('b')")
    for table in ("job", "task_wait", "task_run", "task_dependency"):
        assert db.one(f"SELECT count(*) FROM automate.{table}") == 0, table
    db.execute("SELECT automate.unschedule_task('a')")


def test_a_dump_keeps_them(cluster: Any, db: Database, bare_db_2: Database) -> None:
    task(db, "b")
    task(db, "a", depends_on=["b"], alert='{"event": true}')
    db.execute("UPDATE automate.task SET created_at = created_at + interval '1 s' WHERE name = 'b'")
    where = ["--host", cluster.socket, "--port", cluster.port, "--username", "postgres"]
    file = cluster.base / "data" / "tasks.dump"
    cluster.run("pg_dump", *where, "--format=custom", "--file", file, db.name)
    cluster.run("pg_restore", *where, "--exit-on-error", "--dbname", bare_db_2.name, file)
    for table in ("task_dependency", "task_alert"):
        rows = f"SELECT to_jsonb(t)::text FROM automate.{table} AS t"
        assert bare_db_2.rows(rows) == db.rows(rows) != []


def test_halves_of_a_ring_made_at_once(db: Database) -> None:
    """Two sessions that each make one half take turns, also one that keeps to its first snapshot."""
    if db.one("SELECT to_regproc('automate.alter_task') IS NULL"):
        pytest.skip("a task's dependencies cannot be changed yet")
    for name in "abc":
        task(db, name)
    task(db, "m", depends_on=["b"])
    change = "SELECT automate.alter_task(%s, depends_on => %s)"
    first, second = db.connect(autocommit=False), db.connect(autocommit=False)
    second.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    second.execute("SELECT count(*) FROM automate.task")
    first.execute(change, ["a", ["m"]])
    caught: list[Any] = []

    def other_half() -> None:
        try:
            second.execute(change, ["b", ["c", "a"]])
        except psycopg.Error as error:
            caught.append(error)

    thread = threading.Thread(target=other_half)
    thread.start()
    db.wait_until("SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)")
    first.commit()
    thread.join()
    assert caught[0].diag.message_detail == "Each of these depends on the next: b -> a -> m -> b."
    second.rollback()
    assert db.one("SELECT count(*) FROM automate.task_dependency") == 2


def test_what_is_taken_out_is_not_waited_for(log: Database) -> None:
    db = log
    if db.one("SELECT to_regproc('automate.alter_task') IS NULL"):
        pytest.skip("a task's dependencies cannot be changed yet")
    task(db, "u")
    task(db, "v")
    task(db, "d", say("d"), once(at(2)), depends_on=["u", "v"])
    waits(db, "d", "waits for u and for v")
    db.execute("SELECT automate.alter_task('d', depends_on => '{v}')")
    waits(db, "d", "waits for v")
    db.execute("SELECT automate.alter_task('d', depends_on => '{}')")
    ended(db, "d")


# --- docs/task-chains.md ------------------------------------------------------------------------


def test_the_examples_of_the_document_run(db: Database, role: Role) -> None:
    text = (ROOT / "docs" / "task-chains.md").read_text()
    examples = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    assert len(examples) >= 4
    session = db.connect(role("reader", level="network"))
    for example in examples:
        for statement in statements(example):
            session.execute(statement)  # type: ignore[arg-type]
    assert db.rows("SELECT name FROM automate.task ORDER BY 1") == [("load",), ("nightly",), ("report",)]
