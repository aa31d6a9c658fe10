"""rule_stats: what came of a rule's matches."""

from __future__ import annotations

from support.database import Database
from test_rules import noted, orders, rule  # noqa: F401


def test_matches_failures_and_waiting_ones_are_counted(orders: Database, role) -> None:  # noqa: F811
    db = orders
    rule(db, "any")
    rule(db, "never", "false")
    rule(db, "ratio", "1 / new.amount >= 1")
    db.execute(
        """
        SELECT automate.create_rule('fails', '[{"sql": "SELECT 1 / 0"}]', on_table => 'orders', operations => '{delete}')
        """
    )
    db.execute("INSERT INTO orders SELECT i, NULL, i FROM generate_series(0, 9) AS i")
    # A failing action is tried again after a pause; this one's end is not waited for.
    db.execute("DELETE FROM orders WHERE id = 9")
    db.wait_until("SELECT count(*) = 11 FROM noted")
    db.wait_until("SELECT errors = 1 FROM automate.rule WHERE name = 'ratio'")
    rows = {row[0]: row[1:] for row in db.rows(
        """SELECT rule, evaluated, matched, done, failed, waiting, errors, p50_ms > 0, p50_ms <= p99_ms, last_at IS NOT NULL
           FROM automate.rule_stats"""
    )}
    assert rows["any"] == (10, 10, 10, 0, 0, 0, True, True, True)
    assert rows["never"] == (10, 0, 0, 0, 0, 0, None, None, False)
    assert rows["ratio"] == (10, 1, 1, 0, 0, 1, True, True, True)
    assert rows["fails"][:5] == (1, 1, 0, 0, 1)
    db.wait_until("SELECT failed = 1 AND waiting = 0 FROM automate.rule_stats WHERE rule = 'fails'", deadline=30)
    # A role sees its own rules and nobody else's.
    assert db.connect(role("ann")).execute("SELECT count(*) FROM automate.rule_stats").fetchone() == (0,)


def test_what_is_rolled_back_was_evaluated_and_did_not_match(orders: Database) -> None:  # noqa: F811
    db = orders
    rule(db, "any")
    with db.admin.transaction(force_rollback=True):
        db.execute("INSERT INTO orders VALUES (1)")
    db.execute("BEGIN; INSERT INTO orders VALUES (2), (3); COMMIT")
    assert db.rows("SELECT evaluated, matched, skipped, last_at IS NOT NULL FROM automate.rule_stats") == [(3, 2, 0, True)]


def test_matches_that_are_passed_over_are_counted(orders: Database) -> None:  # noqa: F811
    db = orders
    rule(db, "first", stop=True, priority=1)
    rule(db, "second")
    rule(db, "over", valid_until="2020-01-01", priority=0)
    db.execute("INSERT INTO orders VALUES (1), (2)")
    assert db.rows("SELECT rule, evaluated, matched, skipped FROM automate.rule_stats ORDER BY rule") == [
        ("first", 2, 2, 0), ("over", 2, 2, 2), ("second", 2, 2, 2)]


def test_rules_on_events_are_counted_once_for_all_attempts(db: Database) -> None:
    db.execute("CREATE TABLE seen (n int)")
    db.execute(
        """SELECT automate.create_rule('hears', '[{"sql": "INSERT INTO seen VALUES (1)"}]',
                                       on_event => 'e', condition => $$ (event->>'n')::int > 1 $$)"""
    )
    db.execute("SELECT automate.emit_event('e', jsonb_build_object('n', n)) FROM generate_series(1, 3) AS n")
    db.wait_until("SELECT done = 3 FROM automate.rule_stats")
    assert db.rows("SELECT evaluated, matched FROM automate.rule_stats") == [(3, 2)]


def test_triggers_are_counted(db: Database) -> None:
    db.execute("CREATE TABLE orders (id int PRIMARY KEY, amount numeric); CREATE TABLE heard (id int)")
    db.execute("SELECT automate.create_trigger('large', 'data', on_table => 'orders', condition => 'amount > 10', columns => '{amount}')")
    db.execute("SELECT automate.create_trigger('pings', 'event', event => 'ping.*')")
    db.execute("SELECT automate.create_trigger('loud', 'event', event => 'ping.*', condition => $$ (event->>'n')::int > 1 $$)")
    for trigger in ("large", "pings"):
        db.execute("""SELECT automate.create_rule(%s, '[{"sql": "INSERT INTO heard VALUES (1)"}]', on_trigger => %s)""", [trigger, trigger])
    db.execute("INSERT INTO orders SELECT i, i FROM generate_series(1, 20) AS i")
    # Its column did not change; and a firing that is rolled back is none.
    db.execute("UPDATE orders SET id = id + 100 WHERE id = 20")
    with db.admin.transaction(force_rollback=True):
        db.execute("INSERT INTO orders VALUES (0, 99)")
    db.execute("SELECT automate.emit_event('ping.' || n, jsonb_build_object('n', n)) FROM generate_series(1, 3) AS n")
    db.wait_until("SELECT count(*) = 13 FROM heard")
    db.wait_until("SELECT count(*) = 0 FROM automate.job")
    rows = {row[0]: row[1:] for row in db.rows(
        """SELECT trigger, fired, evaluated, matched, skipped, p50_ms > 0, p50_ms <= p95_ms AND p95_ms <= p99_ms,
                  last_fired_at IS NOT NULL FROM automate.trigger_stats"""
    )}
    assert rows["large"] == (10, 22, 11, 1, True, True, True)
    assert rows["pings"] == (3, 3, 3, 0, True, True, True)
    assert rows["loud"] == (2, 3, 2, 0, None, None, True)
