"""SSH keys: checks of given public keys, and new pairs, whose private keys are stored nowhere."""

import base64
import hashlib

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
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


def new_pair(comment: str) -> tuple[str, str]:
    """Return a new Ed25519 pair: the private key in OpenSSH's format, the public key in one line."""
    private = Ed25519PrivateKey.generate()
    text = private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
    public = private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    return text, f"{public} {comment}"
