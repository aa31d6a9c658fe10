"""Channels, templates and notify: what is refused, what is stored, what a transaction means."""

from __future__ import annotations

import os
import stat

import psycopg
import pytest

from support.database import Database

CANARY = "c4nary-s3cret-value"
SIGNING = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

# Ways to write an address that must not be reached.
FORBIDDEN = [
    "http://10.0.0.1/", "http://169.254.169.254/latest", "http://2852039166/", "http://0xa9fea9fe/",
    "http://0251.0376.0251.0376/", "http://[::ffff:169.254.169.254]/", "http://[fe80::1]/",
    "http://192.168.1.1:8080/", "http://10.1/", "http://[64:ff9b::a9fe:a9fe]/",
    "http://user:pw@example.com/", "ftp://example.com/", "file:///etc/passwd", "http:\\\\10.0.0.1",
    "http://10.0.0.1#@127.0.0.1/", "http://①⓪.0.0.1/",
]


def log_channel(db: Database, name: str = "log") -> None:
    db.execute("SELECT automate.create_channel(%s, 'log')", [name])


def template(db: Database, name: str = "late") -> None:
    db.execute(
        "SELECT automate.create_template(%s, 'Flight {{ flight }}', 'Late by {{ minutes }} min',"
        " '<p>{{ flight }}</p>')",
        [name],
    )


def deny(db: Database, sql: str, params: list | None = None) -> psycopg.Error:
    with pytest.raises(psycopg.Error) as caught:
        db.execute(sql, params)
    assert caught.value.sqlstate != "XX000", caught.value
    return caught.value


def test_log_channel_delivers_at_once(db: Database) -> None:
    log_channel(db)
    template(db)
    sent = db.one("""SELECT automate.notify('late', '{log:ops,log}', '{"flight": "<LX8>", "minutes": 9}')""")
    assert db.rows(
        "SELECT subject, body, html, version FROM automate.notification WHERE id = %s", [sent]
    ) == [("Flight <LX8>", "Late by 9 min", "<p>&lt;LX8&gt;</p>", 1)]
    assert db.rows(
        "SELECT channel, recipient, state, attempts, last_error FROM automate.delivery"
        " WHERE notification = %s ORDER BY recipient", [sent]
    ) == [("log", "", "sent", 1, None), ("log", "ops", "sent", 1, None)]
    assert db.one("SELECT count(*) FROM automate.job") == 0


def test_nothing_is_left_of_what_rolls_back(db: Database) -> None:
    log_channel(db)
    template(db)
    data = """'{"flight": "a", "minutes": 1}'"""
    with db.admin.transaction(force_rollback=True):
        db.execute(f"SELECT automate.notify('late', '{{log:a}}', {data})")
    with db.admin.transaction():
        with db.admin.transaction(force_rollback=True):
            db.execute(f"SELECT automate.notify('late', '{{log:b}}', {data})")
        db.execute(f"SELECT automate.notify('late', '{{log:c}}', {data})")
    assert db.rows("SELECT recipient FROM automate.delivery") == [("c",)]
    assert db.one("SELECT count(*) FROM automate.notification") == 1


def test_unknown_names_are_suggested(db: Database) -> None:
    log_channel(db, "ops-log")
    template(db)
    error = deny(db, "SELECT automate.notify('lat', '{ops-log:a}')")
    assert error.sqlstate == "42704" and 'Did you mean "late"?' in error.diag.message_hint
    error = deny(db, "SELECT automate.notify('late', '{ops-lag:a}')")
    assert error.sqlstate == "42704" and 'Did you mean "ops-log"?' in error.diag.message_hint
    for call in ("drop_channel", "disable_channel", "drop_template"):
        assert deny(db, f"SELECT automate.{call}('nowhere')").sqlstate == "42704"


def test_a_missing_variable_is_named(db: Database) -> None:
    log_channel(db)
    template(db)
    error = deny(db, """SELECT automate.notify('late', '{log:a}', '{"flight": "x"}')""")
    assert error.sqlstate == "22023" and '"minutes"' in str(error)
    assert db.one("SELECT count(*) FROM automate.notification") == 0


