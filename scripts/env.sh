# shellcheck shell=bash
# Where everything lives. Sourced by the other scripts; nothing here installs or builds.
#
#   PG_AUTOMATE_CACHE   what can be thrown away and made again (build, Python, downloads)
#   PG_AUTOMATE_PREFIX  a private copy of the PostgreSQL tree with the extension in it;
#                       it must be readable by the user that runs the server
#   CARGO_TARGET_DIR    cargo's own, kept if the caller set it

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
PG_MAJOR=15
PGRX_VERSION=0.17.0

export PG_AUTOMATE_CACHE="${PG_AUTOMATE_CACHE:-${HOME:?HOME is not set}/.cache/pg_automate}"
if [ -z "${PG_AUTOMATE_PREFIX:-}" ]; then
  # One tree for each checkout, so that two of them do not overwrite each other's extension.
  tree=pgtree-$(printf '%s' "$ROOT" | cksum | cut -d' ' -f1)
  # Root's home is closed to the user `postgres`, who runs the server then.
  if [ "$(id -u)" = 0 ]; then
    PG_AUTOMATE_PREFIX=/var/cache/pg_automate/$tree
  else
    PG_AUTOMATE_PREFIX=$PG_AUTOMATE_CACHE/$tree
  fi
fi
export PG_AUTOMATE_PREFIX
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PG_AUTOMATE_CACHE/target}"
VENV=$PG_AUTOMATE_CACHE/venv
SYSTEM_PG_CONFIG=/usr/lib/postgresql/$PG_MAJOR/bin/pg_config
# Our own pgrx configuration: a user's ~/.pgrx is left alone.
export PGRX_HOME="$PG_AUTOMATE_CACHE/pgrx"
export ROOT PG_MAJOR PGRX_VERSION VENV SYSTEM_PG_CONFIG

# A line on the screen that says what happens now.
say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }

# Ends the script with a message and the way out.
die() {
  printf 'error: %s\n' "$1" >&2
  if [ -n "${2:-}" ]; then printf 'hint: %s\n' "$2" >&2; fi
  exit 1
}

# Runs a command as root: at once, or by sudo.
as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  else
    command -v sudo >/dev/null || die "this needs root: $*" "install sudo, or run it as root"
    sudo "$@"
  fi
}
