"""A private PostgreSQL server: its own folder, socket and port, never the machine's."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg

from . import paths
from .polling import poll
from .process import Process, children

SUPERUSER = "postgres"


def free_port() -> int:
    """A TCP port nobody listens on now; the server uses it for the name of its socket only."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Cluster:
    """One server. `base` holds `data`, `socket` and `log`; a temporary folder if not given."""

    def __init__(
        self,
        base: Path | None = None,
        *,
        port: int | None = None,
        preload: bool = True,
        fsync: bool = True,
        settings: dict[str, object] | None = None,
    ) -> None:
        self.temporary = base is None
        self.base = base or Path(tempfile.mkdtemp(prefix="pg_automate."))
        self.port = port or free_port()
        self.preload = preload
        self.fsync = fsync
        self.settings = settings or {}
        self.data = self.base / "data"
        self.socket = self.base / "socket"
        self.log_file = self.base / "log"
        # PostgreSQL refuses to run as root.
        self._user = SUPERUSER if os.geteuid() == 0 else None

    # --- life -----------------------------------------------------------------------------

    def create(self) -> Cluster:
        """initdb and the configuration; the server is not started."""
        self._own_folder(self.base)
        self._own_folder(self.socket)
        sync = [] if self.fsync else ["--no-sync"]
        self.run(
            "initdb", "-D", self.data, "-U", SUPERUSER, "-A", "trust", "-E", "UTF8",
            "--locale=C.UTF-8", *sync,
        )
        # Unix socket only, and trust on nothing else.
        hba = "local all all trust\nlocal replication all trust\n"
        (self.data / "pg_hba.conf").write_text(hba)
        self.configure()
        return self

    def configure(self, **settings: object) -> None:
        """Writes the settings (those given at the start, plus these). Takes a reload or restart."""
        self.settings.update(settings)
        values: dict[str, object] = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.socket),
            "port": self.port,
            "shared_preload_libraries": "pg_automate" if self.preload else "",
            "fsync": self.fsync,
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_line_prefix": "%m [%p] %b %d %u ",
            "max_worker_processes": 32,
            **self.settings,
        }
        lines = [f"{name} = {_quoted(value)}" for name, value in values.items()]
        (self.data / "pg_automate.conf").write_text("\n".join(lines) + "\n")
        main = self.data / "postgresql.conf"
        include = "include 'pg_automate.conf'\n"
        if include not in main.read_text():
            with main.open("a") as out:
                out.write(include)

    def start(self, deadline: int = 60) -> Cluster:
        """Starts the server and waits until it takes connections."""
        try:
            self._pg_ctl("start", "-l", self.log_file, "-t", str(deadline))
        except subprocess.CalledProcessError as error:
            raise RuntimeError(f"the server does not start:\n{self.log()[-4000:]}") from error
        return self

    def stop(self, mode: str = "fast", deadline: int = 60) -> None:
        """Stops the server; `mode` is smart, fast or immediate. Nothing if it does not run."""
        if self.running:
            self._pg_ctl("stop", "-m", mode, "-t", str(deadline))

    def restart(self, mode: str = "fast") -> None:
        self.stop(mode)
        self.start()

    def reload(self) -> None:
        self._pg_ctl("reload")

    def promote(self) -> None:
        """Makes a standby the primary."""
        self._pg_ctl("promote")

    def kill9(self, deadline: float = 30) -> None:
        """SIGKILL to the postmaster; returns when its children noticed and are gone."""
        postmaster = self.postmaster
        orphans = children(postmaster.pid)
        os.kill(postmaster.pid, signal.SIGKILL)
        poll(
            lambda: not any(process.alive for process in [postmaster, *orphans]),
            deadline,
            "the children of a killed postmaster leave",
        )
        # Where process 1 does not reap, the dead postmaster's id still looks alive to the next one.
        (self.data / "postmaster.pid").unlink()
        (self.socket / f".s.PGSQL.{self.port}.lock").unlink()

    def destroy(self) -> None:
        """Stops the server and removes its folder."""
        self.stop("immediate")
        shutil.rmtree(self.base, ignore_errors=True)

    def __enter__(self) -> Cluster:
        return self.create().start()

    def __exit__(self, *_: object) -> None:
        self.destroy()

    # --- a second server --------------------------------------------------------------------

    def standby(self, **settings: object) -> Cluster:
        """A streaming standby of this server, made by pg_basebackup; created, not started."""
        other = Cluster(preload=self.preload, fsync=self.fsync, settings={**self.settings, **settings})
        other._own_folder(other.base)
        other._own_folder(other.socket)
        source = f"host={self.socket} port={self.port} user={SUPERUSER}"
        self.run(
            "pg_basebackup", "-D", other.data, "-d", source, "-R", "-X", "stream", "-c", "fast",
        )
        other.configure()
        return other

    # --- programs and connections -------------------------------------------------------------

    def run(
        self, program: str, *args: object, check: bool = True, input: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs a PostgreSQL program of the private tree as the server's user."""
        command = [str(paths.bin_dir() / program), *map(str, args)]
        done = subprocess.run(
            command,
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            cwd="/",
            env=self._environment(),
            **self._as_server(),
        )
        if check and done.returncode:
            raise RuntimeError(f"{program} failed ({done.returncode}):\n{done.stderr}")
        return done

    def psql(self, sql: str, db: str = "postgres", user: str = SUPERUSER) -> str:
        """Runs `sql` in psql, stops at the first error, and gives what it prints (-At)."""
        done = self.run(
            "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", db, "-U", user, "-f", "-", input=sql
        )
        return done.stdout.rstrip("\n")

    def connect(
        self, db: str = "postgres", user: str = SUPERUSER, autocommit: bool = True, **more: Any
    ) -> psycopg.Connection[Any]:
        """A connection over the unix socket."""
        return psycopg.connect(
            host=str(self.socket), port=self.port, dbname=db, user=user, autocommit=autocommit, **more
        )

    def psql_line(self, db: str = "postgres") -> str:
        """The command a person types to look around."""
        return f"psql -h {self.socket} -p {self.port} -U {SUPERUSER} {db}"

    def query(self, sql: str, params: Sequence[Any] | None = None, db: str = "postgres") -> list[Any]:
        """Rows of one statement in a connection of its own."""
        with self.connect(db) as connection:
            cursor = connection.execute(sql, params)
            return cursor.fetchall() if cursor.description else []

    def wait_until(
        self, sql: str, params: Sequence[Any] | None = None, *, db: str = "postgres",
        deadline: float = 10,
    ) -> Any:
        """Polls until the first column of the first row is true; gives that value."""
        with self.connect(db) as connection:
            return wait_until(connection, sql, params, deadline)

    # --- looking at it ------------------------------------------------------------------------

    def log(self) -> str:
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    @property
    def postmaster(self) -> Process:
        return Process(int((self.data / "postmaster.pid").read_text().splitlines()[0]))

    @property
    def running(self) -> bool:
        try:
            return self.postmaster.alive
        except (FileNotFoundError, IndexError, ValueError):
            return False

    def processes(self, title: str = "") -> list[Process]:
        """The server's child processes whose title contains `title`."""
        return [process for process in children(self.postmaster.pid) if title in process.title]

    # --- inside -------------------------------------------------------------------------------

    def _pg_ctl(self, action: str, *args: object) -> None:
        command = [paths.bin_dir() / "pg_ctl", action, "-D", self.data, "-s"]
        if action != "reload":
            command.append("-w")
        # The server inherits the output: a pipe would never close.
        subprocess.run(
            [str(word) for word in [*command, *args]],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env=self._environment(),
            **self._as_server(),
        )

    def _environment(self) -> dict[str, str]:
        """Ours without the PG* variables of the caller, plus where this server is."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        return {**kept, "PGHOST": str(self.socket), "PGPORT": str(self.port), "LC_ALL": "C.UTF-8"}

    def _as_server(self) -> dict[str, Any]:
        if self._user is None:
            return {}
        group = pwd.getpwnam(self._user).pw_gid
        return {"user": self._user, "group": group, "extra_groups": []}

    def _own_folder(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)
        if self._user is not None:
            entry = pwd.getpwnam(self._user)
            os.chown(folder, entry.pw_uid, entry.pw_gid)


def wait_until(
    connection: psycopg.Connection[Any],
    sql: str,
    params: Sequence[Any] | None = None,
    deadline: float = 10,
) -> Any:
    """Polls on this connection until the first column of the first row is true."""

    def probe() -> Any:
        row = connection.execute(sql, params).fetchone()
        return row[0] if row else None

    return poll(probe, deadline, sql)


def _quoted(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "'" + str(value).replace("'", "''") + "'"
