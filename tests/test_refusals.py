"""Every refusal tells what is wrong, the facts, and the way out: SQLSTATE, message, DETAIL and HINT."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from psycopg import sql

from support.cluster import Cluster
from support.database import Database

CANARY = "c4nary-s3cret-value"

# What the cases refer to; made once, by the superuser.
OBJECTS = """
CREATE TABLE orders (id int PRIMARY KEY, status text, amount numeric, doc jsonb);
CREATE TABLE plans (id int);
CREATE VIEW a_view AS SELECT * FROM orders;
CREATE MATERIALIZED VIEW a_heap AS SELECT * FROM orders;
CREATE TEMPORARY TABLE passing (id int);
CREATE FUNCTION touch() RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RETURN true; END';
CREATE TABLE guarded (id int);
CREATE TRIGGER wrong BEFORE INSERT ON guarded FOR EACH ROW EXECUTE FUNCTION automate.capture();

SELECT automate.create_channel('ops', 'log');
SELECT automate.create_channel('off', 'log');
SELECT automate.disable_channel('off');
SELECT automate.create_channel('mail', 'smtp', '{"host": "127.0.0.1", "from": "a@b.example", "tls": "none"}');
SELECT automate.create_template('late', 'Flight {{ flight }}', 'Late by {{ minutes }} min');
SELECT automate.create_workflow('fulfil', '{"do": [{"one": {"call": "sql", "with": {"query": "SELECT 1"}}}]}');
SELECT automate.create_workflow('resting', '{"do": [{"one": {"set": {"a": 1}}}]}');
SELECT automate.disable_workflow('resting');
SELECT automate.create_workflow('waiting', '{"do": [{"w": {"wait": {"hours": 1}}}]}');
SELECT automate.create_rule('big', '[{"emit": "order.big"}]', on_table => 'orders');
SELECT automate.schedule_task('daily', 'sql', '@daily', 'SELECT 1');
SELECT automate.create_report('since', '{"title": "t", "params": {"from": {"type": "date"}},
    "datasets": {"d": {"sql": "SELECT $from AS day"}}, "layout": [{"table": {"data": "d"}}]}');
SELECT automate.create_report('fixed', '{"title": "t",
    "datasets": {"d": {"sql": "SELECT 1 AS a"}}, "layout": [{"table": {"data": "d"}}]}');
SELECT automate.create_report('broken', '{"title": "t",
    "datasets": {"d": {"sql": "SELECT 1 / (n - 1) AS a FROM generate_series(1, 1) AS n"}},
    "layout": [{"table": {"data": "d"}}]}');
"""

EMIT = """'[{"emit": "e"}]'"""
RULE = f"SELECT automate.create_rule('r', {EMIT}, on_table => 'orders', "
TASK = "SELECT automate.schedule_task('t', 'sql', "
HOOK = "SELECT automate.create_channel('h', 'webhook', "
DEEP = "(repeat('[', 200) || repeat(']', 200))::jsonb"
LARGE = "jsonb_build_object('a', repeat('x', 2 << 20))"


def action(text: str) -> str:
    return f"SELECT automate.create_rule('r', '[{text}]', on_table => 'orders')"


def hook(url: str) -> str:
    return HOOK + f"""'{{"url": "{url}"}}')"""


def smtp(config: str) -> str:
    return f"SELECT automate.create_channel('m', 'smtp', '{{{config}}}')"


def workflow(text: str) -> str:
    return f"""SELECT automate.create_workflow('w', '{{"do": [{{"a": {text}}}]}}')"""


def step(query: str, more: str = "") -> str:
    return workflow(f"""{{"call": "sql", "with": {{"query": "{query}"{more}}}}}""")


def report(query: str, more: str = "") -> str:
    return (
        f"""SELECT automate.create_report('r', '{{"title": "t", "datasets": {{"d": {{"sql": "{query}"}}}},"""
        f""" "layout": [{{"table": {{"data": "d"{more}}}}}]}}')"""
    )


