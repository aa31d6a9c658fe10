"""The examples of docs/workflow-approvals.md run as they stand."""

from __future__ import annotations

import re
from collections.abc import Iterator

import psycopg
import pytest

from support.database import Database
from support.paths import ROOT
from test_workflows import end


@pytest.fixture(autouse=True)
def roles(db: Database) -> Iterator[None]:
    yield
    for role in ("dana", "erik", "shop_managers"):
        db.execute(f"DROP OWNED BY {role}")
        db.execute(f"DROP ROLE {role}")


def test_the_examples_of_the_document_run(db: Database) -> None:
    text = (ROOT / "docs" / "workflow-approvals.md").read_text()
    asking, deciding, children = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    run = str(last(db.execute(asking)))
    db.wait_until("SELECT EXISTS (SELECT FROM automate.approval)")
    answers = []
    for statement in deciding.split(";"):
        cursor = db.execute(statement) if statement.strip() else None
        if cursor is not None and cursor.description:
            answers.append(cursor.fetchall())
    assert answers == [[("Refund of order 7", {"amount": 90}, 2, 0)], [("pending",)], [("approved",)]]
    assert end(db, run)[:2] == ("completed", {"refunded": True})
    run = str(last(db.execute(children)))
    assert end(db, run)[:2] == ("completed", {"label": "order 7"})


def last(cursor: psycopg.Cursor[tuple[object, ...]]) -> object:
    """The only value of the last statement."""
    while cursor.nextset():
        pass
    row = cursor.fetchone()
    assert row is not None
    return row[0]
