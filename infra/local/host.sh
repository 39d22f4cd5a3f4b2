#!/bin/sh
# Makes the inside of one host: runs once, in fresh mount, UTS and network namespaces that outlive it.
set -eu
name=$1
directory=$2
emulators=$3

hostname "$name"

# Mounted anew, sysfs shows this namespace's network interfaces, which libvirt looks for there.
mount -t sysfs sysfs /sys

# An empty /run: no system bus, no systemd and no udev of the machine, which know of one host only.
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/libvirt /run/lock

bind() {
    mkdir -p "$2"
    mount --bind "$1" "$2"
}
bind "$directory/run" /run/libvirt
bind "$directory/etc" /etc/libvirt
bind "$directory/lib" /var/lib/libvirt
bind "$directory/log" /var/log/libvirt
bind "$emulators" /var/cache/libvirt
mount --bind "$directory/hosts" /etc/hosts

sh "$(dirname "$0")/kvm.sh" "$directory/dev"
