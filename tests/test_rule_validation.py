"""validate_rule: everything that is wrong at once, and exactly what create_rule refuses."""

from __future__ import annotations

import json
import re
from typing import Any

import psycopg
import pytest

from support.database import Database
from support.paths import ROOT
from test_readme import statements
from test_rules import orders, rule  # noqa: F401

EMIT = [{"emit": "e"}]


def call(function: str, name: str | None, actions: Any, **more: Any) -> tuple[str, list[Any]]:
    names = "".join(f", {key} => %s" for key in more)
    values = [json.dumps(value) if key == "conditions" else value for key, value in more.items()]
    return f"automate.{function}(%s, %s{names})", [name, json.dumps(actions), *values]


def validate(db: Database, actions: Any = EMIT, name: str | None = "r", **more: Any) -> list[tuple[Any, ...]]:
    more.setdefault("on_table", "orders")
    text, values = call("validate_rule", name, actions, **more)
    return db.rows(f'SELECT severity, pointer, "position", code, message, hint FROM {text}', values)


def places(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return [(row[0], row[1], row[3]) for row in rows]


def test_a_good_rule_has_no_row(orders: Database) -> None:  # noqa: F811
    assert validate(orders, condition="new.amount > 100") == []
    assert validate(orders, name=None, on_table=None, on_event="order.*") == []
    assert orders.one("SELECT count(*) FROM automate.rule") == 0
    assert orders.one("SELECT count(*) FROM pg_trigger WHERE tgname = 'pg_automate_capture'") == 0


def test_everything_is_told_at_once(orders: Database) -> None:  # noqa: F811
    rows = validate(
        orders,
        [{"sql": "SELECT 1 FROM nothing"}, {"emit": "a*"}, {"task": "none"}, {"workflow": "none"}],
        name="",
        condition="new.id > 1 AND new.amuont > 2", columns=["staus"], on_error="explode", ruleset="none",
        valid_from="2030-01-01", valid_until="2020-01-01",
    )
    assert places(rows) == [("error", pointer, code) for pointer, code in [
        ("/name", "invalid_parameter_value"), ("/on_error", "invalid_parameter_value"),
        ("/valid_until", "invalid_parameter_value"), ("/columns", "undefined_column"),
        ("/condition", "undefined_column"), ("/actions/0/sql", "undefined_table"),
        ("/actions/1/emit", "invalid_parameter_value"), ("/actions/2/task", "undefined_object"),
        ("/actions/3/workflow", "undefined_object"), ("/ruleset", "undefined_object"),
    ]]
    by_place = {row[1]: row for row in rows}
    assert by_place["/condition"][2] == 16 and "new.amount" in by_place["/condition"][5]
    assert by_place["/actions/0/sql"][2] == 15 and by_place["/columns"][2] is None
    assert by_place["/columns"][5] == 'Did you mean "status"?'
    assert all(row[4] and row[5] for row in rows)


def test_every_problem_of_actions_and_conditions(orders: Database) -> None:  # noqa: F811
    rows = validate(orders, [{"sqll": "x"}, {"emit": "e", "payload": 7}],
                    conditions={"and": [{"<": [{"var": "amuont"}, 1]}, {"frobnicate": [1]}]})
    assert [row[1] for row in rows if row[1].startswith("/actions")] == ["/actions/0/sqll", "/actions/1/payload"]
    conditions = [row for row in rows if row[1].startswith("/conditions")]
    assert len(conditions) == 2 and all(row[0] == "error" for row in conditions)
    rows = validate(orders, [], on_event="too", on_table="orders")
    assert places(rows) == [("error", "", "invalid_parameter_value"), ("error", "/actions", "empty")]


def test_an_event_condition_has_its_position(db: Database) -> None:
    rows = validate(db, on_table=None, on_event="paid", condition="event ? 'a' AND nothing > 1")
    assert [(row[1], row[2], row[3]) for row in rows] == [("/condition", 17, "undefined_column")]


BAD: list[tuple[Any, dict[str, Any]]] = [
    (EMIT, {"condition": "new.amount >"}),
    (EMIT, {"condition": "new.amount"}),
    (EMIT, {"condition": "random() > 0.5"}),
    (EMIT, {"condition": "(SELECT true)"}),
    (EMIT, {"condition": "count(*) > 1"}),
    (EMIT, {"condition": "new.nope IS NULL", "conditions": {"==": [1, 1]}}),
    (EMIT, {"conditions": {"==": [{"var": "nope"}, 1]}}),
    (EMIT, {"on_table": "pg_class"}),
    (EMIT, {"on_table": None}),
    (EMIT, {"on_event": "e"}),
    (EMIT, {"on_table": None, "on_trigger": "none"}),
    (EMIT, {"on_table": None, "on_event": "e", "stop": True}),
    (EMIT, {"operations": ["truncate"]}),
    (EMIT, {"operations": []}),
    (EMIT, {"columns": ["id"], "operations": ["insert"]}),
    (EMIT, {"columns": ["nope"]}),
    (EMIT, {"on_error": "retry"}),
    (EMIT, {"ruleset": "none"}),
    ([], {}),
    ([{"sql": "SELEC 1"}], {}),
    ([{"report": "none"}], {}),
    ([{"notify": "none", "recipients": ["a:b"]}], {}),
    (EMIT, {"name": "there"}),
    (EMIT, {"name": "x" * 200}),
]


@pytest.mark.parametrize(("actions", "more"), BAD)
def test_it_says_what_create_rule_says(orders: Database, actions: Any, more: dict[str, Any]) -> None:  # noqa: F811
    rule(orders, "there", "new.id = 7")
    more = {"name": "r", "on_table": "orders", **more}
    text, values = call("create_rule", actions=actions, **more)
    with pytest.raises(psycopg.Error) as refused:
        orders.execute(f"SELECT {text}", values)
    errors = [row for row in validate(orders, actions, **more) if row[0] == "error"]
    assert errors, more
    assert errors[0][4] in refused.value.diag.message_primary
    assert errors[0][5] in (None, refused.value.diag.message_hint)


def test_it_looks_under_the_callers_search_path(orders: Database) -> None:  # noqa: F811
    db = orders
    db.execute("CREATE SCHEMA one")
    db.execute("CREATE FUNCTION one.f(x numeric) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT x > 100'")
    assert places(validate(db, condition="f(new.amount)")) == [("error", "/condition", "undefined_function")]
    with db.admin.transaction():
        db.execute("SET LOCAL search_path = one, public")
        assert validate(db, condition="f(new.amount)") == []


@pytest.mark.parametrize(
    ("condition", "text"),
    [
        ("false", "never true"),
        ("1 = 2", "never true"),
        ("NULL", "never true"),
        ("new.amount > 5 AND new.amount < 3", "contradicts itself"),
        ("new.amount < -1", 'constraint "positive" contradicts'),
        ("new.status = 'lost' AND new.id > 1", 'constraint "known" contradicts'),
    ],
)
def test_rules_that_never_match(orders: Database, condition: str, text: str) -> None:  # noqa: F811
    orders.execute("ALTER TABLE orders ADD CONSTRAINT positive CHECK (amount >= 0),"
                   " ADD CONSTRAINT known CHECK (status IN ('new', 'paid'))")
    rows = validate(orders, condition=condition)
    assert places(rows) == [("warning", "/condition", "never_matches")]
    assert text in rows[0][4]
    assert validate(orders, condition="new.amount > 5 AND new.status = 'paid'") == []
    # What was before the constraint may be deleted, and a warning does not keep a rule from being made.
    rule(orders, "r", condition)


def test_rules_that_are_there_already(orders: Database) -> None:  # noqa: F811
    db = orders
    rule(db, "first", "new.amount > 100", priority=1, stop=True)
    assert validate(db, condition="new.amount < 5") == []
    rows = validate(db, condition="new.amount > 100")
    assert places(rows) == [("warning", "/condition", "duplicate")] and '"first"' in rows[0][4]
    rows = validate(db, condition="new.amount > 500")
    assert places(rows) == [("warning", "/condition", "never_reached")] and '"first"' in rows[0][4]
    assert validate(db, condition="new.amount > 500", priority=0) == []


def test_a_rule_that_is_over(orders: Database) -> None:  # noqa: F811
    assert places(validate(orders, valid_until="2020-01-01")) == [("warning", "/valid_until", "over")]


def test_rights_are_the_callers(orders: Database, role) -> None:  # noqa: F811
    session = orders.connect(role("ann"))
    text, values = call("validate_rule", "r", [{"sql": "SELECT * FROM noted"}], on_table="orders")
    rows = session.execute(f"SELECT pointer, code FROM {text}", values).fetchall()
    assert rows == [("/on_table", "insufficient_privilege"), ("/actions/0/sql", "insufficient_privilege")]


def test_what_belongs_to_another_role(orders: Database, role) -> None:  # noqa: F811
    ann, boss = role("ann"), role("boss")
    orders.execute(f"GRANT {boss} TO {ann}")
    orders.connect(boss).execute("SELECT automate.create_workflow('w', '{\"do\": [{\"a\": {\"set\": {\"x\": 1}}}]}')")
    text, values = call("validate_rule", "r", [{"emit": "e"}, {"workflow": "w"}], on_event="e")
    session = orders.connect(ann)
    rows = session.execute(f"SELECT severity, pointer, code, message FROM {text}", values).fetchall()
    assert rows == [("warning", "/actions/1/workflow", "other_owner", f'"w" belongs to role "{boss}"')]


def test_no_place_is_told_in_what_json_logic_becomes(orders: Database) -> None:  # noqa: F811
    orders.execute("CREATE TYPE mood AS ENUM ('ok', 'sad')")
    orders.execute("ALTER TABLE orders ADD mood mood")
    rows = validate(orders, conditions={"==": [{"var": "mood"}, "angry"]})
    assert all(row[1].startswith("/conditions") and row[2] is None for row in rows)


def test_cases_are_tried_where_nothing_can_be_written(orders: Database) -> None:  # noqa: F811
    rule(orders, "r", "new.amount > 5")
    orders.execute("""SELECT automate.add_rule_test('r', 'six', '{"amount": 6}')""")
    with orders.admin.transaction():
        orders.execute("SET TRANSACTION READ ONLY")
        assert orders.rows("SELECT name, passed FROM automate.test_rule('r', 1)") == [("six", True)]
        assert len(orders.one("SELECT automate.export_rules()")["rules"]) == 1


def test_a_cancel_is_no_finding(orders: Database) -> None:  # noqa: F811
    orders.execute("CREATE FUNCTION slow() RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 1 FROM pg_sleep(60)'")
    orders.execute("SET statement_timeout = '300ms'")
    with pytest.raises(psycopg.errors.QueryCanceled):
        validate(orders, condition="new.id > slow()")


def test_the_examples_of_the_document_run(db: Database, role) -> None:
    text = (ROOT / "docs" / "rule-life.md").read_text()
    session = db.connect(role("reader"))
    answers = []
    for example in re.findall(r"```sql\n(.*?)```", text, re.DOTALL):
        for statement in statements(example):
            cursor = session.execute(statement)  # type: ignore[arg-type]
            answers.append(cursor.fetchall() if cursor.description else None)
    shown = re.findall(r"^--  (.*)$", text, re.MULTILINE)
    told = ["|".join("" if value is None else str(value) for value in row) for rows in answers if rows for row in rows]
    for line in shown:
        assert "|".join(part.strip() for part in line.split("|")) in told, line
