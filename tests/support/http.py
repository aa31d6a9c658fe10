"""A real HTTP server on loopback that can misbehave.

Modes: a status as text ("200", "500"); "429" adds Retry-After; hang (answers after `release()`);
reset (the connection is reset); huge (100 MB answer); redirect (302 to `redirect_to`).
"""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from .polling import poll

HUGE = 100 * 1024 * 1024


@dataclass
class Request:
    """One request as it came; `at` is the monotonic time of its arrival."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    at: float = field(default_factory=time.monotonic)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class HttpServer:
    """`requests` holds all that came; `script` are modes for the next ones, then `mode`."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self.mode = "200"
        self.script: list[str] = []
        self.retry_after = "1"
        self.redirect_to = "http://127.0.0.1:1/"
        self.body = b'{"ok": true}'
        self.content_type = "application/json"
        self.requests: list[Request] = []
        self.connections = 0
        self._released = threading.Event()
        self._lock = threading.Lock()
        self._server = _Server((host, port), self)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://{self._server.server_address[0]}:{self.port}"

    def start(self) -> HttpServer:
        self._thread.start()
        return self

    def stop(self) -> None:
        self.release()
        self._server.shutdown()
        self._server.server_close()

    def release(self) -> None:
        """Lets the requests of mode hang be answered."""
        self._released.set()

    def wait_for(self, count: int, deadline: float = 10) -> list[Request]:
        """The first `count` requests, once they are there."""
        poll(lambda: len(self.requests) >= count, deadline, f"{count} requests arrive")
        return self.requests[:count]

    def _take(self, request: Request) -> str:
        """Records the request and says how to answer it."""
        with self._lock:
            self.requests.append(request)
            return self.script.pop(0) if self.script else self.mode


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 512

    def __init__(self, address: tuple[str, int], owner: HttpServer) -> None:
        self.owner = owner
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is part of the game."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.owner.connections += 1

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        owner = self.server.owner
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        headers = {name.lower(): value for name, value in self.headers.items()}
        mode = owner._take(Request(self.command, self.path, headers, body))
        match mode:
            case "hang":
                owner._released.wait(120)
                self._answer(200)
            case "reset":
                # Linger 0: close() sends RST.
                linger = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.close_connection = True
                self.connection.close()
            case "huge":
                self._huge()
            case "redirect":
                self._answer(302, {"Location": owner.redirect_to})
            case "429":
                self._answer(429, {"Retry-After": owner.retry_after})
            case status:
                self._answer(int(status))

    do_GET = do_PUT = do_PATCH = do_DELETE = do_POST

    def _answer(self, status: int, headers: dict[str, str] | None = None) -> None:
        owner = self.server.owner
        self.send_response(status)
        self.send_header("Content-Type", owner.content_type)
        self.send_header("Content-Length", str(len(owner.body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(owner.body)
        self.wfile.flush()

    def _huge(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(HUGE))
        self.end_headers()
        block = b"x" * 65536
        for _ in range(HUGE // len(block)):
            self.wfile.write(block)
