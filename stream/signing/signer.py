"""Who signs: one key, for records of one topic of one installation."""

from __future__ import annotations

from stream.events import signed_message, with_signature

from .jwk import Jwk, Role, signing_function


class Signer:
    """Signs with one key. Deterministic: the same record under the same key is the same bytes."""

    def __init__(self, key: Jwk, place: tuple[str, str]) -> None:
        self.key_id = key.kid
        self.role: Role = key.role
        self._place = place
        self._sign = signing_function(key)

    def sign(self, key: bytes, payload: bytes) -> bytes:
        """Return the signed value of a record.

        Requires: `payload` is the encoding of a record, without a signature.
        """
        message = signed_message(self.key_id, self._place, key, payload)
        return with_signature(payload, self.key_id, self._sign(message))
