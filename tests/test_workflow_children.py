"""run: workflow: children give their output or their error, end with their parents, and are started once."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg import errors

from support.database import Database
from test_workflows import create, end, no_jobs, sql, start, steps


def child(name: str, run: dict[str, Any] | None = None, **more: object) -> dict[str, Any]:
    return {"kid": {"run": {"workflow": {"name": name, **more}, **(run or {})}}}


def test_a_child_gets_input_and_gives_its_output(db: Database) -> None:
    create(db, "double", {"a": sql("SELECT $1::int * 2", "${ .n }", result="scalar")})
    create(db, "w", child("double", input={"n": "${ .of + 1 }"}), {"out": {"set": {"got": "${ . }"}}})
    run = start(db, "w", {"of": 20})
    assert end(db, run)[:2] == ("completed", {"got": 42})
    assert db.rows("SELECT parent::text, parent_step, parent_attempt, nesting, status, source FROM automate.run WHERE workflow = 'double'") == [
        (run, "/do/0/kid", 1, 1, "completed", "workflow:w")]
    no_jobs(db)


def test_a_loop_and_branches_of_children(db: Database) -> None:
    create(db, "double", {"a": sql("SELECT $1::int * 2", "${ .n }", result="scalar")})
    create(db, "w", {"all": {"for": {"each": "n", "in": "${ .numbers }"}, "metadata": {"maxParallel": 5},
                             "do": [child("double", input={"n": "${ $n }"})]}})
    run = start(db, "w", {"numbers": list(range(30))})
    assert end(db, run)[:2] == ("completed", {"count": 30, "failed": 0, "completed": 30})
    outputs = "SELECT array_agg(output::int ORDER BY output::int) FROM automate.run WHERE parent = %s"
    assert db.one(outputs, [run]) == [2 * n for n in range(30)]
    assert db.one("SELECT count(*) FROM automate.run WHERE parent = %s", [run]) == 30
    no_jobs(db)


def test_a_fault_of_the_child_can_be_caught(db: Database) -> None:
    create(db, "bad", {"a": {"raise": {"error": {"type": "https://x.org/empty", "status": 409, "detail": "none left"}}}})
    create(db, "w", {"try": {"try": [child("bad")], "catch": {
        "errors": {"with": {"type": "https://x.org/empty"}}, "as": "e",
        "do": [{"say": {"set": {"said": "${ $e.detail }", "at": "${ $e.instance }"}}}]}}})
    assert end(db, start(db, "w"))[:2] == ("completed", {"said": "none left", "at": "/do/0/try/try/0/kid"})
    create(db, "plain", child("bad"))
    status, _, error = end(db, start(db, "plain"))
    assert (status, error["status"], error["instance"]) == ("faulted", 409, "/do/0/kid")
    no_jobs(db)


def test_versions_and_namespaces(db: Database) -> None:
    for n, version in enumerate(("1.0.0", "1.1.0")):
        document = {"dsl": "1.0.3", "namespace": "shop", "name": "v", "version": version}
        create(db, "v", {"s": {"set": {"n": n + 1}}}, document=document)
    cases = [({}, 2), ({"version": "1"}, 1), ({"version": "1.0.0"}, 1), ({"version": "1.1.0", "namespace": "shop"}, 2)]
    for i, (more, n) in enumerate(cases):
        create(db, f"w{i}", child("v", **more))
        assert end(db, start(db, f"w{i}"))[:2] == ("completed", {"n": n})
    create(db, "bad", child("v", namespace="other"))
    status, _, error = end(db, start(db, "bad"))
    assert status == "faulted" and "other" in error["detail"]
    with pytest.raises(errors.Error, match="9.9.9"):
        create(db, "bad", child("v", version="9.9.9"))


def test_an_unknown_workflow_faults_the_step_also_if_nobody_waits(db: Database) -> None:
    create(db, "duoble", {"a": {"set": {}}})
    for wait in (True, False):
        create(db, f"w{wait}", child("duoble", {"await": wait}))
    db.execute("SELECT automate.alter_workflow('duoble', new_name => 'double')")
    for wait in (True, False):
        status, _, error = end(db, start(db, f"w{wait}"))
        assert status == "faulted" and 'workflow "duoble" does not exist' in error["detail"]
        assert error["instance"] == "/do/0/kid"


def test_fire_and_forget(db: Database) -> None:
    create(db, "slow", {"a": {"wait": {"minutes": 5}}})
    create(db, "w", child("slow", {"await": False}))
    run = start(db, "w")
    assert end(db, run)[0] == "completed"
    kid = db.rows("SELECT id, parent::text, parent_attempt, finished_at FROM automate.run WHERE workflow = 'slow'")[0]
    assert kid[1:] == (run, None, None)
    assert db.one("SELECT automate.cancel_run(%s)", [kid[0]])
    assert end(db, str(kid[0]))[0] == "cancelled"
    no_jobs(db)


def waiting(db: Database, name: str) -> str:
    db.wait_until("SELECT count(*) = 1 FROM automate.run WHERE workflow = %s AND status = 'waiting'", [name])
    return str(db.one("SELECT id FROM automate.run WHERE workflow = %s AND status = 'waiting'", [name]))


def test_a_cancelled_parent_ends_its_children_and_theirs(db: Database) -> None:
    create(db, "c", {"a": {"wait": {"minutes": 5}}})
    create(db, "b", child("c"))
    create(db, "a", child("b"))
    run = start(db, "a")
    kid = waiting(db, "c")
    assert db.one("SELECT nesting FROM automate.run WHERE id = %s", [kid]) == 2
    db.one("SELECT automate.cancel_run(%s)", [run])
    assert end(db, run)[0] == end(db, kid)[0] == "cancelled"
    db.wait_until("SELECT bool_and(status = 'cancelled') AND count(*) = 3 FROM automate.run")
    no_jobs(db)


def test_a_cancelled_child_fails_the_step(db: Database) -> None:
    create(db, "c", {"a": {"wait": {"minutes": 5}}})
    create(db, "w", child("c"))
    run = start(db, "w")
    db.one("SELECT automate.cancel_run(%s)", [waiting(db, "c")])
    status, _, error = end(db, run)
    assert status == "faulted" and "was cancelled" in error["detail"]
    no_jobs(db)


def test_a_timeout_ends_the_child(db: Database) -> None:
    create(db, "c", {"a": {"wait": {"minutes": 5}}})
    task = child("c")
    task["kid"]["timeout"] = {"after": {"milliseconds": 200}}
    create(db, "w", task)
    status, _, error = end(db, start(db, "w"))
    assert status == "faulted" and error["type"].endswith("/timeout")
    db.wait_until("SELECT status = 'cancelled' FROM automate.run WHERE workflow = 'c'")
    no_jobs(db)


def test_workflows_that_start_each_other_end(db: Database) -> None:
    create(db, "w", {"a": {"set": {}}})
    create(db, "w", child("w"))
    status, _, error = end(db, start(db, "w"))
    assert status == "faulted" and "within 17 others" in error["detail"]
    assert db.one("SELECT max(nesting) FROM automate.run") == 16
    no_jobs(db)


def test_what_the_owner_may_not_start_does_not_exist(db: Database, role: Any) -> None:
    create(db, "private", {"a": {"set": {}}})
    ann = db.connect(role("ann"))
    document = '{"do": [{"kid": {"run": {"workflow": {"name": "private"}}}}]}'
    with pytest.raises(errors.Error, match="does not exist"):
        ann.execute("SELECT automate.create_workflow('w', %s::jsonb)", [document])
    # One of her own, which is gone when the run comes to it.
    ann.execute("SELECT automate.create_workflow('private', '{\"do\": [{\"a\": {\"set\": {}}}]}')")
    ann.execute("SELECT automate.create_workflow('w', %s::jsonb)", [document])
    ann.execute("SELECT automate.drop_workflow('private')")
    run = ann.execute("SELECT automate.execute_workflow('w')").fetchone()
    assert run is not None
    status, _, error = end(db, str(run[0]))
    assert status == "faulted" and "does not exist" in error["detail"]


def test_a_child_is_tried_again_with_its_step(db: Database) -> None:
    db.execute("CREATE TABLE tries (n int)")
    create(db, "flaky", {"a": {"call": "sql", "with": {"query": "INSERT INTO public.tries VALUES (1)", "result": "none"}}},
           {"b": sql("SELECT 1 / 0")})
    create(db, "w", {"try": {"try": [child("flaky")], "catch": {"retry": {"limit": {"attempt": {"count": 2}}}}}})
    run = start(db, "w")
    assert end(db, run)[0] == "faulted"
    assert db.one("SELECT count(*) FROM automate.run WHERE parent = %s", [run]) == db.one("SELECT count(*) FROM tries")
    assert db.one("SELECT count(*) > 1 FROM tries")
    assert len([s for s in steps(db, run) if s[0] == "kid"]) > 1
    no_jobs(db)
