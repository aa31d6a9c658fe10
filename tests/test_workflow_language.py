"""The language of workflows: what is not carried out here is refused by name, what is new runs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from psycopg import errors

from support.database import Database

SQL = {"call": "sql", "with": {"query": "SELECT 1"}}
HTTP = {"method": "get", "endpoint": {"uri": "https://x.org", "authentication": {"basic": {
    "username": "u", "password": "p"}}}}

# A document, the place of what is refused, and a word of the way out.
REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"do": [{"a": {"run": {"shell": {"command": "ls"}}}}]}, "/do/0/a/run/shell", "function"),
    ({"do": [{"a": {"call": "grpc", "with": {}}}]}, "/do/0/a/call", "http"),
    ({"do": [{"a": SQL}], "schedule": {"cron": "0 3 * * *"}}, "/schedule", "schedule_task"),
    ({"do": [{"a": SQL}], "use": {"secrets": ["s"]}}, "/use/secrets", "header"),
    ({"do": [{"a": {"call": "http", "with": HTTP}}]}, "/do/0/a/with/endpoint/authentication", "header"),
]


@pytest.mark.parametrize(("document", "pointer", "way_out"), REFUSED, ids=[r[1] for r in REFUSED])
def test_what_does_not_run_here_is_refused_by_name(
    db: Database, document: dict[str, Any], pointer: str, way_out: str
) -> None:
    text = json.dumps(document)
    rows = db.rows(
        "SELECT pointer, code, hint FROM automate.validate_workflow(%s::jsonb)", [text])
    refused = [row for row in rows if row[1] == "unsupported_task"]
    assert [row[0] for row in refused] == [pointer]
    assert way_out in refused[0][2]
    with pytest.raises(errors.Error, match="not supported"):
        db.one("SELECT automate.create_workflow('w', %s::jsonb)", [text])


def test_functions_schemas_and_the_document_run(db: Database) -> None:
    document = json.dumps({
        "document": {"dsl": "1.0.3", "namespace": "n", "name": "w", "version": "2.0.0"},
        "input": {"schema": {"document": {"type": "object", "required": ["id"]}}},
        "use": {"functions": {"double": {"call": "sql", "with": {
            "query": "SELECT $1::int * 2 AS n", "params": ["${ .id }"], "result": "scalar"}}}},
        "do": [{"one": {"call": "double", "with": {"id": "${ .id }"}}},
               {"two": {"call": "double", "with": {"id": "${ . }"}}},
               {"out": {"set": {"n": "${ . }", "v": "${ $workflow.definition.document.version }"}}}],
    })
    db.one("SELECT automate.create_workflow('w', %s::jsonb)", [document])
    good = str(db.one("SELECT automate.execute_workflow('w', '{\"id\": 3}')"))
    bad = str(db.one("SELECT automate.execute_workflow('w', '{}')"))
    for run in (good, bad):
        db.wait_until("SELECT finished_at IS NOT NULL FROM automate.run WHERE id = %s", [run], 20)
    row = "SELECT status, output, error FROM automate.run WHERE id = %s"
    assert db.rows(row, [good]) == [("completed", {"n": 12, "v": "2.0.0"}, None)]
    status, _, error = db.rows(row, [bad])[0]
    assert status == "faulted" and error["type"].endswith("/validation") and "id" in error["detail"]
    steps = db.rows("SELECT step FROM automate.run_step WHERE run = %s ORDER BY started_at, step", [good])
    assert "/do/0/one/call/double" in [step for (step,) in steps]
