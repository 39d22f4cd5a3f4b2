"""SSH keys: checks of given public keys, and new pairs."""

import base64
import hashlib

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
    load_ssh_public_key,
)

from domain.core.errors import Invalid


def checked(public_key: str) -> str:
    """Return a public key in one line, with its comment. Raises Invalid."""
    line = public_key.strip()
    try:
        load_ssh_public_key(line.encode())
    except (ValueError, UnsupportedAlgorithm) as wrong:
        raise Invalid(
            field="public_key", value=f"{line[:40]}…", allowed=f"an OpenSSH public key is needed ({wrong})"
        ) from wrong
    if "\n" in line or "\r" in line:
        raise Invalid(field="public_key", value="several lines", allowed="one key is needed")
    return line


def fingerprint(public_key: str) -> str:
    """Return the SHA-256 fingerprint of a public key, as `ssh-keygen -l` prints it."""
    digest = hashlib.sha256(base64.b64decode(public_key.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def new_private_key() -> str:
    """Return a new Ed25519 private key in OpenSSH's format."""
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()


def public_key_of(private: str, comment: str) -> str:
    """Return the public key of a private key, in one line."""
    key = load_ssh_private_key(private.encode(), None).public_key()
    return f"{key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()} {comment}"
