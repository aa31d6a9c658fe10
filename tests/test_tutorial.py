"""The tutorial runs as it stands, and shows what it says."""

from __future__ import annotations

import re
from collections.abc import Callable

from support.database import Database
from support.paths import ROOT


def test_the_tutorial_runs(db: Database, role: Callable[..., str]) -> None:
    text = (ROOT / "docs" / "tutorial.md").read_text()
    session = db.connect(role("reader"))
    for example in re.findall(r"```sql\n(.*?)```", text, re.DOTALL):
        # What the actions of the last example did, as a reader who has paused sees it.
        db.wait_until("SELECT count(*) = 0 FROM automate.job")
        # A statement, and what it shows below it.
        for statement, shown in re.findall(r"((?:^(?!--).*\n)+)((?:^-- .*\n)*)", example, re.MULTILINE):
            parts = [part for part in re.split(r";\n", statement) if part.strip()]
            for part in parts:
                cursor = session.execute(part)  # type: ignore[arg-type]
            rows = cursor.fetchall() if shown else []
            expected = [line.removeprefix("--  ") for line in shown.splitlines()]
            assert [" | ".join(str(cell) for cell in row) for row in rows] == expected, statement
