"""Pull secrets and who may see what they hold."""

from __future__ import annotations

import base64
import json

import pytest

from jil.observe.registry import Access, ClientCertificate, Credential, Credentials


def config(**auths: dict[str, str]) -> str:
    return json.dumps({"auths": auths})


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_user_and_password_come_from_either_form_of_an_entry() -> None:
    document = json.dumps(
        {
            "auths": {
                "one.example": {"auth": b64("user:pass:word")},
                "two.example": {"username": "user", "password": "other"},
                "three.example": {"identitytoken": "refresh"},
                "empty.example": {},
            },
            "credHelpers": {"four.example": "helper"},
        }
    )
    found = Credentials.from_docker_config(document)
    assert found.find("one.example", "x") == Credential("user", "pass:word")
    assert found.find("two.example", "x") == Credential("user", "other")
    assert found.find("three.example", "x") == Credential(identity_token="refresh")
    assert found.find("empty.example", "x") is None
    assert found.find("four.example", "x") is None


@pytest.mark.parametrize("key", ["https://index.docker.io/v1/", "docker.io", "index.docker.io", "registry-1.docker.io"])
def test_docker_hub_is_found_under_each_of_its_names(key: str) -> None:
    found = Credentials({key: Credential("user", "x")})
    assert found.find("registry-1.docker.io", "library/redis")


def test_the_longest_path_wins_and_a_path_ends_at_a_slash() -> None:
    found = Credentials(
        {
            "https://r.example/v2/": Credential("all"),
            "r.example/team": Credential("team"),
            "r.example/team/app": Credential("app"),
        }
    )
    users = [getattr(found.find("r.example", path), "user", None) for path in ("x", "team/x", "team/app", "teamx/app")]
    assert users == ["all", "team", "app", "all"]
    assert found.find("r.example:5000", "x") is None
    assert found.find("evil-r.example", "x") is None


def test_the_first_of_two_secrets_counts() -> None:
    first, second = config(**{"r.example": {"auth": b64("a:1")}}), config(**{"r.example": {"auth": b64("b:2")}})
    found = Credentials.from_docker_config(first, second).find("r.example", "x")
    assert found
    assert found.user == "a"


@pytest.mark.parametrize(
    "document",
    [
        "",
        "[]",
        '{"auths": []}',
        '{"auths": {"r.example": "hunter2"}}',
        '{"auths": {"r.example": {"auth": "hunter2!"}}}',
        '{"auths": {"r.example": {"password": ["hunter2"]}}}',
        '{"auths": {"r.example": {"auth": "hunter2=="}',
        "[" * 100_000,
    ],
)
def test_a_malformed_secret_is_an_error_that_does_not_tell_what_it_holds(document: str) -> None:
    with pytest.raises(ValueError, match="a pull secret is malformed") as caught:
        Credentials.from_docker_config(document)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_nothing_secret_is_in_a_repr() -> None:
    credential = Credential("user", "hunter2", "hunter3", "hunter4")
    certificate = ClientCertificate(b"certificate", b"hunter5", frozenset())
    assert "hunter" not in repr(credential) + repr(
        Access(Credentials({"r.example": credential}), certificate=certificate)
    )


@pytest.mark.parametrize(
    ("registry", "token_host", "may"),
    [
        ("r.example", "r.example", True),
        ("registry-1.docker.io", "auth.docker.io", True),
        ("registry.gitlab.com", "gitlab.com", True),
        ("r.example", "allowed.example:8443", True),
        ("r.example", "allowed.example", False),
        ("r.example", "auth.r.example", False),
        ("r.example", "r.example:8443", False),
        ("r.example", "auth.docker.io", False),
        ("r.example", "r.example.evil.example", False),
    ],
)
def test_credentials_are_shown_to_the_registry_and_to_the_token_hosts_that_were_named(
    registry: str, token_host: str, may: bool
) -> None:
    access = Access(token_hosts=frozenset({"allowed.example:8443"}))
    assert access.may_see_credentials(registry, token_host) is may


def test_an_endpoint_stands_in_for_the_name_in_images() -> None:
    access = Access(endpoints={"r.example:5000": "http://127.0.0.1:1234/"})
    assert access.base_url("r.example:5000") == "http://127.0.0.1:1234"
    assert access.base_url("other.example") == "https://other.example"
