"""Who we are on a connection, and whom we trust there: secrets, certificates, their faults.

Both doors to the outside (Kafka, Redis) read their secrets here and nowhere else: from a file that
the settings name, or from the environment, at the moment a client is made, so a rotated secret is
taken up by the next connection. A secret is returned to the door and kept in no Spec. Certificates
are always checked, host names too; there is no setting that turns it off. What TLS has against a
peer is told as what to do about it, since it never passes by being tried again.
"""

from __future__ import annotations

import contextlib
import os
import ssl
from pathlib import Path
from typing import Final, NamedTuple

from stream.errors import ConfigError

SECRET_BYTES_MAX: Final = 1_023  # OpenSSL takes no longer passphrase
CAUSES_MAX: Final = 16
FLIGHTS: Final = 3

_EXPIRED, _NOT_YET_VALID, _OTHER_NAME, _OTHER_ADDRESS = 10, 9, 62, 64
_OF_SERVER: Final = {
    _EXPIRED: "renew the server's certificate, and look at this machine's clock",
    _NOT_YET_VALID: "look at this machine's clock, and at the server's certificate",
    _OTHER_NAME: "reach it by a name that its certificate has, or give it one with this name",
    _OTHER_ADDRESS: "reach it by a name that its certificate has, or give it one with this address",
}
# What a server's alert, by which it ends the connection, says of our side.
_ALERTS: Final = (
    ("CERTIFICATE_REQUIRED", "it wants a client certificate", "set cert_file and key_file"),
    ("CERTIFICATE_EXPIRED", "our certificate has expired", "renew what cert_file names"),
    ("CERTIFICATE_REVOKED", "our certificate is revoked", "replace what cert_file names"),
    (
        "UNKNOWN_CA",
        "it does not know the authority of our certificate",
        "cert_file must hold our certificate, and those between it and an authority it knows",
    ),
    (
        "CERTIFICATE",
        "it does not accept our certificate",
        "set cert_file and key_file, signed by an authority that the server knows",
    ),
    (
        "HANDSHAKE_FAILURE",
        "it does not agree to TLS with us",
        "see its log: it may want a client certificate (cert_file, key_file), or other ciphers",
    ),
    ("PROTOCOL_VERSION", "it speaks no TLS that we speak", "let it speak TLS 1.2 or newer"),
)
# TLS spoken to who does not speak it.
_NO_TLS: Final = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG")


class TlsFiles(NamedTuple):
    """Files of PEM text: whom we trust (empty: what this machine trusts), and who we are."""

    ca_file: str
    cert_file: str
    key_file: str


class Distrust(NamedTuple):
    """What one side has against the other, and what to do about it."""

    reason: str
    hint: str


class _Leaving(ssl.SSLObject):
    """One side of a TLS connection that says goodbye, and does not wait for the other's.

    A broker that is busy with our last request hears it late or never, and asyncio waits 30 s for
    the answer: every stop would. Nothing that we read ends by the connection's end, so no cut can
    pass for an end. Source: RFC 8446, section 6.1.
    """

    def unwrap(self) -> None:
        """Have our goodbye written."""
        with contextlib.suppress(ssl.SSLError):
            super().unwrap()


def read_secret(file: str, variable: str) -> str:
    """Return a secret: from the file if one is named, else from the environment, else empty.

    The end of the file's line is no part of it. Errors: ConfigError, which never shows a secret.
    """
    place, secret = variable, os.environ.get(variable, "")
    if file:
        place = file
        try:
            with Path(file).open("rb") as source:
                secret = source.read(SECRET_BYTES_MAX + 2).decode().rstrip("\r\n")
        except OSError as error:
            raise ConfigError(
                f"{file}: {error.strerror or error}",
                hint="it must hold a secret, and this process must be able to read it",
            ) from error
        except UnicodeDecodeError:
            # Not `from` it: the decoder's error holds the bytes.
            raise ConfigError(f"{file}: not UTF-8", hint="it must hold a secret as text") from None
        if not secret:
            raise ConfigError(f"{file}: it is empty", hint="it must hold a secret in one line")
    is_one_line = secret.isprintable() and len(secret.encode()) <= SECRET_BYTES_MAX
    if not is_one_line:
        raise ConfigError(
            f"{place}: a secret is one line of at most {SECRET_BYTES_MAX} bytes",
            hint="look for line ends and control characters in it",
        )
    return secret


