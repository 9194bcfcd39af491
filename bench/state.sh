# shellcheck shell=bash
# What states cost: reading one, folding a long history, and taking snapshots while appending. Needs lib.sh.

bench_state() {
    state_lengths
    state_folds
    state_appends
}

# state_script NAME CLIENTS [ARGUMENT]…: bench/state/NAME.sql for $seconds in database state.
state_script() { bench_pgbench "$here/state/$1.sql" "$2" -T "$seconds" "${@:3}" state; }
state_of() { state_script "$1" 1 -D "stream=account-$2"; }

# Within 1.3 times is a ratio of 0.77, within twice 0.5.
state_lengths() {
    local title="aggregate_state, snapshot every 100"
    bench_wanted "$title" || return 0
    step "preparing: $title" bench_database state "$here/state/setup.sql" "$here/state/setup_lengths.sql"
    measure "$title" "short=state_of state 1000" "longer=state_of state 100000" "long=state_of state 1000000" \
        "calls=state_of kept_and_50_calls 1000000"
    goal "$title" longer short "100,000 events against 1,000" 0.77
    goal "$title" long short "1 million events against 1,000" 0.77
    goal "$title" long calls "1 million events against a primary key lookup and 50 calls of apply" 0.5
}

# A fold takes seconds: each measurement is one.
state_once() { bench_pgbench "$here/state/$1.sql" 1 -t 1 state; }

state_folds() {
    local title="fold of 1 million events" account last profile
    bench_wanted "$title" || return 0
    account="$title, PL/pgSQL apply that computes" last="$title, PL/pgSQL apply that returns" profile="$title, apply_merge_patch"
    step "preparing: $title" bench_database state "$here/state/setup.sql" "$here/state/setup_folds.sql"
    # The bare calls read nothing: no fold with that function can be faster than they are.
    measure "$account" "chronicle=state_once fold_account" "loop=state_once loop_account" "calls=state_once calls_account"
    goal "$account" chronicle loop "a PL/pgSQL loop over read_stream with the same function" 2
    goal "$account" chronicle calls "1 million calls of the function with one event, nothing read" ""
    goal "$account" calls loop "(the calls against the loop: what can be reached)" ""
    measure "$last" "chronicle=state_once fold_last" "loop=state_once loop_last" "calls=state_once calls_last"
    goal "$last" chronicle loop "a PL/pgSQL loop over read_stream with the same function" 2
    goal "$last" chronicle calls "1 million calls of the function with one event, nothing read" ""
    goal "$last" calls loop "(the calls against the loop: what can be reached)" ""
    measure "$profile" "chronicle=state_once fold_profile" "loop=state_once loop_profile"
    goal "$profile" chronicle loop "a PL/pgSQL loop over read_stream with ||" 10
}

state_appends() {
    local clients title
    for clients in 1 4; do
        title="append_event to an aggregate's streams, snapshot every 100, clients: $clients"
        bench_wanted "$title" || continue
        step "preparing: $title" bench_database state "$here/state/setup.sql" "$here/state/setup_appends.sql"
        measure "$title" "aggregate=state_script append $clients" "plain=state_script append_plain $clients"
        goal "$title" aggregate plain "append_event to plain streams" 0.85
    done
}
