"""What runs inside a JIL node: the node health endpoint, the sample services and the one-shot proof.

Each program is a package with a ``__main__``: ``python -m jil.node.health``, ``jil.node.transfers``,
``jil.node.rates``, ``jil.node.probe``. Modules beside them are what several programs share: ``settings`` (environment),
``logs``, ``web`` (the HTTP frame), ``problem`` (error bodies), ``monitor`` (cached checks), ``compliance`` (pushed
config), ``migration`` (schema upgrades), ``connect`` (one file per component), ``events`` (envelope and outbox).

This package imports ``jil.api`` and nothing else of the project: what runs in a node knows nothing of the operator.
No request of one node ever waits for another node.
"""

import jil

#: Version of this code, shown by every program in /healthz and to the components it talks to.
VERSION = jil.__version__
