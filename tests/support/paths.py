"""Where the build put things: one truth, `scripts/env.sh`, read once."""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@cache
def _settings() -> dict[str, str]:
    names = ["PG_AUTOMATE_CACHE", "PG_AUTOMATE_PREFIX", "PG_MAJOR", "CARGO_TARGET_DIR"]
    script = f". {ROOT}/scripts/env.sh; " + "; ".join(f'echo "${name}"' for name in names)
    out = subprocess.run(["bash", "-c", script], check=True, capture_output=True, text=True)
    return dict(zip(names, out.stdout.splitlines(), strict=True))


def cache_dir() -> Path:
    return Path(_settings()["PG_AUTOMATE_CACHE"])


def prefix() -> Path:
    """The private PostgreSQL tree that has the extension."""
    return Path(_settings()["PG_AUTOMATE_PREFIX"])


def bin_dir() -> Path:
    """Its programs."""
    found = prefix() / "lib/postgresql" / _settings()["PG_MAJOR"] / "bin"
    if not os.access(found / "postgres", os.X_OK):
        raise RuntimeError(f"no PostgreSQL at {found}: run `make build` first")
    return found


def extension_sql() -> Path:
    """The install script of the extension as it was generated."""
    share = prefix() / "share/postgresql" / _settings()["PG_MAJOR"]
    scripts = sorted(share.glob("extension/pg_automate--*.sql"))
    scripts = [path for path in scripts if path.name.count("--") == 1]
    if not scripts:
        raise RuntimeError(f"no extension script under {share}: run `make build` first")
    return max(scripts, key=lambda path: path.stat().st_mtime)
