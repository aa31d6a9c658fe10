#!/usr/bin/env bash
# Looks for unsafe SQL in the generated install script: no finding is allowed, and none is excused.
set -euo pipefail
# shellcheck source=scripts/env.sh
. "$(dirname "$0")/env.sh"

found=$(ls -t "$PG_AUTOMATE_PREFIX/share/postgresql/$PG_MAJOR/extension"/pg_automate--*.sql)
script=${found%%$'\n'*}
output=$("$VENV/bin/pgspot" "$script") || { printf '%s\n' "$output"; exit 1; }
printf '%s\n' "$output"
# The exit code alone is not trusted: the summary must say so, too.
grep -q '^ *Errors: 0 Warnings: 0 Unknown: 0' <<<"$output" || die "pgspot has findings in $script"
