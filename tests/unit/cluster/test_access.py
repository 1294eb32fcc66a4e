"""Where the API server is: the pod's files, or a kubeconfig; and that rotated files are noticed."""

from __future__ import annotations

import base64
import os
import ssl
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from jil.cluster import access
from jil.cluster.access import Access, AccessError, Credentials


def kubeconfig(path: Path, *, user: dict[str, Any], cluster: dict[str, Any] | None = None) -> Path:
    content = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "k", "cluster": cluster or {"server": "https://127.0.0.1:6443/"}}],
        "users": [{"name": "u", "user": user}],
    }
    file = path / "config"
    file.write_text(yaml.safe_dump(content))
    return file


def authority(name: str) -> str:
    """A self-signed CA as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(begin).not_valid_after(begin + timedelta(days=9000))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def test_a_pod_reaches_the_server_by_its_service_account(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t")
    (tmp_path / "ca.crt").write_text("pem")
    found = access.in_cluster({"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}, tmp_path)
    assert found.server == "https://[fd00::1]:6443"
    assert Credentials(found).token() == "t"


def test_a_pod_without_token_is_told_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(AccessError, match="automountServiceAccountToken"):
        access.in_cluster({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, tmp_path)


def test_no_configuration_at_all_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(AccessError, match="JIL_KUBECONFIG"):
        access.find()


def pem_pair() -> tuple[bytes, bytes]:
    """A self-signed client certificate and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "admin")])
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(2).not_valid_before(begin).not_valid_after(begin + timedelta(days=9000))
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    plain = serialization.NoEncryption()
    return certificate, key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def inline_login(path: Path, certificate: bytes, key: bytes) -> Access:
    user = {
        "client-certificate-data": base64.b64encode(certificate).decode(),
        "client-key-data": base64.b64encode(key).decode(),
    }
    return access.from_kubeconfig(kubeconfig(path, user=user))


@pytest.mark.parametrize("nameless_files", [True, False], ids=["Linux", "elsewhere"])
def test_an_inline_key_is_used_and_lies_in_no_file(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch, nameless_files: bool
) -> None:
    if not nameless_files:
        monkeypatch.delattr(os, "memfd_create")
    loaded: list[bytes] = []
    load = ssl.SSLContext.load_cert_chain

    def note(context: ssl.SSLContext, certfile: str) -> None:
        loaded.append(Path(certfile).read_bytes())
        load(context, certfile)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", note)
    certificate, key = pem_pair()
    credentials = Credentials(inline_login(tmp_path, certificate, key))
    assert isinstance(credentials.ssl_context(), ssl.SSLContext)
    assert len(loaded) == 1
    assert loaded[0].startswith(certificate.strip())
    assert loaded[0].endswith(key)
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("nameless_files", [True, False], ids=["Linux", "elsewhere"])
def test_a_key_that_cannot_be_loaded_leaves_no_file_either(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch, nameless_files: bool
) -> None:
    if not nameless_files:
        monkeypatch.delattr(os, "memfd_create")
    credentials = Credentials(inline_login(tmp_path, pem_pair()[0], pem_pair()[1]))
    with pytest.raises(AccessError, match=r"TLS for https://127\.0\.0\.1:6443 cannot be set up"):
        credentials.ssl_context()
    assert list(temporary.iterdir()) == []


def test_what_is_told_of_an_access_shows_no_key_and_no_token(tmp_path: Path) -> None:
    told = repr(inline_login(tmp_path, b"certificate", b"hunter5")) + repr(Access("https://x", token="hunter6"))
    assert "hunter" not in told
    assert "127.0.0.1" in told


