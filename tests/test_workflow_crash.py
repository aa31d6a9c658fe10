"""kill -9 before and after every step of a run: each step's effects are there exactly once."""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from support.cluster import Cluster
from support.database import Database
from support.polling import poll
from test_crash import back

# What a run of the workflow below does, in any order.
STEPS = ["first", "left", "right", "item 0", "item 1", "item 2", "last", "undo last", "undo first"]

SCHEMA = """
CREATE TABLE ledger (run text, who text);  -- No unique key, on purpose: what is done twice must show.
CREATE TABLE plan (place text, marker text);
CREATE FUNCTION blow(place text) RETURNS void LANGUAGE plpgsql AS $f$
DECLARE marker text := (SELECT p.marker FROM plan AS p WHERE p.place = blow.place);
BEGIN
    -- The shell's parent is this session; the second time the marker is there.
    IF marker IS NOT NULL THEN
        EXECUTE format('COPY (SELECT 1) TO PROGRAM %L', format('cat > /dev/null; test -e %1$s || { touch %1$s; kill -9 $PPID; }', marker));
    END IF;
END $f$;
CREATE FUNCTION put(run text, who text) RETURNS void LANGUAGE plpgsql AS $f$
BEGIN
    PERFORM blow(who || ' before');
    INSERT INTO ledger VALUES (run, who);
    PERFORM blow(who || ' after');
END $f$;
"""


def put(who: str) -> dict[str, Any]:
    return {"call": "sql", "with": {"query": "SELECT put($1, $2)", "params": ["${ $workflow.id }", who], "result": "none"}}


def undone(who: str) -> dict[str, Any]:
    return {**put(who), "metadata": {"compensate": [{"undo": put(f"undo {who}")}]}}


DOCUMENT = {
    "do": [
        {"first": undone("first")},
        {"both": {"fork": {"branches": [{"l": put("left")}, {"r": put("right")}]}}},
        {"pause": {"wait": {"milliseconds": 1}}},
        {"each": {"for": {"each": "n", "in": "[range(3)]"}, "do": [{"one": put("${ \"item \\($n)\" }")}]}},
        {"last": undone("last")},
        {"bad": {"raise": {"error": {"type": "https://example.com/bad", "status": 400}}}},
    ]
}
PLACES = [f"{step} {side}" for step in STEPS for side in ("before", "after")]


@pytest.fixture
def server(new_cluster: Callable[..., Cluster]) -> Cluster:
    return new_cluster()


@pytest.fixture
def ledger(server: Cluster) -> Iterator[Database]:
    database = Database(server, "postgres")
    database.execute("CREATE EXTENSION pg_automate")
    database.execute(SCHEMA)
    database.one("SELECT automate.create_workflow('w', %s::jsonb)", [json.dumps(DOCUMENT)])
    yield database
    database.close()


def has_ended(database: Database, runs: list[str]) -> bool:
    try:
        return bool(database.one(
            "SELECT count(*) = %s FROM automate.run WHERE id = ANY (%s::uuid[]) AND status = 'faulted'"
            " AND error ->> 'type' = 'https://example.com/bad'", [len(runs), runs]))
    except psycopg.OperationalError:
        return False


def check(database: Database, runs: list[str]) -> None:
    try:
        poll(lambda: has_ended(database, runs), 60, "all runs have ended")
    except TimeoutError:
        for table in ("run", "run_step", "job", "job_history", "activity", "run_news"):
            print(table, *database.rows(f"SELECT * FROM automate.{table} LIMIT 20"), sep="\n")
        raise
    wrong = database.rows(
        "SELECT r.id, s.who, count(l.who) FROM unnest(%s::text[]) AS r(id) CROSS JOIN unnest(%s::text[]) AS s(who)"
        " LEFT JOIN ledger AS l ON l.run = r.id AND l.who = s.who GROUP BY 1, 2 HAVING count(l.who) <> 1",
        [runs, STEPS])
    assert not wrong
    assert database.one("SELECT count(*) FROM ledger WHERE run = ANY (%s)", [runs]) == len(runs) * len(STEPS)
    database.wait_until("SELECT NOT EXISTS (SELECT FROM automate.job)")


def test_a_kill_at_every_boundary_of_a_step(ledger: Database, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    for parent in list(tmp_path.parents)[:3]:
        parent.chmod(parent.stat().st_mode | 0o055)
    for number, place in enumerate(PLACES):
        marker = tmp_path / f"{number}"
        ledger.execute("TRUNCATE plan")
        ledger.execute("INSERT INTO plan VALUES (%s, %s)", [place, str(marker)])
        run = str(ledger.one("SELECT automate.execute_workflow('w')"))
        poll(marker.exists, 30, f"the kill at {place}")
        back(ledger)
        check(ledger, [run])


@pytest.mark.parametrize("seed", range(3))
def test_kills_at_random(ledger: Database, seed: int) -> None:
    choice = random.Random(seed)
    runs = [str(row[0]) for row in ledger.rows("SELECT automate.execute_workflow('w') FROM generate_series(1, 200)")]
    # Not three: a job that runs each time would be quarantined, and rightly.
    for part in (1, 4):
        poll(lambda part=part: at_least(ledger, part * 200), 60, "some steps are done")
        back(ledger)
        pids = [row[0] for row in ledger.rows("SELECT pid FROM automate.activity WHERE worker = 'executor' AND pid <> 0")]
        if pids:
            os.kill(choice.choice(pids), signal.SIGKILL)
            poll(lambda: is_gone(ledger), 30, "the server has noticed")
        back(ledger)
    check(ledger, runs)


def is_gone(database: Database) -> bool:
    """The server ends all sessions after a kill."""
    try:
        database.one("SELECT true")
    except psycopg.OperationalError:
        return True
    return False


def at_least(database: Database, rows: int) -> bool:
    try:
        return bool(database.one("SELECT count(*) >= %s FROM ledger", [rows]))
    except psycopg.OperationalError:
        return False


def test_a_branch_that_kills_its_session_faults_the_run(ledger: Database) -> None:
    kill = {"call": "sql", "with": {"query": "COPY (SELECT 1) TO PROGRAM 'kill -9 $PPID'"}}
    document = {"do": [{"f": {"fork": {"branches": [{"bad": kill}, {"w": {"wait": {"hours": 1}}}]}}}]}
    ledger.one("SELECT automate.create_workflow('k', %s::jsonb)", [json.dumps(document)])
    run = str(ledger.one("SELECT automate.execute_workflow('k')"))

    def error() -> Any:
        try:
            return ledger.one("SELECT error FROM automate.run WHERE id = %s", [run])
        except psycopg.OperationalError:
            return None

    found = poll(error, 90, "the run faults")
    assert (found["title"], found["instance"]) == ("Quarantined", "/do/0/f/fork/branches/0/bad")
    ledger.wait_until("SELECT NOT EXISTS (SELECT FROM automate.job)")
