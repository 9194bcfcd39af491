# shellcheck shell=bash
# Other Debian releases as chroots, made by debootstrap and cached outside of the repository. Runs as root.
# Needs common.sh.
#
# Whatever runs inside gets mount and process namespaces of its own: however it ends, its mounts and its servers are
# gone with it.

chroot_cache=${CHRONICLE_CACHE:-/var/cache/chronicle}
chroot_stamp=.chronicle-chroot-1 # another number: what is in a chroot has changed, and older ones are made anew

# Where this machine gets its own packages from, if that is a Debian mirror.
debian_mirror() {
    local uri
    uri=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
        grep -oE '^(deb +(\[.*\] +)?|URIs: *)https?://[^ ]+/debian/?( |$)' | grep -oE 'https?://[^ ]+' | head -n 1)
    echo "${uri:-http://deb.debian.org/debian}"
}

# debootstrap knows a release by a script of its name; all newer ones are made as sid is.
debootstrap_release() {
    local release=$1 directory=$2 script=/usr/share/debootstrap/scripts
    if [ -e "$script/$release" ]; then script+=/$release; else script+=/sid; fi
    unshare --mount --pid --fork --kill-child -- \
        debootstrap --variant=minbase --include=ca-certificates "$release" "$directory" "$(debian_mirror)" "$script"
}

# Atomic: a chroot gets its name when it is complete. A lock, because two checks may want the same one.
make_chroot() {
    local release=$1 new=$chroot_cache/.$1.new
    exec 9>"$chroot_cache/.$release.lock"
    flock 9
    [ ! -e "$chroot_cache/$release/$chroot_stamp" ] || return 0
    rm -rf --one-file-system "$new" "${chroot_cache:?}/$release" && mkdir -p "$new" &&
        debootstrap_release "$release" "$new" &&
        touch "$new/$chroot_stamp" && mv "$new" "$chroot_cache/$release"
}

# How this machine reaches the network and its mirror, which may change between two runs.
refresh_chroot() {
    local root=$chroot_cache/$1 file
    rm -f "$root"/etc/apt/apt.conf.d/90host-*
    printf '%s\n' 'Acquire::Check-Valid-Until "false";' 'APT::Install-Recommends "false";' >"$root/etc/apt/apt.conf.d/80chronicle"
    for file in /etc/apt/apt.conf /etc/apt/apt.conf.d/*; do
        if [ -f "$file" ] && grep -q '^ *Acquire' "$file"; then
            cp "$file" "$root/etc/apt/apt.conf.d/90host-${file##*/}" || return
        fi
    done
    for file in /etc/resolv.conf /etc/hosts; do
        [ ! -e "$file" ] || cp -L "$file" "$root$file" || return
    done
    # Packages must not start servers.
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d" && chmod +x "$root/usr/sbin/policy-rc.d"
}

ensure_chroot() {
    local release=$1
    mkdir -p "$chroot_cache" || return
    if [ ! -e "$chroot_cache/$release/$chroot_stamp" ]; then
        step -h "check the network; the mirror is $(debian_mirror)" "making a chroot of Debian $release" \
            make_chroot "$release" || return
    fi
    refresh_chroot "$release"
}

# in_chroot RELEASE COMMAND…
in_chroot() {
    local release=$1
    shift
    # shellcheck disable=SC2016 # expanded by the inner shell
    unshare --mount --pid --fork --kill-child -- bash -c '
        root=$1; shift
        mount -t proc proc "$root/proc" && mount -t tmpfs -o mode=1777 shm "$root/dev/shm" &&
            mount --bind /dev/pts "$root/dev/pts" || exit
        chroot "$root" "$@"' in_chroot "$chroot_cache/$release" "$@"
}
