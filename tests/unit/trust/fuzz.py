"""Fuzz target of every parser that reads strangers' bytes: it answers or raises Fault, quickly, and nothing else.

    python -m tests.unit.trust.fuzz --seconds 60      (make fuzz)

Good bytes of every format are mutated (bits, bytes, pieces of other inputs, JSON tokens). Found inputs belong into the
unit tests. The unit tests run a small sample.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from jil.api.trust import Track
from jil.trust.evidence import Evidence, SimpleSignature
from jil.trust.faults import Fault
from jil.trust.formats import bundle, canonical, dsse, in_toto, statement, strict_json
from jil.trust.formats.release_manifest import digest_of
from jil.trust.keys import KeyFault, parse_public_key
from jil.trust.policy import Algorithm
from jil.trust.sign import cosign_bundle, cosign_simple
from jil.trust.verdict import Refused, Verified
from tests.unit.trust.scenario import DIGEST, INDEX_TYPE, MANIFEST, RELEASER, REPOSITORY, Scenario, approved, signed

SLOW_SECONDS = 5.0
TOKENS = (b'"', b"{", b"}", b"[", b"]", b":", b",", b"\\", b"\\u0000", b"\\ud800", b"1e999", b"NaN", b"null", b"-0",
          b"=", b"==", b"\xff", b"\x00", b"sha256:", b"\xe2\x80\x8b", b'"a":1,"a":1')  # fmt: skip


def corpus() -> list[bytes]:
    """Good bytes of every format."""
    simple = cosign_simple(RELEASER, repository=REPOSITORY, digest=DIGEST, annotations={"jil.io/track": "testnet"})
    made = cosign_bundle(RELEASER, digest=DIGEST, annotations={"jil.io/track": "testnet"}, spki=RELEASER.spki)
    vectors = json.loads((Path(__file__).with_name("vectors") / "cosign.json").read_text())
    theirs = vectors["theirs"]
    real = [*theirs["bundle"].values(), *theirs["provenance"].values(), *vectors["keys"].values()]
    payloads = [dsse.parse(signed()).payload, dsse.parse(approved()).payload]
    return [signed(), approved(), *payloads, simple.payload, made, MANIFEST, *(text.encode() for text in real)]


def mutations(*, seed: int, count: int) -> Iterator[bytes]:
    """``count`` mutations of good bytes; the same for the same seed."""
    chance = random.Random(seed)
    good = corpus()
    for _ in range(count):
        data = bytearray(chance.choice(good))
        for _ in range(chance.randint(1, 4)):
            at, end = chance.randrange(len(data) + 1), chance.randrange(len(data) + 1)
            match chance.randrange(6):
                case 0 if data:
                    data[at % len(data)] ^= 1 << chance.randrange(8)
                case 1:
                    data[at:at] = chance.choice(TOKENS)
                case 2:
                    del data[min(at, end) : max(at, end)]
                case 3:
                    other = chance.choice(good)
                    data[at:at] = other[: chance.randrange(len(other))]
                case 4:
                    data[at:end] = data[end : end + 40] * chance.randint(1, 50)
                case _:
                    data[at : at + 1] = chance.choice(TOKENS) * chance.randint(1, 60)
        yield bytes(data)


def run_all(data: bytes) -> None:
    """Every parser on ``data``; raises what none of them may raise."""
    text = data.decode("utf-8", "replace")
    parsers: tuple[Callable[[], object], ...] = (
        lambda: strict_json.parse(data, what="it", limit=2**20),
        lambda: canonical.decode_object(data, what="it", limit=2**20),
        lambda: dsse.parse(data),
        lambda: bundle.parse(data),
        lambda: in_toto.parse(data),
        *(lambda kind=kind: statement.parse(kind, data) for kind in statement.Kind),
        *(lambda algorithm=algorithm: parse_public_key(text, algorithm) for algorithm in Algorithm),
    )
    for parser in parsers:
        try:
            parser()
        except (Fault, KeyFault):
            continue
    evidence = Evidence(
        REPOSITORY, digest_of(data), INDEX_TYPE, data, {}, (data,), (SimpleSignature(data, text),), (data,)
    )
    for media_type in (INDEX_TYPE, INDEX_TYPE.replace("index", "manifest")):
        verdict = Scenario(track=Track.MAINNET, evidence=replace(evidence, media_type=media_type)).decide()
        if not isinstance(verdict, Refused):
            raise AssertionError(f"admitted: {verdict}")
    with_it = Scenario(envelopes=(data, signed(), approved())).decide()
    if not isinstance(with_it, Verified):
        raise AssertionError(f"rubbish spoils what is good: {with_it}")


def main() -> None:
    """Runs for the given time; prints the input that broke something, in hex, and ends with 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    end, tried, seed = time.monotonic() + arguments.seconds, 0, arguments.seed
    while time.monotonic() < end:
        for data in mutations(seed=seed, count=200):
            began = time.monotonic()
            try:
                run_all(data)
            except BaseException:
                print(f"seed {seed}, input {data.hex()}")
                raise
            if time.monotonic() - began > SLOW_SECONDS:
                raise SystemExit(f"seed {seed}: more than {SLOW_SECONDS} s for input {data.hex()}")
            tried += 1
        seed += 1
    print(f"{tried} inputs, seeds {arguments.seed} to {seed - 1}: every parser answered or refused")


if __name__ == "__main__":
    main()
