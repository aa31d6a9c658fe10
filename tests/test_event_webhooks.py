"""Inbound webhooks: signed, in time, once, and an event of the source's owner."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import errors, sql

from support.database import Database

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_" + base64.b64encode(b"another secret of 32 bytes......").decode()
BODY = '{"test": 2432232314}'


def sign(secret: str, webhook_id: str, timestamp: int | str, body: str) -> str:
    """As the standard says, by Python's own library."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"{webhook_id}.{timestamp}.{body}".encode(), hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


def headers(body: str = BODY, webhook_id: str = "msg_1", at: int | None = None, secret: str = SECRET) -> dict[str, str]:
    timestamp = int(time.time()) if at is None else at
    return {
        "Webhook-Id": webhook_id,
        "WEBHOOK-TIMESTAMP": str(timestamp),
        "webhook-signature": sign(secret, webhook_id, timestamp, body),
        "Content-Type": "application/json",
    }


def receive(session: Any, source: str, given: dict[str, Any], body: str = BODY) -> Any:
    row = session.execute("SELECT automate.receive_webhook(%s, %s, %s)", [source, json.dumps(given), body]).fetchone()
    return row[0]


@pytest.fixture
def shop(db: Database) -> Database:
    db.execute("SELECT automate.create_webhook_source('shop', ARRAY[%s], 'paid')", [SECRET])
    return db


def test_the_vector_of_the_standard_is_what_we_sign() -> None:
    signature = sign(SECRET, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, BODY)
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_signed_webhook_is_an_event_of_the_owner(shop: Database) -> None:
    event = receive(shop, "shop", headers())
    row = shop.rows("SELECT id, name, payload, owner::text, source FROM automate.event")
    assert row == [(event, "paid", {"test": 2432232314}, "postgres", "webhook:shop")]


def test_rules_hear_it(shop: Database) -> None:
    shop.execute("CREATE TABLE heard (event jsonb)")
    shop.execute(
        """SELECT automate.create_rule('r', '[{"sql": "INSERT INTO heard VALUES ($1)", "params": ["${ .event }"]}]', on_event => 'paid')"""
    )
    receive(shop, "shop", headers())
    seen = shop.wait_until("SELECT event FROM heard")
    assert seen["test"] == 2432232314 and seen["source"] == "webhook:shop"


def test_a_second_delivery_is_the_same_event(shop: Database) -> None:
    first = receive(shop, "shop", headers())
    assert receive(shop, "shop", headers()) == first
    assert receive(shop, "shop", headers(webhook_id="msg_2")) != first
    assert shop.one("SELECT count(*) FROM automate.event") == 2
    assert shop.one("SELECT count(*) FROM automate.webhook_receipt WHERE event = %s", [first]) == 1


def test_two_deliveries_at_once_are_one_event(shop: Database) -> None:
    one, two = shop.connect(autocommit=False), shop.connect()
    first = receive(one, "shop", headers())
    answers: list[Any] = []
    waiter = threading.Thread(target=lambda: answers.append(receive(two, "shop", headers())))
    waiter.start()
    shop.wait_until("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = %s AND wait_event_type = 'Lock')", [two.info.backend_pid])
    one.commit()
    waiter.join(30)
    assert answers == [first]
    assert shop.one("SELECT count(*) FROM automate.event") == 1


def test_a_rolled_back_delivery_was_none(shop: Database) -> None:
    session = shop.connect(autocommit=False)
    receive(session, "shop", headers())
    session.rollback()
    receive(shop, "shop", headers())
    assert shop.one("SELECT count(*) FROM automate.event") == 1


def spoilt(**changes: Any) -> dict[str, Any]:
    return {**headers(), **changes}


