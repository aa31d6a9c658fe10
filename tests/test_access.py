"""Levels of use: nothing works without one, and nobody sees what is another's."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import errors


def test_nothing_works_without_a_level(db, role):
    stranger = db.connect(role("stranger", level=None))
    for call in (
        "SELECT automate.version()",
        "SELECT * FROM automate.status()",
        "SELECT automate.enqueue_sql('SELECT 1')",
        "SELECT automate.emit_event('x')",
        "TABLE automate.job",
        "TABLE automate.run",
    ):
        with pytest.raises(errors.InsufficientPrivilege):
            stranger.execute(call)


def test_level_user_works_and_makes_no_channels(db, role):
    ann = db.connect(role("ann"))
    ann.execute("CREATE TABLE mine (x int)")
    ann.execute("SELECT automate.enqueue_sql('INSERT INTO mine VALUES (1)')")
    db.wait_until("SELECT count(*) = 1 FROM mine")
    with pytest.raises(errors.InsufficientPrivilege):
        ann.execute("SELECT automate.create_channel('c', 'log')")
    with pytest.raises(errors.InsufficientPrivilege):
        ann.execute("SELECT automate.pause()")
    with pytest.raises(errors.InsufficientPrivilege):
        ann.execute("INSERT INTO automate.job_history DEFAULT VALUES")


def test_level_network_makes_channels(db, role):
    net = db.connect(role("net", level="network"))
    assert net.execute("SELECT automate.create_channel('c', 'log')").fetchone()[0] is not None


def test_monitor_reads_everybody_and_users_only_themselves(db, role):
    ann, bob, eve = role("ann"), role("bob"), role("eve", level="monitor")
    for owner in (ann, bob):
        db.connect(owner).execute("SELECT automate.enqueue_sql('SELECT 1', run_at => now() + interval '1 day')")
    count = "SELECT count(*), count(DISTINCT owner) FROM automate.job"
    assert db.connect(ann).execute(count).fetchone() == (1, 1)
    assert db.connect(eve).execute(count).fetchone() == (2, 2)
    with pytest.raises(errors.InsufficientPrivilege):
        db.connect(eve).execute("SELECT automate.enqueue_sql('SELECT 1')")


def test_admin_pauses_and_grants(db, role):
    chief, other = role("chief", level="admin"), role("other", level=None)
    session = db.connect(chief)
    session.execute("SELECT automate.pause('for the test')")
    state = "SELECT state, detail FROM automate.status() WHERE item = 'processing'"
    assert session.execute(state).fetchone()[0] == "paused"
    session.execute("SELECT automate.resume()")
    session.execute("SELECT automate.grant_usage(%s::regrole)", [other])
    assert db.connect(other).execute("SELECT automate.version()").fetchone() is not None
    session.execute("SELECT automate.revoke_usage(%s::regrole)", [other])
    with pytest.raises(errors.InsufficientPrivilege):
        db.connect(other).execute("SELECT automate.version()")


def test_bad_levels_and_roles_are_refused_with_a_way_out(db):
    with pytest.raises(errors.InvalidParameterValue) as refused:
        db.execute("SELECT automate.grant_usage('postgres', 'monitr')")
    assert refused.value.diag.message_hint == 'Did you mean "monitor"?'
    with pytest.raises(errors.UndefinedObject) as refused:
        db.execute("SELECT automate.grant_usage('-')")
    assert "PUBLIC" in refused.value.diag.message_hint


def test_a_role_that_may_not_log_in_owns_nothing(db, role):
    name = role("nologin", options="NOLOGIN")
    session = db.connect()
    session.execute(psycopg.sql.SQL("SET ROLE {}").format(psycopg.sql.Identifier(name)))
    with pytest.raises(errors.InvalidAuthorizationSpecification) as refused:
        session.execute("SELECT automate.enqueue_sql('SELECT 1')")
    assert "LOGIN" in refused.value.diag.message_hint
