"""The loop: from an event to a reconcile, and everything that keeps it honest. It knows no kind of ours.

``watch`` (Kopf) and ``sweep`` fill the ``store``; a change in it becomes a key (``routes``) in the ``queue``; the
workers of a leader's ``term`` hand it to the reconciler that the ``runtime`` was given for its kind. ``watchdog`` and
``server`` tell the kubelet whether that still works. Only this package knows Kopf.
"""
