# ruff: noqa: N818  (the names are those of Kubernetes' own reasons)
"""What can go wrong between us and the API server, as types that the work queue can act on.

Every message says what was asked, what came back and what to do. ``retry_after`` is in seconds and comes from the
server's Retry-After header; None when it gave none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class ApiError(Exception):
    """An answer of the API server that is not success, or no answer at all (``status`` 0).

    ``name``: the object that the answer is about, as its ``details.name`` says; "" when it says none.
    """

    remedy: ClassVar[str] = "see the API server's log for the request"

    def __init__(
        self,
        method: str,
        path: str,
        *,
        status: int = 0,
        reason: str = "",
        message: str = "",
        causes: tuple[str, ...] = (),
        retry_after: float | None = None,
        name: str = "",
    ) -> None:
        self.method = method
        self.path = path
        self.status = status
        self.reason = reason
        self.message = message
        self.causes = causes
        self.retry_after = retry_after
        self.name = name
        code = f"{status} {reason}".strip() if status else reason
        super().__init__(f"{method} {path}: {code}: {message or 'no message'} [{self.remedy}]")


class NotFound(ApiError):
    """404: the object, its namespace or its type does not exist; of a GET by name: the object."""

    remedy = "the object is gone, or its CRD is not installed: look again before acting on it"


class AlreadyExists(ApiError):
    """409 AlreadyExists: POST found the name taken."""

    remedy = "read the existing object and compare, never overwrite it"


class Conflict(ApiError):
    """409 Conflict, or a failed ``test`` of a JSON patch: the object changed since it was read."""

    remedy = "read the object again and decide anew"


class Invalid(ApiError):
    """400 or 422: the server refuses the content; sending it again will not help."""

    remedy = "correct the field that is named; an immutable field needs a new object"


class NotInSchema(Invalid):
    """A field that we send is not in the schema that is installed."""

    remedy = "the CRDs are older than the operator: apply those of its version (helm upgrade jil-operator)"


class Forbidden(ApiError):
    """401 or 403: credentials, RBAC or an admission policy say no."""

    remedy = "check the operator's ServiceAccount token and its RoleBindings (chart jil-jurisdiction makes them)"


class TooManyRequests(ApiError):
    """429: priority-and-fairness or an eviction budget says later; wait ``retry_after``."""

    remedy = "wait for retry_after and ask less often"


class Gone(ApiError):
    """410: a resourceVersion or continue token is too old; list again from the start."""

    remedy = "list again from the start"


class ServerUnavailable(ApiError):
    """5xx, no connection, or no answer in time. A write may or may not have happened."""

    remedy = "retried with back-off; check the API server when it lasts"


class NotOurs(Exception):
    """An object has the name of a child and was not made by this operator: it is left alone."""

    def __init__(self, target: str) -> None:
        super().__init__(
            f"{target} exists and was not made by jil-operator; it is never taken over: rename or delete it, or create the"
            " JILNode under another name"
        )


class NotLeader(Exception):
    """This process does not surely hold the lease, so the request was not sent."""


class GrantRequired(Exception):
    """A plain write would disrupt a running workload: it goes through the gate or not at all.

    ``act`` is the ``Act`` to ask for, ``target`` names the object, ``why`` says what the write would have done.
    """

    def __init__(self, act: str, target: str, why: str) -> None:
        self.act = act
        self.target = target
        self.why = why
        super().__init__(f"{target}: {why}; ask jil.cluster.disruption for a grant to {act} it")


#: All that the server says when an operation of a JSON patch fails. Ours are computed from one version and begin with a
#: ``test`` of it, so an operation that fails means that the object has moved on: what a 409 means.
_PATCH_DOES_NOT_FIT = "the server rejected our request due to an error in our request"
#: Server-side apply of a field that the schema does not have is answered with a 500, though trying again never helps.
_NOT_IN_SCHEMA = "failed to create typed patch object"
#: A merge patch with the UID of an object that was replaced by another of the same name.
_OTHER_UID = "metadata.uid: Invalid value"

#: ``reason`` of a Status, then the HTTP code: the reason is finer (409 is both AlreadyExists and Conflict).
_BY_REASON: Mapping[str, type[ApiError]] = {
    "AlreadyExists": AlreadyExists,
    "Conflict": Conflict,
    "Expired": Gone,
    "Gone": Gone,
    "NotFound": NotFound,
    "Invalid": Invalid,
    "Forbidden": Forbidden,
    "Unauthorized": Forbidden,
    "TooManyRequests": TooManyRequests,
    "ServerTimeout": ServerUnavailable,
    "Timeout": ServerUnavailable,
    "InternalError": ServerUnavailable,
    "ServiceUnavailable": ServerUnavailable,
}
_BY_CODE: Mapping[int, type[ApiError]] = {
    400: Invalid,
    401: Forbidden,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    413: Invalid,
    415: Invalid,
    422: Invalid,
    429: TooManyRequests,
}


def from_status(method: str, path: str, code: int, status: Mapping[str, Any], retry_after: float | None) -> ApiError:
    """The error for an HTTP answer ``code`` with body ``status`` (a metav1.Status, or {} when it was none)."""
    reason = str(status.get("reason") or "")
    message = str(status.get("message") or "")
    details = status.get("details") or {}
    causes = tuple(f"{cause.get('field', '?')}: {cause.get('message', '')}" for cause in (details.get("causes") or ()))
    if retry_after is None and details.get("retryAfterSeconds"):
        retry_after = float(details["retryAfterSeconds"])
    if code == 422 and (_PATCH_DOES_NOT_FIT in message or _OTHER_UID in message):
        type_: type[ApiError] = Conflict
    elif code == 500 and _NOT_IN_SCHEMA in message:
        type_ = NotInSchema
    else:
        type_ = _BY_REASON.get(reason) or _BY_CODE.get(code) or (ServerUnavailable if code >= 500 else ApiError)
    name = str(details.get("name") or "")
    return type_(
        method, path, status=code, reason=reason, message=message, causes=causes, retry_after=retry_after, name=name
    )
