"""What rules cost a writer, in CPU time of its own backend: the part `rules` of run.py.

Every figure is the smallest of several runs, above the same statement without us: the backend's CPU
time comes from the kernel's accounting of the process, so that other work on the machine hardly shows.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

if TYPE_CHECKING:
    from run import Bench

Connection = psycopg.Connection[Any]
ROWS = 200_000
RUNS = 4

# Twenty columns, some 220 bytes a row.
TABLE = """
CREATE TABLE {name} (id int, status text, amount numeric, qty int, customer int, region text, channel text,
    note text, price numeric, tax numeric, created timestamptz, updated timestamptz, active boolean, score float8,
    sku text, city text, zip text, phone text, email text, ref uuid)
"""
ROW = """i, {status}, {amount}, i % 50, i % 5000, 'region ' || i % 7, 'web', 'a note about ' || i, 12.50, 0.77,
    '2026-01-01', '2026-01-02', true, 0.5, 'sku-' || i % 900, 'Zurich', '8000', '+41 44 000 00 00', 'someone@example.com',
    '00000000-0000-4000-8000-000000000000'"""
EMIT = """'[{"emit": "seen"}]'"""
# What an action reads of a row.
READS = {
    "nothing": EMIT,
    "id": """'[{"emit": "seen", "payload": {"id": "${ .new.id }"}}]'""",
    "all": """'[{"emit": "seen", "payload": {"new": "${ .new }"}}]'""",
}


def cpu_s(session: Connection) -> float:
    """CPU seconds that the session's backend has used."""
    return int(Path(f"/proc/{session.info.backend_pid}/schedstat").read_text().split()[0]) / 1e9


def cost(session: Connection, statement: str, runs: int = RUNS, before: str = "") -> tuple[float, float]:
    """CPU and wall seconds of a statement: the smallest of some runs, each rolled back."""
    found = []
    for _ in range(runs):
        if before:
            session.execute(before)
        with session.transaction(force_rollback=True):
            cpu, wall = cpu_s(session), time.monotonic()
            session.execute(statement)
            found.append((cpu_s(session) - cpu, time.monotonic() - wall))
    return min(c for c, _ in found), min(w for _, w in found)


def insert(table: str, status: str, amount: str = "1000", rows: int = ROWS) -> str:
    row = ROW.format(status=status, amount=amount)
    return f"INSERT INTO {table} SELECT {row} FROM generate_series(1, {rows}) AS i"


def make(session: Connection, table: str, rules: int, condition: str, parameter: str = "condition",
         actions: str = EMIT) -> float:
    """A table with so many rules; returns the seconds that making them took."""
    session.execute(TABLE.format(name=table))
    began = time.monotonic()
    session.execute(
        f"SELECT automate.create_rule('{table}_' || k, {actions}, on_table => '{table}', operations => '{{insert}}',"
        f" {parameter} => {condition}) FROM generate_series(0, {rules - 1}) AS k"
    )
    return time.monotonic() - began


def rules(bench: Bench) -> None:
    """Bulk inserts with 1 to 10,000 rules, ranges, JsonLogic, single rows, COPY, matches, memory."""
    sql = bench.sql
    with sql.transaction():
        sql.execute("SELECT automate.pause()")
    sql.execute(TABLE.format(name="bare"))
    by_hand(bench)
    none, _ = cost(sql, insert("bare", "'none'"))
    bench.line("plain insert of 200,000 rows", f"{none / ROWS * 1e6:.2f} us/row CPU")
    equality(bench)
    ranges(bench)
    single_rows(bench)
    copy(bench)
    matches(bench)
    contexts(bench)


def above(bench: Bench, what: str, table: str, statement: Callable[[str], str], target: str) -> float:
    """Prints what a table's rules cost above a table without."""
    sql = bench.sql
    plain, _ = cost(sql, statement("bare"))
    ours, _ = cost(sql, statement(table))
    extra = (ours - plain) / ROWS * 1e6
    bench.line(what, f"{extra:.2f} us/row CPU", target, f"{ours / plain:.2f} x plain")
    return extra


def by_hand(bench: Bench) -> None:
    """The same test in a plpgsql trigger."""
    bench.sql.execute(TABLE.format(name="hand"))
    bench.sql.execute(
        """
        CREATE FUNCTION hand() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF NEW.status = 's0' AND NEW.amount > 500 THEN
                PERFORM automate.emit_event('seen', jsonb_build_object('new', to_jsonb(NEW)));
            END IF;
            RETURN NULL; END $$;
        CREATE TRIGGER hand AFTER INSERT ON hand FOR EACH ROW EXECUTE FUNCTION hand();
        """
    )
    above(bench, "bulk, one plpgsql trigger, 1 % match", "hand", one_percent(1), "")


