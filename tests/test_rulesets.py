"""Rule sets: which of the rules that match act, on tables and on events."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from support.database import Database
from test_events import done

NOTE = json.dumps([{"sql": "INSERT INTO noted VALUES ($1)", "params": ["${ .rule }"]}])


@pytest.fixture
def orders(db: Database) -> Database:
    db.execute("CREATE TABLE orders (id int, amount numeric)")
    db.execute("CREATE TABLE noted (rule text)")
    return db


def rule(db: Any, name: str, condition: str | None = None, **more: Any) -> None:
    more = {"condition": condition, **more}
    names = ", ".join(f"{key} => %s" for key in more)
    db.execute(f"SELECT automate.create_rule(%s, %s, {names})", [name, NOTE, *more.values()])


def noted(db: Database) -> list[str]:
    done(db)
    names = [name for (name,) in db.rows("SELECT rule FROM noted ORDER BY rule")]
    db.execute("TRUNCATE noted")
    return names


def three(db: Database, policy: str, **more: Any) -> None:
    db.execute("SELECT automate.create_ruleset('s', %s)", [policy])
    rule(db, "c", "amount > 10", ruleset="s", priority=30, on_table="orders", **more)
    rule(db, "b", "amount > 20", ruleset="s", priority=20, on_table="orders", **more)
    rule(db, "a", "amount > 20", ruleset="s", priority=20, on_table="orders", **more)
    rule(db, "alone", "amount > 10", on_table="orders")


@pytest.mark.parametrize(("policy", "want"), [
    ("all", ["a", "alone", "b", "c"]), ("collect", ["a", "alone", "b", "c"]),
    ("first", ["a", "alone"]), ("unique", ["alone"]),
])
def test_policies_on_tables(orders: Database, policy: str, want: list[str]) -> None:
    db = orders
    three(db, policy)
    db.execute("INSERT INTO orders VALUES (1, 50)")
    assert noted(db) == want
    db.execute("INSERT INTO orders VALUES (2, 15)")
    assert noted(db) == ["alone", "c"]


def test_a_policy_changes_for_every_session(orders: Database) -> None:
    db = orders
    three(db, "all")
    writer = db.connect()
    writer.execute("INSERT INTO orders VALUES (1, 50)")
    assert noted(db) == ["a", "alone", "b", "c"]
    db.execute("SELECT automate.alter_ruleset('s', 'first', 'one of them')")
    writer.execute("INSERT INTO orders VALUES (1, 50)")
    assert noted(db) == ["a", "alone"]
    assert db.one("SELECT description FROM automate.ruleset") == "one of them"


def test_more_than_one_of_a_unique_set(orders: Database) -> None:
    db = orders
    three(db, "unique")
    db.execute("INSERT INTO orders VALUES (1, 50)")
    done(db)
    told = db.rows("SELECT name, errors, last_error FROM automate.rule WHERE errors > 0 ORDER BY name")
    assert [(name, errors) for name, errors, _ in told] == [("a", 1), ("b", 1), ("c", 1)]
    assert told[0][2].startswith("21000: 3 rules of a set match") and '"a", "b", "c"' in told[0][2]
    assert db.one("SELECT count(*) FROM automate.rule WHERE status <> 'active'") == 0
    db.execute("SELECT automate.alter_rule('b', on_error => 'fail')")
    with pytest.raises(psycopg.errors.CardinalityViolation):
        db.execute("INSERT INTO orders VALUES (2, 50)")
    db.execute("INSERT INTO orders VALUES (3, 15)")
    assert db.one("SELECT count(*) FROM orders") == 2


def test_stop_beside_a_policy(orders: Database) -> None:
    db = orders
    db.execute("SELECT automate.create_ruleset('s', 'first'), automate.create_ruleset('u', 'unique')")
    rule(db, "first", None, on_table="orders", ruleset="s", priority=1)
    # It does not act, so it stops nobody.
    rule(db, "second", None, on_table="orders", ruleset="s", priority=2, stop=True)
    rule(db, "u1", "amount > 5", on_table="orders", ruleset="u", priority=3, stop=True)
    # Nobody sees what u1 stopped: no fault.
    rule(db, "u2", None, on_table="orders", ruleset="u", priority=4)
    rule(db, "last", None, on_table="orders", priority=5)
    db.execute("INSERT INTO orders VALUES (1, 9)")
    assert noted(db) == ["first", "u1"]
    db.execute("INSERT INTO orders VALUES (1, 1)")
    assert noted(db) == ["first", "last", "u2"]
    assert db.one("SELECT sum(errors) FROM automate.rule") == 0


def test_policies_on_events(orders: Database) -> None:
    db = orders
    for policy in ("all", "first", "unique"):
        db.execute("SELECT automate.create_ruleset(%s, %s)", [policy, policy])
        for name, least, priority in (("z", 5, 1), ("a", 10, 2), ("b", 20, 3)):
            rule(db, f"{policy}_{name}", f"(event ->> 'amount')::int > {least}", ruleset=policy, priority=priority, on_event="e")
    db.execute("SELECT automate.emit_event('e', '{\"amount\": 50}')")
    assert noted(db) == ["all_a", "all_b", "all_z", "first_z"]
    told = db.rows("SELECT name FROM automate.rule WHERE last_error LIKE '21000:%' ORDER BY name")
    assert told == [("unique_a",), ("unique_b",), ("unique_z",)]
    db.execute("SELECT automate.emit_event('e', '{\"amount\": 7}')")
    assert noted(db) == ["all_z", "first_z", "unique_z"]
    # What cannot be decided is passed over, and its owner is told.
    db.execute("SELECT automate.emit_event('e', '{\"amount\": \"x\"}')")
    done(db)
    assert db.one("SELECT count(*) FROM automate.rule WHERE name LIKE 'first%' AND last_error LIKE '22P02%'") == 3
    assert db.one("SELECT count(*) FROM automate.job_history WHERE source = 'rule:first_z' AND status = 'succeeded'") >= 2


def test_sets_are_their_owners(db: Database, role: Callable[..., str]) -> None:
    ann, bob = db.connect(role("ann")), db.connect(role("bob"))
    ann.execute("SELECT automate.create_ruleset('mine', 'first')")
    with pytest.raises(psycopg.errors.UndefinedObject) as refused:
        bob.execute("SELECT automate.create_rule('r', '[{\"emit\": \"x\"}]', on_event => 'e', ruleset => 'mine')")
    assert refused.value.diag.message_hint and refused.value.diag.message_detail
    for call in ("alter_ruleset('mine', 'all')", "drop_ruleset('mine')"):
        with pytest.raises(psycopg.errors.UndefinedObject):
            bob.execute(f"SELECT automate.{call}")
    bob.execute("SELECT automate.create_ruleset('mine')")
    assert bob.execute("SELECT hit_policy FROM automate.ruleset").fetchall() == [("all",)]
    assert db.one("SELECT count(*) FROM automate.ruleset") == 2


def test_refusals(db: Database) -> None:
    db.execute("CREATE TABLE noted (rule text)")
    db.execute("SELECT automate.create_ruleset('s')")
    rule(db, "in it", "true", on_event="e", ruleset="s")
    for call, state, hint in (
        ("create_ruleset('s')", "42710", "alter_ruleset"),
        ("create_ruleset('t', 'frist')", "22023", 'mean "first"'),
        ("create_ruleset('')", "22023", "bytes"),
        ("create_ruleset(NULL)", "22004", "name"),
        ("alter_ruleset('s', 'uniq')", "22023", "unique"),
        ("alter_ruleset('x', 'all')", "42704", '"s"'),
        ("drop_ruleset('s')", "2BP01", "drop_rule"),
        ("drop_ruleset('ss')", "42704", '"s"'),
    ):
        with pytest.raises(psycopg.Error) as refused:
            db.execute(f"SELECT automate.{call}")
        diag = refused.value.diag
        assert diag.sqlstate == state and hint in (diag.message_hint or ""), (call, diag.sqlstate, diag.message_hint)
        assert diag.message_detail
    db.execute("SELECT automate.drop_rule('in it')")
    db.execute("SELECT automate.drop_ruleset('s')")
    assert db.one("SELECT count(*) FROM automate.ruleset") == 0