def tls_context(files: TlsFiles, passphrase: str) -> ssl.SSLContext:
    """Return a client's context that checks certificates and host names, all files read.

    `passphrase` opens the key file if that is encrypted.
    Errors: ConfigError names the file and what is wrong with it.
    """
    for name, file in files._asdict().items():
        _check_readable(name, file)
    try:
        context = ssl.create_default_context(cafile=files.ca_file or None)
    except ssl.SSLError as error:
        raise ConfigError(
            f"ca_file {files.ca_file}: it holds no certificate ({error.reason})",
            hint="it must hold certificates of authorities as PEM text",
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslobject_class = _Leaving
    if files.key_file and not files.cert_file:
        raise ConfigError(
            f"key_file {files.key_file}: there is no cert_file", hint="set both, or neither"
        )
    if files.cert_file:
        _load_ours(context, files, passphrase)
        _check_dates(files, passphrase)
    return context


def _check_readable(name: str, file: str) -> None:
    if not file:
        return
    try:
        with Path(file).open("rb") as source:
            source.read(1)
    except OSError as error:
        raise ConfigError(
            f"{name} {file}: {error.strerror or error}",
            hint="name a file of PEM text that this process can read",
        ) from error


def _load_ours(context: ssl.SSLContext, files: TlsFiles, passphrase: str) -> None:
    """Load our certificate and its key. Errors: ConfigError."""
    is_encrypted = False

    def tell() -> str:
        # Asked only for an encrypted key. Without this OpenSSL would ask at the terminal.
        nonlocal is_encrypted
        is_encrypted = True
        return passphrase

    try:
        context.load_cert_chain(files.cert_file, files.key_file or None, password=tell)
    except ssl.SSLError as error:
        where = f"key_file {files.key_file}" if files.key_file else f"cert_file {files.cert_file}"
        if is_encrypted:
            wrong = "the passphrase is wrong" if passphrase else "there is no passphrase for it"
            raise ConfigError(
                f"{where}: the key is encrypted, and {wrong}",
                hint="give its passphrase by the environment or a file, see the settings",
            ) from None
        raise ConfigError(
            f"cert_file {files.cert_file} and {where} are no certificate with its key"
            f" ({error.reason})",
            hint="both are PEM text; the key must belong to the certificate",
        ) from error


def _check_dates(files: TlsFiles, passphrase: str) -> None:
    """Refuse our certificate outside of its time.

    Many servers say only that they do not accept it. So it is shown to ourselves, in memory: a
    handshake between two sides of ours of which one trusts it as it is.
    Errors: ConfigError.
    """
    serving, trusting = (
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER),
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
    )
    _load_ours(serving, files, passphrase)
    trusting.check_hostname = False
    trusting.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    trusting.load_verify_locations(files.cert_file)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = trusting.wrap_bio(back, there), serving.wrap_bio(there, back, server_side=True)
    try:
        for side in sides * FLIGHTS:
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    except ssl.SSLCertVerificationError as error:
        if error.verify_code in (_EXPIRED, _NOT_YET_VALID):
            raise ConfigError(
                f"cert_file {files.cert_file}: {error.verify_message}",
                hint="renew our certificate, and look at this machine's clock",
            ) from error
    except ssl.SSLError:
        # What else may be said of it is for the server to say.
        return


def distrust(error: BaseException) -> Distrust | None:
    """Return what TLS has against the peer, or it against us; None when the error is another one.

    Clients wrap what ssl raised, so the chain of causes is searched.
    """
    cause: BaseException | None = error
    for _ in range(CAUSES_MAX):
        if cause is None:
            return None
        if isinstance(cause, ssl.SSLCertVerificationError):
            hint = _OF_SERVER.get(cause.verify_code, "")
            return Distrust(
                f"its certificate is not accepted ({cause.verify_message.rstrip('.')})",
                hint or "ca_file must hold the authority that signed the server's certificate",
            )
        if isinstance(cause, ssl.SSLError):
            # One that Python code raises, and not OpenSSL, has no reason.
            found = _told_by(getattr(cause, "reason", None) or "")
            if found is not None:
                return found
        cause = cause.__cause__ or cause.__context__
    return None


def _told_by(reason: str) -> Distrust | None:
    if "ALERT" in reason:
        for word, said, hint in _ALERTS:
            if word in reason:
                return Distrust(f"{said} ({reason})", hint)
    if reason in _NO_TLS:
        return Distrust(f"it does not speak TLS there ({reason})", "is it the right port?")
    return None
