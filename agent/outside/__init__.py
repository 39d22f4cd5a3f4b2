"""The services beyond its own host that an agent works with: other hosts, and the image store."""
