"""Encryption of secrets with the operator's key, and digests that depend on that key."""

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
    """Encrypts, decrypts and makes digests with one key."""

    def __init__(self, key: bytes) -> None:
        """Use a key of 32 bytes, given as urlsafe base64. Raises KeyInvalid for any other text."""
        try:
            raw = base64.urlsafe_b64decode(key)
        except (ValueError, binascii.Error) as wrong:
            raise KeyInvalid("the key is not urlsafe base64") from wrong
        if len(raw) != KEY_BYTES:
            raise KeyInvalid(f"the key has {len(raw)} bytes, not {KEY_BYTES}")
        self._fernet = Fernet(key)
        # A key of its own: somebody who learns the key of digests must not be able to decrypt anything.
        self._digest_key = HKDF(hashes.SHA256(), KEY_BYTES, salt=None, info=b"gostack mark").derive(raw)

    @classmethod
    def from_file(cls, path: str) -> "Encryption":
        """Read the key from a file. Raises KeyInvalid, OSError."""
        return cls(Path(path).read_bytes().strip())

    @classmethod
    def with_new_key(cls) -> "Encryption":
        """Make a new random key."""
        return cls(Fernet.generate_key())

    def encrypt(self, clear: bytes) -> bytes:
        """Encrypt a value. Raises ValueError where it is longer than LONGEST bytes."""
        if len(clear) > LONGEST:
            raise ValueError(f"a secret may have {LONGEST} bytes, not {len(clear)}")
        return self._fernet.encrypt(clear)

    def decrypt(self, encrypted: bytes) -> bytes:
        """Decrypt a value. Raises cryptography.fernet.InvalidToken where it was encrypted with another key."""
        return self._fernet.decrypt(encrypted)

    def digest(self, value: str) -> str:
        """Return the HMAC-SHA256 of a value under a key derived from this one, in hexadecimal."""
        return hmac.new(self._digest_key, value.encode(), hashlib.sha256).hexdigest()
