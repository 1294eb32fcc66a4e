"""Where each kind lives in the Kubernetes API: group, version, plural, scope, and its URL paths."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from jil.api import labels


@dataclass(frozen=True)
class Kind:
    """A descriptor, not a client: it knows paths and nothing else."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool

    @property
    def api_version(self) -> str:
        """``apiVersion`` as written in an object: ``v1`` or ``group/version``."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, *, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """URL path of a collection (no ``name``), an object or a subresource.

        A namespaced collection without a namespace is the one over all namespaces. Raises ValueError for a combination
        that the API server does not have: a silently wrong path would list or delete something else.
        """
        if namespace is not None and not self.namespaced:
            raise ValueError(f"{self.kind} is cluster-scoped: leave out the namespace (got {namespace!r})")
        if name is not None and self.namespaced and namespace is None:
            raise ValueError(f"{self.kind} {name!r} is namespaced: say in which namespace")
        if subresource is not None and name is None:
            raise ValueError(f"subresource {subresource!r} of {self.kind} needs the name of an object")
        if namespace == "" or name == "" or subresource == "":
            raise ValueError(f"empty namespace, name or subresource in a path of {self.kind}: pass None for 'none'")
        parts = ["/apis", self.group, self.version] if self.group else ["/api", self.version]
        if namespace is not None:
            parts += ["namespaces", quote(namespace, safe="")]
        parts.append(self.plural)
        if name is not None:
            parts.append(quote(name, safe=""))
        if subresource is not None:
            parts.append(quote(subresource, safe="/"))
        return "/".join(parts)

    def head(self, name: str, namespace: str | None = None) -> dict[str, object]:
        """``apiVersion``, ``kind`` and ``metadata`` to begin a manifest with."""
        metadata: dict[str, str] = {"name": name}
        if self.namespaced:
            if namespace is None:
                raise ValueError(f"{self.kind} {name!r} is namespaced: say in which namespace")
            metadata["namespace"] = namespace
        elif namespace is not None:
            raise ValueError(f"{self.kind} is cluster-scoped: leave out the namespace (got {namespace!r})")
        return {"apiVersion": self.api_version, "kind": self.kind, "metadata": metadata}


def _jil(plural: str, kind: str, *, namespaced: bool) -> Kind:
    return Kind(labels.GROUP, labels.VERSION, plural, kind, namespaced)


JIL_NETWORK = _jil("jilnetworks", "JILNetwork", namespaced=False)
JIL_RELEASE = _jil("jilreleases", "JILRelease", namespaced=False)
JIL_JURISDICTION = _jil("jiljurisdictions", "JILJurisdiction", namespaced=True)
JIL_NODE = _jil("jilnodes", "JILNode", namespaced=True)
JIL_NODE_RECORD = _jil("jilnoderecords", "JILNodeRecord", namespaced=True)
JIL_OPERATION = _jil("jiloperations", "JILOperation", namespaced=True)
JIL_IMAGE_ALLOW_LIST = _jil("jilimageallowlists", "JILImageAllowList", namespaced=False)

JIL_KINDS: tuple[Kind, ...] = (
    JIL_NETWORK,
    JIL_RELEASE,
    JIL_JURISDICTION,
    JIL_NODE,
    JIL_NODE_RECORD,
    JIL_OPERATION,
    JIL_IMAGE_ALLOW_LIST,
)

SECRET = Kind("", "v1", "secrets", "Secret", True)
CONFIG_MAP = Kind("", "v1", "configmaps", "ConfigMap", True)
SERVICE = Kind("", "v1", "services", "Service", True)
PERSISTENT_VOLUME_CLAIM = Kind("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", True)
PERSISTENT_VOLUME = Kind("", "v1", "persistentvolumes", "PersistentVolume", False)
POD = Kind("", "v1", "pods", "Pod", True)
NODE = Kind("", "v1", "nodes", "Node", False)
NAMESPACE = Kind("", "v1", "namespaces", "Namespace", False)
EVENT = Kind("events.k8s.io", "v1", "events", "Event", True)
LEASE = Kind("coordination.k8s.io", "v1", "leases", "Lease", True)
STATEFUL_SET = Kind("apps", "v1", "statefulsets", "StatefulSet", True)
DEPLOYMENT = Kind("apps", "v1", "deployments", "Deployment", True)
POD_DISRUPTION_BUDGET = Kind("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", True)
NETWORK_POLICY = Kind("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", True)

CORE_KINDS: tuple[Kind, ...] = (
    SECRET,
    CONFIG_MAP,
    SERVICE,
    PERSISTENT_VOLUME_CLAIM,
    PERSISTENT_VOLUME,
    POD,
    NODE,
    NAMESPACE,
    EVENT,
    LEASE,
    STATEFUL_SET,
    DEPLOYMENT,
    POD_DISRUPTION_BUDGET,
    NETWORK_POLICY,
)

_BY_TYPE: dict[tuple[str, str], Kind] = {(kind.api_version, kind.kind): kind for kind in (*JIL_KINDS, *CORE_KINDS)}


def kind_of(manifest: dict[str, object]) -> Kind:
    """Descriptor of a manifest's type. Raises KeyError with the type when the operator does not handle it."""
    api_version, kind = manifest.get("apiVersion"), manifest.get("kind")
    found = _BY_TYPE.get((str(api_version), str(kind)))
    if found is None:
        raise KeyError(f"{api_version} {kind} is not a type that this operator handles (jil.api.kinds lists them)")
    return found
