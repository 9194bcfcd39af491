# shellcheck shell=bash
# What appends and reads cost, against bare statements on tables without chronicle. Needs lib.sh.

bench_store() {
    local clients sync
    for sync in on off; do
        for clients in 1 4 16; do store_append "$clients" "$sync"; done
    done
    store_one_stream
    for clients in 1 4; do store_arrays "$clients"; done
    store_reads
    if [ "$stored" -gt 0 ]; then store_stored; fi
}

# store_script NAME CLIENTS [ARGUMENT]…: bench/store/NAME.sql for $seconds in database store.
store_script() {
    local name=$1 clients=$2
    shift 2
    bench_pgbench "$here/store/$name.sql" "$clients" -T "$seconds" "$@" "${store_database:-store}"
}

# store_sync on|off COMMAND…
store_sync() { PGOPTIONS="-c synchronous_commit=$1" "${@:2}"; }

store_fresh() {
    bench_wanted "$1" || return 0
    step "preparing: $1" bench_database store "$here/store/setup.sql" "${@:2}"
}

store_append() { # store_append CLIENTS on|off
    local title="append_event, $1 clients, synchronous_commit $2" of_same=1.0 of_plain=0.90
    [ "$1" -gt 1 ] || title=${title/clients/client}
    [ "$2" = on ] || of_same=0.90 of_plain=0.80
    store_fresh "$title"
    measure "$title" "chronicle=store_sync $2 store_script append $1" \
        "same=store_sync $2 store_script append_same $1" "plain=store_sync $2 store_script append_plain $1"
    goal "$title" chronicle same "INSERT into same" $of_same
    goal "$title" chronicle plain "INSERT into plain" $of_plain
}

store_one_stream() {
    local title="append_event, 16 clients on one stream"
    store_fresh "$title"
    measure "$title" "chronicle=store_script one_stream 16" "transaction=store_script one_stream_transaction 16" \
        "statement=store_script one_stream_statement 16"
    goal "$title" chronicle transaction "UPDATE of a counter, INSERT, COMMIT" 1.0
    goal "$title" chronicle statement "the same as one statement" 1.0
}

# ---- batches -----------------------------------------------------------------------------------------------------

# As many commits and rows on both sides: pgbench calls the function, psql reads chunks of 1,000 rows.
store_arrays() { # store_arrays CLIENTS
    local title="append_event_arrays of 1,000, $1 clients"
    [ "$1" -gt 1 ] || title=${title/clients/client}
    store_fresh "$title"
    if bench_wanted "$title"; then store_write_chunks "$1"; fi
    measure "$title" "chronicle=store_script arrays $1" "same=store_copy $1"
    goal "$title" chronicle same "COPY into same" 1.0
}

# $home/chunk-N.sql: a COPY of 1,000 rows of stream N.
store_write_chunks() {
    local client
    bench_psql -d store -c "ALTER SEQUENCE bench.position_seq CACHE 1000"
    for ((client = 1; client <= $1; client++)); do
        {
            echo "COPY bench.same (stream_id, data) FROM STDIN;"
            for _ in {1..1000}; do printf '%s\t%s\n' "$client" "$event_data"; done
            echo '\.'
        } >"$home/chunk-$client.sql"
    done
}

# Chunks per second of so many clients, which all copy the same number.
store_copy() {
    local clients=$1 chunks=$((seconds * 120 / $1)) client chunk began ended jobs=() files
    began=$EPOCHREALTIME
    for ((client = 1; client <= clients; client++)); do
        files=()
        for ((chunk = 1; chunk <= chunks; chunk++)); do files+=(-f "$home/chunk-$client.sql"); done
        bench_psql -d store "${files[@]}" &
        jobs+=($!)
    done
    for client in "${jobs[@]}"; do wait "$client" || return; done
    ended=$EPOCHREALTIME
    awk -v chunks=$((chunks * clients)) -v began="$began" -v ended="$ended" 'BEGIN { print chunks / (ended - began) }'
}

# ---- reads -------------------------------------------------------------------------------------------------------

store_reads() {
    local one="read_stream of 100" all="read_all of 10,000"
    bench_wanted "$one$all" || return 0
    step "preparing: reads" bench_database store "$here/store/setup.sql" "$here/store/setup_reads.sql"
    measure "$one" "chronicle=store_script read_stream 1" "plain=store_script read_stream_plain 1"
    goal "$one" chronicle plain "SELECT from plain by its index" 0.85
    measure "$all" "chronicle=store_script read_all 1" "plain=store_script read_all_plain 1"
    goal "$all" chronicle plain "SELECT from plain by its index" 0.85
}

# ---- a large table -----------------------------------------------------------------------------------------------

store_stored() {
    local title="append_event beside $stored million events, 4 clients" fill=() million
    local rare="reads of a rare type, a rare category and an absent type beside $stored million events"
    bench_wanted "$title$rare" || return 0
    for ((million = 1; million <= stored; million++)); do fill+=("$here/store/setup_stored.sql"); done
    step "preparing: an empty store" bench_database store "$here/store/setup.sql" "$here/store/setup_rare.sql"
    step "preparing: $stored million events" bench_database large "$here/store/setup.sql" "${fill[@]}" \
        "$here/store/setup_rare.sql"
    measure "$rare" "large=store_in large rare 1" "empty=store_in store rare 1"
    goal "$rare" large empty "the same, empty" 0.80
    measure "$title" "large=store_in large append 4" "empty=store_in store append 4"
    goal "$title" large empty "the same, empty" 0.90
}

store_in() { store_database=$1 store_script "${@:2}"; }
