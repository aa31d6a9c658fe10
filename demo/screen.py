"""What the person sees: a line for what happens, a bar for what takes long, a table at the end."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence

TTY = sys.stdout.isatty()


def step(text: str) -> None:
    print(f"\n\033[1m{text}\033[0m" if TTY else f"\n{text}", flush=True)


def note(text: str) -> None:
    print(f"  {text}", flush=True)


class Progress:
    """One line that changes on a terminal; elsewhere a line now and then."""

    def __init__(self, total: int) -> None:
        self.total = max(total, 1)
        self.started = time.monotonic()
        self._last = 0.0

    def show(self, done: int, text: str) -> None:
        now = time.monotonic()
        final = done >= self.total
        if not final and now - self._last < (0.1 if TTY else 5):
            return
        self._last = now
        bar = "#" * (24 * min(done, self.total) // self.total)
        line = f"  [{bar:<24}] {text}  {now - self.started:.0f} s"
        if TTY:
            print("\r" + line.ljust(shutil.get_terminal_size().columns - 1), end="", flush=True)
        else:
            print(line, flush=True)

    def end(self) -> None:
        if TTY:
            print()


def result_table(rows: Sequence[tuple[str, int, int]]) -> bool:
    """Prints what was done beside what should have been; true if all is equal."""
    width = max(len(what) for what, _, _ in rows)
    print(f"\n  {'':<{width}} | automation did | plain SQL says | equal")
    print(f"  {'-' * width}-+----------------+----------------+------")
    for what, did, should in rows:
        equal = "yes" if did == should else "NO"
        print(f"  {what:<{width}} | {did:>14,} | {should:>14,} | {equal}")
    return all(did == should for _, did, should in rows)
