# shellcheck shell=bash
# TAP tests of tools/check: each file is one run of prove with directories of its own. Needs suite.sh.
#
# A test that crashes a server on purpose says so in a line "# crash-expected".

tap_jobs=2
tap_timeout=900

tap_run_file() {
    local file=$1 name perl dir status=0
    name=$(basename "$file" .pl)
    dir=$scratch/tap/$name
    perl=$(dirname "$("$PG_CONFIG" --pgxs)")/../../src/test/perl
    as_postgres mkdir -p "$dir"
    in_scratch env PATH="$PG_BINDIR:$PATH" PG_CONFIG="$PG_CONFIG" CHRONICLE_TEST_TOOLS="$scratch/src/build/tools" CHRONICLE_BROKEN="$scratch/src/chronicle_broken.so" \
        TESTDIR="$dir" TESTDATADIR="$dir/tmp_check" TESTLOGDIR="$dir/tmp_check/log" \
        PG_REGRESS="$(dirname "$("$PG_CONFIG" --pgxs)")/../../src/test/regress/pg_regress" \
        timeout -k 30 "$tap_timeout" prove --norc -v -I "$perl" -I test/t "$file" >"$dir.log" 2>&1 </dev/null || status=$?
    echo "$status" >"$dir.status"
}

# A test that was killed, or that forgot to, leaves its servers running.
tap_stop_servers() {
    local file pid
    { as_postgres find "$scratch/tap" -name postmaster.pid 2>/dev/null || true; } | while read -r file; do
        pid=$(as_postgres head -n 1 "$file" 2>/dev/null) || continue
        kill -QUIT "$pid" 2>/dev/null || true # the shell's own: /bin/kill is not everywhere
    done
}

# Prints "ok", "not ok NUMBER - …" or "skip REASON" for each assertion of the file itself (not of its subtests).
tap_results() {
    sed -nE -e 's/^ok [0-9]+.*# *[Ss][Kk][Ii][Pp] *(.*)/skip \1/p;t' \
        -e 's/^[^ ]+\.pl \.+ skipped: (\(no reason given\))?(.*)/skip \2/p;t' \
        -e 's/^ok [0-9]+.*/ok/p' -e 's/^(not ok [0-9]+.*)/\1/p' "$1"
}

tap_count_file() {
    local name=$1 log=$scratch/tap/$1.log line status server_log
    local failed_before=$failed before=$((passed + failed + skipped))
    status=$(cat "$scratch/tap/$name.status" 2>/dev/null || echo "was not run")
    while IFS= read -r line; do
        case $line in
        ok) pass ;;
        not\ ok*) fail "tap/$name: $line" ;;
        skip*) skip "tap/$name" "${line#skip }" ;;
        esac
    done < <(tap_results "$log")
    case $status in
    0) ;;
    124 | 137) fail "tap/$name: not finished after $tap_timeout s" ;;
    *) [ "$failed" -gt "$failed_before" ] || fail "tap/$name: died or broke its plan (status $status)" ;;
    esac
    [ $((passed + failed + skipped)) -gt "$before" ] || fail "tap/$name: ran no test"
    [ "$failed" -eq "$failed_before" ] || tap_show_failure "$name" >>"$details"
    while IFS= read -r server_log; do
        grep -q '^# crash-expected' "$scratch/src/test/t/$name.pl" ||
            check_log "tap/$name" "$server_log" "$crash_pattern" "a server process crashed" || true
        check_log "tap/$name" "$server_log" "$leak_pattern" "the server reports a leak" || true
    done < <(tap_server_logs "$name")
}

tap_server_logs() { { as_postgres find "$scratch/tap/$1/tmp_check/log" -name '*.log' 2>/dev/null || true; } | sort; }

tap_show_failure() {
    local name=$1 log
    echo "---- $name"
    { grep -E '^ *not ok|^ *# ' "$scratch/tap/$name.log" || true; } | tail -n 60
    tail -n 15 "$scratch/tap/$name.log"
    { as_postgres find "$scratch/tap/$name/tmp_check/log" -name 'regress_log*' 2>/dev/null || true; } | while read -r log; do
        echo "-- end of ${log##*/}"
        as_postgres tail -n 30 "$log"
    done
    tap_server_logs "$name" | while read -r log; do
        echo "-- end of ${log##*/}"
        as_postgres tail -n 25 "$log"
    done
}

build_test_tools() {
    in_scratch cmake -S . -B build/tools-build -DCMAKE_BUILD_TYPE=Release -DCHRONICLE_TOOLS_DIR="$scratch/src/build/tools" \
        -DPG_CONFIG="$PG_CONFIG" && in_scratch cmake --build build/tools-build --target test_tools -j "$JOBS"
}

check_tap() {
    local file files=()
    for file in "$scratch"/src/test/t/*.pl; do
        file=test/t/${file##*/}
        [ "$file" = "test/t/*.pl" ] || ! is_wanted "$file" || files+=("$file")
    done
    if has_files "$scratch"/src/test/tools/*.cpp; then
        step -h "mend test/tools" "building the tools of the tests" build_test_tools || fail "test tools: they do not build"
    fi
    begin_part "TAP tests on PostgreSQL $(pg_major)"
    for file in "${files[@]}"; do
        while [ "$(jobs -rp | wc -l)" -ge "$tap_jobs" ]; do wait -n || true; done
        tap_run_file "$file" &
    done
    wait
    tap_stop_servers
    for file in "${files[@]}"; do tap_count_file "$(basename "$file" .pl)"; done
    end_part
}
