#!/usr/bin/env bash
# Everything that is checked without running it. Needs the installed extension (make build).
set -euo pipefail
# shellcheck source=scripts/env.sh
. "$(dirname "$0")/env.sh"
cd "$ROOT"

failed=()

# Runs a check and goes on: one run names everything that is wrong.
check() {
  local name=$1
  shift
  say "$name"
  "$@" || failed+=("$name")
}

shell_scripts() {
  git ls-files -z --cached --others --exclude-standard '*.sh' .ci/run | xargs -0 shellcheck -x
}

check "rustfmt" cargo fmt --all --check
check "budgets and SAFETY comments" "$VENV/bin/python" scripts/budgets.py
check "shellcheck" shell_scripts
check "pgspot" scripts/pgspot.sh
check "clippy" cargo clippy --workspace --all-targets --quiet -- -D warnings
check "rustdoc" env RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --quiet
if [ ${#failed[@]} -gt 0 ]; then die "lint found something in: ${failed[*]}"; fi
say "lint: all clean"
