"""Sealing: the one key, what is encrypted with it, and the digest that depends on it."""

import base64
import binascii
import hashlib
import hmac
from pathlib import Path

from cryptography.fernet import Fernet
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from infra.secrets.secrets import LONGEST, KeyInvalid

KEY_BYTES = 32


class Encryption:
    """Encrypts and marks with one key."""

    def __init__(self, key: bytes) -> None:
        """`key` is urlsafe base64 of 32 bytes. Raises KeyInvalid."""
        try:
            raw = base64.urlsafe_b64decode(key)
        except (ValueError, binascii.Error) as wrong:
            raise KeyInvalid("the key is no urlsafe base64") from wrong
        if len(raw) != KEY_BYTES:
            raise KeyInvalid(f"the key has {len(raw)} bytes, not {KEY_BYTES}")
        self._fernet = Fernet(key)
        # A key of its own: whoever learns a digest's key must not be able to open anything.
        self._digest_key = HKDF(hashes.SHA256(), KEY_BYTES, salt=None, info=b"gostack mark").derive(raw)

    @classmethod
    def from_file(cls, path: str) -> "Encryption":
        """The seal whose key is in a file. Raises KeyInvalid, OSError."""
        return cls(Path(path).read_bytes().strip())

    @classmethod
    def with_new_key(cls) -> "Encryption":
        """A seal with a new key."""
        return cls(Fernet.generate_key())

    def encrypt(self, value: str) -> bytes:
        """The value, encrypted. Raises ValueError where it is longer than LONGEST."""
        clear = value.encode()
        if len(clear) > LONGEST:
            raise ValueError(f"a secret may have {LONGEST} bytes, not {len(clear)}")
        return self._fernet.encrypt(clear)

    def decrypt(self, encrypted: bytes) -> str:
        """The value; raises cryptography.fernet.InvalidToken where another key sealed it."""
        return self._fernet.decrypt(encrypted).decode()

    def digest(self, value: str) -> str:
        """A keyed digest, hexadecimal."""
        return hmac.new(self._digest_key, value.encode(), hashlib.sha256).hexdigest()
