"""The examples of docs/cron.md run and answer as they stand."""

from __future__ import annotations

import re

import pytest
from psycopg import errors

from support.database import Database
from support.paths import ROOT


def test_the_examples_of_the_document_run(db: Database) -> None:
    text = (ROOT / "docs" / "cron.md").read_text()
    db.execute("SET TimeZone = 'UTC'")
    asked = 0
    for example in re.findall(r"```sql\n(.*?)```", text, re.DOTALL):
        for statement, shown in re.findall(r"(SELECT .*?);\n((?:--  [^\n]*\n)+)", example, re.DOTALL):
            rows = [[part.strip() for part in line[4:].split("|")] for line in shown.splitlines()]
            assert [["" if value is None else value for value in row] for row in db.rows(statement)] == rows
            asked += 1
    assert asked == 6
    refused = re.findall(r"=> (SELECT .*;)\nERROR:  (.*)\nHINT:  (.*)\n", text)
    assert len(refused) == 2
    for statement, message, hint in refused:
        with pytest.raises(errors.InvalidParameterValue) as caught:
            db.execute(statement)
        assert (caught.value.diag.message_primary, caught.value.diag.message_hint) == (message, hint)
