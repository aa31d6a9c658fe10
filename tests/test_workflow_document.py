"""The examples of docs/workflows.md run, and do what the text around them says."""

from __future__ import annotations

import re

from support.database import Database
from support.paths import ROOT


def test_the_examples_of_the_document_run(db: Database) -> None:
    text = (ROOT / "docs" / "workflows.md").read_text()
    examples = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    assert len(examples) == 4
    for example in examples:
        db.execute(example)
        db.wait_until("SELECT NOT EXISTS (SELECT FROM automate.run WHERE finished_at IS NULL)")
    runs = {row[0]: row[1:] for row in db.rows("SELECT workflow, status, output, error FROM automate.run")}
    assert runs["ship"] == ("completed", {"id": 1, "status": "shipped"}, None)
    assert runs["recount"][:2] == ("completed", [900, 9])
    assert runs["await-payment"][:2] == ("completed", [{"order": 7, "amount": 30}])
    status, _, error = runs["transfer"]
    assert (status, error["type"].rsplit("/", 1)[1], error["status"]) == ("faulted", "validation", 400)
    assert db.rows("SELECT name, amount FROM account ORDER BY name") == [("ann", 100), ("bob", 0)]
    assert db.one("SELECT count(*) FROM automate.run_step WHERE name = 'one' AND status = 'completed'") == 100