# (SQLSTATE, call); %(name)s is an id of the scene.
CASES = [
    # NULL where a value is needed
    ("22004", f"SELECT automate.create_rule(NULL, {EMIT}, on_table => 'orders')"),
    ("22004", "SELECT automate.create_rule('r', NULL, on_table => 'orders')"),
    ("22004", RULE + "operations => '{insert,NULL}')"),
    ("22004", "SELECT automate.schedule_task('t', 'sql', NULL, 'SELECT 1')"),
    ("22004", "SELECT automate.create_workflow(NULL, '{}')"),
    ("22023", "SELECT automate.create_workflow('w')"),
    ("22004", "SELECT automate.execute_workflow(NULL)"),
    ("22004", "SELECT automate.validate_workflow(NULL)"),
    ("22004", "SELECT automate.create_channel('c', NULL)"),
    ("22004", "SELECT automate.drop_channel(NULL)"),
    ("22004", "SELECT automate.create_template('t', 's', NULL)"),
    ("22004", "SELECT automate.notify('late', '{ops,NULL}')"),
    ("22004", "SELECT automate.create_report('r', NULL)"),
    ("22004", "SELECT automate.report_text(NULL)"),
    ("22004", "SELECT automate.enqueue_sql(NULL)"),
    ("22004", "SELECT automate.emit_event(NULL)"),
    ("22004", "SELECT automate.next_runs(NULL)"),
    # JSON that is too deep or too large
    ("54000", f"SELECT automate.create_rule('r', {DEEP}, on_table => 'orders')"),
    ("54000", f"SELECT automate.create_workflow('w', {DEEP})"),
    ("54000", f"SELECT automate.create_report('r', {DEEP})"),
    ("54000", f"SELECT automate.enqueue_sql('SELECT $1::text', {DEEP})"),
    ("54000", f"SELECT automate.emit_event('e', {LARGE})"),
    ("54000", f"SELECT automate.execute_workflow('fulfil', {LARGE})"),
    ("54000", f"SELECT automate.notify('late', '{{ops}}', {LARGE})"),
    # names that are not there, and names that cannot be
    ("42704", "SELECT automate.drop_rule('bgi')"),
    ("42704", "SELECT automate.enable_rule('nothing')"),
    ("42704", "SELECT automate.disable_rule('nothing')"),
    ("42704", "SELECT automate.pause_task('dayly')"),
    ("42704", "SELECT automate.resume_task('nothing')"),
    ("42704", "SELECT automate.execute_task('nothing')"),
    ("42704", "SELECT automate.unschedule_task('nothing')"),
    ("42704", "SELECT automate.execute_workflow('fulfill')"),
    ("42704", "SELECT automate.execute_workflow('fulfil', version => 9)"),
    ("42704", "SELECT automate.drop_workflow('nothing')"),
    ("42704", "SELECT automate.enable_workflow('nothing')"),
    ("42704", "SELECT automate.disable_workflow('nothing')"),
    ("42704", "SELECT automate.cancel_run(gen_random_uuid())"),
    ("42704", "SELECT automate.drop_channel('osp')"),
    ("42704", "SELECT automate.alter_channel('nothing')"),
    ("42704", "SELECT automate.enable_channel('nothing')"),
    ("42704", "SELECT automate.disable_channel('nothing')"),
    ("42704", "SELECT automate.drop_template('nothing')"),
    ("42704", "SELECT automate.preview_template('laet')"),
    ("42704", "SELECT automate.drop_report('nothing')"),
    ("42704", "SELECT automate.run_report('sicne')"),
    ("42704", "SELECT automate.report_html('nothing')"),
    ("42704", "SELECT automate.report_csv(E'no\\nthing')"),
    ("42704", "SELECT automate.report_file(gen_random_uuid(), 'csv')"),
    ("42704", "SELECT automate.report_file(%(completed)s, 'html')"),
    ("42704", "SELECT automate.retry_job(gen_random_uuid())"),
    ("42704", "SELECT automate.grant_usage('-')"),
    ("42704", "SELECT automate.revoke_usage('-')"),
    ("42704", "SELECT automate.limit_role('-', running => 1)"),
    ("22023", f"SELECT automate.create_rule('', {EMIT}, on_table => 'orders')"),
    ("22023", "SELECT automate.create_workflow(repeat('x', 201), '{}')"),
    ("22023", "SELECT automate.schedule_task(' ', 'sql', '@daily', 'SELECT 1')"),
    ("22023", "SELECT automate.create_report(E'a\\nb', '{}')"),
    ("22023", "SELECT automate.create_channel('a:b', 'log')"),
    ("22023", "SELECT automate.create_template('', 's', 'b')"),
    ("22023", "SELECT automate.emit_event(' ')"),
    ("42710", f"SELECT automate.create_rule('big', {EMIT}, on_table => 'orders')"),
    ("42710", "SELECT automate.schedule_task('daily', 'sql', '@daily', 'SELECT 1')"),
    ("42710", "SELECT automate.create_channel('ops', 'log')"),
    # words and numbers
    ("22023", "SELECT automate.grant_usage('postgres', 'monitr')"),
    ("22023", "SELECT automate.grant_usage('postgres', 'everything')"),
    ("22023", "SELECT automate.schedule_task('t', 'sqll', '@daily', 'SELECT 1')"),
    ("22023", TASK + "'@daily', 'SELECT 1', misfire => 'never')"),
    ("22023", TASK + "'@daily', 'SELECT 1', overlap => 'alow')"),
    ("22023", TASK + "'@daily', 'SELECT 1', retries => -1)"),
    ("22023", TASK + "'@daily', 'SELECT 1', timeout => '-1 s')"),
    ("22023", RULE + "operations => '{insrt}')"),
    ("22023", RULE + "operations => '{}')"),
    ("22023", "SELECT automate.create_channel('c', 'smpt')"),
    ("22023", """SELECT automate.run_report('fixed', '{}', '{htm}')"""),
    ("22023", """SELECT automate.run_report('fixed', '{}', '{}')"""),
    ("22023", "SELECT automate.report_file(%(completed)s, 'docx')"),
    ("22023", "SELECT automate.enqueue_sql('SELECT 1', max_attempts => 0)"),
    ("22023", "SELECT automate.enqueue_sql('SELECT 1', timeout => '60 days')"),
    ("22023", "SELECT automate.next_runs('@daily', 0)"),
    ("22023", "SELECT automate.next_runs('@daily', after => 'infinity')"),
    ("22023", "SELECT automate.limit_role('postgres', running => 0)"),
    # schedules and time zones
    ("22023", TASK + "'61 * * * *', 'SELECT 1')"),
    ("22023", TASK + "'* 24 * * *', 'SELECT 1')"),
    ("22023", TASK + "'* * 0 * *', 'SELECT 1')"),
    ("22023", TASK + "'* * * janu *', 'SELECT 1')"),
    ("22023", TASK + "'* * * * 8', 'SELECT 1')"),
    ("22023", TASK + "'60 * * * * *', 'SELECT 1')"),
    ("22023", TASK + "'*/x * * * *', 'SELECT 1')"),
    ("22023", TASK + "'* * *', 'SELECT 1')"),
    ("22023", TASK + "'', 'SELECT 1')"),
    ("22023", TASK + "repeat('*', 2000), 'SELECT 1')"),
    ("22023", TASK + "'@dialy', 'SELECT 1')"),
    ("22023", TASK + "'every 0 s', 'SELECT 1')"),
    ("22023", TASK + "'at 2001-01-01T00:00:00Z', 'SELECT 1')"),
    ("22023", TASK + "'at noon', 'SELECT 1')"),
    ("22023", TASK + """'{"cron": 5}', 'SELECT 1')"""),
    ("22023", TASK + """'{"corn": "* * * * *"}', 'SELECT 1')"""),
    ("22023", TASK + """'{"at": "2099-01-01T00:00:00Z", "from": "x"}', 'SELECT 1')"""),
    ("22023", TASK + "'{nonsense', 'SELECT 1')"),
    ("22023", TASK + "'@daily', 'SELECT 1', time_zone => 'Europe/Zürich')"),
    ("22023", "SELECT automate.next_runs('@daily', time_zone => '+02')"),
    ("22023", """SELECT automate.next_runs('{"cron": "0 0 * * *", "time_zone": "Mars/Base"}')"""),
    # statements
    ("42601", "SELECT automate.enqueue_sql('SELEC 1')"),
    ("42601", "SELECT automate.enqueue_sql(' -- nothing')"),
    ("42P01", "SELECT automate.enqueue_sql(E'SELECT *\\nFROM nowhere')"),
    ("42703", "SELECT automate.enqueue_sql('SELECT nothing FROM orders')"),
    ("25001", "SELECT automate.enqueue_sql('VACUUM; SELECT 1')"),
    ("22023", "SELECT automate.enqueue_sql('VACUUM', '[1]')"),
    ("22023", "SELECT automate.enqueue_sql('SELECT 1', '{}')"),
    ("42P01", TASK + "'@daily', 'SELECT * FROM nowhere')"),
    ("22023", TASK + "'@daily', 'SELECT $1::int, $2')"),
    ("22023", TASK + """'@daily', 'SELECT 1', '{"parms": []}')"""),
    ("22023", TASK + """'@daily', 'SELECT 1', '{"params": 1}')"""),
    ("22023", TASK + """'@daily', 'VACUUM', '{"params": [1]}')"""),
    ("42704", "SELECT automate.schedule_task('t', 'workflow', '@daily', 'nothing')"),
    ("42704", "SELECT automate.schedule_task('t', 'report', '@daily', 'nothing')"),
    ("22023", "SELECT automate.schedule_task('t', 'report', '@daily', 'fixed', '[]')"),
    ("22023", """SELECT automate.schedule_task('t', 'report', '@daily', 'fixed', '{"params": []}')"""),
    ("22023", """SELECT automate.schedule_task('t', 'report', '@daily', 'fixed', '{"formats": "csv"}')"""),
    ("22023", """SELECT automate.schedule_task('t', 'report', '@daily', 'fixed', '{"recipients": ["ops"]}')"""),
    ("22023", """SELECT automate.schedule_task('t', 'report', '@daily', 'fixed', '{"template": "late"}')"""),
    ("42704", """SELECT automate.schedule_task('t', 'report', '@daily', 'fixed',
                    '{"template": "laet", "recipients": ["ops"]}')"""),
    # rules
    ("22023", f"SELECT automate.create_rule('r', {EMIT})"),
    ("22023", RULE + "on_event => 'e')"),
    ("22023", RULE + "condition => 'true', conditions => 'true')"),
    ("42809", f"SELECT automate.create_rule('r', {EMIT}, on_table => 'a_view')"),
    ("42809", f"SELECT automate.create_rule('r', {EMIT}, on_table => 'a_heap')"),
    ("42809", f"SELECT automate.create_rule('r', {EMIT}, on_table => 'passing')"),
    ("42809", f"SELECT automate.create_rule('r', {EMIT}, on_table => 'pg_class')"),
    ("42809", f"SELECT automate.create_rule('r', {EMIT}, on_table => 'orders_pkey')"),
    ("42P01", f"SELECT automate.create_rule('r', {EMIT}, on_table => 4000000000::oid)"),
    ("42804", RULE + "condition => 'new.amount')"),
    ("42703", RULE + "condition => 'new.statsu = 1')"),
    ("42P01", RULE + "condition => 'other.amount > 1')"),
    ("0A000", RULE + "condition => 'new.amount > (SELECT 1)')"),
    ("0A000", RULE + "condition => 'new.ctid IS NULL')"),
    ("42P17", RULE + "condition => 'touch()')"),
    ("42601", RULE + "condition => '')"),
    ("42601", RULE + "condition => 'true FROM orders')"),
    ("42601", f"SELECT automate.create_rule('r', {EMIT}, on_event => 'e', condition => 'true, false')"),
    ("42P01", f"SELECT automate.create_rule('r', {EMIT}, on_event => 'e', condition => 'evnt.a = 1')"),
    ("22023", RULE + """conditions => '{"==": [{"var": "statsu"}, 1]}')"""),
    ("22023", RULE + """conditions => '{"resembles": [1, 2]}')"""),
    ("22023", "SELECT automate.create_rule('r', '{}', on_table => 'orders')"),
    ("22023", "SELECT automate.create_rule('r', '[]', on_table => 'orders')"),
    ("22023", action('{"emti": "e"}')),
    ("22023", action('{"emit": "e", "payload": 1}')),
    ("22023", action('{"emit": "e", "payload": "${ .new. }"}, {"emit": ""}')),
    ("42703", action('{"sql": "SELECT nothing"}')),
    ("42704", action('{"workflow": "fulfill"}')),
    ("42704", action('{"notify": "laet", "recipients": ["ops"]}')),
    ("39P01", "INSERT INTO guarded VALUES (1)"),
    # workflows
    ("22023", "SELECT automate.create_workflow('w', nodes => '[]')"),
    ("22023", "SELECT automate.create_workflow('w', '[]')"),
    ("22023", "SELECT automate.create_workflow('w', '{}')"),
    ("22023", workflow('{"swich": []}')),
    ("22023", workflow('{"set": {"a": 1}}, "b": 1')),
    ("22023", workflow('{"set": {"a": "${ .x. }"}}')),
    ("42P01", step("SELECT * FROM nowhere")),
    ("22023", step("VACUUM")),
    ("22023", step("SELECT $1::int")),
    ("22023", workflow('{"call": "notify", "with": {"template": "laet", "recipients": ["ops"]}}')),
    ("55000", "SELECT automate.execute_workflow('resting')"),
    ("55006", "SELECT automate.drop_workflow('waiting')"),
    # channels, templates and messages
    ("22023", smtp('"hots": "x", "from": "a@b"')),
    ("22023", smtp('"host": "127.0.0.1", "from": "nobody"')),
    ("22023", smtp('"host": "10.0.0.1", "from": "a@b"')),
    ("22023", smtp('"host": "127.0.0.1", "from": "a@b", "port": 70000')),
    ("22023", smtp('"host": "127.0.0.1", "from": "a@b", "tls": "sometimes"')),
    ("22023", HOOK + "'[]')"),
    ("22023", hook("http://10.0.0.1/")),
    ("22023", hook("http://2852039166/")),
    ("22023", hook("http://0251.0376.0251.0376/")),
    ("22023", hook("http://0xa9fea9fe/")),
    ("22023", hook("http://[::ffff:169.254.169.254]/")),
    ("22023", hook("http://user:pw@127.0.0.1/")),
    ("22023", hook("ftp://127.0.0.1/")),
    ("22023", hook("no URL")),
    ("22023", HOOK + """'{"url": "http://127.0.0.1/", "headers": {"a b": "c"}}')"""),
    ("22023", HOOK + f"""'{{"url": "http://127.0.0.1/"}}', '{{"signing": "{CANARY}"}}')"""),
    ("22023", HOOK + f"""'{{"url": "http://127.0.0.1/"}}', '["{CANARY}"]')"""),
    ("54000", HOOK + f"'{{}}', jsonb_build_object('a', repeat('{CANARY}', 1 << 16)))"),
    ("22023", f"""SELECT automate.create_channel('c', 'log', '{{}}', '{{"password": "{CANARY}"}}')"""),
    ("22023", """SELECT automate.alter_channel('mail', '{"host": "127.0.0.1"}')"""),
    ("22023", "SELECT automate.create_template('t', 'S {{', 'b', '{% iff x %}')".replace("%", "%%")),
    ("22023", "SELECT automate.create_template('t', 's', '{{ x | uper }}')"),
    ("22023", "SELECT automate.preview_template('late')"),
    ("22023", """SELECT automate.notify('late', '{ops}', '{"flight": 1}')"""),
    ("42704", "SELECT automate.notify('laet', '{ops}')"),
    ("42704", "SELECT automate.notify('late', '{osp:x}')"),
    ("42704", "SELECT automate.notify('late', '{anna@example.com}')"),
    ("22023", "SELECT automate.notify('late', '{}')"),
    ("22023", "SELECT automate.notify('late', '{mail:anna}')"),
    ("22023", "SELECT automate.notify('late', array['ops:' || repeat('x', 2000)])"),
    ("55000", "SELECT automate.notify('late', '{off}')"),
    # reports
    ("22023", "SELECT automate.create_report('r', '[]')"),
    ("22023", "SELECT automate.create_report('r', '{}')"),
    ("42P01", report("SELECT * FROM nowhere")),
    ("42809", report("DELETE FROM orders RETURNING 1")),
    ("22023", report("SELECT 1 AS a", ', "totals": ["b"]')),
    ("22023", report("SELECT $undeclared AS a")),
    ("22023", "SELECT automate.report_text('since')"),
    ("22007", """SELECT automate.report_text('since', '{"from": "soon"}')"""),
    ("22023", """SELECT automate.run_report('since', '{"form": "2026-01-31"}')"""),
    ("22023", """SELECT automate.run_report('fixed', '{"form": 1}')"""),
    ("22023", "SELECT automate.run_report('fixed', '[]')"),
    ("22012", "SELECT automate.report_text('broken')"),
    ("55000", "SELECT automate.report_file(%(failed)s, 'csv')"),
    ("55000", "SELECT automate.report_file(%(pending)s, 'csv')"),
    # jobs
    ("55000", "SELECT automate.retry_job(%(succeeded)s)"),
]

