# shellcheck shell=bash
# The steps of tools/demo. Needs lib.sh, and a running server (cluster_start).

demo_example=$ROOT/examples/package_history
demo_log_directory=${DPKG_LOG_DIRECTORY:-/var/log}

demo_psql() { cluster_psql -X -q -P pager=off -v ON_ERROR_STOP=1 "$@"; }
demo_value() { demo_psql -At -c "$1"; }
demo_print() { demo_psql -f "$demo_example/$1" || die "$1 failed; see $CHRONICLE_HOME/server.log"; }

# Waits until the command succeeds, at most half a minute.
demo_until() {
    local deadline=$((SECONDS + 30))
    until "$@"; do
        [ $SECONDS -lt $deadline ] || return
        sleep 0.1
    done
}

demo_prepare() {
    demo_psql -c "SET client_min_messages = warning" -f "$demo_example/schema.sql" &&
        demo_psql -v definition="$(cat "$demo_example/workflow.json")" <<<"SELECT * FROM create_workflow(:'definition');"
}

# ---- import ------------------------------------------------------------------------------------------------------

# Some machines let only root and the group adm read the log.
demo_log_is_readable() { [ -z "$(find "$demo_log_directory/" -maxdepth 1 -name 'dpkg.log*' ! -readable)" ]; }

demo_read_log() {
    if demo_log_is_readable; then
        "$demo_example/read-log" "$demo_log_directory"
    else
        as_root "$demo_example/read-log" "$demo_log_directory"
    fi
}

demo_load_log() {
    demo_psql -c "TRUNCATE package_history.log_line" &&
        demo_read_log | demo_psql -c "\copy package_history.log_line (file, file_line, line) from pstdin"
}

demo_count_events() { demo_value "SELECT count(*) FROM events WHERE category = 'package'"; }

demo_import() {
    local before lines changes
    demo_log_is_readable || authorize
    before=$(demo_count_events)
    step -h "make $demo_log_directory/dpkg.log* readable" "reading dpkg's log" demo_load_log
    lines=$(demo_value "SELECT count(*) FROM package_history.log_line")
    changes=$(demo_value "SELECT count(*) FROM package_history.log_change")
    if [ "$lines" -eq 0 ]; then
        say "$demo_log_directory/dpkg.log* has no line: this machine keeps no such log, or it was emptied."
        say "The demo goes on with the $before events imported before; packages without events will differ from dpkg."
    fi
    step -h "read $CHRONICLE_HOME/server.log" "appending its lines as events" \
        demo_psql -c "CALL package_history.import_log()"
    printf '    %s lines, of which %s change a package: %s new events, %s before\n' "$lines" "$changes" \
        "$(($(demo_count_events) - before))" "$before"
}

# ---- runs --------------------------------------------------------------------------------------------------------

demo_start_run() { demo_value "SELECT execute_workflow('package-history')"; }

# wait_for_execution waits for a minute at most.
demo_wait() {
    local status
    while :; do
        status=$(demo_value "SELECT wait_for_execution('$1', '60s')") || return
        case $status in
        completed) return ;;
        failed | cancelled)
            echo "the run $1 is $status"
            demo_psql -x -c "SELECT node_id, attempt, sqlstate, error, detail FROM execution_failures WHERE execution_id = '$1'"
            return 1
            ;;
        esac
    done
}

# A run that an earlier demo left behind goes on by itself as soon as the server runs.
demo_finish_interrupted() {
    local run
    for run in $(demo_value "SELECT execution_id FROM executions
                              WHERE workflow_id = 'package-history' AND status NOT IN ('completed', 'failed', 'cancelled')"); do
        step "waiting for a run that was interrupted earlier" demo_wait "$run"
    done
}

# ---- --kill ------------------------------------------------------------------------------------------------------

demo_checksum() { demo_value "SELECT checksum FROM package_history.report_checksum"; }

# A lock on the table that node write_states is about to write keeps the run in its middle for as long as we like.
demo_hold_run() {
    coproc demo_holder { demo_psql -At 2>/dev/null; }
    demo_holder_input=${demo_holder[1]}
    echo "BEGIN; LOCK TABLE package_history.package_state IN SHARE MODE; SELECT 'held';" >&"$demo_holder_input" &&
        read -rt 30 <&"${demo_holder[0]}"
}

# The session ends, and its lock with it, if it has not gone with the server.
demo_release_run() { { echo '\q' >&"$demo_holder_input"; } 2>/dev/null || true; }

# The executor that works on write_states, when that it began is committed.
demo_executor() {
    demo_value "SELECT w.pid FROM workers AS w JOIN execution_history AS h ON h.execution_id = w.current_execution
                 WHERE w.current_node = 'write_states' AND h.node_id = 'write_states' AND h.type = 'NodeExecutionStarted'"
}
demo_node_runs() { [ -n "$(demo_executor)" ]; }

demo_kill_executor() { kill -TERM "$(demo_executor)"; }

# With the server goes our lock; an executor that lived on for a moment would finish the run.
demo_kill_server() {
    local postmaster executor
    postmaster=$(as_postgres head -n 1 "$CHRONICLE_HOME/data/postmaster.pid") && executor=$(demo_executor) &&
        kill -KILL "$postmaster" "$executor"
}

# Its children notice, but that takes them a moment; and a killed process stands in the process table until it is reaped,
# so pg_ctl may take it for a running server: only an answer is a proof.
demo_start_again() {
    start_server "$CHRONICLE_HOME" >/dev/null 2>&1 || true
    demo_value "SELECT 1" >/dev/null 2>&1
}

demo_survive() {
    local before after run
    before=$(demo_checksum)
    step "starting another run, and stopping it at node write_states" demo_hold_run
    run=$(demo_start_run)
    step "waiting until it is there" demo_until demo_node_runs
    step "killing the $1" "demo_kill_$1"
    if [ "$1" = server ]; then step -h "read $CHRONICLE_HOME/server.log" "starting the server again" demo_until demo_start_again; fi
    demo_release_run
    step "waiting for the end of the run" demo_wait "$run"
    echo
    demo_print run.sql
    after=$(demo_checksum)
    [ "$before" = "$after" ] || die "the report is not the same: checksum $after, before $before"
    say "The $1 was killed while write_states ran. The report is the same as before: checksum $after"
}

demo_farewell() {
    cat <<END

Connect:  tools/cluster psql      e.g. SELECT version, type, data FROM read_stream('package-bash:amd64');
                                       TABLE package_history.comparison;
Stop:     tools/cluster stop      the data stays; tools/cluster reset throws it away
END
}
