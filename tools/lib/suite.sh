# shellcheck shell=bash
# Counting tests, and what the parts of tools/check share: the scratch copy and the private PostgreSQL in it.
# Needs common.sh.
#
#   $scratch/src      the working tree as git sees it, uncommitted files included
#   $scratch/pg       a copy of PostgreSQL that we install into; the machine's own stays as it is
#   $scratch/server   the server of the regress and isolation tests
#   $scratch/tap      one directory per TAP test

passed=0 failed=0 skipped=0
failures=() skips=()

pass() { passed=$((passed + ${1:-1})); }

fail() {
    failed=$((failed + 1))
    failures+=("$1")
}

# A skipped test always says why; one that does not is a failure.
skip() { # skip TEST REASON
    if [ -n "$2" ]; then
        skipped=$((skipped + 1))
        skips+=("$1: $2")
    else
        fail "$1: skipped without a reason"
    fi
}

# begin_part TITLE … end_part: one progress line with the counts; what was written to $details comes after it.
begin_part() {
    part_title=$1 part_passed=$passed part_failed=$failed part_skipped=$skipped part_began=$SECONDS
    : >"$details"
    printf '==> %s … ' "$part_title"
}

end_part() {
    local counts="$((passed - part_passed)) passed, $((failed - part_failed)) failed"
    [ "$skipped" -eq "$part_skipped" ] || counts+=", $((skipped - part_skipped)) skipped"
    printf '%s in %ds\n' "$counts" $((SECONDS - part_began))
    sed 's/^/    /' "$details"
}

# The last line is plain and alone: programs read it.
summary() {
    local line
    for line in "${skips[@]}"; do printf 'skipped: %s\n' "$line"; done
    for line in "${failures[@]}"; do printf 'failed: %s\n' "$line"; done
    printf '%d passed, %d failed' "$passed" "$failed"
    if [ "$skipped" -gt 0 ]; then printf ', %d skipped' "$skipped"; fi
    printf '\n'
}

# ---- background jobs -------------------------------------------------------------------------------------------

# Ends a background job of ours with everything below it.
end_job() {
    local child children
    children=$(cat "/proc/$1"/task/*/children 2>/dev/null) || true
    for child in $children; do end_job "$child"; done
    kill "$1" 2>/dev/null || true
}

# ---- the scratch copy --------------------------------------------------------------------------------------------

# Lists the files of the tree, NUL-separated: tracked and new ones, not ignored ones. An exported tree has no .git.
list_tree() {
    if [ -e "$ROOT/.git" ]; then
        git -c safe.directory='*' -C "$ROOT" ls-files -z --cached --others --exclude-standard --deduplicate
    else
        (cd "$ROOT" && find . -type f -print0)
    fi |
        while IFS= read -r -d '' file; do
            [ ! -f "$ROOT/$file" ] || printf '%s\0' "$file"
        done
}

export_tree() { # export_tree DIRECTORY
    list_tree | tar -C "$ROOT" --null -T - --ignore-failed-read -cf - | as_postgres tar -C "$1" -xf -
}

in_scratch() { (cd "$scratch/src" && as_postgres "$@"); }

# PostgreSQL finds its files relative to its own binary, so a copy is a server of its own that anybody can install into.
copy_postgresql() {
    local directory
    for directory in $("$PG_CONFIG" --bindir) $("$PG_CONFIG" --pkglibdir) $("$PG_CONFIG" --sharedir); do
        [ -e "$scratch/pg$directory" ] && continue
        as_postgres mkdir -p "$scratch/pg${directory%/*}" &&
            as_postgres cp -r --preserve=mode,links,timestamps "$directory" "$scratch/pg$directory" || return
    done
    for directory in $("$PG_CONFIG" --includedir) $("$PG_CONFIG" --includedir-server) $("$PG_CONFIG" --libdir); do
        [ -e "$scratch/pg$directory" ] && continue
        as_postgres mkdir -p "$scratch/pg${directory%/*}" &&
            as_postgres ln -s "$directory" "$scratch/pg$directory" || return
    done
}

scratch_make() { in_scratch make --no-print-directory PG_CONFIG="$scratch_pg_config" "$@"; }

# -Werror makes the compiler's warnings errors; this catches those of make and the linker too.
compile_in_scratch() {
    local log=$scratch/build.log
    { scratch_make -j"$JOBS" WERROR=1 && compile_testing_module && compile_broken_horizon; } >"$log" 2>&1 || { cat "$log" && return 1; }
    ! grep -F "warning: " "$log"
}

compile_testing_module() {
    ! has_files "$scratch"/src/src/testing/*.cpp || scratch_make -j"$JOBS" WERROR=1 testing
}

# For test/t/*broken*: not installed.
compile_broken_horizon() {
    ! has_part tap || scratch_make WERROR=1 chronicle_broken.so
}

install_in_scratch() {
    scratch_make install && if [ -e "$scratch/src/chronicle_testing.so" ]; then scratch_make install-testing; fi
}

# Builds once for all parts that need a server. Afterwards PG_CONFIG and PG_BINDIR mean the private copy.
build_in_scratch() {
    scratch_pg_config=$scratch/pg$("$PG_CONFIG" --bindir)/pg_config
    step "copying PostgreSQL $(pg_major)" copy_postgresql &&
        step -h "mend the source: warnings are errors here" \
            "building with $(${CXX:-g++} -dumpfullversion) and -Werror" compile_in_scratch &&
        step "installing into the copy" install_in_scratch || return
    PG_CONFIG=$scratch_pg_config
    PG_BINDIR=$("$PG_CONFIG" --bindir)
}

has_files() { [ -e "$1" ]; }

# ---- server logs -------------------------------------------------------------------------------------------------

crash_pattern="was terminated by signal|all server processes terminated; reinitializing|PANIC:  |TRAP: "
leak_pattern="WARNING:  (.* leak[: ]|resource was not closed|you don't own a lock|(sub)?transaction left non-empty|problem in alloc set|detected write past)"

# check_log TEST LOG PATTERN WHAT: a failure for the test if the log has such a line.
check_log() {
    if as_postgres grep -qE "$3" "$2"; then
        fail "$1: $4"
        {
            echo "$1: $4, in ${2#"$scratch"/}:"
            as_postgres grep -E -B 3 -A 3 -m 5 "$3" "$2"
        } >>"$details"
        return 1
    fi
}
