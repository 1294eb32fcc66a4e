"""Where the API server is: the pod's files, or a kubeconfig; and that rotated files are noticed."""

from __future__ import annotations

import base64
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


def test_inline_certificates_become_private_files(tmp_path: Path) -> None:
    data = base64.b64encode(b"pem").decode()
    found = access.from_kubeconfig(
        kubeconfig(tmp_path, user={"client-certificate-data": data, "client-key-data": data})
    )
    assert found.server == "https://127.0.0.1:6443"
    assert found.client_certificate is not None
    assert found.client_certificate.key.read_bytes() == b"pem"
    assert found.client_certificate.key.stat().st_mode & 0o077 == 0


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
