#!/bin/busybox sh
# The kernel's first process: loads the disk's drivers and hands over to the system on it.
/bin/busybox mount -t devtmpfs dev /dev
for module in /modules/*; do /bin/busybox insmod "$module"; done
/bin/busybox mount -t ext4 -o noatime /dev/vda /disk
/bin/busybox mount -t ext4 -o noatime /dev/vdb /disk/repo
/bin/busybox mount --move /dev /disk/dev
exec /bin/busybox switch_root /disk /repo/.guest/boot.sh
