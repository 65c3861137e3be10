#!/bin/sh
# Installs backstay as a service, or says what this machine lacks. POSIX sh; nothing but the usual programs.
set -eu

usage() {
    cat <<'TEXT'
Usage: install.sh --check  [--server | --agent]
       install.sh --server [--binary FILE]
       install.sh --agent  [--binary FILE] [-- AGENT ARGUMENTS]
       install.sh --uninstall

  --check       only say what the machine has and lacks; exit 1 if something necessary is missing
  --server      the control plane: API server, store and controllers
  --agent       a node: what stands after -- is kept as the agent's arguments, such as
                --server https://10.0.0.1:6443 --token ID.SECRET --ca-cert-hash sha256:...
  --binary FILE the program to install (default: the one beside this script, else target/release/backstay)
  --root DIR    install below this directory, for building images; nothing is started
  --uninstall   stop and remove services and program; state in /var/lib/backstay* is left
TEXT
}

fail() {
    echo "install.sh: $1" >&2
    exit 1
}

root=""
mode=""
role=""
binary=""
here=$(cd "$(dirname "$0")" && pwd)

set_mode() {
    [ -z "$mode" ] || [ "$mode" = "$1" ] || fail "--check and --uninstall do not go together"
    mode=$1
}

set_role() {
    [ -z "$role" ] || [ "$role" = "$1" ] || fail "a machine is set up as server or as agent, one after the other"
    role=$1
}

while [ $# -gt 0 ]; do
    case $1 in
        --check) set_mode check ;;
        --uninstall) set_mode uninstall ;;
        --server) set_role server ;;
        --agent) set_role agent ;;
        --binary) [ $# -gt 1 ] || fail "--binary needs a file"; binary=$2; shift ;;
        --root) [ $# -gt 1 ] || fail "--root needs a directory"; root=${2%/}; shift ;;
        --help | -h) usage; exit 0 ;;
        --) shift; break ;;
        *) usage >&2; fail "unknown argument $1" ;;
    esac
    shift
done

missing=0
# A directory without a kernel's files is the image of a machine that will have them.
is_image() { [ -n "$root" ] && [ ! -e "$root/proc/sys/kernel/osrelease" ]; }

ok() { echo "ok       $1"; }
warn() { echo "warning  $1"; echo "         -> $2"; }
lacks() { echo "MISSING  $1"; echo "         -> $2"; missing=$((missing + 1)); }
has() { command -v "$1" >/dev/null 2>&1; }

