"""The running operator: from an event to a reconcile, and everything that keeps that loop honest.

``watch`` (Kopf) and ``sweep`` fill the ``store``; a change in it becomes a key (``routes``) in the ``queue``; the
workers of ``runtime`` hand it to the reconciler of its kind. ``watchdog`` and ``server`` tell the kubelet whether that
still works. Only this package knows Kopf, and only the entry points import it.
"""
