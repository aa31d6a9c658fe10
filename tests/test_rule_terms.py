"""What a rule asks beyond its condition: changed columns, validity, order, and what an error means."""

from __future__ import annotations

import psycopg
import pytest

from support.database import Database
from test_rules import noted, orders, rule  # noqa: F401


def test_an_update_counts_only_if_a_named_column_changed(orders: Database) -> None:  # noqa: F811
    db = orders
    rule(db, "status", columns=["status"])
    rule(db, "money", "new.amount > 5", columns=["amount", "note"], operations=["update"])
    db.execute("INSERT INTO orders VALUES (1, 'new', 1), (2, NULL, NULL)")
    # Other columns, the same value again, and a value that is another in form only.
    db.execute("UPDATE orders SET note = 'x' WHERE id = 1")
    db.execute("UPDATE orders SET status = status || '', amount = 1 WHERE id = 1")
    assert noted(db) == [("status", "insert", 1), ("status", "insert", 2)]
    db.execute("UPDATE orders SET status = 'paid' WHERE id = 1")
    db.execute("UPDATE orders SET status = 'paid' WHERE id = 2")
    db.execute("UPDATE orders SET status = NULL WHERE id = 2")
    db.execute("UPDATE orders SET amount = 10 WHERE id = 1")
    db.execute("UPDATE orders SET note = repeat('long', 100000) WHERE id = 1")
    db.execute("UPDATE orders SET status = 'sent' WHERE id = 1")
    assert noted(db)[:2] == [("money", "update", 1), ("money", "update", 1)]
    assert noted(db).count(("status", "update", 1)) == 2 and noted(db).count(("status", "update", 2)) == 2


def test_columns_are_found_in_partitions_with_another_order(db: Database) -> None:
    db.execute(
        """
        CREATE TABLE noted (rule text, op text, id int, context jsonb);
        CREATE TABLE orders (id int, region text, amount int) PARTITION BY LIST (region);
        CREATE TABLE north (amount int, dropped int, region text, id int);
        ALTER TABLE north DROP COLUMN dropped;
        ALTER TABLE orders ATTACH PARTITION north FOR VALUES IN ('north')
        """
    )
    rule(db, "amount", columns=["amount"], operations=["update"])
    db.execute("INSERT INTO orders VALUES (1, 'north', 5)")
    db.execute("UPDATE orders SET id = 2")
    db.execute("UPDATE north SET amount = 6")
    assert noted(db) == [("amount", "update", 2)]


def test_a_column_that_goes_breaks_the_rule_and_no_write(orders: Database) -> None:  # noqa: F811
    db = orders
    rule(db, "note", columns=["note"], on_error="fail")
    rule(db, "status", columns=["status"])
    db.execute("ALTER TABLE orders DROP COLUMN note")
    db.execute("INSERT INTO orders VALUES (1, 'new', 1)")
    assert noted(db) == [("status", "insert", 1)]
    assert db.rows("SELECT status, last_error LIKE '%note%' FROM automate.rule WHERE name = 'note'") == [("broken", True)]


def test_a_rule_that_stops_hides_the_change_from_those_behind_it(orders: Database) -> None:  # noqa: F811
    db = orders
    rule(db, "any")
    rule(db, "big", "new.amount > 100", priority=10, stop=True)
    rule(db, "first", "new.amount > 10", priority=1)
    # The guarded kind takes part in the same order.
    rule(db, "ratio", "100 / new.amount < 1", priority=20, stop=True)
    db.execute("INSERT INTO orders VALUES (1, NULL, 50), (2, NULL, 150), (3, NULL, 101), (4, NULL, 5)")
    assert noted(db) == [
        ("any", "insert", 1), ("any", "insert", 4), ("big", "insert", 2), ("big", "insert", 3),
        ("first", "insert", 1), ("first", "insert", 2), ("first", "insert", 3),
    ]


