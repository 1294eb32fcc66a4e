"""The one-shot proof that a node works from end to end, as its users see it: through the Services' DNS names.

Run in a pod of its own: ``python -m jil.node.probe --node NAME --namespace NAMESPACE``. ``components`` proves database,
cache, broker and chain, ``services`` the sample services; ``proof`` runs the checks and reports; ``targets`` knows the
addresses and credentials.
"""
