"""Objects that carry images, in every place where one can stand."""

from __future__ import annotations

import copy
import subprocess
from collections.abc import Callable
from typing import Any

from testbed.apiclient import ApiClient, ApiError
from testbed.controlplane import ControlPlane

Manifest = dict[str, Any]

SPACE, REQUIRED, OPEN = "jil-ch-finma", "jil-sg-mas", "jil-de-bafin"
LISTS = "/apis/jil.io/v1alpha1/jilimageallowlists"
ALLOWED, FOREIGN, BROKEN = (f"sha256:{letter * 64}" for letter in ("a", "f", "b"))


def image(digest: str) -> str:
    """An image of the release's registry with that digest."""
    return f"registry.example.com:5000/jil/node@{digest}"


def allow_list(namespace: str, namespace_uid: str, spec: Manifest) -> Manifest:
    """A list as the operator writes it."""
    owner = {"apiVersion": "v1", "kind": "Namespace", "name": namespace, "uid": namespace_uid}
    labels = {"app.kubernetes.io/managed-by": "jil-operator"}
    return {
        "apiVersion": "jil.io/v1alpha1",
        "kind": "JILImageAllowList",
        "metadata": {"name": namespace, "labels": labels, "ownerReferences": [owner]},
        "spec": spec,
    }


def container(name: str, reference: str) -> Manifest:
    """A container that Pod Security ``restricted`` admits."""
    return {
        "name": name,
        "image": reference,
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }


def pod_spec(reference: str) -> Manifest:
    """One container, and no token of a ServiceAccount."""
    return {
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container("main", reference)],
    }


def pod(name: str, reference: str) -> Manifest:
    """A pod with one container."""
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": pod_spec(reference)}


def pod_with(name: str, place: str, reference: str) -> Manifest:
    """A pod whose main container is allowed and which has ``reference`` in ``place``."""
    made = pod(name, image(ALLOWED))
    spec = made["spec"]
    if place == "container":
        spec["containers"][0]["image"] = reference
    elif place == "second container":
        spec["containers"].append(container("second", reference))
    elif place == "init container":
        spec["initContainers"] = [container("init", reference)]
    elif place == "sidecar":
        spec["initContainers"] = [{**container("sidecar", reference), "restartPolicy": "Always"}]
    elif place == "image volume":
        spec["volumes"] = [{"name": "v", "image": {"reference": reference, "pullPolicy": "IfNotPresent"}}]
    else:
        raise ValueError(f"no place {place!r} for an image")
    return made


PLACES = ("container", "second container", "init container", "sidecar", "image volume")

_PATHS = {
    "Pod": "/api/v1/namespaces/{}/pods",
    "PodTemplate": "/api/v1/namespaces/{}/podtemplates",
    "ReplicationController": "/api/v1/namespaces/{}/replicationcontrollers",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "StatefulSet": "/apis/apps/v1/namespaces/{}/statefulsets",
    "DaemonSet": "/apis/apps/v1/namespaces/{}/daemonsets",
    "ReplicaSet": "/apis/apps/v1/namespaces/{}/replicasets",
    "Job": "/apis/batch/v1/namespaces/{}/jobs",
    "CronJob": "/apis/batch/v1/namespaces/{}/cronjobs",
}
WORKLOADS = tuple(kind for kind in _PATHS if kind != "Pod")


def path(kind: str, namespace: str) -> str:
    """Collection of a kind."""
    return _PATHS[kind].format(namespace)


def workload(kind: str, name: str, reference: str) -> Manifest:
    """An object that makes pods of one container; scaled to none where it can be."""
    labels = {"app": name}
    template: Manifest = {"metadata": {"labels": labels}, "spec": pod_spec(reference)}
    selector = {"matchLabels": labels}
    job: Manifest = {"suspend": True, "template": copy.deepcopy(template)}
    job["template"]["spec"]["restartPolicy"] = "Never"
    specs: dict[str, Manifest] = {
        "ReplicationController": {"replicas": 0, "selector": labels, "template": template},
        "Deployment": {"replicas": 0, "selector": selector, "template": template},
        "StatefulSet": {"replicas": 0, "selector": selector, "serviceName": name, "template": template},
        "DaemonSet": {"selector": selector, "template": template},
        "ReplicaSet": {"replicas": 0, "selector": selector, "template": template},
        "Job": job,
        "CronJob": {"schedule": "0 0 1 1 *", "suspend": True, "jobTemplate": {"spec": job}},
    }
    group = {"Job": "batch/v1", "CronJob": "batch/v1", "PodTemplate": "v1", "ReplicationController": "v1"}
    made: Manifest = {"apiVersion": group.get(kind, "apps/v1"), "kind": kind, "metadata": {"name": name}}
    return made | ({"template": template} if kind == "PodTemplate" else {"spec": specs[kind]})


def admitted(admin: ApiClient, namespace: str, manifest: Manifest) -> bool:
    """Whether a pod would be let in; asked by dry run. Raises ApiError when it is refused by anything but the policy."""
    try:
        admin.create(f"{path('Pod', namespace)}?dryRun=All", manifest)
    except ApiError as error:
        if "ValidatingAdmissionPolicy 'jil-images'" not in str(error):
            raise
        return False
    return True


def probe(admin: ApiClient, namespace: str) -> Callable[[], bool]:
    """Whether a foreign pod is refused there yet, by its list or for want of one; asked by dry run.

    For a moment the API server refuses everything, because it has not read the lists yet: that is not meant.
    """

    def refused() -> bool:
        try:
            admin.create(f"{path('Pod', namespace)}?dryRun=All", pod("probe", image(FOREIGN)))
        except ApiError as error:
            by_policy = "ValidatingAdmissionPolicy 'jil-images'" in str(error)
            return by_policy and (error.code == 403 or "no params found" in str(error))
        return False

    return refused


def run(cluster: ControlPlane, *arguments: str, stdin: str | None = None) -> tuple[int, str]:
    """kubectl as cluster admin: exit code, and everything that it said."""
    command = [str(cluster.kubectl), "--kubeconfig", str(cluster.kubeconfig), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, input=stdin, check=False)
    return done.returncode, done.stdout + done.stderr
