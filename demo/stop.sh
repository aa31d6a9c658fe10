#!/usr/bin/env bash
# Stops the demo's server and its mail and web server, and removes their files.
set -euo pipefail
# shellcheck source=scripts/env.sh
. "$(dirname "$0")/../scripts/env.sh"
export PYTHONDONTWRITEBYTECODE=1
# Without the Python environment no demo can have run.
[ -x "$VENV/bin/python" ] || exit 0
exec "$VENV/bin/python" "$ROOT/demo/place.py"