def test_a_client_certificate_in_files_is_read_anew_for_every_context(tmp_path: Path) -> None:
    (certificate, key), authority_file = pem_pair(), tmp_path / "ca.crt"
    (tmp_path / "client.crt").write_bytes(certificate)
    (tmp_path / "client.key").write_bytes(key)
    authority_file.write_text(authority("first"))
    user = {"client-certificate": "client.crt", "client-key": "client.key"}
    server = {"server": "https://x", "certificate-authority": "ca.crt"}
    credentials = Credentials(access.from_kubeconfig(kubeconfig(tmp_path, user=user, cluster=server)))
    before = credentials.ssl_context()
    (tmp_path / "client.key").write_bytes(pem_pair()[1])
    authority_file.write_text(authority("the second"))
    with pytest.raises(AccessError, match="cannot be set up"):
        credentials.ssl_context(fresh=True)
    (tmp_path / "client.key").write_bytes(key)
    assert credentials.ssl_context(fresh=True) is not before


def test_paths_are_relative_to_the_kubeconfig(tmp_path: Path) -> None:
    (tmp_path / "tok").write_text("x")
    found = access.from_kubeconfig(kubeconfig(tmp_path, user={"tokenFile": "tok"}))
    assert Credentials(found).token() == "x"


@pytest.mark.parametrize(
    ("user", "told"),
    [
        ({"exec": {"command": "x"}}, "kubectl create token"),
        ({"client-key-data": "eA=="}, "needs its key"),
    ],
)
def test_a_login_that_cannot_work_is_explained(tmp_path: Path, user: dict[str, Any], told: str) -> None:
    with pytest.raises(AccessError, match=told):
        access.from_kubeconfig(kubeconfig(tmp_path, user=user))


def test_missing_files_and_entries_are_named(tmp_path: Path) -> None:
    with pytest.raises(AccessError, match="cannot be read"):
        access.from_kubeconfig(tmp_path / "absent")
    with pytest.raises(AccessError, match="no entry 'other' under contexts"):
        access.from_kubeconfig(kubeconfig(tmp_path, user={}), "other")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"{: [", "is not YAML"),
        (b"\xff\xfe\x00\x01", "is not YAML"),
        (b"- a list\n", "has not the shape of one"),
        (b"a word", "has not the shape of one"),
        (b"contexts: [c]\ncurrent-context: c\n", "has not the shape of one"),
    ],
)
def test_a_kubeconfig_that_is_none_is_told_as_such(tmp_path: Path, content: bytes, told: str) -> None:
    file = tmp_path / "config"
    file.write_bytes(content)
    with pytest.raises(AccessError, match=told):
        access.from_kubeconfig(file)


def test_a_ca_that_is_no_base64_and_a_server_that_is_no_url_are_told(tmp_path: Path) -> None:
    wrong = {"server": "https://x", "certificate-authority-data": "not base64!"}
    with pytest.raises(AccessError, match="has not the shape of one"):
        access.from_kubeconfig(kubeconfig(tmp_path, user={}, cluster=wrong))
    with pytest.raises(AccessError, match=r"server '127\.0\.0\.1:6443' is not a URL"):
        access.from_kubeconfig(kubeconfig(tmp_path, user={}, cluster={"server": "127.0.0.1:6443"}))


def test_a_token_is_read_again_when_asked_for_fresh_and_survives_a_missing_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("one")
    credentials = Credentials(Access("http://x", token_file=file))
    assert credentials.token() == "one"
    file.write_text("two")
    assert credentials.token() == "one"
    assert credentials.token(fresh=True) == "two"
    file.unlink()
    assert credentials.token(fresh=True) == "two"


def test_a_replaced_ca_file_makes_a_new_context(tmp_path: Path) -> None:
    file = tmp_path / "ca.crt"
    file.write_text(authority("first"))
    credentials = Credentials(Access("https://x", ca_file=file))
    before = credentials.ssl_context()
    assert credentials.ssl_context(fresh=True) is before
    file.write_text(authority("the second"))
    assert credentials.ssl_context(fresh=True) is not before


def test_a_ca_that_is_none_is_explained(tmp_path: Path) -> None:
    file = tmp_path / "ca.crt"
    file.write_text("nonsense")
    with pytest.raises(AccessError, match="TLS for https://x cannot be set up"):
        Credentials(Access("https://x", ca_file=file)).ssl_context()


def test_plain_http_needs_no_tls() -> None:
    assert Credentials(Access("http://x")).ssl_context() is False
