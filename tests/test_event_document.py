"""The examples of docs/events.md run as they stand."""

from __future__ import annotations

import re

import pytest
from psycopg import errors

from support.database import Database
from support.jobs import idle
from support.paths import ROOT


def test_the_examples_of_the_document_run(db: Database) -> None:
    text = (ROOT / "docs" / "events.md").read_text()
    examples = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    assert len(examples) == 7
    answers = []
    session = db.connect()
    try:
        for example in examples:
            for statement in re.split(r";\n", example):
                if statement.strip():
                    cursor = session.execute(statement)  # type: ignore[arg-type]
                    answers.append(cursor.fetchall() if cursor.description else None)
        assert answers[3] == [("order.paid", {"id": 7, "amount": 120}, "postgres", 0)]
        context, trace_id = answers[-4][0]
        assert context["session"] == {"app.user_id": "42"} and trace_id in text
        # Three events were about order 7.
        assert answers[-2:] == [[(3,)], [(3,)]]
        idle(db)
        assert db.one("SELECT count(*) FROM payment WHERE said ? 'replayed'") == 3
        refused = re.findall(r"=> (SELECT .*;)\nERROR:  (.*)\nDETAIL:  (.*)\n", text)
        for statement, message, detail in refused:
            with pytest.raises(errors.CheckViolation) as caught:
                session.execute(statement)  # type: ignore[arg-type]
            assert (caught.value.diag.message_primary, caught.value.diag.message_detail) == (message, detail)
        assert len(refused) == 1
    finally:
        session.close()
        db.execute("DROP OWNED BY web_gateway")
        db.execute("DROP ROLE web_gateway")
