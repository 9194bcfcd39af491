# shellcheck shell=bash
# pg_regress and isolation tests of tools/check. Needs suite.sh and server.sh.

ensure_regress_server() {
    [ ! -e "$scratch/server/data" ] || return 0
    step "starting the test server" start_regress_server
}

# Losing power does not matter here, so nothing is flushed. What is removed, tests remove themselves.
start_regress_server() {
    create_server "$scratch/server" "fsync = off" "full_page_writes = off" "log_line_prefix = '%m [%p] %b %q%a '" \
        "max_connections = 50" "max_prepared_transactions = 5" "log_autovacuum_min_duration = -1" \
        "chronicle.worker_processes = 4" "chronicle.scavenge_interval = -1" &&
        start_server "$scratch/server"
}

# Reads the output of pg_regress (up to 15, and TAP since 16); prints "ok NAME" or "failed NAME".
regress_results() {
    sed -nE -e 's/^(not )?ok +[0-9]+ +[-+] +([^ ]+).*/\1ok \2/p' -e 's/^(test)? +([^ ]+) +\.\.\. +([A-Za-z]+).*/\3 \2/p' "$1" |
        sed -E -e 's/^(not ok|FAILED|failed) /failed /'
}

# run_regress KIND OUTPUT-DIRECTORY LOG TEST-NAMES MAKE-ARGUMENTS…: runs make, then counts each test that should have run.
run_regress() {
    local kind=$1 output=$scratch/src/build/$2 log=$scratch/$3 names=$4 name result reason status=0
    shift 4
    scratch_make "$@" >"$log" 2>&1 </dev/null || status=$?
    for name in $names; do
        result=$(regress_results "$log" | sed -n "s/ $name\$//p")
        reason=""
        if [ -e "$output/results/$name.out" ]; then reason=$(sed -n 's/^SKIP: *//p' "$output/results/$name.out"); fi
        case $result in
        ok) if [ -n "$reason" ]; then skip "$kind/$name" "$reason"; else pass; fi ;;
        failed) fail "$kind/$name" ;;
        "") fail "$kind/$name: was not run (is it scheduled?)" ;;
        *) fail "$kind/$name: unreadable result: $result" ;;
        esac
    done
    [ "$status" -ne 0 ] || return 0
    {
        if [ -s "$output/regression.diffs" ]; then
            head -n 200 "$output/regression.diffs"
        else
            tail -n 40 "$log"
        fi
    } >>"$details"
    [ "$failed" -gt "$part_failed" ] || fail "$kind: make failed though every test passed"
}

# The server must be the one that was started: a crash that it came back from is a failure.
check_regress_server() {
    local kind=$1 log=$scratch/$1.server.log all=$scratch/server/server.log clean=yes
    as_postgres tail -n "+$((server_log_seen + 1))" "$all" >"$log"
    server_log_seen=$(as_postgres cat "$all" | wc -l)
    check_log "$kind/server" "$log" "$crash_pattern" "a server process crashed" || clean=no
    check_log "$kind/server" "$log" "$leak_pattern" "the server reports a leak" || clean=no
    if ! server_is_running "$scratch/server"; then
        fail "$kind/server: it is gone"
        as_postgres tail -n 20 "$all" >>"$details"
        clean=no
    fi
    if [ "$clean" = yes ]; then pass; fi
}
server_log_seen=0

# Base names of the test files, or of those that were asked for.
test_names() { # test_names DIRECTORY SUFFIX
    local file
    for file in "$scratch/src/test/$1"/*."$2"; do
        file=${file##*/}
        [ "$file" = "*.$2" ] || ! is_wanted "test/$1/$file" || printf '%s ' "${file%."$2"}"
    done
}

# Tests of the seam need the testing-only module, and a make target of their own.
check_regress() {
    local name plain="" seam=""
    for name in $(test_names sql sql); do
        case $name in seam_*) seam+="$name " ;; *) plain+="$name " ;; esac
    done
    begin_part "pg_regress on PostgreSQL $(pg_major)"
    in_scratch mkdir -p build
    if [ -n "$plain" ]; then
        run_regress regress regress regress.log "$plain" installcheck ISOLATION= ${wanted:+REGRESS="$plain"} "${server_address[@]}"
    fi
    if [ -n "$seam" ]; then
        run_regress regress testing testing.log "$seam" installcheck-testing ${wanted:+TESTING_REGRESS="$seam"} "${server_address[@]}"
    fi
    [ -z "$plain$seam" ] || check_regress_server regress
    end_part
}

check_isolation() {
    local names
    names=$(test_names specs spec)
    begin_part "isolation specs on PostgreSQL $(pg_major)"
    in_scratch mkdir -p build
    if [ -n "$names" ]; then
        run_regress isolation isolation isolation.log "$names" installcheck REGRESS= ${wanted:+ISOLATION="$names"} "${server_address[@]}"
        check_regress_server isolation
    fi
    end_part
}
