# shellcheck shell=bash
# tools/check --matrix: the tests that need a server, on every PostgreSQL. Needs suite.sh and chroot.sh.

matrix_releases=(bookworm trixie forky) # PostgreSQL 15, 17 and 18
matrix_parts=(regress isolation tap)
matrix_at_once=2

host_release() { (. /etc/os-release && [ "$ID" != debian ] || echo "${VERSION_CODENAME:-}"); }

# The same tools/check, in a copy of the tree inside the chroot, where it installs what it needs.
check_in_chroot() {
    local release=$1 tree status=0
    tree=$chroot_cache/$release/var/tmp/chronicle-tree.$$
    mkdir "$tree" && mkdir -m 1777 "$tree/tmp" || return
    list_tree | tar -C "$ROOT" --null -T - --ignore-failed-read -cf - | tar -C "$tree" --no-same-owner -xf - &&
        in_chroot "$release" env -u PG_CONFIG CHRONICLE_JOBS="$JOBS" TMPDIR="${tree#"$chroot_cache/$release"}/tmp" \
            "${tree#"$chroot_cache/$release"}/tools/check" "${matrix_parts[@]}" || status=$?
    rm -rf "$tree"
    return "$status"
}

check_release() {
    local release=$1
    if [ "$release" = "$(host_release)" ]; then
        "$ROOT/tools/check" "${matrix_parts[@]}"
    else
        check_in_chroot "$release"
    fi
}

# Adds the counts of a run to ours.
add_result() {
    local release=$1 log=$2 line
    line=$(tail -n 1 "$log")
    if [[ $line =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed(,\ ([0-9]+)\ skipped)?$ ]]; then
        passed=$((passed + BASH_REMATCH[1]))
        failed=$((failed + BASH_REMATCH[2]))
        skipped=$((skipped + ${BASH_REMATCH[4]:-0}))
        while read -r line; do failures+=("$release: $line"); done < <(sed -n 's/^failed: //p' "$log")
        while read -r line; do skips+=("$release: $line"); done < <(sed -n 's/^skipped: //p' "$log")
    else
        fail "$release: ended without a result"
    fi
}

# However it ends, the last line is the result.
finish_matrix() {
    local status=$? job
    set +e
    for job in $(jobs -p); do end_job "$job"; done
    [ -z "$logs" ] || rm -rf "$logs" "$chroot_cache"/*/var/tmp/chronicle-tree.$$
    [ "$complete" = yes ] || fail "tools/check --matrix stopped early (status $status)"
    summary
    exit $((failed > 0))
}

wanted_releases() {
    local release
    for release in "${matrix_releases[@]}"; do
        if [ "${1:-}" = --without-host ]; then
            [ "$release" = "$(host_release)" ] || echo "$release"
        elif [ $# -eq 0 ] || [[ " $* " == *" $release "* ]]; then
            echo "$release"
        fi
    done
}

run_matrix() {
    local release releases ready=()
    [ "$EUID" -eq 0 ] || {
        authorize
        exec sudo --preserve-env=CHRONICLE_CACHE,CHRONICLE_JOBS,CHRONICLE_KEEP,http_proxy,https_proxy \
            "$ROOT/tools/check" --matrix "$@"
    }
    releases=$(wanted_releases "$@")
    [ -n "$releases" ] || die "--matrix knows the releases ${matrix_releases[*]}"
    logs="" complete=no
    trap finish_matrix EXIT
    trap 'exit 130' INT TERM HUP

    need_packages debootstrap
    logs=$(mktemp -d)
    for release in $releases; do
        if [ "$release" = "$(host_release)" ] || ensure_chroot "$release"; then
            ready+=("$release")
        else
            fail "$release: no chroot"
        fi
    done
    for release in "${ready[@]}"; do
        while [ "$(jobs -rp | wc -l)" -ge "$matrix_at_once" ]; do wait -n || true; done
        { check_release "$release" 2>&1 </dev/null | tee "$logs/$release" | sed -u "s/^/[$release] /"; } &
    done
    wait || true
    for release in "${ready[@]}"; do add_result "$release" "$logs/$release"; done
    complete=yes
}
