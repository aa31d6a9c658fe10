"""Decision tables in the server: decided, changed, explained, checked, as CSV, and used by rules."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from support.database import Database
from support.paths import ROOT
from test_events import done
from test_readme import statements

INPUTS = [{"name": "amount", "type": "number"}, {"name": "tier", "expression": {"var": "customer.tier"}}]
OUTPUTS = [{"name": "rate", "type": "number"}]
ROWS = [[">= 100", "gold", 0.2], [">= 100", "-", 0.1], ["-", "gold", 0.05]]


def create(db: Any, name: str = "discount", rows: Any = ROWS, policy: str = "first", **more: Any) -> None:
    inputs, outputs = more.get("inputs", INPUTS), more.get("outputs", OUTPUTS)
    db.execute("SELECT automate.create_decision_table(%s, %s, %s, %s, %s)",
               [name, json.dumps(inputs), json.dumps(outputs), json.dumps(rows), policy])


def decide(db: Any, context: Any, name: str = "discount") -> Any:
    return db.execute("SELECT automate.decide(%s, %s)", [name, json.dumps(context)]).fetchone()[0]


def test_decide_and_explain(db: Database) -> None:
    create(db)
    assert decide(db, {"amount": 100, "customer": {"tier": "gold"}}) == {"rate": 0.2}
    assert decide(db, {"amount": 100}) == {"rate": 0.1}
    assert decide(db, {"amount": 99.99, "customer": {"tier": "gold"}}) == {"rate": 0.05}
    assert decide(db, {}) is None
    rows = db.rows("SELECT number, matched, failed, outputs FROM automate.decision_matches('discount', '{\"amount\": 100}')")
    assert rows == [(1, False, "tier", {"rate": 0.2}), (2, True, None, {"rate": 0.1}), (3, False, "tier", {"rate": 0.05})]


def test_no_digit_is_lost(db: Database) -> None:
    db.execute("""SELECT automate.create_decision_table('exact', '[{"name": "n", "type": "number"}]',
        '[{"name": "m", "type": "number"}]', '[["12345678901234567890.5", 0.12345678901234567890]]')""")
    ask = "SELECT (automate.decide('exact', jsonb_build_object('n', {}::numeric)) ->> 'm')"
    assert db.one(ask.format("12345678901234567890.50")) == "0.12345678901234567890"
    assert db.one(ask.format("12345678901234567890.51")) is None


def test_versions_and_sessions(db: Database) -> None:
    create(db)
    other, held = db.connect(), db.connect(autocommit=False)
    for session in (other, held):
        assert decide(session, {"amount": 500}) == {"rate": 0.1}
    assert db.one("SELECT automate.alter_decision_table('discount', rows => '[[\"-\", \"-\", 0.5]]')") == 2
    for session in (other, held):
        assert decide(session, {"amount": 500}) == {"rate": 0.5}
    assert db.one("SELECT automate.decide('discount', '{\"amount\": 500}', version => 1)") == {"rate": 0.1}
    assert db.one("SELECT automate.alter_decision_table('discount', description => 'what we take off')") == 2
    held.execute("SELECT automate.alter_decision_table('discount', hit_policy => 'collect')")
    assert decide(held, {}) == [{"rate": 0.5}] and decide(other, {}) == {"rate": 0.5}
    held.rollback()
    assert decide(held, {}) == {"rate": 0.5}
    held.rollback()
    assert db.rows("SELECT version, hit_policy FROM automate.decision_version ORDER BY 1") == [(1, "first"), (2, "first")]
    db.execute("SELECT automate.drop_decision_table('discount')")
    with pytest.raises(psycopg.errors.UndefinedObject):
        decide(other, {})
    assert db.one("SELECT count(*) FROM automate.decision_version") == 0


def test_problems(db: Database) -> None:
    create(db, rows=[[">= 100", "-", 0.2], [">= 50", "gold", 0.1]], policy="unique")
    found = db.rows("SELECT kind, rows, example FROM automate.decision_table_problems('discount')")
    assert found[0][:2] == ("overlap", [1, 2]) and {kind for kind, _, _ in found} == {"overlap", "gap"}
    for kind, _, example in found:
        if kind == "gap":
            assert decide(db, example) is None
        else:
            with pytest.raises(psycopg.errors.CardinalityViolation) as refused:
                decide(db, example)
            assert refused.value.diag.message_detail and refused.value.diag.message_hint
    rows = db.rows("""SELECT kind, rows, message, hint FROM automate.validate_decision_table(
        '[{"name": "a", "type": "number"}]', '[{"name": "b"}]', '[["x", "y"], [1]]')""")
    assert [row[:2] for row in rows] == [("error", [1]), ("error", [2])] and "/rows/0/0" in rows[0][2]


def test_csv_round_trip(db: Database) -> None:
    create(db, rows=[[">= 100", ["gold", "a,b"], 0.20], ["-", "not(\"x\")", None]])
    csv = db.one("SELECT automate.decision_table_csv('discount')")
    assert db.one("SELECT automate.import_decision_table('copy', %s)", [csv]) == 1
    assert db.one("SELECT automate.decision_table_csv('copy')") == csv
    for context in ({"amount": 100, "customer": {"tier": "a,b"}}, {"customer": {"tier": "z"}}, {}):
        assert decide(db, context) == decide(db, context, "copy")
    assert db.one("SELECT automate.import_decision_table('copy', %s)", [csv.replace("100", "10")]) == 2
    assert decide(db, {"amount": 50, "customer": {"tier": "gold"}}, "copy") == {"rate": 0.2}


def test_rules_decide_with_the_rights_of_their_owner(db: Database, role: Callable[..., str]) -> None:
    ann, bob = role("ann"), role("bob")
    owner, stranger = db.connect(ann), db.connect(bob)
    create(owner, rows=[["> 10", "-", 1]], policy="first")
    with pytest.raises(psycopg.errors.UndefinedObject):
        decide(stranger, {"amount": 11})
    assert stranger.execute("SELECT count(*) FROM automate.decision_version").fetchone() == (0,)
    owner.execute("CREATE TABLE orders (id int, amount numeric)")
    owner.execute("CREATE TABLE noted (id int)")
    owner.execute("GRANT INSERT ON orders TO PUBLIC")
    owner.execute("""SELECT automate.create_rule('r', on_table => 'orders',
        condition => $$automate.decide('discount', jsonb_build_object('amount', new.amount)) IS NOT NULL$$,
        actions => '[{"sql": "INSERT INTO noted VALUES ($1)", "params": ["${ .new.id }"]}]')""")
    stranger.execute("INSERT INTO orders VALUES (1, 10), (2, 11)")
    done(db)
    assert db.rows("SELECT id FROM noted") == [(2,)]
    owner.execute("SELECT automate.alter_decision_table('discount', rows => '[[\"> 5\", \"-\", 1]]')")
    stranger.execute("INSERT INTO orders VALUES (3, 10)")
    done(db)
    assert db.rows("SELECT id FROM noted ORDER BY id") == [(2,), (3,)]
    # A table that is gone is the rule's fault, not the writer's.
    owner.execute("SELECT automate.drop_decision_table('discount')")
    stranger.execute("INSERT INTO orders VALUES (4, 10)")
    done(db)
    assert db.one("SELECT last_error FROM automate.rule").startswith("42704")
    assert db.one("SELECT count(*) FROM orders") == 4


def test_refusals(db: Database) -> None:
    create(db)
    make = "create_decision_table('t', '[{\"name\": \"a\", \"type\": \"number\"}]', '[{\"name\": \"b\"}]', "
    for call, state, hint in (
        ("create_decision_table('discount', '[{\"name\": \"a\"}]', '[{\"name\": \"b\"}]', '[]')", "42710", "alter_decision_table"),
        ("create_decision_table('', '[{\"name\": \"a\"}]', '[{\"name\": \"b\"}]', '[]')", "22023", "bytes"),
        ("create_decision_table('t', '[{\"name\": \"a\", \"type\": \"numbr\"}]', '[{\"name\": \"b\"}]', '[]')", "22023", '"number"'),
        ("create_decision_table('t', NULL, '[]', '[]')", "22004", "inputs"),
        (make + "'[]', 'frist')", "22023", '"first"'),
        (make + "'[[\"ten\", \"x\"]]')", "22023", ""),
        (make + "'{}')", "22023", ""),
        ("alter_decision_table('discuont', rows => '[]')", "42704", '"discount"'),
        ("alter_decision_table('discount', rows => '[[1]]')", "22023", "amount, tier, rate"),
        ("drop_decision_table('x')", "42704", "create_decision_table"),
        ("decide('discount', '{\"amuont\": 5}')", "22023", '"amount"'),
        ("decide('discount', '{\"amount\": \"5\"}')", "22023", "decision_version"),
        ("decide('discount', '5')", "22023", "amount"),
        ("decide('discount', NULL)", "22004", "input"),
        ("decide('discount', '{}', 7)", "42704", "version"),
        ("import_decision_table('t', 'nonsense')", "22023", ""),
        ("import_decision_table('t', E'first,a,b\\n,imput text,output text')", "22023", "input number"),
    ):
        with pytest.raises(psycopg.Error) as refused:
            db.execute(f"SELECT automate.{call}")
        diag = refused.value.diag
        assert diag.sqlstate == state and hint in (diag.message_hint or ""), (call, diag.sqlstate, diag.message_primary, diag.message_hint)
        assert diag.message_detail and diag.message_hint
    assert db.one("SELECT count(*) FROM automate.decision_table") == 1


def test_the_examples_of_the_document_run(db: Database, role: Callable[..., str]) -> None:
    text = (ROOT / "docs" / "decisions.md").read_text()
    examples = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    assert len(examples) == 7
    session = db.connect(role("reader"))
    answers = []
    for example in examples:
        for statement in statements(example):
            cursor = session.execute(statement)  # type: ignore[arg-type]
            answers.append(cursor.fetchall() if cursor.description else None)
    shown = [row for answer in answers if answer for row in answer]
    assert ("bulk", [{"emit": "pricing.bulk", "payload": {"order": 7}}], None) in shown
    assert ({"fee": 18.00, "carrier": "courier"},) in shown and ({"rate": 8.1},) in shown
    assert (1, False, "country") in shown and (5, False, "weight") in shown
    gap = next(row for row in shown if row[0] == "gap")
    assert f"no row matches" in gap[2] and f"--  gap  | {{}}   | {gap[2]}" in text
    done(db)
    assert db.rows("SELECT * FROM audit ORDER BY 1") == [(1, "director"), (2, "team"), (3, "no tax")]
