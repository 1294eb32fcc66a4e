"""Where the components of the node are and with which credentials: from the node's name, the environment or files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from jil.api import labels
from jil.node.settings import (
    BrokerSettings,
    CacheSettings,
    ChainSettings,
    DatabaseSettings,
    SettingsError,
    load,
)

#: Role, database and ACL user that every node has.
DATABASE_NAME, DATABASE_USER, CACHE_USER = "jil", "jil_app", "jil"


@dataclass(frozen=True)
class Targets:
    """Everything that a proof talks to."""

    node: str
    namespace: str
    database: DatabaseSettings
    cache: CacheSettings
    broker: BrokerSettings
    chain: ChainSettings
    transfers_url: str
    rates_url: str

    def secrets(self) -> list[str]:
        """For redaction."""
        return [*self.database.secrets(), *self.cache.secrets()]


def find(
    node: str, namespace: str, *, credentials: Path | None = None, transfers: str = "transfers", rates: str = "rates"
) -> Targets:
    """The targets of a node. The variables that the operator gives to services (JIL_DATABASE_HOST and so on) and
    JIL_TRANSFERS_URL, JIL_RATES_URL override the names in the cluster.

    ``credentials``: folder with the files app-password and cache-password (the Secret NODE-credentials as a volume),
    used where the environment holds no password. ``transfers``, ``rates``: names of the services in the release.
    Raises SettingsError.
    """

    def service(component: str) -> str:
        return f"{labels.child_name(node, component)}.{namespace}.svc"

    def url(variable: str, name: str) -> str:
        return os.environ.get(variable) or f"http://{service(name)}:{labels.SERVICE_PORT}"

    return Targets(
        node=node,
        namespace=namespace,
        database=load(
            DatabaseSettings,
            host=service(labels.Component.DATABASE),
            port=labels.DATABASE_PORT,
            name=DATABASE_NAME,
            user=DATABASE_USER,
            **_password("JIL_DATABASE_PASSWORD", credentials, "app-password"),
        ),
        cache=load(
            CacheSettings,
            host=service(labels.Component.CACHE),
            port=labels.CACHE_PORT,
            user=CACHE_USER,
            **_password("JIL_CACHE_PASSWORD", credentials, "cache-password"),
        ),
        broker=load(BrokerSettings, seeds=f"{service(labels.Component.BROKER)}:{labels.BROKER_PORT}"),
        chain=load(ChainSettings, url=f"http://{labels.rpc_service(node)}.{namespace}.svc:{labels.RPC_PORT}"),
        transfers_url=url("JIL_TRANSFERS_URL", transfers),
        rates_url=url("JIL_RATES_URL", rates),
    )


def _password(variable: str, folder: Path | None, name: str) -> dict[str, SecretStr]:
    if os.environ.get(variable):
        return {}
    if folder is None:
        raise SettingsError(
            f"no password: set {variable} from key {name} of the Secret NODE-credentials, or mount that Secret and "
            "give its folder with --credentials"
        )
    path = folder / name
    try:
        return {"password": SecretStr(path.read_text().strip())}
    except OSError as error:
        raise SettingsError(
            f"{path} cannot be read ({error.strerror}): mount the Secret NODE-credentials at {folder}, "
            f"or set {variable}"
        ) from None
