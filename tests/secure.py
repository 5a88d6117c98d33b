"""A Kafka that asks who comes and what they may: SASL and TLS listeners, the KRaft authorizer.

One for the session. Its plain listener on the loopback address is the tests' own way in, as a
super user; nothing of the product uses it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import os
import warnings
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
import uvloop
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import CreateAclsRequest, DeleteAclsRequest
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    CompactArray,
    CompactBytes,
    CompactString,
    Int8,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

from stream.bus import KafkaSpec
from stream.local import LocalServers
from stream.local.folder import HOST
from tests.certificates import Authority
from tests.ports import free_port

# The listener, what it speaks, and the name by which it says that it is reached.
LISTENERS = (
    ("SASL", "SASL_PLAINTEXT", HOST),
    ("SASLTLS", "SASL_SSL", HOST),
    ("MTLS", "SSL", HOST),
    ("EXPIRED", "SSL", HOST),
    ("MOVED", "SASL_SSL", "localhost"),
)
PASSPHRASE = "open s3same"
USERS = ("worker", "gateway", "operator", "admin", "edge-eu", "nobody")
SCRAM = {"SCRAM-SHA-256": 1, "SCRAM-SHA-512": 2}
ROUNDS = 4_096
JAAS = "org.apache.kafka.common.security"
RESOURCES = {"topic": 2, "group": 3, "cluster": 4, "transactional-id": 5}
OPERATIONS = {
    "Read": 3, "Write": 4, "Create": 5, "Alter": 7, "Describe": 8, "DescribeConfigs": 10,
    "IdempotentWrite": 12,
}  # fmt: skip
LITERAL, ALLOW, ANY = 3, 3, 1


def password_of(user: str) -> str:
    """The password of a user of the test."""
    return f"s3cret of {user}, with = and ; in it"


class _ScramResponse(Response):
    API_KEY, API_VERSION = 51, 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "results",
            CompactArray(
                ("user", CompactString("utf-8")),
                ("error_code", Int16),
                ("error_message", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _ScramStruct(RequestStruct):
    FLEXIBLE_VERSION = True
    API_KEY, API_VERSION = 51, 0
    RESPONSE_TYPE = _ScramResponse
    SCHEMA = Schema(
        (
            "deletions",
            CompactArray(
                ("name", CompactString("utf-8")), ("mechanism", Int8), ("tags", TaggedFields)
            ),
        ),
        (
            "upsertions",
            CompactArray(
                ("name", CompactString("utf-8")),
                ("mechanism", Int8),
                ("iterations", Int32),
                ("salt", CompactBytes),
                ("salted_password", CompactBytes),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _ScramRequest(Request[_ScramStruct]):
    """Gives users their passwords for one mechanism. Source: KIP-554."""

    API_KEY = 51

    def __init__(self, mechanism: str, passwords: Mapping[str, str]) -> None:
        self._mechanism = mechanism
        self._passwords = passwords

    def build(self, request_struct_class: type[Any]) -> Any:
        number = SCRAM[self._mechanism]
        digest = self._mechanism.removeprefix("SCRAM-").replace("-", "").lower()
        rows = []
        for user, password in self._passwords.items():
            salt = os.urandom(16)
            salted = hashlib.pbkdf2_hmac(digest, password.encode(), salt, ROUNDS)
            rows.append((user, number, ROUNDS, salt, salted, {}))
        return request_struct_class([], rows, {})


class Acl(NamedTuple):
    """One line of what `enforcer acl --json` gives."""

    principal: str
    resource_type: str
    resource: str
    operation: str


class SecureKafka:
    """The broker as a test sees it."""

    def __init__(self, plain: str, ports: Mapping[str, int], authority: Authority) -> None:
        self.plain = plain
        self.ports = ports
        self.authority = authority
        self.folder = authority.folder

    def address(self, listener: str, host: str = HOST) -> str:
        """Where a listener is."""
        return f"{host}:{self.ports[listener]}"

    def spec(self, listener: str, user: str = "", **settings: Any) -> KafkaSpec:
        """Settings of a client of a listener: as a user by SASL, or by a certificate."""
        security = next(kind.lower() for name, kind, _ in LISTENERS if name == listener)
        given: dict[str, Any] = {"kind": "kafka", "security": security}
        given |= {"bootstrap": self.address(listener), "request_ms": 8_000, "rebalance_ms": 5_000}
        if user and security.startswith("sasl"):
            file = self.folder / f"{user}.password"
            file.write_text(password_of(user) + "\n")
            given |= {"user": user, "password_file": str(file)}
        if security.endswith("ssl"):
            given["ca_file"] = str(self.authority.file)
        if user and security == "ssl":
            given |= {
                "cert_file": str(self.folder / f"{user}.crt"),
                "key_file": str(self.folder / f"{user}.key"),
            }
        return msgspec.convert(given | {"linger_ms": 0} | settings, KafkaSpec)

    @contextlib.asynccontextmanager
    async def admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        """The tests' own way in."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.plain)
        await admin.start()
        try:
            yield admin
        finally:
            await admin.close()

    async def set_passwords(self, passwords: Mapping[str, str]) -> None:
        """Have users for SCRAM."""
        async with self.admin() as admin:
            for mechanism in SCRAM:
                request = _ScramRequest(mechanism, passwords)
                answer = await admin._client.send(admin._client.get_random_node(), request)
                assert all(code == 0 for _, code, *_ in answer.results), answer

    async def allow(self, acls: Sequence[Acl]) -> None:
        """Add rights; they hold when this returns, for there is one node."""
        async with self.admin() as admin:
            for each in acls:
                request = CreateAclsRequest(
                    RESOURCES[each.resource_type], each.resource, LITERAL, each.principal, "*",
                    OPERATIONS[each.operation], ALLOW,
                )  # fmt: skip
                answer = await admin._client.send(admin._client.cluster.controller.nodeId, request)
                assert all(code == 0 for code, _ in answer.creation_responses), answer

    async def disallow(self, acls: Sequence[Acl]) -> None:
        """Take rights away."""
        async with self.admin() as admin:
            for each in acls:
                request = DeleteAclsRequest(
                    RESOURCES[each.resource_type], each.resource, LITERAL, each.principal, "*",
                    OPERATIONS[each.operation], ALLOW,
                )  # fmt: skip
                answer = await admin._client.send(admin._client.cluster.controller.nodeId, request)
                assert all(code == 0 for code, *_ in answer.filter_responses), answer


