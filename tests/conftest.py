"""Fixtures: one server for the run, one fresh database for each test, real peers on loopback."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest
from psycopg import sql

from support.cluster import Cluster
from support.database import Database
from support.http import HttpServer
from support.smtp import SmtpServer

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The server of the run. Tests that kill or configure a server take `new_cluster`."""
    settings = {
        "max_connections": 200,
        "max_worker_processes": 64,
        # Only loopback peers are ever called by the tests.
        "automate.network_allow": "127.0.0.1, ::1, localhost",
    }
    with Cluster(fsync=False, settings=settings) as server:
        yield server


@pytest.fixture
def new_cluster() -> Iterator[Callable[..., Cluster]]:
    """Makes servers of the test's own, started; they are destroyed at its end."""
    made: list[Cluster] = []

    def make(**options: object) -> Cluster:
        server = Cluster(**options)  # type: ignore[arg-type]
        made.append(server)
        return server.create().start()

    yield make
    for server in made:
        server.destroy()


@pytest.fixture
def _roles(cluster: Cluster) -> Iterator[list[str]]:
    """Names of the roles a test made; dropped after its database is gone."""
    names: list[str] = []
    yield names
    with cluster.connect() as connection:
        for name in names:
            connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(name)))


def _fresh_database(cluster: Cluster) -> Iterator[Database]:
    name = f"test_{next(_numbers)}"
    with cluster.connect() as connection:
        connection.execute(f"CREATE DATABASE {name}")
    database = Database(cluster, name)
    yield database
    database.close()
    with cluster.connect() as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.fixture
def bare_db(cluster: Cluster, _roles: list[str]) -> Iterator[Database]:
    """A fresh database without the extension."""
    yield from _fresh_database(cluster)


@pytest.fixture
def bare_db_2(cluster: Cluster, _roles: list[str]) -> Iterator[Database]:
    """Another one."""
    yield from _fresh_database(cluster)


@pytest.fixture
def db(bare_db: Database) -> Database:
    """A fresh database with the extension."""
    bare_db.execute("CREATE EXTENSION pg_automate")
    return bare_db


@pytest.fixture
def role(db: Database, _roles: list[str]) -> Callable[..., str]:
    """Makes a role: `role("ann")`, `role("bob", level=None)`, `role("x", options="NOLOGIN")`.

    With a level it may use the extension and create objects in schema public.
    """

    def make(name: str = "user", level: str | None = "user", options: str = "LOGIN") -> str:
        unique = f"{name}_{next(_numbers)}"
        identifier = sql.Identifier(unique)
        db.admin.execute(sql.SQL("CREATE ROLE {} " + options).format(identifier))  # type: ignore[arg-type]
        _roles.append(unique)
        if level is not None:
            db.admin.execute(sql.SQL("GRANT CREATE ON SCHEMA public TO {}").format(identifier))
            db.execute("SELECT automate.grant_usage(%s::regrole, %s)", [unique, level])
        return unique

    return make


@pytest.fixture
def smtp() -> Iterator[SmtpServer]:
    """A real SMTP server on 127.0.0.1; set `mode` or `script` to make it misbehave."""
    server = SmtpServer().start()
    yield server
    server.stop()


@pytest.fixture
def http() -> Iterator[HttpServer]:
    """A real HTTP server on 127.0.0.1; set `mode` or `script` to make it misbehave."""
    server = HttpServer().start()
    yield server
    server.stop()
