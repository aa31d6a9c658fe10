"""Who changed a trigger, a rule set or a decision table, and how."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from support.database import Database

ENTRIES = "SELECT kind, name, action, old, new FROM automate.audit ORDER BY id"


def test_triggers(db: Database, role: Callable[..., str]) -> None:
    ann = role("ann")
    session = db.connect(ann)
    session.execute("SELECT automate.create_trigger('t', 'event', event => 'order.*')")
    session.execute("SELECT automate.alter_trigger('t', event => 'order.paid')")
    session.execute("SELECT automate.disable_trigger('t')")
    session.execute("SELECT automate.enable_trigger('t')")
    session.execute("SELECT automate.drop_trigger('t')")
    found = session.execute(ENTRIES).fetchall()
    assert [row[2] for row in found] == ["create", "alter", "disable", "enable", "drop"]
    assert found[0][3] is None and found[0][4]["event"] == "order.*"
    assert found[1][3:] == ({"event": "order.*"}, {"event": "order.paid"})
    assert found[4][3]["event"] == "order.paid" and found[4][4] is None
    assert session.execute("SELECT DISTINCT by_role, by_session FROM automate.audit").fetchall() == [(ann, ann)]
    # Others do not see it, and what is rolled back never was.
    assert db.connect(role("bob")).execute(ENTRIES).fetchall() == []


def test_rule_sets_and_decision_tables(db: Database) -> None:
    db.execute("SELECT automate.create_ruleset('s')")
    db.execute("SELECT automate.alter_ruleset('s', hit_policy => 'first')")
    db.execute("SELECT automate.drop_ruleset('s')")
    db.execute("""SELECT automate.create_decision_table('d', '[{"name": "a"}]', '[{"name": "b"}]', '[["x", "y"]]')""")
    db.execute("""SELECT automate.alter_decision_table('d', rows => '[["x", "z"]]')""")
    db.execute("SELECT automate.drop_decision_table('d')")
    found = db.rows(ENTRIES)
    assert [row[:3] for row in found] == [
        ("ruleset", "s", "create"), ("ruleset", "s", "alter"), ("ruleset", "s", "drop"),
        ("decision_table", "d", "create"), ("decision_table", "d", "alter"), ("decision_table", "d", "drop"),
    ]
    assert found[1][3:] == ({"hit_policy": "all"}, {"hit_policy": "first"})
    assert found[4][3:] == ({"rows": [["x", "y"]]}, {"rows": [["x", "z"]]})


def test_nothing_is_said_of_what_failed(db: Database) -> None:
    db.execute("SELECT automate.create_ruleset('s')")
    with pytest.raises(psycopg.errors.DuplicateObject):
        db.execute("SELECT automate.create_ruleset('s', 'first')")
    with db.admin.transaction(force_rollback=True):
        db.execute("SELECT automate.drop_ruleset('s')")
    assert len(db.rows(ENTRIES)) == 1
