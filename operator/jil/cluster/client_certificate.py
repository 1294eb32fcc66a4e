"""A client certificate with its key, given to OpenSSL without a file that another process could find by its name."""

from __future__ import annotations

import os
import ssl
import tempfile
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class ClientCertificate:
    """PEM of a client certificate and of its key: the content itself, or the file that holds it."""

    certificate: bytes | Path
    key: bytes | Path = field(repr=False)

    def load_into(self, context: ssl.SSLContext) -> None:
        """Files are read now. Raises OSError when one cannot be read, ssl.SSLError when the two are no pair."""
        # Python hands OpenSSL certificates and keys by file name only, and chain and key may stand in one file.
        content = _read(self.certificate).rstrip() + b"\n" + _read(self.key)
        if hasattr(os, "memfd_create"):
            # It has no name in any folder and ends with its descriptor, however this process ends.
            descriptor = os.memfd_create("client-certificate")
            try:
                os.write(descriptor, content)
                context.load_cert_chain(f"/proc/self/fd/{descriptor}")
            finally:
                os.close(descriptor)
            return
        # Elsewhere than on Linux: a process that is killed right here leaves a file that only its user may read.
        with tempfile.NamedTemporaryFile(prefix="jil-access-") as file:
            file.write(content)
            file.flush()
            context.load_cert_chain(file.name)


def _read(part: bytes | Path) -> bytes:
    return part if isinstance(part, bytes) else part.read_bytes()
