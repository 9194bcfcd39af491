# shellcheck shell=bash
# What read models cost: catching up with the log, in the append, and how soon a worker is there. Needs lib.sh.

projection_events=2000000 # of the log that is caught up with
projection_rate=1000 # appends per second of the fixed load

bench_projection() {
    [ -z "$quick" ] || projection_events=200000
    projection_catch_up
    projection_inline
    projection_latency
    projection_load
}

projection_psql() { bench_psql -d projection -v ON_ERROR_STOP=1 -At "$@"; }

# ---- catching up -------------------------------------------------------------------------------------------------

projection_catch_up() {
    local n statement state
    n=$(awk -v n="$projection_events" 'BEGIN { print n / 1000000 }')
    statement="async statement, catch-up over $n million events" state="async state with PL/pgSQL, catch-up over $n million events"
    bench_wanted "$statement$state" || return 0
    step "preparing: $n million events" bench_database projection "$here/projection/setup.sql" "$here/projection/setup_events.sql"
    measure "$statement" "projection=projection_timed projection_follow sums" "once=projection_timed projection_once"
    goal "$statement" projection once "one INSERT … SELECT … GROUP BY from view events" 0.5
    measure "$state" "projection=projection_timed projection_follow states" \
        "bare=projection_timed projection_call bare_calls" "loop=projection_timed projection_call calls_over_events"
    goal "$state" projection bare "the bare calls of that function in a loop" 0.7
    goal "$state" projection loop "a loop over the events that calls it" 0.7
    if bench_wanted "$statement"; then step "comparing: $statement" projection_compare; fi
}

# projection_timed COMMAND…: events per second.
projection_timed() {
    local began=$EPOCHREALTIME
    "$@" >&2 || return
    awk -v events="$projection_events" -v began="$began" -v ended="$EPOCHREALTIME" 'BEGIN { print events / (ended - began) }'
}

# From the beginning, with an empty read model; an executor may have to be started.
projection_follow() {
    projection_psql -c "SELECT chronicle.drop_projection('$1', true)" -c "TRUNCATE bench.sums" \
        -f "$here/projection/create_$1.sql" && projection_wait "$1"
}

# A session that waits holds its snapshot, and what is updated again and again cannot be pruned: look anew each second.
projection_wait() {
    local there=f
    while [ "$there" = f ]; do
        there=$(projection_psql -c "SELECT chronicle.wait_for_projection('$1', timeout => '1s')") || return
    done
}

projection_once() { projection_psql -c "TRUNCATE bench.sums_at_once" -f "$here/projection/sums_at_once.sql"; }
projection_call() { projection_psql -c "SELECT bench.$1($projection_events)"; }

# Both sides must have come to the same.
projection_compare() {
    projection_psql -c "DO \$\$ BEGIN
        ASSERT (SELECT sum(n) FROM bench.sums_at_once) = $projection_events, 'all events were summed up';
        ASSERT NOT EXISTS (TABLE bench.sums EXCEPT TABLE bench.sums_at_once), 'the sums are the same';
        END \$\$"
}

# ---- in the append -----------------------------------------------------------------------------------------------

# projection_script NAME CLIENTS [ARGUMENT]…: bench/projection/NAME.sql for $seconds.
projection_script() { bench_pgbench "$here/projection/$1.sql" "$2" -T "$seconds" "${@:3}" "${projection_database:-projection}"; }

projection_inline() {
    local clients title
    for clients in 1 4; do
        title="append_event with one inline statement projection, clients: $clients"
        bench_wanted "$title" || continue
        step "preparing: $title" bench_database projection "$here/projection/setup.sql" "$here/projection/setup_inline.sql"
        measure "$title" "inline=projection_script append_inline $clients" "two=projection_script append_and_upsert $clients"
        goal "$title" inline two "append_event and the same upsert, BEGIN … COMMIT" 1.0
    done
}

# ---- how soon ----------------------------------------------------------------------------------------------------

# The numbers are waits per second: within twice is a ratio of 0.5.
projection_latency() {
    local title="commit to projected on an idle server, 95th percentile"
    bench_wanted "$title" || return 0
    step "building bench/latency" projection_build_latency
    step "preparing: $title" bench_database projection "$here/projection/setup.sql" "$here/projection/setup_latency.sql"
    measure "$title" "projected=projection_waits projected" "notify=projection_waits notify"
    goal "$title" projected notify "LISTEN/NOTIFY there and back and one commit" 0.5
}

projection_build_latency() {
    need_packages g++ libpq-dev &&
        "${CXX:-g++}" -std=c++20 -O2 -I"$("$PG_CONFIG" --includedir)" -o "$home/latency" "$here/latency.cpp" \
            -L"$("$PG_CONFIG" --libdir)" -lpq -pthread
}

projection_waits() {
    local wait_seconds=$seconds
    [ "$wait_seconds" -ge 2 ] || wait_seconds=2 # too few for a percentile
    "$home/latency" "$1" "host=$home/server/run port=5432 user=postgres dbname=projection" "$wait_seconds"
}

# ---- beside appends ----------------------------------------------------------------------------------------------

# The numbers are 1 / p99: within 1.3 times is a ratio of 0.77. A transaction's time counts from when it was due.
projection_load() {
    local title="p99 of appends at $projection_rate per second, 10 async projections"
    local keep_up="events projected when the appends end, the slowest of the 10 projections"
    bench_wanted "$title" || return 0
    step "preparing: no projection" bench_database projection_none "$here/projection/setup.sql" "$here/projection/setup_streams.sql"
    step "preparing: 10 projections" bench_database projection "$here/projection/setup.sql" "$here/projection/setup_ten.sql" \
        "$here/projection/setup_streams.sql"
    step "waiting for them" projection_settled
    measure "$title" "ten=projection_ten" "none=projection_at_rate projection_none"
    goal "$title" ten none "the same with none" 0.77
    goal "$keep_up" projected appended "events appended" 0.99
}

# A first measurement starts executors and fills caches; it does not count.
projection_settled() {
    projection_at_rate projection && projection_at_rate projection_none && projection_behind
}

# Waits until all have projected everything; an error would show in the status.
projection_behind() {
    projection_psql -c "SELECT bool_and(chronicle.wait_for_projection(name, timeout => '60s')) FROM chronicle.projections" \
        -c "DO \$\$ BEGIN ASSERT NOT EXISTS (SELECT FROM chronicle.projections WHERE status <> 'running'); END \$\$" >&2
}

projection_at_rate() {
    local log=$home/at_rate
    rm -f "$log".*
    projection_database=$1 projection_script append 4 -R "$projection_rate" -l --log-prefix="$log" >"$home/achieved" || return
    cut -d ' ' -f 3 "$log".* | sort -n | awk '{ us[NR] = $1 } END { print 1000000 / us[int(NR * 0.99) + 1] }'
}

# Also: how many events the slowest has projected when the load ends, beside how many were appended.
projection_ten() {
    local before after rate
    before=$(projection_counts) && rate=$(projection_at_rate projection) && after=$(projection_counts) || return
    echo "$before $after" | awk -v title="$keep_up" -v round="$round" -v OFS='\t' '
        { print title, round, "appended", $3 - $1; print title, round, "projected", $4 - $2 }' >>"$home/rates"
    projection_behind && echo "$rate"
}

projection_counts() {
    projection_psql -F ' ' -c "SELECT (SELECT count(*) FROM chronicle_data.event),
                                      (SELECT min(events_processed) FROM chronicle_data.projection_progress)"
}