@pytest.mark.parametrize(
    "recipients", ["{}", "{mail}", "{mail:}", "{mail:anna}", '{"mail:a b@c.d"}', '{"mail:a@b\nBcc: x@y"}', "{NULL}"]
)
def test_bad_recipients_are_refused(db: Database, recipients: str) -> None:
    template(db)
    db.execute(
        "SELECT automate.create_channel('mail', 'smtp',"
        """ '{"host": "127.0.0.1", "from": "a@b.example", "tls": "none"}')"""
    )
    error = deny(
        db, """SELECT automate.notify('late', %s::text[], '{"flight": 1, "minutes": 1}')""", [recipients]
    )
    assert error.sqlstate in ("22023", "22004")


def test_definitions_are_checked(db: Database) -> None:
    error = deny(db, """SELECT automate.create_channel('m', 'smtp', '{"hots": "x", "from": "a@b"}')""")
    assert 'unknown key "hots"' in str(error) and 'Did you mean "host"?' in error.diag.message_hint
    assert '"host" is missing' in error.diag.message_detail
    error = deny(db, "SELECT automate.create_channel('m', 'smpt')")
    assert 'Did you mean "smtp"?' in error.diag.message_hint
    assert "colon" in deny(db, "SELECT automate.create_channel('a:b', 'log')").diag.message_hint
    log_channel(db)
    assert deny(db, "SELECT automate.create_channel('log', 'log')").sqlstate == "42710"
    error = deny(db, "SELECT automate.create_template('t', 'S {{', 'b', '{% iff x %}')")
    assert error.sqlstate == "22023" and "subject" in str(error)
    deny(db, "SELECT automate.create_template('', 's', 'b')")


@pytest.mark.parametrize("url", FORBIDDEN)
def test_a_host_that_is_not_allowed_is_refused_at_definition(db: Database, url: str) -> None:
    error = deny(
        db, "SELECT automate.create_channel('h', 'webhook', jsonb_build_object('url', %s::text))", [url]
    )
    assert error.sqlstate == "22023" and error.diag.message_hint
    assert db.one("SELECT count(*) FROM automate.channel") == 0


def test_the_hint_says_what_to_add_to_which_setting(db: Database) -> None:
    error = deny(db, """SELECT automate.create_channel('h', 'webhook', '{"url": "http://10.0.0.1/"}')""")
    assert "automate.network_allow" in error.diag.message_hint and "10.0.0.1" in error.diag.message_hint


def test_template_versions(db: Database) -> None:
    log_channel(db)
    assert db.one("SELECT automate.create_template('t', 'one', 'b', NULL, 'what it is')") == 1
    assert db.one("SELECT automate.create_template('t', 'two', 'b')") == 2
    assert db.one("SELECT automate.preview_template('t')") == {
        "template": "t", "version": 2, "subject": "two", "body": "b", "html": None,
    }
    assert db.rows("SELECT version, description FROM automate.template ORDER BY 1") == [
        (1, "what it is"), (2, "what it is"),
    ]
    assert db.one("SELECT automate.notify('t', '{log}')")
    db.execute("SELECT automate.drop_template('t')")
    assert db.one("SELECT count(*) FROM automate.template") == 0
    assert db.one("SELECT subject FROM automate.notification") == "two"


def test_a_disabled_channel_is_refused(db: Database) -> None:
    log_channel(db)
    template(db)
    db.execute("SELECT automate.disable_channel('log')")
    error = deny(db, """SELECT automate.notify('late', '{log}', '{"flight": 1, "minutes": 2}')""")
    assert error.sqlstate == "55000" and "enable_channel" in error.diag.message_hint
    db.execute("SELECT automate.enable_channel('log')")
    db.execute("""SELECT automate.notify('late', '{log}', '{"flight": 1, "minutes": 2}')""")


def test_secrets_are_nowhere_in_the_clear(db: Database) -> None:
    db.execute(
        "SELECT automate.create_channel('m', 'smtp',"
        """ '{"host": "127.0.0.1", "from": "a@b.example", "user": "u"}', jsonb_build_object('password', %s::text))""",
        [CANARY],
    )
    for secrets in (f'{{"pasword": "{CANARY}"}}', f'{{"password": ["{CANARY}"]}}', f'["{CANARY}"]'):
        error = deny(
            db,
            "SELECT automate.create_channel('n', 'smtp',"
            f""" '{{"host": "127.0.0.1", "from": "a@b.example"}}', '{secrets}')""",
        )
        assert CANARY not in str(error) and CANARY not in str(error.diag.message_hint)
    for table, in db.rows(
        "SELECT format('automate.%I', relname) FROM pg_class"
        " WHERE relnamespace = 'automate'::regnamespace AND relkind = 'r'"
    ):
        assert db.one(f"SELECT count(*) FROM {table} AS t WHERE t::text LIKE %s", [f"%{CANARY}%"]) == 0, table
        hexed = CANARY.encode().hex()
        assert db.one(f"SELECT count(*) FROM {table} AS t WHERE t::text LIKE %s", [f"%{hexed}%"]) == 0, table
    assert CANARY not in db.cluster.log()
    assert CANARY not in db.cluster.run("pg_dump", "-d", db.name, "-U", "postgres").stdout
    key = db.cluster.data / "pg_automate" / "key"
    assert stat.S_IMODE(os.stat(key).st_mode) == 0o600 and key.stat().st_size == 32
    assert list(key.parent.glob("key.*")) == []


