"""The transfer service on a real PostgreSQL: what a client sees."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from jil.node.events.envelope import Envelope
from tests.cluster.node.harness import NODE_ID, balance, open_account, transfer, transfer_service
from tests.cluster.node.servers import Databases


def events(databases: Databases) -> list[Envelope]:
    with databases.superuser() as connection:
        rows = connection.execute("SELECT envelope::text FROM events.outbox ORDER BY sequence").fetchall()
    return [Envelope.model_validate_json(row[0]) for row in rows]


async def test_a_transfer_moves_the_amount_between_two_accounts(databases: Databases) -> None:
    async with transfer_service(databases.app) as client:
        await open_account(client, "alice", 1000)
        await open_account(client, "bob")
        status, body = await transfer(client, "alice", "bob", 250, "k1", currency="CHF")
        assert status == 201
        assert body | {"id": "", "bookedAt": ""} == {
            "id": "",
            "from": "alice",
            "to": "bob",
            "amount": 250,
            "currency": "CHF",
            "bookedAt": "",
        }
        assert [await balance(client, name) for name in ("alice", "bob")] == [750, 250]
        async with client.get(f"/transfers/{body['id']}") as response:
            assert await response.json() == body


async def test_state_and_event_are_written_together_and_the_event_carries_the_new_state(databases: Databases) -> None:
    async with transfer_service(databases.app) as client:
        await open_account(client, "alice", 1000)
        await open_account(client, "bob")
        headers = {"X-Correlation-Id": "order-77"}
        body = {"from": "alice", "to": "bob", "amount": 250, "idempotencyKey": "k1"}
        async with client.post("/transfers", json=body, headers=headers) as response:
            booked = await response.json()
            assert response.headers["X-Correlation-Id"] == "order-77"
    opened, _, moved = events(databases)
    assert (opened.source_id, opened.sequence, opened.entity_key, opened.entity_version) == (
        NODE_ID,
        1,
        "account/alice",
        1,
    )
    assert (moved.sequence, moved.topic, moved.entity_key) == (3, "jil.events", f"transfer/{booked['id']}")
    assert moved.correlation_id == "order-77"
    assert moved.event_id.version == 7
    assert moved.payload == {
        "type": "transfer.booked",
        "transfer": booked,
        "accounts": [
            {"id": "alice", "currency": "CHF", "balance": 750, "version": 2},
            {"id": "bob", "currency": "CHF", "balance": 250, "version": 2},
        ],
    }


async def test_repeating_a_request_gives_the_same_answer_and_books_nothing(databases: Databases) -> None:
    async with transfer_service(databases.app) as client:
        await open_account(client, "alice", 1000)
        await open_account(client, "bob")
        first = await transfer(client, "alice", "bob", 250, "k1")
        body = {"idempotencyKey": "k1", "amount": 250, "to": "bob", "from": "alice"}  # spelled in another order
        async with client.post("/transfers", json=body) as response:
            assert (response.status, await response.json()) == first
            assert response.headers["Idempotent-Replayed"] == "true"
        assert await balance(client, "alice") == 750
    assert len(events(databases)) == 3


async def test_the_same_key_with_another_body_is_refused(databases: Databases) -> None:
    async with transfer_service(databases.app) as client:
        await open_account(client, "alice", 1000)
        await open_account(client, "bob")
        await transfer(client, "alice", "bob", 250, "k1")
        status, problem = await transfer(client, "alice", "bob", 251, "k1")
        assert status == 422
        assert problem["type"] == "urn:jil:problem:idempotency-key-reused"
        assert "new idempotencyKey" in problem["remedy"]
        assert await balance(client, "alice") == 750


async def test_a_refusal_is_remembered_like_a_booking(databases: Databases) -> None:
    async with transfer_service(databases.app) as client:
        await open_account(client, "alice", 10)
        await open_account(client, "bob", 100)
        refused = await transfer(client, "alice", "bob", 50, "k1")
        assert refused[0] == 422
        assert refused[1]["type"] == "urn:jil:problem:insufficient-funds"
        assert refused[1]["balance"] == 10
        await transfer(client, "bob", "alice", 100, "k2")
        assert await transfer(client, "alice", "bob", 50, "k1") == refused
        assert (await transfer(client, "alice", "bob", 50, "k3"))[0] == 201


async def test_opening_an_account_again_the_same_way_changes_nothing(databases: Databases) -> None:
    body = {"id": "alice", "currency": "CHF", "openingBalance": 1000}
    async with transfer_service(databases.app) as client:
        statuses = []
        for _ in range(2):
            async with client.post("/accounts", json=body) as response:
                statuses.append(response.status)
                assert await response.json() == {"id": "alice", "currency": "CHF", "balance": 1000, "version": 1}
        assert statuses == [201, 200]
        async with client.post("/accounts", json=body | {"currency": "EUR"}) as response:
            assert response.status == 409
            assert (await response.json())["type"] == "urn:jil:problem:account-exists"
    assert len(events(databases)) == 1


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "slug"),
    [
        ("GET", "/accounts/nobody", None, 404, "no-such-account"),
        ("GET", "/accounts/%00", None, 404, "no-such-account"),
        ("GET", "/transfers/not-a-uuid", None, 404, "no-such-transfer"),
        ("GET", "/transfers/00000000-0000-0000-0000-000000000000", None, 404, "no-such-transfer"),
        ("GET", "/nothing", None, 404, "no-such-path"),
        ("DELETE", "/accounts/alice", None, 405, "method-not-allowed"),
        ("POST", "/transfers", b"{", 400, "malformed-body"),
        ("POST", "/transfers", b"[]", 422, "invalid-request"),
        ("POST", "/transfers", b"\xff", 400, "malformed-body"),
        ("POST", "/transfers", b'{"from": "%s"}' % (b"a" * 20_000), 413, "body-too-large"),
        ("POST", "/transfers", {"from": "a", "to": "b", "amount": 1}, 422, "invalid-request"),
        ("POST", "/transfers", {"from": "a", "to": "a", "amount": 1, "idempotencyKey": "k"}, 422, "invalid-request"),
        ("POST", "/transfers", {"from": "a", "to": "b", "amount": 0, "idempotencyKey": "k"}, 422, "invalid-request"),
        ("POST", "/transfers", {"from": "a", "to": "b", "amount": 1.0, "idempotencyKey": "k"}, 422, "invalid-request"),
        ("POST", "/transfers", {"from": "a", "to": "b", "amount": "1", "idempotencyKey": "k"}, 422, "invalid-request"),
        ("POST", "/transfers", {"from": "a", "to": "b", "amount": True, "idempotencyKey": "k"}, 422, "invalid-request"),
        (
            "POST",
            "/transfers",
            {"from": "a", "to": "b", "amount": 2**53, "idempotencyKey": "k"},
            422,
            "invalid-request",
        ),
        ("POST", "/transfers", {"from": "a", "to": "b", "amount": 1, "idempotencyKey": ""}, 422, "invalid-request"),
        ("POST", "/transfers", {"from": "a", "to": "b", "amount": 1, "idempotencyKey": "k"}, 422, "unknown-account"),
    ],
)
async def test_every_refusal_says_what_is_wrong_and_what_to_do(
    databases: Databases, method: str, path: str, body: Any, status: int, slug: str
) -> None:
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"} if data is not None else {}
    async with (
        transfer_service(databases.app) as client,
        client.request(method, path, data=data, headers=headers) as response,
    ):
        problem = await response.json(content_type="application/problem+json")
        assert (response.status, problem["status"], problem["type"]) == (status, status, f"urn:jil:problem:{slug}")
        assert problem["title"]
        assert problem["detail"]
        assert problem["remedy"]
        # A remembered refusal is the same on every repetition, so it names no single request.
        remembered = slug == "unknown-account"
        assert problem.get("correlationId") == (None if remembered else response.headers["X-Correlation-Id"])


async def test_a_body_that_is_not_declared_as_json_is_refused(databases: Databases) -> None:
    async with transfer_service(databases.app) as client, client.post("/transfers", data=b"a=b") as response:
        assert response.status == 415


async def _limit_in_force(client: Any, wanted: object) -> dict[str, Any]:
    for _ in range(1200):
        async with client.get("/healthz") as response:
            document: dict[str, Any] = (await response.json())["compliance"]
        if document["inForce"] == wanted and document["ok"] is not None:
            return document
        await asyncio.sleep(0.05)
    raise AssertionError(f"{wanted} is not in force: {document}")


def push(path: Path, content: str) -> None:
    """Replace the file at once, as the kubelet does."""
    fresh = path.with_suffix(".new")
    fresh.write_text(content)
    fresh.replace(path)


async def test_ac_26_a_pushed_limit_holds_at_once_in_the_same_process(databases: Databases, tmp_path: Path) -> None:
    file = tmp_path / "compliance.json"
    push(file, '{"transferLimit": "100"}')
    async with transfer_service(databases.app, compliance=file) as client:
        await open_account(client, "alice", 1000)
        await open_account(client, "bob")
        assert (await transfer(client, "alice", "bob", 100, "k1"))[0] == 201
        status, problem = await transfer(client, "alice", "bob", 101, "k2")
        assert (status, problem["type"], problem["limit"]) == (422, "urn:jil:problem:transfer-limit-exceeded", 100)
        push(file, '{"transferLimit": "500"}')
        await _limit_in_force(client, {"transferLimit": 500})
        assert (await transfer(client, "alice", "bob", 101, "k3"))[0] == 201
        # What was booked under the old limit is still answered as it was.
        push(file, '{"transferLimit": "1"}')
        await _limit_in_force(client, {"transferLimit": 1})
        assert (await transfer(client, "alice", "bob", 100, "k1"))[0] == 201


async def test_an_unusable_config_leaves_the_last_good_one_in_force_and_is_shown(
    databases: Databases, tmp_path: Path
) -> None:
    file = tmp_path / "compliance.json"
    push(file, '{"transferLimit": "100"}')
    async with transfer_service(databases.app, compliance=file) as client:
        await open_account(client, "alice", 1000)
        await open_account(client, "bob")
        push(file, '{"transferLimit": "a lot"}')
        for _ in range(1200):
            async with client.get("/healthz") as response:
                shown = (await response.json())["compliance"]
            if not shown["ok"]:
                break
            await asyncio.sleep(0.05)
        assert response.status == 200
        assert shown["inForce"] == {"transferLimit": 100}
        assert "transferLimit must be a whole number" in shown["error"]
        assert "a lot" in shown["error"]
        assert (await transfer(client, "alice", "bob", 101, "k1"))[0] == 422
        assert (await transfer(client, "alice", "bob", 100, "k2"))[0] == 201
        async with client.get("/metrics") as response:
            assert "jil_transfers_compliance_config_ok 0.0" in await response.text()


async def test_without_any_usable_config_nothing_is_transferred(databases: Databases, tmp_path: Path) -> None:
    file = tmp_path / "compliance.json"
    push(file, "not json")
    async with transfer_service(databases.app, compliance=file) as client:
        await open_account(client, "alice", 1000)
        await open_account(client, "bob")
        status, problem = await transfer(client, "alice", "bob", 1, "k1")
        assert (status, problem["type"]) == (503, "urn:jil:problem:limits-unknown")
        async with client.get("/readyz") as response:
            assert response.status == 503
            assert "compliance config" in await response.text()
        push(file, "{}")
        await _limit_in_force(client, {"transferLimit": None})
        assert (await transfer(client, "alice", "bob", 1, "k1"))[0] == 201


async def test_healthz_says_what_the_service_depends_on(databases: Databases) -> None:
    async with transfer_service(databases.app) as client, client.get("/healthz") as response:
        document = await response.json()
    assert document["ok"] is True
    assert document["service"] == "transfers"
    assert document["nodeId"] == NODE_ID
    assert document["dependencies"]["database"]["ok"] is True
    assert document["dependencies"]["database"]["version"].startswith("15.")
    assert document["schema"]["revisions"] == {"events": "events_0001", "ledger": "ledger_0001"}
