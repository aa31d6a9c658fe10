"""The queue: statements run in the background once, as their owner, each for itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from psycopg import errors

from support import jobs
from support.database import Database
from support.jobs import enqueue, ended, failed, idle, succeeded
from support.polling import poll


@pytest.fixture
def log(db: Database) -> Database:
    """The database with a table that jobs write to."""
    db.execute("CREATE TABLE log (n serial, who text DEFAULT current_user, what text)")
    db.execute("GRANT ALL ON log TO PUBLIC; GRANT ALL ON SEQUENCE log_n_seq TO PUBLIC")
    return db


def written(db: Database) -> list[str]:
    return [row[0] for row in db.rows("SELECT what FROM log ORDER BY n")]


# --- in and out -----------------------------------------------------------------------------------


def test_a_statement_runs_with_its_parameters(log: Database) -> None:
    job = enqueue(log, "INSERT INTO log (what) VALUES ($1 || ($2::int + 1) || coalesce($3, '-'))", "a", 41, None)
    succeeded(log, job)
    assert written(log) == ["a42-"]
    assert log.rows("SELECT result, attempts FROM automate.job_history WHERE id = %s", [job]) == [({"rows": 1}, 1)]


def test_rollback_leaves_nothing(log: Database) -> None:
    caller = log.connect(autocommit=False)
    enqueue(caller, "INSERT INTO log (what) VALUES ('rolled back')")
    caller.rollback()
    enqueue(caller, "INSERT INTO log (what) VALUES ('first')")
    caller.execute("SAVEPOINT s")
    enqueue(caller, "INSERT INTO log (what) VALUES ('savepoint')")
    caller.execute("ROLLBACK TO s")
    last = enqueue(caller, "INSERT INTO log (what) VALUES ('last')")
    caller.commit()
    succeeded(log, last)
    idle(log)
    assert sorted(written(log)) == ["first", "last"]


def test_a_caller_may_take_its_time(log: Database) -> None:
    caller = log.connect(autocommit=False)
    job = enqueue(caller, "INSERT INTO log (what) VALUES ('late')")
    caller.execute("SELECT pg_sleep(9)")
    assert written(log) == []
    caller.commit()
    succeeded(log, job, deadline=5)
    assert written(log) == ["late"]


def test_run_at_and_priority(log: Database) -> None:
    log.execute("SELECT automate.pause()")
    log.wait_until("SELECT paused FROM automate.instance")
    for priority in (300, 5, 100):
        enqueue(log, "INSERT INTO log (what) VALUES ($1::int::text)", priority, priority=priority)
    log.execute("SELECT automate.resume()")
    idle(log)
    assert written(log) == ["5", "100", "300"]
    begun = time.monotonic()
    due = log.one("SELECT clock_timestamp() + interval '700 ms'")
    succeeded(log, enqueue(log, "INSERT INTO log (what) VALUES ('due')", run_at=due))
    assert 0.6 < time.monotonic() - begun < 5
    assert log.one("SELECT started_at >= %s FROM automate.job_history ORDER BY finished_at DESC LIMIT 1", [due])


def test_a_dedupe_key_is_taken_once(log: Database) -> None:
    later = log.one("SELECT now() + interval '1 day'")
    first = enqueue(log, "SELECT 1", run_at=later, dedupe_key="k")
    assert enqueue(log, "SELECT 2", run_at=later, dedupe_key="k") == first
    assert enqueue(log, "SELECT 2", run_at=later, dedupe_key="other") != first
    assert log.one("SELECT count(*) FROM automate.job") == 2
    assert log.one("SELECT automate.cancel_job(%s)", [first]) is True
    assert enqueue(log, "SELECT 2", run_at=later, dedupe_key="k") != first


def test_cancel(log: Database) -> None:
    later = log.one("SELECT now() + interval '1 day'")
    job = enqueue(log, "SELECT 1", run_at=later)
    assert log.one("SELECT automate.cancel_job(%s)", [job]) is True
    assert log.one("SELECT automate.cancel_job(%s)", [job]) is False
    assert ended(log, job) == ("cancelled", "cancelled by postgres")
    running = enqueue(log, "SELECT pg_sleep(600)")
    pid = jobs.worker(log, "executor", "busy")
    log.wait_until("SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = %s", [pid])
    assert log.one("SELECT automate.cancel_job(%s)", [running]) is False
    # What runs is cancelled as any statement is.
    log.execute("SELECT pg_cancel_backend(%s)", [pid])
    failed(log, running, "57014")


def test_five_hundred_calls_cost_the_same_at_the_end(db: Database) -> None:
    db.execute("SELECT automate.pause()")
    caller = db.connect()
    took = []
    for _ in range(500):
        begun = time.perf_counter()
        enqueue(caller, "SELECT 1")
        took.append(time.perf_counter() - begun)
    first, last = sorted(took[50:150])[50], sorted(took[400:])[50]
    print(f"median call: first {first * 1000:.2f} ms, last {last * 1000:.2f} ms")
    assert last < 3 * first + 0.005
    begun = time.perf_counter()
    for _ in range(100):
        caller.execute("SELECT 1")
    print(f"SELECT 1 afterwards: {(time.perf_counter() - begun) * 10:.2f} ms")
    db.execute("SELECT automate.resume()")
    idle(db)
    assert db.one("SELECT count(*) FROM automate.job_history WHERE status = 'succeeded'") == 500


# --- refused at the door ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "sqlstate"),
    [
        ("SELEC 1", "42601"),
        ("SELECT * FROM nowhere", "42P01"),
        ("SELECT nothing FROM pg_class", "42703"),
        ("", "42601"),
        ("VACUUM; SELECT 1", "25001"),
    ],
)
def test_bad_statements_are_refused_when_given(db: Database, statement: str, sqlstate: str) -> None:
    with pytest.raises(errors.Error) as refused:
        enqueue(db, statement)
    assert refused.value.sqlstate == sqlstate
    assert refused.value.diag.message_hint or statement == ""
    assert db.one("SELECT count(*) FROM automate.job") == 0


def test_a_syntax_error_tells_the_place(db: Database) -> None:
    with pytest.raises(errors.SyntaxError) as refused:
        enqueue(db, "SELECT 1\nFORM x")
    assert "line 2" in (refused.value.diag.message_detail or "")


@pytest.mark.parametrize(
    ("document", "codes"),
    [
        ("'[' || repeat('[', 10000) || repeat(']', 10000) || ']'", {"54000", "54001"}),
        ("jsonb_build_array(repeat('x', 64 << 20))::text", {"54000"}),
        ("'{}'", {"22023"}),
    ],
)
def test_bad_parameters_are_refused_fast(db: Database, document: str, codes: set[str]) -> None:
    begun = time.monotonic()
    with pytest.raises(errors.Error) as refused:
        db.execute(f"SELECT automate.enqueue_sql('SELECT $1::text', ({document})::jsonb)")
    took = time.monotonic() - begun
    print(f"refused after {took:.2f} s: {refused.value.diag.message_primary}")
    assert refused.value.sqlstate in codes
    assert refused.value.diag.message_hint
    assert took < 10
    db.execute("SELECT 1")


# --- whose it is --------------------------------------------------------------------------------------


def test_it_runs_as_the_owner(log: Database, role: Callable[..., str]) -> None:
    ann = role("ann", level=None)
    mine = jobs.allow(log, ann)
    job = enqueue(mine, "INSERT INTO log (what) VALUES (session_user || '/' || current_user)")
    succeeded(log, job)
    # The owner is the current user of the session, not the one who logged in.
    caller = log.connect()
    caller.execute(f"SET ROLE {ann}")
    succeeded(log, enqueue(caller, "INSERT INTO log (what) VALUES (session_user || '/' || current_user)"))
    assert written(log) == [f"{ann}/{ann}"] * 2
    assert log.rows("SELECT DISTINCT owner::text FROM automate.job_history") == [(ann,)]


@pytest.mark.parametrize(
    "escape",
    [
        "RESET ROLE",
        "RESET SESSION AUTHORIZATION",
        "SET ROLE NONE",
        "SET ROLE postgres",
        "SET SESSION AUTHORIZATION postgres",
        "SET SESSION AUTHORIZATION DEFAULT",
        "DO $$ BEGIN RESET ROLE; RESET SESSION AUTHORIZATION; END $$",
    ],
)
def test_no_way_out_of_the_owner(log: Database, role: Callable[..., str], escape: str) -> None:
    ann = role("ann", level=None)
    mine = jobs.allow(log, ann)
    text = f"{escape}; INSERT INTO log (what) VALUES (session_user || '/' || current_user)"
    status, error = ended(log, enqueue(mine, text))
    assert status == "succeeded" or (error or "").startswith("42501"), error
    assert set(written(log)) <= {f"{ann}/{ann}"}
    succeeded(log, enqueue(mine, "INSERT INTO log (what) VALUES (session_user || '/' || current_user)"))
    assert set(written(log)) == {f"{ann}/{ann}"}
    with pytest.raises(errors.InsufficientPrivilege):
        mine.execute("DELETE FROM automate.job_history")


def test_a_job_has_no_rights_on_the_queue(log: Database, role: Callable[..., str]) -> None:
    mine = jobs.allow(log, role("ann", level=None))
    text = "DO $$ BEGIN EXECUTE 'UPDATE automate.job SET priority = 0'; END $$"
    failed(log, enqueue(mine, text), "42501")


def test_tenants_do_not_see_each_other(db: Database, role: Callable[..., str]) -> None:
    ann, bob = (jobs.allow(db, role(name, level=None)) for name in ("ann", "bob"))
    later = db.one("SELECT now() + interval '1 day'")
    done, waiting = enqueue(ann, "SELECT 'secret of ann'"), enqueue(ann, "SELECT 1", run_at=later)
    broken = enqueue(ann, "SELECT 1 / 0")
    succeeded(db, done)
    failed(db, broken, "22012")
    for table, count in (("job", 1), ("job_history", 2)):
        assert ann.execute(f"SELECT count(*) FROM automate.{table}").fetchone() == (count,)
        assert bob.execute(f"SELECT count(*) FROM automate.{table}").fetchone() == (0,)
    assert bob.execute("SELECT count(*) FROM automate.activity WHERE worker = 'executor'").fetchone() == (0,)
    assert bob.execute("SELECT automate.cancel_job(%s)", [waiting]).fetchone() == (False,)
    with pytest.raises(errors.UndefinedObject) as refused:
        bob.execute("SELECT automate.retry_job(%s)", [broken])
    assert refused.value.diag.message_hint
    assert ann.execute("SELECT automate.retry_job(%s)", [broken]).fetchone() == (broken,)


# --- one job's doings do not reach the next -----------------------------------------------------------


def short(connection: Database, *statements: str, rounds: int = 6) -> None:
    """Lets an executor learn that statements are short, so that they share a commit."""
    for _ in range(rounds):
        for statement in statements:
            enqueue(connection, statement)
        idle(connection)


def together(db: Database, *statements: str) -> list[tuple[str, str | None]]:
    """Runs statements in one batch of one executor; how each ended."""
    caller = db.connect(autocommit=False)
    made = [enqueue(caller, statement) for statement in statements]
    caller.commit()
    return [ended(db, job) for job in made]


SHOW = "INSERT INTO log (what) SELECT 'work_mem ' || current_setting('work_mem')"


@pytest.mark.parametrize(
    ("touch", "look", "clean"),
    [
        ("SELECT set_config('work_mem', '77MB', false)", SHOW, "work_mem 4MB"),
        ("SET work_mem = '77MB'", SHOW, "work_mem 4MB"),
        ("DO $$ BEGIN SET work_mem = '77MB'; END $$", SHOW, "work_mem 4MB"),
        ("SET search_path = pg_catalog", "INSERT INTO log (what) SELECT current_setting('search_path')", '"$user", public'),
        (
            "DO $$ BEGIN CREATE TEMP TABLE t (a int); EXECUTE 'CREATE TEMP VIEW v AS SELECT 1'; END $$",
            "INSERT INTO log (what) SELECT count(*)::text FROM pg_class WHERE relnamespace = pg_my_temp_schema() AND pg_my_temp_schema() <> 0",
            "0",
        ),
        (
            "SELECT prepare_it()",
            "INSERT INTO log (what) SELECT count(*)::text FROM pg_prepared_statements",
            "0",
        ),
        (
            "SELECT declare_it()",
            "INSERT INTO log (what) SELECT count(*)::text FROM pg_cursors",
            "0",
        ),
        (
            "SELECT pg_advisory_lock(4711)",
            "INSERT INTO log (what) SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711",
            "0",
        ),
        ("SELECT set_config('role', 'pg_monitor', false)", "INSERT INTO log (what) SELECT current_user", "postgres"),
    ],
    ids=["set_config", "set", "do_set", "search_path", "temp", "prepare", "cursor", "advisory", "role"],
)
def test_session_state_stays_with_its_job(log: Database, touch: str, look: str, clean: str) -> None:
    log.execute("""
        CREATE FUNCTION prepare_it() RETURNS void LANGUAGE plpgsql AS $$
        BEGIN EXECUTE 'PREPARE p AS SELECT 1'; END $$;
        CREATE FUNCTION declare_it() RETURNS void LANGUAGE plpgsql AS $$
        BEGIN EXECUTE 'DECLARE c CURSOR WITH HOLD FOR SELECT 1'; END $$""")
    short(log, touch, look)
    log.execute("TRUNCATE log")
    for _ in range(5):
        assert together(log, touch, look, touch, look) == [("succeeded", None)] * 4
    assert written(log) == [clean] * 10


def test_listen_is_refused(log: Database) -> None:
    error = failed(log, enqueue(log, "LISTEN somewhere"), "0A000")
    assert "background" in error


def test_a_failing_job_fails_alone(log: Database) -> None:
    good = "INSERT INTO log (what) VALUES ('good')"
    bad = "INSERT INTO log (what) SELECT (1 / (count(*) - count(*)))::text FROM log"
    short(log, good, bad)
    log.execute("TRUNCATE log")
    ends = together(log, good, bad, good, bad, good)
    assert [status for status, _ in ends] == ["succeeded", "failed", "succeeded", "failed", "succeeded"]
    assert all("division by zero" in (error or "") for _, error in ends[1::2])
    assert written(log) == ["good"] * 3


def test_a_deferred_constraint_fails_its_own_job(log: Database) -> None:
    log.execute("CREATE TABLE one (id int CONSTRAINT only_one UNIQUE DEFERRABLE INITIALLY DEFERRED)")
    log.execute("INSERT INTO one VALUES (1)")
    good = "INSERT INTO log (what) VALUES ('good')"
    bad = "INSERT INTO one VALUES (1)"
    short(log, good, bad)
    log.execute("TRUNCATE log")
    ends = together(log, good, bad, good)
    assert [status for status, _ in ends] == ["succeeded", "failed", "succeeded"]
    assert (ends[1][1] or "").startswith("23505: ")
    assert written(log) == ["good"] * 2


def test_a_deferred_trigger_runs_as_the_owner(log: Database, role: Callable[..., str]) -> None:
    ann = role("ann", level=None)
    mine = jobs.allow(log, ann)
    mine.execute("CREATE TABLE held (a int)")
    mine.execute("""
        CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO log (what) VALUES (session_user || '/' || current_user); RETURN NULL; END $$""")
    mine.execute("""
        CREATE CONSTRAINT TRIGGER later AFTER INSERT ON held DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION note()""")
    for _ in range(4):
        succeeded(log, enqueue(mine, "INSERT INTO held VALUES (1)"))
    assert written(log) == [f"{ann}/{ann}"] * 4


# --- statements that want the top level ---------------------------------------------------------------


def test_commit_in_a_plain_statement_is_refused(log: Database) -> None:
    status, error = ended(log, enqueue(log, "INSERT INTO log (what) VALUES ('half'); COMMIT"))
    assert status == "failed"
    assert (error or "").startswith("2D000: ") and "HINT:" in (error or "")
    assert written(log) == []


def test_a_script_may_use_what_it_makes(log: Database) -> None:
    for n in range(3):
        text = f"CREATE TABLE made_{n} (a text); INSERT INTO made_{n} VALUES ('x'); INSERT INTO log (what) SELECT a FROM made_{n}"
        succeeded(log, enqueue(log, text))
    assert written(log) == ["x"] * 3


def test_call_with_commit(log: Database) -> None:
    log.execute("""
        CREATE PROCEDURE halves() LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO log (what) VALUES ('one'); COMMIT;
            INSERT INTO log (what) VALUES ('two'); ROLLBACK;
            INSERT INTO log (what) VALUES ('three');
        END $$""")
    succeeded(log, enqueue(log, "CALL halves()"))
    assert written(log) == ["one", "three"]


@pytest.mark.parametrize(
    "statement",
    [
        "VACUUM log",
        "VACUUM",
        "VACUUM (FULL, ANALYZE) log",
        "CREATE INDEX CONCURRENTLY by_what ON log (what)",
        "REINDEX TABLE CONCURRENTLY log",
        "REINDEX SCHEMA public",
        "DROP INDEX CONCURRENTLY IF EXISTS nothing",
        "ALTER SYSTEM RESET work_mem",
        "ANALYZE log",
    ],
)
def test_top_level_statements(log: Database, statement: str) -> None:
    for _ in range(2 if "INDEX CONCURRENTLY by" not in statement else 1):
        succeeded(log, enqueue(log, statement), deadline=30)
    succeeded(log, enqueue(log, "INSERT INTO log (what) VALUES ('after')"))


def test_a_top_level_failure_is_recorded(log: Database) -> None:
    failed(log, enqueue(log, "VACUUM nothing_there"), "42P01")
    log.execute("""
        CREATE PROCEDURE breaks() LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO log (what) VALUES ('kept'); COMMIT;
            INSERT INTO log (what) VALUES ('lost'); PERFORM 1 / 0; END $$""")
    failed(log, enqueue(log, "CALL breaks()"), "22012")
    assert written(log) == ["kept"]
    succeeded(log, enqueue(log, "INSERT INTO log (what) VALUES ('after')"))


def test_settings_of_a_procedure_stay_with_it(log: Database) -> None:
    log.execute("""
        CREATE PROCEDURE sets() LANGUAGE plpgsql AS $$ BEGIN
            SET work_mem = '77MB'; COMMIT; SET ROLE pg_monitor; COMMIT;
            PERFORM pg_advisory_lock(4711); END $$""")
    succeeded(log, enqueue(log, "CALL sets()"))
    succeeded(log, enqueue(log, "INSERT INTO log (what) SELECT current_user || current_setting('work_mem')"))
    assert written(log) == ["postgres4MB"]
    assert log.one("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0


def test_a_top_level_statement_obeys_its_timeout(log: Database) -> None:
    log.execute("CREATE PROCEDURE naps() LANGUAGE plpgsql AS 'BEGIN COMMIT; PERFORM pg_sleep(600); END'")
    job = enqueue(log, "CALL naps()", timeout=timedelta(milliseconds=300))
    failed(log, job, "57014")


# --- failing, and trying again ------------------------------------------------------------------------


def test_timeouts(log: Database, role: Callable[..., str]) -> None:
    begun = time.monotonic()
    failed(log, enqueue(log, "SELECT pg_sleep(600)", timeout=timedelta(milliseconds=200)), "57014")
    ann = role("ann", level=None)
    mine = jobs.allow(log, ann)
    log.execute(f"ALTER ROLE {ann} SET statement_timeout = '300ms'")
    failed(log, enqueue(mine, "SELECT pg_sleep(600)"), "57014")
    log.execute("ALTER TABLE log ADD CONSTRAINT k PRIMARY KEY (n)")
    blocker = log.connect(autocommit=False)
    blocker.execute("LOCK TABLE log")
    text = "SET lock_timeout = '100ms'; INSERT INTO log (what) VALUES ('waits')"
    failed(log, enqueue(log, text), "55P03")
    blocker.rollback()
    assert time.monotonic() - begun < 10


def test_a_deadlock_is_tried_again(log: Database) -> None:
    log.execute("CREATE TABLE pair (id int PRIMARY KEY, n int DEFAULT 0); INSERT INTO pair VALUES (1), (2)")
    text = "UPDATE pair SET n = n + 1 WHERE id = {}; SELECT pg_sleep(0.5); UPDATE pair SET n = n + 1 WHERE id = {}"
    made = [enqueue(log, text.format(1, 2)), enqueue(log, text.format(2, 1))]
    for job in made:
        succeeded(log, job, deadline=30)
    assert log.rows("SELECT n FROM pair") == [(2,), (2,)]
    attempts = [row[0] for row in log.rows("SELECT attempts FROM automate.job_history ORDER BY 1")]
    print(f"attempts: {attempts}")
    assert max(attempts) > 1


def test_attempts_back_off_and_the_dead_are_raised(log: Database) -> None:
    log.execute("CREATE SEQUENCE tries; CREATE TABLE ready (a int)")
    text = "SELECT nextval('tries'), 1 / (SELECT count(*) FROM ready)"
    job = enqueue(log, text, max_attempts=3)
    error = failed(log, job, "22012", deadline=20)
    assert "division by zero" in error
    assert log.one("SELECT last_value FROM tries") == 3
    took = log.one("SELECT extract(epoch FROM finished_at - enqueued_at)::float FROM automate.job_history")
    print(f"three attempts took {took:.1f} s")
    assert took > 2.9
    log.execute("INSERT INTO ready VALUES (1)")
    assert log.one("SELECT automate.retry_job(%s)", [job]) == job
    succeeded(log, job)
    with pytest.raises(errors.ObjectNotInPrerequisiteState) as refused:
        log.execute("SELECT automate.retry_job(%s)", [job])
    assert refused.value.diag.message_hint
    with pytest.raises(errors.UndefinedObject):
        log.execute("SELECT automate.retry_job(gen_random_uuid())")


@pytest.mark.parametrize(
    "damage",
    [
        "payload = '{}'",
        "payload = 'null'",
        """payload = '{"sql": "SELECT 1", "params": 7}'""",
        """payload = '{"sql": ["SELECT 1"], "params": []}'""",
        """payload = '{"sql": "SELECT $1::numeric", "params": [1e400]}'""",
        "payload = (repeat('[', 1000) || repeat(']', 1000))::jsonb",
        "kind = 'delivery'",
        "kind = 'alien'",
        "kind = 'task', payload = '{}'",
        "kind = 'rule', payload = '{}'",
        "kind = 'report', payload = '{}'",
    ],
)
def test_a_poison_row_fails_alone(log: Database, damage: str) -> None:
    good = "INSERT INTO log (what) VALUES ('good')"
    short(log, good, rounds=3)
    log.execute("TRUNCATE log")
    caller = log.connect(autocommit=False)
    before, poison, after = (enqueue(caller, good) for _ in range(3))
    caller.execute(f"UPDATE automate.job SET {damage} WHERE id = %s", [poison])
    caller.commit()
    succeeded(log, before)
    succeeded(log, after)
    status, error = ended(log, poison)
    print(error)
    assert status == "failed"
    assert written(log) == ["good"] * 2


# --- side by side -------------------------------------------------------------------------------------


def test_slow_statements_run_side_by_side(log: Database) -> None:
    succeeded(log, enqueue(log, "SELECT 1"))
    begun = time.monotonic()
    made = [enqueue(log, "SELECT pg_sleep(2)") for _ in range(4)]
    for job in made:
        succeeded(log, job)
    took = time.monotonic() - begun
    print(f"four naps of 2 s took {took:.1f} s")
    assert took < 6


def test_a_long_procedure_stops_no_other_work(log: Database) -> None:
    log.execute("CREATE PROCEDURE naps() LANGUAGE plpgsql AS 'BEGIN COMMIT; PERFORM pg_sleep(600); END'")
    enqueue(log, "CALL naps()")
    log.wait_until("SELECT status = 'running' FROM automate.job")
    begun = time.monotonic()
    succeeded(log, enqueue(log, "SELECT 1"))
    print(f"behind a procedure: {time.monotonic() - begun:.2f} s")


@pytest.mark.parametrize("statement", ["plain", "procedure"])
def test_a_concurrency_key_never_overlaps(log: Database, statement: str) -> None:
    log.execute("""
        CREATE TABLE spans (key text, pid int, begun timestamptz, ended timestamptz);
        CREATE FUNCTION span(key text) RETURNS void LANGUAGE plpgsql AS $$
        DECLARE begun timestamptz := clock_timestamp();
        BEGIN PERFORM pg_sleep(0.03); INSERT INTO spans VALUES (key, pg_backend_pid(), begun, clock_timestamp()); END $$;
        CREATE PROCEDURE spanned(key text) LANGUAGE plpgsql AS $$
        DECLARE begun timestamptz := clock_timestamp();
        BEGIN COMMIT; PERFORM pg_sleep(0.03); INSERT INTO spans VALUES (key, pg_backend_pid(), begun, clock_timestamp()); COMMIT; END $$""")
    for n in range(30):
        key = "ab"[n % 2]
        if statement == "plain":
            enqueue(log, "SELECT span($1)", key, concurrency_key=key)
        else:
            enqueue(log, f"CALL spanned('{key}')", concurrency_key=key)
    begun = time.monotonic()
    free = [enqueue(log, "SELECT 1") for _ in range(10)]
    for job in free:
        succeeded(log, job)
    print(f"free work behind the keys took {time.monotonic() - begun:.2f} s")
    idle(log, deadline=40)
    assert log.one("SELECT count(*) FROM spans") == 30
    overlaps = log.rows("""
        SELECT a.key, a.begun, a.ended, b.begun FROM spans a JOIN spans b
        ON a.key = b.key AND a.ctid <> b.ctid AND a.begun <= b.begun AND b.begun < a.ended""")
    assert overlaps == []
    assert log.one("SELECT count(*) FROM automate.job_history WHERE status = 'succeeded'") == 40
    print(f"30 spans on {log.one('SELECT count(DISTINCT pid) FROM spans')} executors")


def test_a_busy_role_makes_room_for_another(log: Database, role: Callable[..., str]) -> None:
    ann, bob = (jobs.allow(log, role(name, level=None)) for name in ("ann", "bob"))
    for _ in range(200):
        enqueue(ann, "SELECT pg_sleep(0.1)")
    poll(lambda: len(jobs.workers(log, "executor", "busy")) >= 4, 10, "four executors are busy")
    begun = time.monotonic()
    succeeded(log, enqueue(bob, "SELECT 1"), deadline=10)
    took = time.monotonic() - begun
    left = log.one("SELECT count(*) FROM automate.job")
    print(f"bob waited {took:.2f} s; ann had {left} jobs left")
    assert left > 20
    assert took < 4


def test_an_urgent_job_passes_what_waits(log: Database) -> None:
    log.execute("ALTER SYSTEM SET automate.max_executors = 1")
    log.execute("SELECT pg_reload_conf()")
    try:
        log.wait_until("SELECT current_setting('automate.max_executors') = '1'")
        made = [enqueue(log, f"SELECT pg_sleep(0.2), {n}") for n in range(20)]
        jobs.worker(log, "executor", "busy")
        begun = time.monotonic()
        succeeded(log, enqueue(log, "SELECT 1", priority=1))
        took = time.monotonic() - begun
        print(f"the urgent one waited {took:.2f} s")
        assert took < 2
        for job in made:
            log.execute("SELECT automate.cancel_job(%s)", [job])
        idle(log)
    finally:
        log.execute("ALTER SYSTEM RESET automate.max_executors")
        log.execute("SELECT pg_reload_conf()")


# --- history ------------------------------------------------------------------------------------------


def test_history_is_partitioned_and_pruned(db: Database) -> None:
    db.execute("SELECT automate.keep_history(7 * 86400)")
    parts = "SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid WHERE inhparent = 'automate.job_history'::regclass"
    tomorrow = db.one("SELECT 'job_history_' || to_char((now() AT TIME ZONE 'UTC')::date + 1, 'YYYYMMDD')")
    assert (tomorrow,) in db.rows(parts)
    insert = """
        INSERT INTO automate.job_history (id, kind, owner, status, attempts, enqueued_at, finished_at)
        SELECT gen_random_uuid(), 'sql', 'postgres', 'succeeded', 1, now(), now() + %s::interval"""
    db.execute(insert, ["1 day"])
    assert db.one(f"SELECT count(*) FROM automate.{tomorrow}") == 1
    db.execute(insert, ["-8 days"])
    # A day of its own, long ago.
    db.execute("""
        CREATE TABLE automate.job_history_20200101 PARTITION OF automate.job_history
        FOR VALUES FROM ('2020-01-01 00:00+00') TO ('2020-01-02 00:00+00');
        ALTER EXTENSION pg_automate ADD TABLE automate.job_history_20200101""")
    succeeded(db, enqueue(db, "SELECT 1"))
    db.execute("SELECT automate.keep_history(7 * 86400)")
    assert ("job_history_20200101",) not in db.rows(parts)
    assert db.one("SELECT count(*) FROM automate.job_history") == 2
    assert db.one("SELECT count(*) FROM automate.job_history WHERE finished_at < now() - interval '7 days'") == 0


def test_a_reader_of_the_history_stops_nobody(db: Database) -> None:
    reader = db.connect(autocommit=False)
    reader.execute("SELECT count(*) FROM automate.job_history")
    succeeded(db, enqueue(db, "SELECT 1"))
    # A new coordinator keeps house first; that must not queue up behind the reader for long.
    db.execute("SELECT pg_terminate_backend(%s)", [jobs.worker(db, "coordinator")])
    succeeded(db, enqueue(db, "SELECT 1"), deadline=5)
    reader.rollback()


def test_a_job_sees_what_its_transaction_made(db: Database) -> None:
    # A resident executor has noted that the table is not there; the commit that makes it must
    # reach its caches before the wake-up does.
    db.execute("CREATE FUNCTION note(name text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN"
                   " EXECUTE format('INSERT INTO %I VALUES (1)', name); END $$")
    for number in range(100):
        name = f"fresh_{number}"
        succeeded(db, enqueue(db, "SELECT to_regclass($1)", name))
        with db.admin.transaction():
            db.execute(f"CREATE TABLE {name} (a int)")
            job = enqueue(db, "SELECT note($1)", name)
        succeeded(db, job)
