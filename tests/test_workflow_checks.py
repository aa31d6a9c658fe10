"""What is found in a workflow before it runs: names, ways, circles, size, and what it uses."""

from __future__ import annotations

import json
from typing import Any

import pytest
from psycopg import errors

from support.database import Database


def sql(query: str, *params: object) -> dict[str, Any]:
    return {"call": "sql", "with": {"query": query, "params": list(params)}}


def found(db: Database, document: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """Severity, pointer, code and hint of what validate_workflow finds."""
    rows = db.rows(
        "SELECT severity, pointer, code, hint FROM automate.validate_workflow(%s::jsonb)",
        [json.dumps(document)],
    )
    return [(s, p, c, h or "") for s, p, c, h in rows if c != "unsupported_task"]


def create(db: Database, name: str, document: dict[str, Any]) -> int:
    return int(db.one("SELECT automate.create_workflow(%s, %s::jsonb)", [name, json.dumps(document)]))


def store(db: Database, name: str, document: dict[str, Any]) -> None:
    """Puts a version there that create_workflow may not take yet."""
    create(db, name, {"do": [{"a": {"set": {}}}]})
    db.execute(
        "UPDATE automate.workflow_version SET definition = %s::jsonb"
        " WHERE workflow = (SELECT id FROM automate.workflow WHERE name = %s)",
        [json.dumps(document), name],
    )


def runs(name: str, **more: str) -> dict[str, Any]:
    return {"do": [{"sub": {"run": {"workflow": {"name": name, **more}}}}]}


def test_a_clean_definition_has_no_rows(db: Database) -> None:
    assert found(db, {"do": [{"a": sql("SELECT 1")}, {"b": {"set": {"x": 1}, "then": "end"}}]}) == []


def test_unknown_tables_and_functions_keep_their_place(db: Database) -> None:
    document = {"do": [{"a": sql("SELECT * FROM nope")}, {"b": sql("SELECT nofn(1)")}]}
    rows = db.rows(
        "SELECT pointer, message FROM automate.validate_workflow(%s::jsonb)", [json.dumps(document)]
    )
    assert [r[0] for r in rows] == ["/do/0/a/with", "/do/1/b/with"]
    assert "At character 15" in rows[0][1] and "At character 8" in rows[1][1]


def test_steps_that_are_never_reached_are_warnings(db: Database) -> None:
    document = {"do": [
        {"a": {"set": {}, "then": "c"}},
        {"lost": {"do": [{"inner": {"set": {}}}]}},
        {"c": {"switch": [{"x": {"when": ".x", "then": "end"}}, {"y": {"then": "exit"}}]}},
        {"after": {"set": {}}},
    ]}
    assert [r[:3] for r in found(db, document)] == [
        ("warning", "/do/1/lost", "unreachable_task"),
        ("warning", "/do/3/after", "unreachable_task"),
    ]
    assert create(db, "w", document) == 1
    document["do"][0]["a"]["if"] = ".x"
    assert [r[1] for r in found(db, document)] == ["/do/3/after"]
    document["do"][2]["c"]["switch"].pop()
    assert found(db, document) == []


def test_a_then_that_leads_nowhere_is_told_with_a_hint(db: Database) -> None:
    rows = found(db, {"do": [{"first": {"set": {}, "then": "secnd"}}, {"second": {"set": {}}}]})
    assert rows == [("error", "/do/0/first/then", "unknown_task", 'Did you mean "second"?')]


def test_unknown_names(db: Database) -> None:
    db.execute("SELECT automate.create_channel('mail', 'log')")
    db.execute("SELECT automate.create_template('hello', 'subject', 'body')")
    db.execute("CREATE ROLE shop_manager")
    notify = {"template": "hello", "recipients": ["mial:a@example.com", "mail:b@example.com", "${ .to }"]}
    document = {"do": [
        {"n": {"call": "notify", "with": notify}},
        {"r": {"call": "report", "with": {"name": "daily"}}},
        {"p": {"call": "approval", "with": {"role": "shop_manger", "subject": "x"}}},
        {"q": {"call": "approval", "with": {"role": "shop_manager", "subject": "x"}}},
    ]}
    assert found(db, document) == [
        ("error", "/do/0/n/with/recipients/0", "unknown_channel", 'Did you mean "mail"?'),
        ("error", "/do/1/r/with/name", "unknown_report", "Make it with automate.create_report."),
        ("error", "/do/2/p/with", "unknown_role", 'Did you mean "shop_manager"?'),
    ]
    db.execute("DROP ROLE shop_manager")
    with pytest.raises(errors.InvalidParameterValue, match='channel "mial" does not exist'):
        create(db, "w", {"do": document["do"][:1]})


def test_workflows_that_are_run(db: Database) -> None:
    create(db, "billing", {"document": {"version": "1.2.0"}, "do": [{"a": {"set": {}}}]})
    assert found(db, runs("biling")) == [
        ("error", "/do/0/sub/run/workflow", "unknown_workflow", 'Did you mean "billing"?')
    ]
    for version in ["1", "1.2.0", "latest"]:
        assert found(db, runs("billing", version=version)) == []
    assert found(db, runs("billing", version="7")) == [
        ("error", "/do/0/sub/run/workflow/version", "unknown_version",
         "Write a number from 1 to 1, or leave it out for the current one.")
    ]


def test_circles_of_workflows_are_warnings(db: Database) -> None:
    me = {"document": {"name": "a"}, **runs("a")}
    assert [r[:3] for r in found(db, me)] == [("warning", "/do/0/sub/run/workflow", "workflow_cycle")]
    create(db, "a", {"do": [{"x": {"set": {}}}]})
    store(db, "b", runs("c"))
    store(db, "c", runs("a"))
    rows = db.rows(
        "SELECT code, message FROM automate.validate_workflow(%s::jsonb)",
        [json.dumps({"document": {"name": "a"}, **runs("b")})],
    )
    assert ("workflow_cycle", 'the workflow runs itself, through "b", "c"') in rows
    assert found(db, {"document": {"name": "other"}, **runs("b")}) == []


def test_what_went_wrong_since(db: Database) -> None:
    db.execute("CREATE TABLE orders (id int)")
    create(db, "w", {"do": [{"a": sql("DELETE FROM orders")}]})
    assert db.rows("SELECT * FROM automate.workflow_problems('w')") == []
    db.execute("DROP TABLE orders")
    rows = db.rows("SELECT severity, pointer, code FROM automate.workflow_problems('w')")
    assert rows == [("error", "/do/0/a/with", "invalid_statement")]


def test_complexity(db: Database) -> None:
    document = {"do": [
        {"a": {"if": ".x", "set": {}}},
        {"f": {"fork": {"branches": [{"one": {"set": {}}}, {"two": {"do": [{"t": {"set": {}}}]}}]}}},
        {"l": {"for": {"in": ".items"}, "metadata": {"maxParallel": 10}, "do": [{"x": {"set": {}}}]}},
        {"s": {"switch": [{"y": {"when": ".y", "then": "end"}}, {"z": {"then": "continue"}}]}},
        {"t": {"try": [{"q": {"set": {}}}], "catch": {"retry": {"limit": {"attempt": {"count": 2}}}}}},
    ]}
    call = "SELECT tasks, depth, max_parallel, cyclomatic, within_limits, nearest_limit FROM automate.workflow_complexity"
    row = (10, 3, 10, 6, True, "maxDepth")
    assert db.rows(f"{call}(%s::jsonb)", [json.dumps(document)]) == [row]
    create(db, "w", document)
    assert db.rows(f"{call}('w')") == [row]
    wide = {"do": [{f"t{i}": {"set": {}}} for i in range(600)]}
    assert db.rows(f"{call}(%s::jsonb)", [json.dumps(wide)]) == [(600, 1, 1, 1, False, "maxSteps")]
    with pytest.raises(errors.InvalidParameterValue, match="unknown"):
        db.rows(f"{call}(%s::jsonb)", [json.dumps({"do": [{"a": {"sett": {}}}]})])
    with pytest.raises(errors.UndefinedObject):
        db.rows(f"{call}('nobody')")


def test_dependencies(db: Database) -> None:
    db.execute("CREATE SCHEMA shop")
    db.execute("CREATE TABLE shop.orders (id int)")
    db.execute("CREATE VIEW shop.recent AS SELECT * FROM shop.orders")
    db.execute("CREATE FUNCTION shop.total(int) RETURNS int LANGUAGE sql AS 'SELECT $1'")
    db.execute("CREATE TABLE gone (id int)")
    db.execute("SELECT automate.create_channel('mail', 'log')")
    db.execute("SELECT automate.create_template('hello', 'subject', 'body')")
    create(db, "w", {"do": [
        {"a": sql("SELECT shop.total(id), count(*) FROM shop.recent WHERE id = $1 GROUP BY id", 1)},
        {"b": sql("DELETE FROM gone")},
        {"n": {"call": "notify", "with": {"template": "hello", "to": "mail:x"}}},
        {"h": {"call": "http", "with": {"method": "get", "endpoint": "https://api.example.com:8443/v1?x=1"}}},
        {"e": {"emit": {"event": {"with": {"type": "order.done", "source": "https://x.org"}}}}},
    ]})
    db.execute("DROP TABLE gone")
    rows = db.rows("SELECT version, kind, object, missing FROM automate.workflow_dependencies('w')")
    assert rows == [
        (1, "channel", "mail", False),
        (1, "emits", "order.done", False),
        (1, "function", "shop.total(integer)", False),
        (1, "host", "api.example.com:8443", False),
        (1, "table", "gone", True),
        (1, "table", "shop.orders", False),
        (1, "table", "shop.recent", False),
        (1, "template", "hello", False),
    ]
    db.execute("SELECT automate.drop_template('hello')")
    missing = "SELECT object FROM automate.workflow_dependencies() WHERE missing ORDER BY 1"
    assert db.rows(missing) == [("gone",), ("hello",)]


def test_dependencies_are_read_with_the_owners_rights_and_path(db: Database) -> None:
    db.execute("CREATE SCHEMA a")
    db.execute("CREATE TABLE a.t (id int)")
    with db.connect() as session:
        session.execute("SET search_path = a")
        session.execute("SELECT automate.create_workflow('w', %s::jsonb)",
                        [json.dumps({"do": [{"q": sql("SELECT * FROM t")}]})])
    call = "SELECT kind, object, missing FROM automate.workflow_dependencies('w')"
    assert db.rows(call) == [("table", "a.t", False)]
