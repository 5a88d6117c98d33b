"""The shipped default policy: users start from it, so it has to be right."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import stream.policy
from stream.policy import ENFORCE, Document, Policy, lint_policy, read_policy

FILE = Path(stream.policy.__file__).parent / "default.yaml"

# OWASP Top 10 for Agentic Applications 2026, NHI Top 10 2025, LLM Top 10 2025; MITRE; NIST.
CONTROL = re.compile(
    r"OWASP ASI(0[1-9]|10)|OWASP NHI([1-9]|10):2025|OWASP LLM(0[1-9]|10):2025"
    r"|MITRE ATT&CK T\d{4}(\.\d{3})?|MITRE ATLAS AML\.T\d{4}|NIST SP 800-53 [A-Z]{2}-\d{1,2}"
)


@pytest.fixture(scope="module")
def default() -> tuple[Policy, Document]:
    """The default policy, and the lines of its file."""
    return read_policy(FILE.read_text(), "default.yaml")


def test_a_row_under_the_default_policy_has_at_most_4_kib(
    default: tuple[Policy, Document],
) -> None:
    """At most 12 windows, those of refused requests included, and 4,096 bytes a workload."""
    policy, _ = default
    assert len(policy.pairs) <= 12
    assert policy.layout.dtype.itemsize <= 4096


def test_the_default_policy_has_nothing_to_remark_on(default: tuple[Policy, Document]) -> None:
    """What we ship passes our own lint."""
    policy, document = default
    assert lint_policy(policy, document.line_of) == []


def test_every_rule_says_why_and_what_it_answers_to(default: tuple[Policy, Document]) -> None:
    """A note for people and control ids of lists that exist, on each rule."""
    for rule in default[0].rules:
        assert rule.spec.note, rule.name
        assert rule.spec.controls, rule.name
        assert all(CONTROL.fullmatch(each) for each in rule.spec.controls), rule.name


def test_the_default_policy_revokes_no_workload_on_its_own(
    default: tuple[Policy, Document],
) -> None:
    """Out of the box a workload is slowed down, or a task of it ended, and no more."""
    for rule in default[0].rules:
        if rule.mode == ENFORCE and rule.spec.action == "revoke":
            assert rule.spec.on == "task", rule.name


@pytest.mark.parametrize(
    ("workload", "name"),
    [
        ("spiffe://example.org/agents/billing", "agents"),
        ("spiffe://example.org/agent/a/b", "agents"),
        ("spiffe://cluster.local/ns/shop/sa/agent-7", "agents"),
        ("spiffe://cluster.local/ns/agents/sa/x", "agents"),
        ("spiffe://cluster.local/ns/shop/sa/cart", "services"),
        ("spiffe://example.org/services/cart", "services"),
        ("spiffe://example.org/batch/nightly", "other"),
    ],
)
def test_usual_identities_find_their_class(
    default: tuple[Policy, Document], workload: str, name: str
) -> None:
    """Agents and services by path, also in the form that Kubernetes meshes use."""
    policy, _ = default
    assert policy.class_name(policy.class_of(workload)) == name


@pytest.mark.parametrize(
    ("rule", "first", "then"),
    [
        ("secrets-then-send", "tool:vault_get_secret", "tool:send_email"),
        ("secrets-then-send", "GET /v1/secret/data/billing", "POST /api/webhooks/42"),
        ("export-then-send", "tool:export_customers", "tool:slack_send_message"),
        ("secrets-then-mint", "POST /secretsmanager/GetSecretValue", "POST /iam/CreateAccessKey"),
        ("grant-then-mint", "PUT /roles/7", "POST /oauth/token"),
        ("secrets-then-cover", "tool:get_credentials", "DELETE /v2/audit/2026"),
        ("secrets-then-send", "tool:secretsmanager.GetSecretValue", "tool:send_email"),
        ("secrets-then-mint", "tool:secretsmanager.GetSecretValue", "tool:sts.AssumeRole"),
        ("secrets-then-mint", "tool:secretsmanager.GetSecretValue", "tool:iam.CreateAccessKey"),
        ("grant-then-mint", "tool:iam.AttachRolePolicy", "tool:sts.AssumeRole"),
        ("grant-then-mint", "tool:iam.AttachUserPolicy", "tool:iam.CreateAccessKey"),
        ("grant-then-mint", "tool:iam.AddUserToGroup", "tool:iam.CreateAccessKey"),
        ("secrets-then-cover", "tool:secretsmanager.GetSecretValue", "tool:cloudtrail.StopLogging"),
        ("secrets-then-cover", "tool:secretsmanager.GetSecretValue", "tool:cloudtrail.DeleteTrail"),
        ("fetch-then-execute", "tool:fetch_url", "tool:run_python"),
    ],
)
def test_sequences_know_usual_names(
    default: tuple[Policy, Document], rule: str, first: str, then: str
) -> None:
    """Each forbidden sequence matches calls as estates name them, and not the other way round."""
    policy, _ = default
    found = next(each for each in policy.rules if each.name == rule)
    assert policy.sets_of(first, "read") >> found.first & 1
    assert policy.sets_of(then, "change") >> found.then & 1
    assert not policy.sets_of(then, "change") >> found.first & 1


@pytest.mark.parametrize(
    "operation",
    [
        "tool:s3.GetObject",
        "tool:iam.ListAccessKeys",
        "tool:search_emails",
        "tool:read_file",
        "GET /v1/customers/{id}",
        "tool:get_iban",
    ],
)
def test_everyday_calls_are_in_no_sequence(
    default: tuple[Policy, Document], operation: str
) -> None:
    """What agents do all day neither begins nor ends a forbidden sequence."""
    assert default[0].sets_of(operation, "read") == 0
