"""Actions of rules: in the writer's transaction, over HTTP, and several of them in order."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from support.database import Database
from support.http import HttpServer
from test_courier import hurry
from test_events import done, member


@pytest.fixture
def orders(db: Database) -> Database:
    db.execute("CREATE TABLE orders (id int PRIMARY KEY, amount numeric); CREATE TABLE log (n int, who text, session text)")
    return db


def rule(db: Database | psycopg.Connection[Any], name: str, actions: list[Any], **more: Any) -> None:
    more = {"on_table": "orders", **more}
    names = ", ".join(f"{key} => %s" for key in more)
    db.execute(f"SELECT automate.create_rule(%s, %s, {names})", [name, json.dumps(actions), *more.values()])


def now(statement: str, *params: Any) -> dict[str, Any]:
    return {"sql": statement, "params": list(params), "timing": "transaction"}


NOTE = now("INSERT INTO log VALUES ($1, current_user, session_user)", "${ .new.id }")


def test_a_statement_runs_in_the_writers_transaction(orders: Database) -> None:
    db = orders
    rule(db, "note", [NOTE, {"emit": "noted"}], condition="new.amount > 5")
    writer = db.connect(autocommit=False)
    writer.execute("INSERT INTO orders VALUES (1, 10), (2, 1), (3, 7)")
    assert writer.execute("SELECT n FROM log ORDER BY 1").fetchall() == [(1,), (3,)]
    assert db.one("SELECT count(*) FROM log") == 0
    writer.rollback()
    writer.execute("INSERT INTO orders VALUES (4, 10)")
    writer.commit()
    assert db.rows("SELECT n FROM log") == [(4,)]
    done(db)  # the rest of the actions follows after the commit
    assert db.one("SELECT count(*) FROM automate.event WHERE name = 'noted'") == 1
    assert db.rows("SELECT result FROM automate.job_history WHERE source = 'rule:note'") == [({"actions": 1},)]


def test_a_rule_of_such_statements_alone_queues_nothing(orders: Database) -> None:
    db = orders
    rule(db, "note", [NOTE])
    with db.admin.transaction():
        db.execute("INSERT INTO orders VALUES (1, 1)")
        assert db.one("SELECT count(*) FROM automate.job") == 0


def test_it_runs_as_the_owner_and_leaves_nothing_behind(orders: Database, role: Callable[..., str]) -> None:
    db = orders
    owner, writer = role("owner", level=None), role("writer", level=None)
    session = member(db, owner)
    db.execute(f"GRANT SELECT, TRIGGER ON orders TO {owner}; GRANT INSERT ON log TO {owner}; GRANT INSERT ON orders TO {writer};"
               f"GRANT CREATE ON SCHEMA public TO {owner}")
    session.execute("""CREATE TABLE parent (id int PRIMARY KEY);
        CREATE TABLE child (id int REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
        CREATE FUNCTION settle() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM set_config('work_mem', '1MB', false); END $$;
        CREATE FUNCTION climb() RETURNS void LANGUAGE plpgsql AS $$ BEGIN SET ROLE NONE; END $$""")
    rule(session, "note", [NOTE, now("INSERT INTO child VALUES (1)"), now("INSERT INTO parent VALUES (1)"),
                           now("SELECT settle()")], condition="new.id = 1")
    rule(session, "climb", [now("SELECT climb()")], condition="new.id = 2")
    other = db.connect(writer)
    memory = other.execute("SHOW work_mem").fetchone()
    other.execute("INSERT INTO orders VALUES (1, 1)")
    assert db.rows("SELECT who, session FROM log") == [(owner, writer)]
    assert db.one("SELECT count(*) FROM child") == 1
    assert other.execute("SHOW work_mem").fetchone() == memory
    assert other.execute("SELECT current_user::text").fetchone() == (writer,)
    other.execute("INSERT INTO orders VALUES (2, 1)")
    db.wait_until("SELECT last_error LIKE '42501:%%' FROM automate.rule WHERE name = 'climb'")
    # The owner loses its right on what it writes: noted, and the writer goes on.
    db.execute(f"REVOKE INSERT ON log FROM {owner}")
    db.execute("DELETE FROM orders; DELETE FROM child; DELETE FROM parent")
    other.execute("INSERT INTO orders VALUES (1, 1)")
    db.wait_until("SELECT last_error LIKE '42501:%%log%%' FROM automate.rule WHERE name = 'note'")


def test_a_failure_undoes_the_match_and_not_the_write(orders: Database) -> None:
    db = orders
    rule(db, "div", [NOTE, now("SELECT 1 / $1::int", "${ .new.amount }"), {"emit": "divided"}])
    rule(db, "good", [NOTE])
    db.execute("INSERT INTO orders VALUES (1, 0), (2, 1)")
    assert db.rows("SELECT n FROM log ORDER BY 1") == [(1,), (2,), (2,)]
    done(db)
    assert db.one("SELECT count(*) FROM automate.event") == 1
    assert db.one("SELECT last_error FROM automate.rule WHERE name = 'div'").startswith("22012:")
    db.execute("SELECT automate.alter_rule('div', on_error => 'fail')")
    with pytest.raises(psycopg.errors.DivisionByZero) as raised:
        db.execute("INSERT INTO orders VALUES (3, 0)")
    assert 'rule "div"' in str(raised.value)
    assert db.one("SELECT count(*) FROM orders") == 2


def test_chains_end(orders: Database) -> None:
    db = orders
    db.execute("CREATE TABLE a (n int); CREATE TABLE b (n int)")
    rule(db, "self", [now("INSERT INTO orders VALUES ($1, 0)", "${ .new.id + 1 }")])
    db.execute("INSERT INTO orders VALUES (1, 1)")
    assert db.one("SELECT count(*) FROM orders") == 2  # a rule does not see its own action
    for here, there in (("a", "b"), ("b", "a")):
        rule(db, here, [now(f"INSERT INTO {there} VALUES ($1)", "${ .new.n + 1 }")], on_table=here)
    db.execute("INSERT INTO a VALUES (0)")
    assert db.one("SELECT max(n) FROM (SELECT n FROM a UNION ALL SELECT n FROM b) AS all_rows") == 16
    db.wait_until("SELECT EXISTS (SELECT FROM automate.rule WHERE last_error LIKE '%%chain of 16%%')")


def test_several_actions_succeed_or_fail_together(orders: Database) -> None:
    db = orders
    rule(db, "three", [{"sql": "INSERT INTO log VALUES (1)"}, {"emit": "first"},
                       {"sql": "INSERT INTO log SELECT 2 / count(*) FROM log WHERE who = 'ready' RETURNING n"}])
    db.execute("INSERT INTO orders VALUES (1, 1)")
    db.wait_until("SELECT EXISTS (SELECT FROM automate.job WHERE attempts > 0)")
    assert db.one("SELECT count(*) FROM log") == 0 and db.one("SELECT count(*) FROM automate.event") == 0
    db.execute("INSERT INTO log VALUES (0, 'ready')")
    done(db)
    assert db.rows("SELECT n FROM log ORDER BY 1") == [(0,), (1,), (2,)]
    assert db.one("SELECT count(*) FROM automate.event") == 1
    # After the last attempt it is a dead letter, and nothing of it was done.
    db.execute("UPDATE log SET who = NULL; INSERT INTO orders VALUES (2, 1)")
    db.wait_until("SELECT EXISTS (SELECT FROM automate.job_history WHERE status = 'failed')", deadline=30)
    assert db.rows("SELECT attempts, left(error, 5) FROM automate.job_history WHERE status = 'failed'") == [(3, "22012")]
    assert db.one("SELECT count(*) FROM log") == 3


def test_a_request_is_sent_after_the_commit_and_again_under_its_key(orders: Database, http: HttpServer) -> None:
    db = orders
    rule(db, "tell", [{"http": {
        "url": http.url + "/hook", "method": "put", "headers": {"X-Rule": "${ .rule }"}, "query": {"id": "${ .new.id }"},
        "body": {"amount": "${ .new.amount }"}, "timeout_ms": 5000}}])
    writer = db.connect(autocommit=False)
    writer.execute("INSERT INTO orders VALUES (1, 5)")
    writer.rollback()
    http.script = ["500"]
    writer.execute("INSERT INTO orders VALUES (2, 7)")
    writer.commit()
    id = db.wait_until("SELECT id FROM automate.job WHERE kind = 'http' AND status = 'scheduled'")
    hurry(db, str(id))
    first, second = http.wait_for(2)
    assert (first.method, first.path, first.json) == ("PUT", "/hook?id=2", {"amount": 7})
    assert first.headers["x-rule"] == "tell"
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    done(db)
    assert db.rows("SELECT source, status, attempts, result FROM automate.job_history WHERE kind = 'http'") == [
        ("rule:tell", "succeeded", 2, {"status": 200})]


def test_an_answer_that_will_not_change_is_a_dead_letter(orders: Database, http: HttpServer) -> None:
    db = orders
    http.mode = "404"
    rule(db, "tell", [{"http": {"url": "${ \"" + http.url + "/\" + .new.id }"}}], condition="new.id < 5")
    rule(db, "bad", [{"http": {"url": "${ .new.amount }"}}], condition="new.id = 5")
    rule(db, "good", [{"http": {"url": http.url + "/"}}])
    db.execute("INSERT INTO orders VALUES (1, 5)")
    db.wait_until("SELECT count(*) = 1 FROM automate.job_history WHERE kind = 'http' AND status = 'failed'")


@pytest.mark.parametrize(("actions", "more", "state", "text"), [
    ([now("CREATE TABLE x (n int)")], {}, "0A000", "INSERT"),
    ([now("INSERT INTO nothing VALUES (1)")], {}, "42P01", ""),
    ([now("SELECT 1")], {"on_table": None, "on_event": "e"}, "22023", "after the commit"),
    ([{"sql": "SELECT 1", "timing": "befor"}], {}, "22023", "commit"),
    ([{"http": {"url": "http://10.1.2.3/"}}], {}, "42501", ""),
    ([{"http": {"url": "ftp://x"}}], {}, "22023", ""),
    ([{"http": {"ulr": "https://x"}}], {}, "22023", "url"),
    ([{"http": {"url": "http://127.0.0.1/", "method": "gte"}}], {}, "22023", "GET"),
])
def test_definitions_are_checked(orders: Database, actions: list[Any], more: dict[str, Any], state: str, text: str) -> None:
    with pytest.raises(psycopg.Error) as raised:
        rule(orders, "bad", actions, **more)
    assert raised.value.sqlstate == state, raised.value
    assert text in (raised.value.diag.message_hint or ""), raised.value.diag.message_hint
    assert raised.value.diag.message_hint and raised.value.diag.message_detail
