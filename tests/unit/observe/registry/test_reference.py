"""Names of images."""

from __future__ import annotations

import pytest

from jil.observe.registry import Reference

D = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("image", "host", "path", "tag", "digest"),
    [
        ("registry.example.com/jil/app:1.4", "registry.example.com", "jil/app", "1.4", None),
        (f"registry.example.com:5000/app@{D}", "registry.example.com:5000", "app", None, D),
        (f"localhost/app:v1@{D}", "localhost", "app", "v1", D),
        ("[::1]:5000/app:v1", "[::1]:5000", "app", "v1", None),
        ("redis", "docker.io", "library/redis", None, None),
        ("jil/app:v1", "docker.io", "jil/app", "v1", None),
        ("index.docker.io/jil/app", "docker.io", "jil/app", None, None),
    ],
)
def test_a_name_is_taken_apart(image: str, host: str, path: str, tag: str | None, digest: str | None) -> None:
    found = Reference.parse(image)
    assert (found.host, found.path, found.tag, found.digest) == (host, path, tag, digest)
    assert str(found) == image


@pytest.mark.parametrize(
    "image",
    [
        "",
        "registry.example.com/",
        "Registry.example.com/App",
        "registry.example.com/app:",
        "registry.example.com/app:-x",
        "registry.example.com/app@sha256:abc",
        f"registry.example.com/app@{D.upper()}",
        f"registry.example.com/app@{D}@{D}",
        "registry.example.com/../app",
        "registry.example.com/app?x=y",
        "registry.example.com/app#x",
        "user:password@registry.example.com/app",
        "https://registry.example.com/app",
        "registry.example.com/a b",
        "registry.example.com/арр",
        f"registry.example.com/app:v1\n@{D}",
        "registry.example.com/" + "a" * 300,
    ],
)
def test_what_is_no_name_is_refused(image: str) -> None:
    with pytest.raises(ValueError, match="'"):
        Reference.parse(image)


def test_docker_hub_is_asked_under_the_name_of_its_api() -> None:
    assert Reference.parse("redis").api_host == "registry-1.docker.io"
    assert Reference.parse("registry.example.com/app").api_host == "registry.example.com"
