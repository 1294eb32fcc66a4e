"""What was rendered for the nodes that were looked at last: most looks find that nothing has changed."""

from __future__ import annotations

from collections import OrderedDict

from jil.render import node as render_node
from jil.render.context import NodeContext, Object

#: Nodes whose objects are kept, some 150 KiB each: all of a usual cluster's, none to speak of in a very large one.
_KEPT = 64


class Rendered:
    """Rendering is pure: the same context, the same objects. They are shared: never change them."""

    def __init__(self) -> None:
        self._made: OrderedDict[tuple[str, str], tuple[NodeContext, list[Object]]] = OrderedDict()

    def objects(self, ctx: NodeContext) -> list[Object]:
        """As ``jil.render.node.objects``; the very same objects as long as the context is equal."""
        name = (ctx.namespace, ctx.name)
        known = self._made.get(name)
        if known is None or known[0] != ctx:
            known = self._made[name] = (ctx, render_node.objects(ctx))
        self._made.move_to_end(name)
        if len(self._made) > _KEPT:
            self._made.popitem(last=False)
        return known[1]
