"""What a build pipeline does in the demo, good and bad: `python -m testbed.demo_pipeline`, a process of its own.

Alone in the test bed it uses the project's own packages, which are in the virtual environment: jilctl signs what a
builder vouches for, and never makes the builder's statement itself. Keys' password: JIL_KEY_PASSWORD; registries:
JIL_REGISTRY_*, as for jilctl.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import yaml

from jil.api.release import ReleaseSpec
from jil.api.trust import Track
from jil.cli.exits import Stop
from jil.cli.keystore import pem
from jil.cli.registries import Wishes, access
from jil.observe.registry import Reference, RegistryClient, RegistryError, RegistryPush, media
from jil.trust.sign import EcdsaSigner, sign_provenance, sign_release
from testbed.demo_trust import statement_file

LABEL = "io.jil.demo.altered"
"""What an altered copy has more than the image that it is a copy of."""


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the process's exit status."""
    parser = argparse.ArgumentParser(prog="python -m testbed.demo_pipeline", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("provenance", help="a builder's statement about each IMAGE, into a file each")
    for name in ("--key", "--source", "--commit", "--builder", "--into"):
        build.add_argument(name, required=True)
    build.add_argument("images", nargs="+", metavar="IMAGE")
    alter = commands.add_parser("alter", help="push a copy of IMAGE that has one label more, and print its name")
    alter.add_argument("image", metavar="IMAGE")
    seal = commands.add_parser("seal", help="sign a JILRelease (YAML, standard input) whatever its images are")
    seal.add_argument("--key", required=True)
    options = parser.parse_args(arguments)
    try:
        match options.command:
            case "provenance":
                provenance(options)
            case "alter":
                print(asyncio.run(altered(options.image)))
            case "seal":
                print(sealed(signer(options.key), sys.stdin.read()))
    except (Stop, RegistryError) as problem:
        print(f"demo_pipeline: {problem}", file=sys.stderr)
        return 1
    return 0


def signer(path: str) -> EcdsaSigner:
    """The ECDSA key in a file; its id is the file's name. Raises Stop when it cannot be opened."""
    file = Path(path)
    key = pem.load(file.read_bytes(), path, lambda: os.environ.get("JIL_KEY_PASSWORD", "").encode())
    return EcdsaSigner(file.stem, key.private)  # type: ignore[arg-type]  # the demo makes no others


def provenance(options: argparse.Namespace) -> None:
    """One DSSE envelope with SLSA v1 provenance per image, in the file that `statement_file` names."""
    now = datetime.now(UTC)
    for image in options.images:
        repository, _, digest = image.partition("@")
        content = sign_provenance(
            signer(options.key),
            repository=repository,
            digest=digest,
            source=options.source,
            commit=options.commit,
            builder=options.builder,
            finished=now,
        )
        (Path(options.into) / statement_file(image)).write_bytes(content)


async def altered(image: str) -> str:
    """A copy of ``repository@digest`` whose configuration has one label more: the same layers under another digest."""
    environment = os.environ.get
    ca = environment("JIL_REGISTRY_CA")
    wishes = Wishes(config=environment("JIL_REGISTRY_CONFIG"), ca=(ca,) if ca else ())
    async with RegistryClient(access(wishes, (image,))) as client:
        push, found = RegistryPush(client), await client.manifest(image)
        stated = media.descriptor(found.body["config"], image)
        config = json.loads(await client.blob(image, stated))
        settings = config.setdefault("config", {})
        settings["Labels"] = {**(settings.get("Labels") or {}), LABEL: "yes"}
        blob = await push.blob(image, json.dumps(config).encode(), stated.media_type)
        body = {**found.body, "config": {**found.body["config"], "digest": blob.digest, "size": blob.size}}
        content = json.dumps(body).encode()
        copy = Reference.parse(image).at(media.digest_of(content))
        await push.manifest(copy, content, found.media_type)
        return copy


def sealed(key: EcdsaSigner, text: str) -> str:
    """The JILRelease with a signature: jilctl would look at its images first and refuse, a thief of the key would not."""
    body = yaml.safe_load(text)
    spec = ReleaseSpec.model_validate(body["spec"])
    name = body["metadata"]["name"]
    envelope = sign_release(key, name=name, spec=spec, track=Track.DEVNET, now=datetime.now(UTC))
    body["spec"]["envelopes"] = [envelope.decode()]
    return yaml.safe_dump(body, sort_keys=False)


if __name__ == "__main__":
    sys.exit(main())
