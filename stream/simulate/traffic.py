"""What gateways send in a simulation: few workloads with much in common, near every edge.

Windows of seconds and rules that a handful of events breaks, so that half a minute of traffic has
commands that are issued, renewed, escalated, released and expire.
"""

from __future__ import annotations

import random
import zlib
from functools import cache
from typing import Final

import msgspec

from stream.events import Request, Token, encode_request
from stream.identity import canonical_workload, home_partition

from .chance import Plan

RULES: Final = """
rules:
- name: burst
  limit: {measure: requests, at_most: %(burst)d, per: 2s}
  action: throttle
  rate: 5/s
  for: 4s
  mode: enforce
- name: each-operation
  limit: {measure: requests, at_most: 3, per: 1s}
  action: throttle
  on: operation
  rate: 1/s
  for: 2s
  mode: %(mode)s
- name: denied
  limit: {measure: denials, at_most: 1, per: 10s}
  action: revoke
  on: token
  for: 20s
  mode: enforce
- name: volume
  limit: {measure: bytes, at_most: 3k, per: 5s, effect: read}
  action: revoke
  for: 3s
  mode: enforce
- name: failing
  limit: {measure: errors, at_most: 2, per: 10s}
  action: observe
- name: read-then-send
  forbid: {first: ["tool:read_*"], then: ["tool:send_*"], within: 3s}
  action: revoke
  on: task
  for: 5s
  mode: enforce
"""
OPERATIONS: Final = ("tool:read_mail", "tool:read_file", "tool:send_mail", "GET /a", "POST /a")
NOT_EVENTS: Final = (
    b"",
    b"{",
    b'{"at_ms": 1}',
    b'{"at_ms": 1, "workload": "nobody", "operation": "GET /"}',
    b"\xff\xfe",
    b"[" * 200,
)


@cache
def policies() -> tuple[str, ...]:
    """Return the texts of the policies a simulation knows, the first one in force at first."""
    kinds = ((6, "shadow", "vouched"), (4, "enforce", "granted"), (9, "off", "vouched"))
    return tuple(
        f"name: policy-{place}\nidle: {('8d', '26h')[place % 2]}\ntasks: {tasks}\n"
        + RULES % {"burst": burst, "mode": mode}
        for place, (burst, mode, tasks) in enumerate(kinds)
    )


def workload(number: int, domains: int = 1) -> str:
    """Return the name of a workload, of one of so many trust domains."""
    return f"spiffe://test{number % domains or ''}.example/agents/a{number}"


def payload(
    plan: Plan, chance: random.Random, now_ms: int, number: int | None = None
) -> tuple[bytes, bytes]:
    """Return key and value of a record that a gateway sends now, of one workload or of any."""
    if number is None:
        number = int(plan.workloads * chance.random() ** 2)
    name = workload(number, plan.domains)
    key = canonical_workload(name).encode()
    if chance.random() < 0.02:
        return key, chance.choice(NOT_EVENTS)
    late_ms = chance.choice((0, 0, 0, chance.randrange(50), chance.randrange(3_000), -8_000))
    token = chance.choice((None, Token(issuer="issuer", id=f"t{chance.randrange(3)}")))
    said = Request(
        at_ms=max(0, now_ms - late_ms),
        workload=name,
        operation=chance.choice(OPERATIONS),
        kind=chance.choice(("request",) * 12 + ("grant", "completion")),
        outcome=chance.choice(("served",) * 6 + ("failed", "denied", "refused")),
        bytes=chance.choice((0, 100, 2_000)),
        count=chance.choice((1, 1, 1, 2)),
        task=chance.choice(("", "", f"k{chance.randrange(4)}")),
        token=token,
        authenticated=chance.random() > 0.03,
    )
    if plan.has_ticks and (said.bytes, said.count) == (2_000, 2):
        said = msgspec.structs.replace(said, kind="tick")
    return key, encode_request(said)


def placed(plan: Plan, key: bytes, partitions: int) -> int:
    """Return the partition that a gateway puts a key on, by as many as it thinks there are.

    Each workload has one gateway.
    """
    elsewhere = zlib.crc32(key) % partitions
    if plan.gateways == "elsewhere" or (plan.gateways == "mixed" and key[-1] % 2):
        return elsewhere
    return home_partition(key, partitions)
