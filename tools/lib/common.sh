# shellcheck shell=bash
# What every script in tools/ shares: progress lines, privileges, packages, and which PostgreSQL is meant.
#
# Functions that `step` runs are written as `a && b && c`: bash turns `set -e` off inside a function whose status is
# tested, so a plain list would run on after a failure.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export LC_ALL=C.UTF-8 # messages are parsed
export DEBIAN_FRONTEND=noninteractive

# The caller's settings for another server, and those of a make around us, must not reach ours.
for name in ${!PG@} MAKEFLAGS MFLAGS MAKELEVEL; do
    case $name in PG_*) ;; *) unset "$name" ;; esac
done
unset name

JOBS=${CHRONICLE_JOBS:-$(nproc)}

say() { printf '==> %s\n' "$*"; }

die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# step [-h ADVICE] TITLE COMMAND…: runs the command quietly and says what it does and how long that took.
# A failure shows the end of its output and what to do.
step() {
    local advice="see the output above"
    if [ "$1" = -h ]; then
        advice=$2
        shift 2
    fi
    local title=$1 began=$SECONDS status=0 log
    shift
    log=$(mktemp "${TMPDIR:-/tmp}/chronicle-step.XXXXXX")
    printf '==> %s … ' "$title"
    "$@" >"$log" 2>&1 </dev/null || status=$?
    if [ "$status" -eq 0 ]; then
        printf 'done in %ds\n' $((SECONDS - began))
    else
        printf 'FAILED after %ds\n' $((SECONDS - began))
        tail -n 40 "$log" | sed 's/^/    /'
        printf '    The step "%s" failed (status %d). What to do: %s\n' "$title" "$status" "$advice"
    fi
    rm -f "$log"
    return "$status"
}

# ---- privileges --------------------------------------------------------------------------------------------------

as_root() {
    if [ "$EUID" -eq 0 ]; then
        "$@"
    else
        command -v sudo >/dev/null || die "this needs root: run it as root, or install sudo"
        sudo "$@"
    fi
}

# sudo asks for the password here, not in the middle of a step whose output is hidden.
authorize() {
    [ "$EUID" -eq 0 ] || { command -v sudo >/dev/null && sudo -v; } ||
        die "this needs root: run it as root, or as a user who may use sudo"
}

# PostgreSQL refuses to run as root: root's servers, builds and tests run as the user postgres.
as_postgres() {
    if [ "$EUID" -eq 0 ]; then
        runuser -u postgres -- env HOME=/var/lib/postgresql "$@"
    else
        "$@"
    fi
}

owner() { if [ "$EUID" -eq 0 ]; then echo postgres; else id -un; fi; }

# ---- packages ----------------------------------------------------------------------------------------------------

is_installed() { [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

apt_get() { as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 "$@"; }

refresh_package_lists() {
    authorize
    step -h "check the network and /etc/apt/sources.list" "reading the package lists" apt_get update
}

# Debian's postgresql package makes and starts a server "main" when it is first installed; nobody asked for one here.
# An existing server is not touched.
apt_install() {
    local guard=/etc/postgresql-common/createcluster.d/chronicle-tools.conf status=0 guarded=""
    if ! is_installed postgresql-common; then
        guarded=yes
        as_root mkdir -p "${guard%/*}" && echo "create_main_cluster = false" | as_root tee "$guard" >/dev/null || return
    fi
    apt_get install -y --no-install-recommends "$@" || status=$?
    [ -z "$guarded" ] || as_root rm -f "$guard"
    return "$status"
}

# need_packages PACKAGE…: installs what is missing.
need_packages() {
    local package missing=()
    command -v dpkg-query >/dev/null || return 0 # not a Debian: a missing tool will say so itself
    for package in "$@"; do
        is_installed "$package" || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    refresh_package_lists || return
    step -h "install by hand: apt-get install ${missing[*]}" "installing ${missing[*]}" apt_install "${missing[@]}"
}

# need_unpacked PACKAGE DIRECTORY: a directory of a package without the packages that it depends on, in /usr/local.
need_unpacked() {
    local package=$1 directory=$2 target=/usr/local/${2#usr/}
    if [ -e "/$directory" ] || [ -e "$target" ]; then return 0; fi
    command -v dpkg-deb >/dev/null || return 0
    authorize
    step -h "install by hand: apt-get install $package" "unpacking $directory of $package" \
        as_root "$ROOT/tools/unpack" "$package" "$directory" "$target"
}

# ---- which PostgreSQL --------------------------------------------------------------------------------------------

# The major version we build for: that of PG_CONFIG, else the newest installed server, else what the distribution has.
# This is the only place that decides it.
pg_major() {
    local newest
    if [ -n "${PG_CONFIG:-}" ]; then
        "$PG_CONFIG" --version | sed -nE 's/^PostgreSQL ([0-9]+).*/\1/p'
        return
    fi
    newest=$(find /usr/lib/postgresql -path '*/bin/postgres' 2>/dev/null | sort -V | tail -n 1)
    if [ -n "$newest" ]; then
        basename "${newest%/bin/postgres}"
    else
        apt-cache depends postgresql 2>/dev/null | sed -nE 's/.*Depends: postgresql-([0-9]+)$/\1/p' | head -n 1
    fi
}

# Packages to build and run the extension; sets PG_CONFIG and PG_BINDIR.
need_postgresql() {
    local major build=(make g++ libpcre2-dev nlohmann-json3-dev)
    if [ -n "${PG_CONFIG:-}" ]; then # a server of the caller's own
        need_packages "${build[@]}" || return
    else
        major=$(pg_major)
        if [ -z "$major" ]; then
            refresh_package_lists || return
            major=$(pg_major)
        fi
        [ -n "$major" ] || die "no PostgreSQL found, installed or in the distribution; set PG_CONFIG to its pg_config"
        need_packages "${build[@]}" "postgresql-$major" "postgresql-server-dev-$major" || return
        PG_CONFIG=/usr/lib/postgresql/$major/bin/pg_config
    fi
    need_unpacked libvalijson-dev usr/include/valijson || return
    PG_BINDIR=$("$PG_CONFIG" --bindir)
    export PG_CONFIG
}
