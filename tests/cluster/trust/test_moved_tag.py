"""A tag that somebody moves to other bytes: releases name digests, so it changes nothing, and what it now names is refused.

That a tag moves while a release is made from it is for `jilctl release create` to refuse (tests/cluster/cli).
"""

from __future__ import annotations

import asyncio

from jil.observe.registry import RegistryClient, RegistryPush
from tests.cluster.registry.rig import push_image
from tests.cluster.trust.rig import Image, Rig
from tests.cluster.trust.test_standing import images


def move_tag(rig: Rig, repository: str) -> Image:
    """Other bytes under the same tag, as whoever may push can do it; returns them."""

    async def go() -> Image:
        async with RegistryClient(rig.registry.access) as client:
            tag = f"{repository}:v1"
            before = await client.resolve(tag)
            moved = Image(repository, await push_image(RegistryPush(client), repository))
            assert before != moved.digest == await client.resolve(tag)
            return moved

    return asyncio.run(go())


def test_ac_17_a_moved_tag_takes_nothing_from_who_runs_and_its_new_bytes_are_refused(trusted: Rig) -> None:
    good = trusted.place()
    trusted.until_verified(good)
    moved = move_tag(trusted, good.image.repository)
    # A release that was made after the move names the new bytes.
    bad = trusted.place(image=moved)
    trusted.until_refused(bad)
    assert trusted.reasons(bad.release) == {"Unsigned"}
    assert trusted.workloads(bad.namespace) == []
    trusted.world.until(
        lambda: any(note.startswith("ImageRefused") for note in trusted.events(bad.namespace, bad.node)), "an Event"
    )
    assert {image.partition("@")[2] for image in images(trusted, good)} == {good.image.digest}
    assert moved.digest not in trusted.allow_list(good.namespace)["digests"]
