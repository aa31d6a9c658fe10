"""A real SMTP server (aiosmtpd) on loopback that can misbehave.

Modes: accept; refuse (550 to the recipient); busy (451 to the recipient); slow (the answer to the
message comes when `release()` is called); close (the connection drops while the message is sent).
"""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from .polling import poll

MODES = ("accept", "refuse", "busy", "slow", "close")


@dataclass
class Mail:
    """One accepted message; `at` is the monotonic time of its arrival."""

    sender: str
    recipients: list[str]
    content: bytes
    session: int
    at: float = field(default_factory=time.monotonic)

    @property
    def message(self) -> EmailMessage:
        parsed = message_from_bytes(self.content, policy=policy.default)
        assert isinstance(parsed, EmailMessage)
        return parsed


class SmtpServer:
    """`mails` holds what was accepted; `script` are modes for the next messages, then `mode`."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self.mode = "accept"
        self.script: list[str] = []
        self.mails: list[Mail] = []
        self.attempts = 0
        self.sessions: set[int] = set()
        self._released = threading.Event()
        self._controller = _Controller(self, host, port)

    @property
    def host(self) -> str:
        return str(self._controller.hostname)

    @property
    def port(self) -> int:
        return int(self._controller.port)

    def start(self) -> SmtpServer:
        self._controller.start()
        # Port 0 let the system choose; remember which.
        self._controller.port = self._controller.server.sockets[0].getsockname()[1]
        return self

    def stop(self) -> None:
        self.release()
        self._controller.stop()

    def release(self) -> None:
        """Lets the messages of mode slow through."""
        self._released.set()

    def wait_for(self, count: int, deadline: float = 10) -> list[Mail]:
        """The first `count` mails, once they are there."""
        poll(lambda: len(self.mails) >= count, deadline, f"{count} mails arrive")
        return self.mails[:count]

    def _next_mode(self) -> str:
        mode = self.script.pop(0) if self.script else self.mode
        assert mode in MODES, mode
        return mode

    # --- called by aiosmtpd ---------------------------------------------------------------------

    async def handle_MAIL(
        self, _server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        self.attempts += 1
        self.sessions.add(id(session))
        session.mode = self._next_mode()  # type: ignore[attr-defined]
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(
        self, _server: SMTP, session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        match session.mode:  # type: ignore[attr-defined]
            case "refuse":
                return "550 5.1.1 no such user here"
            case "busy":
                return "451 4.3.0 try again later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        mode = session.mode  # type: ignore[attr-defined]
        if mode == "close":
            server.transport.abort()  # type: ignore[union-attr]
            return "421 4.3.0 bye"
        if mode == "slow":
            await asyncio.get_running_loop().run_in_executor(None, self._released.wait, 60)
        content = envelope.content
        assert isinstance(content, bytes)
        mail = Mail(str(envelope.mail_from), list(envelope.rcpt_tos), content, id(session))
        self.mails.append(mail)
        return "250 2.0.0 accepted"


class _Controller(Controller):
    def __init__(self, owner: SmtpServer, host: str, port: int) -> None:
        super().__init__(owner, hostname=host, port=port, server_hostname="mail.test")

    def factory(self) -> Any:
        return SMTP(self.handler, data_size_limit=64 * 1024 * 1024, **self.SMTP_kwargs)

    def _trigger_server(self) -> None:
        """aiosmtpd connects once to its configured port here; with port 0 that is not known yet."""
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()
