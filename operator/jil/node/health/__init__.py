"""The node health endpoint: how this node's database, cache, broker and chain are, read from inside the node.

The operator and people read it; nobody needs a login to the node's database for that. ``report`` is the document,
``app`` serves it, ``__main__`` starts it.
"""