def one_percent(count: int) -> Callable[[str], str]:
    """An insert of which 1 % of the rows match one of so many rules."""
    return lambda table: insert(table, f"CASE WHEN i % 100 = 0 THEN 's' || i / 100 % {count} ELSE 'none' END")


def equality(bench: Bench) -> None:
    condition = "format('new.status = ''s%s'' AND new.amount > 500', k)"
    for count, target in ((1, "<= 1.0"), (100, "<= 1.0"), (1_000, "<= 1.2"), (10_000, "<= 1.5")):
        made = make(bench.sql, f"eq{count}", count, condition)
        above(bench, f"bulk, {count:,} rules, equality, 1 % match", f"eq{count}", one_percent(count), target)
        if count >= 1_000:
            compiling(bench, count, made)
    logic = """jsonb_build_object('and', jsonb_build_array(
        jsonb_build_object('==', jsonb_build_array(jsonb_build_object('var', 'status'), 's' || k)),
        jsonb_build_object('>', jsonb_build_array(jsonb_build_object('var', 'amount'), 500))))"""
    make(bench.sql, "logic", 1_000, logic, "conditions")
    above(bench, "bulk, 1,000 JsonLogic rules, 1 % match", "logic", one_percent(1_000), "as SQL rules")


def compiling(bench: Bench, count: int, made: float) -> None:
    """What the first change of a fresh session costs, and the memory that it keeps."""
    with bench.cluster.connect("bench") as fresh:
        one = insert(f"eq{count}", "'none'", rows=1)
        fresh.execute(insert("bare", "'none'", rows=1))
        before = cpu_s(fresh), memory_kb(fresh)
        fresh.execute(one)
        first = cpu_s(fresh) - before[0]
        kept = memory_kb(fresh) - before[1]
        target = "<= 25 ms" if count == 1_000 else "< 40 MB"
        bench.line(f"first change in a session, {count:,} rules", f"{first * 1e3:.1f} ms CPU", target,
                   f"{kept / 1024:.1f} MB kept; made at {count / made:,.0f} rules/s")


def memory_kb(session: Connection) -> int:
    """Private memory of the session's backend."""
    text = Path(f"/proc/{session.info.backend_pid}/smaps_rollup").read_text()
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Private"))


def ranges(bench: Bench) -> None:
    """Rules on ranges alone: each row is in one of them at most."""
    make(bench.sql, "ranges", 1_000, "format('new.amount BETWEEN %s AND %s', k * 10, k * 10 + 9)")
    amount = "CASE WHEN i % 100 = 0 THEN i % 10000 ELSE 1e6 + i END"
    above(bench, "bulk, 1,000 rules on ranges, 1 % match", "ranges",
          lambda table: insert(table, "'none'", amount), "<= 3")


def single_rows(bench: Bench) -> None:
    """One row a statement, prepared, 5,000 of them in one transaction."""
    count = 5_000
    found = {}
    for table in ("bare", "hand", "eq1", "eq1000"):
        row = ROW.format(status="'none'", amount="1000").replace("i %", "$1 %").replace("|| i", "|| $1")
        row = "$1" + row[1:]
        bench.sql.execute(f"PREPARE one_{table}(int) AS INSERT INTO {table} SELECT {row}")
        loop = f"""DO $$ BEGIN FOR i IN 1..{count} LOOP EXECUTE 'EXECUTE one_{table}(' || i || ')'; END LOOP; END $$"""
        found[table], _ = cost(bench.sql, loop, runs=6)
    for table, target in (("hand", ""), ("eq1", "<= 1"), ("eq1000", "<= 5")):
        extra = (found[table] - found["bare"]) / count * 1e6
        bench.line(f"single-row insert without a match: {table}", f"{extra:.2f} us CPU", target,
                   f"plain: {found['bare'] / count * 1e6:.1f} us")


