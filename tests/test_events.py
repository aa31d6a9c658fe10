"""Events: told in the caller's transaction, heard by whom they concern."""

from __future__ import annotations

import json
from collections.abc import Callable

import psycopg
import pytest
from psycopg import sql

from support.database import Database

WRITE = json.dumps([{"sql": "INSERT INTO heard VALUES ($1, $2)", "params": ["${ .rule }", "${ .event }"]}])


def member(db: Database, name: str) -> psycopg.Connection:
    """A connection of a role that may use rules and events."""
    identifier = sql.Identifier(name)
    db.admin.execute(sql.SQL("GRANT USAGE ON SCHEMA automate TO {}").format(identifier))
    db.admin.execute(sql.SQL("GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA automate TO {}").format(identifier))
    db.admin.execute(sql.SQL("REVOKE EXECUTE ON FUNCTION automate.see_all() FROM PUBLIC, {}").format(identifier))
    db.admin.execute(sql.SQL("GRANT SELECT ON automate.rule, automate.event TO {}").format(identifier))
    return db.connect(name)


@pytest.fixture
def heard(db: Database) -> Database:
    db.execute("CREATE TABLE heard (rule text, event jsonb)")
    return db


def done(db: Database) -> None:
    db.wait_until("SELECT NOT EXISTS (SELECT FROM automate.job)")


def test_rule_hears_event_with_condition(heard: Database) -> None:
    db = heard
    db.execute("SELECT automate.create_rule('big', %s, on_event => 'paid', condition => $$(event ->> 'amount')::int > 10 -- big$$)", [WRITE])
    db.execute("SELECT automate.emit_event('paid', '{\"amount\": 5}')")
    event = db.one("SELECT automate.emit_event('paid', '{\"amount\": 50, \"name\": \"Ann\"}')")
    db.execute("SELECT automate.emit_event('other', '{\"amount\": 50}')")
    done(db)
    ((rule, seen),) = db.rows("SELECT * FROM heard")
    assert rule == "big"
    # The payload's own keys win; the payload itself is always there.
    assert seen["amount"] == 50 and seen["name"] == "Ann" and seen["id"] == str(event)
    assert seen["payload"] == {"amount": 50, "name": "Ann"}
    assert db.one("SELECT count(*) FROM automate.event") == 3


def test_rolled_back_events_are_not_heard(heard: Database) -> None:
    db = heard
    db.execute("SELECT automate.create_rule('r', %s, on_event => 'e')", [WRITE])
    writer = db.connect(autocommit=False)
    writer.execute("SELECT automate.emit_event('e', '{\"n\": 1}')")
    writer.rollback()
    writer.execute("SELECT automate.emit_event('e', '{\"n\": 2}')")
    writer.execute("SAVEPOINT s")
    writer.execute("SELECT automate.emit_event('e', '{\"n\": 3}')")
    writer.execute("ROLLBACK TO s")
    writer.commit()
    done(db)
    db.wait_until("SELECT EXISTS (SELECT FROM heard)")
    assert db.rows("SELECT event -> 'n' FROM heard") == [(2,)]
    assert db.one("SELECT count(*) FROM automate.event") == 1


def test_tenants_do_not_hear_each_other(heard: Database, role: Callable[..., str]) -> None:
    db = heard
    names = {who: role(who, level=None) for who in ("ann", "bob", "boss")}
    db.admin.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(names["ann"]), sql.Identifier(names["boss"])))
    db.execute("GRANT INSERT ON heard TO PUBLIC")
    sessions = {who: member(db, name) for who, name in names.items()}
    for who, session in sessions.items():
        session.execute("SELECT automate.create_rule(%s, %s, on_event => 'e')", [who, WRITE])
    sessions["ann"].execute("SELECT automate.emit_event('e', '{}')")
    done(db)
    # The boss has Ann's privileges; Bob has not, and Ann has not the boss's.
    assert sorted(db.rows("SELECT rule FROM heard")) == [("ann",), ("boss",)]
    db.execute("TRUNCATE heard")
    sessions["boss"].execute("SELECT automate.emit_event('e', '{}')")
    done(db)
    assert db.rows("SELECT rule FROM heard") == [("boss",)]
    assert sessions["bob"].execute("SELECT count(*) FROM automate.event").fetchone() == (0,)
    assert sessions["ann"].execute("SELECT count(*) FROM automate.event").fetchone() == (1,)


def test_a_loop_of_events_ends(heard: Database) -> None:
    db = heard
    db.execute("""SELECT automate.create_rule('ping', '[{"emit": "pong"}]', on_event => 'ping')""")
    db.execute("""SELECT automate.create_rule('pong', '[{"emit": "ping"}]', on_event => 'pong')""")
    db.execute("SELECT automate.emit_event('ping')")
    db.wait_until("SELECT EXISTS (SELECT FROM automate.job_history WHERE status = 'failed')", deadline=30)
    error = db.one("SELECT error FROM automate.job_history WHERE status = 'failed'")
    assert error.startswith("54000:") and "chain of 16 rules" in error and "HINT" in error
    assert db.one("SELECT max(depth) FROM automate.event") == 15
    assert db.one("SELECT count(*) FROM automate.event") == 16


def test_a_pattern_hears_the_names_that_it_fits(heard: Database) -> None:
    db = heard
    for number, pattern in enumerate(("order.*", "*.paid", "order.paid", "100%_*", "*")):
        db.execute("SELECT automate.create_rule(%s, %s, on_event => %s)", [f"r{number}", WRITE, pattern])
    for name in ("order.paid", "order.", "orders.paid", "Order.x", "100%_x", "1000_x"):
        db.execute("SELECT automate.emit_event(%s)", [name])
    done(db)
    heard_by = {}
    for rule, name in db.rows("SELECT rule, event ->> 'name' FROM heard"):
        heard_by.setdefault(name, set()).add(rule)
    assert heard_by == {
        "order.paid": {"r0", "r1", "r2", "r4"}, "order.": {"r0", "r4"}, "orders.paid": {"r1", "r4"},
        "Order.x": {"r4"}, "100%_x": {"r3", "r4"}, "1000_x": {"r4"},
    }
    with pytest.raises(psycopg.errors.InvalidParameterValue) as refused:
        db.execute("SELECT automate.emit_event('order.*')")
    assert refused.value.diag.message_hint


@pytest.mark.parametrize("name", ["", "   ", "x" * 257])
def test_a_bad_name_is_refused(db: Database, name: str) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue) as refused:
        db.execute("SELECT automate.emit_event(%s)", [name])
    assert refused.value.diag.message_hint


def test_disabled_and_dropped_rules_hear_nothing(heard: Database) -> None:
    db = heard
    for name in ("a", "b", "c"):
        db.execute("SELECT automate.create_rule(%s, %s, on_event => 'e')", [name, WRITE])
    db.execute("SELECT automate.disable_rule('a')")
    db.execute("SELECT automate.drop_rule('b')")
    db.execute("SELECT automate.emit_event('e')")
    done(db)
    assert db.rows("SELECT rule FROM heard") == [("c",)]
