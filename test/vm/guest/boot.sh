#!/bin/sh
# PID 1 of the guest: a machine as stock Debian sets one up, with the layout of cgroups that was asked for, then the specs, the report and the end.
export PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/run/busybox HOME=/root TMPDIR=/tmp LANG=C.UTF-8 NO_COLOR=1
mount -t proc -o nosuid,nodev,noexec proc /proc
mount -t sysfs -o nosuid,nodev,noexec sys /sys
mount -t tmpfs -o nosuid,nodev,mode=755 run /run
mkdir -p /dev/pts /dev/shm /dev/mqueue /run/busybox
mount -t devpts -o gid=5,mode=620 devpts /dev/pts
mount -t tmpfs -o nosuid,nodev shm /dev/shm
mount -t mqueue mqueue /dev/mqueue
ln -sf /proc/self/fd /dev/fd
mount --make-rshared /
busybox --install -s /run/busybox
hostname berth-vm
ip link set lo up

. /repo/.guest/environment
. /repo/.guest/cgroups.sh

mount --bind /opt/node_modules /repo/node_modules
mkdir -p /opt/node_modules/@berth
for package in /repo/libs/* /repo/apps/*; do ln -sfn "../..${package#/repo}" "/opt/node_modules/@berth/${package##*/}"; done

cd /repo
echo "berth-vm: $(uname -r), up $(cut -d' ' -f1 /proc/uptime) s"
# The guest ends by itself even when nobody is left to end it.
timeout -k 10 "$GUEST_SECONDS" node node_modules/vitest/vitest.mjs run --pool=forks --no-isolate --maxWorkers=1 --experimental.viteModuleRunner=false --experimental.nodeLoader=false \
  --testTimeout=300000 --hookTimeout=600000 --reporter=verbose --reporter=json --outputFile.json=/run/report.json ${GUEST_ONLY:+-t "$GUEST_ONLY"} $(cat .guest/specs) </dev/null 2>&1 | cat
echo "berth-vm: done, up $(cut -d' ' -f1 /proc/uptime) s"
[ -f /run/report.json ] && dd if=/run/report.json of=/dev/vdc bs=1M conv=fsync,notrunc 2>/dev/null
busybox poweroff -f
sleep 60
