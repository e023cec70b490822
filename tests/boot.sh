#!/usr/bin/env bash
# Boots a real systemd in namespaces of its own and runs the shipped units under it: readiness, DynamicUser, credentials,
# reload, restart after a kill, the watchdog, socket activation. Half a minute; prints a line for each. Needs root, cgroup v2,
# overlayfs and the package systemd; nothing outside the namespaces is touched.
#     tests/boot.sh target/release/waystation
set -euo pipefail
cd "$(dirname "$0")/.."

program=$(realpath "$1")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/units" "$folder/units/waystation.service.d" "$folder/waystation"
cp systemd/waystation.service systemd/waystation.socket "$folder/units"
for target in waystation-boot sysinit basic sockets shutdown network-online multi-user; do
    printf '[Unit]\nDescription=%s\n' "$target" >"$folder/units/$target.target"
done
cat >"$folder/units/waystation.service.d/boot.conf" <<'UNIT'
[Service]
LoadCredential=shop.password:/etc/waystation/shop.password
WatchdogSec=4s
StandardOutput=append:/run/waystation.log
StandardError=append:/run/waystation.log
UNIT
(umask 077 && echo secret >"$folder/waystation/shop.password")
cat >"$folder/waystation/waystation.toml" <<'TOML'
hostname = "relay.test"
state_dir = "/var/lib/waystation"
[[listener]]
address = "fd:submission"
trust = ["127.0.0.1"]
[smarthost.out]
host = "127.0.0.1"
port = 2599
tls = "none"
username = "shop"
password_file = "/run/credentials/waystation.service/shop.password"
TOML

cat >"$folder/boot" <<'BOOT'
set -e
folder=$1 program=$2
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mount -t proc proc /proc
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir /run/lock /run/layers
mkdir /run/layers/bin /run/layers/bin-work /run/layers/etc /run/layers/etc-work
mount -t overlay overlay -o lowerdir=/usr/bin,upperdir=/run/layers/bin,workdir=/run/layers/bin-work /usr/bin
mount -t overlay overlay -o lowerdir=/etc,upperdir=/run/layers/etc,workdir=/run/layers/etc-work /etc
cp "$program" /usr/bin/waystation
cp -a "$folder/waystation" /etc/
mount -t tmpfs tmpfs /var/lib
: >/run/console
mount --bind /run/console /dev/console
# Credentials reach a unit's namespace by propagation.
mount --make-rshared /
ip link set lo up
export SYSTEMD_UNIT_PATH=$folder/units container=waystation
exec /usr/lib/systemd/systemd --system --unit=waystation-boot.target --log-target=console
BOOT

cat >"$folder/look" <<'LOOK'
set -euo pipefail
show() { systemctl show waystation --value -p "$1"; }
is() { if [ "$2" = "$3" ]; then echo "$1: $2"; else echo "$1: $2, wanted $3"; cat /run/waystation.log; exit 1; fi; }
send() {
    python3 -c 'import smtplib
smtp = smtplib.SMTP("127.0.0.1", 587, timeout=20)
smtp.sendmail("a@x.test", ["b@y.test"], "Subject: hi\r\n\r\nhi\r\n")
smtp.quit()' && echo taken
}
until_() { for _ in $(seq 100); do [ "$(show "$1")" = "$2" ] && break; sleep 0.2; done; is "$3" "$(show "$1")" "$2"; }
command() { waystation "$@" --config /etc/waystation/waystation.toml; }

systemctl start waystation.socket
is "before the first connection" "$(systemctl is-active waystation || true)" inactive
is "mail to the socket" "$(send)" taken
is "started by it" "$(systemctl is-active waystation)" active
is "its user is no one else's" "$(stat -c %U /var/lib/private/waystation)" waystation
is "reload" "$(systemctl reload waystation && echo done)" done
echo 'no_such_key = 1' >>/etc/waystation/waystation.toml
is "reload of a wrong file" "$(systemctl reload waystation 2>/dev/null || echo refused)" refused
sed -i '$d' /etc/waystation/waystation.toml
systemctl kill -s KILL waystation
until_ NRestarts 1 "restarted after a kill"
until_ SubState running "and runs"
systemctl kill -s STOP waystation
until_ NRestarts 2 "restarted by the watchdog"
until_ SubState running "and runs"
is "mail to the new one" "$(send)" taken
is "kept" "$(command queue list --json | python3 -c 'import json, sys; print(len(json.load(sys.stdin)))')" 2
systemctl stop waystation 2>/dev/null
is "stopped" "$(show Result)" success
echo 'no_such_key = 1' >>/etc/waystation/waystation.toml
systemctl start waystation 2>/dev/null || true
until_ SubState failed "a wrong file isn't tried again and again"
is "its exit code" "$(show ExecMainStatus)" 78
LOOK

timeout --kill-after=2 120 unshare --pid --fork --kill-child --mount --uts --ipc --net --cgroup \
    bash "$folder/boot" "$folder" "$program" >"$folder/console" 2>&1 &
for _ in $(seq 100); do
    booted=$(pgrep -f -- "--unit=waystation-boot.target --log-target" | tail -1 || true)
    if [ -n "$booted" ] && nsenter -t "$booted" -a systemctl is-active waystation-boot.target >/dev/null 2>&1; then
        break
    fi
    sleep 0.1
done
status=0
nsenter -t "$booted" -a timeout 100 bash "$folder/look" || status=$?
kill -KILL "$booted"
exit "$status"
