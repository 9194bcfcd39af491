# shellcheck shell=bash
# What the measurements share: the server, pgbench in turns, and the report. Needs tools/lib.sh.
#
#   $home/server   the server; thrown away at the end
#   $home/rates    one line per measurement: case, round, side, transactions per second (tabs between)
#   $home/goals    one line per comparison: case, side, against which side, the same in words, goal
#   $home/reports  one line per side whose values are shown: case, side, their unit

# ---- the server --------------------------------------------------------------------------------------------------

# Everything stays in shared memory, and no checkpoint and no autovacuum falls into a measurement: they would hit one
# side only. fsync and full_page_writes are on, as they come.
bench_server() {
    home=$(mktemp -d "${TMPDIR:-/var/tmp}/chronicle-bench.XXXXXX")
    chown "$(owner)" "$home"
    step "making a server" create_server "$home/server" "shared_buffers = $(bench_shared_buffers)MB" "max_connections = 60" \
        "checkpoint_timeout = 1d" "min_wal_size = 4GB" "max_wal_size = 32GB" "autovacuum = off"
    step "starting it" start_server "$home/server"
    step "making WAL to be used again" bench_make_wal
    fsync_time=$(bench_fsync)
    : >"$home/rates"
    : >"$home/goals"
    : >"$home/reports"
}

# Segments of the WAL that are used again, as on a server that has run for a while: making one stops all commits for a
# while, and hits the side that writes more.
bench_make_wal() {
    local i
    for ((i = 0; i < 64; i++)); do echo "CREATE TEMPORARY TABLE wal_$i (); SELECT pg_switch_wal();"; done |
        bench_psql -d postgres -f - >/dev/null && bench_psql -d postgres -c CHECKPOINT
}

# A quarter of the memory, at most 4 GB.
bench_shared_buffers() { awk '/^MemTotal:/ { mb = int($2 / 4096); print (mb > 4096 ? 4096 : mb) }' /proc/meminfo; }

# What a flush of 8 kB costs where the server's data lies, by the first method that Linux would use.
bench_fsync() {
    local file=$home/server/data/fsync-test
    { as_postgres timeout 5 stdbuf -oL "$PG_BINDIR/pg_test_fsync" -s 1 -f "$file" 2>/dev/null || true; } |
        sed -nE 's/^ *fdatasync .* ([0-9]+) usecs.*/\1 µs (fdatasync)/p' | head -n 1
    as_postgres rm -f "$file"
}

bench_psql() { server_psql "$home/server" -X -q -v ON_ERROR_STOP=1 "$@"; }

# However it ends, nothing stays.
bench_finish() {
    local status=$? job
    set +e
    for job in $(jobs -p); do kill "$job" 2>/dev/null; done
    [ -n "$home" ] || exit "$status"
    [ ! -e "$home/server/data/postmaster.pid" ] || stop_server "$home/server" immediate >/dev/null 2>&1
    rm -rf "$home"
    exit "$status"
}

# bench_database NAME SQL-FILE…: a fresh database; those of earlier cases go, and the WAL is used again.
bench_database() {
    local name=$1 file
    shift
    bench_psql -d postgres -c "DROP DATABASE IF EXISTS $name WITH (FORCE)" -c CHECKPOINT -c "CREATE DATABASE $name" || return
    for file; do bench_psql -d "$name" -v data="$event_data" -v events="${projection_events:-0}" -f "$file" >/dev/null || return; done
}

# ---- measuring ---------------------------------------------------------------------------------------------------

# About 200 bytes of JSON.
event_data='{"account": 4711, "amount": 125.50, "currency": "EUR", "booked_at": "2024-05-17T09:30:12Z", "reference":'
event_data+=' "invoice 2024-0815", "from": "DE02120300000000202051", "to": "DE02500105170137075030", "note": "May"}'

measurement=0

# bench_pgbench SCRIPT CLIENTS [ARGUMENT]…: prints transactions per second. Any failed transaction is a failure.
# $n is larger in each measurement than anything that an earlier one counted to.
bench_pgbench() {
    local script=$1 clients=$2 log=$home/pgbench.log threads=$2
    shift 2
    [ "$threads" -le "$(nproc)" ] || threads=$(nproc)
    "$PG_BINDIR/pgbench" -h "$home/server/run" -p 5432 -U postgres -n -M prepared -c "$clients" -j "$threads" -f "$script" \
        -D "data=$event_data" -D "n=$((measurement * 1000000000 + 1))" "$@" >"$log" 2>&1 || { cat "$log" >&2 && return 1; }
    grep -q '^number of failed transactions: 0 ' "$log" || { cat "$log" >&2 && return 1; }
    sed -nE 's/^tps = ([0-9.]+) .*/\1/p' "$log"
}

