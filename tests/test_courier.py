"""The courier: what leaves, what comes back, and what it survives."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import signal
import socket
import time

import pytest

from support.database import Database
from support.http import HttpServer
from support.polling import poll
from support.smtp import SmtpServer

SIGNING = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def mail_channel(db: Database, smtp: SmtpServer, name: str = "mail") -> None:
    config = {"host": smtp.host, "port": smtp.port, "tls": "none", "from": "Ops <ops@example.com>"}
    db.execute("SELECT automate.create_channel(%s, 'smtp', %s)", [name, json.dumps(config)])


def hook_channel(
    db: Database, http: HttpServer, name: str = "hook", path: str = "/in", secrets: dict | None = None
) -> None:
    config = {"url": http.url + path, "headers": {"X-Team": "ops"}}
    db.execute(
        "SELECT automate.create_channel(%s, 'webhook', %s, %s)",
        [name, json.dumps(config), json.dumps(secrets or {})],
    )


def template(db: Database) -> None:
    db.execute("SELECT automate.create_template('t', 'Flight {{ n }}', 'Body {{ n }}', '<b>{{ n }}</b>')")


def notify(db: Database, recipient: str, n: object = 1) -> str:
    """Tells one recipient; the delivery's id."""
    sent = db.one(
        "SELECT automate.notify('t', ARRAY[%s], jsonb_build_object('n', %s::text))", [recipient, str(n)]
    )
    return str(db.one("SELECT id FROM automate.delivery WHERE notification = %s", [sent]))


def delivery(db: Database, id: str, state: str, deadline: float = 10) -> tuple:
    """Waits until the delivery is in the state; attempts, last_error, response."""
    db.wait_until("SELECT state = %s FROM automate.delivery WHERE id = %s", [state, id], deadline)
    return db.rows("SELECT attempts, last_error, response FROM automate.delivery WHERE id = %s", [id])[0]


def hurry(db: Database, id: str) -> None:
    """Makes a job that was put off due now."""
    db.wait_until("SELECT status = 'scheduled' FROM automate.job WHERE id = %s", [id])
    db.execute("UPDATE automate.job SET run_at = now(), status = 'ready' WHERE id = %s", [id])
    wake(db)


def wake(db: Database) -> None:
    """Any network work wakes the courier."""
    db.execute("SELECT automate.retry_job(id) FROM automate.job_history WHERE false")
    pid = courier(db)
    if pid:
        os.kill(pid, signal.SIGHUP)


def courier(db: Database) -> int | None:
    rows = db.rows(
        "SELECT pid FROM pg_stat_activity WHERE backend_type = 'pg_automate courier' AND datname = %s",
        [db.name],
    )
    return rows[0][0] if rows else None


def test_a_mail_arrives_whole(db: Database, smtp: SmtpServer) -> None:
    mail_channel(db, smtp)
    template(db)
    id = notify(db, "mail:anna@example.com", "<7>")
    (mail,) = smtp.wait_for(1)
    message = mail.message
    assert (mail.sender, mail.recipients) == ("ops@example.com", ["anna@example.com"])
    assert (message["Subject"], message["From"]) == ("Flight <7>", "Ops <ops@example.com>")
    assert message["Message-ID"] == f"<{id}@pg-automate>"
    assert message.get_body(("plain",)).get_content().strip() == "Body <7>"
    assert message.get_body(("html",)).get_content().strip() == "<b>&lt;7&gt;</b>"
    attempts, error, response = delivery(db, id, "sent")
    assert (attempts, error) == (1, None) and response.startswith("250 ")
    db.wait_until("SELECT count(*) = 0 FROM automate.job")
    assert db.rows("SELECT kind, status, result FROM automate.job_history WHERE id = %s", [id]) == [
        ("delivery", "succeeded", {"status": 250})
    ]


