#!/bin/sh
# What a managed host begins with, in namespaces of its own.
#   host.sh FOLDER TARGET FIRST
# FOLDER has sshd's files, TARGET the Python that the host is managed by, and
# FIRST is its first process: `sshd`, or `systemd` which starts that.
#
# Its root is the machine's with a layer of its own on top: it has its own
# /etc, /run and /var, and what is written there is gone when it ends.
set -eu
folder=$1
target=$2
first=$3
layer=$folder/layer
root=$layer/root

mount --make-rprivate /
mount -t tmpfs layer "$layer"
mkdir "$layer/upper" "$layer/work" "$root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$layer/upper,workdir=$layer/work" "$root"
# Layers do not show what is mounted further down.
mkdir -p "$root$target" "$root$folder"
mount --bind "$target" "$root$target"
mount --bind "$folder" "$root$folder"
rm -rf "$root/etc/airgap" "$root/var/lib/airgap"

mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t tmpfs run "$root/run"
mkdir "$root/run/sshd"
mount -t tmpfs dev "$root/dev"
for device in null zero full random urandom tty; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts devpts "$root/dev/pts" -o newinstance,ptmxmode=0666
ln -s pts/ptmx "$root/dev/ptmx"

ip link set lo up
# The world puts the other end of the cable into place.
until ip link show eth0 >/dev/null 2>&1; do sleep 0.05; done
cd "$root"
sshd="/usr/sbin/sshd -D -e -f $folder/sshd_config"
if [ "$first" = sshd ]; then
    # shellcheck disable=SC2086 # the words of a command
    exec chroot . $sshd
fi
mount -t cgroup2 cgroup2 sys/fs/cgroup
: >etc/machine-id
# Of the machine's own services none is started.
cat >etc/systemd/system/host.target <<UNIT
[Unit]
Requires=basic.target sshd-of-host.service
After=basic.target
AllowIsolate=yes
UNIT
cat >etc/systemd/system/sshd-of-host.service <<UNIT
[Service]
ExecStart=$sshd
KillMode=process
UNIT
exec chroot . /usr/bin/env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system --unit=host.target
