"""How Kopf is set up: nothing of what it would do with objects beyond handing them over."""

from __future__ import annotations

from typing import Any

import kopf

from jil.api.kinds import POD
from jil.engine.watch import WatchSpec, _settings


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
