"""Error bodies that say what is wrong and what to do: RFC 9457 problem details with a ``remedy``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

CONTENT_TYPE = "application/problem+json"


class Problem(Exception):  # noqa: N818  the standard's own word
    """A refusal to be sent to the caller.

    ``slug`` names the kind of problem for machines (it ends up in ``type``), ``title`` is the same for every
    occurrence, ``detail`` speaks of this one, ``remedy`` says what the caller can do. ``more`` are further members.
    """

    def __init__(
        self,
        status: int,
        slug: str,
        title: str,
        *,
        detail: str,
        remedy: str,
        retry_after: int | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.slug = slug
        self.title = title
        self.detail = detail
        self.remedy = remedy
        self.retry_after = retry_after
        self.more = dict(more or {})

    def body(self, *, instance: str | None = None, correlation_id: str | None = None) -> dict[str, Any]:
        """The problem document as JSON types."""
        document: dict[str, Any] = {
            "type": f"urn:jil:problem:{self.slug}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "remedy": self.remedy,
        }
        if instance is not None:
            document["instance"] = instance
        if correlation_id is not None:
            document["correlationId"] = correlation_id
        return document | self.more

    def response(self, *, instance: str | None = None, correlation_id: str | None = None) -> web.Response:
        """The HTTP response."""
        headers = {"Retry-After": str(self.retry_after)} if self.retry_after is not None else None
        return web.Response(
            status=self.status,
            body=json.dumps(self.body(instance=instance, correlation_id=correlation_id)).encode(),
            content_type=CONTENT_TYPE,
            headers=headers,
        )


def invalid_request(errors: Sequence[Mapping[str, str]]) -> Problem:
    """The body is JSON, but not the JSON that this operation takes. ``errors``: field, message."""
    fields = ", ".join(sorted({error["field"] for error in errors}))
    return Problem(
        422,
        "invalid-request",
        "The request body is not what this operation takes",
        detail=f"wrong or missing: {fields}",
        remedy="correct the fields listed in `errors` and send the request again",
        more={"errors": list(errors)},
    )


def malformed_body(detail: str) -> Problem:
    """The body is not JSON at all."""
    return Problem(
        400,
        "malformed-body",
        "The request body is not valid JSON",
        detail=detail,
        remedy="send one JSON object in UTF-8",
    )


def unavailable(component: str, detail: str, *, remedy: str | None = None, retry_after: int = 2) -> Problem:
    """A component of this node does not answer; the request may be repeated."""
    return Problem(
        503,
        f"{component}-unavailable",
        f"The node's {component} does not answer",
        detail=detail,
        remedy=remedy or "repeat the same request after the time in Retry-After; /healthz says what is wrong",
        retry_after=retry_after,
    )


def from_http(error: web.HTTPException) -> Problem:
    """aiohttp's own refusals (no such path, wrong method, body too large) in the same form."""
    if error.status == 413:
        return Problem(
            413,
            "body-too-large",
            "The request body is too large",
            detail=error.text or "the body exceeds the limit",
            remedy="send a smaller body; no operation of this service needs more",
        )
    if error.status == 405:
        allowed = ", ".join(sorted(getattr(error, "allowed_methods", ())))
        return Problem(
            405,
            "method-not-allowed",
            "This path does not take that method",
            detail=f"allowed: {allowed}",
            remedy=f"use one of: {allowed}",
        )
    if error.status == 404:
        return Problem(
            404,
            "no-such-path",
            "There is nothing at this path",
            detail="this service has no such path",
            remedy="check the path; docs/services.md lists them",
        )
    return Problem(
        error.status,
        "http-error",
        error.reason or "The request was refused",
        detail=error.text or error.reason or "",
        remedy="check the request",
    )


def unexpected() -> Problem:
    """A bug: nothing about it is told but where to look."""
    return Problem(
        500,
        "internal-error",
        "The service failed while handling the request",
        detail="an unexpected error; it is logged with the correlationId of this answer",
        remedy="repeat the request with the same idempotencyKey; report the correlationId if it fails again",
    )
