"""A dump holds the definitions; a restored copy starts paused and sends nothing until resume()."""

from __future__ import annotations


def define(db) -> None:
    db.execute("CREATE TABLE seen (x int)")
    db.execute("SELECT automate.create_channel('sink', 'log')")
    db.execute("SELECT automate.create_template('t', 'subject', 'body')")
    db.execute(
        "SELECT automate.create_rule('r', on_table => 'seen', condition => 'NEW.x > 1',"
        " actions => '[{\"sql\": \"INSERT INTO seen VALUES (0)\"}]')"
    )
    db.execute("SELECT automate.create_workflow('w', '{\"do\": [{\"a\": {\"set\": {\"x\": 1}}}]}')")
    db.execute("SELECT automate.create_report('p', '{\"title\": \"P\", \"datasets\": {\"d\": {\"sql\": \"SELECT 1 AS x\"}},"
               " \"layout\": [{\"table\": {\"data\": \"d\"}}]}')")
    db.execute("SELECT automate.schedule_task('k', 'sql', '* * * * * *', 'INSERT INTO seen VALUES (1)')")


NAMES = """SELECT array_agg(name ORDER BY name) FROM (
    SELECT name FROM automate.rule UNION ALL SELECT name FROM automate.task UNION ALL SELECT name FROM automate.workflow
    UNION ALL SELECT name FROM automate.channel UNION ALL SELECT name FROM automate.template
    UNION ALL SELECT name FROM automate.report) AS all_of_them"""


def test_a_restored_copy_is_paused_until_resumed(cluster, db, bare_db_2):
    define(db)
    db.wait_until("SELECT count(*) > 0 FROM seen WHERE x = 1")
    where = ["--host", cluster.socket, "--port", cluster.port, "--username", "postgres"]
    file = cluster.base / "data" / "copy.dump"
    cluster.run("pg_dump", *where, "--format=custom", "--file", file, db.name)
    cluster.run("pg_restore", *where, "--exit-on-error", "--dbname", bare_db_2.name, file)
    assert bare_db_2.one(NAMES) == ["k", "p", "r", "sink", "t", "w"]
    before = bare_db_2.one("SELECT count(*) FROM seen")
    state = "SELECT state FROM automate.status() WHERE item = 'processing'"
    bare_db_2.wait_until(f"SELECT ({state}) = 'paused'")
    # The original goes on: several of its ticks pass while the copy does nothing.
    ticks = db.one("SELECT count(*) FROM seen WHERE x = 1")
    db.wait_until("SELECT count(*) >= %s FROM seen WHERE x = 1", [ticks + 3])
    assert bare_db_2.one("SELECT count(*) FROM seen") == before
    bare_db_2.execute("SELECT automate.resume()")
    bare_db_2.wait_until(f"SELECT ({state}) = 'on'")
    bare_db_2.wait_until("SELECT count(*) > %s FROM seen WHERE x = 1", [before])
    # The rule's trigger came along as well.
    bare_db_2.execute("INSERT INTO seen VALUES (5)")
    bare_db_2.wait_until("SELECT count(*) = 1 FROM seen WHERE x = 0")


def test_all_that_belongs_to_rules_is_in_a_dump(cluster, db, bare_db_2):
    """Rules with their sets, versions, tests and audit, decision tables, triggers, schemas, webhook sources."""
    db.execute("CREATE TABLE orders (id int PRIMARY KEY, amount numeric, country text); CREATE TABLE heard (what text)")
    note = """'[{"sql": "INSERT INTO heard VALUES ($1)", "params": ["${ .rule }"]}]'"""
    for statement in (
        "automate.create_ruleset('review', 'first')",
        f"automate.create_rule('large', {note}, on_table => 'orders', condition => 'new.amount > 100', ruleset => 'review', priority => 1)",
        f"automate.create_rule('any', {note}, on_table => 'orders', ruleset => 'review')",
        "automate.add_rule_test('large', 'at the limit', '{\"amount\": 100}', matches => false)",
        "automate.alter_rule('large', condition => 'new.amount > 200', draft => true)",
        """automate.create_rule('tidy', '[{"set": {"country": "upper(new.country)"}}]', on_table => 'orders', timing => 'before')""",
        "automate.create_trigger('entered', 'data', on_table => 'orders', condition => 'amount > 100', options => '{\"when\": \"enters\"}')",
        f"automate.create_rule('hears', {note}, on_trigger => 'entered')",
        """automate.create_decision_table('fee', '[{"name": "country"}]', '[{"name": "fee", "type": "number"}]', '[["CH", 7]]')""",
        """automate.set_event_schema('paid', '{"type": "object", "required": ["id"]}')""",
    ):
        db.execute(f"SELECT {statement}")
    where = ["--host", cluster.socket, "--port", cluster.port, "--username", "postgres"]
    file = cluster.base / "data" / "rules.dump"
    cluster.run("pg_dump", *where, "--format=custom", "--file", file, db.name)
    cluster.run("pg_restore", *where, "--exit-on-error", "--dbname", bare_db_2.name, file)
    copy = bare_db_2
    for table in ("rule", "rule_version", "rule_test", "ruleset", "trigger", "decision_table", "decision_version", "event_schema", "audit"):
        rows = f"SELECT to_jsonb(t)::text FROM automate.{table} AS t ORDER BY 1"
        assert copy.rows(rows) == db.rows(rows) != [], table
    copy.execute("SELECT automate.resume()")
    assert copy.one("SELECT automate.decide('fee', '{\"country\": \"CH\"}')") == {"fee": 7}
    copy.execute("INSERT INTO orders VALUES (1, 150, 'ch')")
    assert copy.one("SELECT country FROM orders") == "CH"
    copy.wait_until("SELECT count(*) = 2 FROM heard")
    assert copy.rows("SELECT what FROM heard ORDER BY what") == [("hears",), ("large",)]
    assert copy.one("SELECT automate.publish_rule('large')") == 2
