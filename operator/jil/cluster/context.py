"""Which reconcile is running: carried by contextvars into every log line and every request's User-Agent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

#: Eight hex digits, new for every reconcile; "" outside of one.
reconcile_id: ContextVar[str] = ContextVar("jil_reconcile_id", default="")
#: ``Kind namespace/name`` of the object being reconciled; "" outside of a reconcile.
resource_key: ContextVar[str] = ContextVar("jil_resource_key", default="")


@contextmanager
def reconciling(key: str, run_id: str) -> Iterator[None]:
    """Everything inside, tasks started inside included, belongs to reconcile ``run_id`` of ``key``."""
    key_token = resource_key.set(key)
    id_token = reconcile_id.set(run_id)
    try:
        yield
    finally:
        reconcile_id.reset(id_token)
        resource_key.reset(key_token)
