"""How Kopf is set up: nothing of what it would do with objects beyond handing them over."""

from __future__ import annotations

import ssl
from typing import Any

import kopf

from jil.api.kinds import POD
from jil.cluster.access import Access, Credentials
from jil.engine.watch import WatchSpec, _Login, _settings


class _Untouched(dict[str, Any]):
    """A body that must not be copied."""

    def __deepcopy__(self, memo: object) -> Any:
        raise AssertionError("the object is copied")


def test_an_object_is_not_copied_for_a_diff_that_nobody_asks_for() -> None:
    storage = _settings([WatchSpec(POD)]).persistence.diffbase_storage
    raw: Any = _Untouched(metadata=_Untouched(name="x"), spec=_Untouched(a=1))
    body = kopf.Body(raw)
    assert storage.build(body=body) == {}
    assert storage.fetch(body=body) is None


def test_kopf_posts_nothing_scans_nothing_and_has_a_finalizer_that_nobody_else_uses() -> None:
    settings = _settings([WatchSpec(POD, "a=b")])
    assert not settings.posting.enabled
    assert settings.scanning.disabled
    assert settings.persistence.finalizer.startswith("jil.io/")
    assert settings.watching.label_selectors[POD.group, POD.version, POD.plural] == "a=b"


def login(token: str, server: str = "https://127.0.0.1:6443") -> _Login:
    return _Login(server=server, token=token, tls=Credentials(Access(server, insecure=True)))


def test_kopf_connects_with_the_tls_of_our_own_client_and_never_sees_a_key() -> None:
    credentials = Credentials(Access("https://127.0.0.1:6443", insecure=True))
    made = _Login(server="https://127.0.0.1:6443", tls=credentials)
    assert made.as_ssl_context() is credentials.ssl_context()
    assert made.certificate_data is None
    assert made.private_key_data is None
    assert isinstance(login("t", "http://127.0.0.1:8080").as_ssl_context(), ssl.SSLContext)


def test_the_same_token_is_the_same_login_so_that_kopf_does_not_try_a_refused_one_for_ever() -> None:
    assert login("one") == login("one")
    assert login("one") != login("another")
