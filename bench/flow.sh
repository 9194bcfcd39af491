# shellcheck shell=bash
# What runs of workflows cost: draining a queue, starting, waiting, history, fan-out. Needs lib.sh.
#
# The engine's own rates are counts of runs divided by the time from the first start to the last end, by the times that
# it stores. While runs are queued, chronicle.workers is off; the executors' start is before the first run's.

flow_data='{"nodeId": "change", "attempt": 1, "duration": 0.125, "nodeType": "sql.query", "totalNodes": 3, "workflowId":'
flow_data+=' "three", "executionId": "01900000-0000-7000-8000-000000000000", "workflowName": "three", "completedNodes": 2}'

bench_flow() {
    flow_drains
    flow_latency
    flow_in_flight
    flow_finished
    flow_snapshot
    flow_map
}

# So many; in a --quick run a fiftieth.
flow_some() { if [ -n "$quick" ]; then echo $(($1 / 50)); else echo "$1"; fi; }

flow_fresh() { # flow_fresh TITLE DATABASE
    bench_wanted "$1" || return 0
    step "preparing: $1" flow_database "$2"
}

# A database that has run some of everything; its workers are off.
flow_database() {
    bench_database "$1" "$here/flow/setup.sql" && flow_warm "$1"
}

flow_warm() {
    local flow
    for flow in three three_own single; do flow_drain "$1" "$flow" 200 >/dev/null || return; done
}

# ---- workers -----------------------------------------------------------------------------------------------------

flow_off() { # flow_off DATABASE: returns when no process of chronicle is there
    bench_psql -d postgres -c "ALTER DATABASE $1 SET chronicle.workers = off" || return
    flow_until "$1" "NOT EXISTS (SELECT FROM pg_stat_activity WHERE datname = '$1' AND backend_type LIKE 'chronicle%')"
}
flow_on() { bench_psql -d postgres -c "ALTER DATABASE $1 RESET chronicle.workers"; }

flow_until() { # flow_until DATABASE CONDITION [SECONDS]
    local until=$((SECONDS + ${3:-60}))
    while [ "$(bench_psql -d "$1" -At -c "SELECT $2")" != t ]; do
        [ $SECONDS -lt $until ] || { echo "still not: $2" >&2 && return 1; }
        sleep 0.2
    done
}

# Every run is over. The tables are looked at when no executor is at work: such a look is not free.
flow_idle() { # flow_idle DATABASE
    local until=$((SECONDS + 900)) over
    while [ $SECONDS -lt $until ]; do
        flow_until "$1" "NOT EXISTS (SELECT FROM chronicle.workers WHERE state = 'busy')" 900 || return
        over=$(bench_psql -d "$1" -At -c "SELECT NOT EXISTS (SELECT FROM chronicle_data.execution WHERE ended_at IS NULL)") || return
        [ "$over" != t ] || return 0
        sleep 0.1
    done
    echo "runs are not over" >&2
    return 1
}

# What every turn begins with: the queue without dead rows, as autovacuum would have left it.
flow_clean() {
    flow_off "$1" && bench_psql -d "$1" -c "VACUUM (ANALYZE) chronicle_data.node_task, chronicle_data.execution" \
        -c "VACUUM bench.effect" -c CHECKPOINT
}

flow_rate_since() { bench_psql -d "$1" -At -c "SELECT round(bench.drained_since('$2')::numeric, 1)"; }
flow_now() { bench_psql -d "$1" -At -c "SELECT clock_timestamp()"; }

# ---- draining a queue --------------------------------------------------------------------------------------------

flow_drain() { # flow_drain DATABASE WORKFLOW COUNT: runs per second
    local began
    flow_clean "$1" && began=$(flow_now "$1") && bench_psql -d "$1" -c "CALL bench.queue('$2', $3)" && flow_on "$1" &&
        flow_idle "$1" && flow_rate_since "$1" "$began" && flow_off "$1"
}

# As many runs as take about $seconds here, by the rate of the last measurement.
declare -A flow_last=()
flow_drain_for_a_while() { # flow_drain_for_a_while DATABASE WORKFLOW
    local rate count
    count=$(awk -v rate="${flow_last[$2]:-200}" -v s="$seconds" 'BEGIN { printf "%d", rate * s + 100 }')
    rate=$(flow_drain "$1" "$2" "$count") && echo "$rate"
}

flow_plain() { bench_pgbench "$here/flow/plain.sql" "$(nproc)" -T "$seconds" -D "data=$flow_data" flow; }

# 8 clients start runs, one per transaction, while the executors work: runs per second from the first start to the last
# end.
flow_start_and_drain() {
    local began
    flow_clean flow && flow_on flow && began=$(flow_now flow) &&
        bench_pgbench "$here/flow/start.sql" 8 -T "$seconds" flow >/dev/null && flow_idle flow &&
        flow_rate_since flow "$began" && flow_off flow
}

