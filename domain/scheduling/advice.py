"""Advice, in words, for whoever a filter left no host: apart from the filters, so that who shows a fault need not load
their columns."""

ADVICE: dict[str, str] = {
    "enabled-and-up": "look at the hosts (gs host list), and enable one or start its agent",
    "zone": "name another zone, or put hosts into this one (gs zone add-host)",
    "wanted-host": "name another host, or none",
    "arch": "use an image of another architecture",
    "vcpu": "use a flavor with fewer vCPUs, or delete instances",
    "memory": "use a flavor with less memory, or delete instances",
    "disk": "ask for a smaller root disk, or delete instances and volumes",
}
"""Name of a filter -> what helps where it rejects every host."""
