#!/bin/sh
# Mounts the cgroup hierarchies as systemd does in its "unified", "legacy" and "hybrid" modes: GUEST_CGROUPS is v2, v1 or hybrid.
options=nosuid,nodev,noexec

mount_v1() {
  mount -t tmpfs -o nosuid,nodev,noexec,mode=755 cgroup /sys/fs/cgroup
  for controllers in cpu,cpuacct cpuset memory devices freezer blkio pids hugetlb name=systemd; do
    folder=/sys/fs/cgroup/${controllers#name=}
    mkdir "$folder"
    case $controllers in name=*) controllers=none,$controllers ;; esac
    mount -t cgroup -o "$options,$controllers" cgroup "$folder" || rmdir "$folder"
  done
  for controller in cpu cpuacct; do ln -s cpu,cpuacct "/sys/fs/cgroup/$controller"; done
}

# The root gives out these controllers and holds no process of ours.
give_out_v2() {
  mkdir "$1/init.scope"
  echo $$ > "$1/init.scope/cgroup.procs"
  for controller in cpu io memory pids; do
    if grep -qw $controller "$1/cgroup.controllers"; then echo +$controller > "$1/cgroup.subtree_control"; fi
  done
}

case $GUEST_CGROUPS in
  v1) mount_v1 ;;
  hybrid)
    mount_v1
    mkdir /sys/fs/cgroup/unified
    mount -t cgroup2 -o $options,nsdelegate cgroup2 /sys/fs/cgroup/unified
    give_out_v2 /sys/fs/cgroup/unified
    ;;
  *)
    mount -t cgroup2 -o $options,nsdelegate cgroup2 /sys/fs/cgroup
    give_out_v2 /sys/fs/cgroup
    ;;
esac
