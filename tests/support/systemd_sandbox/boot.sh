#!/bin/bash
# Becomes the systemd of a machine of its own: namespaces of its own over a copy of this machine's root that is written to
# memory alone and is gone with it. Needs root. Not to be called by hand: sandbox.py does, and knows what follows.
#
#   boot.sh WORK_DIRECTORY CONTROL_GROUP [SOURCE TARGET]...
#
# WORK_DIRECTORY: an empty folder. CONTROL_GROUP: an empty cgroup v2 folder. Each SOURCE is seen inside as TARGET, read-only.
set -euo pipefail

if [[ ${1:-} != --inside ]]; then
  # Who is in the group when the cgroup namespace begins sees that group as the root of all.
  echo $$ >"$2/cgroup.procs"
  # Nothing may outlive the caller: the caller's death kills unshare, and that kills the new init, and that the rest.
  exec setpriv --pdeathsig KILL \
    unshare --mount --pid --fork --kill-child --uts --ipc --net --cgroup "$BASH" "$0" --inside "$@"
fi
work=$2
shift 3

mount --make-rprivate /
mount -t tmpfs -o mode=0755,size=1g sandbox "$work"
mkdir "$work"/{changes,scratch,root}
mount -t overlay -o "lowerdir=/,upperdir=$work/changes,workdir=$work/scratch" sandbox "$work/root"
cd "$work/root"

while (($# >= 2)); do
  mkdir -p ".$2"
  mount --bind "$1" ".$2"
  mount -o remount,bind,ro ".$2"
  shift 2
done

# A machine that was never booted, mounts nothing and starts nothing but what a test starts.
units=./etc/systemd/system
rm -rf "$units"
mkdir -p "$units"
: >./etc/fstab
: >./etc/machine-id
cat >"$units/sandbox.target" <<'UNIT'
[Unit]
Description=Only what a test needs
DefaultDependencies=no
Wants=systemd-journald.socket systemd-journald.service dbus.socket
AllowIsolate=yes
UNIT
# /tmp stays as it is found: no file system is put over it, and nobody tidies it.
for unit in tmp.mount systemd-tmpfiles-setup.service systemd-tmpfiles-clean.timer; do
  ln -s /dev/null "$units/$unit"
done

# A new init raises limits of the kernel and makes device nodes: neither may reach the machine outside.
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=0755 run run
mount -t tmpfs -o mode=0755 dev dev
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts
mount -t tmpfs -o mode=1777 shm dev/shm
ln -s pts/ptmx dev/ptmx
for device in "null 1 3" "zero 1 5" "full 1 7" "random 1 8" "urandom 1 9" "tty 5 0"; do
  read -r name major minor <<<"$device"
  mknod -m 0666 "dev/$name" c "$major" "$minor"
done

mkdir old
pivot_root . old
umount -l old
rmdir old
# Outside of a container systemd does this itself. Credentials are mounted by a child of it, in a namespace that hands them back.
mount --make-rshared /
exec env -i container=sandbox PATH=/usr/sbin:/usr/bin:/sbin:/bin \
  /lib/systemd/systemd --unit=sandbox.target --show-status=no --log-target=journal </dev/null >/dev/null 2>&1
