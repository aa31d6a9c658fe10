"""Rules as documents: out of one database, into another, and through version control."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from support.database import Database
from test_rule_insight import check_refusal
from test_rules import noted, orders, rule  # noqa: F401

TEXT = "SELECT automate.export_rules()::text"
OUTCOME = "SELECT rule, outcome FROM automate.import_rules(%s)"
# Digits that a binary number does not hold.
LONG = "12345678901234567890.123456789"


def export(db: Database) -> dict[str, Any]:
    return db.one("SELECT automate.export_rules()")


def take(db: Database, document: Any, dry_run: bool = False) -> list[tuple[Any, ...]]:
    return db.rows("SELECT * FROM automate.import_rules(%s, %s)", [json.dumps(document), dry_run])


def one_rule(**more: Any) -> dict[str, Any]:
    return {"format": 1, "rules": [{"name": "r", "on_table": "public.orders", "actions": [{"emit": "e"}], **more}]}


@pytest.fixture
def many(orders: Database) -> Iterator[Database]:  # noqa: F811
    """Rules of every kind."""
    db = orders
    emit = '[{"emit": "e", "payload": {"b": 1, "a": "${ .new.id }"}}]'
    db.execute('CREATE SCHEMA "Odd"')
    db.execute('CREATE TABLE "Odd"."Table" (x int)')
    rule(db, "plain")
    rule(db, "zeta", "new.amount > 100", operations=["update"], columns=["status"], priority=-3, stop=True,
         on_error="fail", valid_from="2020-01-01 00:00+01", valid_until="infinity", description="ü \"quoted\"")
    db.execute("SELECT automate.create_rule('logic', %s, on_table => '\"Odd\".\"Table\"', conditions => %s, enabled => false)",
               [emit, '{">": [{"var": "x"}, 5]}'])
    db.execute("SELECT automate.create_rule('hears', %s, on_event => 'order.*', draft => true)", [emit])
    with db.admin.transaction():
        db.execute('SET LOCAL search_path = "Odd", public')
        db.execute("SELECT automate.create_rule('pathy', %s, on_table => 'orders', condition => 'new.id > 0')", [emit])
    db.execute("SELECT automate.add_rule_test('zeta', 'exact', %s, '{}')", [f'{{"amount": {LONG}}}'])
    db.execute("""SELECT automate.add_rule_test('zeta', 'below', '{"amount": 1}', '{}', matches => false)""")
    yield db


def prepare(db: Database) -> None:
    db.execute("CREATE EXTENSION pg_automate")
    db.execute("CREATE TABLE orders (id int PRIMARY KEY, status text, amount numeric, note text)")
    db.execute("CREATE TABLE noted (rule text, op text, id int, context jsonb)")
    db.execute('CREATE SCHEMA "Odd"')
    db.execute('CREATE TABLE "Odd"."Table" (x int)')


def test_a_document_is_sparse_and_sorted(many: Database) -> None:
    document = export(many)
    assert document["format"] == 1
    assert [item["name"] for item in document["rules"]] == ["hears", "logic", "pathy", "plain", "zeta"]
    hears, logic, pathy, plain, zeta = document["rules"]
    assert set(plain) == {"name", "actions", "on_table"} and plain["on_table"] == "public.orders"
    assert set(hears) == {"name", "actions", "on_event", "draft"}
    assert logic["on_table"] == '"Odd"."Table"' and logic["enabled"] is False and "condition_sql" not in logic
    assert pathy["search_path"] == '"Odd", public'
    assert zeta["valid_from"] == "2019-12-31T23:00:00.000000Z" and zeta["valid_until"] == "infinity"
    assert [test["name"] for test in zeta["tests"]] == ["below", "exact"]
    assert zeta["tests"][0] == {"name": "below", "new": {"amount": 1}, "old": {}, "matches": False}
    assert LONG in many.one(TEXT)


def test_the_text_does_not_depend_on_the_session(many: Database) -> None:
    before = many.one(TEXT)
    with many.admin.transaction():
        for setting in ("timezone = 'Asia/Tokyo'", "datestyle = 'German'", "search_path = 'Odd'", "extra_float_digits = -5"):
            many.execute(f"SET LOCAL {setting}")
        assert many.one(TEXT) == before


def test_export_import_export_is_the_same(many: Database, bare_db_2: Database) -> None:
    other = bare_db_2
    prepare(other)
    text = many.one(TEXT)
    assert other.rows(OUTCOME, [text]) == [(name, "created") for name in ("hears", "logic", "pathy", "plain", "zeta")]
    assert other.one(TEXT) == text
    status = "SELECT name, status, version FROM automate.rule ORDER BY name COLLATE \"C\""
    assert other.rows(status) == [
        ("hears", "draft", 1), ("logic", "disabled", 1), ("pathy", "active", 1), ("plain", "active", 1), ("zeta", "active", 1),
    ]
    other.execute("INSERT INTO orders VALUES (1, 'new', 5)")
    assert ("plain", "insert", 1) in noted(other)
    # Again, into both: nothing changes.
    for db in (many, other):
        assert db.rows(OUTCOME, [text]) == [(name, "unchanged") for name in ("hears", "logic", "pathy", "plain", "zeta")]
    assert other.one("SELECT max(version) FROM automate.rule_version") == 1
    assert other.one("SELECT count(*) FROM automate.rule_audit WHERE action = 'import'") == 5


def test_what_is_exported_is_chosen(many: Database) -> None:
    names = "SELECT jsonb_path_query_array(automate.export_rules(%s), '$.rules[*].name')"
    assert many.one(names, ["p%"]) == ["pathy", "plain"]
    assert many.one(names, ["nothing"]) == []
    with pytest.raises(psycopg.errors.UndefinedObject):
        many.execute("SELECT automate.export_rules(ruleset => 'nothing')")
    many.execute("INSERT INTO automate.ruleset (id, name, owner, hit_policy, created_by)"
                 " VALUES (gen_random_uuid(), 'money', 'postgres', 'all', 'postgres')")
    many.execute("SELECT automate.alter_rule('plain', ruleset => 'money')")
    document = many.one("SELECT automate.export_rules(ruleset => 'money')")
    assert [(item["name"], item["ruleset"]) for item in document["rules"]] == [("plain", "money")]
    many.execute("SELECT automate.alter_rule('plain', ruleset => '')")
    assert take(many, document) == [("plain", "changed", {"ruleset": {"old": None, "new": "money"}})]


def test_changes_are_told_and_made_by_versions(many: Database) -> None:
    # Python would not keep every digit of what was there.
    many.execute("""SELECT automate.add_rule_test('zeta', 'exact', '{"amount": 500}', '{}')""")
    document = export(many)
    zeta = document["rules"][4]
    zeta.update(condition="new.amount > 50", priority=100)
    zeta["tests"] = [zeta["tests"][1], {"name": "also", "new": {"amount": 60}}]
    document["rules"] = [document["rules"][3], zeta]
    told = take(many, document, dry_run=True)
    assert [row[:2] for row in told] == [("plain", "unchanged"), ("zeta", "changed")]
    changes = told[1][2]
    assert changes["condition"] == {"old": "new.amount > 100", "new": "new.amount > 50"}
    assert changes["priority"] == {"old": -3, "new": 100}
    assert [test["name"] for test in changes["tests"]["old"]] == ["below"]
    assert [test["name"] for test in changes["tests"]["new"]] == ["also"]
    assert many.one("SELECT version FROM automate.rule WHERE name = 'zeta'") == 1
    assert take(many, document) == told
    assert many.rows("SELECT version, condition FROM automate.rule WHERE name = 'zeta'") == [(2, "new.amount > 50")]
    assert many.rows("SELECT name FROM automate.rule_test ORDER BY 1") == [("also",), ("exact",)]
    assert [row[1] for row in take(many, document)] == ["unchanged", "unchanged"]
    many.execute("SELECT automate.drop_rule_test('zeta', 'also')")
    assert many.one("SELECT automate.rollback_rule('zeta')") == 3


def test_a_draft_in_a_document(orders: Database) -> None:  # noqa: F811
    db = orders
    assert take(db, one_rule(draft=True)) == [("r", "created", None)]
    assert take(db, one_rule()) == [("r", "changed", {"draft": {"old": True, "new": False}})]
    assert db.rows("SELECT status, version FROM automate.rule") == [("active", 2)]
    # A draft of a rule in force does not replace it.
    draft = one_rule(draft=True, condition="new.amount > 1")
    assert take(db, draft)[0][1] == "changed"
    assert db.rows("SELECT status, version, condition FROM automate.rule") == [("active", 2, None)]
    assert take(db, draft)[0][1] == "unchanged"
    assert db.one("SELECT automate.publish_rule('r')") == 3
    assert db.one("SELECT condition FROM automate.rule") == "new.amount > 1"


def test_all_or_nothing(many: Database) -> None:
    document = export(many)
    document["rules"].insert(0, {**one_rule()["rules"][0], "name": "another"})
    document["rules"][5]["condition"] = "new.amuont > 1"
    before = many.one(TEXT)
    with pytest.raises(psycopg.errors.UndefinedColumn):
        take(many, document)
    assert many.one(TEXT) == before


@pytest.mark.parametrize(
    ("document", "state", "texts"),
    [
        ([], "22023", ["an object"]),
        ({}, "22023", ['"format" is missing', '"rules" is missing']),
        ({"format": 2, "rules": []}, "22023", ["format 2", "reads format 1"]),
        ({"format": 1, "rules": {}}, "22023", ["/rules", "an array"]),
        ({"format": 1, "ruels": []}, "22023", ['Did you mean "rules"?']),
        ({"format": 1, "rules": [7]}, "22023", ["/rules/0"]),
        (one_rule(condtion="true"), "22023", ["/rules/0/condtion", 'Did you mean "condition"?']),
        (one_rule(priority="high"), "22023", ["/rules/0/priority", "whole number"]),
        (one_rule(valid_from="soon"), "22023", ["/rules/0/valid_from"]),
        (one_rule(on_table="public.ordres"), "22023", ["/rules/0/on_table", "does not exist"]),
        (one_rule(on_table="a.b.c.d"), "22023", ["/rules/0/on_table"]),
        (one_rule(on_table=None), "22023", ['rule "r" at /rules/0: a rule is on a table']),
        (one_rule(actions=None), "22023", ["/rules/0", '"actions" is missing']),
        (one_rule(actions=[{"emti": "e"}]), "22023", ['rule "r" at /rules/0/actions/0/emti', 'Did you mean "emit"?']),
        (one_rule(actions=[{"sql": "SELECT nothing"}]), "42703", ['rule "r" at /rules/0/actions/0/sql']),
        (one_rule(condition="new.amuont > 1"), "42703", ['rule "r" at /rules/0/condition', '"new.amount"']),
        (one_rule(condition="random() > 1"), "42P17", ['rule "r" at /rules/0/condition', "volatile"]),
        (one_rule(conditions={"<": [{"var": "nope"}, 1]}), "22023", ["/rules/0/conditions"]),
        (one_rule(ruleset="none"), "42704", ["/rules/0/ruleset"]),
        (one_rule(tests={}), "22023", ["/rules/0/tests"]),
        (one_rule(tests=[{"nmae": "x"}]), "22023", ["/rules/0/tests/0/nmae", 'Did you mean "name"?']),
        (one_rule(condition="false", tests=[{"name": "t", "new": {}}]), "55000", ["/rules/0/tests", "fails 1 of its 1", "expected match"]),
        (one_rule(tests=[{"name": "t", "new": {"nope": 1}}]), "55000", ["/rules/0/tests", "nope"]),
        ({"format": 1, "rules": one_rule()["rules"] * 2}, "22023", ["/rules/1/name", "twice"]),
    ],
)
def test_problems_name_the_rule_and_the_place(
    orders: Database, document: Any, state: str, texts: list[str]  # noqa: F811
) -> None:
    for dry_run in (True, False):
        with pytest.raises(psycopg.Error) as refused:
            take(orders, document, dry_run)
        check_refusal(refused.value, state, *texts)
    assert orders.one("SELECT count(*) FROM automate.rule") == 0


def test_several_problems_are_told_at_once(orders: Database) -> None:  # noqa: F811
    db = orders
    document = one_rule(condition="new.amuont > 1", actions=[{"sql": "SELECT nothing"}])
    document["rules"].append({**one_rule()["rules"][0], "name": "good"})
    document["rules"].append({**one_rule(priority=1, on_error="explode")["rules"][0], "name": "third"})
    with pytest.raises(psycopg.errors.UndefinedColumn) as refused:
        take(db, document)
    check_refusal(refused.value, "42703", "There are 3 problems", 'rule "r" at /rules/0/actions/0/sql',
                  'rule "third" at /rules/2/on_error')
    assert db.one("SELECT count(*) FROM automate.rule") == 0


def test_what_a_rule_listens_to_stays(orders: Database) -> None:  # noqa: F811
    take(orders, one_rule())
    moved = one_rule(on_table=None, on_event="told")
    with pytest.raises(psycopg.Error) as refused:
        take(orders, moved)
    check_refusal(refused.value, "22023", "/rules/0/on_event", "cannot be changed", "Drop the rule")
    # The table may be renamed.
    orders.execute("ALTER TABLE orders RENAME TO purchases")
    assert take(orders, one_rule(on_table="public.purchases"))[0][1] == "unchanged"


def test_a_document_is_the_callers(many: Database, role) -> None:
    ann = role("ann")
    session = many.connect(ann)
    assert session.execute("SELECT automate.export_rules()->'rules'").fetchone() == ([],)
    with pytest.raises(psycopg.errors.InsufficientPrivilege) as refused:
        session.execute(OUTCOME, [json.dumps(one_rule())])
    check_refusal(refused.value, "42501", 'rule "r" at /rules/0/on_table', "GRANT SELECT, TRIGGER")
    many.execute(f"GRANT SELECT, TRIGGER ON orders TO {ann}")
    document = one_rule()
    document["rules"][0]["name"] = "plain"
    assert session.execute(OUTCOME, [json.dumps(document)]).fetchall() == [("plain", "created")]
    assert many.rows("SELECT owner::text FROM automate.rule WHERE name = 'plain' ORDER BY 1") == [(ann,), ("postgres",)]


def test_a_large_document(orders: Database) -> None:  # noqa: F811
    item = one_rule()["rules"][0]
    items = [{**item, "name": f"r{n:04}", "description": "x" * 1500} for n in range(1000)]
    rows = take(orders, {"format": 1, "rules": items})
    assert len(rows) == 1000 and {row[1] for row in rows} == {"created"}
    assert len(export(orders)["rules"]) == 1000
    with pytest.raises(psycopg.Error) as refused:
        take(orders, one_rule(description="x" * (2 << 20)))
    check_refusal(refused.value, "22023", "/rules/0", "automate.max_payload_bytes")
