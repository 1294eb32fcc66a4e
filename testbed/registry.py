"""A local OCI registry: CNCF distribution as a container beside kind's nodes, storage in the cache.

Nodes know it as ``registry.jil.local:5000`` (a containerd hosts.toml in every node, Docker's DNS resolves the name),
the host pushes to ``127.0.0.1:<port>``; both are the same store, so digests agree. What was pushed survives ``down``.
"""

from __future__ import annotations

import http.client
import os
import shutil
import tempfile
from pathlib import Path

from testbed import archive, binaries, paths
from testbed.engine import NETWORK, Engine
from testbed.errors import BedError
from testbed.processes import run, wait_until
from testbed.progress import stage

_HOST = "registry.jil.local"
NAME = f"{_HOST}:5000"
"""How image references in the cluster begin."""

_CONTAINER = "jil-registry"
_PORT = "5000/tcp"
_HOSTS = f"/etc/containerd/certs.d/{NAME}"


def push_address(engine: Engine) -> str:
    """``127.0.0.1:<port>``: where the host pushes. Raises BedError when the registry does not run."""
    for line in engine.docker("port", _CONTAINER, _PORT).split():
        if line.startswith("127.0.0.1:"):
            return line
    raise BedError(f"the container {_CONTAINER} publishes no port; `python3 -m testbed up` repairs it")


def running(engine: Engine) -> bool:
    """Whether the registry answers."""
    try:
        return _answers(push_address(engine))
    except BedError:
        return False


def up(engine: Engine) -> None:
    """Start the registry unless it answers. The kind network must exist."""
    if running(engine):
        return
    image = _image(engine)
    storage = paths.cache_root() / "registry"
    storage.mkdir(parents=True, exist_ok=True)
    with stage("starting the registry"):
        if _present(engine):
            engine.docker("rm", "--force", "--volumes", _CONTAINER)
        options = ["--detach", "--name", _CONTAINER, "--network", NETWORK, "--network-alias", _HOST]
        options += ["--publish", "127.0.0.1::5000", "--volume", f"{storage}:/var/lib/registry"]
        options += ["--user", f"{os.getuid()}:{os.getgid()}", "--env", "REGISTRY_STORAGE_DELETE_ENABLED=true"]
        _record().write_text(engine.docker("run", *options, image).strip())
        address = push_address(engine)
        wait_until(lambda: _answers(address), f"the registry on {address}", 30)


def remove(engine: Engine) -> None:
    """Remove the registry's container if it is the one that this test bed started; its storage stays."""
    found = _present(engine)
    if found and _record().exists() and _record().read_text() == found:
        engine.docker("rm", "--force", "--volumes", found)
    _record().unlink(missing_ok=True)


def _present(engine: Engine) -> str:
    """Id of the registry's container, running or not; "" when there is none."""
    return engine.docker("ps", "--all", "--quiet", "--no-trunc", "--filter", f"name=^{_CONTAINER}$").strip()


def _record() -> Path:
    return paths.state() / "registry.id"


def teach(engine: Engine, node: str) -> None:
    """Tell a node's containerd where the registry is. Idempotent, takes effect at the next pull."""
    text = f'server = "http://{NAME}"\n[host."http://{NAME}"]\n  capabilities = ["pull", "resolve"]\n'
    engine.docker("exec", node, "sh", "-c", f"mkdir -p {_HOSTS} && printf '%s' '{text}' > {_HOSTS}/hosts.toml")


def _answers(address: str) -> bool:
    host, port = address.rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=2)
    try:
        connection.request("GET", "/v2/")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _image(engine: Engine) -> str:
    """An image that holds nothing but the registry's static binary: there is no registry to pull one from."""
    tool = next(entry for entry in binaries.TOOLS if entry.name == "registry")
    name = f"jil-testbed/registry:{tool.key.rsplit('-', 1)[1]}"
    if engine.has(name):
        return name
    program = binaries.tool("registry")
    with tempfile.TemporaryDirectory(dir=paths.cache_root()) as scratch:
        tree = Path(scratch) / "tree"
        for folder in ("etc/registry", "var/lib/registry", "tmp"):
            (tree / folder).mkdir(parents=True)
        shutil.copy2(program, tree / "registry")
        (tree / "etc/registry/config.yml").write_text(_CONFIGURATION)
        run(["tar", "-C", tree, "--owner=0", "--group=0", "-cf", Path(scratch) / "layer.tar", "."])
        entry = {"Entrypoint": ["/registry"], "Cmd": ["serve", "/etc/registry/config.yml"]}
        archive.write(Path(scratch) / "image.tar", [archive.Image([name], [Path(scratch) / "layer.tar"], entry)])
        engine.docker("load", "--quiet", "--input", Path(scratch) / "image.tar")
    return name


_CONFIGURATION = """\
version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage:
  filesystem: {rootdirectory: /var/lib/registry}
  cache: {blobdescriptor: inmemory}
http: {addr: ":5000"}
"""