flow_drains() {
    local clients title own started plain
    clients=$(nproc)
    title="flows of 3 nodes drained, $clients executors"
    own="$title, own_transaction"
    started="flows of 3 nodes, 8 clients start one per transaction while workers drain"
    plain="the statements and 8 INSERTs of events in two transactions, $clients clients"
    bench_wanted "$title$own$started" || return 0
    flow_fresh "$title" flow
    step "counting: $title" flow_count three
    step "counting: $own" flow_count three_own
    measure "$title" "flows=flow_drain_for_a_while flow three" "plain=flow_plain"
    goal "$title" flows plain "$plain" 0.5
    measure "$own" "flows=flow_drain_for_a_while flow three_own" "plain=flow_plain"
    goal "$own" flows plain "$plain" -
    measure "$started" "flows=flow_start_and_drain" "plain=flow_plain"
    goal "$started" flows plain "$plain" 0.25
    report "$title" flows "flows per second"
    report "$own" flows "flows per second"
    report "$started" flows "flows per second"
}

flow_count() {
    flow_last[$1]=$(flow_drain flow "$1" $((seconds * 400))) && echo "${flow_last[$1]} per second"
}

# ---- latency -----------------------------------------------------------------------------------------------------

flow_latency() {
    local title="start → completed of a flow of 1 node, idle"
    bench_wanted "$title" || return 0
    flow_fresh "$title" flow
    step "$title" flow_latency_rounds "$title"
    goal "$title" p50 empty_p50 "an empty commit, medians" "-"
    goal "$title" p95 empty_p50 "an empty commit, p95 against its median" "-"
    goal "$title" p95 empty_p95 "an empty commit, both p95" "<=8"
    report "$title" p50 "ms, p50"
    report "$title" p95 "ms, p95"
    report "$title" empty_p50 "ms, p50 of the empty commits"
    report "$title" empty_p95 "ms, p95 of the empty commits"
}

flow_latency_rounds() {
    local round
    flow_clean flow && flow_on flow && bench_psql -d flow -c "CALL bench.measure_latency(100)" || return
    for ((round = 1; round <= rounds; round++)); do
        bench_psql -d flow -c "CALL bench.measure_latency($((seconds * 40)))" || return
        flow_percentiles "$1" "$round" flow "flow" "0.5 p50" "0.95 p95" || return
        flow_percentiles "$1" "$round" flow "empty" "0.5 empty_p50" "0.95 empty_p95" || return
    done
    flow_off flow
}

flow_percentiles() { # flow_percentiles TITLE ROUND DATABASE COLUMN "SHARE SIDE"…: of table bench.latency
    local title=$1 round=$2 database=$3 column=$4 pair value
    shift 4
    for pair; do
        value=$(bench_psql -d "$database" -At -c \
            "SELECT round(percentile_cont(${pair% *}) WITHIN GROUP (ORDER BY $column)::numeric, 3) FROM bench.latency") || return
        printf '%s\t%s\t%s\t%s\n' "$title" "$round" "${pair#* }" "$value" >>"$home/rates"
    done
}

flow_in_flight() {
    local title="start → completed with 1,000 flows of 3 nodes in flight" side
    bench_wanted "$title" || return 0
    flow_fresh "$title" flow
    step "$title" flow_in_flight_rounds "$title"
    for side in p50 p95 p99; do report "$title" $side "ms, $side"; done
    report "$title" rate "flows per second meanwhile"
}

# The first second fills the queue.
flow_in_flight_rounds() {
    local round began
    for ((round = 1; round <= rounds; round++)); do
        flow_clean flow && flow_on flow && bench_psql -d flow -c "CALL bench.keep_in_flight('three', 1000, 1)" &&
            began=$(flow_now flow) && bench_psql -d flow -c "CALL bench.keep_in_flight('three', 1000, $seconds)" &&
            flow_idle flow && bench_psql -d flow -c "TRUNCATE bench.latency" -c "INSERT INTO bench.latency (flow)
                SELECT extract(epoch FROM ended_at - queued_at) * 1000 FROM chronicle_data.execution WHERE queued_at > '$began'" &&
            flow_percentiles "$1" "$round" flow flow "0.5 p50" "0.95 p95" "0.99 p99" &&
            printf '%s\t%s\t%s\t%s\n' "$1" "$round" rate "$(flow_rate_since flow "$began")" >>"$home/rates" || return
    done
    flow_off flow
}

# ---- what must not grow ------------------------------------------------------------------------------------------

