"""The transfer service's HTTP API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from aiohttp import web
from prometheus_client import Counter, Gauge

from jil.node import VERSION, logs
from jil.node.compliance import ComplianceFile
from jil.node.connect.database import DatabaseState
from jil.node.monitor import Monitor
from jil.node.problem import CONTENT_TYPE, Problem, unavailable
from jil.node.settings import Identity
from jil.node.transfers.ledger import Ledger
from jil.node.transfers.model import OpenAccount, TransferRequest
from jil.node.transfers.rules import NO_POLICY, Policy
from jil.node.transfers.schema import Schema
from jil.node.web import Frame, application, dependency, json_answer, read_body

NAME = "transfers"


@dataclass(frozen=True)
class Service:
    """The parts that the API works with. ``compliance`` None: the environment names no file, so no limit is set."""

    identity: Identity
    ledger: Ledger
    schema: Schema
    database: Monitor[DatabaseState]
    compliance: ComplianceFile[Policy] | None

    def reasons_not_ready(self) -> list[str]:
        """Why no traffic should come, empty when it may."""
        reasons = []
        if not self.schema.ready:
            reasons.append(f"database schema: {self.schema.error}")
        if not (database := self.database.result()).ok:
            reasons.append(f"database: {database.error}")
        if self.compliance is not None and self.compliance.loaded().policy is None:
            reasons.append(f"compliance config: {self.compliance.loaded().error}")
        return reasons

    def health(self) -> tuple[bool, Mapping[str, Any]]:
        """For /healthz. A pushed config that cannot be used does not make the service unwell while an older one is in
        force: a typing error of a jurisdiction must not take all of its nodes off the air. It is shown."""
        document: dict[str, Any] = {
            "service": NAME,
            "version": VERSION,
            "nodeId": self.identity.node_id,
            "jurisdiction": self.identity.jurisdiction,
            "dependencies": {"database": dependency(self.database.result())},
            "schema": {"ok": self.schema.ready, "error": self.schema.error, "revisions": dict(self.schema.revisions)},
            "compliance": self._compliance(),
        }
        return not self.reasons_not_ready(), document

    def _compliance(self) -> dict[str, Any]:
        if self.compliance is None:
            return {"ok": True, "file": None, "error": None, "inForce": {"transferLimit": None}, "since": None}
        loaded = self.compliance.loaded()
        return {
            "ok": loaded.error is None,
            "file": str(self.compliance.path),
            "error": loaded.error,
            "inForce": None if loaded.policy is None else {"transferLimit": loaded.policy.transfer_limit},
            "since": loaded.since.isoformat() if loaded.since else None,
        }

    def policy(self) -> Policy:
        """The policy in force. Raises Problem 503 when a config is expected and none could be read so far."""
        if self.compliance is None:
            return NO_POLICY
        loaded = self.compliance.loaded()
        if loaded.policy is None:
            raise Problem(
                503,
                "limits-unknown",
                "The jurisdiction's limits are not known",
                detail=f"no transfer without the jurisdiction's limits: {loaded.error}",
                remedy="repeat the same request later; the jurisdiction has to correct spec.compliance",
                retry_after=10,
            )
        return loaded.policy

    def must_have_schema(self) -> None:
        """Raises Problem 503 while the schema is not in place."""
        if not self.schema.ready:
            raise unavailable("database", f"its schema is not ready: {self.schema.error}")


def create(service: Service) -> tuple[web.Application, Frame]:
    """POST /accounts, GET /accounts/{id}, POST /transfers, GET /transfers/{id} and the frame's own paths."""
    frame = Frame(name=NAME, reasons_not_ready=service.reasons_not_ready, health=service.health)
    app = application(frame)
    answers = Counter(
        "jil_transfers_answers",
        "Answers to POST /transfers: booked, replayed or the reason of the refusal.",
        ["outcome"],
        registry=frame.registry,
    )
    config_ok = Gauge(
        "jil_transfers_compliance_config_ok",
        "1 when the newest pushed compliance config is in force, else 0.",
        registry=frame.registry,
    )
    config_ok.set_function(lambda: float(service.compliance is None or service.compliance.loaded().error is None))

    async def open_account(request: web.Request) -> web.Response:
        body = await read_body(request, OpenAccount)
        service.must_have_schema()
        account, opened = await service.ledger.open_account(body, correlation_id=logs.correlation_id() or "none")
        return json_answer(account, status=201 if opened else 200, headers={"Location": f"/accounts/{account.id}"})

    async def get_account(request: web.Request) -> web.Response:
        service.must_have_schema()
        account_id = request.match_info["id"]
        # Longer or with a null character: certainly no account, and nothing for the database.
        account = await service.ledger.account(account_id) if _plausible(account_id) else None
        if account is None:
            raise _not_found("account", "open it with POST /accounts, or check the id")
        return json_answer(account)

    async def transfer(request: web.Request) -> web.Response:
        body = await read_body(request, TransferRequest)
        service.must_have_schema()
        policy = service.policy()
        try:
            answer = await service.ledger.transfer(body, policy=policy, correlation_id=logs.correlation_id() or "none")
        except Problem as problem:
            answers.labels(problem.slug).inc()
            raise
        booked = answer.status == 201
        answers.labels("replayed" if answer.replayed else "booked" if booked else "refused").inc()
        return web.Response(
            status=answer.status,
            body=answer.body.encode(),
            content_type="application/json" if booked else CONTENT_TYPE,
            headers={"Idempotent-Replayed": "true"} if answer.replayed else None,
        )

    async def get_transfer(request: web.Request) -> web.Response:
        service.must_have_schema()
        try:
            transfer_id = UUID(request.match_info["id"])
        except ValueError:
            raise _not_found("transfer", "use the id that POST /transfers answered") from None
        found = await service.ledger.find(transfer_id)
        if found is None:
            raise _not_found("transfer", "use the id that POST /transfers answered, on the node that booked it")
        return json_answer(found)

    app.router.add_post("/accounts", open_account)
    app.router.add_get("/accounts/{id}", get_account)
    app.router.add_post("/transfers", transfer)
    app.router.add_get("/transfers/{id}", get_transfer)
    return app, frame


def _plausible(account_id: str) -> bool:
    return len(account_id) <= 64 and account_id.isprintable()


def _not_found(what: str, remedy: str) -> Problem:
    return Problem(
        404,
        f"no-such-{what}",
        f"There is no such {what} on this node",
        detail=f"no {what} has the id in the path",
        remedy=remedy,
    )
