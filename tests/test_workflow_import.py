"""Workflows from YAML and from nodes and edges, and back to text."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from psycopg import errors

from support.database import Database


def run(db: Database, name: str, data: object) -> Any:
    made = db.one("SELECT automate.execute_workflow(%s, %s::jsonb)", [name, json.dumps(data)])
    db.wait_until("SELECT finished_at IS NOT NULL FROM automate.run WHERE id = %s", [made])
    status, output, error = db.rows("SELECT status, output, error FROM automate.run WHERE id = %s", [made])[0]
    assert status == "completed", error
    return output


def definition(db: Database, name: str) -> Any:
    return db.one(
        "SELECT v.definition FROM automate.workflow w JOIN automate.workflow_version v"
        " ON v.workflow = w.id AND v.version = w.version WHERE w.name = %s",
        [name],
    )


YAML = """
do:
  - look:
      call: sql
      with: {query: "SELECT 'hello ' || $1", params: ["${ .name }"], result: scalar}
  - on: {set: {on: yes, text: "${ . }"}}
"""


def test_yaml_runs_and_comes_back(db: Database) -> None:
    assert db.one("SELECT automate.create_workflow_yaml('w', %s, 'greets')", [YAML]) == 1
    assert run(db, "w", {"name": "Ada"}) == {"on": "yes", "text": "hello Ada"}
    text = db.one("SELECT automate.workflow_yaml('w')")
    # The same definition is the same version.
    assert db.one("SELECT automate.create_workflow_yaml('w', %s)", [text]) == 1


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("do:\n  - a: [1\n", "line"),
        ("do: []\ndo: []\n", 'duplicate entry.*"do"'),
        ("do: !x 1", "tag"),
        ("".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1}' if i else 'x'] * 10)}]\n" for i in range(12)), "limit"),
        ("do: []", "must not be empty"),
    ],
)
def test_bad_yaml_is_refused(db: Database, yaml: str, message: str) -> None:
    with pytest.raises(errors.InvalidParameterValue, match=message) as refused:
        db.execute("SELECT automate.create_workflow_yaml('w', %s)", [yaml])
    assert refused.value.diag.message_detail and refused.value.diag.message_hint


def test_large_yaml_is_refused(db: Database) -> None:
    db.execute("SET automate.max_payload_bytes = 1024")
    with pytest.raises(errors.ProgramLimitExceeded):
        db.execute("SELECT automate.create_workflow_yaml('w', %s)", ["a: " + "x" * 2000])
    # Short itself, long once its alias is written out.
    with pytest.raises(errors.ProgramLimitExceeded):
        db.execute("SELECT automate.create_workflow_yaml('w', %s)", [f"a: &a {'x' * 500}\nb: [*a, *a, *a]"])


def nodes(db: Database, name: str, drawing: object) -> int:
    call = "SELECT automate.create_workflow(name => %s, description => 'drawn', nodes => %s::jsonb)"
    return int(db.one(call, [name, json.dumps(drawing)]))


def test_nodes_and_edges_run(db: Database) -> None:
    drawing = {
        "nodes": [
            {"id": "look", "type": "sql", "position": {"x": 0, "y": 0},
             "data": {"query": "SELECT $1::int AS n", "params": ["{{ input.n }}"], "result": "one"}},
            {"id": "big", "type": "set", "data": {"size": "big"}},
            {"id": "small", "type": "set", "data": {"size": "small"}},
            {"id": "last", "type": "set", "data": {"text": "{{ look.n }} is \"{{ previous.size }}\""}},
        ],
        "edges": [
            {"source": "look", "target": "big", "condition": "{{ look.n }} > 9"},
            {"source": "look", "target": "small"},
            {"source": "big", "target": "last"},
            {"source": "small", "target": "last"},
        ],
    }  # fmt: skip
    assert nodes(db, "w", drawing) == 1
    assert run(db, "w", {"n": 10}) == {"text": '10 is "big"'}
    assert run(db, "w", {"n": 1}) == {"text": '1 is "small"'}


def test_what_has_no_form_is_named(db: Database) -> None:
    both = [{"id": "a", "type": "set", "data": {"x": 1}}, {"id": "b", "type": "set", "data": {"x": 1}}]
    circle = [{"source": "a", "target": "b"}, {"source": "b", "target": "a"}]
    with pytest.raises(errors.InvalidParameterValue, match='circle: "a", "b"'):
        nodes(db, "w", {"nodes": both, "edges": circle})
    with pytest.raises(errors.InvalidParameterValue, match='first: "a", "b"'):
        nodes(db, "w", {"nodes": both, "edges": []})
    with pytest.raises(errors.InvalidParameterValue, match="either a definition or nodes"):
        db.execute("SELECT automate.create_workflow('w')")
    with pytest.raises(errors.InvalidParameterValue, match="either a definition or nodes"):
        db.execute("SELECT automate.create_workflow('w', '{}', nodes => '[]')")


def test_sql_creates_it_again(db: Database) -> None:
    odd = "it's $workflow$ and $workflow1$"
    db.execute("CREATE SCHEMA \"o'dd\"; SET search_path = \"o'dd\", public")
    document = json.dumps({"do": [{"a": {"set": {"text": odd}}}]})
    db.execute("SELECT automate.create_workflow('w', %s::jsonb, %s)", [document, odd])
    text = db.one("SELECT automate.workflow_sql('w')")
    before = definition(db, "w")
    db.execute("SELECT automate.create_workflow('w', automate.steps(automate.set_step('b', '1')))")
    assert db.one("SELECT automate.workflow_sql('w', 1)") == text
    db.execute("SELECT automate.drop_workflow('w'); RESET search_path")
    db.execute(text)
    assert definition(db, "w") == before
    assert db.one("SELECT automate.workflow_sql('w')") == text
    assert db.one("SELECT description FROM automate.workflow") == odd
    with pytest.raises(errors.UndefinedObject, match="no version 7"):
        db.execute("SELECT automate.workflow_sql('w', 7)")


def test_others_do_not_see_it(db: Database, role: Callable[..., str]) -> None:
    db.execute("SELECT automate.create_workflow('w', automate.steps(automate.set_step('b', '1')))")
    session = db.connect(role("stranger"))
    for call in ("workflow_sql", "workflow_yaml"):
        with pytest.raises(errors.UndefinedObject):
            session.execute(f"SELECT automate.{call}('w')")  # type: ignore[arg-type]
