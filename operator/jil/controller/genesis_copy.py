"""The frozen genesis, copied beside the node and compared with what the node started from."""

from __future__ import annotations

from jil.api import kinds, labels
from jil.api.conditions import Reason
from jil.api.network import JILNetwork
from jil.api.record import JILNodeRecord
from jil.cluster.errors import AlreadyExists
from jil.controller.deps import Deps
from jil.controller.network import member_facts
from jil.render.context import NodeContext
from jil.render.genesis import config_map, genesis_hash

Hold = tuple[Reason, str] | None


async def ensure_genesis(
    deps: Deps, ctx: NodeContext, record: JILNodeRecord, network: JILNetwork
) -> tuple[JILNodeRecord, Hold]:
    """The node's copy exists and its hash is in the record. Returns why the validator may not start yet, or None."""
    name = labels.genesis_config_map(network.name)
    master = await deps.find(kinds.CONFIG_MAP, deps.system_namespace, name)
    if master is None:
        return record, (
            Reason.WAITING_FOR_GENESIS,
            f"JILNetwork {network.name} has no genesis yet: it waits for the keys of all founders"
            f" (kubectl get jnet {network.name} -o yaml says for which)",
        )
    document = master["data"][labels.GENESIS_KEY]
    value = genesis_hash(document.encode())
    if record.spec.genesis_hash not in (None, value):
        return record, (
            Reason.GENESIS_MISMATCH,
            f"the genesis of {network.name} has hash {value[:12]}…, this node started from {record.spec.genesis_hash[:12]}…"
            if record.spec.genesis_hash
            else "",
        )
    copy = await deps.find(kinds.CONFIG_MAP, ctx.namespace, name)
    if copy is None:
        body = config_map(network.name, ctx.namespace, document, {labels.JURISDICTION: ctx.jurisdiction_name})
        try:
            copy = await deps.client.create(kinds.CONFIG_MAP, body)
        except AlreadyExists:
            copy = await deps.client.get(kinds.CONFIG_MAP, name, ctx.namespace)
        deps.store.put(kinds.CONFIG_MAP, copy)
    if copy.get("data", {}).get(labels.GENESIS_KEY) != document:
        return record, (
            Reason.GENESIS_MISMATCH,
            f"ConfigMap {ctx.namespace}/{name} is not the network's frozen genesis: delete it, the operator makes it again"
            f" (kubectl delete -n {ctx.namespace} configmap {name})",
        )
    record = await deps.records.change(record, genesis_hash=value)
    founders = {m.node_id for m in network.spec.founders}
    late = sorted(m.node_id for m in member_facts(deps, network) if m.node_id in founders and not m.p2p_host)
    if late:
        # CometBFT looks a peer's name up once: every founder's Service exists before any validator starts.
        return record, (Reason.WAITING_FOR_RECORDS, f"waits for the p2p Services of {', '.join(late[:10])}")
    return record, None
