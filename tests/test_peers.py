"""The peers on loopback do what their modes say: a test with a broken peer proves nothing."""

from __future__ import annotations

import http.client
import smtplib

import pytest

from support.http import HUGE, HttpServer
from support.smtp import SmtpServer

BODY = b"Subject: hello\r\n\r\nworld\r\n"


def send(server: SmtpServer) -> None:
    with smtplib.SMTP(server.host, server.port, timeout=5) as client:
        client.sendmail("a@test", ["b@test", "c@test"], BODY)


def get(server: HttpServer, path: str = "/x") -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    connection.request("POST", path, body=b'{"a": 1}', headers={"X-Key": "k"})
    return connection.getresponse()


def test_smtp_accepts_and_records(smtp: SmtpServer) -> None:
    send(smtp)
    (mail,) = smtp.mails
    assert mail.recipients == ["b@test", "c@test"]
    assert mail.message["Subject"] == "hello"


def test_smtp_misbehaves_by_script(smtp: SmtpServer) -> None:
    smtp.script = ["refuse", "busy", "close"]
    for code in (550, 451):
        with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
            send(smtp)
        assert refused.value.recipients["b@test"][0] == code
    with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionResetError)):
        send(smtp)
    send(smtp)
    assert len(smtp.mails) == 1
    assert smtp.attempts == 4


def test_smtp_slow_waits_for_release(smtp: SmtpServer) -> None:
    smtp.mode = "slow"
    impatient = smtplib.SMTP(smtp.host, smtp.port, timeout=0.3)
    with pytest.raises(smtplib.SMTPServerDisconnected, match="timed out"):
        impatient.sendmail("a@test", ["b@test"], BODY)
    assert smtp.mails == []
    smtp.release()
    send(smtp)
    assert smtp.mails


def test_http_records(http: HttpServer) -> None:
    assert get(http, "/path").status == 200
    (request,) = http.requests
    assert (request.method, request.path, request.json) == ("POST", "/path", {"a": 1})
    assert request.headers["x-key"] == "k"


def test_http_misbehaves_by_script(http: HttpServer) -> None:
    http.script = ["500", "429", "redirect", "reset", "huge"]
    http.redirect_to = "http://10.0.0.1/"
    assert get(http).status == 500
    limited = get(http)
    assert (limited.status, limited.headers["Retry-After"]) == (429, "1")
    moved = get(http)
    assert (moved.status, moved.headers["Location"]) == (302, "http://10.0.0.1/")
    with pytest.raises(ConnectionError):
        get(http)
    assert len(get(http).read()) == HUGE
    assert get(http).status == 200


def test_http_hang_waits_for_release(http: HttpServer) -> None:
    http.mode = "hang"
    connection = http_connection(http, timeout=0.2)
    connection.request("GET", "/")
    with pytest.raises(TimeoutError):
        connection.getresponse()
    http.release()
    assert get(http).status == 200


def http_connection(server: HttpServer, timeout: float) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", server.port, timeout=timeout)
