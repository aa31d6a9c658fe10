"""Signals and events: one, any, all; before and after the step listens; nothing lost, nothing twice."""

from __future__ import annotations

import json
from typing import Any

import pytest
from psycopg import errors

from support.database import Database
from test_workflows import create, end, no_jobs, start, steps


def listen(to: dict[str, Any], **more: object) -> dict[str, Any]:
    return {"hear": {"listen": {"to": to, **more}}}


def one(kind: str, **more: object) -> dict[str, Any]:
    return {"one": {"with": {"type": kind, **more}}}


def signal(db: Database, run: str, name: str, payload: object = None) -> str:
    return str(db.one("SELECT automate.signal_run(%s, %s, %s::jsonb)", [run, name, json.dumps(payload or {})]))


def waits(db: Database, run: str) -> None:
    db.wait_until("SELECT status = 'waiting' FROM automate.run WHERE id = %s", [run])


def emit(db: Database, name: str, payload: object = None) -> str:
    return str(db.one("SELECT automate.emit_event(%s, %s::jsonb)", [name, json.dumps(payload or {})]))


def test_a_signal_after_and_before_the_listen(db: Database) -> None:
    create(db, "w", listen(one("paid")))
    run = start(db, "w")
    waits(db, run)
    assert db.one("SELECT status FROM automate.job WHERE id = %s", [run]) == "waiting"
    signal(db, run, "other")
    signal(db, run, "paid", {"n": 1})
    assert end(db, run)[:2] == ("completed", [{"n": 1}])
    create(db, "late", {"pause": {"wait": {"milliseconds": 300}}}, *[
        {f"h{n}": {"listen": {"to": one("paid")}, "output": {"as": ". + [$context]"}, "export": {"as": "$context + {n: (($context.n // 0) + 1)}"}}}
        for n in range(2)])
    run = start(db, "late")
    waits(db, run)
    for n in range(3):
        signal(db, run, "paid", {"n": n})
    status, output, _ = end(db, run)
    # The second step takes the second signal: the first one is taken once.
    assert (status, output[0]) == ("completed", {"n": 1})
    no_jobs(db)
    assert db.one("SELECT NOT EXISTS (SELECT FROM automate.run_news)")


def test_a_rolled_back_signal_is_none_and_an_open_one_holds_up_nobody(db: Database) -> None:
    create(db, "w", listen(one("paid")))
    run = start(db, "w")
    waits(db, run)
    other = db.connect(autocommit=False)
    other.execute("SELECT automate.signal_run(%s, 'paid', '{\"n\": 0}')", [run])
    third = db.connect(autocommit=False)
    third.execute("SELECT automate.signal_run(%s, 'paid', '{\"n\": 1}')", [run])
    signal(db, run, "paid", {"n": 2})
    assert end(db, run)[:2] == ("completed", [{"n": 2}])
    other.rollback()
    third.commit()
    no_jobs(db)


def test_any_all_and_until(db: Database) -> None:
    filters = [{"with": {"type": "a"}}, {"with": {"type": "b"}}]
    create(db, "all", listen({"all": filters}))
    run = start(db, "all")
    for name in ("a", "a", "c", "b"):
        signal(db, run, name, {"from": name})
    assert end(db, run)[:2] == ("completed", [{"from": "a"}, {"from": "b"}])
    create(db, "any", listen({"any": filters}))
    run = start(db, "any")
    for name in ("c", "b"):
        signal(db, run, name, {"from": name})
    assert end(db, run)[:2] == ("completed", [{"from": "b"}])
    create(db, "until", listen({"any": filters, "until": "length == 3"}))
    run = start(db, "until")
    for name in ("a", "b", "a"):
        signal(db, run, name, {"from": name})
    assert end(db, run)[:2] == ("completed", [{"from": n} for n in ("a", "b", "a")])
    no_jobs(db)


def test_an_emitted_event_reaches_each_run_that_wants_it_once(db: Database) -> None:
    create(db, "w", listen({"one": {"with": {"type": "shop.paid", "data": "${ .order == $workflow.input.order }"}}}))
    runs = [start(db, "w", {"order": n}) for n in range(20)]
    db.wait_until("SELECT count(*) = 20 FROM automate.run WHERE status = 'waiting'")
    for n in (3, 7):
        emit(db, "shop.paid", {"order": n})
    for n in (3, 7):
        assert end(db, runs[n])[:2] == ("completed", [{"order": n}])
    no_jobs_but_waiting(db, 18)
    assert db.one("SELECT count(*) FROM automate.run WHERE finished_at IS NULL") == 18
    # Events that nobody wants are not kept.
    assert db.one("SELECT count(*) FROM automate.run_news") == 0


def no_jobs_but_waiting(db: Database, count: int) -> None:
    db.wait_until(
        "SELECT count(*) FILTER (WHERE status = 'waiting') = %s AND count(*) FILTER (WHERE status <> 'waiting') = 0"
        " FROM automate.job", [count])


