"""Pictures of workflows and runs: text, Mermaid, SVG, HTML and time lines."""

from __future__ import annotations

import json
import re
import uuid
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import psycopg
import pytest

from support.database import Database
from support.paths import ROOT
from test_readme import statements
from test_workflows import create, end, sql, start

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "</text><script>alert('x')</script>"


class Page(HTMLParser):
    """The elements and the text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert not [a for a, _ in attrs if a.startswith("on") or a in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def drawn(db: Database, form: str, subject: object, cast: str = "text") -> str:
    return str(db.one(f"SELECT automate.workflow_{form}(%s::{cast})", [subject]))


def texts(svg: str) -> list[str]:
    return ["".join(e.itertext()) for e in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def mixed(db: Database) -> str:
    """A run with a loop, a caught failure and a wait that goes on."""
    create(
        db, "mixed",
        {"load": sql("SELECT 1 AS one")},
        {"each": {"for": {"each": "n", "in": "[1, 2, 3]"}, "do": [{"turn": sql("SELECT 1")}]}},
        {"risky": {"try": [{"div": sql("SELECT 1 / 0")}],
                   "catch": {"do": [{"calm": {"set": {"a": 1}}}]}}},
        {"hold": {"wait": {"hours": 1}}},
    )  # fmt: skip
    run = start(db, "mixed")
    db.wait_until("SELECT EXISTS (SELECT FROM automate.run_step WHERE name = 'hold')")
    return run


def test_a_run_is_drawn_over_its_definition(db: Database) -> None:
    run = mixed(db)
    tree = drawn(db, "text", run, "uuid").splitlines()
    assert tree[0] == "mixed, version 1" and tree[1].startswith(f"run {run}: waiting")
    line = {name: next(row for row in tree if f"─ {name}" in row) for name in ("load", "turn", "div", "hold")}
    assert "✓ completed" in line["load"] and "3 done" in line["turn"]
    assert "✗ faulted" in line["div"] and "… waiting" in line["hold"]
    assert "waiting" in " ".join(texts(drawn(db, "svg", run, "uuid")))
    chart = drawn(db, "mermaid", run, "uuid")
    assert re.search(r"class n\d+ faulted", chart) and re.search(r"class n\d+ waiting", chart)
    page = Page(drawn(db, "html", run, "uuid"))
    assert {"svg", "table", "details"} <= page.tags and "/do/1/each/do/0/turn#2" in page.words
    # A text that names no workflow and is the id of a run means the run.
    assert drawn(db, "text", run).startswith("mixed, version 1\nrun ")
    db.one("SELECT automate.cancel_run(%s)", [run])
    assert end(db, run)[0] == "cancelled"


def test_literals_name_workflows_and_versions(db: Database) -> None:
    create(db, "w", {"first": sql("SELECT 1")})
    create(db, "w", {"second": sql("SELECT 2")})
    assert "second" in db.one("SELECT automate.workflow_text('w')")
    assert "first" in db.one("SELECT automate.workflow_text('w', 1)")
    assert "flowchart LR" in db.one("SELECT automate.workflow_mermaid('w', direction => 'LR')")
    assert "a, b" in db.one("""SELECT automate.workflow_text('{"do": [{"x": {"set": {"a": 1, "b": 2}}}]}'::jsonb)""")


@pytest.mark.parametrize(("call", "state", "text"), [
    ("workflow_text('nope')", "42704", 'workflow "nope" does not exist'),
    ("workflow_svg('w', 7)", "42704", "has no version 7"),
    ("workflow_html('00000000-0000-0000-0000-000000000001'::uuid)", "42704", "does not exist"),
    ("run_timeline('00000000-0000-0000-0000-000000000001')", "42704", "does not exist"),
    ("run_timeline(NULL)", "22004", "run must not be NULL"),
    ("run_timeline('00000000-0000-0000-0000-000000000001', 5)", "22023", "width must be 10 to 200"),
    ("workflow_text(NULL::jsonb)", "22004", "must not be NULL"),
    ("workflow_text('[]'::jsonb)", "22023", "no list of tasks"),
    ("workflow_mermaid('w', direction => 'up')", "22023", "unknown direction"),
])  # fmt: skip
def test_refusals(db: Database, call: str, state: str, text: str) -> None:
    create(db, "w", sql("SELECT 1"))
    with pytest.raises(psycopg.Error) as refused:
        db.execute(f"SELECT automate.{call}")
    diag = refused.value.diag
    assert refused.value.sqlstate == state and text in (diag.message_primary or "")
    assert diag.message_detail and diag.message_hint


def test_hostile_names_stay_text(db: Database) -> None:
    document: dict[str, Any] = {"do": [
        {HOSTILE: {"set": {HOSTILE: 1}}},
        {"s": {"switch": [{HOSTILE: {"when": f'. == "{HOSTILE}"', "then": "end"}}]}},
    ]}  # fmt: skip
    db.execute("SELECT automate.create_workflow(%s, %s::jsonb)", [HOSTILE, json.dumps(document)])
    run = start(db, HOSTILE, {"a": HOSTILE})
    end(db, run)
    for subject, cast in ((HOSTILE, "text"), (run, "uuid"), (json.dumps(document), "jsonb")):
        assert any(HOSTILE in text for text in texts(drawn(db, "svg", subject, cast)))
        page = Page(drawn(db, "html", subject, cast))
        assert "script" not in page.tags and any(HOSTILE in word for word in page.words)
        assert "<script" not in drawn(db, "mermaid", subject, cast)
    ElementTree.fromstring(db.one("SELECT automate.run_timeline_svg(%s)", [run]))


def test_other_roles_see_nothing(db: Database, role: Callable[..., str]) -> None:
    run = mixed(db)
    other, watcher = role("other"), role("watcher", level="monitor")
    for form in ("text", "mermaid", "svg", "html"):
        for subject, cast in (("mixed", "text"), (run, "uuid"), (run, "text")):
            with pytest.raises(psycopg.errors.UndefinedObject):
                db.connect(other).execute(f"SELECT automate.workflow_{form}(%s::{cast})", [subject])
        assert db.connect(watcher).execute(f"SELECT automate.workflow_{form}(%s::uuid)", [run]).fetchone()
    for call in ("run_timeline", "run_timeline_svg"):
        with pytest.raises(psycopg.errors.UndefinedObject):
            db.connect(other).execute(f"SELECT automate.{call}(%s)", [run])
    stranger = role("stranger", level=None)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        db.connect(stranger).execute("SELECT automate.workflow_text('mixed')")


def test_a_time_line_has_a_bar_for_each_attempt(db: Database) -> None:
    run = mixed(db)
    rows = db.rows("SELECT name, status, duration, bar FROM automate.run_timeline(%s, 40)", [run])
    count = db.one("SELECT count(*) FROM automate.run_step WHERE run = %s", [run])
    assert len(rows) == count and all(len(row[3]) == 40 for row in rows)
    signs = {row[0]: row[3].strip()[0] for row in rows}
    assert (signs["load"], signs["div"], signs["hold"]) == ("█", "▒", "░")
    picture = ElementTree.fromstring(db.one("SELECT automate.run_timeline_svg(%s)", [run]))
    bars = [e for e in picture.iter(f"{SVG}rect") if (e.get("class") or "").startswith("bar")]
    assert len(bars) == count


def test_a_dropped_workflow_leaves_its_runs(db: Database) -> None:
    create(db, "w", sql("SELECT 1"))
    run = start(db, "w")
    end(db, run)
    db.execute("SELECT automate.drop_workflow('w')")
    with pytest.raises(psycopg.errors.UndefinedObject, match="not there any more"):
        drawn(db, "text", run, "uuid")
    assert db.rows("SELECT status FROM automate.run_timeline(%s)", [run]) == [("completed",)]
    with pytest.raises(psycopg.errors.UndefinedObject):
        drawn(db, "text", str(uuid.uuid4()))


def test_the_examples_of_the_document_run(db: Database) -> None:
    text = (ROOT / "docs" / "workflow-pictures.md").read_text()
    examples = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    answers = [db.rows(s) if s.lstrip().upper().startswith("SELECT") else db.execute(s)
               for example in examples for s in statements(example)]  # fmt: skip
    assert len(answers) >= 6
    tree = str(db.one("SELECT automate.workflow_text('parcel')"))
    for line in tree.splitlines():
        assert line in text, line
