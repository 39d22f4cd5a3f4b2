"""Every job that a plan can have done, a file a group. Importing this registers them all, with their facts."""

from domain.jobs import disk, guest, network, scheduling

__all__ = ["disk", "guest", "network", "scheduling"]
