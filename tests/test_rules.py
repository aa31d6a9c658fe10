"""Rules on tables: which changes they see, with whose rights, and that they disturb nobody."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from support.database import Database
from test_events import done, member

NOTE = json.dumps([{
    "sql": "INSERT INTO noted VALUES ($1, $2, $3, $4)",
    "params": ["${ .rule }", "${ .event.op }", "${ .new.id // .old.id }", "${ . }"],
}])


@pytest.fixture
def orders(db: Database) -> Iterator[Database]:
    db.execute("CREATE TABLE orders (id int PRIMARY KEY, status text, amount numeric, note text)")
    db.execute("CREATE TABLE noted (rule text, op text, id int, context jsonb)")
    yield db


def rule(db: Database, name: str, condition: str | None = None, **more: Any) -> None:
    more = {"on_table": "orders", "condition": condition, **more}
    names = ", ".join(f"{key} => %s" for key in more)
    db.execute(f"SELECT automate.create_rule(%s, %s, {names})", [name, NOTE, *more.values()])


def noted(db: Database, what: str = "rule, op, id") -> list[tuple[Any, ...]]:
    done(db)
    return db.rows(f"SELECT {what} FROM noted ORDER BY 1, 2, 3")


def test_insert_update_and_delete(orders: Database) -> None:
    db = orders
    rule(db, "paid", "new.status = 'paid'")
    rule(db, "turned", "old.status IS DISTINCT FROM new.status AND new.status = 'paid'", operations=["update"])
    rule(db, "gone", "amount > 5", operations=["delete"])
    rule(db, "bare", "amount > 100", operations=["insert"])
    rule(db, "null", "new.status IS NULL", operations=["insert"])
    db.execute("INSERT INTO orders VALUES (1, 'paid', 1), (2, 'new', 200), (3, NULL, NULL)")
    db.execute("UPDATE orders SET status = 'paid' WHERE id IN (2, 3)")
    db.execute("DELETE FROM orders")
    assert noted(db) == [
        ("bare", "insert", 2), ("gone", "delete", 2), ("null", "insert", 3), ("paid", "insert", 1),
        ("paid", "update", 2), ("paid", "update", 3), ("turned", "update", 2), ("turned", "update", 3),
    ]
    context = db.one("SELECT context FROM noted WHERE rule = 'turned' AND id = 2")
    assert context["old"]["status"] == "new" and context["new"]["status"] == "paid"
    assert context["event"]["schema"] == "public" and context["event"]["table"] == "orders"
    assert context["event"]["user"] == "postgres" and context["event"]["txid"] > 0


def test_old_is_null_on_insert_for_mixed_rules(orders: Database) -> None:
    db = orders
    rule(db, "changed", "old.amount IS DISTINCT FROM new.amount")
    db.execute("INSERT INTO orders VALUES (1, 'a', 1), (2, 'a', NULL)")
    db.execute("UPDATE orders SET status = 'b'")
    assert noted(db) == [("changed", "insert", 1)]


def test_an_update_that_changes_nothing_is_none(orders: Database) -> None:
    db = orders
    db.execute("INSERT INTO orders VALUES (1, 'a', 1), (2, 'b', 2)")
    rule(db, "any", operations=["update"])
    db.execute("UPDATE orders SET status = 'b'")
    assert noted(db) == [("any", "update", 1)]


def test_copy_on_conflict_and_merge(orders: Database) -> None:
    db = orders
    rule(db, "any", operations=["insert", "update", "delete"])
    with db.admin.cursor().copy("COPY orders (id, status) FROM STDIN") as copy:
        copy.write_row((1, "copied"))
    db.execute("INSERT INTO orders VALUES (1, 'x'), (2, 'y') ON CONFLICT (id) DO UPDATE SET status = 'z'")
    db.execute("INSERT INTO orders VALUES (2, 'x') ON CONFLICT DO NOTHING")
    db.execute("""MERGE INTO orders USING (VALUES (1), (3)) AS v(id) ON orders.id = v.id
                  WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (id) VALUES (v.id)""")
    assert noted(db) == [("any", "delete", 1), ("any", "insert", 1), ("any", "insert", 2),
                         ("any", "insert", 3), ("any", "update", 1)]


def test_partitions_with_other_column_orders(orders: Database) -> None:
    db = orders
    db.execute("CREATE TABLE part (id int, amount int, PRIMARY KEY (id)) PARTITION BY RANGE (id)")
    db.execute("CREATE TABLE low PARTITION OF part FOR VALUES FROM (0) TO (100)")
    db.execute("CREATE TABLE high (junk text, amount int, id int NOT NULL)")
    db.execute("ALTER TABLE high DROP COLUMN junk")
    rule(db, "leaf", "new.amount > 5", on_table="low")
    rule(db, "root", "new.amount > 5", on_table="part")
    db.execute("ALTER TABLE part ATTACH PARTITION high FOR VALUES FROM (100) TO (200)")
    db.execute("INSERT INTO part VALUES (1, 9), (2, 1), (101, 9), (102, 1)")
    db.execute("INSERT INTO high (id, amount) VALUES (103, 8)")
    assert noted(db) == [("leaf", "insert", 1), ("root", "insert", 1), ("root", "insert", 101), ("root", "insert", 103)]
    event = db.one("SELECT context -> 'event' FROM noted WHERE id = 103")
    assert (event["table"], event["partition"]) == ("part", "high")
    # Without the root's rule the leaf keeps its own.
    db.execute("SELECT automate.drop_rule('root')")
    db.execute("TRUNCATE noted")
    db.execute("INSERT INTO part VALUES (5, 9), (105, 9)")
    assert noted(db) == [("leaf", "insert", 5)]
    db.execute("SELECT automate.drop_rule('leaf')")
    assert db.one("SELECT count(*) FROM pg_trigger WHERE tgname = 'pg_automate_capture'") == 0


def test_rollback_leaves_nothing(orders: Database) -> None:
    db = orders
    rule(db, "any")
    writer = db.connect(autocommit=False)
    writer.execute("INSERT INTO orders VALUES (1)")
    writer.rollback()
    writer.execute("INSERT INTO orders VALUES (2)")
    writer.execute("SAVEPOINT s")
    writer.execute("INSERT INTO orders VALUES (3)")
    writer.execute("ROLLBACK TO s")
    writer.commit()
    db.wait_until("SELECT EXISTS (SELECT FROM noted)")
    assert noted(db) == [("any", "insert", 2)]


def test_rules_change_in_other_sessions_at_once(orders: Database) -> None:
    db = orders
    writer = db.connect(autocommit=False)
    writer.execute("SET default_transaction_isolation = 'repeatable read'")
    writer.commit()
    rule(db, "first")
    writer.execute("INSERT INTO orders VALUES (1)")
    rule(db, "second")  # not seen by the snapshot of the writer's transaction
    writer.execute("INSERT INTO orders VALUES (2)")
    writer.commit()
    writer.execute("INSERT INTO orders VALUES (3)")
    writer.commit()
    db.execute("SELECT automate.disable_rule('first')")
    writer.execute("INSERT INTO orders VALUES (4)")
    writer.commit()
    db.execute("SELECT automate.enable_rule('first')")
    done(db)  # what is queued for a dropped rule is not done
    db.execute("SELECT automate.drop_rule('second')")
    writer.execute("INSERT INTO orders VALUES (5)")
    writer.commit()
    assert noted(db) == [("first", "insert", 1), ("first", "insert", 2), ("first", "insert", 3),
                         ("first", "insert", 5), ("second", "insert", 3), ("second", "insert", 4)]


def test_owner_rights_and_no_more(orders: Database, role: Callable[..., str]) -> None:
    """The condition and the action see the owner as current_user, whoever writes."""
    db = orders
    owner, writer = role("owner", level=None), role("writer", level=None)
    for grant in ("SELECT, TRIGGER ON orders TO {o}", "INSERT ON noted TO {o}",
                  "INSERT ON orders TO {w}", "CREATE ON SCHEMA public TO {w}", "CREATE ON SCHEMA public TO {o}"):
        db.execute("GRANT " + grant.format(o=owner, w=writer))
    session = member(db, owner)
    session.execute("CREATE TABLE secret AS SELECT 42 AS n")
    session.execute("""CREATE FUNCTION is_owner() RETURNS boolean STABLE LANGUAGE plpgsql AS
                       $$ BEGIN RETURN current_user = session_user OR (SELECT n FROM secret) = 42; END $$""")
    session.execute("""CREATE FUNCTION who() RETURNS text STABLE LANGUAGE plpgsql AS
                       $$ BEGIN RETURN lower(current_user::text); END $$""")
    session.execute("SELECT automate.create_rule('mine', %s, on_table => 'orders', condition => %s)",
                    [NOTE, f"is_owner() AND who() = '{owner}'"])
    intruder = db.connect(writer)  # no right on automate at all
    intruder.execute("CREATE FUNCTION public.lower(text) RETURNS text LANGUAGE sql AS $$ SELECT 'x' $$")
    intruder.execute("SET search_path = public, pg_catalog")
    intruder.execute("INSERT INTO orders VALUES (1)")
    assert intruder.execute("SELECT current_user::text").fetchone() == (writer,)
    assert noted(db) == [("mine", "insert", 1)]
    assert db.one("SELECT owner::text FROM automate.rule") == owner
    assert db.one("SELECT context -> 'event' ->> 'user' FROM noted") == writer
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        intruder.execute("SELECT * FROM automate.rule")
    # The owner loses its right on the table: the rule stops, the writer does not.
    db.execute(f"REVOKE SELECT ON orders FROM {owner}")
    intruder.execute("INSERT INTO orders VALUES (2)")
    db.wait_until("SELECT status = 'broken' AND last_error LIKE '42501:%%' FROM automate.rule")
    assert noted(db) == [("mine", "insert", 1)]


def test_a_failing_condition_does_not_break_writes(orders: Database) -> None:
    db = orders
    rule(db, "div", "100 / new.amount > 5")
    rule(db, "good", "new.amount >= 0")
    db.execute("INSERT INTO orders VALUES (1, 'a', 0), (2, 'a', 10), (3, 'a', 1000)")
    assert noted(db) == [("div", "insert", 2), ("good", "insert", 1), ("good", "insert", 2), ("good", "insert", 3)]
    db.wait_until("SELECT errors = 1 AND last_error LIKE '22012:%%' FROM automate.rule WHERE name = 'div'")
    assert db.one("SELECT status FROM automate.rule WHERE name = 'div'") == "active"


def test_a_dropped_column_breaks_the_rule_only(orders: Database) -> None:
    db = orders
    rule(db, "note", "new.note = 'x'")
    rule(db, "any")
    db.execute("INSERT INTO orders VALUES (1, 'a', 1, 'x')")
    db.execute("ALTER TABLE orders DROP COLUMN note")
    db.execute("INSERT INTO orders VALUES (2)")
    db.wait_until("SELECT status = 'broken' AND last_error LIKE '42703:%%' FROM automate.rule WHERE name = 'note'")
    assert noted(db) == [("any", "insert", 1), ("any", "insert", 2), ("note", "insert", 1)]
    with pytest.raises(psycopg.errors.UndefinedColumn):
        db.execute("SELECT automate.enable_rule('note')")
    db.execute("ALTER TABLE orders ADD COLUMN note text")
    db.execute("SELECT automate.enable_rule('note')")
    db.execute("INSERT INTO orders (id, note) VALUES (3, 'x')")
    assert ("note", "insert", 3) in noted(db)


def test_a_dropped_table_leaves_its_rules_harmless(orders: Database) -> None:
    db = orders
    rule(db, "any")
    db.execute("DROP TABLE orders")
    assert db.one("SELECT count(*) FROM automate.rule") == 1
    with pytest.raises(psycopg.Error) as refused:
        db.execute("SELECT automate.enable_rule('any')")
    assert "dropped" in str(refused.value)
    db.execute("SELECT automate.drop_rule('any')")
    assert db.one("SELECT count(*) FROM automate.rule") == 0


@pytest.mark.parametrize(("condition", "state", "hint"), [
    ("new.amount", "42804", "true or false"),
    ("new.statsu = 'x'", "42703", "status"),
    ("statsu = 'x'", "42703", "status"),
    ("new.amount > (SELECT 1)", "0A000", "one change"),
    ("count(*) > 1", "42803", "one change"),
    ("generate_series(1, 2) > 1", "0A000", "one change"),
    ("random() > 0.5", "42P17", "STABLE"),
    ("other.amount > 1", "42P01", "new and old"),
    ("new.ctid IS NULL", "0A000", "columns"),
    ("true FROM pg_class", "42601", "one expression"),
    ("true; DROP TABLE orders", "42601", ""),
    ("new.amount >", "42601", ""),
    ("nofunction(new.amount)", "42883", ""),
    ("new.amount = 'abc'", "22P02", ""),
    ("1 / 0 = 1", "22012", ""),
    ("", "42601", ""),
])
def test_conditions_are_checked(orders: Database, condition: str, state: str, hint: str) -> None:
    with pytest.raises(psycopg.Error) as refused:
        rule(orders, "bad", condition)
    assert refused.value.sqlstate == state, refused.value
    assert hint in (refused.value.diag.message_hint or "")
    assert refused.value.diag.message_hint
    assert orders.one("SELECT count(*) FROM automate.rule") == 0
    assert orders.one("SELECT count(*) FROM pg_trigger WHERE tgname = 'pg_automate_capture'") == 0


def test_only_the_rows_there_are(orders: Database) -> None:
    for condition, operations in [("old.amount > 1", ["insert"]), ("new.amount > 1", ["delete"])]:
        with pytest.raises(psycopg.errors.UndefinedTable) as refused:
            rule(orders, "bad", condition, operations=operations)
        assert "Only" in (refused.value.diag.message_hint or "")


@pytest.mark.parametrize(("arguments", "state", "hint"), [
    ("'x', '[{\"emit\": \"e\"}]'", "22023", "on_table"),
    ("'x', '[{\"emit\": \"e\"}]', on_table => 'orders', on_event => 'e'", "22023", "rule for each"),
    ("'', '[{\"emit\": \"e\"}]', on_table => 'orders'", "22023", "big_order"),
    ("'x', '[{\"emti\": \"e\"}]', on_table => 'orders'", "22023", "emit"),
    ("'x', '[]', on_table => 'orders'", "22023", "emit"),
    ("'x', '[{\"emit\": \"e\"}]', on_table => 'orders', operations => '{insrt}'", "22023", "insert"),
    ("'x', '[{\"emit\": \"e\"}]', on_table => 'orders', condition => 'true', conditions => 'true'", "22023", "SQL"),
    ("'x', '[{\"sql\": \"SELECT nothing\"}]', on_table => 'orders'", "42703", ""),
    ("'x', '[{\"workflow\": \"nothing\"}]', on_table => 'orders'", "42704", ""),
    ("'x', '[{\"notify\": \"nothing\", \"recipients\": [\"a:b\"]}]', on_table => 'orders'", "42704", ""),
    ("'x', '[{\"emit\": \"e\"}]', on_table => 'a_view'", "42809", "tables below"),
    ("'x', '[{\"emit\": \"e\"}]', on_table => 'pg_class'", "42809", "own tables"),
    ("'x', '[{\"emit\": \"e\"}]', on_table => 'automate.job'", "42809", "own tables"),
    ("'x', '[{\"emit\": \"e\"}]', on_table => 'temporary'", "42809", "session"),
    ("'x', '[{\"emit\": \"e\"}]', on_table => 'orders', conditions => '{\"==\": [{\"var\": \"statsu\"}, 1]}'", "22023", "status"),
])
def test_definitions_are_checked(orders: Database, arguments: str, state: str, hint: str) -> None:
    db = orders
    db.execute("CREATE VIEW a_view AS SELECT * FROM orders")
    db.execute("CREATE TEMPORARY TABLE temporary (id int)")
    with pytest.raises(psycopg.Error) as refused:
        db.execute(f"SELECT automate.create_rule({arguments})")
    assert refused.value.sqlstate == state, refused.value
    assert hint in (refused.value.diag.message_hint or ""), refused.value.diag.message_hint
    assert refused.value.diag.message_hint


def test_names_are_unique_and_nearly_right_ones_are_named(orders: Database) -> None:
    db = orders
    rule(db, "late")
    with pytest.raises(psycopg.errors.DuplicateObject) as refused:
        rule(db, "late")
    assert "drop_rule" in (refused.value.diag.message_hint or "")
    for verb in ("drop", "enable", "disable"):
        with pytest.raises(psycopg.errors.UndefinedObject) as refused:
            db.execute(f"SELECT automate.{verb}_rule('laet')")
        assert refused.value.diag.message_hint == 'Did you mean "late"?'


def test_rights_on_the_table_are_needed(orders: Database, role: Callable[..., str]) -> None:
    db = orders
    stranger = role("stranger", level=None)
    session = member(db, stranger)
    make = "SELECT automate.create_rule('x', '[{\"emit\": \"e\"}]', on_table => 'orders')"
    for grant in ("SELECT", "TRIGGER"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege) as refused:
            session.execute(make)
        assert "GRANT SELECT, TRIGGER" in (refused.value.diag.message_hint or "")
        db.execute(f"GRANT {grant} ON orders TO {stranger}")
    db.execute("ALTER TABLE orders ENABLE ROW LEVEL SECURITY")
    with pytest.raises(psycopg.errors.InsufficientPrivilege) as refused:
        session.execute(make)
    assert "row security" in str(refused.value)
    db.execute("ALTER TABLE orders DISABLE ROW LEVEL SECURITY")
    session.execute(make)


def test_a_rule_does_not_see_its_own_action(orders: Database) -> None:
    db = orders
    db.execute("CREATE TABLE log (n int)")
    db.execute("""SELECT automate.create_rule('self', '[{"sql": "INSERT INTO log VALUES (1)"}]', on_table => 'log')""")
    db.execute("INSERT INTO log VALUES (0)")
    done(db)
    assert db.one("SELECT count(*) FROM log") == 2


def test_a_loop_of_tables_ends(orders: Database) -> None:
    db = orders
    db.execute("CREATE TABLE a (n int); CREATE TABLE b (n int)")
    for here, there in (("a", "b"), ("b", "a")):
        actions = json.dumps([{"sql": f"INSERT INTO {there} VALUES ($1)", "params": ["${ .new.n + 1 }"]}])
        db.execute("SELECT automate.create_rule(%s, %s, on_table => %s)", [here, actions, here])
    db.execute("INSERT INTO a VALUES (0)")
    db.wait_until("SELECT EXISTS (SELECT FROM automate.rule WHERE errors > 0)", deadline=30)
    done(db)
    assert db.one("SELECT max(n) FROM (SELECT n FROM a UNION ALL SELECT n FROM b) AS all_rows") == 16
    assert "chain of 16" in db.one("SELECT last_error FROM automate.rule WHERE errors > 0")


def test_a_large_row_comes_as_its_key(orders: Database) -> None:
    db = orders
    rule(db, "any")
    db.execute("INSERT INTO orders VALUES (7, 'a', 1, repeat('x', 2000000))")
    done(db)
    context = db.one("SELECT context FROM noted")
    assert context["new"] == {"id": 7} and context["event"]["truncated"] is True


def test_json_that_jsonb_refuses_comes_as_its_key(orders: Database) -> None:
    db = orders
    db.execute("CREATE TABLE raw (id int PRIMARY KEY, doc json)")
    rule(db, "raw", on_table="raw")
    db.execute(r"""INSERT INTO raw VALUES (1, '{"a": "\u0000"}'), (2, '{"a": 1}')""")
    done(db)
    assert noted(db, "context -> 'new', context -> 'event' -> 'truncated', id") == [
        ({"id": 1}, True, 1), ({"id": 2, "doc": {"a": 1}}, None, 2)]


def test_a_failing_action_is_tried_again_and_kept(orders: Database) -> None:
    db = orders
    db.execute("""SELECT automate.create_rule('fails',
        '[{"sql": "INSERT INTO noted (id) VALUES (1)"}, {"sql": "SELECT 1 / $1::int", "params": ["${ .new.amount }"]}]',
        on_table => 'orders')""")
    db.execute("INSERT INTO orders VALUES (1, 'a', 0)")
    db.wait_until("SELECT EXISTS (SELECT FROM automate.job_history WHERE status = 'failed')", deadline=30)
    assert db.rows("SELECT source, attempts, left(error, 5) FROM automate.job_history") == [("rule:fails", 3, "22012")]
    assert db.one("SELECT count(*) FROM noted") == 0


def test_many_rules_each_match_their_rows(orders: Database) -> None:
    db = orders
    for n in range(40):
        rule(db, f"r{n:02}", f"new.status = 's{n}'")
    rule(db, "zz", "new.amount > 3")
    db.execute("INSERT INTO orders SELECT n, 's' || n, n FROM generate_series(0, 44) AS n")
    found = noted(db)
    assert [r for r in found if r[0] != "zz"] == [(f"r{n:02}", "insert", n) for n in range(40)]
    assert len([r for r in found if r[0] == "zz"]) == 41


def test_drop_extension_takes_the_triggers_along(orders: Database) -> None:
    db = orders
    rule(db, "any")
    db.execute("DROP EXTENSION pg_automate")
    assert db.one("SELECT count(*) FROM pg_trigger WHERE tgname = 'pg_automate_capture'") == 0
    db.execute("INSERT INTO orders VALUES (1)")


def test_a_match_renders_a_report_and_runs_a_task(orders: Database) -> None:
    db = orders
    db.execute(
        """
        SELECT automate.create_report('one', '{"title": "Order", "params": {"id": {"type": "int"}},
            "datasets": {"o": {"sql": "SELECT * FROM orders WHERE id = $id"}}, "layout": [{"table": {"data": "o"}}]}');
        SELECT automate.schedule_task('sum', 'sql', '@yearly', 'INSERT INTO noted (rule, id) SELECT $$sum$$, count(*) FROM orders');
        SELECT automate.create_rule('close', on_table => 'orders', condition => 'new.status = $$closed$$',
            actions => '[{"report": "one", "params": {"id": "${ .new.id }"}}, {"task": "sum"}]')
        """
    )
    db.execute("INSERT INTO orders VALUES (1, 'open', 1), (2, 'closed', 2)")
    assert noted(db) == [("sum", None, 2)]
    ((run, params, source),) = db.rows("SELECT id, params, source FROM automate.report_run")
    assert params == {"id": 2} and source == "rule:close"
    db.wait_until("SELECT status = 'completed' FROM automate.report_run")
    assert b"closed" in db.one("SELECT automate.report_file(%s, 'html')", [run])
    for action, hint in (('{"report": "oen"}', "one"), ('{"task": "smu"}', "sum")):
        with pytest.raises(psycopg.errors.UndefinedObject) as refused:
            db.execute(f"SELECT automate.create_rule('x', '[{action}]', on_table => 'orders')")
        assert hint in (refused.value.diag.message_hint or "")
