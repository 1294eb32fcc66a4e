"""How the programs in a node reach its components: one file per component, each with a ``Check`` for the monitor.

A check proves more than an open port: it speaks the component's own protocol with the node's credentials, and reads
the version that the component itself reports.
"""
