"""A local OCI registry: CNCF distribution as a container beside kind's nodes, storage in the cache.

Nodes know it as ``registry.jil.local:5000`` (a containerd hosts.toml with its CA in every node, Docker's DNS resolves the
name), the host pushes to ``127.0.0.1:<port>``; both are the same store, so digests agree. It speaks TLS and wants a
login (registry_access.py): the user's, which pushes, or a node's own, which the operator makes and which only pulls. What
was pushed survives ``down``.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import tempfile
from pathlib import Path

from testbed import archive, binaries, paths, registry_access
from testbed.engine import NETWORK, Engine
from testbed.errors import BedError
from testbed.processes import run, wait_until
from testbed.progress import stage
from testbed.registry_access import NodeLogins, RegistryAccess

_HOST = "registry.jil.local"
NAME = f"{_HOST}:5000"
"""How image references in the cluster begin."""

_CONTAINER = "jil-registry"
_PORT = "5000/tcp"
_HOSTS = f"/etc/containerd/certs.d/{NAME}"
_MOUNTED = "/etc/registry-access"
_LABEL = "io.jil.testbed.registry"
_MANIFESTS = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")


def access() -> RegistryAccess:
    """CA, user and password of the registry."""
    return registry_access.current(_HOST)


def push_address(engine: Engine) -> str:
    """``127.0.0.1:<port>``: where the host pushes. Raises BedError when the registry does not run."""
    for line in engine.docker("port", _CONTAINER, _PORT).split():
        if line.startswith("127.0.0.1:"):
            return line
    raise BedError(f"the container {_CONTAINER} publishes no port; `python3 -m testbed up` repairs it")


def client_environment(engine: Engine) -> dict[str, str]:
    """What a docker client needs to be logged in, under both names of the registry, and nowhere else."""
    return {"DOCKER_CONFIG": str(access().client_folder(push_address(engine), NAME))}


def pull_secret() -> str:
    """Content of a Secret of type kubernetes.io/dockerconfigjson (key ``.dockerconfigjson``) with the user's login: for the
    operator's own pod and for reading signatures. Nodes have logins of their own."""
    return access().docker_config(NAME)


def node_logins() -> NodeLogins:
    """For the chart's ``registries.nodeLogins``."""
    return NodeLogins(NAME, access().issuer_key)


def deny(*nodes: str) -> None:
    """The nodes with these ids pull no more, all others do: what revoking a node is to a registry."""
    access().deny(*nodes)


def running(engine: Engine) -> bool:
    """Whether the registry answers, and lets us in."""
    try:
        return _answers(push_address(engine))
    except BedError:
        return False


def up(engine: Engine) -> None:
    """Start the registry unless it answers. The kind network must exist."""
    program = image(engine)
    if running(engine) and _program(engine) == program:
        return
    storage = paths.cache_root() / "registry"
    storage.mkdir(parents=True, exist_ok=True)
    with stage("starting the registry"):
        _remove_old(engine)
        options = ["--detach", "--name", _CONTAINER, "--network", NETWORK, "--network-alias", _HOST]
        options += ["--label", f"{_LABEL}={_owner()}", "--publish", "127.0.0.1::5000"]
        options += ["--volume", f"{storage}:/var/lib/registry", "--volume", f"{access().folder}:{_MOUNTED}:ro"]
        options += ["--user", f"{os.getuid()}:{os.getgid()}"]
        for name, value in _SETTINGS.items():
            options += ["--env", f"REGISTRY_{name}={value}"]
        engine.docker("run", *options, program)
        address = push_address(engine)
        wait_until(lambda: _answers(address), f"the registry on {address}", 30)


def remove(engine: Engine) -> None:
    """Remove the registry's container if it is one that this test bed started; its storage stays."""
    for found in _containers(engine, "--filter", f"label={_LABEL}={_owner()}"):
        engine.docker("rm", "--force", "--volumes", found)


def _remove_old(engine: Engine) -> None:
    """One that stopped, or that was entered in another way. Raises BedError when somebody else made it."""
    remove(engine)
    for found in _containers(engine):
        if not engine.private:
            raise BedError(
                f"a container named {_CONTAINER} exists that this test bed did not make; remove it "
                f"(docker rm --force {_CONTAINER}), or take the cache down that it belongs to"
            )
        engine.docker("rm", "--force", "--volumes", found)


