"""What a cluster is to the demo: how to reach it, its keys, and the images' registry as seen from here and from pods."""

from __future__ import annotations

import http.client
import ipaddress
import json
from pathlib import Path

from testbed import cluster, registry
from testbed.cluster import Cluster
from testbed.demo_state import DemoState
from testbed.demo_trust import Trust
from testbed.engine import Engine
from testbed.errors import BedError
from testbed.quickstart import Target


def on_kind(ours: Cluster) -> Target:
    """A cluster of the test bed, which runs: its registry wants TLS by a CA of its own, and a login."""
    host = cluster.running_engine()
    return Target(
        ours.kubeconfig,
        login=registry.pull_secret(),
        node_logins=registry.node_logins(),
        ca=registry.access().ca.read_text(),
        trust=kind_trust(ours, host),
    )


def kind_trust(ours: Cluster, host: Engine) -> Trust:
    """Keys for a cluster of the test bed; jilctl reaches the registry where the host pushes."""
    address = registry.push_address(host)
    here = {
        "JIL_REGISTRY_CONFIG": f"{registry.client_environment(host)['DOCKER_CONFIG']}/config.json",
        "JIL_REGISTRY_CA": str(registry.access().ca),
        "JIL_REGISTRY_ENDPOINTS": json.dumps({registry.NAME: f"https://{address}"}),
    }

    def forget_attachments(image: str) -> None:
        repository, _, digest = image.removeprefix(f"{registry.NAME}/").partition("@")
        registry.untag(address, repository, digest.replace(":", "-"))

    return Trust(ours.trust, here, forget_attachments)


def on_a_cluster_of_yours(context: str, address: str, endpoint: str | None, login: Path | None) -> Target:
    """A cluster by its context, and the registry at ``address`` (``host[:port][/path]``).

    ``endpoint``: the URL at which pods reach the registry, if not ``https://<host>``. ``login``: a Docker configuration
    with the registry's login, given to the operator and to pods; without it this machine's own is used here and none
    there. Raises BedError when it cannot be read.
    """
    name = address.partition("/")[0]
    here = {}
    if _plain(name):
        here["JIL_REGISTRY_ENDPOINTS"] = json.dumps({name: f"http://{name}"})
    text = ""
    if login:
        here["JIL_REGISTRY_CONFIG"] = str(login.absolute())
        try:
            text = login.read_text()
        except OSError as problem:
            raise BedError(f"the login {login} cannot be read: {problem.strerror}") from None
    return Target(
        None,
        context,
        login=text,
        endpoints={name: endpoint} if endpoint else {},
        trust=Trust(DemoState(context, None).trust, here),
    )


def _plain(name: str) -> bool:
    """Whether it is a registry on loopback that speaks without TLS, as docker does there by itself."""
    host = name.rpartition(":")[0] or name
    try:
        if host != "localhost" and not ipaddress.ip_address(host.strip("[]")).is_loopback:
            return False
    except ValueError:
        return False
    connection = http.client.HTTPConnection(name, timeout=5)
    try:
        connection.request("GET", "/v2/")
        return connection.getresponse().status in (200, 401)
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
