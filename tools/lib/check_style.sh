# shellcheck shell=bash
# Rules of the source that a program can hold. Each check prints its offenders; printing nothing is passing.
# Runs in $scratch/src. Needs suite.sh.

max_file_length=600

style() { # style RULE FUNCTION
    local offenders
    offenders=$("$2" 2>&1) || true
    if [ -z "$offenders" ]; then
        pass
    else
        fail "style: $1"
        printf '%s:\n%s\n' "$1" "$(head -n 40 <<<"$offenders")" >>"$details"
    fi
}

sources() { find "${@:-src}" -name '*.cpp' -o -name '*.hpp' -o -name '*.h' 2>/dev/null | sort; }
sql_and_tests() { find sql/install test/t -type f 2>/dev/null; }
scripts() { find tools .ci/run -type f -exec grep -lE '^#!.*sh$|^# shellcheck shell=' {} + | sort; }

# code_lines PATTERN FILE…: lines of C++ that match outside of // comments.
code_lines() {
    local pattern=$1 file
    shift
    for file in "$@"; do
        sed 's@//.*@@' "$file" | grep -nE "$pattern" | sed "s@^@$file:@"
    done
}

style_format() {
    sources src test/unit test/tools bench | while read -r file; do
        clang-format-14 --dry-run --Werror "$file" 2>/dev/null || echo "$file (tools/format mends it)"
    done
}

style_shellcheck() { scripts | xargs -r shellcheck -x; }

# shellcheck disable=SC2046 # our file names have no spaces
style_versions() { code_lines 'PG_VERSION_NUM|PG_MAJORVERSION' $(sources src | grep -v '^src/compat/'); }

# shellcheck disable=SC2046
style_jumps() { code_lines '\b(PG_TRY|PG_CATCH|PG_FINALLY|PG_RE_THROW|sigsetjmp|siglongjmp|setjmp|longjmp)\b' $(sources src | grep -v '^src/pg/'); }

# shellcheck disable=SC2046
style_core() { code_lines '#include +[<"](postgres|libpq|fmgr)' $(sources src/core); }

# From the ground up, as docs/architecture.md tells them: a folder includes nothing of those that come after it.
# pg/postgres.hpp, the server's own headers, is everybody's.
layers=(core compat pg catalog access types worker store state command flow projection)

style_layers() {
    local folder i above
    for folder in src/*/; do
        folder=$(basename "$folder")
        [[ $folder == testing || " ${layers[*]} " == *" $folder "* ]] || echo "src/$folder has no place among the layers"
    done
    for ((i = 0; i < ${#layers[@]} - 1; i++)); do
        above=$(printf '%s|' "${layers[@]:i+1}")
        # shellcheck disable=SC2046
        code_lines "#include +\"(${above%|})/[a-z_]+\.hpp\"" $(sources "src/${layers[i]}") | grep -v '"pg/postgres.hpp"'
    done
}

style_install_sql() { grep -niE '^[^-]*\bcreate +or +replace\b' sql/install/*.sql 2>/dev/null; }

style_part_names() { find sql/install -type f -printf '%f\n' 2>/dev/null | grep -vE '^[0-9]{2}_[a-z0-9_]+\.sql$'; }

# A file that no runner would pick up is a test that nobody runs.
style_test_places() {
    find test -type f 2>/dev/null | grep -vE \
        '^test/(sql/[a-z0-9_]+\.sql|specs/[a-z0-9_]+\.spec|expected/[a-z0-9_]+\.out|t/[0-9]{3}_[a-z0-9_]+\.pl|t/[A-Za-z/]+\.pm|unit/[a-z0-9_]+\.(cpp|hpp)|tools/[a-z0-9_]+\.(cpp|hpp)|data/.*|README\.md)$'
}

style_expected() {
    local file name
    for file in test/sql/*.sql test/specs/*.spec; do
        name=$(basename "${file%.*}")
        [ ! -e "$file" ] || [ -e "test/expected/$name.out" ] || echo "$file has no test/expected/$name.out"
    done
    for file in test/expected/*.out; do
        name=$(basename "$file" .out)
        name=${name%_[0-9]}
        [ ! -e "$file" ] || [ -e "test/sql/$name.sql" ] || [ -e "test/specs/$name.spec" ] || echo "$file belongs to no test"
    done
}

# A regress test that stops early must print "SKIP: <reason>", which tools/check counts.
style_regress_quit() {
    local file
    grep -lE '^ *\\q(uit)?\b' test/sql/*.sql 2>/dev/null | while read -r file; do
        grep -qE '^ *\\echo SKIP: .' "$file" || printf '%s: \\quit without \\echo SKIP: <reason>\n' "$file"
    done
}

style_sleep() { grep -nE '\b(sleep|usleep) *\(? *[0-9]|pg_sleep' test/t/*.pl 2>/dev/null | grep -v '# not a wait:'; }

style_length() {
    { sources src test/unit test/tools bench; scripts; sql_and_tests; } |
        xargs wc -l | awk -v max=$max_file_length '$2 != "total" && $1 > max { print $2 ": " $1 " lines, more than " max }'
}

style_white_space() {
    { sources src test/unit test/tools bench; scripts; sql_and_tests; } | xargs -r grep -nP '[ \t\r]$|\t'
}

style_version() { grep -rnF "'$(sed -n "s/^default_version = '\(.*\)'/\1/p" chronicle.control)'" src sql/install CMakeLists.txt Makefile; }

check_style() {
    begin_part "style"
    pushd "$scratch/src" >/dev/null || return
    style "C++ is formatted by clang-format (.clang-format)" style_format
    style "shellcheck has nothing to say about the scripts" style_shellcheck
    style "PG_VERSION_NUM stands in src/compat only" style_versions
    style "PG_TRY and longjmp stand in src/pg only" style_jumps
    style "src/core includes nothing of PostgreSQL" style_core
    style "no folder of src includes a file of one above it" style_layers
    style "install scripts never CREATE OR REPLACE" style_install_sql
    style "SQL parts are named NN_subject.sql" style_part_names
    style "every file in test/ lies where a runner finds it" style_test_places
    style "every test has an expected output, and the reverse" style_expected
    style "a regress test that quits says SKIP: and why" style_regress_quit
    style "TAP tests wait for conditions, they do not sleep" style_sleep
    style "no file is longer than $max_file_length lines" style_length
    style "no tabs and no white space at the end of lines" style_white_space
    style "the version stands in chronicle.control only" style_version
    popd >/dev/null || return
    end_part
}
