"""Replay: kept events are given again, to one rule or workflow, in their order, by those who may."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from uuid import UUID

import pytest
from psycopg import errors

from support.cluster import Cluster
from support.database import Database
from support.jobs import idle

WRITE = json.dumps([{"sql": "INSERT INTO heard (rule, event) VALUES ($1, $2)", "params": ["${ .rule }", "${ .event }"]}])
FLOW = json.dumps(
    {
        "document": {"dsl": "1.0.3", "namespace": "test", "name": "w", "version": "1.0.0"},
        "do": [{"write": {"call": "sql", "with": {"query": "INSERT INTO heard (rule, event) VALUES ('w', $1)", "params": ["${ .event }"]}}}],
    }
)


@pytest.fixture
def kept(db: Database) -> Database:
    """Five events that nobody heard, then a rule."""
    db.execute("CREATE TABLE heard (at serial, rule text, event jsonb)")
    for n in range(1, 6):
        db.execute("SELECT automate.emit_event(%s, jsonb_build_object('n', %s::int))", ["paid" if n % 2 else "late", n])
    db.execute("SELECT automate.create_rule('r', %s, on_event => 'paid')", [WRITE])
    return db


def heard(db: Database) -> list[int]:
    return [n for (n,) in db.rows("SELECT event -> 'payload' -> 'n' FROM heard ORDER BY at")]


def test_a_rule_gets_them_in_order_marked(kept: Database) -> None:
    assert kept.one("SELECT automate.replay_events('paid', into_rule => 'r')") == 3
    idle(kept)
    assert heard(kept) == [1, 3, 5]
    event = kept.one("SELECT event FROM heard ORDER BY at LIMIT 1")
    row = kept.rows("SELECT id::text, name, owner::text FROM automate.event ORDER BY id LIMIT 1")[0]
    assert event["replayed"] is True and (event["id"], event["name"], event["user"]) == row
    assert event["depth"] == 0 and event["payload"] == {"n": 1}
    # Nothing new was recorded.
    assert kept.one("SELECT count(*) FROM automate.event") == 5


def test_what_is_asked_for(kept: Database) -> None:
    count = "SELECT automate.replay_events('*', into_rule => 'r', dry_run => true, {})"
    middle = kept.one("SELECT created_at FROM automate.event WHERE payload ->> 'n' = '3'")
    ids = kept.one("SELECT array_agg(id) FROM automate.event WHERE payload ->> 'n' IN ('1', '2')")
    assert kept.one(count.format("once => false")) == 5
    assert kept.one(count.format("since => %s"), [middle]) == 3
    assert kept.one(count.format("until => %s"), [middle]) == 2
    assert kept.one(count.format("ids => %s"), [ids]) == 2
    assert kept.one(count.format("where_sql => '(event ->> ''n'')::int > 2 -- few'")) == 3
    assert kept.one(count.format("where_sql => 'event -> ''payload'' ? ''m'''")) == 0
    assert kept.one("SELECT automate.replay_events('l*', into_rule => 'r', dry_run => true)") == 2
    assert kept.one("SELECT count(*) FROM automate.job") == 0


def test_a_workflow_gets_them_and_once_if_asked(kept: Database) -> None:
    kept.execute("SELECT automate.create_workflow('w', %s)", [FLOW])
    assert kept.one("SELECT automate.replay_events('late', into_workflow => 'w', once => true)") == 2
    kept.execute("SELECT automate.replay_events('late', into_workflow => 'w', once => true)")
    idle(kept)
    assert sorted(heard(kept)) == [2, 4]
    kept.execute("SELECT automate.replay_events('late', into_workflow => 'w')")
    idle(kept)
    assert sorted(heard(kept)) == [2, 2, 4, 4]
    assert kept.one("SELECT count(*) FROM automate.run WHERE source LIKE 'replay:%' AND input -> 'event' -> 'replayed' = 'true'") == 4


def test_keys_keep_their_order(db: Database) -> None:
    db.execute("CREATE TABLE heard (at serial, rule text, event jsonb)")
    for n in range(40):
        db.execute("SELECT automate.emit_event('e', jsonb_build_object('n', %s::int), %s)", [n, f"k{n % 2}"])
    db.execute("SELECT automate.create_rule('r', %s, on_event => 'e')", [WRITE])
    db.execute("SELECT automate.replay_events('e', into_rule => 'r')")
    idle(db, deadline=30)
    for rest in (0, 1):
        assert [n for n in heard(db) if n % 2 == rest] == list(range(rest, 40, 2))


def test_it_is_the_caller_s_transaction(kept: Database) -> None:
    session = kept.connect(autocommit=False)
    session.execute("SELECT automate.replay_events('paid', into_rule => 'r')")
    session.rollback()
    assert kept.one("SELECT count(*) FROM automate.job") == 0


def test_only_what_one_may_know(db: Database, role: Callable[..., str]) -> None:
    ann, bob, boss = role("ann"), role("bob"), role("boss")
    db.execute(f'GRANT "{ann}" TO "{boss}"')
    db.execute("CREATE TABLE heard (at serial, rule text, event jsonb)")
    db.execute("GRANT ALL ON heard, heard_at_seq TO PUBLIC")
    for name in (ann, bob, boss):
        session = db.connect(name)
        session.execute("SELECT automate.emit_event('e')")
        session.execute("SELECT automate.create_rule(%s, %s, on_event => 'x')", [name, WRITE])
    call = "SELECT automate.replay_events('e', into_rule => %s)"
    assert db.connect(ann).execute(call, [ann]).fetchone() == (1,)
    # The boss knows what Ann said; Ann's rule does not learn what the boss said.
    assert db.connect(boss).execute(call, [boss]).fetchone() == (2,)
    assert db.connect(boss).execute(call, [ann]).fetchone() == (1,)
    with pytest.raises(errors.UndefinedObject):
        db.connect(bob).execute(call, [ann])
    # An expression is run with the caller's rights, and sees no row of others.
    spy = db.connect(bob)
    spy.execute("CREATE TABLE seen (event jsonb)")
    spy.execute("CREATE FUNCTION spy(event jsonb) RETURNS boolean LANGUAGE sql COST 0.0001 AS 'INSERT INTO seen VALUES (event) RETURNING true'")
    spy.execute("SELECT automate.replay_events('e', into_rule => %s, where_sql => 'spy(event)', dry_run => true)", [bob])
    assert spy.execute("SELECT DISTINCT event ->> 'user' FROM seen").fetchall() == [(bob,)]


REFUSED = [
    (errors.NoDataFound, "SELECT automate.replay_events('nothing', into_rule => 'r')"),
    (errors.InvalidParameterValue, "SELECT automate.replay_events('paid')"),
    (errors.InvalidParameterValue, "SELECT automate.replay_events('paid', 'r', 'w')"),
    (errors.UndefinedObject, "SELECT automate.replay_events('paid', into_rule => 'rr')"),
    (errors.UndefinedObject, "SELECT automate.replay_events('paid', into_workflow => 'rr')"),
    (errors.ProgramLimitExceeded, "SELECT automate.replay_events('paid', into_rule => 'r', max_events => 2)"),
    (errors.InvalidParameterValue, "SELECT automate.replay_events('paid', into_rule => 'r', max_events => 0)"),
    (errors.InvalidParameterValue, "SELECT automate.replay_events('paid', into_rule => 'r', since => '2020-01-02', until => '2020-01-01')"),
    (errors.InvalidParameterValue, "SELECT automate.replay_events('paid', into_rule => 'r', once => true)"),
    (errors.SyntaxError, "SELECT automate.replay_events('paid', into_rule => 'r', where_sql => 'true) OR (true')"),
    (errors.UndefinedColumn, "SELECT automate.replay_events('paid', into_rule => 'r', where_sql => 'amount > 1')"),
    (errors.InvalidParameterValue, "SELECT automate.replay_events('', into_rule => 'r')"),
    (errors.WrongObjectType, "SELECT automate.replay_events('paid', into_rule => 'on_table')"),
    (errors.ObjectNotInPrerequisiteState, "SELECT automate.replay_events('paid', into_rule => 'off')"),
]


@pytest.mark.parametrize("error, call", REFUSED)
def test_what_makes_no_sense_is_refused(kept: Database, error: type[Exception], call: str) -> None:
    kept.execute("SELECT automate.create_rule('on_table', '[]'::jsonb || %s::jsonb, on_table => 'heard')", ['[{"emit": "x"}]'])
    kept.execute("SELECT automate.create_rule('off', %s, on_event => 'paid', enabled => false)", [WRITE])
    with pytest.raises(error) as refused:
        kept.execute(call)
    assert refused.value.diag.message_detail and refused.value.diag.message_hint  # type: ignore[attr-defined]
    assert kept.one("SELECT count(*) FROM automate.job") == 0


def test_a_rule_that_replays_into_itself_ends(db: Database) -> None:
    action = """[{"sql": "SELECT automate.replay_events('e', into_rule => 'loop')"}]"""
    db.execute("SELECT automate.create_rule('loop', %s, on_event => 'e')", [action])
    db.execute("SELECT automate.emit_event('e')")
    error = db.wait_until("SELECT error FROM automate.job_history WHERE status = 'failed'", deadline=60)
    assert error.startswith("54000:") and "chain of 16" in error
    idle(db)


def aged(seconds: int) -> str:
    """A uuid v7 of an instant that long ago."""
    return str(UUID(int=(int((time.time() - seconds) * 1000) << 80) | (7 << 76) | (2 << 62) | secrets.randbits(60)))


def test_old_events_and_receipts_are_forgotten(new_cluster: Callable[..., Cluster]) -> None:
    cluster = new_cluster(fsync=False, settings={"automate.event_retention": "1h"})
    with cluster.connect() as connection:
        connection.execute("CREATE DATABASE work")
    db = Database(cluster, "work")
    try:
        db.execute("CREATE EXTENSION pg_automate")
        for age in (60, 7200):
            db.execute(
                "INSERT INTO automate.event (id, name, payload, owner, depth) VALUES (%s, %s, '{}', 'postgres', 0)",
                [aged(age), f"{age} s ago"],
            )
        # A copy that is accepted for a day must be known for two.
        for name, tolerance in (("short", "5 min"), ("long", "1 day")):
            db.execute(
                "SELECT automate.create_webhook_source(%s, %s, 'e', %s)",
                [name, ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"], json.dumps({"tolerance": tolerance})],
            )
            db.execute(
                "INSERT INTO automate.webhook_receipt SELECT id, 'm', owner, id, now() - interval '2 hours' FROM automate.webhook_source WHERE name = %s",
                [name],
            )
        # A coordinator tidies up when it begins.
        db.close()
        cluster.stop()
        cluster.start()
        db.wait_until("SELECT count(*) = 1 FROM automate.webhook_receipt", deadline=30)
        assert db.one("SELECT s.name FROM automate.webhook_receipt AS r JOIN automate.webhook_source AS s ON s.id = r.source") == "long"
        db.wait_until("SELECT array_agg(name) = '{60 s ago}' FROM automate.event", deadline=30)
    finally:
        db.close()
