#!/usr/bin/env python3
"""A private server to try things on: scripts/cluster.py start|stop|restart|destroy FOLDER [db].

`start` makes the server in FOLDER if it is not there, with the extension preloaded, and prints the
psql line. Settings follow as name=value.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from support.cluster import Cluster, free_port  # noqa: E402


def open_cluster(folder: Path, settings: dict[str, object]) -> Cluster:
    """The server in `folder`, made on first use; it keeps its port."""
    port_file = folder / "port"
    if port_file.exists():
        cluster = Cluster(folder, port=int(port_file.read_text()), settings=settings)
        if settings:
            cluster.configure()
        return cluster
    cluster = Cluster(folder, port=free_port(), settings=settings).create()
    port_file.write_text(str(cluster.port))
    return cluster


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=["start", "stop", "restart", "destroy"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("settings", nargs="*", metavar="name=value")
    args = parser.parse_args()
    folder = args.folder.resolve()
    if args.action in ("stop", "destroy") and not (folder / "port").exists():
        print(f"no server of ours in {folder}")
        return
    cluster = open_cluster(folder, dict(pair.split("=", 1) for pair in args.settings))
    match args.action:
        case "start":
            if not cluster.running:
                cluster.start()
        case "restart":
            cluster.restart()
        case "stop":
            cluster.stop()
        case "destroy":
            cluster.destroy()
            return
    print(cluster.psql_line() if cluster.running else "stopped")


if __name__ == "__main__":
    main()
