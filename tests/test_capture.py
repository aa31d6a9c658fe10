"""Capture: which changes data triggers and rules see, on every kind of table."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from support.database import Database
from support.paths import ROOT
from test_events import done
from test_readme import statements
from test_rules import NOTE


def trigger(db: Database, name: str, table: str = "orders", operations: str = "{insert,update}", **more: Any) -> None:
    """Makes a data trigger."""
    more["options"] = json.dumps(more.pop("options", {}))
    names = "".join(f", {key} => %s" for key in more)
    db.execute(f"SELECT automate.create_trigger(%s, 'data', on_table => %s::regclass, operations => %s::text[]{names})",
               [name, table, operations, *more.values()])


def drop(db: Database, name: str) -> None:
    """Removes a data trigger."""
    db.execute("SELECT automate.drop_trigger(%s)", [name])


def seen(db: Database, what: str = "coalesce(payload -> 'new' ->> 'id', payload -> 'old' ->> 'id')") -> list[tuple[Any, ...]]:
    """The events since the last look: name, op, and something of the payload."""
    rows = db.rows(
        f"WITH gone AS (DELETE FROM automate.event RETURNING id, name, payload)"
        f" SELECT name, payload ->> 'op', {what} FROM gone ORDER BY 1, 2, 3")
    return rows


PART = "payload ->> 'table' || coalesce('/' || (payload ->> 'partition'), '')"


@pytest.fixture
def orders(db: Database) -> Iterator[Database]:
    db.execute("CREATE TABLE orders (id int PRIMARY KEY, status text, amount numeric, note text)")
    db.execute("CREATE TABLE noted (rule text, op text, id int, context jsonb)")
    yield db


# -- data triggers -------------------------------------------------------------------------------


def test_a_trigger_records_what_happened(orders: Database) -> None:
    db = orders
    trigger(db, "any", operations="{insert,update,delete}", event="order.changed")
    db.execute("INSERT INTO orders VALUES (1, 'new', 1.20000000000000000001)")
    db.execute("UPDATE orders SET status = 'paid', note = 'x'")
    db.execute("UPDATE orders SET status = 'paid'")
    db.execute("DELETE FROM orders")
    rows = db.rows("SELECT name, source, owner::text, trigger_id = t.id, payload, payload #>> '{new,amount}' FROM automate.event"
                   " JOIN (SELECT id, owner AS o FROM automate.trigger) AS t ON true ORDER BY event.id")
    assert [row[:4] for row in rows] == [("order.changed", "trigger:any", "postgres", True)] * 3
    inserted, updated, deleted = (row[4] for row in rows)
    assert rows[0][5] == "1.20000000000000000001"
    assert {key: inserted[key] for key in ("op", "schema", "table", "key", "old", "user", "depth")} == {
        "op": "insert", "schema": "public", "table": "orders", "key": {"id": 1}, "old": None, "user": "postgres", "depth": 0}
    assert "partition" not in inserted and "changed" not in inserted and inserted["txid"] > 0 and inserted["at"]
    assert updated["op"] == "update" and updated["changed"] == ["status", "note"]
    assert updated["old"]["status"] == "new" and updated["new"]["status"] == "paid"
    assert deleted["op"] == "delete" and deleted["new"] is None and deleted["old"]["note"] == "x"


def test_conditions_columns_and_operations(orders: Database) -> None:
    db = orders
    trigger(db, "paid", condition="new.status = 'paid'")
    trigger(db, "gone", operations="{delete}", condition="amount > 5")
    trigger(db, "moved", operations="{update}", columns=["status"])
    trigger(db, "off")
    db.execute("UPDATE automate.trigger SET status = 'disabled' WHERE name = 'off'")
    db.execute("INSERT INTO orders VALUES (1, 'paid', 9), (2, 'new', 1)")
    db.execute("UPDATE orders SET note = 'n'")
    db.execute("UPDATE orders SET status = 'paid'")
    db.execute("DELETE FROM orders")
    assert seen(db) == [("gone", "delete", "1"), ("moved", "update", "2"), ("paid", "insert", "1"),
                        ("paid", "update", "1"), ("paid", "update", "2")]


def test_rules_hear_triggers_and_not_themselves(orders: Database) -> None:
    db = orders
    trigger(db, "any", event="order.changed")
    db.execute("""SELECT automate.create_rule('follow', '[{"sql": "UPDATE orders SET note = coalesce(note, $$$$) || $$x$$"}]',
                  on_event => 'order.changed')""")
    db.execute("SELECT automate.create_rule('hear', %s, on_event => 'order.changed')", [NOTE])
    db.execute("INSERT INTO orders VALUES (1, 'a', 1)")
    done(db)
    assert db.rows("SELECT note FROM orders") == [("x",)]
    assert seen(db) == [("order.changed", "insert", "1"), ("order.changed", "update", "1")]
    assert db.rows("SELECT op FROM noted ORDER BY 1") == [("insert",), ("update",)]
    db.execute("BEGIN; INSERT INTO orders VALUES (2); ROLLBACK")
    assert seen(db) == []


def test_a_rule_that_stops_does_not_stop_triggers(orders: Database) -> None:
    db = orders
    db.execute("SELECT automate.create_rule('first', %s, on_table => 'orders', stop => true)", [NOTE])
    trigger(db, "any")
    db.execute("INSERT INTO orders VALUES (1)")
    assert seen(db) == [("any", "insert", "1")]


def test_many_triggers_are_found_by_value(orders: Database) -> None:
    db = orders
    for n in range(20):
        trigger(db, f"t{n:02}", condition=f"status = 's{n}'", options={"when": "enters"} if n % 2 else {})
    db.execute("INSERT INTO orders SELECT n, 's' || n FROM generate_series(0, 21) AS n")
    assert seen(db) == [(f"t{n:02}", "insert", str(n)) for n in range(20)]


@pytest.mark.parametrize(("form", "new", "old"), [
    ("full", {"id": 1, "status": "b", "amount": 1, "note": "n"}, {"id": 1, "status": "a", "amount": 1, "note": "n"}),
    ("changed", {"id": 1, "status": "b"}, {"id": 1, "status": "a"}),
    ("key", "none", "none"),
])
def test_what_of_the_rows_is_told(orders: Database, form: str, new: Any, old: Any) -> None:
    db = orders
    trigger(db, "any", options={"payload": form}, operations="{insert,update,delete}")
    db.execute("INSERT INTO orders VALUES (1, 'a', 1, 'n')")
    db.execute("UPDATE orders SET status = 'b'")
    inserted, updated = (row[0] for row in db.rows("SELECT payload FROM automate.event ORDER BY id"))
    assert (updated.get("new", "none"), updated.get("old", "none")) == (new, old)
    assert inserted["key"] == updated["key"] == {"id": 1} and updated["changed"] == ["status"]
    assert ("new" in inserted) == (form != "key")
    if form == "changed":  # all of it is new
        assert inserted["new"] == {"id": 1, "status": "a", "amount": 1, "note": "n"}


def test_rows_too_large_or_strange_come_as_their_keys(orders: Database) -> None:
    db = orders
    trigger(db, "any")
    db.execute("INSERT INTO orders VALUES (1, repeat('x', 2000000))")
    db.execute("CREATE TABLE raw (id int PRIMARY KEY, doc json)")
    trigger(db, "raw", "raw")
    db.execute(r"""INSERT INTO raw VALUES (1, '{"a": "\u0000"}'), (2, '{"a": 1}')""")
    assert seen(db, "payload -> 'new'") == [
        ("any", "insert", {"id": 1}), ("raw", "insert", {"id": 1}), ("raw", "insert", {"id": 2, "doc": {"a": 1}})]
    db.wait_until("SELECT errors = 1 AND last_error LIKE '22P05%' FROM automate.trigger WHERE name = 'raw'")


def test_a_failing_condition_disturbs_nobody(orders: Database) -> None:
    db = orders
    trigger(db, "fails", condition="1 / new.amount > 1")
    trigger(db, "works", condition="new.amount >= 0")
    db.execute("INSERT INTO orders VALUES (1, 'a', 0), (2, 'a', 0.5)")
    assert seen(db) == [("fails", "insert", "2"), ("works", "insert", "1"), ("works", "insert", "2")]
    db.wait_until("SELECT errors = 1 AND last_error LIKE '22012%' AND status = 'active' FROM automate.trigger WHERE name = 'fails'")
    db.execute("ALTER TABLE orders DROP COLUMN amount")
    db.execute("INSERT INTO orders VALUES (3, 'a')")
    db.wait_until("SELECT status = 'broken' AND last_error LIKE '42703%' FROM automate.trigger WHERE name = 'works'")
    assert seen(db) == []


def test_a_trigger_looks_with_its_owners_rights(orders: Database, role: Callable[..., str]) -> None:
    db = orders
    ann = role("ann")
    db.execute(f"GRANT SELECT, TRIGGER ON orders TO {ann}")
    trigger(db, "anns", condition="amount > 5")
    db.execute(f"UPDATE automate.trigger SET owner = '{ann}'::regrole")
    db.execute("INSERT INTO orders VALUES (1, 'a', 9)")
    assert db.rows("SELECT owner::text, payload ->> 'user' FROM automate.event") == [(ann, "postgres")]
    db.execute(f"REVOKE SELECT ON orders FROM {ann}")
    db.execute("INSERT INTO orders VALUES (2, 'a', 9)")
    db.wait_until("SELECT status = 'broken' AND last_error LIKE '42501%' FROM automate.trigger")
    assert len(seen(db)) == 1


def test_a_loop_through_a_trigger_ends(orders: Database) -> None:
    db = orders
    db.execute("CREATE TABLE other (id int, n int)")
    trigger(db, "one", event="one", operations="{update}")
    trigger(db, "two", "other", event="two", operations="{update}")
    db.execute("INSERT INTO orders VALUES (1, 'a', 0)")
    db.execute("INSERT INTO other VALUES (1, 0)")
    db.execute("""SELECT automate.create_rule('a', '[{"sql": "UPDATE other SET n = n + 1"}]', on_event => 'one')""")
    db.execute("""SELECT automate.create_rule('b', '[{"sql": "UPDATE orders SET amount = amount + 1"}]', on_event => 'two')""")
    db.execute("UPDATE orders SET amount = 1")
    done(db)
    assert db.one("SELECT count(*) FROM automate.event") == 16
    db.wait_until("SELECT sum(errors) = 1 FROM automate.trigger")


# -- rows that cross a condition -----------------------------------------------------------------


def test_rows_that_enter_and_leave(orders: Database) -> None:
    db = orders
    for when, operations in (("enters", "{insert,update}"), ("leaves", "{update,delete}")):
        trigger(db, when, operations=operations, condition="status = 'open' AND new.amount > 5", options={"when": when})
        # A condition that may fail goes another way.
        trigger(db, f"g_{when}", operations=operations, condition="left(status, 4) = 'open' AND amount > 5", options={"when": when})
        trigger(db, f"n_{when}", operations=operations, condition="amount IS NULL", options={"when": when})
    db.execute("INSERT INTO orders VALUES (1, 'open', 9), (2, 'open', 1), (3, NULL, 9), (4, 'open', NULL)")
    assert seen(db) == [("enters", "insert", "1"), ("g_enters", "insert", "1"), ("n_enters", "insert", "4")]
    db.execute("UPDATE orders SET amount = 10")  # 1 stays, 2 enters, 3 stays outside, 4 enters
    assert seen(db) == [("enters", "update", "2"), ("enters", "update", "4"), ("g_enters", "update", "2"), ("g_enters", "update", "4"),
                        ("n_leaves", "update", "4")]
    db.execute("UPDATE orders SET status = NULL WHERE id = 1")
    db.execute("UPDATE orders SET note = 'n'")
    db.execute("DELETE FROM orders")
    assert seen(db) == [("g_leaves", "delete", "2"), ("g_leaves", "delete", "4"), ("g_leaves", "update", "1"),
                        ("leaves", "delete", "2"), ("leaves", "delete", "4"), ("leaves", "update", "1")]


# -- whole statements ----------------------------------------------------------------------------


STATEMENT = {"level": "statement"}
ROWS = "payload -> 'rows'"


def test_a_statement_is_one_event(orders: Database) -> None:
    db = orders
    trigger(db, "any", operations="{insert,update,delete,truncate}", options=STATEMENT)
    db.execute("INSERT INTO orders SELECT n, 'a' FROM generate_series(1, 5) AS n")
    db.execute("UPDATE orders SET status = 'b' WHERE id < 3")
    db.execute("UPDATE orders SET status = 'b' WHERE false")
    db.execute("DELETE FROM orders WHERE id = 5")
    with db.admin.cursor().copy("COPY orders (id) FROM STDIN") as copy:
        copy.write_row((7,))
    db.execute("TRUNCATE orders")
    assert seen(db, ROWS) == [("any", "delete", 1), ("any", "insert", 1), ("any", "insert", 5),
                              ("any", "truncate", None), ("any", "update", 2)]
    db.execute("INSERT INTO orders VALUES (1), (2)")
    db.execute("INSERT INTO orders VALUES (2), (3), (4) ON CONFLICT (id) DO UPDATE SET status = 'c'")
    db.execute("INSERT INTO orders VALUES (2) ON CONFLICT DO NOTHING")
    db.execute("""MERGE INTO orders USING (VALUES (1), (9)) AS v(id) ON orders.id = v.id
                  WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (id) VALUES (v.id)""")
    assert seen(db, ROWS) == [("any", "delete", 1), ("any", "insert", 1), ("any", "insert", 2), ("any", "insert", 2),
                              ("any", "update", 1)]
    assert db.one("SELECT count(*) FROM pg_trigger WHERE tgname = 'pg_automate_capture'") == 0
    drop(db, "any")
    assert db.one("SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'pg_automate%'") == 0


def test_truncate_and_rows_in_one_trigger(orders: Database) -> None:
    db = orders
    trigger(db, "both", operations="{insert,truncate}")
    db.execute("INSERT INTO orders VALUES (1), (2)")
    db.execute("TRUNCATE orders")
    assert seen(db) == [("both", "insert", "1"), ("both", "insert", "2"), ("both", "truncate", None)]


def test_statements_on_partitions(db: Database) -> None:
    db.execute("CREATE TABLE part (id int, n int) PARTITION BY RANGE (id)")
    db.execute("CREATE TABLE low PARTITION OF part FOR VALUES FROM (0) TO (100)")
    db.execute("CREATE TABLE mid PARTITION OF part FOR VALUES FROM (100) TO (200) PARTITION BY RANGE (id)")
    db.execute("CREATE TABLE leaf PARTITION OF mid FOR VALUES FROM (100) TO (200)")
    trigger(db, "any", "part", "{insert,update,truncate}", options=STATEMENT)
    trigger(db, "mid", "mid", "{truncate}")
    db.execute("CREATE TABLE late PARTITION OF part FOR VALUES FROM (200) TO (300)")
    db.execute("CREATE TABLE new (n int, id int)")
    db.execute("ALTER TABLE part ATTACH PARTITION new FOR VALUES FROM (300) TO (400)")
    what = f"{PART} || ' ' || coalesce(payload ->> 'rows', '')"
    db.execute("INSERT INTO part VALUES (1), (101), (201), (301)")
    db.execute("UPDATE part SET id = 102 WHERE id = 1")
    assert seen(db, what) == [("any", "insert", "part 4"), ("any", "update", "part 1")]
    for table in ("low", "leaf", "late", "new"):
        db.execute(f"INSERT INTO {table} (id) SELECT c.n FROM (VALUES ('low', 1), ('leaf', 101), ('late', 201), ('new', 301)) AS c(t, n) WHERE t = '{table}'")
    assert seen(db, what) == [("any", "insert", f"part/{table} 1") for table in ("late", "leaf", "low", "new")]
    db.execute("TRUNCATE part")
    assert seen(db, PART) == [("any", "truncate", "part"), ("mid", "truncate", "part/mid")]
    db.execute("BEGIN; TRUNCATE part; TRUNCATE low; TRUNCATE mid; COMMIT")
    assert seen(db, PART) == [("any", "truncate", "part"), ("any", "truncate", "part/low"), ("any", "truncate", "part/mid"),
                              ("mid", "truncate", "part/mid"), ("mid", "truncate", "part/mid")]
    db.execute("ALTER TABLE part DETACH PARTITION new")
    db.execute("TRUNCATE new")
    assert seen(db, PART) == []
    assert db.one("SELECT count(*) FROM pg_trigger WHERE tgrelid = 'new'::regclass") == 0


# -- kinds of tables -----------------------------------------------------------------------------


def both(db: Database, table: str, operations: str = "{insert,update,delete}") -> None:
    """A rule and a trigger for every change."""
    db.execute("SELECT automate.create_rule('rule', %s, on_table => %s::regclass, operations => %s)", [NOTE, table, operations])
    trigger(db, "trigger", table, operations)


def both_saw(db: Database) -> list[tuple[str, str, str]]:
    """What the two saw, which must be the same: op, where, id."""
    done(db)
    what = "coalesce(payload -> 'new' ->> 'id', payload -> 'old' ->> 'id')"
    events = [(op, *rest.split(" ")) for _, op, rest in seen(db, f"{PART} || ' ' || {what}")]
    rules = db.rows(
        "WITH gone AS (DELETE FROM noted RETURNING op, context -> 'event' AS payload, id) SELECT op,"
        f" {PART}, id::text FROM gone ORDER BY 1, 2, 3")
    assert sorted(events) == rules
    return rules


@pytest.mark.parametrize("kind", ["", "UNLOGGED"])
def test_ordinary_tables(orders: Database, kind: str) -> None:
    db = orders
    db.execute("CREATE DOMAIN positive AS int CHECK (VALUE > 0)")
    db.execute(f"CREATE {kind} TABLE t (junk text, id positive PRIMARY KEY, n int, twice int GENERATED ALWAYS AS (n * 2) STORED)")
    db.execute("ALTER TABLE t DROP COLUMN junk")
    both(db, "t")
    trigger(db, "generated", "t", condition="twice > 10", options={"when": "enters"})
    with db.admin.cursor().copy("COPY t (id, n) FROM STDIN") as copy:
        copy.write_row((1, 1))
    db.execute("INSERT INTO t VALUES (1, 9), (2, 9) ON CONFLICT (id) DO UPDATE SET n = EXCLUDED.n")
    db.execute("INSERT INTO t VALUES (1, 7) ON CONFLICT DO NOTHING")
    db.execute("""MERGE INTO t USING (VALUES (1), (3)) AS v(id) ON t.id = v.id
                  WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (id) VALUES (v.id)""")
    assert db.rows("SELECT payload ->> 'op', payload -> 'new' ->> 'twice', payload -> 'changed' FROM automate.event"
                   " WHERE name = 'generated' ORDER BY 1") == [("insert", "18", None), ("update", "18", ["n", "twice"])]
    db.execute("DELETE FROM automate.event WHERE name = 'generated'")
    assert both_saw(db) == [("delete", "t", "1"), ("insert", "t", "1"), ("insert", "t", "2"), ("insert", "t", "3"), ("update", "t", "1")]


def test_partitioned_tables(orders: Database) -> None:
    db = orders
    db.execute("CREATE TABLE part (id int, n int, PRIMARY KEY (id)) PARTITION BY RANGE (id)")
    db.execute("CREATE TABLE low PARTITION OF part FOR VALUES FROM (0) TO (100)")
    db.execute("CREATE TABLE high (junk text, n int, id int NOT NULL)")
    db.execute("ALTER TABLE high DROP COLUMN junk")
    both(db, "part")
    # One that has rules of its own keeps them in the company.
    trigger(db, "own", "high", "{insert}")
    db.execute("ALTER TABLE part ATTACH PARTITION high FOR VALUES FROM (100) TO (200)")
    db.execute("CREATE TABLE late PARTITION OF part FOR VALUES FROM (200) TO (300)")
    db.execute("INSERT INTO part VALUES (1), (101), (201)")
    db.execute("INSERT INTO high (id) VALUES (102)")
    db.execute("UPDATE part SET id = 103 WHERE id = 1")
    assert db.rows("DELETE FROM automate.event WHERE name = 'own' RETURNING payload ->> 'partition', payload -> 'new' ->> 'id'") == [
        ("high", "101"), ("high", "102"), ("high", "103")]
    assert both_saw(db) == [("delete", "part/low", "1"), ("insert", "part/high", "101"), ("insert", "part/high", "102"),
                            ("insert", "part/high", "103"), ("insert", "part/late", "201"), ("insert", "part/low", "1")]
    db.execute("ALTER TABLE part DETACH PARTITION late")
    db.execute("ALTER TABLE part DETACH PARTITION high")
    db.execute("INSERT INTO late VALUES (202)")
    db.execute("INSERT INTO high (id) VALUES (109)")
    assert seen(db, PART) == [("own", "insert", "high")]
    assert db.one("SELECT count(*) FROM pg_trigger WHERE tgrelid = 'late'::regclass") == 0


def test_inheritance(orders: Database, role: Callable[..., str]) -> None:
    db = orders
    db.execute("CREATE TABLE base (id int PRIMARY KEY, n int)")
    db.execute("CREATE TABLE child (secret text) INHERITS (base)")
    db.execute("CREATE TABLE other (secret text, n int, id int NOT NULL)")
    both(db, "base")
    trigger(db, "crossed", "base", condition="n > 5", options={"when": "enters", "payload": "changed"})
    trigger(db, "own", "child", "{insert}")
    db.execute("CREATE TABLE grandchild () INHERITS (child)")
    db.execute("ALTER TABLE other INHERIT base")
    db.execute("INSERT INTO child VALUES (1, 0, 'x')")
    db.execute("INSERT INTO grandchild VALUES (2, 0, 'x')")
    db.execute("INSERT INTO other VALUES ('x', 0, 3)")
    db.execute("INSERT INTO base VALUES (4, 0)")
    db.execute("UPDATE base SET n = 9")
    db.execute("UPDATE child SET secret = 'y'")  # nothing that the table above has
    db.execute("DELETE FROM child")
    own = db.rows("DELETE FROM automate.event WHERE name = 'own' RETURNING payload ->> 'table', payload ->> 'partition', payload -> 'new'")
    assert own == [("child", None, {"id": 1, "n": 0, "secret": "x"}), ("child", "grandchild", {"id": 2, "n": 0, "secret": "x"})]
    crossed = db.rows("DELETE FROM automate.event WHERE name = 'crossed' RETURNING payload -> 'new' ->> 'n', payload -> 'new' ? 'secret'")
    assert crossed == [("9", False)] * 4
    # Nobody sees columns that the table of its rule does not have.
    assert db.one("SELECT count(*) FROM automate.event WHERE payload -> 'new' ? 'secret'") == 0
    assert both_saw(db) == [
        ("delete", "base/child", "1"), ("delete", "base/grandchild", "2"),
        ("insert", "base", "4"), ("insert", "base/child", "1"), ("insert", "base/grandchild", "2"), ("insert", "base/other", "3"),
        ("update", "base", "4"), ("update", "base/child", "1"), ("update", "base/grandchild", "2"), ("update", "base/other", "3")]
    db.execute("ALTER TABLE other NO INHERIT base")
    db.execute("INSERT INTO other VALUES ('x', 0, 5)")
    assert both_saw(db) == []
    assert db.one("SELECT count(*) FROM pg_trigger WHERE tgrelid = 'other'::regclass") == 0


def test_inheritance_and_whole_statements(db: Database) -> None:
    db.execute("CREATE TABLE base (id int, n int)")
    db.execute("CREATE TABLE child () INHERITS (base)")
    trigger(db, "any", "base", "{insert,update,truncate}", options=STATEMENT)
    db.execute("INSERT INTO child VALUES (1), (2)")
    db.execute("INSERT INTO base VALUES (3)")
    db.execute("UPDATE base SET n = 1")
    what = f"{PART} || ' ' || coalesce(payload ->> 'rows', '')"
    assert seen(db, what) == [("any", "insert", "base 1"), ("any", "insert", "base/child 2"), ("any", "update", "base 3")]
    db.execute("TRUNCATE base")
    db.execute("TRUNCATE child")
    db.execute("BEGIN; TRUNCATE ONLY base; TRUNCATE child; COMMIT")
    assert seen(db, PART) == [("any", "truncate", "base"), ("any", "truncate", "base"),
                              ("any", "truncate", "base/child"), ("any", "truncate", "base/child")]


def test_views_with_instead_of(orders: Database) -> None:
    db = orders
    db.execute("""
        CREATE TABLE t (id int, n int);
        CREATE VIEW v AS SELECT id, n FROM t;
        CREATE FUNCTION do_it() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
            IF tg_op = 'INSERT' THEN
                IF new.n < 0 THEN RETURN NULL; END IF;
                new.n := new.n + 1; INSERT INTO t VALUES (new.id, new.n); RETURN new;
            ELSIF tg_op = 'UPDATE' THEN UPDATE t SET n = new.n WHERE id = old.id; RETURN new;
            END IF;
            DELETE FROM t WHERE id = old.id; RETURN old;
        END$$;
        CREATE TRIGGER zz_does_it INSTEAD OF INSERT OR UPDATE OR DELETE ON v FOR EACH ROW EXECUTE FUNCTION do_it();
    """)
    both(db, "v")
    assert db.rows("INSERT INTO v VALUES (1, 1), (2, -1) RETURNING id, n") == [(1, 2)]
    assert db.execute("UPDATE v SET n = 7").rowcount == 1
    db.execute("UPDATE v SET n = 7")
    db.execute("INSERT INTO v SELECT 3, 3")
    assert db.execute("DELETE FROM v WHERE id = 1").rowcount == 1
    assert db.rows("SELECT * FROM t") == [(3, 4)]
    assert db.rows("SELECT payload -> 'new' ->> 'n', payload -> 'old' ->> 'n' FROM automate.event ORDER BY id") == [
        ("2", None), ("7", "2"), ("4", None), (None, "7")]
    assert both_saw(db) == [("delete", "v", "1"), ("insert", "v", "1"), ("insert", "v", "3"), ("update", "v", "1")]
    # Without the trigger that does the work ours goes, and the view is simple again.
    db.execute("DROP TRIGGER zz_does_it ON v")
    db.execute("INSERT INTO v VALUES (5, 5)")
    assert db.rows("SELECT * FROM t WHERE id = 5") == [(5, 5)] and both_saw(db) == []
    lost = "SELECT status, last_error FROM automate.rule UNION ALL SELECT status, last_error FROM automate.trigger"
    assert db.rows(lost) == [("broken", "its INSTEAD OF trigger for insert, delete, update was dropped")] * 2
    for noun in ("rule", "trigger"):
        with pytest.raises(psycopg.errors.WrongObjectType):
            db.execute(f"SELECT automate.enable_{noun}('{noun}')")
    db.execute("CREATE TRIGGER does_it INSTEAD OF INSERT OR UPDATE OR DELETE ON v FOR EACH ROW EXECUTE FUNCTION do_it()")
    for noun in ("rule", "trigger"):
        db.execute(f"SELECT automate.enable_{noun}('{noun}')")
    db.execute("INSERT INTO v VALUES (6, 6)")
    assert both_saw(db) == [("insert", "v", "6")]


def test_foreign_tables(orders: Database) -> None:
    db = orders
    db.execute(f"""
        CREATE EXTENSION postgres_fdw;
        CREATE SERVER there FOREIGN DATA WRAPPER postgres_fdw
            OPTIONS (host '{db.cluster.socket}', port '{db.cluster.port}', dbname '{db.name}');
        CREATE USER MAPPING FOR postgres SERVER there OPTIONS (user 'postgres');
        CREATE TABLE t (id int PRIMARY KEY, n int);
        CREATE FOREIGN TABLE f (id int, n int) SERVER there OPTIONS (table_name 't');
    """)
    both(db, "f")
    trigger(db, "whole", "f", "{insert}", options=STATEMENT)
    db.execute("INSERT INTO f VALUES (1, 1), (2, 2)")
    db.execute("UPDATE f SET n = 9 WHERE id = 1")
    db.execute("DELETE FROM f WHERE id = 2")
    db.execute("INSERT INTO t VALUES (3, 3)")  # behind the back of the foreign table
    assert db.rows("WITH gone AS (DELETE FROM automate.event WHERE name = 'whole' RETURNING payload) SELECT payload ->> 'op', payload -> 'rows' FROM gone ORDER BY 1") == [("insert", None)]
    assert both_saw(db) == [("delete", "f", "2"), ("insert", "f", "1"), ("insert", "f", "2"), ("update", "f", "1")]


# -- what is applied from elsewhere --------------------------------------------------------------


def test_replica_role_is_silent_unless_asked(orders: Database) -> None:
    db = orders
    both(db, "orders")
    trigger(db, "applied", options={"fire_on_replica": True})
    trigger(db, "whole", operations="{insert}", options={"level": "statement", "fire_on_replica": True})
    other = db.connect()
    other.execute("SET session_replication_role = replica")
    other.execute("INSERT INTO orders VALUES (1)")
    assert seen(db) == [("applied", "insert", "1"), ("whole", "insert", None)]
    other.execute("RESET session_replication_role")
    other.execute("INSERT INTO orders VALUES (2)")
    assert seen(db) == [("applied", "insert", "2"), ("trigger", "insert", "2"), ("whole", "insert", None)]
    done(db)
    assert db.rows("SELECT id FROM noted") == [(2,)]
    # pg_restore --disable-triggers, and back.
    db.execute("ALTER TABLE orders DISABLE TRIGGER ALL")
    db.execute("INSERT INTO orders VALUES (3)")
    assert seen(db) == []
    db.execute("ALTER TABLE orders ENABLE TRIGGER ALL")
    other.execute("SET session_replication_role = replica")
    other.execute("INSERT INTO orders VALUES (4)")
    assert seen(db) == [("applied", "insert", "4"), ("whole", "insert", None)]
    drop(db, "applied")
    drop(db, "whole")
    assert db.rows("SELECT tgname, tgenabled::text FROM pg_trigger WHERE tgrelid = 'orders'::regclass") == [("pg_automate_capture", "O")]


def test_partitions_fire_on_a_replica_as_asked(db: Database) -> None:
    db.execute("CREATE TABLE part (id int) PARTITION BY RANGE (id)")
    for n in (0, 1):
        db.execute(f"CREATE TABLE p{n} PARTITION OF part FOR VALUES FROM ({n}) TO ({n + 1})")
    trigger(db, "all", "part", "{insert}")
    trigger(db, "one", "p1", "{insert}", options={"fire_on_replica": True})
    db.execute("SET session_replication_role = replica")
    db.execute("INSERT INTO part VALUES (0), (1)")
    db.execute("RESET session_replication_role")
    assert seen(db) == [("one", "insert", "1")]
    db.execute("INSERT INTO part VALUES (0), (1)")
    assert seen(db) == [("all", "insert", "0"), ("all", "insert", "1"), ("one", "insert", "1")]


def test_logical_replication(new_cluster: Callable[..., Any]) -> None:
    cluster = new_cluster(settings={"wal_level": "logical"})
    for name in ("here", "there"):
        cluster.query(f"CREATE DATABASE {name}")
    here, there = Database(cluster, "here"), Database(cluster, "there")
    try:
        for side in (here, there):
            side.execute("CREATE TABLE orders (id int PRIMARY KEY, status text, amount numeric, note text)")
        here.execute("CREATE PUBLICATION orders FOR TABLE orders")
        here.execute("SELECT pg_create_logical_replication_slot('orders', 'pgoutput')")
        there.execute("CREATE EXTENSION pg_automate")
        trigger(there, "applied", options={"fire_on_replica": True, "when": "enters"}, condition="amount > 5")
        trigger(there, "silent")
        there.execute(f"CREATE SUBSCRIPTION orders CONNECTION 'host={cluster.socket} port={cluster.port} user=postgres dbname=here'"
                      " PUBLICATION orders WITH (create_slot = false, copy_data = false)")
        here.execute("INSERT INTO orders VALUES (1, 'a', 1), (2, 'a', 9)")
        here.execute("UPDATE orders SET amount = 10")
        there.wait_until("SELECT count(*) = 2 FROM orders WHERE amount = 10", deadline=60)
        # Of an update PostgreSQL publishes no old row but its key: an unknown old amount is not above 5.
        assert ("applied", "insert", "2") in seen(there)
        there.execute("ALTER SUBSCRIPTION orders DISABLE")
        there.execute("ALTER SUBSCRIPTION orders SET (slot_name = NONE)")
        there.execute("DROP SUBSCRIPTION orders")
    finally:
        here.close()
        there.close()


# -- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("setup", "hint"), [
    ("CREATE VIEW x AS SELECT * FROM orders", "INSTEAD OF"),
    ("CREATE MATERIALIZED VIEW x AS SELECT * FROM orders", "REFRESH"),
    ("CREATE TEMP TABLE x (id int)", "temporary"),
    ("CREATE SEQUENCE x", "tables"),
])
def test_what_cannot_be_captured_is_refused(orders: Database, setup: str, hint: str) -> None:
    orders.execute(setup)
    with pytest.raises(psycopg.errors.WrongObjectType) as refused:
        orders.execute("SELECT automate.create_rule('r', %s, on_table => 'x')", [NOTE])
    diagnosis = refused.value.diag
    assert hint in (diagnosis.message_hint or "") and diagnosis.message_detail
    assert "cannot be captured" in (diagnosis.message_primary or "")


def test_a_rule_on_truncate_is_told_the_way(orders: Database) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue) as refused:
        orders.execute("SELECT automate.create_rule('r', %s, on_table => 'orders', operations => '{truncate}')", [NOTE])
    assert "on_trigger" in (refused.value.diag.message_hint or "")


def test_a_view_is_captured_for_what_its_trigger_does(orders: Database) -> None:
    db = orders
    db.execute("""
        CREATE VIEW v AS SELECT * FROM orders;
        CREATE FUNCTION do_it() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
        CREATE TRIGGER does_it INSTEAD OF INSERT ON v FOR EACH ROW EXECUTE FUNCTION do_it();
        SELECT automate.create_rule('r', '[{"emit": "x"}]', on_table => 'v', operations => '{insert}');
    """)
    with pytest.raises(psycopg.errors.WrongObjectType) as refused:
        db.execute("SELECT automate.create_rule('s', %s, on_table => 'v', operations => '{insert,update}')", [NOTE])
    assert "update" in (refused.value.diag.message_hint or "")
    db.execute("UPDATE v SET note = 'x'")  # PostgreSQL does this one by itself, still


@pytest.mark.parametrize(("arguments", "state", "hint"), [
    ("condition => 'old.amount > 1', options => '{\"when\": \"enters\"}'", "42P01", "new.column"),
    ("condition => 'amount > 1', operations => '{insert,update}', options => '{\"when\": \"leaves\"}'", "22023", "{update,delete}"),
    ("condition => 'amount > 1', operations => '{truncate}'", "22023", "truncate"),
    ("condition => 'amount > 1', options => '{\"level\": \"statement\"}'", "22023", "level"),
    ("options => '{\"when\": \"enters\"}'", "22023", "condition"),
])
def test_what_a_trigger_cannot_see_is_refused(orders: Database, arguments: str, state: str, hint: str) -> None:
    with pytest.raises(psycopg.Error) as refused:
        orders.execute(f"SELECT automate.create_trigger('t', 'data', on_table => 'orders', {arguments})")
    diagnosis = refused.value.diag
    assert diagnosis.sqlstate == state and diagnosis.message_detail
    assert hint in (diagnosis.message_hint or "")


# -- commands ------------------------------------------------------------------------------------


def test_commands_go_on_when_ours_cannot_follow(orders: Database) -> None:
    db = orders
    db.execute("CREATE TABLE base (id int)")
    trigger(db, "any", "base", "{insert}")
    db.execute("CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'no triggers here'; END$$")
    db.execute("CREATE EVENT TRIGGER refuse ON ddl_command_start WHEN TAG IN ('CREATE TRIGGER') EXECUTE FUNCTION refuse()")
    notices: list[str] = []
    db.admin.add_notice_handler(lambda notice: notices.append(f"{notice.severity} {notice.message_primary}"))
    db.execute("CREATE TABLE child () INHERITS (base)")
    assert len(notices) == 1 and notices[0].startswith("WARNING") and "no triggers here" in notices[0]
    db.execute("INSERT INTO child VALUES (1)")
    db.execute("DROP EVENT TRIGGER refuse")
    assert seen(db) == []


def test_others_may_make_tables(orders: Database, role: Callable[..., str]) -> None:
    db = orders
    ann = role("ann")
    db.execute("CREATE TABLE base (id int, n int)")
    db.execute(f"ALTER TABLE base OWNER TO {ann}")
    trigger(db, "any", "base", "{insert,truncate}")
    session = db.connect(ann)
    session.execute("CREATE TABLE child () INHERITS (base)")
    session.execute("INSERT INTO child VALUES (1)")
    session.execute("TRUNCATE base")
    session.execute("CREATE TEMP TABLE quick AS SELECT 1 AS id")
    assert seen(db, PART) == [("any", "insert", "base/child"), ("any", "truncate", "base")]


def test_drop_extension_takes_everything_along(orders: Database) -> None:
    db = orders
    db.execute("CREATE TABLE base (id int)")
    db.execute("CREATE TABLE child () INHERITS (base)")
    trigger(db, "any", "base", "{insert,truncate}")
    trigger(db, "whole", "base", "{insert}", options=STATEMENT)
    db.execute("DROP EXTENSION pg_automate")
    assert db.one("SELECT count(*) FROM pg_trigger WHERE tgname ~ 'pg_automate'") == 0
    assert db.one("SELECT count(*) FROM pg_event_trigger") == 0
    db.execute("CREATE TABLE late () INHERITS (base)")
    db.execute("INSERT INTO child VALUES (1)")


def test_a_restored_copy_captures_all_the_same(orders: Database, bare_db_2: Database) -> None:
    db = orders
    db.execute("""
        CREATE TABLE base (id int);
        CREATE TABLE child () INHERITS (base);
        CREATE TABLE part (id int PRIMARY KEY) PARTITION BY RANGE (id);
        CREATE TABLE p0 PARTITION OF part FOR VALUES FROM (0) TO (10);
        CREATE VIEW v AS SELECT * FROM base;
        CREATE FUNCTION do_it() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO base VALUES (new.id); RETURN new; END';
        CREATE TRIGGER does_it INSTEAD OF INSERT ON v FOR EACH ROW EXECUTE FUNCTION do_it();
    """)
    for table in ("base", "part", "v"):
        trigger(db, f"row_{table}", table, "{insert}", options={} if table == "v" else {"fire_on_replica": True})
    for table in ("base", "part"):
        trigger(db, f"all_{table}", table, "{insert,truncate}", options=STATEMENT)
    where = ["--host", db.cluster.socket, "--port", db.cluster.port, "--username", "postgres"]
    file = db.cluster.base / "data" / "capture.dump"
    db.cluster.run("pg_dump", *where, "--format=custom", "--file", file, db.name)
    db.cluster.run("pg_restore", *where, "--exit-on-error", "--dbname", bare_db_2.name, file)
    for side in (db, bare_db_2):
        side.execute("INSERT INTO v VALUES (1)")
        side.execute("INSERT INTO child VALUES (2)")
        side.execute("INSERT INTO part VALUES (3)")
        side.execute("TRUNCATE part")
        side.execute("CREATE TABLE late () INHERITS (base)")
        side.execute("INSERT INTO late VALUES (4)")
    found = seen(bare_db_2, PART)
    assert found == seen(db, PART) and len(found) == 10
    triggers = "SELECT tgrelid::regclass::text, tgtype, tgenabled::text FROM pg_trigger WHERE tgname ~ 'pg_automate' ORDER BY 1, 2"
    assert bare_db_2.rows(triggers) == db.rows(triggers)


def test_a_bulk_load_may_skip_triggers(orders: Database, role: Callable[..., str]) -> None:
    db = orders
    ann = role("ann")
    trigger(db, "any", operations="{insert,truncate}")
    db.execute("BEGIN; SET LOCAL automate.skip_rules = on; INSERT INTO orders VALUES (1); TRUNCATE orders; COMMIT")
    assert seen(db) == []
    db.execute(f"GRANT INSERT, TRUNCATE ON orders TO {ann}")
    session = db.connect(ann)
    session.execute("SET automate.skip_rules = on")
    for statement in ("INSERT INTO orders VALUES (1)", "TRUNCATE orders"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute(statement)


# -- docs/capture.md -----------------------------------------------------------------------------


def test_the_examples_of_the_document_run(db: Database, role: Callable[..., str]) -> None:
    text = (ROOT / "docs" / "capture.md").read_text()
    examples = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    assert len(examples) == 3
    session = db.connect(role("reader"))
    for example in examples:
        shown = [[cell.strip() for cell in line[2:].split("|")] for line in example.splitlines() if line.startswith("-- ")]
        rows: list[Any] = []
        for statement in statements(example):
            cursor = session.execute(statement)  # type: ignore[arg-type]
            rows = cursor.fetchall() if cursor.description else []
        told = [["" if cell is None else cell if isinstance(cell, str) else json.dumps(cell) for cell in row] for row in rows]
        assert told == shown
