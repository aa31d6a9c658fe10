"""What the mail and the web server received, read back from their files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from email import message_from_bytes, policy
from pathlib import Path


@dataclass(frozen=True)
class Mail:
    message_id: str
    subject: str
    # The ends of the attached files' names, such as csv.
    attachments: list[str]


@dataclass(frozen=True)
class Hook:
    path: str
    # The idempotency key: the same over attempts.
    key: str | None
    flight_id: int | None


def mails(home: Path) -> list[Mail]:
    """Every mail that the SMTP server accepted."""
    found = []
    for path in sorted((home / "mails").glob("*.eml")):
        message = message_from_bytes(path.read_bytes(), policy=policy.default)
        names = [part.get_filename() or "" for part in message.iter_attachments()]  # type: ignore[attr-defined]
        ends = [name.rpartition(".")[2] for name in names]
        found.append(Mail(str(message["Message-ID"]), str(message["Subject"]), ends))
    return found


def hooks(home: Path) -> list[Hook]:
    """Every call that the web server answered."""
    found = []
    for line in (home / "hooks.jsonl").read_text().splitlines():
        call = json.loads(line)
        headers = call["headers"]
        key = headers.get("idempotency-key") or headers.get("webhook-id")
        body = json.loads(call["body"]) if call["body"] else {}
        # Only the rebooking's calls are about a flight by number; a notification's id is its own.
        flight = body.get("id") if isinstance(body, dict) else None
        found.append(Hook(call["path"], key, flight if isinstance(flight, int) else None))
    return found
