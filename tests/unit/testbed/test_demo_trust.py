"""The demo's keys and signatures: what it says of a tree without a commit, and that a refusal that fails is a failure."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from testbed import cluster, demo_refusal, demo_trust, paths, quickstart
from testbed.demo_state import DemoState
from testbed.demo_trust import NO_COMMIT, Trust
from testbed.errors import BedError
from testbed.quickstart import Target

ALTERED = f"registry.example/jil/cache@sha256:{'a' * 64}"


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree of its own, in place of the checkout; no git knows of it."""
    monkeypatch.setattr(paths, "CHECKOUT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    return tmp_path


def git(folder: Path, *words: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.com")
    done = subprocess.run(["git", "-C", folder, *identity, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_tree_without_git_has_no_commit_and_it_is_said(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commit, builder = demo_trust._origin()
    assert commit == NO_COMMIT
    assert builder.endswith("?vcs=none")
    assert "git knows no commit of this tree" in capsys.readouterr().err


def test_a_tree_with_changes_is_called_modified_and_it_is_said(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    git(checkout, "init", "-q")
    (checkout / "a").write_text("1")
    git(checkout, "add", "a")
    git(checkout, "commit", "-q", "-m", "one")
    head = git(checkout, "rev-parse", "HEAD")
    assert demo_trust._origin() == (head, "https://jil.io/demo/make-demo")
    assert capsys.readouterr().err == ""
    (checkout / "a").write_text("2")
    assert demo_trust._origin() == (head, "https://jil.io/demo/make-demo?modified=true")
    assert "changes that are not committed" in capsys.readouterr().err


def test_the_commit_of_a_checkout_around_the_tree_is_not_its_own(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(checkout, "init", "-q")
    git(checkout, "commit", "-q", "--allow-empty", "-m", "somebody else's")
    (checkout / "unpacked").mkdir()
    monkeypatch.setattr(paths, "CHECKOUT", checkout / "unpacked")
    assert demo_trust._origin()[0] == NO_COMMIT


def test_a_mark_that_stands_alone_indents_what_takes_its_place(tmp_path: Path) -> None:
    sample = tmp_path / "x.yaml.in"
    sample.write_text("key: |\n    @key@\nname: @node@-@node@\n")
    assert quickstart.rendered(sample, {"key": "one\ntwo\n", "node": "n"}) == "key: |\n    one\n    two\nname: n-n\n"
    with pytest.raises(BedError, match="not filled in: @key@"):
        quickstart.rendered(sample, {"node": "n"})


@pytest.mark.usefixtures("cache")
def test_keys_go_with_their_cluster_or_their_demo() -> None:
    ours, theirs = cluster.Cluster("one"), DemoState("theirs", None)
    for folder in (ours.trust, theirs.trust):
        folder.mkdir(parents=True)
    assert ours.trust != cluster.Cluster("two").trust
    assert theirs.trust != DemoState("others", None).trust
    cluster._forget(ours)
    theirs.forget()
    assert not ours.trust.exists()
    assert not theirs.trust.exists()


def answering(monkeypatch: pytest.MonkeyPatch, answer: Callable[..., str]) -> Target:
    """A target whose kubectl is ``answer``."""
    monkeypatch.setattr(Target, "kubectl", lambda _, *words, **__: answer(*words))
    return Target(None, trust=Trust(Path("/none")))


def test_a_demo_in_which_a_foreign_image_is_let_in_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    target = answering(monkeypatch, lambda *_: "deployment.apps/ch-zug-01-rates image updated (server dry run)")
    with pytest.raises(BedError, match="let in under the running node: image trust does not work"):
        demo_refusal._under_the_running_node(target, ALTERED)


def test_only_the_policys_own_words_are_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(words: str) -> Callable[..., str]:
        def answer(*_: str) -> str:
            raise BedError(f"'kubectl set image' failed with status 1:\nerror: {words}")

        return answer

    with pytest.raises(BedError, match="connection refused"):
        demo_refusal._under_the_running_node(answering(monkeypatch, refuse("connection refused")), ALTERED)
    said = refuse(f'image "{ALTERED}" may not run in namespace jil-ch-finma')
    assert "error: image" in demo_refusal._under_the_running_node(answering(monkeypatch, said), ALTERED)


@pytest.mark.parametrize(
    ("message", "workloads", "complaint"),
    [
        (f"image {ALTERED}: no signature", "deployment.apps/sg-mas-01-rates", "runs nevertheless"),
        ("image registry.example/jil/node: no signature", "", "another image than the one"),
    ],
)
def test_a_second_node_that_runs_or_is_refused_for_something_else_fails_the_demo(
    monkeypatch: pytest.MonkeyPatch, message: str, workloads: str, complaint: str
) -> None:
    condition = {"type": "ImageTrust", "status": "False", "reason": "ImageRefused", "message": message}

    def answer(*words: str) -> str:
        return json.dumps({"status": {"conditions": [condition]}}) if "jilnode" in words else workloads

    monkeypatch.setattr(quickstart, "install_jurisdiction", lambda *_: None)
    monkeypatch.setattr(demo_refusal, "manifests", lambda *_: "")
    with pytest.raises(BedError, match=complaint):
        demo_refusal._second_node(answering(monkeypatch, answer), {}, ALTERED)


def test_a_namespace_that_somebody_else_made_is_not_cleared(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []

    def answer(*words: str) -> str:
        asked.append(words)
        return json.dumps({"metadata": {"labels": {"jil.io/network": "quickstart"}}})

    demo_refusal.clear(answering(monkeypatch, answer))
    assert [words[0] for words in asked] == ["get"]
