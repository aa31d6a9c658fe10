#!/usr/bin/env bash
# Installs what is missing, and says nothing when nothing is: scripts/setup.sh [--bench] [--cron] [--cargo-pgrx]
#
#   --bench       also nginx, the web server of the benchmarks, and what they measure beside us: pg_cron,
#                 and absurd and DBOS in a Python environment of their own
#   --cron        also pg_cron, whose jobs a test takes over
#   --cargo-pgrx  also cargo-pgrx, for `cargo pgrx run` and the like; the build does without it
#
# Works as root, or as a user with sudo. Debian packages go where apt puts them; everything else
# goes to the cache folder. Nobody's database cluster is touched, and none is created.
set -euo pipefail
# shellcheck source=scripts/env.sh
. "$(dirname "$0")/env.sh"

bench=false
cron=false
cargo_pgrx=false
for option in "$@"; do
  case $option in
    --bench) bench=true ;;
    --cron) cron=true ;;
    --cargo-pgrx) cargo_pgrx=true ;;
    *) die "unknown option \"$option\"" "known options: --bench, --cron, --cargo-pgrx" ;;
  esac
done

installed() {
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# Debian makes and starts a cluster when the server is installed for the first time. A drop-in
# keeps it from doing so, for as long as our installation takes.
dropin_folder=/etc/postgresql-common/createcluster.d
dropin=$dropin_folder/pg_automate.conf

add_dropin() {
  trap remove_dropin EXIT
  as_root mkdir -p "$dropin_folder"
  echo "create_main_cluster = false" | as_root tee "$dropin" >/dev/null
}

remove_dropin() {
  trap - EXIT
  as_root rm -f "$dropin"
  # Stays if somebody else has something there.
  as_root rmdir --ignore-fail-on-non-empty "$dropin_folder"
}

install_packages() {
  say "installing Debian packages: $*"
  add_dropin
  as_root apt-get -q update >&2
  # `env` and not a variable: sudo drops the environment.
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends "$@" >&2 ||
    die "apt-get could not install: $*" "PostgreSQL $PG_MAJOR is in Debian 12; elsewhere add apt.postgresql.org"
  remove_dropin
}

packages=(
  "postgresql-$PG_MAJOR" "postgresql-server-dev-$PG_MAJOR" gcc libc6-dev clang libclang-dev
  pkg-config shellcheck ca-certificates
)
if $bench; then packages+=(nginx-light); fi
if $bench || $cron; then packages+=("postgresql-$PG_MAJOR-cron"); fi
# A Python of the user's own is fine if it can make environments.
python3 -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3 python3-venv)

command -v dpkg-query >/dev/null || die "this is not Debian" "install by hand: ${packages[*]}"
missing=()
for package in "${packages[@]}"; do
  case $package in
    # Any nginx will do.
    nginx-light) command -v nginx >/dev/null || [ -x /usr/sbin/nginx ] || missing+=("$package") ;;
    *) installed "$package" || missing+=("$package") ;;
  esac
done
if [ ${#missing[@]} -gt 0 ]; then install_packages "${missing[@]}"; fi

command -v cargo >/dev/null ||
  die "Rust is not installed" "see https://rustup.rs; rust-toolchain.toml names the version"

mkdir -p "$PG_AUTOMATE_CACHE"
stamp=$(cat "$ROOT/tests/requirements.txt" <(python3 --version) | cksum)
if [ "$(cat "$VENV/stamp" 2>/dev/null)" != "$stamp" ]; then
  say "making the Python environment in $VENV"
  python3 -m venv --clear "$VENV"
  "$VENV/bin/pip" install --quiet --disable-pip-version-check -r "$ROOT/tests/requirements.txt" >&2
  printf '%s\n' "$stamp" >"$VENV/stamp"
fi

peers=$PG_AUTOMATE_CACHE/peers
if $bench && [ ! -e "$peers/stamp" ]; then
  say "installing the peers that the benchmarks measure in $peers"
  python3 -m venv --clear "$peers"
  "$peers/bin/pip" install --quiet --disable-pip-version-check \
    absurd-sdk==0.5.1 absurdctl==0.5.1 dbos==3.4.0 'psycopg[binary]' >&2
  touch "$peers/stamp"
fi

if $cargo_pgrx; then
  tool=$PG_AUTOMATE_CACHE/cargo-pgrx
  if [ "$("$tool/bin/cargo-pgrx" pgrx --version 2>/dev/null)" != "cargo-pgrx $PGRX_VERSION" ]; then
    say "building cargo-pgrx $PGRX_VERSION (some minutes)"
    cargo install --quiet --locked --root "$tool" --version "$PGRX_VERSION" cargo-pgrx
  fi
  say "use it with: PATH=$tool/bin:\$PATH PGRX_HOME=$PGRX_HOME"
fi
