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
        "SELECT rule, matched, failed, waiting, errors, p50_ms > 0, p50_ms <= p99_ms, last_at IS NOT NULL FROM automate.rule_stats"
    )}
    assert rows["any"] == (10, 0, 0, 0, True, True, True)
    assert rows["never"] == (0, 0, 0, 0, None, None, False)
    assert rows["ratio"] == (1, 0, 0, 1, True, True, True)
    assert rows["fails"][:3] == (0, 0, 1)
    db.wait_until("SELECT failed = 1 AND waiting = 0 FROM automate.rule_stats WHERE rule = 'fails'", deadline=30)
    # A role sees its own rules and nobody else's.
    assert db.connect(role("ann")).execute("SELECT count(*) FROM automate.rule_stats").fetchone() == (0,)
