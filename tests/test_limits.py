"""Limits of a role: how many jobs wait, how many run."""

from __future__ import annotations

import psycopg
import pytest

from support.jobs import enqueue, idle
from support.polling import poll


def refused(session, statement: str) -> psycopg.Error:
    with pytest.raises(psycopg.Error) as error:
        session.execute(statement)
    assert error.value.sqlstate == "53400"
    assert error.value.diag.message_detail and error.value.diag.message_hint
    return error.value


def test_a_full_queue_refuses_calls_and_nobody_else(db, role):
    ann, bob = role("ann"), role("bob")
    db.execute("SELECT automate.limit_role(%s::regrole, queued => 20)", [ann])
    db.execute("SELECT automate.pause()")
    hers, his = db.connect(ann), db.connect(bob)
    put = "SELECT automate.enqueue_sql('SELECT 1')"
    for _ in range(20):
        hers.execute(put)
    error = refused(hers, put)
    assert ann in error.diag.message_primary and "20" in error.diag.message_detail
    hers.execute("SELECT automate.create_workflow('w', '{\"do\": [{\"a\": {\"set\": {\"x\": 1}}}]}')")
    hers.execute("SELECT automate.create_template('t', 's', 'b')")
    refused(hers, "SELECT automate.execute_workflow('w')")
    refused(hers, "SELECT automate.emit_event('e')")
    refused(hers, "SELECT automate.notify('t', '{mail:x}')")
    # Many in one statement: a session counts what it puts in itself, too.
    his.execute(f"SELECT ({put[7:]}) FROM generate_series(1, 100)")
    assert db.one("SELECT count(*) FROM automate.job WHERE owner = %s::regrole", [ann]) == 20
    db.execute("SELECT automate.resume()")
    idle(db)
    hers.execute(put)


def test_a_flood_in_one_statement_is_stopped(db, role):
    ann = role("ann")
    db.execute("SELECT automate.limit_role(%s::regrole, queued => 50)", [ann])
    refused(db.connect(ann), "SELECT automate.enqueue_sql('SELECT 1') FROM generate_series(1, 10000)")
    assert db.one("SELECT count(*) FROM automate.job") == 0


def test_what_a_write_causes_is_not_refused(db, role):
    ann = role("ann")
    hers = db.connect(ann)
    hers.execute("CREATE TABLE t (a int); CREATE TABLE seen (a int)")
    hers.execute(
        """
        SELECT automate.create_rule('r', on_table => 't',
            actions => '[{"sql": "INSERT INTO seen VALUES ($1)", "params": ["${ .new.a }"]}]')
        """
    )
    db.execute("SELECT automate.limit_role(%s::regrole, queued => 5)", [ann])
    hers.execute("INSERT INTO t SELECT generate_series(1, 100)")
    db.wait_until("SELECT count(*) = 100 FROM seen")


def test_a_role_runs_no_more_at_once_than_it_may(db, role):
    ann, bob = role("ann"), role("bob")
    db.execute("SELECT automate.limit_role(%s::regrole, running => 1)", [ann])
    hers, his = db.connect(ann), db.connect(bob)
    with db.connect().transaction() as held:
        held.connection.execute("SELECT pg_advisory_xact_lock(7)")
        for session in (hers, hers, hers, his, his):
            enqueue(session, "SELECT pg_advisory_xact_lock_shared(7)")
        # Bob, who has no limit, gets two at once; Ann has had at least as long for a second one.
        poll(lambda: len(busy(db, bob)) == 2 and busy(db, ann), 10, "both roles work")
        assert len(busy(db, ann)) == 1
    idle(db)


def busy(db, owner: str) -> list[int]:
    rows = db.rows(
        "SELECT pid FROM automate.activity WHERE worker = 'executor' AND role = %s::regrole AND job IS NOT NULL",
        [owner],
    )
    return [row[0] for row in rows]


def test_limits_are_set_seen_and_taken_away(db, role):
    ann = role("ann")
    hers = db.connect(ann)
    db.execute("SELECT automate.limit_role(%s::regrole, running => 2, queued => 10)", [ann])
    row = hers.execute("SELECT running, queued FROM automate.role_limit").fetchall()
    assert row == [(2, 10)]
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        hers.execute("SELECT automate.limit_role(current_user::regrole)")
    for bad in ("running => 0", "queued => -1"):
        with pytest.raises(psycopg.errors.InvalidParameterValue):
            db.execute(f"SELECT automate.limit_role('{ann}', {bad})")
    db.execute("SELECT automate.limit_role(%s::regrole)", [ann])
    assert db.one("SELECT count(*) FROM automate.role_limit") == 0


def test_a_day_has_so_many_calls_and_bytes(db, role):
    ann, bob = role("ann"), role("bob")
    db.execute("SELECT automate.limit_role(%s::regrole, per_day => 5)", [ann])
    db.execute("SELECT automate.limit_role(%s::regrole, bytes_per_day => 10000)", [bob])
    hers, hers_too, his = db.connect(ann), db.connect(ann), db.connect(bob)
    put = "SELECT automate.enqueue_sql('SELECT 1')"
    for session in (hers, hers_too, hers, hers_too, hers):
        session.execute(put)
    for session in (hers, hers_too):
        assert "5 jobs a day" in refused(session, put).diag.message_detail
    his.execute("SELECT automate.emit_event('e', jsonb_build_object('a', repeat('x', 6000)))")
    assert "10000 bytes" in refused(
        his, "SELECT automate.emit_event('e', jsonb_build_object('a', repeat('x', 6000)))"
    ).diag.message_detail
    # What was refused does not count.
    his.execute("SELECT automate.emit_event('e', jsonb_build_object('a', repeat('x', 3000)))")
    assert db.one("SELECT count(*) FROM automate.event") == 2
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        db.execute(f"SELECT automate.limit_role('{ann}', per_day => 0)")
