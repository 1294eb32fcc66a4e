"""Every answer of the API server becomes the error class that the queue acts on, with a text that helps."""

from __future__ import annotations

import pytest

from jil.cluster import errors


@pytest.mark.parametrize(
    ("code", "reason", "expected"),
    [
        (404, "NotFound", errors.NotFound),
        (409, "AlreadyExists", errors.AlreadyExists),
        (409, "Conflict", errors.Conflict),
        (410, "Expired", errors.Gone),
        (410, "Gone", errors.Gone),
        (422, "Invalid", errors.Invalid),
        (400, "BadRequest", errors.Invalid),
        (403, "Forbidden", errors.Forbidden),
        (401, "Unauthorized", errors.Forbidden),
        (429, "TooManyRequests", errors.TooManyRequests),
        (500, "InternalError", errors.ServerUnavailable),
        (504, "Timeout", errors.ServerUnavailable),
        (503, "", errors.ServerUnavailable),
        (418, "", errors.ApiError),
    ],
)
def test_reason_and_code_decide_the_class(code: int, reason: str, expected: type[errors.ApiError]) -> None:
    error = errors.from_status("GET", "/x", code, {"reason": reason, "message": "m"}, None)
    assert type(error) is expected
    assert error.status == code


def test_the_text_says_what_where_and_what_to_do() -> None:
    error = errors.from_status("PATCH", "/api/v1/pods/x", 409, {"reason": "Conflict", "message": "was modified"}, None)
    assert str(error) == ("PATCH /api/v1/pods/x: 409 Conflict: was modified [read the object again and decide anew]")


def test_a_failed_json_patch_is_a_conflict_because_it_was_computed_from_one_version() -> None:
    message = "the server rejected our request due to an error in our request"
    assert isinstance(
        errors.from_status("PATCH", "/x", 422, {"reason": "Invalid", "message": message}, None), errors.Conflict
    )


def test_another_uid_under_the_same_name_is_a_conflict() -> None:
    message = 'Pod "x" is invalid: metadata.uid: Invalid value: "other": field is immutable'
    assert isinstance(
        errors.from_status("PATCH", "/x", 422, {"reason": "Invalid", "message": message}, None), errors.Conflict
    )


def test_an_apply_with_an_unknown_field_is_invalid_although_the_server_calls_it_its_own_error() -> None:
    message = (
        "failed to create typed patch object (x/y; apps/v1, Kind=Deployment): .spec.z: field not declared in schema"
    )
    assert isinstance(errors.from_status("PATCH", "/x", 500, {"message": message}, None), errors.Invalid)


def test_retry_after_comes_from_the_header_or_the_body() -> None:
    status = {"reason": "TooManyRequests", "details": {"retryAfterSeconds": 7}}
    assert errors.from_status("GET", "/x", 429, status, None).retry_after == 7.0
    assert errors.from_status("GET", "/x", 429, status, 3.0).retry_after == 3.0


def test_causes_name_the_fields() -> None:
    status = {"reason": "Invalid", "details": {"causes": [{"field": "spec.x", "message": "must be set"}]}}
    assert errors.from_status("POST", "/x", 422, status, None).causes == ("spec.x: must be set",)


def test_grant_required_says_which_grant_to_ask_for() -> None:
    error = errors.GrantRequired("Stop", "StatefulSet a/b", "replicas would go down from 1 to 0")
    assert "replicas would go down from 1 to 0" in str(error)
    assert "grant to Stop" in str(error)
