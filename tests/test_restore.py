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