def test_an_attachment_goes_with_a_mail(db: Database, smtp: SmtpServer) -> None:
    mail_channel(db, smtp)
    template(db)
    with db.admin.transaction():
        id = notify(db, "mail:anna@example.com")
        db.execute(
            "INSERT INTO automate.attachment SELECT notification, 1, owner, 'a.csv', 'text/csv', 'x,y'"
            " FROM automate.delivery WHERE id = %s", [id],
        )
    (mail,) = smtp.wait_for(1)
    (part,) = mail.message.iter_attachments()
    assert (part.get_filename(), part.get_content_type()) == ("a.csv", "text/csv")
    assert part.get_payload(decode=True) == b"x,y"


def test_a_webhook_arrives_signed(db: Database, http: HttpServer) -> None:
    hook_channel(db, http, secrets={"signing": SIGNING, "headers": {"Authorization": "Bearer c4nary-tok3n"}})
    template(db)
    id = notify(db, "hook:topic", 5)
    (request,) = http.wait_for(1)
    assert request.method == "POST" and request.path == "/in"
    assert request.json["id"] == id and request.json["type"] == "t"
    assert request.json["subject"] == "Flight 5" and request.json["body"] == "Body 5"
    assert request.json["data"] == {"n": "5"} and request.json["recipient"] == "topic"
    headers = request.headers
    assert headers["webhook-id"] == headers["idempotency-key"] == id
    assert headers["x-team"] == "ops" and headers["authorization"] == "Bearer c4nary-tok3n"
    assert headers["content-type"] == "application/json"
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    key = base64.b64decode(SIGNING.removeprefix("whsec_"))
    signed = f"{id}.{headers['webhook-timestamp']}.".encode() + request.body
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    delivery(db, id, "sent")


def test_what_rolls_back_is_not_sent(db: Database, http: HttpServer) -> None:
    hook_channel(db, http)
    template(db)
    with db.admin.transaction(force_rollback=True):
        notify(db, "hook:no")
    with db.admin.transaction():
        with db.admin.transaction(force_rollback=True):
            notify(db, "hook:neither")
        notify(db, "hook:yes")
    http.wait_for(1)
    db.wait_until("SELECT count(*) = 0 FROM automate.job")
    assert [r.json["recipient"] for r in http.requests] == ["yes"]


def test_a_busy_server_is_tried_again(db: Database, smtp: SmtpServer) -> None:
    mail_channel(db, smtp)
    template(db)
    smtp.script = ["busy", "close"]
    id = notify(db, "mail:anna@example.com")
    attempts, error, response = delivery(db, id, "retrying")
    assert attempts == 1 and "451" in error and response.startswith("451")
    hurry(db, id)
    db.wait_until("SELECT attempts = 2 FROM automate.delivery WHERE id = %s", [id])
    assert "connection to" in delivery(db, id, "retrying")[1]
    hurry(db, id)
    assert delivery(db, id, "sent")[:2] == (3, None)
    assert len({m.message["Message-ID"] for m in smtp.mails}) == 1


def test_a_refused_recipient_is_given_up(db: Database, smtp: SmtpServer) -> None:
    mail_channel(db, smtp)
    template(db)
    smtp.mode = "refuse"
    id = notify(db, "mail:nobody@example.com")
    attempts, error, _ = delivery(db, id, "failed")
    assert attempts == 1 and "550" in error
    assert db.one("SELECT status FROM automate.job_history WHERE id = %s", [id]) == "failed"
    smtp.mode = "accept"
    db.execute("SELECT automate.retry_job(%s)", [id])
    delivery(db, id, "sent")


def test_a_server_that_is_down_is_tried_again(db: Database) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        db.execute(
            "SELECT automate.create_channel('mail', 'smtp', %s)",
            [json.dumps({"host": "127.0.0.1", "port": port, "tls": "none", "from": "a@b.example"})],
        )
        template(db)
        id = notify(db, "mail:a@b.example")
        attempts, error, _ = delivery(db, id, "retrying")
    assert attempts == 1 and "could not connect" in error.lower() and error.startswith("08")


@pytest.mark.parametrize("mode", ["500", "reset"])
def test_a_failing_webhook_is_tried_again_under_the_same_id(db: Database, http: HttpServer, mode: str) -> None:
    hook_channel(db, http)
    template(db)
    http.script = [mode]
    id = notify(db, "hook:x")
    delivery(db, id, "retrying")
    hurry(db, id)
    assert delivery(db, id, "sent")[0] == 2
    assert {r.headers["webhook-id"] for r in http.requests} == {id}
    assert len(http.requests) == 2


