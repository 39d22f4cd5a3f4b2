# What the guest's scripts share. Sourced, not run.

# One line for whoever watches from outside: on the first console, which is the serial port, and on the screen.
report() {
    # A login prompt may stand unfinished on the line, and a reader expects a report to have a line of its own.
    lead=''
    [ -e /run/ready ] && lead='\n'
    for tty in /dev/console /dev/tty1; do
        printf "${lead}gostack-guest: %s\n" "$*" >$tty
    done 2>/dev/null
}

# One line for each address of an interface.
report_addresses() {
    ip -o -4 address show dev "$1" | while read -r _ _ _ address _; do
        report "address=$address dev=$1 mac=$(cat "/sys/class/net/$1/address")"
    done
}

report_disk() {
    [ -r "/sys/class/block/$1/size" ] || return
    # The kernel counts in sectors of 512 bytes whatever the disk's own sectors are.
    bytes=$(($(cat "/sys/class/block/$1/size") * 512))
    serial=$(cat "/sys/class/block/$1/serial" 2>/dev/null)
    report "disk=$1 bytes=$bytes${serial:+ serial=$serial}"
}

# Ask for an address. Comes back with one or after 8 seconds; without one it goes on asking in the background, since
# a network that is slow to appear is no reason for a guest to stay unreachable.
dhcp() {
    ip link set dev "$1" up
    udhcpc -b -t 4 -T 2 -A 20 -i "$1" -s /lib/gostack/lease -O mtu -O staticroutes -x "hostname:$(hostname)" >/dev/null 2>&1 </dev/null
}