# What a role may not do; the caller is a login with level user, or a role without LOGIN.
FORBIDDEN = [
    ("ann", "42501", f"SELECT automate.create_rule('r', {EMIT}, on_table => 'plans')"),
    ("ann", "42501", report("SELECT * FROM plans")),
    ("ann", "42501", "SELECT automate.enqueue_sql('DELETE FROM plans')"),
    ("ann", "42501", "SELECT automate.enqueue_sql('SELECT (SELECT count(*) FROM plans)')"),
    ("ann", "42501", "SELECT automate.enqueue_sql('WITH p AS (SELECT * FROM plans) SELECT * FROM p, a_view')"),
    ("ann", "42501", "SELECT automate.enqueue_sql('SELECT 1 WHERE EXISTS (SELECT FROM a_view)')"),
    ("ann", "42501", "SELECT automate.schedule_task('t', 'sql', '@daily', 'INSERT INTO plans VALUES (1)')"),
    ("ann", "42501", step("SELECT * FROM plans")),
    ("ann", "42501", action('{"sql": "UPDATE plans SET id = 1"}').replace("on_table => 'orders'", "on_event => 'e'")),
    ("ann", "42704", "SELECT automate.execute_workflow('fulfil')"),
    ("ann", "42704", "SELECT automate.notify('late', '{ops}')"),
    ("ann", "42704", "SELECT automate.report_file(%(completed)s, 'csv')"),
    ("ann", "42704", "SELECT automate.retry_job(%(succeeded)s)"),
    ("ann", "42704", "SELECT automate.drop_rule('big')"),
    ("nologin", "28000", "SELECT automate.enqueue_sql('SELECT 1')"),
    ("nologin", "28000", f"SELECT automate.create_rule('r', {EMIT}, on_event => 'e')"),
]