# measure CASE SIDE=COMMAND…: runs the commands in turns, $rounds times; each prints a rate.
measure() {
    local title=$1
    shift
    bench_wanted "$title" || return 0
    step -h "the messages above say which side failed" "$title" bench_rounds "$title" "$@"
}

bench_wanted() { [[ $1 == *"$only"* ]]; }

bench_rounds() {
    local title=$1 round side rate
    shift
    for ((round = 1; round <= rounds; round++)); do
        for side; do
            measurement=$((measurement + 1))
            # shellcheck disable=SC2086 # a command and its arguments
            rate=$(${side#*=}) && [ -n "$rate" ] || return
            printf '%s\t%s\t%s\t%s\n' "$title" "$round" "${side%%=*}" "$rate" >>"$home/rates"
        done
    done
}

# goal CASE SIDE AGAINST WORDS GOAL: one line of the report. GOAL: a number is the least, "<=2" the most, "-" none.
goal() { printf '%s\t%s\t%s\t%s\t%s\n' "$@" >>"$home/goals"; }

# report CASE SIDE UNIT: what a side measured, also shown by itself.
report() { printf '%s\t%s\t%s\n' "$@" >>"$home/reports"; }

# ---- the report --------------------------------------------------------------------------------------------------

bench_report() {
    local load_after
    load_after=$(cut -d ' ' -f 1 /proc/loadavg)
    [ -z "$raw" ] || cp "$home/rates" "$raw"
    printf '\n%s, %s cores · one flush of the disk: %s · %s\n' "$(bench_processor)" "$(nproc)" "${fsync_time:-unknown}" \
        "$(bench_psql -d postgres -At -c "SELECT split_part(version(), ' on ', 1)")"
    printf '%s rounds of %s s each; load of the machine before: %s, at the end: %s\n\n' "$rounds" "$seconds" \
        "$load_before" "$load_after"
    bench_table
}

bench_processor() { sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1; }

# A ratio belongs to one round; the table has their median and range.
bench_table() {
    echo "| what | against | ratio (median) | min–max | goal |"
    echo "|---|---|---|---|---|"
    awk -F '\t' "$bench_median"'
        FNR == NR { rate[$1, $3, $2] = $4; if ($2 > rounds) rounds = $2; next }
        {
            count = 0
            for (round = 1; round <= rounds; round++)
                if (rate[$1, $3, round] > 0) value[++count] = rate[$1, $2, round] / rate[$1, $3, round]
            if (!count) next
            middle = median(value, count); at_most = sub(/^<=/, "", $5)
            missed = $5 != "-" && (at_most ? middle > $5 + 0 : middle < $5 + 0)
            printf "| %s | %s | %.2f | %.2f–%.2f | %s%s |\n", $1, $4, middle, value[1], value[count],
                   (at_most ? "at most " : "") ($5 == "-" ? "–" : $5), missed ? " (missed)" : ""
        }' "$home/rates" "$home/goals"
    [ ! -s "$home/reports" ] || bench_values
}

bench_values() {
    printf '\n| what | median | min–max | unit |\n|---|---|---|---|\n'
    awk -F '\t' "$bench_median"'
        FNR == NR { rate[$1, $3, $2] = $4; if ($2 > rounds) rounds = $2; next }
        {
            count = 0
            for (round = 1; round <= rounds; round++) if (($1, $2, round) in rate) value[++count] = rate[$1, $2, round] + 0
            if (!count) next
            middle = median(value, count)
            printf "| %s | %.4g | %.4g–%.4g | %s |\n", $1, middle, value[1], value[count], $3
        }' "$home/rates" "$home/reports"
}

# Sorts value[1 … count].
# shellcheck disable=SC2016 # awk
bench_median='
    function median(value, count,   i, k, x) {
        for (i = 2; i <= count; i++)
            for (k = i; k > 1 && value[k] < value[k - 1]; k--) { x = value[k]; value[k] = value[k - 1]; value[k - 1] = x }
        return (value[int((count + 1) / 2)] + value[int((count + 2) / 2)]) / 2
    }'
