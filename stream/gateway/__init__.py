"""The gateway: obeys the commands in force from memory, and reports what it sees.

Light on purpose: no numpy, no Numba, no Redis. A service imports this beside its own code.
"""

from .asgi import Claims, EnforcementMiddleware, Extract, spiffe_header
from .client import Gateway, GatewayState
from .fitting import clip_operation
from .guard import REFUSALS, Refusal
from .homes import HomeState
from .routes import path_operation, template_of
from .spec import GatewayMode, GatewaySpec, ReportSpec, TableSpec
from .table import Applied, CommandTable
from .verdict import ALLOW, Cause, Decision, Verdict, WouldHave

__all__ = [
    "ALLOW",
    "REFUSALS",
    "Applied",
    "Cause",
    "Claims",
    "CommandTable",
    "Decision",
    "EnforcementMiddleware",
    "Extract",
    "Gateway",
    "GatewayMode",
    "GatewaySpec",
    "GatewayState",
    "HomeState",
    "Refusal",
    "ReportSpec",
    "TableSpec",
    "Verdict",
    "WouldHave",
    "clip_operation",
    "path_operation",
    "spiffe_header",
    "template_of",
]