def test_secrets_of_a_form_that_cannot_work_are_refused(db: Database) -> None:
    for secrets in ('{"signing": "abc"}', '{"signing": "whsec_AAAA"}', '{"headers": {"X": "a\\nb"}}'):
        error = deny(
            db, f"""SELECT automate.create_channel('h', 'webhook', '{{"url": "http://127.0.0.1/"}}', '{secrets}')"""
        )
        assert error.sqlstate == "22023"
    deny(db, """SELECT automate.create_channel('l', 'log', '{}', '{"a": "b"}')""")


def test_alter_channel_replaces_what_is_given(db: Database) -> None:
    db.execute(
        """SELECT automate.create_channel('h', 'webhook', '{"url": "http://127.0.0.1/a"}', %s, 'd')""",
        [f'{{"signing": "{SIGNING}"}}'],
    )
    db.execute("""SELECT automate.alter_channel('h', '{"url": "http://127.0.0.1/b"}')""")
    assert db.rows("SELECT config, secret_names, description, version FROM automate.channel") == [
        ({"url": "http://127.0.0.1/b"}, ["signing"], "d", 2)
    ]
    db.execute("SELECT automate.alter_channel('h', secrets => '{}')")
    assert db.one("SELECT secret_names FROM automate.channel") == []
    assert db.one("SELECT count(*) FROM automate.channel_secret") == 0
    deny(db, """SELECT automate.alter_channel('h', '{"url": "http://10.0.0.1/"}')""")


def test_a_channel_is_its_owners_and_of_those_with_its_privileges(db: Database) -> None:
    roles = [f"{name}_{db.name}" for name in ("ann", "bob", "team")]
    ann, bob, team = roles
    for name in roles:
        db.execute(f"CREATE ROLE {name} LOGIN")
    try:
        for name in roles:
            db.execute(f"GRANT USAGE ON SCHEMA automate TO {name}")
            db.execute(f"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA automate TO {name}")
            db.execute(f"REVOKE EXECUTE ON FUNCTION automate.see_all() FROM PUBLIC, {name}")
            db.execute(f"GRANT SELECT ON automate.channel, automate.delivery TO {name}")
        db.execute(f"GRANT {team} TO {ann}")
        with db.connect(team) as session:
            session.execute("SELECT automate.create_channel('shared', 'log')")
            session.execute("SELECT automate.create_template('t', 's', 'b')")
        with db.connect(ann) as session:
            session.execute("SELECT automate.notify('t', '{shared:x}')")
            assert session.execute("SELECT owner::text FROM automate.delivery").fetchall() == [(ann,)]
        with db.connect(bob) as session:
            assert session.execute("SELECT count(*) FROM automate.channel").fetchone() == (0,)
            assert session.execute("SELECT count(*) FROM automate.delivery").fetchone() == (0,)
            with pytest.raises(psycopg.errors.UndefinedObject):
                session.execute("SELECT automate.notify('t', '{shared:x}')")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                session.execute("SELECT * FROM automate.channel_secret")
    finally:
        db.execute(f"DROP OWNED BY {', '.join(roles)}")
        db.close()
        db.cluster.query(f"DROP DATABASE {db.name} WITH (FORCE)")
        for name in roles:
            db.cluster.query(f"DROP ROLE {name}")


def test_five_hundred_calls_in_one_session(db: Database) -> None:
    log_channel(db)
    template(db)
    for n in range(500):
        db.execute(
            "SELECT automate.notify('late', '{log}', jsonb_build_object('flight', %s::int, 'minutes', 1))", [n]
        )
    assert db.one("SELECT count(*) FROM automate.delivery WHERE state = 'sent'") == 500
