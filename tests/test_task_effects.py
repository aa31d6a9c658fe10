"""What tasks set off: workflows that run once for an instant, reports that arrive by mail."""

from __future__ import annotations

import json
from typing import Any

import pytest
from psycopg import errors

from support.database import Database
from support.smtp import SmtpServer

REPORT = {
    "title": "Delays",
    "params": {"most": {"type": "int", "default": "3"}},
    "datasets": {"d": {"sql": "SELECT n, 'é' AS note FROM generate_series(1, $most) AS n"}},
    "layout": [{"table": {"data": "d"}}, {"chart": {"type": "bar", "data": "d", "x": "note", "y": "n"}}],
    "on_empty": "skip",
}


def mail_report(db: Database, smtp: SmtpServer, args: dict[str, Any]) -> None:
    """A task `daily` that sends the report `delays`."""
    config = {"host": smtp.host, "port": smtp.port, "tls": "none", "from": "ops@example.com"}
    db.execute("SELECT automate.create_channel('mail', 'smtp', %s)", [json.dumps(config)])
    db.execute(
        "SELECT automate.create_template('report', '{{ title }}: {{ rows }} rows', 'As of {{ as_of }}:\n{{ text }}')"
    )
    db.execute("SELECT automate.create_report('delays', %s)", [json.dumps(REPORT)])
    deliver = {"template": "report", "recipients": ["mail:ops@example.com"]}
    db.execute(
        "SELECT automate.schedule_task('daily', 'report', '@daily', 'delays', %s)", [json.dumps({**deliver, **args})]
    )


def test_a_report_arrives_by_mail(db: Database, smtp: SmtpServer) -> None:
    mail_report(db, smtp, {"formats": ["html", "csv"]})
    db.execute("SELECT automate.execute_task('daily')")
    (mail,) = smtp.wait_for(1, 20)
    assert mail.message["Subject"] == "Delays: 3 rows"
    files = {part.get_filename(): part.get_content() for part in mail.message.iter_attachments()}
    day = db.one("SELECT to_char(as_of, 'YYYY-MM-DD') FROM automate.report_run")
    assert set(files) == {f"delays-{day}.html", f"delays-{day}.csv"}
    assert "<svg" in files[f"delays-{day}.html"]
    assert files[f"delays-{day}.csv"].splitlines() == ['"n","note"', '1,"é"', '2,"é"', '3,"é"']
    body = mail.message.get_body(("plain",)).get_content()
    assert "(3 rows)" in body
    status, source, told = db.rows("SELECT status, source, notification IS NOT NULL FROM automate.report_run")[0]
    assert (status, source, told) == ("completed", "task:daily", True)


def test_an_empty_report_is_not_sent(db: Database, smtp: SmtpServer) -> None:
    mail_report(db, smtp, {"params": {"most": 0}})
    db.execute("SELECT automate.execute_task('daily')")
    db.wait_until("SELECT status = 'completed' AND rows = 0 FROM automate.report_run")
    assert db.one("SELECT notification FROM automate.report_run") is None
    assert db.one("SELECT count(*) FROM automate.delivery") == 0
    assert smtp.mails == []


def test_unknown_template_and_workflow_are_told(db: Database, smtp: SmtpServer) -> None:
    mail_report(db, smtp, {})
    with pytest.raises(errors.UndefinedObject) as caught:
        db.execute(
            "SELECT automate.schedule_task('t', 'report', '@daily', 'delays', "
            """'{"template": "reprot", "recipients": ["mail:a@b"]}')"""
        )
    assert caught.value.diag.message_hint == 'Did you mean "report"?'
    with pytest.raises(errors.UndefinedObject) as caught:
        db.execute("SELECT automate.schedule_task('t', 'workflow', '@daily', 'nothing')")
    assert caught.value.diag.message_primary == 'workflow "nothing" does not exist'


def test_a_workflow_runs_for_an_instant(db: Database) -> None:
    db.execute("CREATE TABLE log (what text)")
    workflow = {
        "document": {"dsl": "1.0.0", "namespace": "test", "name": "w", "version": "1.0.0"},
        "do": [{"note": {"call": "sql", "with": {
            "query": "INSERT INTO log VALUES ($1)", "params": ["${ .word }"]}}}],
    }
    db.execute("SELECT automate.create_workflow('w', %s)", [json.dumps(workflow)])
    db.execute("""SELECT automate.schedule_task('nightly', 'workflow', '@daily', 'w', '{"word": "done"}')""")
    db.execute("SELECT automate.execute_task('nightly')")
    assert db.wait_until("SELECT what FROM log", deadline=20) == "done"
    db.wait_until("SELECT status = 'completed' FROM automate.run")
    db.wait_until("SELECT status = 'succeeded' FROM automate.task_runs")
