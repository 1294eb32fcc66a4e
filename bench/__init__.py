"""Benchmarks of the operator on the simulated rig: a real control plane, real operator processes, no pod that runs.

``make bench`` (``python -m bench``) runs every part against its deadline and prints a table; docs/performance.md says
what the figures mean. ``cluster`` makes the rig, ``pods`` plays the kubelets, ``parts/`` has one file per question.
"""
