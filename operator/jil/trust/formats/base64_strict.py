"""Base64 with one spelling per value: padded, no white space, no bits to spare.

Lenient decoders skip what they do not know, so many texts mean one signature; here a text that is not the encoding of
its own value is refused.
"""

from __future__ import annotations

import base64
import binascii

from jil.trust.faults import malformed


def encode(data: bytes) -> str:
    """Standard alphabet, padded (RFC 4648 part 4)."""
    return base64.b64encode(data).decode("ascii")


def decode(text: object, *, what: str, url_safe_too: bool = False) -> bytes:
    """The bytes of ``text``. Raises Fault (Malformed).

    ``url_safe_too``: also the URL-safe alphabet (RFC 4648 part 5), which DSSE leaves to the writer; never a mixture.
    """
    if not isinstance(text, str):
        raise malformed(f"{what} is not a string")
    try:
        raw = text.encode("ascii")
        if url_safe_too and (b"-" in raw or b"_" in raw):
            data = base64.b64decode(raw, altchars=b"-_", validate=True)
            again = base64.urlsafe_b64encode(data)
        else:
            data = base64.b64decode(raw, validate=True)
            again = base64.b64encode(data)
    except (UnicodeEncodeError, binascii.Error):
        raise malformed(f"{what} is not base64") from None
    if again != raw:
        raise malformed(f"{what} is not base64 in its one form: padded, without white space or spare bits")
    return data
