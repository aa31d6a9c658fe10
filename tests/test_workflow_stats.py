"""Figures of workflows and their steps, and the advice that follows from them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import errors

from support.database import Database
from support.paths import ROOT
from test_readme import statements
from test_task_stats import percentile
from test_workflows import create, end, sql, start

Role = Callable[..., str]
Attempt = tuple[str, int, str, float, float]
NOW = datetime.now(UTC).replace(microsecond=0)
NOT_FOUND = {"type": "https://open-workflow-specification.org/dsl/errors/types/communication", "status": 404, "detail": "404"}


def record(db: Database, workflow: str, status: str, attempts: list[Attempt], ago: timedelta = timedelta(hours=1),
           error: dict[str, Any] = NOT_FOUND) -> None:
    """A run as the executors write it; of each attempt its step, number, status, begin and end in milliseconds."""
    run, begun = uuid4(), NOW - ago
    over = status in ("completed", "faulted", "cancelled")
    last = max((stop for *_, stop in attempts), default=0)
    db.execute(
        "INSERT INTO automate.run (id, workflow, version, status, input, state, error, created_at, started_at, finished_at, owner, workflow_id)"
        " SELECT %s, name, version, %s, '{}', %s::jsonb, %s::jsonb, %s, %s, %s, owner, id FROM automate.workflow WHERE name = %s",
        [run, status, None if over or status == "pending" else "{}", json.dumps(error) if status == "faulted" else None, begun,
         None if status == "pending" else begun, begun + timedelta(milliseconds=last) if over else None, workflow],
    )
    for step, number, state, begin, stop in attempts:
        db.execute(
            "INSERT INTO automate.run_step (run, step, name, attempt, status, error, started_at, finished_at, owner)"
            " SELECT %s, %s, %s, %s, %s, %s::jsonb, %s, %s, owner FROM automate.workflow WHERE name = %s",
            [run, step, re.sub(r"([#@^]\d+)+$", "", step.rsplit("/", 1)[1]), number, state,
             json.dumps(error) if state == "faulted" else None, begun + timedelta(milliseconds=begin),
             begun + timedelta(milliseconds=stop) if state not in ("running", "waiting") else None, workflow],
        )


def rows(db: Database | psycopg.Connection[Any], call: str, *args: object) -> list[dict[str, Any]]:
    cursor = db.execute(f"SELECT * FROM automate.{call}", list(args))
    names = [column.name for column in cursor.description or []]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def advice(db: Database | psycopg.Connection[Any], name: str) -> dict[str, dict[str, Any]]:
    return {row["advice"]: row for row in rows(db, "workflow_advice(%s)", name)}


def get(path: str, **more: object) -> dict[str, Any]:
    return {"call": "http", "with": {"method": "get", "endpoint": f"https://example.com/{path}"}, **more}


# --- workflow_stats -----------------------------------------------------------------------------


def test_figures_of_runs(db: Database) -> None:
    create(db, "w", {"work": sql("SELECT 1")}, {"pause": {"wait": {"seconds": 1}}})
    create(db, "other", sql("SELECT 1"))
    tooks = [100, 250, 400, 900]
    for number, took in enumerate(tooks):
        record(db, "w", "faulted" if number == 3 else "completed",
               [("/do/0/work", 1, "completed", 0, 40), ("/do/1/pause", 1, "completed", 40, took)])
    record(db, "w", "pending", [])
    record(db, "w", "waiting", [("/do/0/work", 1, "completed", 0, 40), ("/do/1/pause", 1, "waiting", 40, 40)])
    record(db, "w", "running", [("/do/0/work", 2, "running", 0, 0)])
    record(db, "w", "completed", [("/do/0/work", 1, "completed", 0, 9999)], ago=timedelta(days=6))
    row, = rows(db, "workflow_stats('w', '5 days')")
    counts = ["runs", "pending", "running", "waiting", "completed", "faulted", "cancelled", "retries"]
    assert [row[name] for name in counts] == [7, 1, 1, 1, 3, 1, 0, 1]
    assert float(row["success_rate"]) == 0.75
    for percent in (50, 95, 99):
        assert float(row[f"p{percent}_ms"]) == pytest.approx(percentile(tooks, percent), abs=0.01)
    assert float(row["working_ms"]) == pytest.approx(40) and float(row["waiting_ms"]) == pytest.approx(sum(tooks) / 4 - 40)
    assert [r["workflow"] for r in rows(db, "workflow_stats()")] == ["other", "w"]
    assert rows(db, "workflow_stats('w')")[0]["runs"] == 8
    empty, = rows(db, "workflow_stats('other')")
    assert empty["runs"] == 0 and empty["success_rate"] is None and empty["p50_ms"] is None


def test_steps_side_by_side_work_once(db: Database) -> None:
    branches = [{"a": sql("SELECT 1")}, {"b": sql("SELECT 1")}]
    create(db, "w", {"f": {"try": branches, "catch": {}}})
    record(db, "w", "completed", [("/do/0/f", 1, "completed", 0, 500), ("/do/0/f/try/0/a", 1, "completed", 0, 300),
                                  ("/do/0/f/try/1/b", 1, "completed", 100, 400)])
    row, = rows(db, "workflow_stats('w')")
    assert float(row["working_ms"]) == 400 and float(row["waiting_ms"]) == 100


def test_figures_of_real_runs(db: Database) -> None:
    create(db, "w", {"each": {"for": {"in": "${ [1, 2, 3] }"}, "do": [{"x": sql("SELECT $1::int", "${ $item }")}]}})
    for _ in range(2):
        assert end(db, start(db, "w"))[0] == "completed"
    found = {row["step"]: row for row in rows(db, "workflow_step_stats('w')")}
    assert set(found) == {"/do/0/each", "/do/0/each/do/0/x"}
    turn = found["/do/0/each/do/0/x"]
    assert (turn["kind"], turn["name"], turn["runs"], turn["attempts"], turn["failures"]) == ("call", "x", 2, 6, 0)
    assert found["/do/0/each"]["kind"] == "for"
    row, = rows(db, "workflow_stats('w')")
    assert (row["runs"], row["completed"], row["last_status"]) == (2, 2, "completed")


# --- workflow_step_stats ------------------------------------------------------------------------


def test_figures_of_steps(db: Database) -> None:
    create(db, "w", {"a~/b": {"do": [{"x": sql("SELECT 1")}]}}, {"t": {"try": [{"y": sql("SELECT 1")}], "catch": {}}})
    x, y = "/do/0/a~0~1b/do/0/x", "/do/1/t/try/0/y"
    record(db, "w", "completed", [(f"{x}#0", 1, "completed", 0, 100), (f"{x}#1@2", 1, "completed", 100, 400)])
    record(db, "w", "faulted", [(x, 1, "completed", 0, 200), (y, 1, "faulted", 200, 300), (y, 2, "faulted", 400, 600)])
    record(db, "w", "running", [(y, 1, "faulted", 0, 100), (y, 2, "completed", 100, 150), (x, 1, "waiting", 0, 0)])
    found = {row["step"]: row for row in rows(db, "workflow_step_stats('w')")}
    assert set(found) == {x, y}
    first = found[x]
    assert [first[name] for name in ("runs", "attempts", "failures", "retries", "waiting", "kind")] == [3, 4, 0, 0, 1, "call"]
    assert float(first["p50_ms"]) == 200 and float(first["p99_ms"]) == pytest.approx(percentile([100, 300, 200], 99), abs=0.01)
    # Of the runs that are over: 400 and 600 ms.
    assert float(first["share"]) == 0.6
    second = found[y]
    assert [second[name] for name in ("runs", "attempts", "failures", "retries")] == [2, 4, 3, 2]
    assert second["errors"] == [{"code": "404", "count": 3, "wasted": 1, "mended": 1}]


# --- workflow_advice ----------------------------------------------------------------------------


def patch(document: Any, changes: list[dict[str, Any]]) -> Any:
    """A JSON Patch, as far as advice uses it."""
    for change in changes:
        *way, last = [part.replace("~1", "/").replace("~0", "~") for part in change["path"].split("/")[1:]]
        place = document
        for part in way:
            place = place[int(part) if isinstance(place, list) else part]
        key: Any = int(last) if isinstance(place, list) else last
        if change["op"] == "remove":
            del place[key]
        else:
            place[key] = change["value"]
    return document


def test_advice_and_its_changes(db: Database) -> None:
    tasks = [{"a": get("a", timeout={"after": "PT1H"})}, {"b": get("b")},
             {"t": {"try": [{"c": get("c")}], "catch": {"retry": {"limit": {"attempt": {"count": 3}}}}}}]
    create(db, "w", *tasks)
    for _ in range(25):
        c = "/do/2/t/try/0/c"
        record(db, "w", "completed", [("/do/0/a", 1, "completed", 0, 600), ("/do/1/b", 1, "completed", 600, 900),
                                      (c, 1, "faulted", 900, 910), (c, 2, "faulted", 910, 920)])
    found = advice(db, "w")
    assert set(found) == {"critical_path", "dominant_step", "parallel", "wasted_retries", "timeout_high"}
    assert "a 600 ms, b 300 ms" in found["critical_path"]["evidence"]
    assert found["dominant_step"]["step"] == "/do/0/a"
    assert "take 900 ms of a run of 920 ms, side by side about 600 ms" in found["parallel"]["evidence"]
    assert found["wasted_retries"]["severity"] == "warning" and "25 retries met it again" in found["wasted_retries"]["evidence"]
    for row in found.values():
        if row["change"]:
            definition = json.dumps(patch({"do": json.loads(json.dumps(tasks))}, row["change"]))
            problems = rows(db, "validate_workflow(%s::jsonb)", definition)
            # Whether this server carries out forks is not what is asked here.
            assert [p for p in problems if p["code"] != "unsupported_task"] == []
    # Advice is looked for anew: without history there is none.
    create(db, "new", *tasks)
    assert rows(db, "workflow_advice('new')") == []


def test_a_missing_index(db: Database) -> None:
    db.execute('CREATE TABLE orders (id int PRIMARY KEY, customer int, "At" timestamptz, note text)')
    db.execute("INSERT INTO orders SELECT n, n % 5000, now(), 'n' FROM generate_series(1, 30000) AS n")
    db.execute("CREATE TABLE small AS SELECT 1 AS customer")
    db.execute("ANALYZE orders, small")
    create(db, "w",
           {"slow": sql('SELECT * FROM orders WHERE customer = $1 AND "At" > $2', 1, "2020-01-01")},
           {"quick": sql("SELECT * FROM orders WHERE id = $1", 1)},
           {"little": sql("SELECT * FROM small WHERE customer = $1", 1)},
           {"change": sql("UPDATE orders SET note = $1 WHERE customer = ANY ($2::int[])", "x", "{1}")})
    spans = [("/do/0/slow", 0, 50), ("/do/1/quick", 50, 100), ("/do/2/little", 100, 150), ("/do/3/change", 150, 200)]
    record(db, "w", "completed", [(step, 1, "completed", begin, stop) for step, begin, stop in spans])
    found = {row["step"]: row["change"]["sql"] for row in rows(db, "workflow_advice('w')") if row["advice"] == "missing_index"}
    assert found == {"/do/0/slow": 'CREATE INDEX CONCURRENTLY ON public.orders (customer, "At")',
                     "/do/3/change": "CREATE INDEX CONCURRENTLY ON public.orders (customer)"}
    for statement in found.values():
        db.execute(statement)
    assert [row for row in rows(db, "workflow_advice('w')") if row["advice"] == "missing_index"] == []
    # A statement that no longer fits is passed over, and nothing was run.
    db.execute("DROP TABLE orders")
    assert rows(db, "workflow_advice('w')") == []


# --- rights and refusals ------------------------------------------------------------------------


def test_who_sees_what(db: Database, role: Role) -> None:
    mine, other = db.connect(role("mine")), db.connect(role("other"))
    document = json.dumps({"do": [{"a": sql("SELECT 1")}]})
    mine.execute("SELECT automate.create_workflow('w', %s::jsonb)", [document])
    record(db, "w", "completed", [("/do/0/a", 1, "completed", 0, 40)])
    assert rows(mine, "workflow_stats()")[0]["runs"] == 1
    assert len(rows(mine, "workflow_step_stats('w')")) == 1
    assert rows(other, "workflow_stats()") == []
    for call in ("workflow_stats('w')", "workflow_step_stats('w')", "workflow_advice('w')"):
        with pytest.raises(errors.UndefinedObject, match='workflow "w" does not exist') as caught:
            rows(other, call)
        assert caught.value.diag.message_detail and caught.value.diag.message_hint
    for since in ("0", "-1 day", "1000 years"):
        for call in ("workflow_stats(NULL, %s)", "workflow_step_stats('w', %s)", "workflow_advice('w', %s)"):
            with pytest.raises(errors.InvalidParameterValue, match="since must be"):
                rows(mine, call, since)


def test_statements_are_planned_with_the_rights_of_the_owner(db: Database, role: Role) -> None:
    name = role("mine")
    mine = db.connect(name)
    mine.execute("CREATE FUNCTION who() RETURNS text LANGUAGE plpgsql STABLE AS"
                 " $$ BEGIN RAISE NOTICE 'planned by %', current_user; RETURN current_user; END $$")
    mine.execute("CREATE TABLE mine (who text)")
    document = json.dumps({"do": [{"a": sql("SELECT * FROM mine WHERE who = who()")}]})
    mine.execute("SELECT automate.create_workflow('w', %s::jsonb)", [document])
    record(db, "w", "completed", [("/do/0/a", 1, "completed", 0, 40)])
    told: list[str] = []
    with psycopg.connect(db.admin.info.dsn, autocommit=True) as admin:
        admin.add_notice_handler(lambda diag: told.append(diag.message_primary or ""))
        rows(admin, "workflow_advice('w')")
    assert set(told) == {f"planned by {name}"}


# --- docs/workflow-figures.md -------------------------------------------------------------------


def test_the_examples_of_the_document_run(db: Database, role: Role) -> None:
    text = (ROOT / "docs" / "workflow-figures.md").read_text()
    session = db.connect(role("reader"))
    for example in re.findall(r"```sql\n(.*?)```", text, re.DOTALL):
        for statement in statements(example):
            if "workflow_stats" in statement:
                db.wait_until("SELECT count(*) = 1 FROM automate.run WHERE finished_at IS NOT NULL")
            session.execute(statement)  # type: ignore[arg-type]
    assert rows(session, "workflow_stats('greet')")[0]["completed"] == 1
