# Takes /dev/kvm from a host's view where libvirt's guests may not use it: gives it a /dev of its own, made at `$1`.
#
# libvirt, as root, finds with its probe that QEMU can use the device, then that its guests' user cannot, takes what it
# found for outdated, and probes again at every look: a dozen times for one `define`. Without the device both say no.
set -eu
if [ ! -c /dev/kvm ] || runuser -u libvirt-qemu -- sh -c '[ -r /dev/kvm ] && [ -w /dev/kvm ]'; then
    exit 0
fi
mkdir -p "$1"
mount -t tmpfs -o mode=755 tmpfs "$1"
cp -ax /dev/. "$1"
rm "$1/kvm"
for each in pts shm mqueue hugepages; do
    if mountpoint -q "/dev/$each"; then
        mount --bind "/dev/$each" "$1/$each"
    fi
    # libvirt takes along every mount that it finds below /dev, and fails at one that is covered.
    while mountpoint -q "/dev/$each"; do
        umount --lazy "/dev/$each"
    done
done
mount --move "$1" /dev
