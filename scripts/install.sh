#!/usr/bin/env bash
# Builds the extension and installs it into a private copy of the PostgreSQL tree:
#   scripts/install.sh [PROFILE] [PREFIX]     (release, $PG_AUTOMATE_PREFIX)
# Nothing under /usr changes. Only what differs is copied.
set -euo pipefail
# shellcheck source=scripts/env.sh
. "$(dirname "$0")/env.sh"

profile=${1:-release}
prefix=${2:-$PG_AUTOMATE_PREFIX}
dir=$profile
if [ "$profile" = dev ]; then dir=debug; fi
umask 022

# Copies the server's own files when they are new or another version.
copy_tree() {
  local bin=/usr/lib/postgresql/$PG_MAJOR/bin version
  [ -x "$bin/postgres" ] || die "PostgreSQL $PG_MAJOR is not installed" "run: make setup"
  version=$("$bin/postgres" --version)
  if [ "$(cat "$prefix/version" 2>/dev/null)" = "$version" ]; then return; fi
  say "copying $version to $prefix"
  mkdir -p "$prefix/lib/postgresql" "$prefix/share/postgresql" ||
    die "cannot write to $prefix" "set PG_AUTOMATE_PREFIX to a folder of yours"
  cp -a "/usr/lib/postgresql/$PG_MAJOR" "$prefix/lib/postgresql/"
  cp -a "/usr/share/postgresql/$PG_MAJOR" "$prefix/share/postgresql/"
  printf '%s\n' "$version" >"$prefix/version"
}

# Puts a file in place by renaming: a running server keeps the one it has mapped.
put() {
  if cmp -s "$1" "$2"; then return; fi
  install -m "$3" "$1" "$2.new"
  mv "$2.new" "$2"
}

# pg_cron, if it is installed: a test takes over its jobs.
copy_pg_cron() {
  local lib=lib/postgresql/$PG_MAJOR/lib extension=share/postgresql/$PG_MAJOR/extension file
  [ -e "/usr/$lib/pg_cron.so" ] || return 0
  put "/usr/$lib/pg_cron.so" "$prefix/$lib/pg_cron.so" 755
  for file in "/usr/$extension"/pg_cron*; do
    put "$file" "$prefix/$extension/${file##*/}" 644
  done
}

mkdir -p "$PG_AUTOMATE_CACHE" "$PGRX_HOME"
if [ ! -e "$PGRX_HOME/config.toml" ]; then
  printf '[configs]\npg%s = "%s"\n' "$PG_MAJOR" "$SYSTEM_PG_CONFIG" >"$PGRX_HOME/config.toml"
fi

copy_tree
copy_pg_cron
say "building the extension ($profile)"
cd "$ROOT"
cargo build --profile "$profile" --lib --package pg_automate

version=$(cargo pkgid --package pg_automate)
version=${version##*[@#]}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The library is taken before the schema is made: another checkout may share the target folder.
cp "$CARGO_TARGET_DIR/$dir/libpg_automate.so" "$work/pg_automate.so"
"$ROOT/scripts/schema.sh" "$profile" "$work/schema.sql"
sed "s/@CARGO_VERSION@/$version/" "$ROOT/pg_automate.control" >"$work/pg_automate.control"

lib=$prefix/lib/postgresql/$PG_MAJOR/lib
extension=$prefix/share/postgresql/$PG_MAJOR/extension
put "$work/pg_automate.so" "$lib/pg_automate.so" 755
put "$work/pg_automate.control" "$extension/pg_automate.control" 644
put "$work/schema.sql" "$extension/pg_automate--$version.sql" 644
for upgrade in "$ROOT"/sql/pg_automate--*--*.sql; do
  if [ -e "$upgrade" ]; then put "$upgrade" "$extension/$(basename "$upgrade")" 644; fi
done
say "installed pg_automate $version in $prefix"
