"""Triggers: made and checked, told to their subscribers, fired by events and by the clock, tried without effect."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg import sql

from support.database import Database
from support.paths import ROOT
from test_readme import statements

WRITE = json.dumps([{"sql": "INSERT INTO heard VALUES ($1, $2)", "params": ["${ .rule }", "${ .event }"]}])
ROWS = json.dumps([{"sql": "INSERT INTO heard VALUES ($1, $2)", "params": ["${ .rule }", "${ {new: .new, old: .old} }"]}])
FLOW = json.dumps({"do": [{"note": {"call": "sql", "with": {
    "query": "INSERT INTO heard VALUES ('flow', $1)", "params": ["${ $workflow.input.event }"]}}}]})


@pytest.fixture
def heard(db: Database) -> Database:
    db.execute("CREATE TABLE heard (who text, event jsonb)")
    db.execute("GRANT INSERT ON heard TO PUBLIC")
    return db


@pytest.fixture
def orders(heard: Database) -> Database:
    heard.execute("CREATE TABLE orders (id int PRIMARY KEY, status text, amount numeric)")
    return heard


def trigger(session: Database | psycopg.Connection[Any], name: str, kind: str, **more: Any) -> Any:
    names = "".join(f", {key} => %s" for key in more)
    values = [json.dumps(v) if isinstance(v, dict) else v for v in more.values()]
    cursor = session.execute(f"SELECT automate.create_trigger(%s, %s{names})", [name, kind, *values])  # type: ignore[arg-type]
    (row,) = cursor.fetchall()
    return row[0]


def rule(session: Database | psycopg.Connection[Any], name: str, on: str, actions: str = WRITE, **more: Any) -> None:
    names = "".join(f", {key} => %s" for key in more)
    session.execute(f"SELECT automate.create_rule(%s, %s, on_trigger => %s{names})", [name, actions, on, *more.values()])  # type: ignore[arg-type]


def done(db: Database) -> None:
    db.wait_until("SELECT NOT EXISTS (SELECT FROM automate.job)", deadline=30)


def check_refusal(error: psycopg.Error, state: str, *texts: str) -> None:
    diag = error.diag
    message, detail, hint = diag.message_primary or "", diag.message_detail or "", diag.message_hint or ""
    assert error.sqlstate == state, error
    assert message and not message.endswith(".")
    assert detail.endswith((".", "?")) and hint.endswith((".", "?")), (message, detail, hint)
    for text in texts:
        assert text in f"{message}\n{detail}\n{hint}", (message, detail, hint)


# -- made and checked ----------------------------------------------------------------------------


def test_each_type_is_kept_as_it_was_said(orders: Database) -> None:
    db = orders
    trigger(db, "d", "data", on_table="orders", condition="new.amount > 5", columns=["amount"], options={"payload": "key"})
    trigger(db, "enters", "data", on_table="orders", condition="amount > 5", options={"when": "enters"})
    trigger(db, "logic", "data", on_table="orders", conditions={">": [{"var": "amount"}, 5]}, operations=["INSERT"], event="big")
    trigger(db, "wiped", "data", on_table="orders", operations=["truncate"])
    trigger(db, "e", "event", event="order.*", condition="event ->> 'x' = '1'", options={"from": "rule:*"})
    trigger(db, "short", "event", conditions={"==": [{"var": "event.x"}, 1]})
    trigger(db, "t", "time", schedule="0 8 * * *", options={"time_zone": "Europe/Zurich", "misfire": "skip"})
    trigger(db, "t_short", "time", conditions={"every": "1 h"})
    kept = {row[0]: row[1:] for row in db.rows(
        "SELECT name, operations, event, condition_sql IS NOT NULL, schedule, next_at > now() FROM automate.trigger")}
    assert kept["d"] == (["insert", "update", "delete"], "d", False, None, None)
    assert kept["enters"] == (["insert", "update"], "enters", False, None, None)
    assert kept["logic"] == (["insert"], "big", True, None, None)
    assert kept["e"] == (None, "order.*", False, None, None)
    assert kept["short"] == (None, "*", True, None, None)
    assert kept["t"] == (None, "t", False, {"cron": "0 8 * * *", "time_zone": "Europe/Zurich"}, True)
    assert kept["t_short"] == (None, "t_short", False, {"every": "1 hour"}, True)
    assert db.one("SELECT count(*) FROM automate.trigger WHERE status = 'active' AND version = 1") == 8


@pytest.mark.parametrize(("kind", "more", "state", "texts"), [
    ("dat", {}, "22023", ("Did you mean \"data\"?",)),
    ("data", {}, "22023", ("needs a table", "on_table =>")),
    ("data", {"on_table": "orders", "schedule": "@daily"}, "22023", ("schedule is not for", "time")),
    ("data", {"on_table": "orders", "operations": ["insrt"]}, "22023", ("Did you mean \"insert\"?",)),
    ("data", {"on_table": "orders", "operations": []}, "22023", ("needs an operation",)),
    ("data", {"on_table": "orders", "condition": "amont > 5"}, "42703", ("Perhaps you meant", "amount")),
    ("data", {"on_table": "orders", "condition": "random() > 0.5"}, "42P17", ("volatile",)),
    ("data", {"on_table": "orders", "condition": "true", "conditions": {"==": [1, 1]}}, "22023", ("not both",)),
    ("data", {"on_table": "orders", "columns": ["amout"]}, "42703", ("Did you mean \"amount\"?",)),
    ("data", {"on_table": "orders", "columns": ["amount"], "operations": ["insert"]}, "22023", ("for updates",)),
    ("data", {"on_table": "orders", "options": {"when": "entres"}}, "22023", ("Did you mean \"enters\"?",)),
    ("data", {"on_table": "orders", "options": {"wen": "enters"}}, "22023", ("Did you mean \"when\"?",)),
    ("data", {"on_table": "orders", "options": {"when": "enters"}}, "22023", ("without a condition",)),
    ("data", {"on_table": "orders", "options": {"level": "statement"}, "condition": "amount > 5"}, "22023", ("needs rows",)),
    ("data", {"on_table": "orders", "operations": ["truncate"], "condition": "amount > 5"}, "22023", ("a truncate has none",)),
    ("data", {"on_table": "orders", "condition": "old.amount > 5", "options": {"when": "leaves"}}, "42P01", ("before and after",)),
    ("data", {"on_table": "orders", "event": "a.*"}, "22023", ("must not contain *",)),
    ("data", {"on_table": "pg_class"}, "42809", ("system table",)),
    ("event", {"on_table": "orders"}, "22023", ("trigger_type => 'data'",)),
    ("event", {"event": " "}, "22023", ("1 to 256 bytes",)),
    ("event", {"condition": "evnt ->> 'x' = '1'"}, "42703", ()),
    ("event", {"conditions": {"=>": [1, 1]}}, "22023", ()),
    ("event", {"source": "SELECT 1"}, "22023", ("source is not for",)),
    ("time", {}, "22023", ("needs a schedule",)),
    ("time", {"schedule": "every 5 mni"}, "22023", ("unit",)),
    ("time", {"schedule": "at 2001-01-01T00:00:00Z"}, "22023", ("no instant to come",)),
    ("time", {"schedule": "@daily", "condition": "true"}, "22023", ("condition is not for",)),
    ("time", {"schedule": "@daily", "options": {"time_zone": "Europe/Zurch"}}, "22023", ("Europe/Zurich",)),
    ("custom", {}, "22023", ("needs a query",)),
    ("custom", {"source": "SELECT 1, 2", "options": {"every": "30 s"}}, "22023", ("2 columns",)),
    ("custom", {"source": "SELECT nothing FROM orders", "options": {"every": "30 s"}}, "42703", ()),
    ("custom", {"source": "SELECT count(*) FROM orders", "options": {"every": "30 s"}}, "42804", ("value > 100",)),
    ("custom", {"source": "SELECT count(*) FROM orders", "condition": "value > 5"}, "22023", ("would never look",)),
    ("custom", {"source": "SELECT count(*) FROM orders", "condition": "value > 5", "options": {"tables": ["order"]}}, "42P01", ("order",)),
])
def test_what_is_wrong_is_refused_with_a_way_out(orders: Database, kind: str, more: dict[str, Any], state: str, texts: tuple[str, ...]) -> None:
    with pytest.raises(psycopg.Error) as refused:
        trigger(orders, "x", kind, **more)
    check_refusal(refused.value, state, *texts)
    assert orders.one("SELECT count(*) FROM automate.trigger") == 0


def test_names_are_unique_among_the_owners(orders: Database, role: Callable[..., str]) -> None:
    trigger(orders, "e", "event")
    with pytest.raises(psycopg.errors.DuplicateObject) as refused:
        trigger(orders, "e", "event")
    check_refusal(refused.value, "42710", "alter_trigger")
    trigger(orders.connect(role("other")), "e", "event")
    with pytest.raises(psycopg.errors.UndefinedObject) as missing:
        orders.execute("SELECT automate.drop_trigger('ee')")
    check_refusal(missing.value, "42704", "Did you mean \"e\"?")


def test_a_table_of_somebody_else_needs_rights(orders: Database, role: Callable[..., str]) -> None:
    name = role("ann")
    ann = orders.connect(name)
    with pytest.raises(psycopg.errors.InsufficientPrivilege) as refused:
        trigger(ann, "d", "data", on_table="orders")
    check_refusal(refused.value, "42501", "SELECT and TRIGGER")
    orders.execute(sql.SQL("GRANT SELECT, TRIGGER ON orders TO {}").format(sql.Identifier(name)))  # type: ignore[arg-type]
    trigger(ann, "d", "data", on_table="orders")


def test_alter_changes_what_is_given(orders: Database) -> None:
    db = orders
    trigger(db, "d", "data", on_table="orders", condition="amount > 5", columns=["amount"], description="mine")
    assert db.one("SELECT automate.alter_trigger('d', condition => 'amount > 7', event => 'big')") == 2
    assert db.rows("SELECT condition, columns, event, description, version FROM automate.trigger") == [
        ("amount > 7", ["amount"], "big", "mine", 2)]
    db.execute("SELECT automate.alter_trigger('d', columns => '{}', conditions => %s)", [json.dumps({">": [{"var": "amount"}, 9]})])
    assert db.rows("SELECT condition, columns, condition_sql IS NOT NULL FROM automate.trigger") == [(None, None, True)]
    with pytest.raises(psycopg.errors.UndefinedColumn):
        db.execute("SELECT automate.alter_trigger('d', condition => 'nothing > 7')")
    trigger(db, "t", "time", schedule="0 8 * * *", options={"time_zone": "Europe/Zurich"})
    db.execute("SELECT automate.alter_trigger('t', options => '{\"time_zone\": \"Asia/Tokyo\"}')")
    zone = "SELECT schedule ->> 'time_zone', to_char(next_at AT TIME ZONE 'UTC', 'HH24') FROM automate.trigger WHERE name = 't'"
    assert db.rows(zone) == [("Asia/Tokyo", "23")]
    db.execute("SELECT automate.alter_trigger('t', conditions => '{\"every\": \"1 h\"}')")
    assert db.one("SELECT schedule FROM automate.trigger WHERE name = 't'") == {"every": "1 hour"}
    db.execute("SELECT automate.disable_trigger('t')")
    db.execute("SELECT automate.alter_trigger('t', schedule => 'every 2 h')")
    assert db.rows("SELECT status, next_at FROM automate.trigger WHERE name = 't'") == [("disabled", None)]
    db.execute("SELECT automate.enable_trigger('t')")
    assert db.one("SELECT next_at > now() FROM automate.trigger WHERE name = 't'")


def test_a_rolled_back_trigger_is_not_there(heard: Database) -> None:
    other = heard.connect(autocommit=False)
    trigger(other, "e", "event")
    rule(other, "r", "e")
    other.rollback()
    heard.execute("SELECT automate.emit_event('x')")
    done(heard)
    assert heard.one("SELECT count(*) FROM heard") == 0
    assert heard.one("SELECT count(*) FROM automate.trigger") == 0


# -- subscribers ---------------------------------------------------------------------------------


def subscribe_all(session: Database | psycopg.Connection[Any], name: str) -> None:
    rule(session, "r", name)
    session.execute("SELECT automate.schedule_task('k', 'sql', %s, $$ INSERT INTO heard VALUES ('task') $$)", [json.dumps({"on_trigger": name})])
    session.execute("SELECT automate.create_workflow('w', %s, on_trigger => %s)", [FLOW, name])


def test_an_event_reaches_rules_tasks_and_workflows(heard: Database) -> None:
    db = heard
    trigger(db, "paid", "event", event="order.*")
    subscribe_all(db, "paid")
    event = db.one("SELECT automate.emit_event('order.paid', '{\"n\": 7}')")
    db.execute("SELECT automate.emit_event('other')")
    done(db)
    db.wait_until("SELECT count(*) = 3 FROM heard")
    got = dict(db.rows("SELECT who, event FROM heard"))
    assert set(got) == {"r", "task", "flow"}
    # The event that was heard, not a second one.
    assert got["r"]["id"] == got["flow"]["id"] == str(event) and got["flow"]["name"] == "order.paid"
    assert got["r"]["n"] == 7 and got["flow"]["payload"] == {"n": 7}
    assert db.one("SELECT count(*) FROM automate.event") == 2
    assert db.rows("SELECT source, idempotency_key FROM automate.run") == [("trigger:paid", str(event))]
    assert db.rows("SELECT task, status FROM automate.task_runs") == [("k", "succeeded")]
    assert db.one("SELECT source FROM automate.job_history WHERE kind = 'task'") == "trigger:paid"


def test_a_rolled_back_event_fires_nothing(heard: Database) -> None:
    trigger(heard, "e", "event", event="e")
    trigger(heard, "asks", "event", event="e", condition="true")
    subscribe_all(heard, "e")
    rule(heard, "r2", "asks")
    other = heard.connect(autocommit=False)
    other.execute("SELECT automate.emit_event('e')")
    other.rollback()
    done(heard)
    assert heard.one("SELECT count(*) FROM heard") == 0


def test_a_condition_decides_in_a_session_of_the_owner(heard: Database, role: Callable[..., str]) -> None:
    name = role("ann")
    ann = heard.connect(name)
    trigger(ann, "mine", "event", event="e", condition=f"(event ->> 'n')::int > 10 AND current_user = '{name}' -- big")
    rule(ann, "r", "mine")
    ann.execute("SELECT automate.emit_event('e', '{\"n\": 50}')")
    ann.execute("SELECT automate.emit_event('e', '{\"n\": 5}')")
    done(heard)
    assert heard.rows("SELECT event -> 'n' FROM heard") == [(50,)]
    results = heard.rows("SELECT result FROM automate.job_history WHERE kind = 'trigger' ORDER BY id")
    assert results == [({"fired": True},), ({"fired": False},)]


def test_a_failing_condition_is_noted_and_disturbs_nobody(heard: Database) -> None:
    db = heard
    trigger(db, "bad", "event", event="e", condition="1 / (event ->> 'n')::int > 0")
    rule(db, "r", "bad")
    db.execute("SELECT automate.emit_event('e', '{\"n\": 0}')")
    db.execute("SELECT automate.emit_event('e', '{\"n\": 1}')")
    done(db)
    assert db.rows("SELECT event -> 'n' FROM heard") == [(1,)]
    status, errors, error, at = db.rows("SELECT status, errors, last_error, last_error_at FROM automate.trigger")[0]
    assert (status, errors) == ("active", 1) and error.startswith("22012:") and at is not None
    (said,) = db.rows("SELECT finding, remedy FROM automate.doctor() WHERE subject = 'trigger bad'")
    assert "failed 1 times" in said[0] and "alter_trigger('bad'" in said[1]
    # The event is among the dead letters, to be tried again once the condition is mended.
    db.execute("SELECT automate.alter_trigger('bad', condition => 'true')")
    db.execute("SELECT automate.retry_job(id) FROM automate.job_history WHERE status = 'failed'")
    done(db)
    assert db.rows("SELECT event -> 'n' FROM heard ORDER BY 1") == [(0,), (1,)]


def test_a_subscriber_sees_the_rows_of_the_event(heard: Database) -> None:
    trigger(heard, "e", "event", event="changed")
    rule(heard, "r", "e", ROWS, condition="event -> 'new' ->> 'id' = '1'")
    heard.execute("SELECT automate.emit_event('changed', '{\"new\": {\"id\": 1}, \"old\": {\"id\": 0}}')")
    heard.execute("SELECT automate.emit_event('changed', '{\"new\": {\"id\": 2}}')")
    done(heard)
    assert heard.rows("SELECT event FROM heard") == [({"new": {"id": 1}, "old": {"id": 0}},)]


def test_from_hears_one_source_only(heard: Database) -> None:
    trigger(heard, "e", "event", event="e", options={"from": "rule:re*"})
    rule(heard, "r", "e")
    for name in ("relay", "other"):
        heard.execute("SELECT automate.create_rule(%s, '[{\"emit\": \"e\"}]', on_event => %s)", [name, f"to_{name}"])
        heard.execute("SELECT automate.emit_event(%s)", [f"to_{name}"])
    heard.execute("SELECT automate.emit_event('e')")
    done(heard)
    assert heard.rows("SELECT event ->> 'source' FROM heard") == [("rule:relay",)]


def test_tasks_on_triggers_pause_and_resume(heard: Database) -> None:
    db = heard
    trigger(db, "e", "event", event="e")
    db.execute("SELECT automate.schedule_task('k', 'sql', '{\"on_trigger\": \"e\"}', $$ INSERT INTO heard VALUES ('k') $$)")
    assert db.rows("SELECT * FROM automate.next_runs('{\"on_trigger\": \"e\"}')") == []
    assert db.rows("SELECT status, next_run_at, schedule FROM automate.task") == [("active", None, {"on_trigger": "e"})]
    db.execute("SELECT automate.pause_task('k')")
    db.execute("SELECT automate.emit_event('e')")
    done(db)
    db.execute("SELECT automate.resume_task('k')")
    for _ in range(3):
        db.execute("SELECT automate.emit_event('e')")
    done(db)
    assert db.one("SELECT count(*) FROM heard") == 3
    assert db.rows("SELECT run_count, status FROM automate.task") == [(3, "active")]
    for wrong in ('{"on_trigger": "e", "every": "1 h"}', '{"on_trigger": 5}'):
        with pytest.raises(psycopg.errors.InvalidParameterValue) as refused:
            db.execute("SELECT automate.schedule_task('x', 'sql', %s, 'SELECT 1')", [wrong])
        check_refusal(refused.value, "22023", "stands alone")
    with pytest.raises(psycopg.errors.UndefinedObject):
        db.execute("SELECT automate.schedule_task('x', 'sql', '{\"on_trigger\": \"nobody\"}', 'SELECT 1')")


def test_runs_of_a_task_come_one_after_the_other(heard: Database) -> None:
    db = heard
    trigger(db, "e", "event", event="e")
    for name, overlap in (("in_turn", "skip"), ("at_once", "allow")):
        db.execute("SELECT automate.schedule_task(%s, 'sql', '{\"on_trigger\": \"e\"}', $$ SELECT 1 / 0 $$, overlap => %s)", [name, overlap])
    db.execute("SELECT automate.emit_event('e')")
    done(db)
    # What a dead letter would be tried again with tells how it was queued.
    keys = dict(db.rows("SELECT t.name, h.retry ->> 'order_key' = 'task:' || t.id"
                        " FROM automate.task AS t JOIN automate.task_run AS r ON r.task = t.id JOIN automate.job_history AS h ON h.id = r.job"))
    assert keys == {"in_turn": True, "at_once": None}


def test_a_task_of_type_workflow_gets_the_event(heard: Database) -> None:
    db = heard
    trigger(db, "e", "event", event="e")
    db.execute("SELECT automate.create_workflow('w', %s)", [FLOW])
    db.execute("SELECT automate.schedule_task('k', 'workflow', '{\"on_trigger\": \"e\"}', 'w', '{\"more\": 1}')")
    db.execute("SELECT automate.emit_event('e', '{\"n\": 3}')")
    db.wait_until("SELECT EXISTS (SELECT FROM heard)")
    (given,) = db.rows("SELECT input FROM automate.run")[0]
    assert given["more"] == 1 and given["event"]["payload"] == {"n": 3}


def test_a_workflow_can_be_unsubscribed(heard: Database) -> None:
    db = heard
    trigger(db, "e", "event", event="e")
    db.execute("SELECT automate.create_workflow('w', %s, on_trigger => 'e')", [FLOW])
    assert db.one("SELECT automate.create_workflow('w', %s)", [FLOW]) == 1
    assert db.one("SELECT on_trigger IS NOT NULL FROM automate.workflow")
    db.execute("SELECT automate.disable_workflow('w')")
    db.execute("SELECT automate.emit_event('e')")
    done(db)
    assert db.one("SELECT count(*) FROM automate.run") == 0
    db.execute("SELECT automate.create_workflow('w', %s, on_trigger => '')", [FLOW])
    db.execute("SELECT automate.drop_trigger('e')")


def test_drop_names_the_subscribers(heard: Database) -> None:
    trigger(heard, "e", "event", event="e")
    subscribe_all(heard, "e")
    with pytest.raises(psycopg.errors.DependentObjectsStillExist) as refused:
        heard.execute("SELECT automate.drop_trigger('e')")
    check_refusal(refused.value, "2BP01", 'rule "r", task "k", workflow "w"', "disable_trigger")
    heard.execute("SELECT automate.disable_trigger('e')")
    heard.execute("SELECT automate.emit_event('e')")
    done(heard)
    assert heard.one("SELECT count(*) FROM heard") == 0
    heard.execute("SELECT automate.drop_rule('r'), automate.unschedule_task('k'), automate.drop_workflow('w')")
    heard.execute("SELECT automate.drop_trigger('e')")
    assert heard.one("SELECT count(*) FROM automate.trigger") == 0


# -- rights --------------------------------------------------------------------------------------


def test_who_may_hear_and_subscribe(heard: Database, role: Callable[..., str]) -> None:
    db = heard
    names = {who: role(who) for who in ("ann", "bob", "boss")}
    grant = sql.SQL("GRANT {} TO {}").format(sql.Identifier(names["ann"]), sql.Identifier(names["boss"]))
    db.execute(grant)  # type: ignore[arg-type]
    sessions = {who: db.connect(name) for who, name in names.items()}
    for who, session in sessions.items():
        trigger(session, f"of_{who}", "event", event="e")
    trigger(sessions["ann"], "plain", "event", event="e")
    subscribe_all(sessions["boss"], "plain")
    with pytest.raises(psycopg.errors.UndefinedObject):
        rule(sessions["bob"], "spy", "plain")
    for who, session in sessions.items():
        rule(session, f"rule_of_{who}", f"of_{who}")
    sessions["ann"].execute("SELECT automate.emit_event('e')")
    done(db)
    db.wait_until("SELECT count(*) = 5 FROM heard")
    assert sorted(row[0] for row in db.rows("SELECT who FROM heard")) == ["flow", "r", "rule_of_ann", "rule_of_boss", "task"]
    # Who has lost the privileges of the trigger's owner is not told any more.
    db.execute("TRUNCATE heard")
    revoke = sql.SQL("REVOKE {} FROM {}").format(sql.Identifier(names["ann"]), sql.Identifier(names["boss"]))
    db.execute(revoke)  # type: ignore[arg-type]
    sessions["ann"].execute("SELECT automate.emit_event('e')")
    done(db)
    assert db.rows("SELECT who FROM heard") == [("rule_of_ann",)]
    assert sessions["bob"].execute("SELECT name FROM automate.trigger").fetchall() == [("of_bob",)]


def test_a_hostile_search_path_changes_nothing(heard: Database, role: Callable[..., str]) -> None:
    db = heard
    ann = db.connect(role("ann"))
    db.execute("CREATE SCHEMA good; GRANT USAGE ON SCHEMA good TO PUBLIC")
    db.execute("CREATE FUNCTION good.is_big(n int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT n > 10'")
    ann.execute("SET search_path = good")
    trigger(ann, "mine", "event", event="e", condition="is_big((event ->> 'n')::int)")
    ann.execute("SET search_path = public")
    rule(ann, "r", "mine", json.dumps([{"sql": "INSERT INTO public.heard VALUES ($1, $2)", "params": ["${ .rule }", "${ .event }"]}]))
    ann.execute("CREATE FUNCTION public.is_big(n int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true'")
    ann.execute("SELECT automate.emit_event('e', '{\"n\": 1}')")
    ann.execute("SELECT automate.emit_event('e', '{\"n\": 11}')")
    done(db)
    assert db.rows("SELECT event -> 'n' FROM heard") == [(11,)]
    tried = ann.execute("SELECT fires, reason FROM automate.evaluate_triggers('e', '{\"n\": 1}')").fetchall()
    assert tried == [(False, "its condition does not hold")]


# -- chains --------------------------------------------------------------------------------------


def test_a_loop_through_a_trigger_ends(heard: Database) -> None:
    db = heard
    trigger(db, "ping", "event", event="ping")
    rule(db, "again", "ping", '[{"emit": "ping"}]')
    db.execute("SELECT automate.emit_event('ping')")
    db.wait_until("SELECT EXISTS (SELECT FROM automate.job_history WHERE status = 'failed')", deadline=30)
    assert "chain of 16" in db.one("SELECT error FROM automate.job_history WHERE status = 'failed'")
    assert db.one("SELECT max(depth) FROM automate.event") == 15


def test_a_loop_through_a_task_ends(heard: Database) -> None:
    db = heard
    trigger(db, "ping", "event", event="ping")
    db.execute("SELECT automate.schedule_task('again', 'sql', '{\"on_trigger\": \"ping\"}', $$ SELECT automate.emit_event('ping') $$)")
    db.execute("SELECT automate.emit_event('ping')")
    db.wait_until("SELECT EXISTS (SELECT FROM automate.job_history WHERE status = 'failed')", deadline=30)
    assert db.one("SELECT error FROM automate.job_history WHERE status = 'failed'").startswith("54000:")
    assert db.one("SELECT count(*) FROM automate.event") == 16
    assert db.one("SELECT count(DISTINCT cause) FROM automate.event") == 1


def test_a_loop_through_a_workflow_ends(heard: Database) -> None:
    db = heard
    trigger(db, "ping", "event", event="ping")
    again = {"do": [{"again": {"emit": {"event": {"with": {"source": "https://example.com", "type": "ping"}}}}}]}
    db.execute("SELECT automate.create_workflow('w', %s, on_trigger => 'ping')", [json.dumps(again)])
    db.execute("SELECT automate.emit_event('ping')")
    db.wait_until("SELECT EXISTS (SELECT FROM automate.run WHERE status = 'faulted')", deadline=30)
    assert "54000" in json.dumps(db.one("SELECT error FROM automate.run WHERE status = 'faulted'"))
    assert db.one("SELECT max(depth) FROM automate.event") == 15


# -- the clock -----------------------------------------------------------------------------------


def test_a_schedule_fires_each_instant_once(heard: Database) -> None:
    db = heard
    trigger(db, "tick", "time", schedule="every 1 s", event="ticked")
    rule(db, "r", "tick")
    db.execute("SELECT automate.schedule_task('k', 'sql', '{\"on_trigger\": \"tick\"}', $$ INSERT INTO heard VALUES ('task') $$)")
    # Events that a trigger records are heard by triggers on events as well.
    trigger(db, "hears", "event", event="tick*", options={"from": "trigger:tick"})
    rule(db, "r2", "hears")
    db.wait_until("SELECT count(*) >= 3 FROM automate.event", deadline=30)
    db.execute("SELECT automate.disable_trigger('tick')")
    done(db)
    events = db.rows("SELECT name, source, payload ->> 'scheduled_at', trigger_id FROM automate.event")
    assert len({event[2] for event in events}) == len(events)
    assert {event[:2] for event in events} == {("ticked", "trigger:tick")} and all(event[3] for event in events)
    counts = dict(db.rows("SELECT who, count(*) FROM heard GROUP BY who"))
    assert counts["task"] == counts["r2"] == counts["r"]
    at = db.rows("SELECT event ->> 'scheduled_at' FROM heard WHERE who = 'r'")
    assert {row[0] for row in at} <= {event[2] for event in events}


def test_missed_instants_fire_once_or_not(heard: Database) -> None:
    db = heard
    trigger(db, "once", "time", schedule="every 1 h")
    trigger(db, "skip", "time", schedule="every 1 h", options={"misfire": "skip"})
    db.execute("SELECT automate.create_trigger('done', 'time', schedule => 'at ' || to_char(now() AT TIME ZONE 'UTC' + interval '1 h', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'))")
    db.execute("UPDATE automate.trigger SET next_at = date_trunc('hour', now() - interval '1 minute') - interval '5 hours' WHERE name <> 'done'")
    db.execute("UPDATE automate.trigger SET next_at = now() - interval '1 second', schedule = jsonb_build_object('at', to_char(now() AT TIME ZONE 'UTC' - interval '1 second', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')) WHERE name = 'done'")
    db.execute("SELECT automate.emit_event('wake')")
    db.wait_until("SELECT bool_and(next_at > now()) AND count(*) = 2 FROM automate.trigger WHERE name <> 'done' AND next_at IS NOT NULL", deadline=40)
    db.wait_until("SELECT status = 'disabled' FROM automate.trigger WHERE name = 'done'", deadline=40)
    assert sorted(db.rows("SELECT name FROM automate.event WHERE name <> 'wake'")) == [("done",), ("once",)]
    assert db.one("SELECT now() - (payload ->> 'scheduled_at')::timestamptz < interval '1 hour 1 minute' FROM automate.event WHERE name = 'once'")


def test_owners_who_cannot_work_do_not_fire(heard: Database, role: Callable[..., str]) -> None:
    db = heard
    locked = role("locked")
    trigger(db.connect(locked), "tick", "time", schedule="every 1 s")
    db.wait_until("SELECT EXISTS (SELECT FROM automate.event)", deadline=30)
    db.execute(sql.SQL("ALTER ROLE {} NOLOGIN").format(sql.Identifier(locked)))  # type: ignore[arg-type]
    db.wait_until("SELECT errors >= 2 FROM automate.trigger", deadline=30)
    count = db.one("SELECT count(*) FROM automate.event")
    assert db.one("SELECT last_error FROM automate.trigger") == "its owner may not log in"
    errors = db.one("SELECT errors FROM automate.trigger")
    db.wait_until("SELECT errors > %s FROM automate.trigger", [errors], deadline=30)
    assert db.one("SELECT count(*) FROM automate.event") == count
    db.execute(sql.SQL("ALTER ROLE {} LOGIN").format(sql.Identifier(locked)))  # type: ignore[arg-type]
    db.wait_until("SELECT count(*) > %s FROM automate.event", [count], deadline=30)
    db.execute("UPDATE automate.trigger SET owner = 4000000000::oid::regrole")
    db.wait_until("SELECT status = 'broken' AND last_error = 'its owner was dropped' FROM automate.trigger", deadline=30)


# -- tried without effect ------------------------------------------------------------------------


def evaluate(session: Database | psycopg.Connection[Any], event: str, payload: Any = None) -> dict[str, tuple[bool, str]]:
    cursor = session.execute("SELECT trigger, fires, reason FROM automate.evaluate_triggers(%s, %s)", [event, json.dumps(payload or {})])
    return {name: (fires, reason) for name, fires, reason in cursor.fetchall()}


def test_evaluate_says_which_fire(orders: Database, role: Callable[..., str]) -> None:
    db = orders
    trigger(db, "all", "event")
    trigger(db, "big", "event", event="order.*", condition="(event ->> 'n')::int > 10")
    trigger(db, "other", "event", event="x")
    trigger(db, "from", "event", event="order.paid", options={"from": "rule:x"})
    trigger(db, "off", "event", event="order.paid")
    db.execute("SELECT automate.disable_trigger('off')")
    got = evaluate(db, "order.paid", {"n": 50})
    assert got == {
        "all": (True, "it hears *"), "big": (True, "its condition holds"),
        "from": (False, "it hears only what comes from rule:x"), "off": (False, "it is disabled")}
    assert evaluate(db, "order.paid", {"n": 5})["big"] == (False, "its condition does not hold")
    assert evaluate(db, "order.paid", {"n": "x"})["big"][1].startswith("its condition fails: 22P02: ")
    assert evaluate(db.connect(role("ann")), "order.paid") == {}
    for table in ("automate.event", "automate.job"):
        assert db.one(f"SELECT count(*) FROM {table}") == 0
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        evaluate(db, "order.*")


def test_evaluate_decides_on_changes_of_tables(orders: Database) -> None:
    db = orders
    trigger(db, "big", "data", on_table="orders", condition="new.amount > 10", operations=["insert", "update"])
    trigger(db, "enters", "data", on_table="orders", condition="amount > 10", options={"when": "enters"})
    trigger(db, "leaves", "data", on_table="orders", condition="amount > 10", options={"when": "leaves"})
    trigger(db, "status", "data", on_table="orders", columns=["status"], operations=["update"])
    trigger(db, "wiped", "data", on_table="orders", operations=["truncate"])
    trigger(db, "statement", "data", on_table="orders", options={"level": "statement"})

    def fires(event: str, **payload: Any) -> set[str]:
        return {name for name, (yes, _) in evaluate(db, event, payload).items() if yes}

    small, large, paid = ({"id": 1, "amount": 5}, {"id": 1, "amount": 50}, {"id": 1, "amount": 60, "status": "paid"})
    assert fires("public.orders.insert", new=small) == {"statement"}
    assert fires("public.orders.insert", new=large) == {"big", "enters", "statement"}
    assert fires("public.orders.update", old=small, new=large) == {"big", "enters", "statement"}
    assert fires("public.orders.update", old=large, new=paid) == {"big", "status", "statement"}
    assert fires("public.orders.update", old=large, new=small) == {"leaves", "statement"}
    assert fires("public.orders.delete", old=large) == {"leaves", "statement"}
    assert fires("public.orders.truncate") == {"wiped"}
    assert fires("any", op="insert", schema="public", table="orders", new=large) == {"big", "enters", "statement"}
    assert fires("public.nothing.insert", new=large) == set()
    reasons = evaluate(db, "public.orders.update", {"old": large, "new": small})
    assert reasons["leaves"][1] == "the row matches before and does not match after"
    assert reasons["status"][1] == "the update does not change status"
    assert reasons["wiped"][1] == "it sees truncate, and not update"
    assert "no column" in evaluate(db, "public.orders.insert", {"new": {"amont": 5}})["big"][1]


def test_evaluate_finds_the_triggers_above_a_partition(db: Database) -> None:
    db.execute("CREATE TABLE parts (id int) PARTITION BY RANGE (id)")
    db.execute("CREATE TABLE part_1 PARTITION OF parts FOR VALUES FROM (0) TO (10)")
    trigger(db, "d", "data", on_table="parts")
    assert evaluate(db, "public.part_1.insert", {"new": {"id": 1}})["d"][0]


def test_try_shows_the_event_and_the_subscribers(orders: Database) -> None:
    db = orders
    trigger(db, "big", "data", on_table="orders", condition="amount > 10", event="order.big", options={"payload": "changed"})
    subscribe_all(db, "big")
    db.execute("SELECT automate.pause_task('k')")
    (row,) = db.rows(
        "SELECT fires, reason, event, payload, subscribers FROM automate.test_trigger('big', %s, %s)",
        ['{"id": 1, "amount": 50, "status": "new"}', '{"id": 1, "amount": 5, "status": "new"}'])
    assert row[:3] == (True, "its condition holds", "order.big")
    assert row[3] == {"op": "update", "schema": "public", "table": "orders",
                      "new": {"id": 1, "amount": 50}, "old": {"id": 1, "amount": 5}}
    shown = [(s["kind"], s["name"], s["told"], s["owner"]) for s in row[4]]
    assert shown == [("rule", "r", True, "postgres"), ("task", "k", False, "postgres"), ("workflow", "w", True, "postgres")]
    assert row[4][0]["actions"] == json.loads(WRITE) and row[4][1]["task_type"] == "sql"
    assert db.one("SELECT fires FROM automate.test_trigger('big', '{\"id\": 1}')") is False
    trigger(db, "e", "event", event="e", condition="event ->> 'n' = '1'")
    assert db.rows("SELECT fires, payload FROM automate.test_trigger('e', payload => '{\"n\": 1}')") == [(True, {"n": 1})]
    trigger(db, "t", "time", schedule="every 1 h")
    fires, payload = db.rows("SELECT fires, payload FROM automate.test_trigger('t')")[0]
    assert fires and payload["scheduled_at"]
    for table in ("automate.event", "automate.job", "heard"):
        assert db.one(f"SELECT count(*) FROM {table}") == 0
    for call, text in (("'big'", "none was given"), ("'big', payload => '{}'", "not tried with a payload"),
                       ("'e', new => '{}'", "not tried with rows"), ("'t', payload => '{}'", "not tried with rows or")):
        with pytest.raises(psycopg.errors.InvalidParameterValue) as refused:
            db.execute(f"SELECT automate.test_trigger({call})")
        check_refusal(refused.value, "22023", text)
    with pytest.raises(psycopg.errors.UndefinedColumn):
        db.execute("SELECT automate.test_trigger('big', '{\"amont\": 1}')")


# -- faults --------------------------------------------------------------------------------------


def test_a_dropped_table_is_said(orders: Database) -> None:
    db = orders
    trigger(db, "d", "data", on_table="orders")
    db.execute("DROP TABLE orders")
    assert evaluate(db, "x") == {}
    assert db.one("SELECT count(*) FROM automate.status() WHERE item = 'triggers' AND state = '1 active'") == 1
    with pytest.raises(psycopg.errors.UndefinedTable) as refused:
        db.execute("SELECT automate.enable_trigger('d')")
    assert refused.value.diag.message_hint
    db.execute("SELECT automate.drop_trigger('d')")


def test_a_dump_holds_triggers_and_subscribers(cluster: Any, heard: Database, bare_db_2: Database) -> None:
    db = heard
    trigger(db, "e", "event", event="e", condition="true")
    subscribe_all(db, "e")
    trigger(db, "t", "time", schedule="every 1 h")
    where = ["--host", cluster.socket, "--port", cluster.port, "--username", "postgres"]
    file = cluster.base / "data" / "triggers.dump"
    cluster.run("pg_dump", *where, "--format=custom", "--file", file, db.name)
    cluster.run("pg_restore", *where, "--exit-on-error", "--dbname", bare_db_2.name, file)
    bare_db_2.execute("SELECT automate.resume()")
    bare_db_2.execute("SELECT automate.emit_event('e')")
    bare_db_2.wait_until("SELECT count(*) = 3 FROM heard", deadline=30)
    assert db.one("SELECT count(*) FROM heard") == 0


# -- docs/triggers.md ----------------------------------------------------------------------------


def test_the_examples_of_the_document_run(db: Database, role: Callable[..., str]) -> None:
    text = (ROOT / "docs" / "triggers.md").read_text()
    session = db.connect(role("reader"))
    answers = []
    for example in re.findall(r"```sql\n(.*?)```", text, re.DOTALL):
        for statement in statements(example):
            cursor = session.execute(statement)  # type: ignore[arg-type]
            answers.append(cursor.fetchall() if cursor.description else None)
        # A condition is looked at as it is when its turn comes: before the next example changes it.
        db.wait_until("SELECT count(*) = 0 FROM automate.job")
    shown = [row for answer in answers if answer for row in answer if len(row) == 3]
    assert len(shown) == 4
    for name, fires, reason in shown:
        assert re.search(rf"--  {name} +\| {'t' if fires else 'f'} \| {re.escape(reason)}\n", text), (name, reason)
    db.wait_until("SELECT count(*) = 3 FROM heard", deadline=30)
