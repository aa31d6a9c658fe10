"""Test cases that live with a rule."""

from __future__ import annotations

import psycopg
import pytest

from support.database import Database
from test_rules import orders, rule  # noqa: F401


@pytest.fixture
def big(orders: Database) -> Database:  # noqa: F811
    rule(orders, "big", "new.amount > 100 AND (old.amount IS NULL OR old.amount <= 100)")
    add = "SELECT automate.add_rule_test('big', "
    orders.execute(add + """'large', '{"amount": 101}')""")
    orders.execute(add + """'at the limit', '{"amount": 100}', matches => false)""")
    orders.execute(add + """'was large', '{"amount": 500}', '{"amount": 400}', matches => false)""")
    orders.execute(add + """'no amount', '{"id": 1}', matches => false)""")
    return orders


def results(db: Database, version: int | None = None) -> list[tuple]:
    return db.rows("SELECT * FROM automate.test_rule('big', %s)", [version])


def test_cases_pass_and_fail_with_the_condition(big: Database) -> None:
    assert results(big) == [
        ("at the limit", True, "no match", "no match"), ("large", True, "match", "match"),
        ("no amount", True, "no match", "no match"), ("was large", True, "no match", "no match"),
    ]
    big.execute("SELECT automate.alter_rule('big', condition => 'new.amount >= 100', draft => true)")
    assert [row for row in results(big, 2) if not row[1]] == [
        ("at the limit", False, "no match", "match"), ("was large", False, "no match", "match"),
    ]
    assert results(big, 2)[0][1] is False
    big.execute("SELECT automate.alter_rule('big', condition => '1 / (new.amount - 100) > 0', draft => true)")
    failed = {row[0]: row[3] for row in results(big, 3) if not row[1]}
    assert "division by zero" in failed["at the limit"]
    # Nothing was done.
    assert big.one("SELECT count(*) FROM orders") == 0 and big.one("SELECT count(*) FROM automate.job") == 0


def test_a_case_is_replaced_and_dropped(big: Database) -> None:
    big.execute("""SELECT automate.add_rule_test('big', 'large', '{"amount": 1}')""")
    assert ("large", False, "match", "no match") in results(big)
    big.execute("SELECT automate.drop_rule_test('big', 'large')")
    assert len(results(big)) == 3
    with pytest.raises(psycopg.errors.UndefinedObject) as refused:
        big.execute("SELECT automate.drop_rule_test('big', 'was lrage')")
    assert refused.value.diag.message_hint == 'Did you mean "was large"?'
    big.execute("SELECT automate.drop_rule('big')")
    assert big.one("SELECT count(*) FROM automate.rule_test") == 0


@pytest.mark.parametrize(
    ("arguments", "state"),
    [
        ("'big', 'x'", "22023"),
        ("'big', '', '{}'", "22023"),
        ("'big', 'x', '{\"amuont\": 1}'", "42703"),
        ("'big', 'x', '[]'", "22023"),
        ("'big', 'x', '{\"amount\": \"much\"}'", "22P02"),
        ("'bgi', 'x', '{}'", "42704"),
        ("'big', NULL, '{}'", "22004"),
    ],
)
def test_cases_are_checked(big: Database, arguments: str, state: str) -> None:
    with pytest.raises(psycopg.Error) as refused:
        big.execute(f"SELECT automate.add_rule_test({arguments})")
    assert refused.value.sqlstate == state, refused.value
    assert refused.value.diag.message_detail and refused.value.diag.message_hint
    assert len(results(big)) == 4


def test_cases_are_the_owners(big: Database, role) -> None:
    stranger = big.connect(role("stranger"))
    assert stranger.execute("SELECT count(*) FROM automate.rule_test").fetchone() == (0,)
    for call in ("test_rule('big')", "drop_rule_test('big', 'large')", "add_rule_test('big', 'x', '{}')"):
        with pytest.raises(psycopg.errors.UndefinedObject):
            stranger.execute(f"SELECT automate.{call}")
