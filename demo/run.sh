#!/usr/bin/env bash
# The demo: demo/run.sh [DAYS]. `make demo` builds first and then calls this.
set -euo pipefail
# shellcheck source=scripts/env.sh
. "$(dirname "$0")/../scripts/env.sh"
export PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
exec "$VENV/bin/python" "$ROOT/demo/run.py" "${1:-31}"
