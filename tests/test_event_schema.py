"""Schemas of events: what does not fit is refused, whoever emits it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable

import pytest
from psycopg import errors

from support.database import Database

ORDER = json.dumps(
    {
        "type": "object",
        "required": ["id"],
        "properties": {
            "id": {"type": "integer", "minimum": 1},
            "mail": {"type": "string", "format": "email"},
            "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}},
        },
        "$defs": {"line": {"type": "object", "required": ["sku"]}},
    }
)


@pytest.fixture
def orders(db: Database) -> Database:
    assert db.one("SELECT automate.set_event_schema('order.*', %s, 'Orders.')", [ORDER]) == 1
    return db


def test_every_problem_is_named(orders: Database) -> None:
    orders.execute("""SELECT automate.emit_event('order.paid', '{"id": 1, "lines": [{"sku": "a"}]}')""")
    with pytest.raises(errors.CheckViolation) as refused:
        orders.execute("""SELECT automate.emit_event('order.paid', '{"id": 0, "mail": "x", "lines": [{}]}')""")
    text = f"{refused.value} {refused.value.diag.message_detail}"
    for place in ("/id", "/mail", "/lines/0"):
        assert place in text
    assert "There are 3 problems" in refused.value.diag.message_detail
    assert "order.*" in refused.value.diag.message_hint
    assert orders.one("SELECT count(*) FROM automate.event") == 1


def test_only_events_of_the_name_and_the_owner(orders: Database, role: Callable[..., str]) -> None:
    orders.execute("SELECT automate.emit_event('orders.paid', '{}')")
    ann = orders.connect(role("ann"))
    ann.execute("SELECT automate.emit_event('order.paid', '{}')")
    ann.execute("""SELECT automate.set_event_schema('order.paid', '{"required": ["a"]}')""")
    with pytest.raises(errors.CheckViolation):
        ann.execute("SELECT automate.emit_event('order.paid', '{}')")
    assert ann.execute("SELECT count(*) FROM automate.event_schema").fetchone() == (1,)
    with pytest.raises(errors.UndefinedObject):
        ann.execute("SELECT automate.drop_event_schema('order.*')")


def test_name_and_pattern_must_both_fit(orders: Database) -> None:
    orders.execute("""SELECT automate.set_event_schema('order.paid', '{"required": ["amount"]}')""")
    for payload in ('{"id": 1}', '{"amount": 1}'):
        with pytest.raises(errors.CheckViolation):
            orders.execute("SELECT automate.emit_event('order.paid', %s)", [payload])
    orders.execute("""SELECT automate.emit_event('order.paid', '{"id": 1, "amount": 2}')""")


def test_a_change_is_seen_at_once_and_a_rollback_too(orders: Database) -> None:
    session = orders.connect(autocommit=False)
    bad = """SELECT automate.emit_event('order.paid', '{"id": 1}')"""
    session.execute(bad)
    session.commit()
    session.execute("SELECT automate.set_event_schema('order.*', 'false')")
    with pytest.raises(errors.CheckViolation):
        session.execute(bad)
    session.rollback()
    session.execute(bad)
    assert session.execute("""SELECT automate.set_event_schema('order.*', '{"required": ["b"]}')""").fetchone() == (2,)
    with pytest.raises(errors.CheckViolation):
        session.execute(bad)
    session.rollback()
    orders.execute("SELECT automate.drop_event_schema('order.*')")
    session.execute("SELECT automate.emit_event('order.paid', '{}')")
    session.commit()


def test_a_rule_s_event_is_checked(orders: Database) -> None:
    orders.execute("""SELECT automate.create_rule('r', '[{"emit": "order.late", "payload": {"id": "x"}}]', on_event => 'go')""")
    orders.execute("SELECT automate.emit_event('go')")
    error = orders.wait_until("SELECT last_error FROM automate.job WHERE last_error IS NOT NULL")
    assert error.startswith("23514:") and "/id" in error
    assert orders.one("SELECT count(*) FROM automate.event WHERE name = 'order.late'") == 0


def test_a_workflow_s_event_is_checked(orders: Database) -> None:
    document = {
        "document": {"dsl": "1.0.3", "namespace": "test", "name": "w", "version": "1.0.0"},
        "do": [{"tell": {"emit": {"event": {"with": {"source": "urn:test", "type": "order.late", "data": {"id": "x"}}}}}}],
    }
    orders.execute("SELECT automate.create_workflow('w', %s)", [json.dumps(document)])
    run = orders.one("SELECT automate.execute_workflow('w')")
    orders.wait_until("SELECT status = 'faulted' FROM automate.run WHERE id = %s", [run])
    assert "order.late" in json.dumps(orders.one("SELECT error FROM automate.run WHERE id = %s", [run]))


def test_a_webhook_is_checked(orders: Database) -> None:
    from test_event_webhooks import SECRET, headers, receive

    assert base64.b64decode(SECRET.removeprefix("whsec_"))
    orders.execute("SELECT automate.create_webhook_source('shop', ARRAY[%s], 'order.paid')", [SECRET])
    with pytest.raises(errors.CheckViolation):
        receive(orders, "shop", headers("{}"), "{}")
    assert orders.one("SELECT count(*) FROM automate.webhook_receipt") == 0
    receive(orders, "shop", headers('{"id": 1}'), '{"id": 1}')


@pytest.mark.parametrize(
    "schema, word",
    [
        ("[]", "object"),
        ('{"type": "text"}', "/type"),
        ('{"pattern": "("}', "regex"),
        ('{"$ref": "https://example.com/x"}', "stay within"),
        ('{"$ref": "file:///etc/passwd"}', "stay within"),
        ('{"$ref": "#/x", "x": {}}', "no part"),
    ],
)
def test_a_bad_schema_is_refused(db: Database, schema: str, word: str) -> None:
    with pytest.raises(errors.InvalidParameterValue) as refused:
        db.execute("SELECT automate.set_event_schema('e', %s)", [schema])
    assert word in f"{refused.value} {refused.value.diag.message_detail}"
    assert refused.value.diag.message_hint


def test_a_schema_that_explodes_ends(db: Database) -> None:
    parts = {f"d{i}": {"allOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(40)}
    schema = {"$ref": "#/$defs/d0", "$defs": {**parts, "d40": {"type": "integer"}}}
    db.execute("SELECT automate.set_event_schema('e', %s)", [json.dumps(schema)])
    with pytest.raises(errors.CheckViolation) as refused:
        db.execute("SELECT automate.emit_event('e', '1')")
    assert "too many steps" in str(refused.value)
    # The session goes on.
    assert db.one("SELECT automate.emit_event('f', '1') IS NOT NULL")