def run(work: Coroutine[Any, Any, Any], loop: Callable[[], Any] = uvloop.new_event_loop) -> Any:
    """Run a scene to its end, bounded.

    A TLS connection of the client says goodbye for up to 30 s after `stop`, where the broker does
    not answer that. A loop that ends meanwhile warns of it, and uvloop's never ends if the warning
    is an error.
    """

    async def bounded() -> Any:
        async with asyncio.timeout(60):
            return await work

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        with asyncio.Runner(loop_factory=loop) as runner:
            value = runner.run(bounded())
        gc.collect()
    return value


def adjusted(settings: Mapping[str, str], ports: Mapping[str, int], folder: Path) -> dict[str, str]:
    """The settings of a broker with all LISTENERS beside its plain one, and an authorizer."""
    more = [f"{name}://{HOST}:{ports[name]}" for name, _, _ in LISTENERS]
    told = [f"{name}://{host}:{ports[name]}" for name, _, host in LISTENERS]
    kinds = [f"{name}:{kind}" for name, kind, _ in LISTENERS]
    users = " ".join(f'user_{each}="{password_of(each)}"' for each in USERS)
    changed = {
        **settings,
        "listeners": ",".join([settings["listeners"], *more]),
        "advertised.listeners": ",".join([settings["advertised.listeners"], *told]),
        "listener.security.protocol.map": ",".join(
            [settings["listener.security.protocol.map"], *kinds]
        ),
        "inter.broker.listener.name": "PLAINTEXT",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
        "allow.everyone.if.no.acl.found": "false",
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
        "connection.failed.authentication.delay.ms": "10",
    }
    for name, kind, _ in LISTENERS:
        key = f"listener.name.{name.lower()}"
        if "SASL" in kind:
            changed[f"{key}.plain.sasl.jaas.config"] = (
                f"{JAAS}.plain.PlainLoginModule required {users};"
            )
            for mechanism in SCRAM:
                changed[f"{key}.{mechanism.lower()}.sasl.jaas.config"] = (
                    f"{JAAS}.scram.ScramLoginModule required;"
                )
        if "SSL" in kind:
            whose = "expired" if name == "EXPIRED" else "broker"
            changed[f"{key}.ssl.keystore.type"] = "PEM"
            changed[f"{key}.ssl.keystore.location"] = str(folder / f"{whose}.both.pem")
            changed[f"{key}.ssl.truststore.type"] = "PEM"
            changed[f"{key}.ssl.truststore.location"] = str(folder / "authority.pem")
    changed["listener.name.moved.sasl.enabled.mechanisms"] = "SCRAM-SHA-512"
    changed["listener.name.mtls.ssl.client.auth"] = "required"
    changed["listener.name.mtls.ssl.principal.mapping.rules"] = "RULE:^CN=([^,]+).*$/$1/,DEFAULT"
    return changed


@contextlib.contextmanager
def running_kafka(folder: Path) -> Iterator[SecureKafka]:
    """A broker of the test's own."""
    certificates = folder / "certificates"
    certificates.mkdir()
    authority = Authority(certificates, "authority")
    authority.sign("broker", HOST)
    authority.sign("expired", HOST, days=-1)
    authority.sign("sealed", passphrase=PASSPHRASE)
    Authority(certificates, "stranger").sign("from-elsewhere")
    for user in USERS:
        authority.sign(user)
    ports = {name: free_port() for name, _, _ in LISTENERS}
    with LocalServers(
        folder / "servers", adjust=lambda settings: adjusted(settings, ports, certificates)
    ) as servers:
        yield SecureKafka(servers.addresses.kafka, ports, authority)


@pytest.fixture(scope="session")
def secure_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    """The session's broker that asks who comes; its users have passwords for every mechanism."""
    with running_kafka(tmp_path_factory.mktemp("secure")) as kafka:
        asyncio.run(kafka.set_passwords({user: password_of(user) for user in USERS}))
        yield kafka