def copy(bench: Bench) -> None:
    """COPY of a million rows with ten rules."""
    rows = 1_000_000
    make(bench.sql, "copied", 10, "format('new.status = ''s%s'' AND new.amount > 500', k)")
    path = f"{bench.one('SHOW data_directory')}/rows.copy"
    bench.sql.execute(
        f"COPY (SELECT {ROW.format(status='$$none$$', amount='1000')} FROM generate_series(1, {rows}) AS i) TO '{path}'"
    )
    plain, plain_wall = cost(bench.sql, f"COPY bare FROM '{path}'", runs=2)
    ours, wall = cost(bench.sql, f"COPY copied FROM '{path}'", runs=2)
    bench.line("COPY of 1,000,000 rows, 10 rules", f"{ours / plain:.2f} x plain, CPU", "< 1.5",
               f"{wall / plain_wall:.2f} x plain, wall")
    Path(path).unlink()


def matches(bench: Bench) -> None:
    """Every row matches one rule: what a match costs, by what its action reads of the row."""
    sql, count = bench.sql, 5_000
    one = """DO $$ BEGIN FOR i IN 1..{count} LOOP INSERT INTO {table} SELECT {row}; END LOOP; END $$"""
    row = ROW.format(status="'s0'", amount="1000")
    for read, actions in READS.items():
        table = f"reads_{read}"
        make(sql, table, 1, "format('new.status = ''s%s'' AND new.amount > 500', k)", actions=actions)
        above(bench, f"bulk, every row matches: a match, reads {read}", table, lambda table: insert(table, "'s0'"), "<= 5")
        plain, _ = cost(sql, one.format(count=count, table="bare", row=row), runs=6)
        ours, _ = cost(sql, one.format(count=count, table=table, row=row), runs=6)
        bench.line(f"single-row insert with a match, reads {read}", f"{(ours - plain) / count * 1e6:.2f} us CPU", "<= 10",
                   f"plain: {plain / count * 1e6:.1f} us")
    sql.execute(TABLE.format(name="fired"))
    sql.execute(
        "SELECT automate.create_trigger('fired', 'data', on_table => 'fired', operations => '{insert}', condition => $$status = 's0'$$)"
    )
    sql.execute(f"SELECT automate.create_rule('heard', {EMIT}, on_trigger => 'fired')")
    above(bench, "bulk, every row fires a trigger with a subscriber", "fired", lambda table: insert(table, "'s0'"), "<= 10")


def contexts(bench: Bench) -> None:
    """evaluate_rules over 1,000 rules with one context, and decide on 10,000 rows."""
    sql, calls = bench.sql, 100
    for kind, argument in (
        ("JsonLogic", """conditions => jsonb_build_object('and', jsonb_build_array(
            jsonb_build_object('==', jsonb_build_array(jsonb_build_object('var', 'status'), 's' || k)),
            jsonb_build_object('>', jsonb_build_array(jsonb_build_object('var', 'amount'), 500))))"""),
        ("SQL", """on_event => 'e', condition => format($$ event->>'status' = 's%s' AND (event->>'amount')::numeric > 500 $$, k)"""),
    ):
        sql.execute(f"SELECT automate.create_ruleset('{kind}')")
        sql.execute(f"SELECT automate.create_rule('{kind}_' || k, {EMIT}, ruleset => '{kind}', {argument}) FROM generate_series(1, 1000) AS k")
        asked = f"""SELECT count(*) FROM generate_series(1, {calls}) AS n,
            LATERAL automate.evaluate_rules(jsonb_build_object('status', 's' || n, 'amount', 900 + n), '{kind}')"""
        sql.execute(asked)
        cpu, wall = cost(sql, asked)
        bench.line(f"evaluate_rules, 1,000 rules in {kind}", f"{cpu / calls * 1e3:.2f} ms CPU", "<= 1 ms",
                   f"{wall / calls * 1e3:.2f} ms wall")
    sql.execute(
        """
        SELECT automate.create_decision_table('grid', '[{"name": "code"}, {"name": "amount", "type": "number"}]',
            '[{"name": "fee", "type": "number"}]',
            (SELECT jsonb_agg(jsonb_build_array('c' || n / 10, format('[%s..%s)', n % 10 * 100, n % 10 * 100 + 100), n))
             FROM generate_series(0, 9999) AS n))
        """
    )
    asked = "SELECT count(automate.decide('grid', jsonb_build_object('code', 'c' || n % 1000, 'amount', n % 1000))) FROM generate_series(1, 10000) AS n"
    sql.execute(asked)
    cpu, _ = cost(sql, asked)
    bench.line("decide, a decision table of 10,000 rows", f"{cpu / 10_000 * 1e6:.1f} us CPU")
