"""Logs that others wrote, turned into requests: access logs and CloudTrail.

Text lines in, `Request` or `Fault` out, in input order; no I/O. What an attacker can write into a
log is input like any other: it costs linear time, yields at most a fault, and never an exception.
A `Request` made here keeps the bounds that `decode_request` checks, and names its workload in
canonical form.

`route_of`, `outcome_of_status`, `resources_of`, `effect_by_verb` and `segment_of` are the rules by
which calls become operations, effects, resources and workloads; adapters of recorded data use them
too, so that recorded and live events look alike.
"""

from .cloudtrail import CloudTrailSpec, convert_cloudtrail
from .effect import effect_by_verb
from .fault import Fault, FaultCode
from .naming import segment_of
from .nginx import NginxSpec, convert_nginx, outcome_of_status
from .resources import resource, resources_of
from .route import Route, route_of

__all__ = [
    "CloudTrailSpec",
    "Fault",
    "FaultCode",
    "NginxSpec",
    "Route",
    "convert_cloudtrail",
    "convert_nginx",
    "effect_by_verb",
    "outcome_of_status",
    "resource",
    "resources_of",
    "route_of",
    "segment_of",
]
