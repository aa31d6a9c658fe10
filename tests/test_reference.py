"""docs/reference.md says what the database says of itself."""

from __future__ import annotations

import sys

from support.paths import ROOT

sys.path.insert(0, str(ROOT / "scripts"))

from reference import TARGET, reference  # noqa: E402


def test_the_reference_is_what_the_database_says(db):
    assert TARGET.read_text() == reference(db.admin), "run: make docs"
