"""Versions of workflows: which runs take which, what is different, and runs that change theirs."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from psycopg import errors

from support.database import Database
from support.paths import ROOT
from test_readme import statements
from test_workflows import end, no_jobs, sql, start

ACTIVE = "SELECT version, canary_version, canary_share::float8 FROM automate.workflow"


def create(db: Database, name: str, tasks: list[Any], activate: bool = True, **more: object) -> int:
    document = json.dumps({"do": tasks, **more})
    call = "SELECT automate.create_workflow(%s, %s::jsonb, activate => %s)"
    return int(db.one(call, [name, document, activate]))


def waiting(db: Database, run: str) -> None:
    db.wait_until("SELECT status = 'waiting' FROM automate.run WHERE id = %s", [run])
    # Its turn is over when nobody holds its job.
    db.wait_until("SELECT EXISTS (SELECT FROM automate.job WHERE id = %s FOR UPDATE SKIP LOCKED)", [run])


def migrate(db: Database, run: str, version: int, dry_run: bool = True) -> list[tuple[Any, ...]]:
    return db.rows(
        "SELECT step, new_step, compatible, change FROM automate.migrate_run(%s, %s, %s)",
        [run, version, dry_run],
    )


ASLEEP = {"wait": {"hours": 1}}


def test_versions_and_their_runs(db: Database) -> None:
    create(db, "w", [{"a": sql("SELECT 1 AS a")}])
    end(db, start(db, "w"))
    create(db, "w", [{"a": sql("SELECT 2 AS a")}, {"z": ASLEEP}], document={"summary": "Sleeps"})
    run = start(db, "w")
    waiting(db, run)
    rows = db.rows("SELECT version, active, share, open, completed, faulted, changes, summary"
                   " FROM automate.workflow_versions('w')")
    assert rows == [(2, True, 1, 1, 0, 0, 3, "Sleeps"), (1, False, 0, 0, 1, 0, None, None)]
    db.execute("SELECT automate.cancel_run(%s)", [run])
    end(db, run)
    with pytest.raises(errors.UndefinedObject):
        db.rows("SELECT * FROM automate.workflow_versions('nobody')")


def test_differences_are_told_by_names(db: Database) -> None:
    create(db, "w", [{"a": sql("SELECT 1")}, {"b": ASLEEP}, {"c": {"set": {"x": 1}}}])
    create(db, "w", [{"new": {"set": {}}}, {"c2": {"set": {"x": 1}}}, {"a": sql("SELECT 2")}])
    rows = db.rows("SELECT pointer, op, old, new FROM automate.workflow_diff('w')")
    assert rows == [
        ("/do/new", "add", None, {"set": {}}),
        ("/do/c2", "rename", "c", "c2"),
        ("/do/a/with/query", "replace", "SELECT 1", "SELECT 2"),
        ("/do/b", "remove", ASLEEP, None),
    ]
    assert db.rows("SELECT pointer, op FROM automate.workflow_diff('w', 1, 1)") == []
    assert len(db.rows("SELECT pointer, op FROM automate.workflow_diff('w', 2, 1)")) == 4
    with pytest.raises(errors.UndefinedObject, match="no version 9"):
        db.rows("SELECT * FROM automate.workflow_diff('w', 9, 1)")


def test_back_to_an_older_version(db: Database) -> None:
    create(db, "w", [{"a": sql("SELECT 1 AS a")}])
    create(db, "w", [{"a": sql("SELECT 2 AS a")}])
    assert create(db, "w", [{"a": sql("SELECT 3 AS a")}], activate=False) == 3
    assert create(db, "w", [{"a": sql("SELECT 3 AS a")}], activate=False) == 3
    assert end(db, start(db, "w"))[1] == [{"a": 2}]
    db.execute("SELECT automate.activate_version('w', 1)")
    assert end(db, start(db, "w"))[1] == [{"a": 1}]
    db.execute("SELECT automate.activate_version('w', 3)")
    assert end(db, start(db, "w"))[1] == [{"a": 3}]
    with pytest.raises(errors.InvalidParameterValue, match="no version yet"):
        create(db, "other", [{"a": ASLEEP}], activate=False)
    assert db.one("SELECT count(*) FROM automate.workflow") == 1


def test_a_version_is_checked_when_it_is_activated(db: Database) -> None:
    db.execute("CREATE TABLE t (id int)")
    create(db, "w", [{"a": sql("DELETE FROM t")}])
    create(db, "w", [{"a": sql("SELECT 1")}])
    db.execute("DROP TABLE t")
    with pytest.raises(errors.UndefinedTable, match="version 1"):
        db.execute("SELECT automate.activate_version('w', 1)")
    assert db.rows(ACTIVE) == [(2, None, None)]


def test_a_part_of_the_runs_tries_a_version(db: Database) -> None:
    create(db, "w", [{"a": {"set": {"v": 1}}}])
    create(db, "w", [{"a": {"set": {"v": 2}}}], activate=False)
    db.execute("SELECT automate.activate_version('w', 2, share => 0.25)")
    assert db.rows(ACTIVE) == [(1, 2, 0.25)]
    shares = "SELECT version, share::float8 FROM automate.workflow_versions('w')"
    assert db.rows(shares) == [(2, 0.25), (1, 0.75)]
    starts = "SELECT count(*) FROM (SELECT automate.execute_workflow('w', idempotency_key => 'k' || i) FROM generate_series(1, 2000) AS i) AS s"
    db.execute(starts)
    took = "SELECT count(*) FROM automate.run WHERE version = 2"
    first = int(db.one(took))
    assert 400 < first < 600
    no_jobs(db)
    # The same keys choose the same, also when the runs of the first time are gone.
    chosen = "SELECT idempotency_key FROM automate.run WHERE version = 2 ORDER BY 1"
    keys = db.rows(chosen)
    db.execute("TRUNCATE automate.run")
    db.execute(starts)
    assert db.rows(chosen) == keys
    no_jobs(db)
    assert end(db, start(db, "w", version=1))[1] == {"v": 1}
    db.execute("SELECT automate.activate_version('w', 2, share => 0)")
    assert db.rows(ACTIVE) == [(1, None, None)]
    db.execute("SELECT automate.activate_version('w', 2, 0.5)")
    db.execute("SELECT automate.activate_version('w', 2)")
    assert db.rows(ACTIVE) == [(2, None, None)]
    db.execute("SELECT automate.activate_version('w', 1, 0.5)")
    assert create(db, "w", [{"a": {"set": {"v": 3}}}]) == 3
    assert db.rows(ACTIVE) == [(3, None, None)]


@pytest.mark.parametrize(("version", "share", "message"), [
    (2, -0.1, "share must be 0 to 1"),
    (2, 1.5, "share must be 0 to 1"),
    (1, 0.5, "runs take already"),
    (9, 1, "no version 9"),
])
def test_bad_shares(db: Database, version: int, share: float, message: str) -> None:
    create(db, "w", [{"a": ASLEEP}])
    create(db, "w", [{"b": ASLEEP}], activate=False)
    with pytest.raises((errors.InvalidParameterValue, errors.UndefinedObject), match=message) as refused:
        db.execute("SELECT automate.activate_version('w', %s, %s)", [version, share])
    assert refused.value.diag.message_detail and refused.value.diag.message_hint


# --- runs that change their version -----------------------------------------------------------


def test_a_waiting_run_goes_on_with_another_version(db: Database) -> None:
    db.execute("CREATE TABLE log (what text)")
    create(db, "w", [{"a": sql("INSERT INTO log VALUES ('a1')")}, {"w": ASLEEP}, {"b": sql("INSERT INTO log VALUES ('b1')")}])
    run = start(db, "w")
    waiting(db, run)
    create(db, "w", [{"new": {"set": {}}}, {"a": sql("INSERT INTO log VALUES ('a2')")}, {"w": ASLEEP},
                     {"b": sql("INSERT INTO log VALUES ('b2')")}, {"c": sql("INSERT INTO log VALUES ('c2')")}])
    row = ("/do/1/w", "/do/2/w", True, "moved")
    assert migrate(db, run, 2) == [row]
    assert db.one("SELECT version FROM automate.run WHERE id = %s", [run]) == 1
    assert migrate(db, run, 2, False) == [row]
    # The hour is over.
    db.execute("UPDATE automate.run SET revision = revision + 1, state = replace(replace(state::text,"
               " '\"wake_ms\": 1', '\"wake_ms\": '), '\"at_ms\": 1', '\"at_ms\": ')::jsonb WHERE id = %s", [run])
    db.execute("UPDATE automate.job SET run_at = now(), status = 'ready' WHERE id = %s", [run])
    db.execute("SELECT automate.execute_workflow('w', version => 2)")
    assert end(db, run)[0] == "completed"
    assert db.rows("SELECT what FROM log WHERE what LIKE '_1'") == [("a1",)]
    assert db.rows("SELECT version FROM automate.run WHERE id = %s", [run]) == [(2,)]
    assert db.rows("SELECT step FROM automate.run_step WHERE run = %s AND name IN ('b', 'c') ORDER BY step",
                   [run]) == [("/do/3/b",), ("/do/4/c",)]


def test_what_stands_in_the_way_is_told(db: Database) -> None:
    create(db, "w", [{"outer": {"do": [{"w": ASLEEP}]}}])
    run = start(db, "w")
    waiting(db, run)
    create(db, "w", [{"outer": {"do": [{"w": sql("SELECT 1")}]}}])
    create(db, "w", [{"other": {"do": [{"w": ASLEEP}]}}])
    assert migrate(db, run, 2) == [("/do/0/outer/do/0/w", None, False, "no_such_step")]
    assert migrate(db, run, 3) == [("/do/0/outer", None, False, "no_such_step")]
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="cannot go on with version 2") as refused:
        migrate(db, run, 2, False)
    assert "name" in (refused.value.diag.message_hint or "")
    assert db.one("SELECT version FROM automate.run WHERE id = %s", [run]) == 1
    with pytest.raises(errors.UndefinedObject, match="no version 9"):
        migrate(db, run, 9)
    with pytest.raises(errors.UndefinedObject, match="does not exist"):
        migrate(db, str(uuid.uuid4()), 1)
    db.execute("SELECT automate.cancel_run(%s)", [run])
    end(db, run)
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="has ended"):
        migrate(db, run, 2)


def test_a_run_in_the_middle_of_a_step_stays(db: Database) -> None:
    create(db, "w", [{"w": ASLEEP}])
    run = start(db, "w")
    waiting(db, run)
    create(db, "w", [{"w": ASLEEP}, {"b": {"set": {}}}])
    with db.connect() as other, other.transaction():
        other.execute("SELECT FROM automate.job WHERE id = %s FOR UPDATE", [run])
        assert migrate(db, run, 2) == [("/do/0/w", "/do/0/w", True, "none")]
        with pytest.raises(errors.ObjectInUse, match="in the middle of a step"):
            migrate(db, run, 2, False)
    migrate(db, run, 2, False)
    assert db.one("SELECT version FROM automate.run WHERE id = %s", [run]) == 2


def test_a_run_that_has_not_begun_only_changes_its_version(db: Database) -> None:
    create(db, "w", [{"a": sql("SELECT 1 AS v")}])
    create(db, "w", [{"b": sql("SELECT 2 AS v")}], activate=False)
    with db.connect() as session, session.transaction():
        run = session.execute("SELECT automate.execute_workflow('w')").fetchone()[0]
        assert session.execute("SELECT * FROM automate.migrate_run(%s, 2, false)", [run]).fetchall() == []
    assert end(db, str(run))[1] == [{"v": 2}]


def test_branches_of_a_fork_keep_their_outputs(db: Database) -> None:
    one = {"one": sql("SELECT 1 AS v")}
    two = {"two": {"do": [{"w": {"wait": {"seconds": 2}}}, {"v": sql("SELECT 2 AS v")}]}}
    create(db, "w", [{"f": {"fork": {"branches": [one, two]}}}])
    run = start(db, "w")
    waiting(db, run)
    create(db, "w", [{"f": {"fork": {"branches": [two, one]}}}])
    create(db, "w", [{"f": {"fork": {"branches": [one, two, {"three": {"set": {}}}]}}}])
    assert ("/do/0/f", None, False, "other_branches") in migrate(db, run, 3)
    migrate(db, run, 2, False)
    assert end(db, run)[1] == [[{"v": 2}], [{"v": 1}]]


def test_what_is_done_can_still_be_undone(db: Database) -> None:
    undo = {"metadata": {"compensate": [{"u": sql("SELECT 1")}]}}
    create(db, "w", [{"a": {**sql("SELECT 1"), **undo}}, {"w": ASLEEP}])
    run = start(db, "w")
    waiting(db, run)
    create(db, "w", [{"a": sql("SELECT 1")}, {"w": ASLEEP}])
    assert ("/do/0/a", None, False, "no_compensation") in migrate(db, run, 2)


def test_the_runs_and_versions_of_others_are_not_there(db: Database, role: Callable[..., str]) -> None:
    create(db, "w", [{"w": ASLEEP}])
    create(db, "w", [{"w": ASLEEP}, {"x": {"set": {}}}])
    run = start(db, "w", version=1)
    waiting(db, run)
    with db.connect(role("bob")) as bob:
        for call in ["automate.migrate_run(%s, 2)", "automate.migrate_run(%s, 2, false)"]:
            with pytest.raises(errors.UndefinedObject, match="does not exist"):
                bob.execute(f"SELECT * FROM {call}", [run])
        for call in ["automate.workflow_versions('w')", "automate.workflow_diff('w')", "automate.workflow_problems('w')",
                     "automate.workflow_dependencies('w')", "automate.activate_version('w', 1)",
                     "automate.alter_workflow('w', 'mine')", "automate.workflow_complexity('w')"]:
            with pytest.raises(errors.UndefinedObject, match="does not exist"):
                bob.execute(f"SELECT * FROM {call}")
        assert bob.execute("SELECT * FROM automate.workflow_dependencies()").fetchall() == []


def test_a_rollback_takes_it_back(db: Database) -> None:
    create(db, "w", [{"w": ASLEEP}])
    run = start(db, "w")
    waiting(db, run)
    create(db, "w", [{"w": ASLEEP}, {"x": {"set": {}}}])
    before = db.rows("SELECT version, state, revision FROM automate.run WHERE id = %s", [run])
    with db.connect() as session:
        session.autocommit = False
        session.execute("SELECT * FROM automate.migrate_run(%s, 2, false)", [run])
        session.execute("SELECT automate.activate_version('w', 1)")
        session.rollback()
    assert db.rows("SELECT version, state, revision FROM automate.run WHERE id = %s", [run]) == before
    assert db.rows(ACTIVE) == [(2, None, None)]


def test_alter_workflow(db: Database) -> None:
    create(db, "w", [{"a": {"set": {"v": 1}}}])
    create(db, "taken", [{"a": ASLEEP}])
    db.execute("SELECT automate.create_trigger('t', 'event', event => 'order.*')")
    db.execute("SELECT automate.alter_workflow('w', new_name => 'v', description => 'd', on_trigger => 't')")
    row = "SELECT name, description, on_trigger IS NOT NULL FROM automate.workflow WHERE name <> 'taken'"
    assert db.rows(row) == [("v", "d", True)]
    db.execute("SELECT automate.alter_workflow('v')")
    assert db.rows(row) == [("v", "d", True)]
    db.execute("SELECT automate.alter_workflow('v', description => '', on_trigger => '')")
    assert db.rows(row) == [("v", None, False)]
    assert end(db, start(db, "v"))[1] == {"v": 1}
    with pytest.raises(errors.DuplicateObject):
        db.execute("SELECT automate.alter_workflow('v', 'taken')")
    with pytest.raises(errors.UndefinedObject):
        db.execute("SELECT automate.alter_workflow('w', 'x')")


def test_a_busy_run_changes_its_version_again_and_again_and_does_each_step_once(db: Database) -> None:
    db.execute("CREATE TABLE ledger (n int)")
    db.execute("CREATE SEQUENCE turns")
    each = {"q": sql("INSERT INTO ledger VALUES ($1)", "${ $n }")}
    # Slow enough that a turn does not do all of them.
    pause = {"p": sql("SELECT pg_sleep(0.002), nextval('turns')")}
    loop = {"l": {"for": {"each": "n", "in": "[range(400)]"}, "do": [each, pause]}}
    create(db, "w", [loop])
    create(db, "w", [{"new": {"set": {}}}, loop], activate=False)
    run = start(db, "w")
    changes, version = 0, 1
    seen = "SELECT revision FROM automate.run WHERE id = %s"
    while db.one("SELECT finished_at IS NULL FROM automate.run WHERE id = %s", [run]):
        try:
            migrate(db, run, 3 - version, False)
            changes, version = changes + 1, 3 - version
            db.wait_until("SELECT finished_at IS NOT NULL OR revision > %s FROM automate.run WHERE id = %s", [db.one(seen, [run]), run])
        except errors.ObjectNotInPrerequisiteState as refused:
            assert "has ended" in str(refused)
        except (errors.ObjectInUse, errors.SerializationFailure):
            pass
    assert end(db, run)[0] == "completed"
    assert changes > 0
    assert db.rows("SELECT count(*), count(DISTINCT n), min(n), max(n) FROM ledger") == [(400, 400, 0, 399)]
    assert db.one("SELECT version FROM automate.run WHERE id = %s", [run]) == version
    no_jobs(db)


def test_names_of_others_on_the_path_mislead_nobody(db: Database, role: Callable[..., str]) -> None:
    user = role("ann")
    db.execute("CREATE SCHEMA evil")
    db.execute(f"GRANT ALL ON SCHEMA evil TO {user}")
    with db.connect(user) as session:
        session.execute("SET search_path = evil, pg_catalog")
        for sketch in ["jsonb_to_recordset(jsonb) RETURNS SETOF record", "pg_has_role(oid, regrole, text) RETURNS boolean",
                       "hashtextextended(text, bigint) RETURNS bigint"]:
            session.execute(f"CREATE FUNCTION evil.{sketch} LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION $x$misled$x$; END'")
        document = json.dumps({"do": [{"w": ASLEEP}]})
        session.execute("SELECT automate.create_workflow('w', %s::jsonb)", [document])
        session.execute("SELECT automate.create_workflow('w', %s::jsonb, activate => false)",
                        [json.dumps({"do": [{"w": ASLEEP}, {"x": {"set": {}}}]})])
        session.execute("SELECT automate.activate_version('w', 2, 0.5)")
        run = session.execute("SELECT automate.execute_workflow('w', version => 1)").fetchone()[0]
        waiting(db, str(run))
        for call in ["workflow_versions('w')", "workflow_diff('w', 1, 2)", "workflow_complexity('w')",
                     f"migrate_run('{run}', 2)"]:
            assert session.execute(f"SELECT * FROM automate.{call}").fetchall(), call
        for call in ["workflow_problems('w')", "workflow_dependencies('w')"]:
            assert session.execute(f"SELECT * FROM automate.{call}").fetchall() == [], call


def test_the_examples_of_the_document_run(db: Database, role: Callable[..., str]) -> None:
    text = (ROOT / "docs" / "workflow-versions.md").read_text()
    examples = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    db.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")
    session = db.connect(role("reader"))
    answers = []
    for example in examples:
        for statement in statements(example):
            cursor = session.execute(statement)  # type: ignore[arg-type]
            answers.append(cursor.fetchall() if cursor.description else None)
        for (run,) in db.rows("SELECT id FROM automate.run WHERE workflow = 'remind'"):
            waiting(db, str(run))
    assert answers[0] == [("warning", "/do/1/second", 'the task "second" is never reached',
                           'Every way ends or goes elsewhere before it: remove it, or name it in a "then".')]
    assert answers[3:6] == [[], [("table", "public.orders", False)], []]
    assert [row[:2] for row in answers[8]] == [(2, False), (1, True)]
    assert answers[-2] == [("/do/0/pause", "/do/0/pause", "none")]
    assert db.one("SELECT version FROM automate.run WHERE workflow = 'remind'") == 2