@dataclass
class Scene:
    """The database of all cases, a session for each caller, and ids that the cases name."""

    sessions: dict[str, psycopg.Connection[Any]]
    ids: dict[str, str]


def ids(db: Database) -> dict[str, str]:
    """Runs and a job in each state that is refused; at the end nothing goes on any more."""
    found = {
        "succeeded": db.one("SELECT automate.enqueue_sql('SELECT 1')"),
        "completed": db.one("SELECT automate.run_report('fixed', '{}', '{csv}')"),
        "failed": db.one("SELECT automate.run_report('broken')"),
    }
    db.wait_until("SELECT count(*) = 2 FROM automate.report_run WHERE status IN ('completed', 'failed')")
    db.wait_until("SELECT count(*) = 1 FROM automate.job_history WHERE id = %s", [found["succeeded"]])
    db.execute("SELECT automate.pause()")
    found["pending"] = db.one("SELECT automate.run_report('fixed')")
    db.execute("SELECT automate.execute_workflow('waiting')")
    return found


@pytest.fixture(scope="module")
def scene(cluster: Cluster) -> Iterator[Scene]:
    name, ann, nologin = "refusals", "refusals_ann", "refusals_nologin"
    with cluster.connect() as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        connection.execute(f"CREATE ROLE {ann} LOGIN; CREATE ROLE {nologin}")
    db = Database(cluster, name)
    db.execute("CREATE EXTENSION pg_automate")
    db.execute(OBJECTS)
    for role in (ann, nologin):
        db.execute("SELECT automate.grant_usage(%s::regrole)", [role])
    other = db.connect()
    other.execute(f"SET ROLE {nologin}")
    yield Scene({"postgres": db.admin, "ann": db.connect(ann), "nologin": other}, ids(db))
    db.close()
    with cluster.connect() as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
        connection.execute(f"DROP ROLE {ann}, {nologin}")


