"""Slow matching of patterns: try every way in which the stars could be filled."""

from __future__ import annotations

from functools import cache


def model_name_matches(pattern: str, name: str) -> bool:
    """Tell whether one name fits, where `*` is any run of characters."""

    @cache
    def fits(at: int, start: int) -> bool:
        if at == len(pattern):
            return start == len(name)
        if pattern[at] == "*":
            return any(fits(at + 1, end) for end in range(start, len(name) + 1))
        return start < len(name) and name[start] == pattern[at] and fits(at + 1, start + 1)

    return fits(0, 0)


def model_path_matches(patterns: tuple[str, ...], segments: tuple[str, ...]) -> bool:
    """Tell whether segments fit, where `**` is any number of them."""

    @cache
    def fits(at: int, start: int) -> bool:
        if at == len(patterns):
            return start == len(segments)
        if patterns[at] == "**":
            return any(fits(at + 1, end) for end in range(start, len(segments) + 1))
        return (
            start < len(segments)
            and model_name_matches(patterns[at], segments[start])
            and fits(at + 1, start + 1)
        )

    return fits(0, 0)


def model_workload_matches(pattern: str, workload: str) -> bool:
    """Tell whether a canonical workload fits a canonical workload pattern."""
    domain_pattern, *patterns = pattern.removeprefix("spiffe://").split("/")
    domain, *segments = workload.removeprefix("spiffe://").split("/")
    return domain_pattern in ("*", domain) and model_path_matches(tuple(patterns), tuple(segments))


def model_operation_matches(pattern: str, operation: str) -> bool:
    """Tell whether an operation, written `METHOD /route` or `tool:name`, fits a pattern."""
    if pattern == "*":
        return True
    if pattern.startswith("tool:"):
        return model_name_matches(pattern, operation)
    if operation.startswith("tool:"):
        return False
    method_pattern, _, route_pattern = pattern.partition(" ")
    method, _, route = operation.partition(" ")
    return method_pattern in ("*", method) and model_path_matches(
        tuple(route_pattern[1:].split("/")), tuple(route[1:].split("/"))
    )