def test_an_event_from_just_before_the_step_listens(db: Database) -> None:
    create(db, "w", {"pause": {"wait": {"milliseconds": 200}}}, listen(one("shop.paid")))
    run = start(db, "w")
    waits(db, run)
    emit(db, "shop.paid", {"n": 1})
    assert end(db, run)[:2] == ("completed", [{"n": 1}])


def test_an_event_of_a_transaction_that_began_before_the_step_listened(db: Database) -> None:
    create(db, "w", {"pause": {"wait": {"milliseconds": 300}}}, listen(one("shop.paid")))
    run = start(db, "w")
    waits(db, run)
    other = db.connect(autocommit=False)
    other.execute("SELECT automate.emit_event('shop.paid', '{\"n\": 1}')")
    db.wait_until("SELECT count(*) = 1 FROM automate.job WHERE kind = 'hear' AND status = 'scheduled'")
    other.commit()
    assert end(db, run)[:2] == ("completed", [{"n": 1}])


def test_no_event_is_taken_twice(db: Database) -> None:
    """The second step looks for what came before: it finds the event that the first has taken."""
    create(db, "w", listen(one("tick")), {"again": {"listen": {"to": one("tick")}}})
    run = start(db, "w")
    waits(db, run)
    emit(db, "tick", {"n": 1})
    db.wait_until("SELECT count(*) = 1 FROM automate.run_listen WHERE run = %s AND step = '/do/1/again'", [run])
    no_jobs_but_waiting(db, 1)
    assert db.one("SELECT finished_at IS NULL FROM automate.run WHERE id = %s", [run])
    emit(db, "tick", {"n": 2})
    assert end(db, run)[:2] == ("completed", [{"n": 2}])
    no_jobs(db)


def test_an_event_is_heard_only_by_who_may_know(db: Database) -> None:
    db.execute("SELECT automate.emit_event('shop.paid')")
    create(db, "w", listen(one("shop.paid")))
    for name in ("ann", "bob"):
        db.execute(f"CREATE ROLE {name} LOGIN; SELECT automate.grant_usage('{name}', 'user')")
    ann, bob = db.connect("ann"), db.connect("bob")
    document = json.dumps({"do": [listen(one("shop.paid"))]})
    ann.execute("SELECT automate.create_workflow('w', %s::jsonb)", [document])
    run = ann.execute("SELECT automate.execute_workflow('w')").fetchone()[0]
    db.wait_until("SELECT count(*) = 1 FROM automate.run_listen")
    bob.execute("SELECT automate.emit_event('shop.paid', '{\"by\": \"bob\"}')")
    with pytest.raises(errors.UndefinedObject):
        bob.execute("SELECT automate.signal_run(%s, 'shop.paid')", [run])
    ann.execute("SELECT automate.emit_event('shop.paid', '{\"by\": \"ann\"}')")
    assert end(db, str(run))[1] == [{"by": "ann"}]


def test_the_timeout_of_a_listening_step(db: Database) -> None:
    task = {"hear": {"listen": {"to": one("never")}, "timeout": {"after": {"milliseconds": 100}}}}
    create(db, "w", task)
    run = start(db, "w")
    status, _, error = end(db, run)
    assert (status, error["type"].rsplit("/", 1)[1]) == ("faulted", "timeout")
    assert steps(db, run)[-1][2] == "faulted"
    assert db.one("SELECT NOT EXISTS (SELECT FROM automate.run_listen)")
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="has ended"):
        signal(db, run, "never")


def test_signals_against_the_listen(db: Database) -> None:
    """Signals from four sessions while the run goes from one listening step to the next."""
    create(db, "w", {"each": {"for": {"each": "n", "in": "[range(100)]"}, "do": [{"h": {"listen": {"to": one("go")}}}]}})
    run = start(db, "w")
    sessions = [db.connect() for _ in range(4)]
    for n in range(100):
        sessions[n % 4].execute("SELECT automate.signal_run(%s, 'go', %s::jsonb)", [run, json.dumps({"n": n})])
    assert end(db, run)[0] == "completed"
    heard = db.rows("SELECT output -> 0 -> 'n' FROM automate.run_step WHERE run = %s AND name = 'h'", [run])
    assert sorted(row[0] for row in heard) == list(range(100))
    no_jobs(db)


def test_what_comes_while_a_run_is_suspended_is_heard_when_it_goes_on(db: Database) -> None:
    create(db, "w", listen({"all": [{"with": {"type": "paid"}}, {"with": {"type": "sent"}}]}))
    run = start(db, "w")
    waits(db, run)
    db.execute("SELECT automate.suspend_run(%s)", [run])
    db.wait_until("SELECT status = 'suspended' FROM automate.run WHERE id = %s", [run])
    signal(db, run, "paid", {"n": 1})
    emit(db, "sent", {"n": 2})
    db.wait_until("SELECT count(*) = 2 FROM automate.run_news WHERE run = %s", [run])
    db.execute("SELECT automate.resume_run(%s)", [run])
    assert end(db, run)[:2] == ("completed", [{"n": 1}, {"n": 2}])
    no_jobs(db)
