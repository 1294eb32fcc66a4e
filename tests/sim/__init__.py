"""Simulated parts for tests on the control-plane rig, named as such: a kubelet, volumes, node health endpoints.

The API server, its admission, the StatefulSet, Deployment and volume-binding controllers are the real ones; what runs
inside pods is simulated here and proven on kind by the e2e layer.
"""
