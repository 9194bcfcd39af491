# shellcheck shell=bash
# Building and installing from the working tree into the PostgreSQL that PG_CONFIG names. Needs common.sh.

run_make() { make -C "$ROOT" --no-print-directory PG_CONFIG="$PG_CONFIG" "$@"; }

# Compares what make built with what is installed.
installed_is_current() {
    local libdir sharedir file
    libdir=$("$PG_CONFIG" --pkglibdir)
    sharedir=$("$PG_CONFIG" --sharedir)/extension
    cmp -s "$ROOT/chronicle.so" "$libdir/chronicle.so" && cmp -s "$ROOT/chronicle.control" "$sharedir/chronicle.control" ||
        return 1
    for file in "$ROOT"/sql/chronicle--*.sql "$ROOT"/sql/updates/*.sql; do
        [ ! -e "$file" ] || cmp -s "$file" "$sharedir/${file##*/}" || return 1
    done
}

install_extension() {
    if [ -w "$("$PG_CONFIG" --pkglibdir)" ]; then run_make install; else as_root "$(command -v make)" -C "$ROOT" PG_CONFIG="$PG_CONFIG" install; fi
}

# From a bare machine to an installed extension.
ensure_built_and_installed() {
    need_postgresql &&
        step -h "mend the source, or 'make clean' and try again" "building chronicle for PostgreSQL $(pg_major)" \
            run_make -j"$JOBS" || return
    installed_is_current && return
    [ -w "$("$PG_CONFIG" --pkglibdir)" ] || authorize
    step -h "check that $("$PG_CONFIG" --pkglibdir) can be written" "installing chronicle" install_extension
}
