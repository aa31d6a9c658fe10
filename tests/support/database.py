"""One test database and the calls a test makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg.rows import TupleRow

from .cluster import SUPERUSER, Cluster, wait_until


class Database:
    """A database of `cluster`; `execute`, `one`, `rows` use one superuser connection."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster = cluster
        self.name = name
        self._admin: psycopg.Connection[TupleRow] | None = None
        self._others: list[psycopg.Connection[Any]] = []

    @property
    def admin(self) -> psycopg.Connection[TupleRow]:
        """The superuser's connection (autocommit), opened again if the server went away."""
        if self._admin is None or self._admin.closed or self._admin.broken:
            self._admin = self.cluster.connect(self.name, SUPERUSER)
        return self._admin

    def connect(
        self, user: str = SUPERUSER, autocommit: bool = True, **more: Any
    ) -> psycopg.Connection[Any]:
        """Another connection; it is closed at the end of the test."""
        connection = self.cluster.connect(self.name, user, autocommit, **more)
        self._others.append(connection)
        return connection

    def execute(self, sql: str, params: Sequence[Any] | None = None) -> psycopg.Cursor[TupleRow]:
        return self.admin.execute(sql, params)

    def rows(self, sql: str, params: Sequence[Any] | None = None) -> list[TupleRow]:
        return self.execute(sql, params).fetchall()

    def one(self, sql: str, params: Sequence[Any] | None = None) -> Any:
        """The first column of the only row."""
        rows = self.rows(sql, params)
        assert len(rows) == 1, f"one row expected, {len(rows)} came: {sql}"
        return rows[0][0]

    def wait_until(self, sql: str, params: Sequence[Any] | None = None, deadline: float = 10) -> Any:
        """Polls until the first column of the first row is true; gives that value."""
        return wait_until(self.admin, sql, params, deadline)

    def psql(self, sql: str, user: str = SUPERUSER) -> str:
        return self.cluster.psql(sql, self.name, user)

    def close(self) -> None:
        for connection in [self._admin, *self._others]:
            if connection is not None:
                connection.close()
        self._admin, self._others = None, []
