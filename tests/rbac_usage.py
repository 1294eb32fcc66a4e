"""What the operator's chart grants, compared with what the operator did according to the API server's audit log.

    usage = compare(rights_of(manifests, account), log_of_the_run, account)
    assert not usage.ungranted and not usage.unused, usage.text()

A right is a role's verb on a resource. One that a whole run never needed is too many, one that was needed and is not in
the chart is missing. ``excused`` names rights that a run may leave alone, each with the reason; an excuse that was not
needed is reported as well, so that the list cannot rot.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

Manifest = Mapping[str, Any]

_CREATED = 201


@dataclass(frozen=True, order=True)
class ServiceAccount:
    namespace: str
    name: str

    @property
    def username(self) -> str:
        """The name that the API server gives it in the audit log."""
        return f"system:serviceaccount:{self.namespace}:{self.name}"


@dataclass(frozen=True, order=True)
class Right:
    """One verb on one resource by one role. ``resource`` has its subresource, e.g. ``jilnodes/status``."""

    role: str
    group: str
    resource: str
    verb: str

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}{'.' + self.group if self.group else ''} (by {self.role})"


@dataclass(frozen=True, order=True)
class Grant:
    """A right where it holds: in ``namespace``, or everywhere when that is empty. ``names`` empty: any object."""

    right: Right
    namespace: str = ""
    names: tuple[str, ...] = ()

    def covers(self, use: Use) -> bool:
        right = self.right
        return (
            (right.group, right.resource, right.verb) == (use.group, use.resource, use.verb)
            and self.namespace in ("", use.namespace)
            and (not self.names or use.name in self.names)
        )


@dataclass(frozen=True, order=True)
class Use:
    """One kind of request seen in the audit log."""

    group: str
    resource: str
    verb: str
    namespace: str = ""
    name: str = ""
    allowed: bool = True

    def __str__(self) -> str:
        what = f"{self.verb} {self.resource}{'.' + self.group if self.group else ''}"
        where = f"{self.namespace or 'the whole cluster'}{' ' + self.name if self.name else ''}"
        return f"{what} in {where} ({'allowed by a role outside the chart' if self.allowed else 'forbidden'})"


@dataclass(frozen=True)
class Usage:
    """``unused``: granted, never used. ``ungranted``: used or tried, not granted. ``needless``: excuses not needed."""

    unused: Sequence[Right]
    ungranted: Sequence[Use]
    needless: Sequence[Right]
    used: Sequence[Right] = field(default=())

    def text(self) -> str:
        """A readable report, empty when chart and run agree."""
        parts = (
            ("granted but never used: take it out of the chart, or excuse it with a reason", self.unused),
            ("used but not granted: the chart is missing it", self.ungranted),
            ("excused although the run used it, or the chart does not grant it: take the excuse away", self.needless),
        )
        return "\n".join(f"{title}\n" + "\n".join(f"  {item}" for item in found) for title, found in parts if found)


def rights_of(manifests: Iterable[Manifest], account: ServiceAccount) -> list[Grant]:
    """Everything that the RBAC objects among ``manifests`` let the account do, as single verbs.

    Raises ValueError for a wildcard and for a binding to a role that is not among the manifests: neither can be judged.
    """
    objects = list(manifests)
    roles = {_role_key(item): item for item in objects if item["kind"] in ("Role", "ClusterRole")}
    grants: set[Grant] = set()
    for binding in objects:
        if binding["kind"] not in ("RoleBinding", "ClusterRoleBinding") or not _binds(binding, account):
            continue
        namespace = binding["metadata"].get("namespace", "") if binding["kind"] == "RoleBinding" else ""
        reference = binding["roleRef"]
        key = (reference["kind"], namespace if reference["kind"] == "Role" else "", reference["name"])
        if key not in roles:
            raise ValueError(f"{binding['kind']} {binding['metadata']['name']} refers to {key}, which is not rendered")
        grants |= _grants(roles[key], namespace)
    return sorted(grants)


def uses_of(events: Iterable[Mapping[str, Any]], account: ServiceAccount) -> set[Use]:
    """The requests of one account in an audit log, without those that every authenticated user may make."""
    found: set[Use] = set()
    for event in events:
        target = event.get("objectRef")
        if event["user"]["username"] != account.username or not target or not target.get("resource"):
            continue
        annotations = event.get("annotations") or {}
        if '"system:' in annotations.get("authorization.k8s.io/reason", ""):
            continue  # discovery and self-reviews, granted by Kubernetes to everybody
        subresource = target.get("subresource")
        use = Use(
            group=target.get("apiGroup", ""),
            resource=f"{target['resource']}/{subresource}" if subresource else target["resource"],
            verb=event["verb"],
            namespace=target.get("namespace", ""),
            name=target.get("name", ""),
            allowed=annotations.get("authorization.k8s.io/decision") != "forbid",
        )
        found.add(use)
        # Server-side apply of an object that is not there yet: logged as one patch, authorized as a create too.
        if use.verb == "patch" and (event.get("responseStatus") or {}).get("code") == _CREATED:
            found.add(replace(use, verb="create"))
    return found


def compare(
    grants: Sequence[Grant],
    events: Iterable[Mapping[str, Any]],
    account: ServiceAccount,
    excused: Mapping[Right, str] | None = None,
) -> Usage:
    """Holds an audit log against the grants. ``excused`` maps rights that may stay unused to the reason.

    A right counts as used when a request needed it, wherever: a role bound in three namespaces is one role. A ``get``
    beside a ``list`` that was used counts as used too: who may list objects can read each of them anyway.
    """
    excuses = excused or {}
    used: set[Right] = set()
    ungranted: set[Use] = set()
    for use in uses_of(events, account):
        covering = {grant.right for grant in grants if grant.covers(use)}
        used |= covering
        if not covering:
            ungranted.add(use)
    used |= {grant.right for grant in grants if _adds_nothing(grant, grants, used)}
    granted = {grant.right for grant in grants}
    return Usage(
        unused=sorted(granted - used - set(excuses)),
        ungranted=sorted(ungranted),
        needless=sorted(set(excuses) & (used | (set(excuses) - granted))),
        used=sorted(used),
    )


def _adds_nothing(grant: Grant, grants: Sequence[Grant], used: set[Right]) -> bool:
    def lists_the_same(other: Grant) -> bool:
        return (
            other.right.verb == "list"
            and other.right in used
            and (other.right.group, other.right.resource) == (grant.right.group, grant.right.resource)
            and other.namespace in ("", grant.namespace)
            and not other.names
        )

    return grant.right.verb == "get" and any(lists_the_same(other) for other in grants)


def _role_key(role: Manifest) -> tuple[str, str, str]:
    return role["kind"], role["metadata"].get("namespace", ""), role["metadata"]["name"]


def _binds(binding: Manifest, account: ServiceAccount) -> bool:
    return any(
        subject["kind"] == "ServiceAccount"
        and subject["name"] == account.name
        and subject["namespace"] == account.namespace
        for subject in binding.get("subjects") or ()
    )


def _grants(role: Manifest, namespace: str) -> set[Grant]:
    label = " ".join(part for part in _role_key(role) if part)
    grants: set[Grant] = set()
    for rule in role.get("rules") or ():
        names = tuple(sorted(rule.get("resourceNames") or ()))
        for group in rule.get("apiGroups") or ():
            for resource in rule.get("resources") or ():
                for verb in rule["verbs"]:
                    if "*" in (group, verb) or "*" in resource:
                        raise ValueError(f"{label} has a wildcard in {dict(rule)}: name what is needed")
                    grants.add(Grant(Right(label, group, resource, verb), namespace, names))
    return grants
