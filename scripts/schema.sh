#!/usr/bin/env bash
# Writes the SQL of the extension: scripts/schema.sh PROFILE OUT.sql
#
# `cargo pgrx schema` compiles the whole dependency tree a second time, since it always builds its
# generator in debug mode. The generator itself is pgrx's library: a program that calls the
# functions which the library exports for this purpose. Built here with the profile of the library,
# it costs seconds. Bound to pgrx =0.17.0, which Cargo.toml pins.
set -euo pipefail
# shellcheck source=scripts/env.sh
. "$(dirname "$0")/env.sh"

profile=$1
out=$2
dir=$profile
if [ "$profile" = dev ]; then dir=debug; fi
library=$CARGO_TARGET_DIR/$dir/libpg_automate.so
[ -e "$library" ] || die "no library at $library" "run scripts/install.sh, which builds it first"

main=$PG_AUTOMATE_CACHE/generator-$(printf '%s' "$ROOT" | cksum | cut -d' ' -f1).rs
entities=$(nm -D --defined-only "$library" | awk '$3 ~ /^__pgrx_internals/ { print $3 }' | sort -u)

{
  cat <<'RUST'
use ::pgrx::pgrx_sql_entity_graph::{ControlFile, PgrxSql, SqlGraphEntity};
pub fn main() {
    pg_automate::__pgrx_marker();
    let control = concat!(env!("CARGO_MANIFEST_DIR"), "/pg_automate.control");
    let control = ControlFile::try_from(std::path::PathBuf::from(control)).expect("control file");
    let mut entities = Vec::new();
    entities.push(SqlGraphEntity::ExtensionRoot(control));
RUST
  for entity in $entities; do
    printf '    unsafe extern "Rust" { fn %s() -> SqlGraphEntity; }\n' "$entity"
    printf '    entities.push(unsafe { %s() });\n' "$entity"
  done
  cat <<'RUST'
    let out = std::env::args().nth(1).expect("a path");
    let sql = PgrxSql::build(entities.into_iter(), "pg_automate".to_string(), false);
    sql.expect("the entities fit together").to_file(out).expect("the file can be written");
}
RUST
} >"$main.new"
# Unchanged text keeps its time stamp, so that cargo does not build for nothing.
if cmp -s "$main.new" "$main"; then rm "$main.new"; else mv "$main.new" "$main"; fi

cd "$ROOT"
PGRX_EMBED=$main cargo rustc --quiet --profile "$profile" --bin pgrx_embed_pg_automate -- --cfg pgrx_embed
version=$(cargo pkgid --package pg_automate)
CARGO_PKG_VERSION=${version##*[@#]} "$CARGO_TARGET_DIR/$dir/pgrx_embed_pg_automate" "$out"
