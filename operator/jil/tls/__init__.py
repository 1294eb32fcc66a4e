"""A client certificate with its key, given to OpenSSL without a file that another process could find by its name."""

from __future__ import annotations

import os
import ssl
import tempfile


def load_client_certificate(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """``certificate`` and ``key`` are PEM. Raises ssl.SSLError when the two are no pair."""
    # Python hands OpenSSL certificates and keys by file name only, and chain and key may stand in one file.
    content = certificate.rstrip() + b"\n" + key
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
