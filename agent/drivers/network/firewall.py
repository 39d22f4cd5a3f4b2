"""The packets that a guest may send to its host, and that networks do not reach each other through it.

Why needed: each network has an address of the host in it, so without rules every guest could speak to all that
listens on the host, and the host would carry packets from one project's network to another's.
"""

from agent.drivers import host_command

METADATA_ADDRESS = "169.254.169.254"
TABLE = "gostack"

# The set has the pairs of a bridge and itself: where frames that stay on a bridge pass the packet filter, they may.
# Declared, then emptied of rules, then filled: applying it again changes nothing, and the set keeps its elements.
_RULES = f"""
table inet {TABLE} {{
  set same {{ typeof iifname . oifname; }}
  chain forward {{ type filter hook forward priority filter; }}
  chain input {{ type filter hook input priority filter; }}
}}
flush chain inet {TABLE} forward
flush chain inet {TABLE} input
table inet {TABLE} {{
  chain forward {{
    iifname . oifname @same accept
    iifname "gsb-*" drop
    oifname "gsb-*" drop
  }}
  chain input {{
    iifname != "gsb-*" accept
    ct state established,related accept
    udp dport {{ 53, 67 }} accept
    tcp dport 53 accept
    ip daddr {METADATA_ADDRESS} tcp dport 80 accept
    icmp type echo-request accept
    drop
  }}
}}
"""


def guard() -> None:
    """Have the rules. Raises DriverError "host-command-failed"."""
    host_command.run("nft", "-f", "-", given=_RULES)


def admit(bridge: str) -> None:
    """Let frames pass that stay on this bridge. Raises DriverError "host-command-failed"."""
    host_command.run("nft", "add", "element", "inet", TABLE, "same", f'{{ "{bridge}" . "{bridge}" }}')


def forget(bridge: str) -> None:
    """The bridge is gone."""
    host_command.run("nft", "delete", "element", "inet", TABLE, "same", f'{{ "{bridge}" . "{bridge}" }}', fails=(1,))
