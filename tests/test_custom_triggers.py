"""Triggers of type custom: a query whose answer becomes true, asked at intervals and after changes of tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg import sql

from support.database import Database
from test_triggers import check_refusal, rule, trigger

COUNT = "SELECT count(*) FROM tickets WHERE open"


@pytest.fixture
def tickets(db: Database) -> Database:
    db.execute("CREATE TABLE tickets (id int GENERATED ALWAYS AS IDENTITY, open boolean DEFAULT true)")
    db.execute("CREATE TABLE heard (who text, event jsonb)")
    db.execute("GRANT SELECT, INSERT, UPDATE, DELETE, TRIGGER ON tickets TO PUBLIC")
    db.execute("GRANT INSERT ON heard TO PUBLIC")
    return db


def many(session: Database | psycopg.Connection[Any], name: str = "many", source: str = COUNT, condition: str | None = "value > 2",
         event: str | None = None, **options: Any) -> Any:
    """A trigger that looks after changes of tickets, and else only once an hour."""
    options = {"every": "1 h", "tables": ["tickets"], **options}
    more = {key: value for key, value in (("condition", condition), ("event", event)) if value is not None}
    return trigger(session, name, "custom", source=source, options=options, **more)


def set_open(session: Database | psycopg.Connection[Any], count: int) -> None:
    """Has so many tickets, in one commit."""
    session.execute("WITH gone AS (DELETE FROM tickets) INSERT INTO tickets (open) SELECT true FROM generate_series(1, %s)", [count])


def seen(db: Database, value: Any, name: str = "many") -> dict[str, Any]:
    """What the trigger remembers, once it has seen a value."""
    db.wait_until("SELECT state -> 'value' = %s::jsonb AND NOT state ? 'failures' FROM automate.trigger WHERE name = %s", [json.dumps(value), name], deadline=30)
    return db.one("SELECT state FROM automate.trigger WHERE name = %s", [name])


def at_rest(db: Database) -> None:
    """No look waits or runs, and none is due now."""
    db.wait_until("SELECT NOT EXISTS (SELECT FROM automate.job) AND NOT EXISTS"
                  " (SELECT FROM automate.trigger WHERE next_at < now() + interval '2 s')", deadline=30)


def fired(db: Database) -> list[Any]:
    return [row[0] for row in db.rows("SELECT payload FROM automate.event ORDER BY id")]


def look_now(db: Database, state: str = "state", name: str = "many") -> None:
    """Changes what the trigger remembers, as time would, and has it look."""
    db.execute(f"UPDATE automate.trigger SET state = {state} WHERE name = %s", [name])
    db.execute("UPDATE tickets SET open = open")


# -- the edge ------------------------------------------------------------------------------------


def test_it_fires_once_when_the_answer_becomes_true(tickets: Database) -> None:
    db = tickets
    id = many(db)
    rule(db, "r", "many")
    assert seen(db, 0)["is_on"] is False
    set_open(db, 3)
    assert seen(db, 3)["is_on"] is True
    set_open(db, 4)
    seen(db, 4)
    set_open(db, 1)
    assert seen(db, 1)["is_on"] is False
    assert [(p["value"], p["previous"]) for p in fired(db)] == [(3, 0)]
    set_open(db, 5)
    state = seen(db, 5)
    assert [(p["value"], p["previous"]) for p in fired(db)] == [(3, 0), (5, 1)]
    assert fired(db)[1]["since"] == state["since"] == state["fired_at"]
    assert db.rows("SELECT DISTINCT name, source, trigger_id FROM automate.event") == [("many", "trigger:many", id)]
    db.wait_until("SELECT count(*) = 2 FROM heard")
    assert db.rows("SELECT who, event -> 'value' FROM heard ORDER BY 2") == [("r", 3), ("r", 5)]


def test_it_fires_at_the_first_look_if_it_is_true_already(tickets: Database) -> None:
    set_open(tickets, 9)
    many(tickets, event="tickets.many")
    seen(tickets, 9)
    assert tickets.rows("SELECT name, payload -> 'previous' FROM automate.event") == [("tickets.many", None)]


def test_it_fires_again_after_the_clear_condition_only(tickets: Database) -> None:
    many(tickets, clear="value < 1")
    for count in (3, 1, 4, 0, 5):
        set_open(tickets, count)
        seen(tickets, count)
    assert [p["value"] for p in fired(tickets)] == [3, 5]


def test_null_is_neither_true_nor_clear(tickets: Database) -> None:
    db = tickets
    many(db, source="SELECT nullif(count(*), 0) FROM tickets", clear="value < 2")
    assert seen(db, None)["is_on"] is False
    set_open(db, 3)
    seen(db, 3)
    set_open(db, 0)
    assert seen(db, None)["is_on"] is True
    set_open(db, 4)
    seen(db, 4)
    assert [p["value"] for p in fired(db)] == [3]


def test_no_row_is_null(tickets: Database) -> None:
    many(tickets, source="SELECT id FROM tickets WHERE id < 0")
    assert seen(tickets, None)["is_on"] is False
    assert tickets.one("SELECT errors FROM automate.trigger") == 0


# -- time ----------------------------------------------------------------------------------------


def test_it_must_hold_for_its_time(tickets: Database) -> None:
    db = tickets
    many(db, **{"for": "10 min"})
    set_open(db, 3)
    state = seen(db, 3)
    assert state["is_on"] is False and "fired_at" not in state
    # The look at the end of the time comes before the next by the clock.
    assert db.one("SELECT next_at = (state ->> 'since')::timestamptz + interval '10 min' FROM automate.trigger")
    fires, reason = db.rows("SELECT fires, reason FROM automate.test_trigger('many')")[0]
    assert not fires and "must hold for 10 min, until" in reason
    set_open(db, 1)
    assert "since" not in seen(db, 1)
    set_open(db, 4)
    seen(db, 4)
    assert fired(db) == []
    look_now(db, "jsonb_set(state, '{since}', to_jsonb(now() - interval '11 min'))")
    db.wait_until("SELECT (state ->> 'is_on')::boolean FROM automate.trigger", deadline=30)
    assert [p["value"] for p in fired(db)] == [4]
    assert db.one("SELECT (payload ->> 'since')::timestamptz < now() - interval '10 min' FROM automate.event")


def test_a_time_that_ends_between_two_looks_is_seen(tickets: Database) -> None:
    # Nothing changes any more, and the next look by the clock is an hour away.
    many(tickets, **{"for": "1 s"})
    set_open(tickets, 3)
    tickets.wait_until("SELECT EXISTS (SELECT FROM automate.event)", deadline=30)


def test_what_is_on_when_the_cool_down_ends_fires_then(tickets: Database) -> None:
    db = tickets
    many(db, cool_down="10 min")
    for count in (3, 0, 4):
        set_open(db, count)
        state = seen(db, count)
    assert state["is_on"] is False
    assert [p["value"] for p in fired(db)] == [3]
    reason = db.one("SELECT reason FROM automate.test_trigger('many')")
    assert "cools down for 10 min, until" in reason
    assert db.one("SELECT next_at = (state ->> 'fired_at')::timestamptz + interval '10 min' FROM automate.trigger")
    look_now(db, "jsonb_set(state, '{fired_at}', to_jsonb(now() - interval '11 min'))")
    db.wait_until("SELECT (state ->> 'is_on')::boolean FROM automate.trigger", deadline=30)
    assert [p["value"] for p in fired(db)] == [3, 4]


# -- the clock -----------------------------------------------------------------------------------


def test_it_is_asked_at_an_interval(tickets: Database) -> None:
    db = tickets
    trigger(db, "many", "custom", source=COUNT, condition="value > 2", options={"every": "1 s"})
    seen(db, 0)
    set_open(db, 3)
    seen(db, 3)
    set_open(db, 0)
    seen(db, 0)
    assert [p["value"] for p in fired(db)] == [3]
    assert db.one("SELECT count(*) FROM automate.trigger_table") == 0
    # Whole seconds after it was made, whose instant is in the id.
    made = "to_timestamp(('x' || lpad(left(replace(id::text, '-', ''), 12), 16, '0'))::bit(64)::bigint / 1000.0)"
    assert db.one(f"SELECT abs(extract(epoch FROM next_at - {made}) - round(extract(epoch FROM next_at - {made}))) < 0.002 FROM automate.trigger")


def test_missed_looks_are_one(tickets: Database) -> None:
    db = tickets
    many(db)
    seen(db, 0)
    at_rest(db)
    db.execute("UPDATE automate.trigger SET next_at = now() - interval '7 h'")
    db.execute("UPDATE tickets SET open = open")
    set_open(db, 1)
    seen(db, 1)
    at_rest(db)
    assert db.one("SELECT next_at > now() AND next_at <= now() + interval '1 h' FROM automate.trigger")


def test_there_is_one_look_at_a_time(tickets: Database) -> None:
    db = tickets
    slow = "SELECT count(*) + 0 * length(pg_sleep(0.4)::text) FROM tickets"
    trigger(db, "many", "custom", source=slow, condition="value > 2", options={"every": "1 s", "tables": "tickets"})
    for count in range(1, 6):
        set_open(db, count)
        assert db.one("SELECT count(*) FROM automate.job") <= 1
    # The last commit is seen, though looks were under way when it came.
    seen(db, 5)
    assert [p["value"] for p in fired(db)][0] >= 3 and len(fired(db)) == 1


# -- tables --------------------------------------------------------------------------------------


def watched(db: Database) -> list[str]:
    return [row[0] for row in db.rows("SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgname = 'pg_automate_recheck' ORDER BY 1")]


def test_many_commits_are_few_looks(tickets: Database) -> None:
    db = tickets
    many(db, condition="value > 2000")
    seen(db, 0)
    at_rest(db)
    looks = db.one("SELECT state ->> 'looked_at' FROM automate.trigger")
    instants = {looks}
    for _ in range(1000):
        db.execute("INSERT INTO tickets DEFAULT VALUES")
        instants.add(db.one("SELECT state ->> 'looked_at' FROM automate.trigger"))
    assert seen(db, 1000)["looked_at"] not in (None, looks)
    # At most a look each half a second, and one that was under way; a writer is far faster.
    assert len(instants) < 200


def test_writers_do_not_wait_for_each_other(tickets: Database) -> None:
    db = tickets
    many(db)
    seen(db, 0)
    first, second = db.connect(autocommit=False), db.connect(autocommit=False)
    for session in (first, second):
        session.execute("SET lock_timeout = '2s'")
        session.execute("INSERT INTO tickets DEFAULT VALUES")
        session.execute("INSERT INTO tickets DEFAULT VALUES")
    second.commit()
    seen(db, 2)
    first.commit()
    seen(db, 4)


def test_a_rolled_back_write_is_no_change(tickets: Database) -> None:
    db = tickets
    many(db)
    seen(db, 0)
    at_rest(db)
    looked = db.one("SELECT state ->> 'looked_at' FROM automate.trigger")
    other = db.connect(autocommit=False)
    set_open(other, 5)
    other.rollback()
    other.execute("SELECT 1")
    other.commit()
    # The next look is that of another commit.
    set_open(db, 1)
    assert seen(db, 1)["looked_at"] != looked
    assert fired(db) == []


def test_every_way_to_change_a_table_is_heard(tickets: Database) -> None:
    db = tickets
    many(db, condition="value > 100")
    db.execute("INSERT INTO tickets SELECT FROM generate_series(1, 4)")
    seen(db, 4)
    db.execute("UPDATE tickets SET open = false WHERE id = 1")
    seen(db, 3)
    db.execute("DELETE FROM tickets WHERE id = 2")
    seen(db, 2)
    db.execute("TRUNCATE tickets")
    seen(db, 0)


def test_partitions_and_children_are_heard(db: Database) -> None:
    db.execute("CREATE TABLE parts (id int) PARTITION BY RANGE (id)")
    db.execute("CREATE TABLE part_1 PARTITION OF parts FOR VALUES FROM (0) TO (10)")
    db.execute("CREATE TABLE base (id int); CREATE TABLE child () INHERITS (base)")
    trigger(db, "many", "custom", source="SELECT (SELECT count(*) FROM parts) + (SELECT count(*) FROM base)",
            condition="value > 2", options={"tables": ["parts", "base"]})
    assert watched(db) == ["base", "child", "part_1", "parts"]
    seen(db, 0)
    for count, table in enumerate(("parts", "part_1", "base", "child"), 1):
        db.execute(f"INSERT INTO {table} VALUES (1)")
        seen(db, count)
    assert [p["value"] for p in fired(db)] == [3]
    db.execute("SELECT automate.drop_trigger('many')")
    assert watched(db) == []


def test_the_trigger_of_the_table_goes_with_the_last_that_names_it(tickets: Database) -> None:
    db = tickets
    db.execute("CREATE TABLE other (id int)")
    many(db, "one")
    many(db, "two", tables=["tickets", "other"])
    assert watched(db) == ["other", "tickets"]
    db.execute("SELECT automate.drop_trigger('one')")
    assert watched(db) == ["other", "tickets"]
    db.execute("SELECT automate.alter_trigger('two', options => '{\"tables\": [\"tickets\"]}')")
    assert watched(db) == ["tickets"]
    db.execute("SELECT automate.disable_trigger('two')")
    assert watched(db) == []
    db.execute("SELECT automate.enable_trigger('two')")
    assert watched(db) == ["tickets"]
    db.execute("DROP TABLE tickets")
    db.execute("SELECT automate.drop_trigger('two')")
    assert db.one("SELECT count(*) FROM automate.trigger_table") == 0


@pytest.mark.parametrize(("table", "state", "text"), [
    ("a_view", "42809", "it is a view"),
    ("pg_class", "42809", "it is a system table"),
    ("automate.job", "42809", "it is a system table"),
    ("temporary", "42809", "it is temporary"),
    ("ticket", "42P01", "does not exist"),
])
def test_what_is_no_table_of_ours_is_refused(tickets: Database, table: str, state: str, text: str) -> None:
    tickets.execute("CREATE VIEW a_view AS SELECT 1 AS x; CREATE TEMP TABLE temporary (id int)")
    with pytest.raises(psycopg.Error) as refused:
        many(tickets, tables=[table])
    check_refusal(refused.value, state, text)


def test_a_table_needs_select_and_trigger(tickets: Database, role: Callable[..., str]) -> None:
    db = tickets
    name = role("ann")
    db.execute("CREATE TABLE secret (id int)")
    ann = db.connect(name)
    with pytest.raises(psycopg.errors.InsufficientPrivilege) as refused:
        trigger(ann, "x", "custom", source="SELECT true", options={"tables": ["secret"]})
    check_refusal(refused.value, "42501", "SELECT and TRIGGER", "GRANT SELECT, TRIGGER ON secret")
    db.execute("GRANT SELECT, TRIGGER ON secret TO PUBLIC")
    trigger(ann, "x", "custom", source="SELECT count(*) > 0 FROM secret", options={"tables": ["secret"]})
    db.execute("INSERT INTO secret VALUES (1)")
    seen(db, True, "x")
    assert ann.execute("SELECT relation::text FROM automate.trigger_table").fetchall() == [("secret",)]
    assert db.connect(role("bob")).execute("SELECT count(*) FROM automate.trigger_table").fetchone() == (0,)


# -- functions -----------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["too_many()", "public.too_many();", "SELECT public.too_many()", "VALUES (too_many())", "WITH x AS (SELECT too_many()) TABLE x -- it"])
def test_a_function_can_be_the_source(tickets: Database, source: str) -> None:
    tickets.execute("CREATE FUNCTION too_many() RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) > 2 FROM tickets); END'")
    many(tickets, source=source, condition=None)
    seen(tickets, False)
    set_open(tickets, 3)
    seen(tickets, True)
    assert [p["value"] for p in fired(tickets)] == [True]


def test_a_source_that_makes_no_sense_is_refused(tickets: Database) -> None:
    for source, state in (("no_such()", "42883"), ("SELECT 1; SELECT 2", "42809"), ("DELETE FROM tickets RETURNING 1", "42809"),
                          ("INSERT INTO tickets DEFAULT VALUES", "42809"), ("SELECT 1) , x AS (SELECT 2", "42601")):
        with pytest.raises(psycopg.Error) as refused:
            many(tickets, source=source)
        assert (source, refused.value.sqlstate) == (source, state)
        assert refused.value.diag.message_hint and refused.value.diag.message_detail


# -- failures ------------------------------------------------------------------------------------


def failed(db: Database, text: str, name: str = "many") -> None:
    db.wait_until("SELECT errors > 0 AND last_error LIKE %s FROM automate.trigger WHERE name = %s", [f"%{text}%", name], deadline=30)


def test_a_query_that_fails_is_noted_and_asked_again(tickets: Database) -> None:
    db = tickets
    db.execute("CREATE TABLE divisor (n int); INSERT INTO divisor VALUES (1)")
    many(db, source="SELECT count(*) / (SELECT n FROM divisor) FROM tickets")
    set_open(db, 3)
    seen(db, 3)
    db.execute("UPDATE divisor SET n = 0")
    set_open(db, 1)
    failed(db, "22012: division by zero")
    state, status = db.rows("SELECT state, status FROM automate.trigger")[0]
    assert status == "active" and state["is_on"] is True and state["value"] == 3
    assert db.one("SELECT count(*) FROM automate.doctor() WHERE subject = 'trigger many'") == 1
    reason = db.one("SELECT reason FROM automate.test_trigger('many')")
    assert reason == "its query fails: 22012: division by zero"
    db.execute("UPDATE divisor SET n = 1")
    assert "failures" not in seen(db, 1)
    assert len(fired(db)) == 1
    assert db.one("SELECT count(*) FROM automate.job_history") == 0


def test_several_rows_are_an_error(tickets: Database) -> None:
    set_open(tickets, 2)
    many(tickets, source="SELECT id FROM tickets")
    failed(tickets, "21000: source answers more than one row")


def test_a_query_that_takes_too_long_is_ended(tickets: Database, role: Callable[..., str]) -> None:
    db = tickets
    name = role("ann")
    db.execute(sql.SQL("ALTER ROLE {} SET statement_timeout = '200ms'").format(sql.Identifier(name)))  # type: ignore[arg-type]
    many(db.connect(name), source="SELECT length(pg_sleep(60)::text)")
    failed(db, "57014: the query took longer than 200 ms")
    assert db.one("SELECT count(*) FROM automate.job_history") == 0


def test_a_query_only_reads(tickets: Database) -> None:
    db = tickets
    db.execute("CREATE FUNCTION writes() RETURNS int LANGUAGE sql AS 'INSERT INTO heard VALUES (''x'') RETURNING 1'")
    many(db, source="writes()", condition="value > 0")
    failed(db, "25006")
    assert db.one("SELECT reason FROM automate.test_trigger('many')").startswith("its query fails: 25006")
    assert db.one("SELECT count(*) FROM heard") == 0


def test_lost_rights_and_lost_tables_are_noted(tickets: Database, role: Callable[..., str]) -> None:
    db = tickets
    db.execute("CREATE TABLE secret (id int); GRANT SELECT ON secret TO PUBLIC")
    many(db.connect(role("ann")), source="SELECT count(*) FROM secret", condition="value > 0")
    seen(db, 0)
    db.execute("REVOKE SELECT ON secret FROM PUBLIC")
    set_open(db, 1)
    failed(db, "42501: permission denied")
    db.execute("GRANT SELECT ON secret TO PUBLIC; INSERT INTO secret VALUES (1)")
    seen(db, 1)
    assert len(fired(db)) == 1
    db.execute("DROP TABLE secret")
    set_open(db, 2)
    failed(db, "42P01")


def test_owners_who_cannot_work_are_not_asked(tickets: Database, role: Callable[..., str]) -> None:
    db = tickets
    locked = role("locked")
    trigger(db.connect(locked), "many", "custom", source=COUNT, condition="value > 2", options={"every": "1 s"})
    seen(db, 0)
    db.execute(sql.SQL("ALTER ROLE {} NOLOGIN").format(sql.Identifier(locked)))  # type: ignore[arg-type]
    failed(db, "its owner may not log in")
    set_open(db, 3)
    errors = db.one("SELECT errors FROM automate.trigger")
    db.wait_until("SELECT errors > %s FROM automate.trigger", [errors + 1], deadline=30)
    assert fired(db) == []
    db.execute(sql.SQL("ALTER ROLE {} LOGIN").format(sql.Identifier(locked)))  # type: ignore[arg-type]
    db.wait_until("SELECT EXISTS (SELECT FROM automate.event)", deadline=30)
    db.execute("UPDATE automate.trigger SET owner = 4000000000::oid::regrole")
    db.wait_until("SELECT status = 'broken' AND last_error = 'its owner was dropped' FROM automate.trigger", deadline=30)


# -- rights and names ----------------------------------------------------------------------------


def test_the_query_sees_what_its_owner_sees(tickets: Database, role: Callable[..., str]) -> None:
    db = tickets
    name = role("ann")
    ann = db.connect(name)
    db.execute("CREATE SCHEMA good; GRANT USAGE ON SCHEMA good TO PUBLIC")
    db.execute("CREATE FUNCTION good.who() RETURNS text LANGUAGE sql AS 'SELECT current_user::text'")
    ann.execute("SET search_path = good, public")
    many(ann, source="SELECT who() || session_user", condition="value IS NOT NULL")
    ann.execute("SET search_path = public")
    ann.execute("CREATE FUNCTION public.who() RETURNS text LANGUAGE sql AS 'SELECT ''nobody'''")
    seen(db, name + name)
    look_now(db)
    seen(db, name + name)


# -- changed, switched, tried --------------------------------------------------------------------


def test_a_new_question_is_forgetful_and_the_same_is_not(tickets: Database) -> None:
    db = tickets
    many(db)
    set_open(db, 3)
    seen(db, 3)
    db.execute("SELECT automate.alter_trigger('many', description => 'mine', options => '{\"every\": \"2 h\", \"tables\": [\"tickets\"]}')")
    set_open(db, 4)
    assert seen(db, 4)["is_on"] is True
    assert len(fired(db)) == 1
    db.execute("SELECT automate.alter_trigger('many', condition => 'value > 3')")
    db.wait_until("SELECT count(*) = 2 FROM automate.event", deadline=30)
    assert fired(db)[1]["previous"] is None


def test_a_disabled_one_rests_and_remembers(tickets: Database) -> None:
    db = tickets
    many(db)
    set_open(db, 3)
    seen(db, 3)
    db.execute("SELECT automate.disable_trigger('many')")
    set_open(db, 0)
    at_rest(db)
    assert db.rows("SELECT fires, reason, payload ->> 'value' FROM automate.test_trigger('many')") == [(False, "it is disabled", "0")]
    set_open(db, 5)
    db.execute("SELECT automate.enable_trigger('many')")
    assert seen(db, 5)["is_on"] is True
    assert len(fired(db)) == 1
    db.execute("ALTER TABLE tickets RENAME open TO is_open")
    db.execute("SELECT automate.disable_trigger('many')")
    with pytest.raises(psycopg.errors.UndefinedColumn):
        db.execute("SELECT automate.enable_trigger('many')")


def test_trying_asks_and_does_nothing(tickets: Database, role: Callable[..., str]) -> None:
    db = tickets
    many(db, clear="value < 1")
    seen(db, 0)

    def tried() -> tuple[bool, str]:
        return db.rows("SELECT fires, reason FROM automate.test_trigger('many')")[0]

    assert tried() == (False, "its condition does not hold")
    other = db.connect(autocommit=False)
    set_open(other, 3)
    (row,) = other.execute("SELECT fires, reason, event, payload - 'since' FROM automate.test_trigger('many')").fetchall()
    assert row == (True, "its condition holds", "many", {"value": 3, "previous": 0, "condition": True, "clear": False})
    other.rollback()
    assert fired(db) == [] and db.one("SELECT state -> 'is_on' FROM automate.trigger") is False
    set_open(db, 3)
    seen(db, 3)
    assert tried() == (False, "it has fired already, and its condition still holds")
    set_open(db, 1)
    seen(db, 1)
    assert tried() == (False, "it has fired already, and its clear condition does not hold")
    assert db.rows("SELECT * FROM automate.evaluate_triggers('many')") == []
    with pytest.raises(psycopg.errors.InvalidParameterValue) as refused:
        db.execute("SELECT automate.test_trigger('many', payload => '{}')")
    check_refusal(refused.value, "22023", "looks at nothing that could be given")
    with pytest.raises(psycopg.errors.UndefinedObject):
        db.connect(role("bob")).execute("SELECT automate.test_trigger('many')")


def test_a_rolled_back_trigger_leaves_nothing(tickets: Database) -> None:
    other = tickets.connect(autocommit=False)
    many(other)
    set_open(other, 9)
    other.rollback()
    assert watched(tickets) == [] and tickets.one("SELECT count(*) FROM automate.trigger_table") == 0
    set_open(tickets, 9)
    assert tickets.one("SELECT count(*) FROM automate.job") == 0


def test_somebody_who_changes_it_holds_up_no_other(tickets: Database) -> None:
    db = tickets
    many(db)
    many(db, "other")
    seen(db, 0)
    seen(db, 0, "other")
    session = db.connect(autocommit=False)
    session.execute("SELECT automate.alter_trigger('many', description => 'slowly')")
    set_open(db, 3)
    seen(db, 3, "other")
    session.commit()
    seen(db, 3)
    assert len(fired(db)) == 2


def test_a_dump_holds_it_with_its_tables(cluster: Any, tickets: Database, bare_db_2: Database) -> None:
    db = tickets
    many(db)
    set_open(db, 3)
    seen(db, 3)
    at_rest(db)
    where = ["--host", cluster.socket, "--port", cluster.port, "--username", "postgres"]
    file = cluster.base / "data" / "custom.dump"
    cluster.run("pg_dump", *where, "--format=custom", "--file", file, db.name)
    cluster.run("pg_restore", *where, "--exit-on-error", "--dbname", bare_db_2.name, file)
    assert watched(bare_db_2) == ["tickets"]
    bare_db_2.execute("SELECT automate.resume()")
    for count in (0, 5):
        set_open(bare_db_2, count)
        seen(bare_db_2, count)
    assert [p["value"] for p in fired(bare_db_2)] == [5]


def test_what_was_noted_is_not_lost_with_the_coordinator(tickets: Database) -> None:
    db = tickets
    many(db)
    seen(db, 0)
    at_rest(db)
    for count in (1, 3):
        session = db.connect(autocommit=False)
        set_open(session, count)
        pid = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'pg_automate coordinator' AND datname = current_database()"
        db.wait_until(f"SELECT EXISTS ({pid})", deadline=30)
        db.execute(f"SELECT pg_terminate_backend(({pid}))")
        session.commit()
        seen(db, count)
    assert len(fired(db)) == 1
