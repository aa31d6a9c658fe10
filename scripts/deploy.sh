#!/usr/bin/env bash
# Copies the built extension into a PostgreSQL of the machine's own:
#   scripts/deploy.sh [PG_CONFIG]     (Debian's)
# Asks for root only if the folders are not the user's. A running server keeps the old library
# until it is restarted.
set -euo pipefail
# shellcheck source=scripts/env.sh
. "$(dirname "$0")/env.sh"

pg_config=${1:-$SYSTEM_PG_CONFIG}
found=$("$pg_config" --version) || die "cannot run $pg_config" "give the path of pg_config: make install PG_CONFIG=..."
[[ $found == "PostgreSQL $PG_MAJOR."* ]] ||
  die "$found is not PostgreSQL $PG_MAJOR" "give the pg_config of version $PG_MAJOR: make install PG_CONFIG=..."
lib=$("$pg_config" --pkglibdir)
extension=$("$pg_config" --sharedir)/extension

# As the user if that will do, else as root.
put() {
  local mode=$1 file=$2 folder=$3 run=(as_root)
  if [ -w "$folder" ]; then run=(); fi
  "${run[@]}" install -m "$mode" "$file" "$folder/$(basename "$file").new"
  "${run[@]}" mv "$folder/$(basename "$file").new" "$folder/$(basename "$file")"
}

built=$PG_AUTOMATE_PREFIX/share/postgresql/$PG_MAJOR/extension
put 755 "$PG_AUTOMATE_PREFIX/lib/postgresql/$PG_MAJOR/lib/pg_automate.so" "$lib"
put 644 "$built/pg_automate.control" "$extension"
for script in "$built"/pg_automate--*.sql; do put 644 "$script" "$extension"; done
say "installed in $lib and $extension: add pg_automate to shared_preload_libraries and restart the server"