def test_retry_after_is_honoured(db: Database, http: HttpServer) -> None:
    hook_channel(db, http)
    template(db)
    http.script, http.retry_after = ["429"], "1800"
    id = notify(db, "hook:x")
    delivery(db, id, "retrying")
    assert db.one("SELECT run_at > now() + interval '29 min' FROM automate.job WHERE id = %s", [id])


@pytest.mark.parametrize("mode", ["404", "redirect"])
def test_an_answer_that_will_not_change_is_final(db: Database, http: HttpServer, mode: str) -> None:
    hook_channel(db, http)
    template(db)
    http.mode = mode
    id = notify(db, "hook:x")
    assert delivery(db, id, "failed")[0] == 1
    assert len(http.requests) == 1


def test_a_huge_answer_is_cut(db: Database, http: HttpServer) -> None:
    hook_channel(db, http)
    template(db)
    http.mode = "huge"
    id = notify(db, "hook:x")
    assert len(delivery(db, id, "sent")[2]) <= 2000


def test_a_hanging_peer_meets_its_deadline(db: Database, http: HttpServer) -> None:
    hook_channel(db, http)
    template(db)
    http.mode = "hang"
    with db.admin.transaction():
        id = notify(db, "hook:x")
        db.execute("UPDATE automate.job SET timeout_ms = 300 WHERE id = %s", [id])
    assert "deadline of 300ms passed" in delivery(db, id, "retrying")[1]


def test_a_slow_peer_delays_nobody_else(db: Database, http: HttpServer) -> None:
    fast = HttpServer().start()
    try:
        hook_channel(db, http, "slow")
        hook_channel(db, fast, "fast")
        template(db)
        http.mode = "hang"
        recipients = [f"slow:{n}" for n in range(100)]
        db.execute("SELECT automate.notify('t', %s, '{\"n\": 1}')", [recipients])
        http.wait_for(1)
        id = notify(db, "fast:x")
        delivery(db, id, "sent", deadline=5)
        assert db.one("SELECT count(*) FROM automate.delivery WHERE channel = 'slow' AND state = 'sent'") == 0
        http.release()
        db.wait_until("SELECT count(*) = 0 FROM automate.delivery WHERE state <> 'sent'", deadline=20)
    finally:
        fast.stop()


def test_a_host_that_is_no_longer_allowed_gets_no_connection(db: Database, http: HttpServer) -> None:
    hook_channel(db, http)
    template(db)
    for url in (
        f"http://2130706433:{http.port}/", f"http://0x7f.1:{http.port}/", f"http://0177.0.0.1:{http.port}/",
        f"http://[::ffff:127.0.0.1]:{http.port}/", f"http://127.1:{http.port}/", f"http://localhost:{http.port}/",
    ):
        db.execute(
            "SELECT automate.create_channel(%s, 'webhook', jsonb_build_object('url', %s::text))",
            ["c" + url.replace(":", "-"), url],
        )
    db.execute("ALTER SYSTEM SET automate.network_allow = '*'")
    try:
        db.execute("SELECT pg_reload_conf()")
        db.wait_until("SELECT current_setting('automate.network_allow') = '*'")
        db.execute(
            "SELECT automate.notify('t', array_agg(name || ':x'), '{\"n\": 1}') FROM automate.channel"
        )
        db.wait_until("SELECT count(*) = 7 FROM automate.delivery WHERE state = 'failed'")
        errors = [e for e, in db.rows("SELECT last_error FROM automate.delivery")]
        assert all("not allowed" in e and "automate.network_allow" in e for e in errors), errors
        assert http.connections == 0
    finally:
        db.execute("ALTER SYSTEM RESET automate.network_allow")
        db.execute("SELECT pg_reload_conf()")
        db.wait_until("SELECT current_setting('automate.network_allow') <> '*'")


