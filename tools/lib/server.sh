# shellcheck shell=bash
# Private servers: a data directory of their own, a Unix socket in a directory that only its owner enters, no TCP.
# Needs common.sh and need_postgresql.

# create_server HOME [SETTING]…: makes HOME/data and HOME/run. Settings are lines of postgresql.conf.
# HOME/data gets its name last, so a half-made one is never taken for a server.
create_server() {
    local home=$1
    shift
    [ ${#home} -le 85 ] || die "the path $home is too long for a Unix socket (at most 85 characters)"
    rm -rf "$home/data.new" &&
        install -d -m 700 -o "$(owner)" "$home" "$home/run" &&
        (cd "$home" && as_postgres "$PG_BINDIR/initdb" -D "$home/data.new" -U postgres -A trust -E UTF8 --locale=C.UTF-8) &&
        printf '%s\n' "listen_addresses = ''" "unix_socket_directories = '$home/run'" \
            "shared_preload_libraries = 'chronicle'" "max_worker_processes = 32" "$@" |
        as_postgres tee -a "$home/data.new/postgresql.conf" >/dev/null &&
        mv "$home/data.new" "$home/data"
}

server_is_running() { as_postgres "$PG_BINDIR/pg_ctl" -D "$1/data" status >/dev/null 2>&1; }

start_server() {
    local home=$1
    (cd "$home" && as_postgres "$PG_BINDIR/pg_ctl" -D "$home/data" -l "$home/server.log" -w -t 60 start) ||
        { as_postgres tail -n 20 "$home/server.log" && return 1; }
}

# stop_server HOME [fast|immediate]
stop_server() {
    (cd "$1" && as_postgres "$PG_BINDIR/pg_ctl" -D "$1/data" -m "${2:-fast}" -w -t 60 stop)
}

# server_psql HOME [ARGUMENT]…
server_psql() {
    local home=$1
    shift
    "$PG_BINDIR/psql" -h "$home/run" -p 5432 -U postgres "$@"
}
