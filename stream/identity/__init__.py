"""Who calls: SPIFFE IDs, delegation chains, patterns for both policy and gateways, and home.

Imported by light gateways: standard library only, no numpy, no I/O.
"""

from __future__ import annotations

from .chain import ACTORS_MAX, canonical_actors, root
from .partition import home_partition, positive_murmur2
from .pattern import (
    OPERATION_PATTERN_LENGTH_MAX,
    WORKLOAD_PATTERN_LENGTH_MAX,
    InvalidPattern,
    Pattern,
    compile_operation_pattern,
    compile_workload_pattern,
)
from .spiffe import (
    ID_BYTES_MAX,
    TRUST_DOMAIN_BYTES_MAX,
    IdentityFault,
    InvalidIdentity,
    canonical_id,
    canonical_workload,
    describe_fault,
    names_workload,
    parent_path,
    trust_domain,
)
from .territory import Territory

__all__ = [
    "ACTORS_MAX",
    "ID_BYTES_MAX",
    "OPERATION_PATTERN_LENGTH_MAX",
    "TRUST_DOMAIN_BYTES_MAX",
    "WORKLOAD_PATTERN_LENGTH_MAX",
    "IdentityFault",
    "InvalidIdentity",
    "InvalidPattern",
    "Pattern",
    "Territory",
    "canonical_actors",
    "canonical_id",
    "canonical_workload",
    "compile_operation_pattern",
    "compile_workload_pattern",
    "describe_fault",
    "home_partition",
    "names_workload",
    "parent_path",
    "positive_murmur2",
    "root",
    "trust_domain",
]
