"""The test bed: real Kubernetes for jil-operator's tests and demo, with or without the internet.

Standard library only, so that ``python3.11 -m testbed`` works before any virtual environment exists.
Linux for everything; see docs/testbed.md for what it needs and what it does to the machine.
"""