REFUSED = [
    (errors.UndefinedObject, "shops", headers(), BODY),
    (errors.InvalidPassword, "shop", headers(secret=OTHER), BODY),
    (errors.InvalidPassword, "shop", headers(), BODY + " "),
    (errors.InvalidPassword, "shop", spoilt(**{"Webhook-Id": "msg_9"}), BODY),
    (errors.InvalidPassword, "shop", spoilt(**{"webhook-signature": ""}), BODY),
    (errors.InvalidPassword, "shop", spoilt(**{"webhook-signature": "v1a,AAAA v1,AAAA x"}), BODY),
    (errors.ProtocolViolation, "shop", {}, BODY),
    (errors.ProtocolViolation, "shop", spoilt(**{"webhook-id": "twice"}), BODY),
    (errors.ProtocolViolation, "shop", spoilt(**{"WEBHOOK-TIMESTAMP": "yesterday"}), BODY),
    (errors.DatetimeFieldOverflow, "shop", headers(at=1614265330), BODY),
    (errors.DatetimeFieldOverflow, "shop", headers(at=4_000_000_000), BODY),
    (errors.InvalidJsonText, "shop", headers("not json"), "not json"),
]


@pytest.mark.parametrize("error, source, given, body", REFUSED)
def test_what_is_not_in_order_is_refused(
    shop: Database, error: type[psycopg.Error], source: str, given: dict[str, Any], body: str
) -> None:
    if error not in (errors.DatetimeFieldOverflow, errors.ProtocolViolation):
        # The parameters were made when the tests were collected.
        shop.execute("""SELECT automate.alter_webhook_source('shop', options => '{"tolerance": "1 day"}')""")
    with pytest.raises(error) as refused:
        receive(shop, source, given, body)
    text = str(refused.value) + str(refused.value.diag.message_detail) + str(refused.value.diag.message_hint)
    assert refused.value.diag.message_detail and refused.value.diag.message_hint
    assert SECRET[6:] not in text and "MfKQ" not in text
    assert shop.one("SELECT count(*) FROM automate.event") == 0
    assert shop.one("SELECT count(*) FROM automate.webhook_receipt") == 0


def test_the_window_is_an_option(shop: Database) -> None:
    at = int(time.time()) - 400
    with pytest.raises(errors.DatetimeFieldOverflow):
        receive(shop, "shop", headers(at=at))
    shop.execute("""SELECT automate.alter_webhook_source('shop', options => '{"tolerance": "10 min"}')""")
    receive(shop, "shop", headers(at=at))


def test_keys_are_replaced_without_a_gap(shop: Database) -> None:
    shop.execute("SELECT automate.alter_webhook_source('shop', secrets => ARRAY[%s, %s])", [OTHER, SECRET])
    receive(shop, "shop", headers(webhook_id="old"))
    receive(shop, "shop", headers(webhook_id="new", secret=OTHER))
    both = headers(webhook_id="both", secret=OTHER)
    both["webhook-signature"] = "v1,AAAA " + both["webhook-signature"]
    receive(shop, "shop", both)
    assert shop.one("SELECT automate.alter_webhook_source('shop', secrets => ARRAY[%s])", [OTHER]) == 3
    with pytest.raises(errors.InvalidPassword):
        receive(shop, "shop", headers(webhook_id="late"))
    assert shop.one("SELECT count(*) FROM automate.event") == 3


def openssl(*arguments: str) -> bytes:
    return subprocess.run(["openssl", *arguments], check=True, capture_output=True).stdout


