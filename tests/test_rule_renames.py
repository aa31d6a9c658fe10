"""Rules that survive change: they follow new names, are marked broken at once by what they cannot
follow, and never stand in the way of a command."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from support.database import Database
from test_events import done
from test_rules import NOTE, noted, orders, rule  # noqa: F401


def state(db: Database, name: str, what: str = "status, condition, version") -> tuple[Any, ...]:
    return db.rows(f"SELECT {what} FROM automate.rule WHERE name = %s", [name])[0]


def test_a_renamed_column_is_followed(orders: Database) -> None:  # noqa: F811
    db = orders
    rule(db, "sql", "new.amount > 5 AND (status = 'a' OR old.amount IS NOT NULL)")
    rule(db, "logic", conditions=json.dumps({"and": [{">": [{"var": "amount"}, 5]}, {"!=": [{"var": "status"}, "b"]}]}))
    rule(db, "change", operations=["update"], columns=["amount", "note"])
    rule(db, "other", "new.status = 'amount'")
    rule(db, "off", "new.amount > 6", enabled=False)
    actions = [{"set": {"amount": "new.amount + 1", "note": "new.amount"}}]
    db.execute("SELECT automate.create_rule('before', %s, on_table => 'orders', timing => 'before', condition => 'amount < 100')",
               [json.dumps(actions)])
    db.execute("ALTER TABLE orders RENAME amount TO \"the total\"")
    db.execute("INSERT INTO orders VALUES (1, 'a', 5), (2, 'b', 1)")
    assert db.rows("SELECT id, \"the total\", note FROM orders ORDER BY id") == [(1, 6, "5"), (2, 2, "1")]
    db.execute("UPDATE orders SET status = status || '!'")
    assert noted(db) == [("change", "update", 1), ("change", "update", 2), ("logic", "insert", 1), ("logic", "update", 1),
                         ("sql", "insert", 1), ("sql", "update", 1)]
    assert db.one("SELECT count(*) FROM automate.rule WHERE status = 'broken' OR errors > 0") == 0
    assert '"the total"' in state(db, "sql")[1] and state(db, "sql")[2] == 2
    assert state(db, "logic", "conditions")[0]["and"][0] == {">": [{"var": "the total"}, 5]}
    assert state(db, "change", "columns") == (["the total", "note"],)
    assert set(state(db, "before", "actions")[0][0]["set"]) == {"the total", "note"}
    assert state(db, "other") == ("active", "new.status = 'amount'", 1)
    assert state(db, "off")[0] == "disabled" and "total" in state(db, "off")[1]


def test_a_rename_that_is_undone_changes_nothing(orders: Database) -> None:  # noqa: F811
    db = orders
    rule(db, "r", "new.amount > 5")
    with db.admin.transaction(force_rollback=True):
        db.execute("ALTER TABLE orders RENAME amount TO total")
        assert "total" in state(db, "r")[1]
    assert state(db, "r") == ("active", "new.amount > 5", 1)
    db.execute("INSERT INTO orders VALUES (1, 'a', 9)")
    assert noted(db) == [("r", "insert", 1)]


def test_partitions_and_the_tables_own_name(db: Database) -> None:
    db.execute("""CREATE TABLE noted (rule text, op text, id int, context jsonb);
                  CREATE TABLE part (id int, amount int) PARTITION BY RANGE (id);
                  CREATE TABLE low PARTITION OF part FOR VALUES FROM (0) TO (100)""")
    rule(db, "root", "new.amount > 5", on_table="part")
    rule(db, "leaf", "new.amount > 6", on_table="low")
    db.execute("ALTER TABLE part RENAME amount TO total; ALTER TABLE part RENAME TO whole; ALTER TABLE low RENAME TO lower_part")
    db.execute("CREATE SCHEMA elsewhere; ALTER TABLE whole SET SCHEMA elsewhere")
    db.execute("INSERT INTO elsewhere.whole VALUES (1, 9)")
    assert noted(db) == [("leaf", "insert", 1), ("root", "insert", 1)]


def test_functions_types_and_schemas_are_followed(orders: Database) -> None:  # noqa: F811
    db = orders
    db.execute("""CREATE SCHEMA lib;
        CREATE TYPE lib.mood AS ENUM ('good', 'bad');
        CREATE FUNCTION lib.big(numeric) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN $1 > 5; END $$;
        CREATE FUNCTION lib.unseen(numeric) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN $1 > 5; END $$;
        ALTER TABLE orders ADD mood lib.mood; SET search_path = public, lib""")
    rule(db, "call", "big(new.amount)")
    rule(db, "full", "lib.big(new.amount)")
    rule(db, "cast", "new.status::lib.mood = new.mood")
    rule(db, "label", "new.mood = 'good'")
    rule(db, "path", "unseen(new.amount)")
    db.execute("RESET search_path")
    names = ["call", "cast", "full", "label", "path"]
    for number, command in enumerate([
        "SELECT 1",
        "ALTER FUNCTION lib.big RENAME TO \"Large\"",
        "ALTER TYPE lib.mood RENAME TO temper",
        "ALTER TYPE lib.temper RENAME VALUE 'good' TO 'fine'",
        "ALTER SCHEMA lib RENAME TO \"my lib\"",
        "ALTER FUNCTION \"my lib\".\"Large\" SET SCHEMA public",
        "ALTER TYPE \"my lib\".temper SET SCHEMA public",
    ], 1):
        db.execute(command)
        good = "good" if number < 4 else "fine"
        db.execute("INSERT INTO orders VALUES (%s, %s, 9, NULL, %s)", [number, good, good])
        assert [row[0] for row in noted(db) if row[2] == number] == names, command
    assert db.one("SELECT count(*) FROM automate.rule WHERE status <> 'active'") == 0
    assert state(db, "path", "search_path, condition") == ('public, "my lib", pg_temp', "unseen(new.amount)")


def test_what_is_dropped_breaks_the_rule_at_once(orders: Database) -> None:  # noqa: F811
    db = orders
    db.execute("""CREATE FUNCTION big(numeric) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN $1 > 5; END $$;
                  CREATE DOMAIN word AS text; CREATE SCHEMA gone; CREATE TABLE gone.t (n int)""")
    rule(db, "call", "big(new.amount)")
    rule(db, "cast", "new.status::word = 'a'")
    rule(db, "column", "new.note = 'x'")
    rule(db, "columns", operations=["update"], columns=["note"])
    rule(db, "type", "new.amount > 7")
    rule(db, "any")
    rule(db, "schema", on_table="gone.t")
    broken = "SELECT name FROM automate.rule WHERE status = 'broken' ORDER BY 1"
    for command, names in [
        ("DROP FUNCTION big", ["call"]),
        ("DROP DOMAIN word", ["call", "cast"]),
        ("ALTER TABLE orders DROP note, DROP IF EXISTS nothing", ["call", "cast", "column", "columns"]),
        ("ALTER TABLE orders ALTER amount TYPE text", ["call", "cast", "column", "columns", "type"]),
        ("DROP SCHEMA gone CASCADE", ["call", "cast", "column", "columns", "schema", "type"]),
    ]:
        db.execute(command)
        assert [row[0] for row in db.rows(broken)] == names, command
    assert state(db, "column", "last_error")[0].startswith("42703:")
    db.execute("INSERT INTO orders VALUES (1, 'a', 9)")
    assert noted(db) == [("any", "insert", 1)]
    # They work again when what was missing is there again, or when they are written anew.
    db.execute("ALTER TABLE orders ALTER amount TYPE numeric USING amount::numeric")
    db.execute("SELECT automate.enable_rule('type')")
    db.execute("SELECT automate.alter_rule('call', condition => 'new.amount > 8')")
    db.execute("INSERT INTO orders VALUES (2, 'a', 9)")
    assert [row for row in noted(db) if row[2] == 2] == [("any", "insert", 2), ("call", "insert", 2), ("type", "insert", 2)]
    db.execute("DROP TABLE orders")
    assert db.one("SELECT count(*) FROM automate.rule WHERE status = 'active'") == 0


def test_a_dropped_column_that_a_rule_sets(orders: Database) -> None:  # noqa: F811
    db = orders
    db.execute("""SELECT automate.create_rule('set', '[{"set": {"note": "new.status"}}]', on_table => 'orders', timing => 'before')""")
    db.execute("ALTER TABLE orders DROP note")
    assert state(db, "set", "status")[0] == "broken"
    db.execute("INSERT INTO orders VALUES (1, 'a')")
    with pytest.raises(psycopg.errors.UndefinedColumn):
        db.execute("SELECT automate.enable_rule('set')")
    db.execute("ALTER TABLE orders ADD note text")
    db.execute("SELECT automate.enable_rule('set')")
    db.execute("INSERT INTO orders (id, status) VALUES (2, 'b')")
    assert db.one("SELECT note FROM orders WHERE id = 2") == "b"


def test_a_data_trigger_follows_too(orders: Database) -> None:  # noqa: F811
    db = orders
    db.execute("""INSERT INTO automate.trigger (id, name, owner, status, trigger_type, on_table, operations, columns, event,
                         condition, search_path, created_by)
                  VALUES (gen_random_uuid(), 't', 'postgres', 'active', 'data', 'orders', '{insert,update}', '{amount}', 't',
                          'new.amount > 5', 'public, pg_temp', 'postgres')""")
    db.execute("ALTER TABLE orders RENAME amount TO total")
    assert db.rows("SELECT condition, columns, version FROM automate.trigger") == [("new.total > (5)::numeric", ["total"], 2)]
    db.execute("ALTER TABLE orders DROP total")
    assert db.rows("SELECT status, left(last_error, 6) FROM automate.trigger") == [("broken", "42703:")]


def test_a_command_waits_for_nobody_who_changes_a_rule(orders: Database) -> None:  # noqa: F811
    db = orders
    rule(db, "r", "new.amount > 5")
    other = db.connect(autocommit=False)
    other.execute("SELECT name FROM automate.rule FOR UPDATE")
    db.execute("SET lock_timeout = '5s'")
    db.execute("ALTER TABLE orders RENAME amount TO total")
    other.rollback()
    assert state(db, "r") == ("active", "new.amount > 5", 1)
    db.execute("INSERT INTO orders VALUES (1, 'a', 9)")  # what could not follow is found out now
    db.wait_until("SELECT status = 'broken' FROM automate.rule")


def test_a_stranger_is_told_nothing_and_may_go_on(orders: Database, role: Callable[..., str]) -> None:  # noqa: F811
    db = orders
    stranger = role("stranger", level=None)
    rule(db, "secret", "new.amount > 5")
    db.execute(f"ALTER TABLE orders OWNER TO {stranger}; GRANT CREATE ON SCHEMA public TO {stranger}")
    session, notices = db.connect(stranger), []
    session.add_notice_handler(lambda diag: notices.append(diag.message_primary))
    session.execute("ALTER TABLE orders RENAME amount TO total")
    session.execute("ALTER TABLE orders DROP total")
    assert notices == [] and state(db, "secret", "status, version") == ("broken", 2)


# -- bad input and faults ------------------------------------------------------------------------


def test_two_sessions_alter_one_rule(orders: Database) -> None:  # noqa: F811
    db = orders
    rule(db, "r", "new.id = 0")
    one, other = db.connect(autocommit=False), db.connect()
    one.execute("SELECT automate.alter_rule('r', condition => 'new.id = 1')")
    versions: list[Any] = []

    def alter() -> None:
        versions.append(other.execute("SELECT automate.alter_rule('r', priority => 7)").fetchone()[0])

    thread = threading.Thread(target=alter)
    thread.start()
    db.wait_until("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%%priority => 7%%'"
                  " AND pid <> pg_backend_pid())")
    one.commit()
    thread.join()
    # The second builds on what the first has written.
    assert versions == [3] and state(db, "r", "condition, priority, version") == ("new.id = 1", 7, 3)


def test_a_rule_made_while_a_load_runs(orders: Database) -> None:  # noqa: F811
    db = orders
    rule(db, "first")  # the table has its trigger
    loader = db.connect(autocommit=False)
    loader.execute("INSERT INTO orders VALUES (1)")
    rule(db, "second")
    loader.execute("INSERT INTO orders VALUES (2)")
    loader.commit()
    assert [row for row in noted(db) if row[0] == "second"] == [("second", "insert", 2)]


def test_a_function_of_another_hand_gets_no_rights(orders: Database, role: Callable[..., str]) -> None:  # noqa: F811
    """A condition that calls somebody's function runs it as the rule's owner, who trusted it, and not as the writer."""
    db = orders
    db.execute("""CREATE FUNCTION spy(int) RETURNS boolean STABLE LANGUAGE plpgsql AS
                  $$ BEGIN PERFORM set_config('role', 'postgres', false); RETURN true; END $$""")
    owner = role("owner")
    db.execute(f"GRANT SELECT, TRIGGER ON orders TO {owner}")
    session = db.connect(owner)
    session.execute("""SELECT automate.create_rule('spy', '[{"emit": "e"}]', on_table => 'orders', condition => 'spy(new.id)')""")
    db.execute("INSERT INTO orders VALUES (1)")
    db.wait_until("SELECT last_error LIKE '42501:%%' FROM automate.rule")
    db.execute("CREATE OR REPLACE FUNCTION spy(int) RETURNS boolean VOLATILE LANGUAGE sql AS 'SELECT true'")
    db.execute("INSERT INTO orders VALUES (2)")
    db.wait_until("SELECT status = 'broken' AND last_error LIKE '42P17:%%' FROM automate.rule")
    done(db)
    assert db.one("SELECT count(*) FROM automate.event") == 0


def test_many_rules_in_one_transaction(orders: Database) -> None:  # noqa: F811
    """The work for each does not grow with their number: as many statements for the last as for the first."""
    db = orders
    with db.admin.transaction():
        db.execute("""SELECT automate.create_rule('r' || n, '[{"emit": "e"}]', on_table => 'orders',
                                                  condition => format('new.id = %s', n)) FROM generate_series(1, 2000) AS n""")
        db.execute("INSERT INTO orders VALUES (7), (1999)")
    db.wait_until("SELECT count(*) = 2 FROM automate.event")
    db.execute("ALTER TABLE orders RENAME id TO key")
    assert db.one("SELECT count(*) FROM automate.rule WHERE status = 'active' AND condition LIKE '%%new.key%%'") == 2000
    db.execute("INSERT INTO orders VALUES (8)")
    db.wait_until("SELECT count(*) = 3 FROM automate.event")


def test_without_preload_nothing_breaks(new_cluster: Callable[..., Any]) -> None:
    cluster = new_cluster(preload=False, fsync=False)
    db = Database(cluster, "postgres")
    db.execute("CREATE EXTENSION pg_automate; CREATE TABLE orders (id int, note text)")
    db.execute("""SELECT automate.create_rule('r', '[{"set": {"note": "''x''"}}]', on_table => 'orders', timing => 'before')""")
    db.execute("ALTER TABLE orders RENAME note TO remark")
    db.execute("INSERT INTO orders VALUES (1, 'a')")
    assert db.rows("SELECT remark FROM orders") == [("a",)]
    # The note waits for those who would do it.
    assert "42703" in db.one("SELECT payload -> 'fault' ->> 'error' FROM automate.job")
    db.close()
