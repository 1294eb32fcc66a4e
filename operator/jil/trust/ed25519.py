"""Ed25519 where the libraries leave something open: which points are keys, and the pre-hashed scheme.

- RFC 8032 lets verifiers accept keys of small order and y coordinates above p. With such a key one signature holds for
  many messages, so they are refused when a key is read. OpenSSL (behind `cryptography`) accepts them; it does refuse
  an S of L or more in a signature.
- cosign signs with imported Ed25519 keys by Ed25519ph (RFC 8032 5.1), which `cryptography` has not. Verifying handles
  public values only, so plain integers do, without regard for timing. Signing is never done here.
"""

from __future__ import annotations

import hashlib

P = 2**255 - 19
#: Order of the base point.
L = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, P - 2, P) % P
_SQRT_M1 = pow(2, (P - 1) // 4, P)

#: Extended coordinates (X, Y, Z, T) with x = X/Z, y = Y/Z, x*y = T/Z.
Point = tuple[int, int, int, int]
_NEUTRAL: Point = (0, 1, 1, 0)
#: RFC 8032 part 2, dom2(1, ""): what tells Ed25519ph from Ed25519.
_PREHASHED = b"SigEd25519 no Ed25519 collisions" + bytes([1, 0])


def is_sound_key(encoded: bytes) -> bool:
    """Whether 32 bytes are the one encoding of a point of order L: no other can be the key of an honest signer."""
    point = _decode(encoded)
    return point is not None and not _same(point, _NEUTRAL) and _same(_times(L, point), _NEUTRAL)


def verify_prehashed(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether ``signature`` is that of ``message`` by Ed25519ph with an empty context. Costs some milliseconds."""
    return _verify(public, hashlib.sha512(message).digest(), signature, _PREHASHED)


def verify_pure(public: bytes, message: bytes, signature: bytes) -> bool:
    """As `verify_prehashed` by pure Ed25519: the proof, in tests, that the arithmetic here is that of the library."""
    return _verify(public, message, signature, b"")


def _verify(public: bytes, message: bytes, signature: bytes, domain: bytes) -> bool:
    point = _decode(public)
    if point is None or len(signature) != 64:
        return False
    s = int.from_bytes(signature[32:], "little")
    if s >= L:
        return False
    k = int.from_bytes(hashlib.sha512(domain + signature[:32] + public + message).digest(), "little") % L
    # Without cofactor, comparing encodings: R has one spelling too.
    minus_a = (P - point[0], point[1], point[2], P - point[3])
    return _encode(_add(_times(s, _BASE), _times(k, minus_a))) == signature[:32]


def _decode(encoded: bytes) -> Point | None:
    if len(encoded) != 32:
        return None
    y = int.from_bytes(encoded, "little")
    sign, y = y >> 255, y & (2**255 - 1)
    if y >= P:
        return None
    u, v = (y * y - 1) % P, (_D * y * y + 1) % P
    x = u * pow(v, 3, P) * pow(u * pow(v, 7, P), (P - 5) // 8, P) % P
    if v * x * x % P == P - u:
        x = x * _SQRT_M1 % P
    if v * x * x % P != u or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = P - x
    return (x, y, 1, x * y % P)


def _encode(point: Point) -> bytes:
    inverse = pow(point[2], P - 2, P)
    x, y = point[0] * inverse % P, point[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def _add(a: Point, b: Point) -> Point:
    e = (a[1] - a[0]) * (b[1] - b[0]) % P
    f = (a[1] + a[0]) * (b[1] + b[0]) % P
    c, d = 2 * a[3] * b[3] * _D % P, 2 * a[2] * b[2] % P
    e, f, g, h = f - e, d - c, d + c, f + e
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def _times(scalar: int, point: Point) -> Point:
    result = _NEUTRAL
    while scalar:
        if scalar & 1:
            result = _add(result, point)
        point = _add(point, point)
        scalar >>= 1
    return result


def _same(a: Point, b: Point) -> bool:
    return (a[0] * b[2] - b[0] * a[2]) % P == 0 and (a[1] * b[2] - b[1] * a[2]) % P == 0


_base = _decode((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))
assert _base is not None  # noqa: S101 - a constant of the curve
_BASE: Point = _base
