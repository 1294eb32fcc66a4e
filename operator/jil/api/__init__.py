"""The typed API of group ``jil.io``: shapes, names, conditions, and what is generated from them.

One file per kind holds its shape, CEL rules and derived properties. ``labels`` names every child object,
``kinds`` says where a kind lives in the Kubernetes API, ``conditions`` holds the closed sets of condition types and
reasons. ``crd`` and ``reference`` generate ``crds/`` and ``docs/reference.md``.

Nothing here does I/O towards a cluster, reads a clock or imports another package of this project.
"""
