"""JsonLogic conditions run in PostgreSQL: in a table's trigger and on an event, with the same answers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.database import Database
from test_events import done

ROWS: list[dict[str, Any]] = [
    {"id": 1, "status": "paid", "amount": 10.5, "qty": 1, "ok": True, "doc": {"a": 1, "tags": ["x", "y"], "s": "hello"}},
    {"id": 2, "status": "new", "amount": 200, "qty": 5, "ok": False, "doc": {"a": "1", "b": {"c": None}}},
    {"id": 3, "status": None, "amount": None, "qty": None, "ok": None, "doc": None},
    {"id": 4, "status": "it's \\ \"q\" $$", "amount": -3, "qty": 0, "ok": True, "doc": {"a": 30, "b": {"c": 7}}},
    {"id": 5, "status": "", "amount": 0, "qty": 10, "ok": False, "doc": {}},
]


def v(name: str, *default: Any) -> dict[str, Any]:
    return {"var": [name, *default] if default else name}


# (condition, ids that match in a table, ids that match as events; None: the same)
CASES: list[tuple[Any, list[int], list[int] | None]] = [
    (True, [1, 2, 3, 4, 5], None),
    (False, [], None),
    ({"==": [v("status"), "paid"]}, [1], None),
    ({"===": ["paid", v("status")]}, [1], None),
    ({"!=": [v("status"), "paid"]}, [2, 3, 4, 5], None),
    ({"!==": [v("status"), "paid"]}, [2, 3, 4, 5], None),
    ({"==": [v("status"), None]}, [3], None),
    ({"!=": [v("status"), None]}, [1, 2, 4, 5], None),
    ({"==": [v("status"), "it's \\ \"q\" $$"]}, [4], None),
    ({"==": [v("status"), ""]}, [5], None),
    ({">": [v("amount"), 5]}, [1, 2], None),
    ({">=": [v("amount"), 0]}, [1, 2, 5], None),
    ({"<": [v("amount"), 0]}, [4], None),
    ({"<=": [v("amount"), -3]}, [4], None),
    ({"<": [0, v("amount"), 100]}, [1], None),
    ({"<=": [0, v("amount"), 10.5]}, [1, 5], None),
    ({"between": [v("amount"), 0, 200]}, [1, 2, 5], None),
    ({"==": [v("amount"), 10.5]}, [1], None),
    ({"and": [{"==": [v("status"), "new"]}, {">": [v("qty"), 1]}]}, [2], None),
    ({"or": [{"==": [v("status"), "new"]}, {"==": [v("qty"), 10]}]}, [2, 5], None),
    ({"!": {"==": [v("status"), "paid"]}}, [2, 3, 4, 5], None),
    ({"!": [{">": [v("amount"), 5]}]}, [3, 4, 5], None),
    ({"!": {"or": [{"==": [v("status"), "new"]}, {"<": [v("amount"), 0]}]}}, [1, 3, 5], None),
    ({"!": {"in": [v("status"), ["paid", "new"]]}}, [3, 4, 5], None),
    ({"!!": v("ok")}, [1, 4], None),
    (v("ok"), [1, 4], None),
    ({"!": v("ok")}, [2, 3, 5], None),
    ({"==": [v("ok"), True]}, [1, 4], None),
    ({"==": [v("ok"), False]}, [2, 5], None),
    ({"in": [v("status"), ["paid", "new"]]}, [1, 2], None),
    ({"in": [v("status"), ["paid", None]]}, [1, 3], None),
    ({"in": [v("qty"), [1, 5, 7]]}, [1, 2], None),
    ({"in": [v("status"), []]}, [], None),
    ({"in": ["ai", v("status")]}, [1], None),
    ({"like": [v("status"), "p%"]}, [1], None),
    ({"matches": [v("status"), "^(paid|new)$"]}, [1, 2], None),
    ({"if": [{"==": [v("status"), "paid"]}, {">": [v("amount"), 100]}, {">": [v("qty"), 4]}]}, [2, 5], None),
    ({"?:": [v("ok"), True, {"==": [v("status"), None]}]}, [1, 3, 4], None),
    ({"==": [v("doc.a"), 1]}, [1], None),
    ({"==": [v("doc.a"), "1"]}, [1, 2], None),
    ({">": [v("doc.a"), 5]}, [4], None),
    ({"==": [v("doc.b.c"), 7]}, [4], None),
    ({"==": [v("doc.b.c"), None]}, [1, 2, 3, 5], None),
    ({"in": ["x", v("doc.tags")]}, [1], None),
    ({"in": ["ell", v("doc.s")]}, [1], None),
    ({"in": [v("doc.a"), [1, 30, "zz"]]}, [1, 4], None),
    ({"<": [v("doc.a"), v("amount")]}, [1], None),
    ({"==": [v("doc.a"), v("qty")]}, [1], None),
    ({"!!": v("doc.a")}, [1, 2, 4], None),
    ({"==": [{">": [v("amount"), 5]}, False]}, [3, 4, 5], None),
    ({"<": [1, 2]}, [1, 2, 3, 4, 5], None),
    ({"and": [{"<": [v("at"), {"now": "1 day"}]}, {">": [v("at"), {"now": "-1 day"}]}]}, [1, 2, 3, 4, 5], [-1]),
    ({"==": [v("amount", 7), 7]}, [3], [-1]),
    ({"changed": "status"}, [1, 2, 4, 5], [-1]),
]


def test_cases_agree_in_tables_and_events(db: Database) -> None:
    db.execute("""CREATE TABLE t (id int PRIMARY KEY, status text, amount numeric, qty int, ok boolean,
                  doc jsonb, at timestamptz DEFAULT now())""")
    db.execute("CREATE TABLE hit (rule text, id int)")
    actions = json.dumps([{"sql": "INSERT INTO hit VALUES ($1, $2)", "params": ["${ .rule }", "${ .new.id // .event.id }"]}])
    wrong = []
    for number, (logic, _, events) in enumerate(CASES):
        for where in ["on_table => 't'"] + (["on_event => 'e'"] if events != [-1] else []):
            name = f"{where[3:5]}{number}"
            try:
                db.execute(f"SELECT automate.create_rule(%s, %s, {where}, conditions => %s)", [name, actions, json.dumps(logic)])
            except Exception as error:  # each case is reported, not the first only
                wrong.append((where, logic, str(error)))
    for row in ROWS:
        values = [json.dumps(x) if isinstance(x, dict) else x for x in row.values()]
        db.execute("INSERT INTO t (id, status, amount, qty, ok, doc) VALUES (%s, %s, %s, %s, %s, %s)", values)
        db.execute("SELECT automate.emit_event('e', %s)", [json.dumps(row)])
    db.wait_until("SELECT EXISTS (SELECT FROM hit)")
    done(db)
    failed = db.rows("SELECT source, error FROM automate.job_history WHERE status <> 'succeeded'")
    errors = db.rows("SELECT name, last_error FROM automate.rule WHERE errors > 0")
    found: dict[str, list[int]] = {}
    for rule, id_ in db.rows("SELECT rule, id FROM hit ORDER BY id"):
        found.setdefault(rule, []).append(id_)
    for number, (logic, table, events) in enumerate(CASES):
        for prefix, want in (("ta", table), ("ev", table if events is None else events)):
            got = found.get(f"{prefix}{number}", [])
            if want != [-1] and got != want:
                wrong.append((prefix, logic, f"wanted {want}, got {got}"))
    assert wrong == [] and failed == [] and errors == []


@pytest.mark.parametrize("logic", [
    {"==": [v("status"), "x' OR true --"]},
    {"==": [v("status"), "\\' OR true --"]},
    {"in": [v("status"), ["'); DROP TABLE t; --"]]},
])
def test_hostile_literals_match_nothing(db: Database, logic: Any) -> None:
    db.execute("CREATE TABLE t (status text)")
    db.execute("SET standard_conforming_strings = off")
    db.execute("""SELECT automate.create_rule('r', '[{"emit": "e"}]', on_table => 't', conditions => %s)""", [json.dumps(logic)])
    db.execute("INSERT INTO t VALUES ('a')")
    done(db)
    assert db.one("SELECT count(*) FROM automate.event") == 0
