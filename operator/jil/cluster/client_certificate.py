"""The client certificate of a kubeconfig: inside it, or in files that it names."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path

from jil.tls import load_client_certificate


@dataclass(frozen=True)
class ClientCertificate:
    """PEM of a client certificate and of its key: the content itself, or the file that holds it."""

    certificate: bytes | Path
    key: bytes | Path = field(repr=False)

    def load_into(self, context: ssl.SSLContext) -> None:
        """Files are read now. Raises OSError when one cannot be read, ssl.SSLError when the two are no pair."""
        load_client_certificate(context, _read(self.certificate), _read(self.key))


def _read(part: bytes | Path) -> bytes:
    return part if isinstance(part, bytes) else part.read_bytes()
