"""What events say of the session that caused them, and the trace that goes on."""

from __future__ import annotations

import json
from typing import Any

import pytest
from psycopg import errors

from support.database import Database
from support.http import HttpServer
from support.jobs import idle

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
WRITE = json.dumps([{"sql": "INSERT INTO heard VALUES ($1)", "params": ["${ .event }"]}])


@pytest.fixture
def heard(db: Database) -> Database:
    db.execute("CREATE TABLE heard (event jsonb)")
    return db


def seen(db: Database) -> list[dict[str, Any]]:
    idle(db)
    return [event for (event,) in db.rows("SELECT event FROM heard")]


def test_an_event_shows_its_session(heard: Database) -> None:
    db = heard
    db.execute("SELECT automate.create_rule('r', %s, on_event => 'e')", [WRITE])
    session = db.connect(application_name="till")
    session.execute("SET automate.session_vars = 'app.user_id, no.such, search_path, app.empty'")
    session.execute("SET app.user_id = '42'")
    session.execute("SET app.empty = ''")
    session.execute(f"SET automate.traceparent = '{PARENT}'")
    session.execute("SELECT automate.emit_event('e')")
    (event,) = seen(db)
    assert event["application"] == "till"
    assert event["session"] == {"app.user_id": "42", "search_path": '"$user", public'}
    assert event["trace"] == {"traceparent": PARENT}
    context, trace_id = db.rows("SELECT context, trace_id FROM automate.event")[0]
    assert trace_id == TRACE and context["session"]["app.user_id"] == "42"


def test_a_change_of_a_row_shows_it_too(heard: Database) -> None:
    db = heard
    db.execute("CREATE TABLE t (x int)")
    db.execute("SELECT automate.create_rule('r', %s, on_table => 't')", [WRITE])
    session = db.connect(application_name="till")
    session.execute("INSERT INTO t VALUES (1)")
    session.execute("SET automate.session_vars = 'app.user_id'")
    session.execute("SET app.user_id = '42'")
    session.execute(f"SET automate.traceparent = '{PARENT}'")
    session.execute("INSERT INTO t VALUES (2)")
    bare, full = sorted(seen(db), key=len)
    assert bare["application"] == "till" and "session" not in bare and "trace" not in bare
    assert full["session"] == {"app.user_id": "42"} and full["trace"] == {"traceparent": PARENT}


def test_nothing_is_said_where_there_is_nothing(heard: Database) -> None:
    db = heard
    session = db.connect(application_name="")
    session.execute("SELECT automate.emit_event('e')")
    assert db.rows("SELECT context, trace_id FROM automate.event") == [(None, None)]


def test_a_trace_goes_on_through_rules_runs_and_calls(heard: Database, http: HttpServer) -> None:
    db = heard
    document = {
        "document": {"dsl": "1.0.3", "namespace": "test", "name": "w", "version": "1.0.0"},
        "do": [
            {"sleep": {"wait": {"milliseconds": 10}}},
            {"call": {"call": "http", "with": {"method": "post", "endpoint": f"{http.url}/run", "body": {}}}},
            {"write": {"call": "sql", "with": {"query": "INSERT INTO heard VALUES (jsonb_build_object('by', 'run', 'trace', current_setting('automate.traceparent')))"}}},
            {"tell": {"emit": {"event": {"with": {"source": "urn:test", "type": "third", "data": {}}}}}},
        ],
    }
    db.execute("SELECT automate.create_workflow('w', %s)", [json.dumps(document)])
    db.execute("SELECT automate.create_channel('hook', 'webhook', %s)", [json.dumps({"url": f"{http.url}/hook"})])
    db.execute("SELECT automate.create_template('t', 's', 'b')")
    actions = [
        {"emit": "second", "payload": {}},
        {"workflow": "w"},
        {"notify": "t", "recipients": ["hook:"]},
        {"sql": "SELECT automate.enqueue_sql('INSERT INTO heard VALUES (jsonb_build_object(''by'', ''sql'', ''trace'', current_setting(''automate.traceparent'')))')"},
    ]
    db.execute("SELECT automate.create_rule('r', %s, on_event => 'first')", [json.dumps(actions)])
    session = db.connect()
    session.execute(f"SET automate.traceparent = '{PARENT}'")
    session.execute("SELECT automate.emit_event('first')")
    session.execute("RESET automate.traceparent")
    requests = http.wait_for(2, deadline=30)
    db.wait_until("SELECT EXISTS (SELECT FROM automate.event WHERE name = 'third')", deadline=30)
    idle(db, deadline=30)
    assert db.rows("SELECT name, trace_id FROM automate.event ORDER BY name") == [("first", TRACE), ("second", TRACE), ("third", TRACE)]
    assert {request.path: request.headers.get("traceparent") for request in requests} == {"/run": PARENT, "/hook": PARENT}
    assert sorted((e["by"], e["trace"]) for e in seen(db)) == [("run", PARENT), ("sql", PARENT)]
    # What comes next in the same executor does not belong to it.
    session.execute("SELECT automate.enqueue_sql('INSERT INTO heard VALUES (jsonb_build_object(''by'', ''after'', ''trace'', current_setting(''automate.traceparent'')))')")
    assert ("after", "") in [(e["by"], e["trace"]) for e in seen(db)]


@pytest.mark.parametrize("bad", ["x", PARENT.upper(), PARENT[:-1], f"00-{'0' * 32}-00f067aa0ba902b7-01", "ff" + PARENT[2:]])
def test_a_trace_that_is_none_is_refused(db: Database, bad: str) -> None:
    with pytest.raises(errors.InvalidParameterValue) as refused:
        db.execute(f"SET automate.traceparent = '{bad}'")
    assert refused.value.diag.message_detail and refused.value.diag.message_hint
    db.execute("SET automate.traceparent = ''")


def test_only_a_superuser_chooses_what_is_shown(db: Database, role: Any) -> None:
    ann = db.connect(role("ann"))
    with pytest.raises(errors.InsufficientPrivilege):
        ann.execute("SET automate.session_vars = 'app.user_id'")
    ann.execute(f"SET automate.traceparent = '{PARENT}'")