check_common() {
    release=$(cat "$root/proc/sys/kernel/osrelease" 2>/dev/null || uname -r)
    major=${release%%.*}
    rest=${release#*.}
    minor=${rest%%[!0-9]*}
    # pidfds, by which processes are told apart for certain, came with 5.3; 5.10 is the oldest that is looked after.
    if [ "$major" -gt 5 ] || { [ "$major" -eq 5 ] && [ "${minor:-0}" -ge 10 ]; }; then
        ok "kernel $release"
    else
        lacks "kernel $release is too old" "a kernel of 5.10 or later is needed: upgrade the system"
    fi
    if [ -d "$root/run/systemd/system" ]; then
        ok "systemd"
    else
        warn "systemd does not run here" "start backstay by what starts services here; see the units for how"
    fi
    free=$(df -Pk "${root:-/}/var/lib" 2>/dev/null | awk 'NR == 2 { print $4 }')
    if [ "${free:-0}" -ge 1048576 ]; then
        ok "room below /var/lib: $((free / 1024)) MiB"
    else
        warn "little room below /var/lib: $((${free:-0} / 1024)) MiB" "make at least 1 GiB free, or mount a disk there"
    fi
    if [ -e "$root/run/systemd/timesync/synchronized" ] || has chronyc || has ntpq; then
        ok "the clock is kept right"
    else
        warn "nothing seems to keep the clock right" "install chrony or enable systemd-timesyncd: certificates and tokens depend on it"
    fi
}

check_server() {
    if has ss && ss -Hltn 'sport = :6443' 2>/dev/null | grep -q .; then
        warn "port 6443 is in use" "stop what listens there, or set BACKSTAY_SERVER_LISTEN in /etc/backstay/server.env"
    else
        ok "port 6443 is free"
    fi
}

check_agent() {
    if [ -f "$root/sys/fs/cgroup/cgroup.controllers" ]; then
        for controller in memory cpu pids; do
            if grep -qw "$controller" "$root/sys/fs/cgroup/cgroup.controllers"; then
                ok "cgroup v2: $controller"
            else
                warn "cgroup v2 without $controller" "limits of $controller will not hold: enable it on the kernel's command line"
            fi
        done
    else
        for controller in memory cpu pids; do
            if [ -d "$root/sys/fs/cgroup/$controller" ]; then
                ok "cgroup v1: $controller"
            else
                warn "no cgroup for $controller" "limits of $controller will not hold: mount cgroup v2 at /sys/fs/cgroup"
            fi
        done
    fi
    sockets=""
    for socket in /run/containerd/containerd.sock /run/crio/crio.sock; do
        [ ! -S "$root$socket" ] || sockets="$sockets $socket"
    done
    if [ -n "$sockets" ]; then
        ok "container runtime:$sockets"
    elif grep -qw overlay "$root/proc/filesystems" 2>/dev/null; then
        ok "no container runtime; the built-in one will be used (overlayfs is there)"
    else
        lacks "neither a container runtime nor overlayfs" "run \`modprobe overlay\` (and add it to /etc/modules-load.d), or install containerd"
    fi
    plugins=""
    for dir in /opt/cni/bin /usr/lib/cni; do
        [ ! -x "$root$dir/bridge" ] || plugins=$dir
    done
    if [ -z "$plugins" ]; then
        warn "no CNI plugins" "pods can only use the host's network: install containernetworking-plugins for others"
    elif ls "$root"/etc/cni/net.d/*.conf* >/dev/null 2>&1; then
        ok "CNI plugins in $plugins, network configured"
        if has iptables || has nft; then
            ok "packet filter for host ports"
        else
            warn "neither iptables nor nft" "hostPort needs one: install iptables"
        fi
        if [ "$(cat "$root/proc/sys/net/ipv4/ip_forward" 2>/dev/null)" = 1 ]; then
            ok "packets are forwarded"
        else
            warn "packets are not forwarded" "pods cannot reach the world: set net.ipv4.ip_forward=1 in /etc/sysctl.d"
        fi
    else
        warn "CNI plugins in $plugins, but no network in /etc/cni/net.d" "pods can only use the host's network until there is one"
    fi
    name=$(cat "$root/proc/sys/kernel/hostname" 2>/dev/null || uname -n)
    if echo "$name" | grep -Eq '^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$'; then
        ok "host name $name"
    else
        lacks "the host name $name cannot name a node" "set another with hostnamectl, or give the agent a --node-name"
    fi
}

find_binary() {
    for candidate in "$binary" "$here/backstay" "$here/../target/release/backstay"; do
        if [ -n "$candidate" ] && [ -f "$candidate" ]; then
            binary=$candidate
            return
        fi
        [ -z "$binary" ] || fail "there is no $binary"
    done
    fail "there is no program to install: build it with \`cargo build --release\`, or name it with --binary"
}

install_program() {
    find_binary
    "$binary" --version >/dev/null 2>&1 || fail "$binary does not run here: is it made for another machine?"
    mkdir -p "$root/usr/local/bin"
    # Renamed into place: a service that runs keeps its old program until it is restarted.
    cp "$binary" "$root/usr/local/bin/.backstay.new"
    chmod 0755 "$root/usr/local/bin/.backstay.new"
    mv -f "$root/usr/local/bin/.backstay.new" "$root/usr/local/bin/backstay"
    ln -sf backstay "$root/usr/local/bin/kubectl-backstay"
}

install_unit() {
    mkdir -p "$root/etc/systemd/system" "$root/etc/backstay"
    chmod 0700 "$root/etc/backstay"
    cp "$here/systemd/backstay-$role.service" "$root/etc/systemd/system/"
    chmod 0644 "$root/etc/systemd/system/backstay-$role.service"
}

# The token in it is a secret, until the agent has joined.
write_agent_env() {
    file="$root/etc/backstay/agent.env"
    if [ $# -eq 0 ] && [ -f "$file" ]; then
        return
    fi
    [ $# -gt 0 ] || fail "an agent needs to know its server: add -- and what \`backstay token create\` prints after \`backstay agent\`"
    case "$*" in
        *\'* | *\"* | *\\*) fail "quotes and backslashes cannot be kept in $file: edit it by hand" ;;
    esac
    umask 077
    printf 'BACKSTAY_AGENT_ARGS="%s"\n' "$*" >"$file.new"
    mv -f "$file.new" "$file"
}

start() {
    if is_image; then
        wants="$root/etc/systemd/system/multi-user.target.wants"
        mkdir -p "$wants"
        ln -sf "../backstay-$role.service" "$wants/"
        echo "installed; it starts with the machine"
        return
    fi
    if [ -n "$root" ] || [ ! -d /run/systemd/system ]; then
        echo "installed; not started, since this is not a running system with systemd"
        return
    fi
    systemctl daemon-reload
    systemctl enable "backstay-$role.service"
    systemctl restart "backstay-$role.service"
    echo "installed and started: see \`systemctl status backstay-$role\` and \`journalctl -u backstay-$role\`"
    [ "$role" != server ] || echo "the administrator's kubeconfig is /var/lib/backstay/admin.kubeconfig"
}

case $mode in
    check)
        check_common
        [ "$role" = agent ] || check_server
        [ "$role" = server ] || check_agent
        [ "$missing" -eq 0 ] || fail "$missing necessary things are missing"
        ;;
    uninstall)
        for role in agent server; do
            unit="backstay-$role.service"
            [ -f "$root/etc/systemd/system/$unit" ] || continue
            if [ -z "$root" ] && [ -d /run/systemd/system ]; then
                systemctl disable --now "$unit"
            fi
            rm -f "$root/etc/systemd/system/$unit" "$root/etc/systemd/system/multi-user.target.wants/$unit"
        done
        rm -f "$root/usr/local/bin/backstay" "$root/usr/local/bin/kubectl-backstay"
        rm -rf "$root/etc/backstay"
        echo "removed; state is left in /var/lib/backstay and /var/lib/backstay-agent, and pods that run go on running"
        ;;
    *)
        [ -n "$role" ] || { usage >&2; fail "say --server or --agent"; }
        [ -n "$root" ] || [ "$(id -u)" -eq 0 ] || fail "run it as root, or with --root DIR"
        if is_image; then
            echo "an image of a machine: what it lacks, it says with --check once it runs"
        else
            check_common
            "check_$role"
        fi
        [ "$missing" -eq 0 ] || fail "$missing necessary things are missing; nothing was installed"
        install_program
        install_unit
        [ "$role" != agent ] || write_agent_env "$@"
        start
        ;;
esac