def test_one_bad_row_fails_alone(db: Database, http: HttpServer) -> None:
    for name in ("good", "config", "secret", "dropped"):
        hook_channel(db, http, name, f"/{name}", secrets={"signing": SIGNING})
    template(db)
    with db.admin.transaction():
        bad = [notify(db, f"{name}:x") for name in ("config", "secret", "dropped")]
        lost = notify(db, "good:lost")
        good = notify(db, "good:x")
        db.execute("""UPDATE automate.channel SET config = '{"url": 7}' WHERE name = 'config'""")
        db.execute(
            "UPDATE automate.channel_secret SET sealed = '\\x0102' WHERE channel ="
            " (SELECT id FROM automate.channel WHERE name = 'secret')"
        )
        db.execute("SELECT automate.drop_channel('dropped')")
        db.execute("DELETE FROM automate.delivery WHERE id = %s", [lost])
        db.execute(
            "INSERT INTO automate.job (id, kind, owner, lane, payload, run_at, status) VALUES"
            " (gen_random_uuid(), 'http', current_user::regrole, 'n', '[1]', now(), 'ready'),"
            " (gen_random_uuid(), 'sql', current_user::regrole, 'n', '{}', now(), 'ready'),"
            """ (gen_random_uuid(), 'http', current_user::regrole, 'n',
                 '{"url": "http://127.0.0.1:1/", "headers": {"Host": "x"}}', now(), 'ready')"""
        )
    delivery(db, good, "sent")
    for id in bad:
        assert delivery(db, id, "failed")[0] == 1
    db.wait_until("SELECT count(*) = 0 FROM automate.job")
    assert db.one("SELECT count(*) FROM automate.job_history WHERE status = 'failed'") == 7
    assert [r.path for r in http.requests] == ["/good"]


def test_a_paused_database_sends_nothing(db: Database, http: HttpServer) -> None:
    hook_channel(db, http)
    template(db)
    delivery(db, notify(db, "hook:before"), "sent")
    db.execute("SELECT automate.pause()")
    db.wait_until("SELECT true FROM automate.instance WHERE paused")
    # The coordinator spreads the word; only then is nothing claimed any more.
    poll(lambda: paused_for_workers(db), 5, "the workers know")
    id = notify(db, "hook:during")
    wake(db)
    assert db.one("SELECT state FROM automate.delivery WHERE id = %s", [id]) == "queued"
    db.execute("SELECT automate.resume()")
    delivery(db, id, "sent")
    assert len(http.requests) == 2


def paused_for_workers(db: Database) -> bool:
    """A statement in the background does not run any more."""
    id = db.one("SELECT automate.enqueue_sql('SELECT 1')")
    gone = "SELECT count(*) FROM automate.job_history WHERE id = %s"
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        if db.one(gone, [id]):
            return False
    return True


def test_a_terminated_courier_loses_nothing(db: Database, smtp: SmtpServer) -> None:
    mail_channel(db, smtp)
    template(db)
    recipients = [f"mail:u{n}@example.com" for n in range(300)]
    db.execute("SELECT automate.notify('t', %s, '{\"n\": 1}')", [recipients])
    smtp.wait_for(20)
    db.execute("SELECT pg_terminate_backend(%s)", [courier(db)])
    db.wait_until("SELECT count(*) = 0 FROM automate.delivery WHERE state <> 'sent'", deadline=30)
    by_recipient: dict[str, set[str]] = {}
    for mail in smtp.mails:
        by_recipient.setdefault(mail.recipients[0], set()).add(mail.message["Message-ID"])
    assert len(by_recipient) == 300
    assert all(len(ids) == 1 for ids in by_recipient.values())
    assert db.one("SELECT count(*) FROM automate.job") == 0


def test_a_courier_that_waits_for_a_peer_ends_at_once(db: Database, http: HttpServer) -> None:
    hook_channel(db, http)
    template(db)
    http.mode = "hang"
    id = notify(db, "hook:x")
    http.wait_for(1)
    pid = courier(db)
    began = time.monotonic()
    db.execute("SELECT pg_terminate_backend(%s)", [pid])
    poll(lambda: courier(db) != pid, 5, "the courier ends")
    assert time.monotonic() - began < 1
    http.wait_for(2)
    http.release()
    delivery(db, id, "sent")
    assert {r.headers["webhook-id"] for r in http.requests} == {id}


