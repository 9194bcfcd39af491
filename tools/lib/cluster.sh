# shellcheck shell=bash
# The development server behind tools/cluster and tools/demo. Needs common.sh, build.sh and server.sh.

if [ "$EUID" -eq 0 ]; then
    CHRONICLE_HOME=${CHRONICLE_HOME:-/var/lib/chronicle}
else
    CHRONICLE_HOME=${CHRONICLE_HOME:-${XDG_STATE_HOME:-$HOME/.local/state}/chronicle}
fi

# For commands that use a server but build nothing.
cluster_find() {
    [ -d "$CHRONICLE_HOME/data" ] || die "there is no server in $CHRONICLE_HOME: tools/cluster start"
    if [ -n "${PG_CONFIG:-}" ]; then
        PG_BINDIR=$("$PG_CONFIG" --bindir)
    else
        PG_BINDIR=/usr/lib/postgresql/$(cat "$CHRONICLE_HOME/data/PG_VERSION")/bin
    fi
}

cluster_create() {
    install -d "$(dirname "$CHRONICLE_HOME")" && create_server "$CHRONICLE_HOME"
}

cluster_make_database() {
    cluster_psql -d postgres -X -qAt -v ON_ERROR_STOP=1 <<'END'
SELECT 'CREATE DATABASE chronicle' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'chronicle') \gexec
\connect chronicle
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS chronicle;
ALTER DATABASE chronicle SET search_path = public, chronicle;
END
}

# The SQL part of an extension is read once, at CREATE EXTENSION; during development it changes without a new version.
cluster_sql_checksum() { cat "$("$PG_CONFIG" --sharedir)"/extension/chronicle--*.sql | sha256sum | cut -d ' ' -f 1; }

cluster_start() {
    local library made_by fresh=""
    ensure_built_and_installed || return
    if [ ! -d "$CHRONICLE_HOME/data" ]; then
        fresh=yes
        step -h "remove $CHRONICLE_HOME if an earlier attempt left it half made" "making a server in $CHRONICLE_HOME" \
            cluster_create || return
    fi
    made_by=$(cat "$CHRONICLE_HOME/data/PG_VERSION")
    [ "$made_by" = "$(pg_major)" ] ||
        die "$CHRONICLE_HOME was made by PostgreSQL $made_by, this is $(pg_major): set PG_CONFIG, or tools/cluster reset"
    library=$("$PG_CONFIG" --pkglibdir)/chronicle.so
    if server_is_running "$CHRONICLE_HOME"; then
        if [ "$library" -nt "$CHRONICLE_HOME/data/postmaster.pid" ]; then
            say "the running server still has an older build loaded: tools/cluster restart"
        fi
    else
        step -h "read $CHRONICLE_HOME/server.log" "starting the server" start_server "$CHRONICLE_HOME" || return
    fi
    step -h "read $CHRONICLE_HOME/server.log" "creating the extension in database chronicle" cluster_make_database || return
    if [ -n "$fresh" ] || [ ! -e "$CHRONICLE_HOME/sql.sha256" ]; then
        cluster_sql_checksum >"$CHRONICLE_HOME/sql.sha256"
    elif [ "$(cat "$CHRONICLE_HOME/sql.sha256")" != "$(cluster_sql_checksum)" ]; then
        say "the extension's SQL has changed since it was created here: tools/cluster reset"
    fi
    say "connect with: tools/cluster psql    or: psql '$(cluster_url)'"
}

cluster_stop() {
    cluster_find
    if server_is_running "$CHRONICLE_HOME"; then
        step -h "read $CHRONICLE_HOME/server.log" "stopping the server" stop_server "$CHRONICLE_HOME"
    else
        say "the server is not running"
    fi
}

cluster_reset() {
    [ -d "$CHRONICLE_HOME" ] || return 0
    [ -e "$CHRONICLE_HOME/data/PG_VERSION" ] || die "$CHRONICLE_HOME holds no data directory of ours; not removing it"
    cluster_stop && rm -rf "${CHRONICLE_HOME:?}/data" "$CHRONICLE_HOME/run" "$CHRONICLE_HOME/server.log" "$CHRONICLE_HOME/sql.sha256"
    unset PG_BINDIR
}

cluster_status() {
    cluster_find
    if server_is_running "$CHRONICLE_HOME"; then
        say "running in $CHRONICLE_HOME: $(cluster_url)"
    else
        say "stopped, in $CHRONICLE_HOME"
        return 3 # as pg_ctl status
    fi
}

cluster_url() { echo "postgresql:///chronicle?host=$CHRONICLE_HOME/run&port=5432&user=postgres"; }

cluster_psql() {
    [ -n "${PG_BINDIR:-}" ] || cluster_find
    PGDATABASE=chronicle server_psql "$CHRONICLE_HOME" "$@"
}
