#!/usr/bin/env bash
# Runs the tests that need a server: scripts/test.sh [pytest arguments]
set -euo pipefail
# shellcheck source=scripts/env.sh
. "$(dirname "$0")/env.sh"
cd "$ROOT/tests"
export PYTHONDONTWRITEBYTECODE=1
exec "$VENV/bin/pytest" "$@"