def test_a_rule_sees_nothing_outside_of_its_time(orders: Database) -> None:  # noqa: F811
    db = orders
    rule(db, "over", valid_until="2020-01-01", stop=True, priority=1)
    rule(db, "to come", valid_from="2100-01-01")
    rule(db, "now", valid_from="2020-01-01", valid_until="infinity")
    db.execute("INSERT INTO orders VALUES (1)")
    assert noted(db) == [("now", "insert", 1)]
    for name, term in (("heard", "valid_until => '2100-01-01'"), ("deaf", "valid_until => '2020-01-01'")):
        db.execute(
            f"""
            SELECT automate.create_rule('{name}', on_event => 'e', {term},
                actions => '[{{"sql": "INSERT INTO noted VALUES ($1)", "params": ["${{ .rule }}"]}}]')
            """
        )
    db.execute("SELECT automate.emit_event('e')")
    assert noted(db) == [("heard", None, None), ("now", "insert", 1)]


def test_an_error_fails_the_write_where_that_is_wanted(orders: Database) -> None:  # noqa: F811
    db = orders
    rule(db, "lenient", "1 / new.amount > 0")
    rule(db, "strict", "1 / new.amount > 0", on_error="fail", operations=["insert"], priority=200)
    with pytest.raises(psycopg.errors.DivisionByZero) as refused:
        db.execute("INSERT INTO orders VALUES (1, NULL, 0)")
    diagnosis = refused.value.diag
    assert diagnosis.message_primary == 'rule "strict": division by zero'
    assert diagnosis.message_detail and diagnosis.message_hint
    assert db.one("SELECT count(*) FROM orders") == 0
    # Another operation is none of its business, and what passes over stays passed over.
    db.execute("INSERT INTO orders VALUES (1, NULL, 1)")
    db.execute("UPDATE orders SET amount = 0")
    assert noted(db) == [("lenient", "insert", 1), ("strict", "insert", 1)]


@pytest.mark.parametrize(
    ("arguments", "state", "hint"),
    [
        ("columns => '{statsu}'", "42703", "status"),
        ("columns => '{}'", "22023", "at least one"),
        ("columns => '{status}', operations => '{insert}'", "22023", "update"),
        ("columns => '{ctid}'", "42703", "Use one of"),
        ("on_error => 'fial'", "22023", "fail"),
        ("valid_from => '2026-01-02', valid_until => '2026-01-01'", "22023", "Exchange"),
    ],
)
def test_terms_are_checked(orders: Database, arguments: str, state: str, hint: str) -> None:  # noqa: F811
    with pytest.raises(psycopg.Error) as refused:
        orders.execute(f"SELECT automate.create_rule('x', '[{{\"emit\": \"e\"}}]', on_table => 'orders', {arguments})")
    assert refused.value.sqlstate == state
    assert refused.value.diag.message_detail and hint in (refused.value.diag.message_hint or "")


@pytest.mark.parametrize("argument", ["columns => '{a}'", "stop => true", "on_error => 'fail'"])
def test_terms_of_tables_are_not_for_events(db: Database, argument: str) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue) as refused:
        db.execute(f"SELECT automate.create_rule('x', '[{{\"emit\": \"f\"}}]', on_event => 'e', {argument})")
    assert refused.value.diag.message_detail and refused.value.diag.message_hint


def test_altering_changes_what_is_given_and_nothing_else(orders: Database) -> None:  # noqa: F811
    db = orders
    rule(db, "big", "new.amount > 100", priority=7, columns=["amount"], description="large orders")
    other = db.connect()
    other.execute("INSERT INTO orders VALUES (1, NULL, 150)")
    assert db.one("SELECT automate.alter_rule('big', condition => 'new.amount > 200')") == 2
    # A session that has compiled the old version sees the new one at once.
    other.execute("INSERT INTO orders VALUES (2, NULL, 150), (3, NULL, 250)")
    assert db.one("SELECT automate.alter_rule('big', conditions => '{\"<\": [{\"var\": \"amount\"}, 5]}', stop => true)") == 3
    other.execute("INSERT INTO orders VALUES (4, NULL, 250), (5, NULL, 1)")
    assert noted(db) == [("big", "insert", 1), ("big", "insert", 3), ("big", "insert", 5)]
    (row,) = db.rows(
        "SELECT priority, columns, description, stop, condition, conditions IS NOT NULL, operations FROM automate.rule"
    )
    assert row == (7, ["amount"], "large orders", True, None, True, ["insert", "update"])


