"""Secrets and certificates as files: read when needed, checked before use, never shown."""

import ssl
import traceback
from pathlib import Path

import pytest

from stream.errors import ConfigError
from stream.transport import TlsFiles, distrust, read_secret, tls_context
from tests.certificates import Authority

SECRET = "s3cret, with spaces = and ü"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = Authority(tmp_path_factory.mktemp("certificates"), "authority")
    made.sign("good")
    made.sign("other")
    made.sign("late", days=-1)
    made.sign("sealed", passphrase="open s3same")
    return made


def files(authority: Authority, ca: str = "", cert: str = "", key: str = "") -> TlsFiles:
    """Files of the folder by name, empty where there is none."""
    return TlsFiles(*(str(authority.folder / each) if each else "" for each in (ca, cert, key)))


def test_secret_comes_from_the_file_else_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file wins, its line end is no part of it, and nothing anywhere is an empty secret."""
    file = tmp_path / "secret"
    file.write_text(SECRET + "\r\n")
    monkeypatch.setenv("MY_SECRET", "from the environment")
    assert read_secret(str(file), "MY_SECRET") == SECRET
    assert read_secret("", "MY_SECRET") == "from the environment"
    assert read_secret("", "MY_OTHER_SECRET") == ""


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "No such file"),
        (b"", "it is empty"),
        (b"\n", "it is empty"),
        (b"s3cret\ns3cret", "one line"),
        (b"s3cret\0", "one line"),
        (b"s3cret\xff", "not UTF-8"),
        (b"s3" * 600, "one line"),
    ],
)
def test_wrong_secret_is_told_without_it(tmp_path: Path, content: bytes | None, told: str) -> None:
    """A file that cannot hold a secret is a ConfigError that names it and shows nothing of it."""
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=told) as caught:
        read_secret(str(file), "MY_SECRET")
    assert str(file) in str(caught.value)
    assert "s3" not in "".join(traceback.format_exception(caught.value)).replace(str(file), "")


def test_secret_that_may_not_be_read_is_told(tmp_path: Path) -> None:
    """A folder in the place of a file is a ConfigError, too."""
    with pytest.raises(ConfigError, match="Is a directory"):
        read_secret(str(tmp_path), "MY_SECRET")


def test_context_checks_names_and_trusts_ca_file_only(authority: Authority) -> None:
    """Certificates and names are always checked, TLS before 1.2 is not spoken."""
    context = tls_context(files(authority, "authority.pem", "good.crt", "good.key"), "")
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert len(context.get_ca_certs()) == 1


def test_encrypted_key_opens_with_its_passphrase(authority: Authority) -> None:
    """A key under a passphrase is opened, and nobody is asked at the terminal."""
    tls_context(files(authority, "", "sealed.crt", "sealed.key"), "open s3same")


WRONG = (
    ({"ca": "nowhere.pem"}, "", "ca_file .*nowhere.pem: No such file"),
    ({"ca": "good.key"}, "", "ca_file .*good.key: it holds no certificate"),
    ({"cert": "nowhere.crt", "key": "good.key"}, "", "cert_file .*nowhere.crt: No such file"),
    ({"cert": "good.crt", "key": "nowhere.key"}, "", "key_file .*nowhere.key: No such file"),
    ({"cert": "good.crt", "key": "other.key"}, "", "no certificate with its key"),
    ({"cert": "good.crt"}, "", "no certificate with its key"),
    ({"cert": "good.key", "key": "good.key"}, "", "no certificate with its key"),
    ({"key": "good.key"}, "", "there is no cert_file"),
    ({"cert": "sealed.crt", "key": "sealed.key"}, "", "encrypted, and there is no passphrase"),
    ({"cert": "sealed.crt", "key": "sealed.key"}, "wr0ng", "encrypted, and the passphrase is wr"),
    ({"cert": "late.crt", "key": "late.key"}, "", "certificate has expired.*renew our certificate"),
)


@pytest.mark.parametrize(("named", "passphrase", "told"), WRONG)
def test_wrong_files_are_told(
    authority: Authority, named: dict[str, str], passphrase: str, told: str
) -> None:
    """What is missing, of another kind, not a pair, locked or out of date is told by its file."""
    with pytest.raises(ConfigError, match=told) as caught:
        tls_context(files(authority, **named), passphrase)
    assert "wr0ng" not in "".join(traceback.format_exception(caught.value))


def test_what_passes_by_itself_is_no_distrust() -> None:
    """A connection cut in the middle of TLS may be tried again; so may what is no TLS error."""
    cut = ssl.SSLEOFError(8, "EOF occurred in violation of protocol")
    assert distrust(cut) is None
    assert distrust(ConnectionResetError()) is None
    loop = ValueError()
    loop.__context__ = other = KeyError()
    other.__context__ = loop
    assert distrust(loop) is None
