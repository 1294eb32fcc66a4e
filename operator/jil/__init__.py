"""jil-operator: JIL nodes on Kubernetes, declared in one resource each.

Packages and who may import whom (import-linter keeps it):
``api <- {trust, pki} <- {render, plan} <- {observe, cluster} <- controller <- cli``; ``node`` uses ``api`` only.
"""

__version__ = "0.1.0"