flow_finished() {
    local finished title
    finished=$(flow_some 1000000)
    title="flows of 3 nodes drained beside $finished finished runs"
    bench_wanted "$title" || return 0
    flow_fresh "$title" flow
    step "preparing: $finished finished runs" flow_make_finished "$finished"
    measure "$title" "many=flow_drain_for_a_while flow_finished three" "none=flow_drain_for_a_while flow three"
    goal "$title" many none "without them" 0.95
}

flow_make_finished() {
    bench_database flow_finished "$here/flow/setup.sql" && flow_warm flow_finished &&
        bench_psql -d flow_finished -v finished="$1" -f "$here/flow/setup_finished.sql" >/dev/null
}

# A session opens its snapshot; then runs are claimed and drained as fast as they are queued, by the same executors all
# the time: some before, very many, some after.
flow_snapshot() {
    local claims title
    claims=$(flow_some 200000)
    title="claiming after $claims claims under an open snapshot"
    bench_wanted "$title" || return 0
    flow_fresh "$title" flow
    step "preparing: an open snapshot" flow_open_snapshot
    step "$title: before them" flow_claim_rounds "$title" before
    step "$title: they" flow_busy single "$claims"
    step "$title: after them" flow_claim_rounds "$title" after
    goal "$title" after before "before them: flows of 1 node per second" 0.77
    goal "$title, buffers" after before "before them: blocks of the queue touched per flow" "<=1.3"
    report "$title" after "flows per second"
    report "$title, buffers" after "blocks per flow"
    bench_psql -d postgres -c "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'" >/dev/null
    flow_off flow
}

flow_open_snapshot() {
    bench_psql -d flow -c "BEGIN ISOLATION LEVEL REPEATABLE READ" -c "SELECT count(*) FROM chronicle_data.node_task" \
        -c "SELECT pg_sleep(86400)" >/dev/null 2>&1 &
    flow_until flow "EXISTS (SELECT FROM pg_stat_activity WHERE datname = 'flow' AND wait_event = 'PgSleep')" && flow_on flow &&
        flow_busy single 1000
}

# Queues runs while the executors work; returns when all are over.
flow_busy() { bench_psql -d flow -c "CALL bench.queue('$1', $2)" && flow_idle flow; }

flow_claim_rounds() { # flow_claim_rounds TITLE SIDE
    local round began rate before after
    for ((round = 1; round <= rounds; round++)); do
        began=$(flow_now flow) && before=$(flow_touched) && flow_busy single 1000 && rate=$(flow_rate_since flow "$began") &&
            sleep 0.2 && after=$(flow_touched) || return
        printf '%s\t%s\t%s\t%s\n' "$1" "$round" "$2" "$rate" "$1, buffers" "$round" "$2" \
            "$(awk -v a="$after" -v b="$before" 'BEGIN { print (a - b) / 1000 }')" >>"$home/rates"
    done
}

# Blocks of the queue's table and indexes that anybody has touched.
flow_touched() {
    bench_psql -d flow -At -c "SELECT sum(heap_blks_read + heap_blks_hit + idx_blks_read + idx_blks_hit)
        FROM pg_statio_all_tables WHERE schemaname = 'chronicle_data' AND relname = 'node_task'"
}

# ---- map.each ----------------------------------------------------------------------------------------------------

flow_map() {
    local items title
    items=1000
    title="map.each of 1,000 trivial items"
    bench_wanted "$title" || return 0
    flow_fresh "$title" flow
    measure "$title" "four=flow_map_with 4 $items" "one=flow_map_with 1 $items"
    goal "$title" four one "4 executors against 1" 2.5
    report "$title" four "items per second, 4 executors"
    step "as before" flow_restart ""
}

# Executors are a setting of the server's start.
flow_restart() { # flow_restart EXECUTORS|""
    bench_psql -d postgres -c "ALTER SYSTEM SET chronicle.worker_processes = ${1:-DEFAULT}" ||
        return
    stop_server "$home/server" >/dev/null && start_server "$home/server" >/dev/null
}

# One takes a fraction of a second, and the first ones find executors that have yet to prepare what they need.
flow_map_with() { # flow_map_with EXECUTORS ITEMS: items per second, the median of some maps
    local began
    flow_clean flow && flow_restart "$1" && flow_on flow && bench_psql -d flow -c "CALL bench.run_maps(3, $2)" &&
        began=$(flow_now flow) && bench_psql -d flow -c "CALL bench.run_maps($((seconds * 4)), $2)" && flow_idle flow &&
        bench_psql -d flow -At -c "SELECT round($2 / percentile_cont(0.5) WITHIN GROUP
            (ORDER BY extract(epoch FROM ended_at - started_at))::numeric, 1)
            FROM chronicle_data.execution WHERE workflow_id = 'map' AND queued_at > '$began'" && flow_off flow
}