def _containers(engine: Engine, *filters: str) -> list[str]:
    """Ids of containers with the registry's name, running or not: one or none."""
    return engine.docker("ps", "--all", "--quiet", "--no-trunc", "--filter", f"name=^{_CONTAINER}$", *filters).split()


def _program(engine: Engine) -> str:
    """The image that the registry's container was made from."""
    return engine.docker("inspect", "--format", "{{.Config.Image}}", _CONTAINER).strip()


def _owner() -> str:
    return hashlib.sha256(str(paths.cache_root()).encode()).hexdigest()[:12]


_SETTINGS = {
    "STORAGE_DELETE_ENABLED": "true",
    "HTTP_TLS_CERTIFICATE": f"{_MOUNTED}/tls.crt",
    "HTTP_TLS_KEY": f"{_MOUNTED}/tls.key",
    "AUTH": "jilnode",
    "AUTH_JILNODE_REALM": "jil-testbed",
    "AUTH_JILNODE_HTPASSWD": f"{_MOUNTED}/htpasswd",
    "AUTH_JILNODE_KEYS": f"{_MOUNTED}/issuers.json",
    "AUTH_JILNODE_DENIED": f"{_MOUNTED}/denied",
    "AUTH_JILNODE_AUDIENCE": NAME,
}


def teach(engine: Engine, node: str) -> None:
    """Tell a node's containerd where the registry is and whose certificate it has. Takes effect at the next pull.

    No login: that is for the image pull Secrets of the pods. Idempotent.
    """
    where = f'server = "https://{NAME}"\n[host."https://{NAME}"]\n  capabilities = ["pull", "resolve"]\n'
    where += f'  ca = "{_HOSTS}/ca.crt"\n'
    script = f"mkdir -p {_HOSTS}"
    for name, content in (("ca.crt", access().ca.read_text()), ("hosts.toml", where)):
        script += f" && printf '%s' '{content}' > {_HOSTS}/{name}"
    engine.docker("exec", node, "sh", "-c", script)


def digest(address: str, repository: str, tag: str) -> str | None:
    """Digest of a tag in the registry at ``address``, None when it is not there.

    Raises BedError when the registry does not answer or does not let us in.
    """
    try:
        status, found = _ask(address, "HEAD", f"/v2/{repository}/manifests/{tag}", {"Accept": ", ".join(_MANIFESTS)})
    except OSError as problem:
        raise BedError(f"the registry on {address} does not answer ({problem}); `python3 -m testbed up`") from None
    if status in (401, 403):
        raise BedError(f"the registry on {address} refuses our login; `python3 -m testbed up` makes it anew")
    return found if status == 200 else None


def untag(address: str, repository: str, tag: str) -> None:
    """Take a tag away; nothing where there is none. Raises BedError when the registry does not do it."""
    try:
        status, _ = _ask(address, "DELETE", f"/v2/{repository}/manifests/{tag}", {})
    except OSError as problem:
        raise BedError(f"the registry on {address} does not answer ({problem}); `python3 -m testbed up`") from None
    if status not in (202, 404):
        raise BedError(f"the registry on {address} answers {status} to the deletion of {repository}:{tag}")


def _answers(address: str) -> bool:
    try:
        return _ask(address, "GET", "/v2/", {}, timeout_s=2)[0] == 200
    except (OSError, http.client.HTTPException):
        return False


def _ask(
    address: str, method: str, path: str, headers: dict[str, str], timeout_s: float = 10
) -> tuple[int, str | None]:
    """Status and digest header of an answer, over TLS that is verified, as our user."""
    entry = access()
    host, port = address.rsplit(":", 1)
    connection = http.client.HTTPSConnection(host, int(port), timeout=timeout_s, context=entry.trust())
    try:
        connection.request(method, path, headers={**headers, "Authorization": f"Basic {entry.basic}"})
        response = connection.getresponse()
        return response.status, response.getheader("Docker-Content-Digest")
    finally:
        connection.close()


def image(engine: Engine) -> str:
    """An image that holds nothing but the registry's static binary: there is no registry to pull one from."""
    program = binaries.registry()
    name = f"jil-testbed/registry:{program.parent.name.rpartition('-')[2]}"
    if engine.has(name):
        return name
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
