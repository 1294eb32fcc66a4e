"""The end of the demo: what nobody signed does not run. Shown on the live cluster, beside the running node.

A copy of one of its images, with one label more, lies in the registry beside the signed one. It is refused where it is
put under the running node, and a second node whose release names it comes to nothing. A demo in which it is let in fails.
"""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from testbed import quickstart
from testbed.errors import BedError
from testbed.quickstart import FIRST, SECOND, SYSTEM, Target, keys_of

_PREFIX = f"{quickstart.NETWORK}-altered-"
MARK = "jil-demo"
"""Label of a namespace that was made here and may be deleted here."""
_PATIENCE_S = 60.0


def show(target: Target, images: Mapping[str, str]) -> str:
    """What was tried and how it was refused, for people. Raises BedError when anything was let in."""
    trust = keys_of(target)
    altered = trust.altered(images["cache"])
    told = [
        "Beside the signed cache lies a copy of it with one label more, which nobody signed:",
        f"  {altered}",
        "",
        _under_the_running_node(target, altered),
        "",
    ]
    with ThreadPoolExecutor(1) as pool:
        chain = pool.submit(trust.inspect, altered)
        if _in_use(target):
            told.append(f"({SECOND.namespace} is in use, so that no second node is made to show more.)")
        else:
            try:
                told.append(_second_node(target, images, altered))
            finally:
                clear(target)
        told += ["", f"$ {_command(target, altered)}", chain.result()]
    return "\n".join(told)


def _command(target: Target, image: str) -> str:
    """As a person can type it: on kind in a shell with `make env`, elsewhere with everything that it needs."""
    if target.context is None:
        return f"jilctl image inspect {image}"
    trust = keys_of(target)
    words = [*(f"{name}={value}" for name, value in trust.registry.items()), str(trust.program)]
    if trust.registry:
        words = ["env", *words]
    words += ["image", "inspect", image, "--network", quickstart.NETWORK, "--context", target.context]
    return shlex.join(words)


def _under_the_running_node(target: Target, altered: str) -> str:
    """The API server refuses it, whoever asks. A dry run goes through all of admission and changes nothing."""
    what = ("set", "image", f"deployment/{FIRST.name}-rates", f"rates={altered}", "-n", FIRST.namespace)
    words = (*what, "--dry-run=server")
    try:
        target.kubectl(*words)
    except BedError as problem:
        said = str(problem).partition(":\n")[2].strip()
        if "may not run in namespace" not in said:
            raise
        return f"$ kubectl {' '.join(words)}\n{said}"
    raise BedError(f"{altered} was signed by nobody and let in under the running node: image trust does not work")


def _second_node(target: Target, images: Mapping[str, str], altered: str) -> str:
    """A node that wants a release which is signed in order and names the altered image."""
    release = f"{_PREFIX}{altered.rpartition(':')[2][:8]}"
    quickstart.install_jurisdiction(target, SECOND, quickstart.NETWORK, "--set", f"namespace.labels.{MARK}=refusal")
    target.kubectl("apply", "-f", "-", stdin=manifests(target, {**images, "cache": altered}, release))
    finding = _refusal(target)
    found = target.kubectl("get", "statefulsets,deployments,pods", "-n", SECOND.namespace, "-o", "name").split()
    if found:
        raise BedError(f"{SECOND.name} is refused ({finding['message']}) and runs nevertheless: {', '.join(found)}")
    if altered not in finding["message"]:
        raise BedError(
            f"{SECOND.name} is refused for another image than the one that nobody signed: {finding['message']}"
        )
    return (
        f"A second node, {SECOND.name}, whose release names it: ImageTrust={finding['status']} ({finding['reason']})\n"
        f"  {finding['message']}\n"
        f"  pods and workloads in {SECOND.namespace}: none"
    )


def manifests(target: Target, images: Mapping[str, str], release: str) -> str:
    """The samples of the second node and of the release, under another name."""
    values = {**quickstart.marks(target, images), "RELEASE": release.removeprefix(f"{quickstart.NETWORK}-")}
    draft = quickstart.rendered(quickstart.MANIFESTS / FIRST.folder / "20-release.yaml.in", values)
    folder = quickstart.MANIFESTS / SECOND.folder
    jurisdiction = quickstart.rendered(folder / "30-jurisdiction.yaml.in", values)
    return "\n---\n".join([keys_of(target).sealed_release(draft), jurisdiction, (folder / "40-node.yaml").read_text()])


def _refusal(target: Target) -> dict[str, Any]:
    """The node's condition ImageTrust, once it is False."""
    began = time.monotonic()
    found: dict[str, Any] = {}
    while time.monotonic() - began < _PATIENCE_S:
        conditions: Any = quickstart.status_of(target, SECOND).get("conditions") or []
        found = next((c for c in conditions if c["type"] == "ImageTrust"), {})
        if found.get("status") == "False":
            return found
        time.sleep(0.2)
    raise BedError(
        f"{SECOND.name}, whose release names an image that nobody signed, was not refused within {_PATIENCE_S:.0f} s; "
        f"it says {json.dumps(found)}"
    )


def _in_use(target: Target) -> bool:
    """Whether somebody else has the second member's namespace; one of an earlier run that still goes is waited for."""
    wait_gone(target)
    found = _namespace(target)
    return bool(found) and not _ours(found)


def wait_gone(target: Target) -> None:
    """Until the second member's namespace is there no more, if it is on its way."""
    if _namespace(target).get("status", {}).get("phase") == "Terminating":
        target.kubectl("wait", "--for=delete", f"namespace/{SECOND.namespace}", "--timeout=60s", timeout_s=70)


def _namespace(target: Target) -> dict[str, Any]:
    text = target.kubectl("get", "namespace", SECOND.namespace, "--ignore-not-found", "-o", "json").strip()
    found: dict[str, Any] = json.loads(text) if text else {}
    return found


def _ours(namespace: Mapping[str, Any]) -> bool:
    return (namespace["metadata"].get("labels") or {}).get(MARK) == "refusal"


def clear(target: Target) -> None:
    """Take the second node away again, and the release; the namespace goes by itself in its own time.

    Nothing is done where somebody else made that namespace.
    """
    if not (found := _namespace(target)) or not _ours(found):
        return
    # With all that is in it: a node that was never let start has nothing that waits for a grant.
    namespace = ("namespace", SECOND.namespace)
    target.kubectl("annotate", *namespace, f"jil.io/confirm-delete={SECOND.namespace}", "--overwrite")
    target.helm("uninstall", SECOND.jurisdiction, "--namespace", SYSTEM, "--ignore-not-found")
    target.kubectl("delete", *namespace, "--wait=false")
    for name in target.kubectl("get", "jilrelease", "-o", "jsonpath={.items[*].metadata.name}").split():
        if name.startswith(_PREFIX):
            target.kubectl("delete", "jilrelease", name, "--wait=false")
    _until_unseen(target)


def _until_unseen(target: Target) -> None:
    """Until the node is out of `kubectl get jn -A`, at most 20 s: a table of what runs is printed next."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        where = ("-n", SECOND.namespace, "--ignore-not-found", "-o", "name")
        if not target.kubectl("get", "jilnode", SECOND.name, *where).strip():
            return
        time.sleep(0.3)
