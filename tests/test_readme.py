"""Every example of the README runs, in its order, as a role of level network."""

from __future__ import annotations

import re

from support.paths import ROOT


def examples() -> list[str]:
    text = (ROOT / "README.md").read_text()
    return re.findall(r"```sql\n(.*?)```", text, re.DOTALL)


def test_the_examples_run(db, role):
    first, *others = examples()
    assert "CREATE EXTENSION" in first and len(others) >= 5
    session = db.connect(role("reader", level="network"))
    for example in others:
        # Without parameters psycopg sends the text as one simple query, statement by statement.
        for statement in statements(example):
            session.execute(statement)
    db.wait_until("SELECT count(*) = 1 FROM audit WHERE note = 'big' AND order_id = 1")
    db.wait_until("SELECT status = 'completed' FROM automate.run")
    assert db.one("SELECT status FROM orders") == "shipped"
    assert db.one("SELECT state FROM automate.delivery") == "sent"
    text = session.execute("SELECT automate.report_text('sales')").fetchone()[0]
    assert "Sales" in text and "2,500" in text.replace("2500", "2,500")


def statements(example: str) -> list[str]:
    """The statements of an example; a semicolon inside of $$ or quotes is not an end."""
    parts = re.findall(r"(?:\$\$.*?\$\$|'(?:[^']|'')*'|--[^\n]*|[^;])+", example, re.DOTALL)
    return [part.strip() for part in parts if re.sub(r"--[^\n]*", "", part).strip()]