def test_a_database_with_a_courier_can_be_dropped(db: Database, http: HttpServer) -> None:
    hook_channel(db, http)
    template(db)
    http.mode = "hang"
    notify(db, "hook:x")
    http.wait_for(1)
    db.close()
    db.cluster.query(f"DROP DATABASE {db.name}")


def test_no_transaction_is_open_while_a_peer_is_waited_for(db: Database, http: HttpServer) -> None:
    hook_channel(db, http)
    template(db)
    http.mode = "hang"
    notify(db, "hook:x")
    http.wait_for(1)
    db.wait_until(
        "SELECT xact_start IS NULL AND backend_xmin IS NULL FROM pg_stat_activity WHERE pid = %s", [courier(db)]
    )
    http.release()


def test_a_secret_that_a_peer_repeats_is_not_kept(db: Database, http: HttpServer) -> None:
    hook_channel(db, http, secrets={"headers": {"X-Key": "c4nary-t0ken"}})
    template(db)
    http.body = b"you said c4nary-t0ken \x00"
    id = notify(db, "hook:x")
    assert delivery(db, id, "sent")[2] == "200 you said *** \ufffd"
    http.mode = "500"
    delivery(db, notify(db, "hook:y"), "retrying")
    assert db.one("SELECT count(*) FROM automate.delivery AS d WHERE d::text LIKE '%c4nary%'") == 0
    assert "c4nary-t0ken" not in db.cluster.log()


def test_a_dropped_owner_stops_only_its_own(db: Database, http: HttpServer) -> None:
    hook_channel(db, http)
    template(db)
    http.mode = "200"
    with db.admin.transaction():
        ghost, good = notify(db, "hook:ghost"), notify(db, "hook:good")
        db.execute("UPDATE automate.job SET owner = 999999::oid::regrole WHERE id = %s", [ghost])
    delivery(db, good, "sent")
    assert "no longer exists" in delivery(db, ghost, "failed")[1]


def test_a_concurrency_key_admits_one_at_a_time(db: Database, http: HttpServer) -> None:
    template(db)
    http.mode = "hang"
    url = json.dumps({"url": http.url + "/k", "method": "POST"})
    for _ in range(3):
        db.execute(
            "INSERT INTO automate.job (id, kind, owner, lane, payload, run_at, status, concurrency_key)"
            " VALUES (gen_random_uuid(), 'http', current_user::regrole, 'n', %s, now(), 'ready', 'k')", [url]
        )
    hook_channel(db, http, "other", "/other")
    notify(db, "other:x")
    http.wait_for(2)
    assert sorted(r.path for r in http.requests) == ["/k", "/other"]
    http.mode = "200"
    http.release()
    db.wait_until("SELECT count(*) = 0 FROM automate.job", deadline=20)
    assert [r.path for r in http.requests].count("/k") == 3


def test_an_http_job_carries_its_key_and_query(db: Database, http: HttpServer) -> None:
    payload = {
        "url": http.url + "/a?b=1", "method": "PUT", "query": {"c": "d e", "n": 2}, "body": {"x": [1]},
        "headers": {"X-A": "b"}, "idempotency_key": "run-1:/do/0", "timeout_ms": 5000,
    }
    id = db.one(
        "INSERT INTO automate.job (id, kind, owner, lane, payload, run_at, status, max_attempts)"
        " VALUES (gen_random_uuid(), 'http', current_user::regrole, 'n', %s, now(), 'ready', 3) RETURNING id",
        [json.dumps(payload)],
    )
    http.script = ["500"]
    wake(db)
    db.execute("SELECT automate.resume()")
    hurry(db, str(id))
    first, second = http.wait_for(2)
    assert (first.method, first.path, first.json) == ("PUT", "/a?b=1&c=d+e&n=2", {"x": [1]})
    assert first.headers["x-a"] == "b" and first.headers["content-type"] == "application/json"
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"] == "run-1:/do/0"
    db.wait_until("SELECT status = 'succeeded' AND attempts = 2 FROM automate.job_history WHERE id = %s", [id])