@pytest.mark.parametrize(("caller", "state", "call"), [("postgres", *case) for case in CASES] + FORBIDDEN)
def test_a_refusal_tells_the_facts_and_the_way_out(scene: Scene, caller: str, state: str, call: str) -> None:
    with pytest.raises(psycopg.Error) as refused:
        scene.sessions[caller].execute(call, scene.ids)  # type: ignore[arg-type]
    error = refused.value
    message, detail, hint = (
        error.diag.message_primary or "", error.diag.message_detail or "", error.diag.message_hint or "",
    )
    print(f"{error.sqlstate}: {message}\nDETAIL:  {detail}\nHINT:  {hint}")
    assert error.sqlstate == state
    assert message and not message.endswith(".")
    assert detail.endswith((".", "?")) and detail not in message and message not in detail
    assert hint.endswith((".", "?"))
    assert CANARY not in message + detail + hint


def test_a_place_is_told_in_the_authors_own_text(scene: Scene) -> None:
    with pytest.raises(psycopg.errors.UndefinedFunction) as refused:
        scene.sessions["postgres"].execute(
            f"SELECT automate.create_rule('r', {EMIT}, on_event => 'e', condition => 'true AND nonsense(event)')"
        )
    assert "At character 10 (line 1, column 10)" in (refused.value.diag.message_detail or "")


def test_rights_are_each_roles_own(scene: Scene) -> None:
    # The superuser's check in the same session is no leave for another role.
    call = "SELECT automate.enqueue_sql('SELECT * FROM plans')"
    session = scene.sessions["postgres"]
    session.execute(call)
    session.execute("SET ROLE refusals_ann")
    try:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute(call)
    finally:
        session.execute("RESET ROLE")


def test_rights_through_a_view_are_enough(scene: Scene) -> None:
    admin = scene.sessions["postgres"]
    admin.execute("CREATE VIEW for_ann AS SELECT * FROM plans; GRANT SELECT ON for_ann TO refusals_ann")
    scene.sessions["ann"].execute("SELECT automate.enqueue_sql('SELECT * FROM for_ann')")
    # What fails only when it is evaluated is no matter of the definition.
    scene.sessions["ann"].execute("SELECT automate.enqueue_sql('SELECT 1 / 0')")
