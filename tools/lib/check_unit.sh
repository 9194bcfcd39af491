# shellcheck shell=bash
# Unit tests of src/core, with address and undefined-behaviour sanitizers. Needs suite.sh.

build_unit_tests() {
    in_scratch cmake --preset asan -DCHRONICLE_WERROR=ON && in_scratch cmake --build --preset asan --target unit_tests -j "$JOBS"
}

# Reads GoogleTest's output; prints "ok", "failed NAME", "skip NAME" and, for a test that never ended, "crashed NAME".
unit_results() {
    awk '
        /^\[ RUN      \] /               { running = $4 }
        /^\[       OK \] .*\(/           { print "ok"; running = "" }
        /^\[  FAILED  \] .*\([0-9]+ ms/  { print "failed " $4; running = "" }
        /^\[  SKIPPED \] .*\(/           { print "skip " $4 " " reason; running = "" }
        /: Skipped$/                     { getline reason }
        END                              { if (running != "") print "crashed " running }' "$1"
}

check_unit() {
    local log=$scratch/unit.log xml=$scratch/src/build/unit.xml status=0 word name rest file
    has_files "$scratch"/src/test/unit/*.cpp || return 0
    if ! step -h "mend src/core or test/unit" "building the unit tests with sanitizers" build_unit_tests; then
        fail "unit: the tests do not build"
        return 0
    fi
    begin_part "unit tests"
    in_scratch build/asan/unit_tests --gtest_output="xml:$xml" >"$log" 2>&1 </dev/null || status=$?
    while read -r word name rest; do
        case $word in
        ok) pass ;;
        skip) skip "unit/$name" "$rest" ;;
        *) fail "unit/$name: $word" ;;
        esac
    done < <(unit_results "$log")
    for file in "$scratch"/src/test/unit/*.cpp; do
        grep -q "file=\"[^\"]*/${file##*/}\"" "$xml" 2>/dev/null || fail "unit: no test of ${file##*/} was run"
    done
    if [ "$status" -ne 0 ]; then
        [ "$failed" -gt "$part_failed" ] || fail "unit: ended with status $status"
        grep -vE '^\[( RUN  |   .OK |-----)' "$log" | head -n 100 >>"$details"
    fi
    end_part
}
