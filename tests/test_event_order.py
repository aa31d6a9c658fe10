"""Events with an order_key: each listener takes them one after the other, come what may."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg import errors

from support.cluster import Cluster
from support.database import Database
from support.jobs import idle, worker

# Fails at the first attempt for the event n = 1: the attempt is counted outside of the transaction
# by a sequence.
TAKE = """
CREATE TABLE taken (at serial, rule text, n int);
CREATE SEQUENCE attempts;
CREATE FUNCTION take(rule text, n int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF n = 1 AND nextval('attempts') = 1 THEN
        RAISE EXCEPTION 'not yet';
    END IF;
    INSERT INTO taken (rule, n) VALUES (rule, n);
END $$;
CREATE FUNCTION fail(n int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF n = 1 THEN
        RAISE EXCEPTION 'never';
    END IF;
    INSERT INTO taken (rule, n) VALUES ('fail', n);
END $$;
"""
ACTION = '[{"sql": "SELECT take($1, $2)", "params": ["${ .rule }", "${ .event.n }"]}]'


@pytest.fixture
def ordered(db: Database) -> Database:
    db.execute(TAKE)
    db.execute("SELECT automate.create_rule('r', %s, on_event => 'e')", [ACTION])
    return db


def emit(session: Any, n: int, key: str | None = "k", name: str = "e") -> None:
    session.execute("SELECT automate.emit_event(%s, jsonb_build_object('n', %s::int), %s)", [name, n, key])


def taken(db: Database, rule: str = "r") -> list[int]:
    return [n for (n,) in db.rows("SELECT n FROM taken WHERE rule = %s ORDER BY at", [rule])]


def test_later_events_wait_for_one_that_is_tried_again(ordered: Database) -> None:
    for n in range(1, 6):
        emit(ordered, n)
    emit(ordered, 7, "other")
    # What has another key, or none, does not wait.
    emit(ordered, 8, None)
    ordered.wait_until("SELECT count(*) = 2 FROM taken")
    assert sorted(taken(ordered)) == [7, 8]
    assert ordered.one("SELECT count(*) FROM automate.job WHERE last_error IS NOT NULL") == 1
    idle(ordered, deadline=30)
    assert taken(ordered)[2:] == [1, 2, 3, 4, 5]


def test_a_dead_letter_lets_the_next_go_on(ordered: Database) -> None:
    ordered.execute("SELECT automate.drop_rule('r')")
    ordered.execute("""SELECT automate.create_rule('fail', '[{"sql": "SELECT fail($1)", "params": ["${ .event.n }"]}]', on_event => 'e')""")
    for n in (1, 2, 3):
        emit(ordered, n)
    idle(ordered, deadline=30)
    assert taken(ordered, "fail") == [2, 3]
    # They were not begun before it was given up.
    assert ordered.one(
        "SELECT max(finished_at) FILTER (WHERE status = 'failed') <= min(started_at) FILTER (WHERE status = 'succeeded')"
        " FROM automate.job_history"
    )
    # Tried again by hand it takes its turn before what has come meanwhile.
    ordered.execute("SELECT automate.pause()")
    emit(ordered, 4)
    ordered.execute("CREATE OR REPLACE FUNCTION fail(n int) RETURNS void LANGUAGE sql AS $$INSERT INTO taken (rule, n) VALUES ('fail', n)$$")
    ordered.execute("SELECT automate.retry_job(id) FROM automate.job_history WHERE status = 'failed'")
    ordered.execute("SELECT automate.resume()")
    idle(ordered, deadline=30)
    assert taken(ordered, "fail") == [2, 3, 1, 4]


def test_a_listener_in_trouble_does_not_hold_up_others(ordered: Database) -> None:
    ordered.execute("""SELECT automate.create_rule('calm', '[{"sql": "INSERT INTO taken (rule, n) VALUES (''calm'', $1)", "params": ["${ .event.n }"]}]', on_event => 'e', priority => 200)""")
    for n in (1, 2, 3):
        emit(ordered, n)
    ordered.wait_until("SELECT count(*) = 3 FROM taken WHERE rule = 'calm'")
    idle(ordered, deadline=30)
    assert taken(ordered, "calm") == [1, 2, 3] and taken(ordered) == [1, 2, 3]


def test_a_cancelled_job_lets_the_next_go_on(ordered: Database) -> None:
    emit(ordered, 1)
    emit(ordered, 2)
    ordered.wait_until("SELECT EXISTS (SELECT FROM automate.job WHERE status = 'scheduled')")
    assert ordered.one("SELECT automate.cancel_job(id) FROM automate.job WHERE status = 'scheduled'")
    idle(ordered)
    assert taken(ordered) == [2]


def test_emitters_of_a_key_come_one_after_the_other(ordered: Database) -> None:
    first, second = ordered.connect(autocommit=False), ordered.connect()
    emit(first, 10)
    waiter = threading.Thread(target=emit, args=(second, 11))
    waiter.start()
    ordered.wait_until("SELECT EXISTS (SELECT FROM pg_locks WHERE pid = %s AND NOT granted)", [second.info.backend_pid])
    # Another key, no key, and another role's key wait for nobody.
    emit(ordered, 12, "other")
    emit(ordered, 13, None)
    first.commit()
    waiter.join(30)
    idle(ordered)
    seen = taken(ordered)
    assert seen.index(10) < seen.index(11)
    assert ordered.rows("SELECT payload -> 'n' FROM automate.event WHERE order_key = 'k' ORDER BY order_seq") == [(10,), (11,)]


def test_many_sessions_one_order(ordered: Database) -> None:
    sessions = [ordered.connect() for _ in range(4)]

    def work(at: int) -> None:
        for i in range(24):
            emit(sessions[at], 1000 * (at + 1) + i, f"k{i % 2}")

    threads = [threading.Thread(target=work, args=(at,)) for at in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    idle(ordered, deadline=60)
    for key in ("k0", "k1"):
        emitted = [n for (n,) in ordered.rows("SELECT (payload ->> 'n')::int FROM automate.event WHERE order_key = %s ORDER BY order_seq", [key])]
        members = set(emitted)
        assert [n for n in taken(ordered) if n in members] == emitted
        assert len(emitted) == 48


@pytest.mark.parametrize("crash", [False, True])
def test_the_order_holds_over_two_executors_and_a_crash(new_cluster: Callable[..., Cluster], crash: bool) -> None:
    cluster = new_cluster(fsync=False, settings={"automate.max_executors": 2, "automate.batch_max": 1})
    with cluster.connect() as connection:
        connection.execute("CREATE DATABASE work")
    db = Database(cluster, "work")
    try:
        db.execute("CREATE EXTENSION pg_automate")
        db.execute(TAKE)
        db.execute("SELECT automate.create_rule('r', %s, on_event => 'e')", [ACTION])
        # Both executors are there and have something to do.
        db.execute("SELECT automate.enqueue_sql('SELECT pg_sleep(0.02)') FROM generate_series(1, 40)")
        for n in range(1, 31):
            emit(db, n, f"k{n % 2}")
        if crash:
            worker(db, "executor")
            cluster.kill9()
            db.close()
            cluster.start()
        idle(db, deadline=60)
        for rest in (0, 1):
            mine = [n for n in taken(db) if n % 2 == rest]
            assert mine == sorted(mine) and len(mine) == 15
    finally:
        db.close()


@pytest.mark.parametrize("key", ["", "  ", "x" * 257])
def test_a_bad_key_is_refused(db: Database, key: str) -> None:
    with pytest.raises(errors.InvalidParameterValue) as refused:
        emit(db, 1, key)
    assert refused.value.diag.message_hint


def test_two_keys_in_two_orders_are_a_deadlock_that_ends(db: Database) -> None:
    one, two = db.connect(autocommit=False), db.connect(autocommit=False)
    emit(one, 1, "a")
    emit(two, 2, "b")
    failures: list[BaseException] = []

    def cross() -> None:
        try:
            emit(one, 3, "b")
        except psycopg.Error as error:
            failures.append(error)
            one.rollback()

    thread = threading.Thread(target=cross)
    thread.start()
    try:
        emit(two, 4, "a")
    except psycopg.Error as error:
        failures.append(error)
        two.rollback()
    thread.join(30)
    assert len(failures) == 1 and isinstance(failures[0], errors.DeadlockDetected)
