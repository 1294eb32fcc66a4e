"""What the operator does about each kind: one reconciler per kind on top of the engine, observe -> plan -> render -> apply.

``app`` puts it together, ``jil_routes`` says which object wakes which reconciler; ``node`` calls the node_* parts in the
order of one pass.
"""
