"""Who may say what on the topic `enforcement`: keys, signatures, and what is wrong with them.

Pure Python but for Ed25519, which is loaded only where such a key is configured: a gateway imports
this room.
"""

from .files import (
    TRUST_BYTES_MAX,
    read_key,
    read_trusted,
    write_key,
    write_trusted,
)
from .jwk import ALGORITHMS, ROLES, Algorithm, Jwk, Role, new_key, public_part
from .signer import Signer
from .spec import SigningMode, SigningSpec, signer_of, trust_of
from .trust import FAULTS, Place, SignatureFault, Trust

__all__ = [
    "ALGORITHMS",
    "FAULTS",
    "ROLES",
    "TRUST_BYTES_MAX",
    "Algorithm",
    "Jwk",
    "Place",
    "Role",
    "SignatureFault",
    "Signer",
    "SigningMode",
    "SigningSpec",
    "Trust",
    "new_key",
    "public_part",
    "read_key",
    "read_trusted",
    "signer_of",
    "trust_of",
    "write_key",
    "write_trusted",
]
