"""Waiting for something to become true, with a deadline: the only place that sleeps."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def poll(probe: Callable[[], T], deadline: float, what: str, first_pause: float = 0.002) -> T:
    """Calls `probe` until it returns something true, at most `deadline` seconds long."""
    end = time.monotonic() + deadline
    pause = first_pause
    while True:
        value = probe()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {deadline} s (last value: {value!r})")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)
