"""Who we are to Kafka, whom we trust there, and what it means when that fails.

aiokafka says of a connection it cannot make only that it could not: why is in its log. So when a
client finds no broker, one connection is made here to learn the reason. A wrong password, an
unknown authority or an expired certificate never pass by waiting, and are `ConfigError`; a broker
that is down is not.

The client also logs whole requests at level DEBUG, and with PLAIN one of them is the password: such
records are dropped, whoever configures the logs.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Annotated, Any, Final, Literal

import aiokafka.errors as vendor
import msgspec
from aiokafka.client import AIOKafkaClient
from aiokafka.conn import create_conn
from aiokafka.protocol.metadata import MetadataRequest

from stream.errors import BusUnavailable, ConfigError, EnforcerError
from stream.transport import TlsFiles, distrust, read_secret, tls_context

Path = Annotated[str, msgspec.Meta(max_length=4_096)]
Variable = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z_][A-Za-z0-9_]{0,127}\Z")]

# The broker does not know us, or not in this way.
NOT_KNOWN: Final = (
    vendor.SaslAuthenticationFailed,
    vendor.AuthenticationFailedError,
    vendor.AuthenticationMethodNotSupported,
    vendor.UnsupportedSaslMechanismError,
    vendor.IllegalSaslStateError,
)
KNOCK_MS: Final = 5_000
KNOCKS_MAX: Final = 16
# What the client raises when a broker's side of SCRAM is not what it must be.
NOT_PROVEN: Final = (ValueError, KeyError)


class KafkaSecurity(msgspec.Struct, frozen=True, kw_only=True):
    """How connections to Kafka are secured; the words are Kafka's own.

    `security`: `ssl` is TLS, by `ca_file` (empty: what this machine trusts); with `cert_file` and
    `key_file` we show a certificate, which is who we are (mTLS). `sasl_plaintext` and `sasl_ssl`:
    `user` with a password by `mechanism`, without and with TLS. Secrets are in no setting: the
    password comes from `password_file`, else from the environment (`password_env`), the passphrase
    of an encrypted key from `passphrase_file`, else from `passphrase_env`.
    """

    security: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] = "plaintext"
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    user: Annotated[str, msgspec.Meta(max_length=255, pattern=r"\A[^\x00-\x1f\x7f]*\Z")] = ""
    password_file: Path = ""
    password_env: Variable = "ENFORCER_KAFKA_PASSWORD"
    ca_file: Path = ""
    cert_file: Path = ""
    key_file: Path = ""
    passphrase_file: Path = ""
    passphrase_env: Variable = "ENFORCER_KAFKA_PASSPHRASE"

    def check_security(self) -> None:
        """Do nothing if the settings fit together. Errors: ValueError."""
        has_sasl, has_tls = self.security.startswith("sasl"), self.security.endswith("ssl")
        if has_sasl and not self.user:
            raise ValueError(f"security {self.security} needs a user")
        if not has_sasl and (self.user or self.password_file):
            raise ValueError(f"security {self.security} has no user or password: say sasl_ssl")
        if not has_tls and (self.ca_file or self.cert_file or self.key_file):
            raise ValueError(f"security {self.security} uses no certificates: say ssl or sasl_ssl")
        if self.key_file and not self.cert_file:
            raise ValueError("key_file needs a cert_file")


def security_options(spec: KafkaSecurity) -> dict[str, Any]:
    """Return what makes the client's connections secure; secrets and files are read now.

    Errors: ConfigError names the file or variable, and shows no secret.
    """
    options: dict[str, Any] = {"security_protocol": spec.security.upper()}
    if spec.security.endswith("ssl"):
        passphrase = read_secret(spec.passphrase_file, spec.passphrase_env)
        files = TlsFiles(spec.ca_file, spec.cert_file, spec.key_file)
        options["ssl_context"] = tls_context(files, passphrase)
    if spec.security.startswith("sasl"):
        password = read_secret(spec.password_file, spec.password_env)
        if not password:
            raise ConfigError(
                f"there is no password for Kafka's user {spec.user}",
                hint=f"name a file in kafka.password_file, or set {spec.password_env}",
            )
        options |= {
            "sasl_mechanism": spec.mechanism,
            "sasl_plain_username": spec.user,
            "sasl_plain_password": password,
        }
        hush()
    return options


class _NoPasswords(logging.Filter):
    """Drops what would show a password: the client's requests and answers of SASL."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether the record may be seen."""
        arguments = record.args if isinstance(record.args, tuple) else ()
        return not any(type(each).__name__.startswith("Sasl") for each in arguments)


_no_passwords = _NoPasswords()


def hush() -> None:
    """Let the client's log show no password, at any level. Twice does no harm."""
    log = logging.getLogger("aiokafka.conn")
    if _no_passwords not in log.filters:
        # First of all filters: what another one writes into the text is no request any more.
        log.filters.insert(0, _no_passwords)


def refusal(error: BaseException, what: str) -> ConfigError | None:
    """Return our error when one side does not take the other for who it is, else None."""
    if isinstance(error, NOT_KNOWN):
        return ConfigError(
            f"{what}: Kafka does not let us in ({type(error).__name__} {error})",
            hint="user, password and mechanism must be those of the broker, and the listener one"
            " that asks for them",
        )
    found = distrust(error)
    if found is not None:
        return ConfigError(f"{what}: {found.reason}", hint=found.hint)
    return None


async def reach(client: AIOKafkaClient, spec: KafkaSecurity, what: str) -> None:
    """Have a connection to some broker that a started client knows.

    A listener may let us in and name others, as advertised addresses, that do not.
    Errors: ConfigError when it is our settings that keep us out.
    """
    if spec.security != "plaintext" and not await client.ready(client.get_random_node()):
        await explain(client, what)


async def explain(client: AIOKafkaClient, what: str) -> None:
    """Find out why no broker could be reached; return when it is not for our settings.

    Errors: ConfigError when a broker and we do not take each other, and no other takes us.
    """
    known = [(broker.host, broker.port) for broker in client.cluster.brokers()]
    places = known or [(host, port) for host, port, _ in client.hosts]
    knocks = (_knock(client, place, what) for place in places[:KNOCKS_MAX])
    found = await asyncio.gather(*knocks)
    refused = [each for each in found if isinstance(each, ConfigError)]
    if refused and None not in found:
        raise refused[0]


async def _knock(client: AIOKafkaClient, place: tuple[str, int], what: str) -> EnforcerError | None:
    """Connect as the client does and ask something; return what is wrong, None if nothing is."""
    what = f"{what} at {place[0]}:{place[1]}"
    try:
        connection = await create_conn(
            *place,
            client_id=client._client_id,
            request_timeout_ms=min(KNOCK_MS, client._request_timeout_ms),
            ssl_context=client._ssl_context,
            security_protocol=client._security_protocol,
            sasl_mechanism=client._sasl_mechanism,
            sasl_plain_username=client._sasl_plain_username,
            sasl_plain_password=client._sasl_plain_password,
        )
        try:
            await connection.send(MetadataRequest([]))
        finally:
            connection.close()
    except (vendor.KafkaError, OSError) as error:
        # OSError includes what ssl raises, and TimeoutError.
        return refusal(error, what) or BusUnavailable(f"{what}: {error}")
    except NOT_PROVEN as error:
        return ConfigError(
            f"{what}: who answers does not prove that it knows the password"
            f" ({type(error).__name__})",
            hint="is it the broker? Use sasl_ssl, so that its certificate tells",
        )
    return None
