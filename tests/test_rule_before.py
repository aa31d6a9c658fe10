"""Rules before the write: they set columns and refuse rows, in order, and disturb nobody else."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from support.database import Database
from test_events import done, member


@pytest.fixture
def items(db: Database) -> Database:
    db.execute("""CREATE DOMAIN positive AS numeric(10, 2) CHECK (VALUE > 0);
                  CREATE TABLE items (id int PRIMARY KEY, code varchar(5), price positive, kind text DEFAULT 'x',
                                      doubled numeric GENERATED ALWAYS AS (price * 2) STORED)""")
    return db


def before(db: Database, name: str, actions: list[Any], condition: str | None = None, **more: Any) -> None:
    more = {"on_table": "items", "condition": condition, "timing": "before", **more}
    names = ", ".join(f"{key} => %s" for key in more)
    db.execute(f"SELECT automate.create_rule(%s, %s, {names})", [name, json.dumps(actions), *more.values()])


def refused(db: Database, sql: str) -> psycopg.Error:
    with pytest.raises(psycopg.Error) as raised:
        db.execute(sql)
    return raised.value


def test_rules_set_in_order_and_see_what_was_set(items: Database) -> None:
    db = items
    before(db, "b", [{"set": {"code": "upper(new.kind)", "kind": "new.kind || '!'"}}, {"set": {"code": "code || '+'"}}],
           priority=50)
    before(db, "a", [{"set": {"price": "new.price + 1"}}], "new.kind LIKE '%!'")
    before(db, "n", [{"set": {"kind": "NULL"}}], "new.id = 3")
    db.execute("INSERT INTO items (id, price) VALUES (1, 5), (3, 1)")
    assert db.rows("SELECT id, code, price, kind, doubled FROM items ORDER BY id") == [
        (1, "X+", 6, "x!", 12), (3, "X+", 2, None, 4)]
    db.execute("UPDATE items SET price = 9 WHERE id = 1")
    assert db.rows("SELECT code, price, kind FROM items WHERE id = 1") == [("X!+", 10, "x!!")]
    # COPY, ON CONFLICT and MERGE are writes like others.
    with db.admin.cursor().copy("COPY items (id, price) FROM STDIN") as copy:
        copy.write_row((4, 1))
    db.execute("INSERT INTO items (id, price) VALUES (4, 7) ON CONFLICT (id) DO UPDATE SET price = EXCLUDED.price")
    assert db.one("SELECT price FROM items WHERE id = 4") == 9


def test_values_are_assigned_as_postgresql_assigns(items: Database) -> None:
    db = items
    before(db, "round", [{"set": {"price": "10.0 / 3"}}], "new.kind = 'round'")
    before(db, "cast", [{"set": {"kind": "new.id"}}], "new.kind = 'cast'")
    db.execute("INSERT INTO items VALUES (1, 'a', 1, 'round'), (2, 'a', 1, 'cast')")
    assert db.rows("SELECT price, kind FROM items ORDER BY id")[0][0].as_tuple().exponent == -2
    assert db.one("SELECT kind FROM items WHERE id = 2") == "2"
    # A value that does not fit is the rule's fault: it is passed over and told, the row is as it was.
    before(db, "long", [{"set": {"kind": "'changed'"}}, {"set": {"code": "new.kind || new.kind"}}], "new.kind = 'long'")
    before(db, "negative", [{"set": {"price": "-new.price"}}], "new.kind = 'negative'")
    db.execute("INSERT INTO items VALUES (3, 'a', 1, 'long'), (4, 'a', 1, 'negative')")
    assert db.rows("SELECT code, price, kind FROM items WHERE id > 2 ORDER BY id") == [("a", 1, "long"), ("a", 1, "negative")]
    db.wait_until("SELECT last_error LIKE '22001:%%' FROM automate.rule WHERE name = 'long'")
    db.wait_until("SELECT last_error LIKE '23514:%%' FROM automate.rule WHERE name = 'negative'")
    assert db.one("SELECT count(*) FROM automate.rule WHERE status = 'active'") == 4


def test_an_error_fails_the_write_where_that_is_wanted(items: Database) -> None:
    db = items
    before(db, "strict", [{"set": {"price": "price / (id - 1)"}}], on_error="fail")
    error = refused(db, "INSERT INTO items VALUES (1, 'a', 1)")
    assert error.sqlstate == "22012" and 'rule "strict"' in str(error) and error.diag.message_hint
    db.execute("INSERT INTO items VALUES (3, 'a', 1)")
    assert db.one("SELECT price FROM items") == 0.5


def test_a_rejection_is_the_writers_error(items: Database) -> None:
    db = items
    before(db, "plain", [{"reject": "no such kind"}], "new.kind = 'none'")
    before(db, "full", [{
        "reject": '${ "item \\(.new.id) is too dear" }', "sqlstate": "AB123", "hint": "Ask.", "detail": "${ .event.op }"}],
        "new.price > 100")
    before(db, "kept", [{"reject": "it stays"}], "old.kind = 'keep'", operations=["delete"])
    error = refused(db, "INSERT INTO items VALUES (1, 'a', 1, 'none')")
    assert error.sqlstate == "P0001" and error.diag.message_primary == "no such kind"
    assert 'Rule "plain"' in (error.diag.message_detail or "") and error.diag.table_name == "items"
    error = refused(db, "INSERT INTO items VALUES (7, 'a', 101, 'x')")
    assert (error.sqlstate, error.diag.message_primary, error.diag.message_detail, error.diag.message_hint) == (
        "AB123", "item 7 is too dear", "insert", "Ask.")
    db.execute("INSERT INTO items VALUES (1, 'a', 1, 'keep'), (2, 'a', 1, 'x')")
    assert "it stays" in str(refused(db, "DELETE FROM items"))
    db.execute("DELETE FROM items WHERE id = 2")
    assert db.one("SELECT count(*) FROM items") == 1
    # A transaction goes on after it as after any error in a savepoint; PL/pgSQL catches it by its code.
    db.execute("""DO $$ BEGIN INSERT INTO items VALUES (9, 'a', 500);
                  EXCEPTION WHEN SQLSTATE 'AB123' THEN INSERT INTO items VALUES (9, 'a', 5); END $$""")
    assert db.one("SELECT price FROM items WHERE id = 9") == 5


def test_a_message_that_cannot_be_made_does_not_save_the_row(items: Database) -> None:
    db = items
    before(db, "bad", [{"reject": "${ .new.id | keys }"}])
    error = refused(db, "INSERT INTO items VALUES (1, 'a', 1)")
    assert 'rule "bad" refuses the row' in str(error) and "could not be made" in (error.diag.message_detail or "")


def test_stop_time_columns_and_skipping_hold(items: Database) -> None:
    db = items
    before(db, "a", [{"set": {"code": "'a'"}}], "new.kind = 'stop'", priority=1, stop=True)
    before(db, "b", [{"set": {"kind": "'b'"}}], operations=["insert", "update"], columns=["price"])
    before(db, "later", [{"set": {"kind": "'later'"}}], valid_from="2900-01-01")
    before(db, "off", [{"set": {"kind": "'off'"}}], enabled=False)
    db.execute("INSERT INTO items VALUES (1, 'x', 1, 'stop'), (2, 'x', 1, 'go')")
    assert db.rows("SELECT code, kind FROM items ORDER BY id") == [("a", "stop"), ("x", "b")]
    db.execute("UPDATE items SET kind = 'go' WHERE id = 2")
    assert db.one("SELECT kind FROM items WHERE id = 2") == "go"
    db.execute("UPDATE items SET price = 3 WHERE id = 2")
    assert db.one("SELECT kind FROM items WHERE id = 2") == "b"
    with db.admin.transaction():
        db.execute("SET LOCAL automate.skip_rules = on")
        db.execute("INSERT INTO items VALUES (3, 'x', 1, 'raw')")
    assert db.one("SELECT kind FROM items WHERE id = 3") == "raw"


def test_an_update_that_changes_nothing_is_none(db: Database) -> None:
    db.execute("CREATE TABLE items (id int, n int, note text); INSERT INTO items VALUES (1, 1, 'a'), (2, 1, NULL)")
    before(db, "count", [{"set": {"n": "n + 1"}}], operations=["update"])
    db.execute("UPDATE items SET note = 'a'")
    assert db.rows("SELECT id, n FROM items ORDER BY id") == [(1, 1), (2, 2)]


def test_they_judge_the_row_that_the_tables_triggers_made(items: Database) -> None:
    db = items
    db.execute("""CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS
                  $$ BEGIN new.kind := 'filled'; RETURN new; END $$;
                  CREATE TRIGGER zoo BEFORE INSERT ON items FOR EACH ROW EXECUTE FUNCTION fill()""")
    before(db, "see", [{"set": {"code": "'seen'"}}], "new.kind = 'filled'")
    db.execute("INSERT INTO items VALUES (1, 'x', 1, 'raw')")
    assert db.one("SELECT code FROM items") == "seen"


def test_rules_after_the_write_see_what_was_set(items: Database) -> None:
    db = items
    db.execute("CREATE TABLE noted (kind text)")
    before(db, "set", [{"set": {"kind": "'set'"}}])
    db.execute("""SELECT automate.create_rule('after', '[{"sql": "INSERT INTO noted VALUES ($1)", "params": ["${ .new.kind }"]}]',
                  on_table => 'items', condition => $$ new.kind = 'set' $$)""")
    db.execute("INSERT INTO items VALUES (1, 'x', 1, 'raw')")
    done(db)
    assert db.one("SELECT kind FROM noted") == "set"
    triggers = "SELECT tgname FROM pg_trigger WHERE tgrelid = 'items'::regclass ORDER BY 1"
    assert db.rows(triggers) == [("pg_automate_capture",), ("zz_pg_automate_decide",)]
    db.execute("SELECT automate.drop_rule('after')")
    assert db.rows(triggers) == [("zz_pg_automate_decide",)]
    db.execute("SELECT automate.drop_rule('set')")
    assert db.rows(triggers) == []


def test_many_rules_each_with_its_rows(items: Database) -> None:
    db = items
    for n in range(30):
        before(db, f"r{n:02}", [{"set": {"code": f"'c{n}'"}}], f"new.kind = 'k{n}'" + (" AND abs(id) >= 0" if n % 3 else ""))
    db.execute("INSERT INTO items SELECT n, 'x', 1, 'k' || n FROM generate_series(0, 34) AS n")
    assert db.rows("SELECT id, code FROM items ORDER BY id") == [(n, f"c{n}" if n < 30 else "x") for n in range(35)]


def test_partitions(db: Database) -> None:
    db.execute("""CREATE TABLE part (id int, region text, amount int) PARTITION BY LIST (region);
                  CREATE TABLE eu (amount int, junk int, region text, id int);
                  ALTER TABLE eu DROP COLUMN junk;
                  ALTER TABLE part ATTACH PARTITION eu FOR VALUES IN ('eu')""")
    before(db, "root", [{"set": {"amount": "amount * 2"}}], on_table="part")
    db.execute("CREATE TABLE us PARTITION OF part FOR VALUES IN ('us')")
    before(db, "leaf", [{"set": {"amount": "amount + 1"}}], on_table="eu")
    db.execute("INSERT INTO part VALUES (1, 'eu', 5), (2, 'us', 5)")
    db.execute("INSERT INTO eu (id, region, amount) VALUES (3, 'eu', 7)")
    assert db.rows("SELECT id, amount FROM part ORDER BY id") == [(1, 12), (2, 10), (3, 16)]
    db.execute("UPDATE part SET region = 'us' WHERE id = 1")  # the row moves: an update, then an insert there
    assert db.rows("SELECT tableoid::regclass::text, amount FROM part WHERE id = 1") == [("us", 52)]
    for table in ("part", "eu"):
        with pytest.raises(psycopg.errors.FeatureNotSupported) as raised:
            before(db, "move", [{"set": {"region": "'us'"}}], on_table=table)
        assert "partition" in str(raised.value) and raised.value.diag.message_hint
    db.execute("SELECT automate.drop_rule('root')")
    db.execute("INSERT INTO part VALUES (5, 'eu', 1), (6, 'us', 1)")
    assert db.rows("SELECT id, amount FROM part WHERE id > 4 ORDER BY id") == [(5, 2), (6, 1)]


@pytest.mark.parametrize(("actions", "more", "state", "text"), [
    ([{"set": {"cods": "1"}}], {}, "42703", "code"),
    ([{"set": {"doubled": "1"}}], {}, "428C9", "made of"),
    ([{"set": {"code": "new.doubled::text"}}], {}, "42P17", "generated"),
    ([{"set": {"code": "'x'"}}], {"condition": "new.doubled > 1"}, "42P17", "generated"),
    ([{"set": {"code": "'x'"}}], {"condition": "new IS NULL"}, "42P17", "generated"),
    ([{"set": {"price": "random()"}}], {}, "42P17", "STABLE"),
    ([{"set": {"price": "(SELECT 1)"}}], {}, "0A000", ""),
    ([{"set": {"price": "nwe.price"}}], {}, "42P01", "new and old"),
    ([{"set": {"price": "pirce"}}], {}, "42703", "price"),
    ([{"set": {"price": "true"}}], {}, "42804", "Cast"),
    ([{"set": {"price": "1; DROP TABLE items"}}], {}, "42601", ""),
    ([{"set": {"code": "'x'"}}], {"operations": ["delete"]}, "22023", "insert,update"),
    ([{"set": {"code": "'x'"}}], {"timing": "after"}, "22023", "timing => 'before'"),
    ([{"reject": "x"}], {"timing": "after"}, "22023", "timing => 'before'"),
    ([{"emit": "x"}], {}, "22023", "another rule"),
    ([{"sql": "SELECT 1", "timing": "transaction"}], {}, "22023", "another rule"),
    ([{"reject": "x"}], {"timing": "befor"}, "22023", "before"),
    ([{"reject": "x"}], {"on_table": None, "on_event": "e"}, "22023", "on_table"),
    ([{"reject": "x"}], {"on_table": "a_view"}, "42809", ""),
    ([{"reject": "x", "sqlstate": "00000"}], {}, "22023", "P0001"),
])
def test_definitions_are_checked(items: Database, actions: list[Any], more: dict[str, Any], state: str, text: str) -> None:
    items.execute("CREATE VIEW a_view AS SELECT * FROM items")
    with pytest.raises(psycopg.Error) as raised:
        before(items, "bad", actions, **more)
    assert raised.value.sqlstate == state, raised.value
    assert text in str(raised.value) + (raised.value.diag.message_hint or "")
    assert raised.value.diag.message_hint and raised.value.diag.message_detail
    assert items.one("SELECT count(*) FROM automate.rule") == 0


def test_the_owner_may_only_set_what_it_may_write(items: Database, role: Callable[..., str]) -> None:
    db = items
    owner, writer = role("owner", level=None), role("writer", level=None)
    session = member(db, owner)
    db.execute(f"GRANT SELECT, TRIGGER ON items TO {owner}; GRANT INSERT, SELECT, UPDATE ON items TO {writer}")
    make = """SELECT automate.create_rule('mine', '[{"set": {"code": "lower(current_user::text)::varchar(5)"}}]',
                                          on_table => 'items', timing => 'before')"""
    with pytest.raises(psycopg.errors.InsufficientPrivilege) as raised:
        session.execute(make)
    assert "INSERT and UPDATE" in (raised.value.diag.message_detail or "")
    db.execute(f"GRANT INSERT (code), UPDATE (code) ON items TO {owner}")
    session.execute(make)
    # What is evaluated is evaluated as the owner, whoever writes, under whatever search_path.
    other = db.connect(writer)
    db.execute(f"GRANT CREATE ON SCHEMA public TO {writer}")
    other.execute("CREATE FUNCTION public.lower(text) RETURNS text LANGUAGE sql STABLE AS $$ SELECT 'evil' $$")
    other.execute("SET search_path = public, pg_catalog")
    other.execute("INSERT INTO items VALUES (1, 'x', 1)")
    assert db.one("SELECT code FROM items") == owner[:5]
    # It loses the right: the rule stops, the writer does not.
    db.execute(f"REVOKE UPDATE (code) ON items FROM {owner}")
    other.execute("INSERT INTO items VALUES (2, 'x', 1)")
    assert db.one("SELECT code FROM items WHERE id = 2") == "x"
    db.wait_until("SELECT status = 'broken' AND last_error LIKE '42501:%%' FROM automate.rule")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        session.execute("SELECT automate.enable_rule('mine')")
    db.execute(f"GRANT UPDATE (code) ON items TO {owner}")
    session.execute("SELECT automate.enable_rule('mine')")
    other.execute("INSERT INTO items VALUES (3, 'x', 1)")
    assert db.one("SELECT code FROM items WHERE id = 3") == owner[:5]


def test_one_may_look_into_them(items: Database) -> None:
    db = items
    before(db, "look", [{"set": {"price": "new.price * 2"}}, {"set": {"code": "'p' || round(new.price)"}},
                        {"reject": '${ "no \\(.new.code)" }'}], "new.price > 5")
    with db.admin.transaction():
        db.execute("SET LOCAL automate.skip_rules = on")
        db.execute("INSERT INTO items VALUES (1, 'x', 9), (2, 'x', 1)")
    assert db.rows("SELECT scanned, matched, actions FROM automate.backtest_rule('look')") == [
        (2, 1, [{"set": {"price": 18}}, {"set": {"code": "p18"}}, {"reject": "no p18", "sqlstate": "P0001"}])]
    db.execute("SELECT automate.add_rule_test('look', 'dear', '{\"price\": 6}')")
    assert db.rows("SELECT passed FROM automate.test_rule('look')") == [(True,)]
    assert db.rows("SELECT value FROM automate.explain_rule('look', '{\"price\": 5}')") == [("false",)]


def test_a_broken_or_altered_rule_is_seen_at_once(items: Database) -> None:
    db = items
    writer = db.connect()
    before(db, "kind", [{"set": {"kind": "'one'"}}])
    writer.execute("INSERT INTO items VALUES (1, 'x', 1)")
    db.execute("""SELECT automate.alter_rule('kind', actions => '[{"set": {"kind": "''two''"}}]')""")
    writer.execute("INSERT INTO items VALUES (2, 'x', 1)")
    db.execute("SELECT automate.disable_rule('kind')")
    writer.execute("INSERT INTO items VALUES (3, 'x', 1)")
    assert db.rows("SELECT kind FROM items ORDER BY id") == [("one",), ("two",), ("x",)]
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        db.execute("""SELECT automate.alter_rule('kind', actions => '[{"emit": "e"}]')""")


def test_drop_extension_takes_the_trigger_along(items: Database) -> None:
    db = items
    before(db, "r", [{"reject": "no"}])
    db.execute("DROP EXTENSION pg_automate")
    db.execute("INSERT INTO items VALUES (1, 'x', 1)")
    assert db.one("SELECT count(*) FROM pg_trigger WHERE tgname LIKE '%%pg_automate%%'") == 0
