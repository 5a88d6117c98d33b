"""The door to `cryptography`: Ed25519 keys and signatures (RFC 8032), bytes in and out.

Imported only by who has such a key, so neither a gateway without keys nor one with HMAC keys pays
for it.
"""

from __future__ import annotations

from collections.abc import Callable

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

KEY_BYTES = 32


def new_secret() -> bytes:
    """Return a new private key."""
    return Ed25519PrivateKey.generate().private_bytes_raw()


def public_of(secret: bytes) -> bytes:
    """Return the public key of a private one. Errors: ValueError."""
    return Ed25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


def signing(secret: bytes) -> Callable[[bytes], bytes]:
    """Return what signs a message with a private key; deterministic. Errors: ValueError."""
    return Ed25519PrivateKey.from_private_bytes(secret).sign


def verifying(public: bytes) -> Callable[[bytes, bytes], bool]:
    """Return what tells whether a signature on a message holds. Errors: ValueError."""
    verify = Ed25519PublicKey.from_public_bytes(public).verify

    def holds(message: bytes, signature: bytes) -> bool:
        try:
            verify(signature, message)
        except InvalidSignature:
            return False
        return True

    return holds
