"""Secrets that libvirt keeps for guests' disks: the keys of Ceph users, which no definition of a guest has in it."""

from xml.etree import ElementTree as ET

import libvirt

from agent.drivers.storage.store import CephSecret


def keep(secret: CephSecret, connection: libvirt.virConnect) -> None:
    """Have libvirt keep the secret, also over its restart, and tell nobody but its guests' hypervisors.

    Raises libvirt's errors.
    """
    described = ET.Element("secret", {"ephemeral": "no", "private": "yes"})
    ET.SubElement(described, "uuid").text = secret.uuid
    usage = ET.SubElement(described, "usage", {"type": "ceph"})
    ET.SubElement(usage, "name").text = secret.usage
    connection.secretDefineXML(ET.tostring(described, encoding="unicode")).setValue(secret.key)


def forget(ident: str, connection: libvirt.virConnect) -> None:
    """Have libvirt forget the secret; one that it does not know is success. Raises libvirt's other errors."""
    try:
        connection.secretLookupByUUIDString(ident).undefine()
    except libvirt.libvirtError as problem:
        if problem.get_error_code() != libvirt.VIR_ERR_NO_SECRET:
            raise