@pytest.mark.skipif(shutil.which("openssl") is None, reason="signs with openssl")
def test_a_sender_with_a_public_key(db: Database, tmp_path: Path) -> None:
    key, message = str(tmp_path / "key.pem"), tmp_path / "message"
    openssl("genpkey", "-algorithm", "ED25519", "-out", key)
    public = openssl("pkey", "-in", key, "-pubout", "-outform", "DER")[-32:]
    db.execute(
        "SELECT automate.create_webhook_source('shop', ARRAY[%s], 'paid')",
        ["whpk_" + base64.b64encode(public).decode()],
    )
    given = headers()
    message.write_text(f"{given['Webhook-Id']}.{given['WEBHOOK-TIMESTAMP']}.{BODY}")
    signature = openssl("pkeyutl", "-sign", "-rawin", "-inkey", key, "-in", str(message))
    given["webhook-signature"] = "v1," + base64.b64encode(signature).decode()
    with pytest.raises(errors.InvalidPassword):
        receive(db, "shop", given)
    given["webhook-signature"] = "v1a," + base64.b64encode(signature).decode()
    with pytest.raises(errors.InvalidPassword):
        receive(db, "shop", given, BODY + " ")
    receive(db, "shop", given)
    assert db.one("SELECT count(*) FROM automate.event") == 1


def test_the_body_can_name_the_event(db: Database) -> None:
    db.execute("""SELECT automate.create_webhook_source('git', ARRAY[%s], 'git.*', '{"event_from": "type"}')""", [SECRET])
    body = '{"type": "push", "n": 1}'
    receive(db, "git", headers(body), body)
    assert db.one("SELECT name FROM automate.event") == "git.push"
    for nameless in ('{"n": 1}', '{"type": "*"}'):
        with pytest.raises(errors.InvalidParameterValue):
            receive(db, "git", headers(nameless, "other"), nameless)


def test_a_gateway_hands_in_and_does_nothing_else(db: Database, role: Callable[..., str]) -> None:
    owner, gateway, other = role("owner"), role("gateway", level="gateway"), role("other", level="gateway")
    hers = db.connect(owner)
    hers.execute("SELECT automate.create_webhook_source('shop', ARRAY[%s], 'paid')", [SECRET])
    web = db.connect(gateway)
    with pytest.raises(errors.UndefinedObject):
        receive(web, "shop", headers())
    hers.execute("SELECT automate.grant_webhook_source('shop', %s::regrole)", [gateway])
    event = receive(web, "shop", headers())
    assert hers.execute("SELECT id, owner::text FROM automate.event").fetchall() == [(event, owner)]
    for call in (
        "SELECT automate.alter_webhook_source('shop', event => 'x')",
        "SELECT automate.emit_event('paid')",
        "TABLE automate.webhook_secret",
        "TABLE automate.event",
    ):
        with pytest.raises(errors.InsufficientPrivilege):
            web.execute(call)
    with pytest.raises(errors.UndefinedObject):
        receive(db.connect(other), "shop", headers(webhook_id="x"))
    hers.execute("SELECT automate.revoke_webhook_source('shop', %s::regrole)", [gateway])
    with pytest.raises(errors.UndefinedObject):
        receive(web, "shop", headers(webhook_id="y"))


def test_one_name_of_two_owners_is_told_apart_by_id(db: Database, role: Callable[..., str]) -> None:
    gateway, ids = role("gateway", level="gateway"), []
    for name in ("ann", "bob"):
        session = db.connect(role(name))
        ids.append(session.execute("SELECT automate.create_webhook_source('shop', ARRAY[%s], 'paid')", [SECRET]).fetchone()[0])
        session.execute("SELECT automate.grant_webhook_source('shop', %s::regrole)", [gateway])
    web = db.connect(gateway)
    with pytest.raises(errors.AmbiguousAlias) as refused:
        receive(web, "shop", headers())
    assert "id" in refused.value.diag.message_hint
    receive(web, str(ids[1]), headers())
    assert db.one("SELECT source FROM automate.webhook_receipt") == ids[1]


def test_disabled_and_dropped_sources(shop: Database) -> None:
    shop.execute("SELECT automate.disable_webhook_source('shop')")
    with pytest.raises(errors.ObjectNotInPrerequisiteState):
        receive(shop, "shop", headers())
    shop.execute("SELECT automate.enable_webhook_source('shop')")
    receive(shop, "shop", headers())
    shop.execute("SELECT automate.drop_webhook_source('shop')")
    with pytest.raises(errors.UndefinedObject):
        receive(shop, "shop", headers())
    assert shop.one("SELECT count(*) FROM automate.webhook_secret") == 0
    assert shop.one("SELECT count(*) FROM automate.event") == 1


