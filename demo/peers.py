#!/usr/bin/env python3
"""The outside world of the demo: a real SMTP and a real HTTP server on loopback.

    peers.py FOLDER

Writes the ports to FOLDER/ports.json when both listen, each mail to FOLDER/mails/N.eml, and each
webhook call as a line to FOLDER/hooks.jsonl. Runs until it is told to stop (SIGTERM).
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller


class Mailbox:
    """Keeps each mail as a file; the reply is sent after it is written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.numbers = itertools.count(1)

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        path = self.folder / f"{next(self.numbers):06}.eml"
        part = path.with_suffix(".part")
        part.write_bytes(envelope.content)
        part.rename(path)
        return "250 2.0.0 accepted"


class Smtp(Controller):
    def _trigger_server(self) -> None:
        """With port 0 the system chose: remember which."""
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


class Hooks(BaseHTTPRequestHandler):
    """Answers 200 to every POST once its line is written."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    lock = threading.Lock()
    out: Any

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        line = json.dumps({"path": self.path, "headers": headers, "body": body.decode()})
        with self.lock:
            self.out.write(line + "\n")
            self.out.flush()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")
        self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:
        """One line a call would drown the demo."""


class Web(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512


def main() -> None:
    folder = Path(sys.argv[1])
    (folder / "mails").mkdir(parents=True)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())

    smtp = Smtp(Mailbox(folder / "mails"), hostname="127.0.0.1", port=0)
    smtp.start()
    with (folder / "hooks.jsonl").open("w") as Hooks.out:
        web = Web(("127.0.0.1", 0), Hooks)
        threading.Thread(target=web.serve_forever, daemon=True).start()
        ports = {"smtp": smtp.port, "http": web.server_address[1], "pid": os.getpid()}
        part = folder / "ports.part"
        part.write_text(json.dumps(ports))
        part.rename(folder / "ports.json")
        stop.wait()
        web.shutdown()
    smtp.stop()


if __name__ == "__main__":
    main()
