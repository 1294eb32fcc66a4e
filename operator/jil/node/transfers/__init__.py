"""The sample service: accounts and transfers between them, on the node's own database.

It shows what every service of a node has to keep: a request that starts on a node ends on that node; state and event
are written in one transaction; a repeated request changes nothing and gets the same answer; limits come from the
jurisdiction's pushed config. ``rules`` decides (pure), ``ledger`` stores, ``app`` speaks HTTP, ``__main__`` starts it.
"""
