"""The cache: names by content, results that appear whole or not at all, one builder at a time."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from testbed import fingerprint, paths
from testbed.errors import BedError
from testbed.locking import exclusive


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv("JIL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    assert paths.cache_root() == cache
    monkeypatch.delenv("JIL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert paths.cache_root() == Path("/somewhere/jil-testbed")


def test_a_trees_hash_follows_content_names_and_executable_bits_only(tmp_path: Path) -> None:
    def tree(name: str) -> Path:
        root = tmp_path / name
        (root / "sub").mkdir(parents=True)
        (root / "sub" / "file").write_text("one")
        (root / "link").symlink_to("sub/file")
        return root

    first, second = tree("first"), tree("second")
    os.utime(second / "sub" / "file", (1, 1))
    (second / "__pycache__").mkdir()
    (second / "__pycache__" / "x.pyc").write_text("noise")
    assert fingerprint.of_tree(first) == fingerprint.of_tree(second)

    seen = {fingerprint.of_tree(second)}
    (second / "sub" / "file").chmod(0o755)
    seen.add(fingerprint.of_tree(second))
    (second / "sub" / "file").write_text("two")
    seen.add(fingerprint.of_tree(second))
    (second / "sub" / "file").rename(second / "sub" / "other")
    seen.add(fingerprint.of_tree(second))
    (second / "link").unlink()
    seen.add(fingerprint.of_tree(second))
    assert len(seen) == 5


def test_texts_with_other_boundaries_have_other_hashes() -> None:
    assert fingerprint.of_text("ab", "c") != fingerprint.of_text("a", "bc")


def test_a_result_appears_only_when_it_is_complete() -> None:
    final = paths.built() / "thing-1"

    def fail_halfway() -> None:
        with paths.FreshFolder(final) as folder:
            (folder / "half").write_text("")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_halfway()
    assert not list(paths.built().iterdir())

    with paths.FreshFolder(final) as folder:
        (folder / "whole").write_text("")
        assert not final.exists()
    assert (final / "whole").exists()


def test_older_results_of_the_same_kind_are_forgotten() -> None:
    for age, name in enumerate(("thing-a", "thing-b", "thing-c", "other-a")):
        folder = paths.built() / name
        folder.mkdir()
        os.utime(folder, (1000 + age, 1000 + age))
    paths.forget_older(paths.built() / "thing-a", keep=1)
    assert sorted(folder.name for folder in paths.built().iterdir()) == ["other-a", "thing-a", "thing-c"]


def test_a_lock_is_waited_for_and_its_holder_is_named() -> None:
    with exclusive("build"):
        errors: list[BaseException] = []

        def second() -> None:
            try:
                with exclusive("build", deadline_s=0.0):
                    pass
            except BedError as problem:
                errors.append(problem)

        thread = threading.Thread(target=second)
        thread.start()
        thread.join(10)
        assert str(os.getpid()) in str(errors[0])
    with exclusive("build", deadline_s=0.0):
        pass
