"""What /proc says of a process: parent, title, CPU time, memory."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Memory:
    """Bytes: resident, resident and divided among the sharers, and the process' own."""

    resident: int
    proportional: int
    private: int


@dataclass(frozen=True)
class Process:
    pid: int

    @property
    def title(self) -> str:
        """As `ps` shows it; empty when the process is gone."""
        try:
            raw = Path(f"/proc/{self.pid}/cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            return ""
        return raw.replace(b"\0", b" ").decode(errors="replace").strip()

    @property
    def alive(self) -> bool:
        fields = _stat(self.pid)
        return bool(fields) and fields[0] not in "ZX"

    @property
    def parent(self) -> int:
        fields = _stat(self.pid)
        return int(fields[1]) if fields else 0

    def cpu_seconds(self) -> float:
        """User and system time used so far."""
        fields = _stat(self.pid)
        if not fields:
            raise ProcessLookupError(f"no process {self.pid}")
        return (int(fields[11]) + int(fields[12])) / TICKS

    def memory(self) -> Memory:
        """Sums of all mappings (smaps_rollup); needs the same user or root."""
        sizes: dict[str, int] = {}
        for line in Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines()[1:]:
            name, value = line.split(":")
            sizes[name] = int(value.split()[0]) * 1024
        private = sizes["Private_Clean"] + sizes["Private_Dirty"] + sizes.get("Private_Hugetlb", 0)
        return Memory(sizes["Rss"], sizes["Pss"], private)


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name, so [0] is the state; [] when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def children(parent: int) -> list[Process]:
    """The living child processes."""
    pids = (int(entry) for entry in os.listdir("/proc") if entry.isdigit())
    found = (Process(pid) for pid in pids)
    return [process for process in found if process.parent == parent and process.alive]