def test_a_broken_rule_is_mended_by_altering_it(orders: Database) -> None:  # noqa: F811
    db = orders
    rule(db, "note", "new.note IS NULL")
    db.execute("ALTER TABLE orders DROP COLUMN note, ADD COLUMN remark text")
    db.execute("INSERT INTO orders VALUES (1)")
    db.wait_until("SELECT status = 'broken' FROM automate.rule")
    with pytest.raises(psycopg.errors.UndefinedColumn):
        db.execute("SELECT automate.alter_rule('note', priority => 5)")
    db.execute("SELECT automate.alter_rule('note', condition => 'new.remark IS NULL')")
    db.execute("INSERT INTO orders VALUES (2)")
    assert noted(db) == [("note", "insert", 2)]
    assert db.rows("SELECT status, errors, last_error FROM automate.rule") == [("active", 0, None)]


def test_altering_obeys_rollback_and_rights(orders: Database, role) -> None:  # noqa: F811
    db = orders
    rule(db, "r", "new.amount > 100")
    with db.admin.transaction() as transaction:
        db.execute("SELECT automate.alter_rule('r', condition => 'true')")
        raise psycopg.Rollback(transaction)
    db.execute("INSERT INTO orders VALUES (1, NULL, 1)")
    assert noted(db) == []
    stranger = db.connect(role("stranger"))
    with pytest.raises(psycopg.errors.UndefinedObject):
        stranger.execute("SELECT automate.alter_rule('r', priority => 1)")
    for change, state in (("on_error => 'x'", "22023"), ("columns => '{x}'", "42703"), ("actions => '[]'", "22023"),
                          ("condition => 'true', conditions => 'true'", "22023")):
        with pytest.raises(psycopg.Error) as refused:
            db.execute(f"SELECT automate.alter_rule('r', {change})")
        assert refused.value.sqlstate == state
    assert db.one("SELECT version FROM automate.rule") == 1


def test_a_rule_on_events_is_altered_for_what_comes(db: Database) -> None:
    db.execute("CREATE TABLE noted (rule text, op text, id int, context jsonb)")
    act = '[{"sql": "INSERT INTO noted (rule, op) VALUES ($1, $2)", "params": ["${ .rule }", "%s"]}]'
    db.execute("SELECT automate.create_rule('e', %s, on_event => 'e')", [act % "old"])
    db.execute("SELECT automate.emit_event('e')")
    assert noted(db, "rule, op, id") == [("e", "old", None)]
    db.execute("SELECT automate.alter_rule('e', actions => %s, condition => $$event ? 'go'$$)", [act % "new"])
    db.execute("SELECT automate.emit_event('e')")
    db.execute("SELECT automate.emit_event('e', '{\"go\": 1}')")
    assert noted(db, "rule, op, id") == [("e", "new", None), ("e", "old", None)]


def test_the_owner_of_a_table_may_skip_its_rules(orders: Database, role) -> None:  # noqa: F811
    db = orders
    rule(db, "any")
    with db.admin.transaction():
        db.execute("SET LOCAL automate.skip_rules = on")
        db.execute("INSERT INTO orders VALUES (1), (2)")
    db.execute("INSERT INTO orders VALUES (3)")
    assert noted(db) == [("any", "insert", 3)]
    ann = role("ann")
    db.execute(f"GRANT INSERT ON orders TO {ann}")
    hers = db.connect(ann)
    hers.execute("SET automate.skip_rules = on")
    with pytest.raises(psycopg.errors.InsufficientPrivilege) as refused:
        hers.execute("INSERT INTO orders VALUES (4)")
    assert refused.value.diag.message_detail and refused.value.diag.message_hint
    hers.execute("RESET automate.skip_rules")
    hers.execute("INSERT INTO orders VALUES (5)")
    assert noted(db) == [("any", "insert", 3), ("any", "insert", 5)]
