"""Where the demo lives, and how to end what an earlier run left behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from support import paths  # noqa: E402
from support.cluster import Cluster  # noqa: E402
from support.polling import poll  # noqa: E402
from support.process import Process  # noqa: E402

DATABASE = "demo"
ROLE = "airline"


def folder() -> Path:
    """Beside the private PostgreSQL tree: the server's user can read it there."""
    prefix = paths.prefix()
    return prefix.parent / f"demo-{prefix.name.rpartition('-')[2]}"


def stop() -> bool:
    """Ends the server and the peers and removes their files; false if there were none."""
    base = folder()
    if not base.exists():
        return False
    cluster = Cluster(base / "server", port=1)
    cluster.stop("fast")
    ports = base / "peers" / "ports.json"
    if ports.exists():
        _end_peers(int(json.loads(ports.read_text())["pid"]))
    shutil.rmtree(base)
    return True


def start_peers() -> dict[str, int]:
    """Starts the SMTP and the HTTP server; gives their ports. They outlive this program."""
    home = folder() / "peers"
    home.mkdir(parents=True)
    with (home / "log").open("w") as log:
        child = subprocess.Popen(
            [sys.executable, str(ROOT / "demo" / "peers.py"), str(home)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )
    ports = home / "ports.json"
    poll(lambda: ports.exists() or child.poll() is not None, 20, "the mail and web server listen")
    if not ports.exists():
        raise RuntimeError(f"the demo's mail and web server ended:\n{(home / 'log').read_text()}")
    return dict(json.loads(ports.read_text()))


def _end_peers(pid: int) -> None:
    """Ends the process only if it is still ours: numbers are used again."""
    process = Process(pid)
    if "demo/peers.py" in process.title:
        os.kill(pid, signal.SIGTERM)
        poll(lambda: not process.alive, 10, "the demo's mail and web server end")


if __name__ == "__main__":
    print("the demo is stopped and its files are gone" if stop() else "no demo is running")