def test_keys_are_nowhere_to_be_read(shop: Database) -> None:
    for table in ("webhook_source", "webhook_secret"):
        text = shop.one(f"SELECT string_agg(t::text, ' ') FROM automate.{table} AS t")
        assert "MfKQ" not in text and SECRET.encode().hex() not in text
    with pytest.raises(errors.InvalidParameterValue) as refused:
        shop.execute("SELECT automate.create_webhook_source('x', ARRAY['whsec_c2hvcnQ='], 'paid')")
    assert "c2hvcnQ" not in str(refused.value) + refused.value.diag.message_detail + refused.value.diag.message_hint


@pytest.mark.parametrize(
    "call",
    [
        "SELECT automate.create_webhook_source('s', '{}', 'paid')",
        f"SELECT automate.create_webhook_source('s', '{{{SECRET}}}', 'paid.*')",
        f"SELECT automate.create_webhook_source('s', '{{{SECRET}}}', 'paid', '{{\"event_from\": \"type\"}}')",
        f"SELECT automate.create_webhook_source('s', '{{{SECRET}}}', 'paid', '{{\"tolerance\": \"2 days\"}}')",
        f"SELECT automate.create_webhook_source('s', '{{{SECRET}}}', 'paid', '{{\"tolerence\": \"2 min\"}}')",
        f"SELECT automate.create_webhook_source(' ', '{{{SECRET}}}', 'paid')",
        f"SELECT automate.create_webhook_source('s', '{{{SECRET}}}', '')",
        "SELECT automate.alter_webhook_source('shop', event => 'a.*')",
    ],
)
def test_bad_definitions_are_refused(shop: Database, call: str) -> None:
    with pytest.raises(errors.InvalidParameterValue) as refused:
        shop.execute(call)
    assert refused.value.diag.message_detail and refused.value.diag.message_hint


def test_names_are_unique_among_the_owner_s(shop: Database) -> None:
    with pytest.raises(errors.DuplicateObject) as refused:
        shop.execute("SELECT automate.create_webhook_source('shop', ARRAY[%s], 'paid')", [SECRET])
    assert "webhook source" in str(refused.value) and refused.value.diag.message_hint


def test_a_large_body_is_refused(shop: Database) -> None:
    shop.execute("SET automate.max_payload_bytes = '1024'")
    body = json.dumps({"a": "x" * 2000})
    with pytest.raises(errors.ProgramLimitExceeded):
        receive(shop, "shop", headers(body), body)


def test_a_copy_of_the_database_has_no_keys(shop: Database) -> None:
    shop.execute("DELETE FROM automate.webhook_secret")
    with pytest.raises(errors.ObjectNotInPrerequisiteState) as refused:
        receive(shop, "shop", headers())
    assert "alter_webhook_source" in refused.value.diag.message_hint
    shop.execute("SELECT automate.alter_webhook_source('shop', secrets => ARRAY[%s])", [SECRET])
    receive(shop, "shop", headers())


def test_a_hostile_search_path_changes_nothing(shop: Database, role: Callable[..., str]) -> None:
    eve = role("eve")
    session = shop.connect()
    shop.execute("CREATE SCHEMA evil")
    shop.execute(sql.SQL("GRANT ALL ON SCHEMA evil TO {}").format(sql.Identifier(eve)))  # type: ignore[arg-type]
    shop.connect(eve).execute(
        "CREATE FUNCTION evil.pg_has_role(oid, regrole, text) RETURNS boolean LANGUAGE sql AS 'SELECT false'"
    )
    session.execute("SET search_path = evil, pg_catalog")
    receive(session, "shop", headers())
