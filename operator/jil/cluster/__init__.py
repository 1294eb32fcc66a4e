"""Writing to the cluster: the only package that does.

``client`` is the thin Kubernetes client, ``lease`` the leader election that fences it, ``apply`` makes a child equal to
its intent, ``disruption`` is the one gate before anything that takes something away which runs, ``grant`` its ticket.
Nothing here decides what should be: that is ``jil.plan``. Nothing here imports ``jil.controller``.
"""
