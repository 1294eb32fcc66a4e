"""Pure renderers: one file per component, plain Kubernetes objects out.

Same input, same bytes: nothing here does I/O, reads a clock or draws a random number (import-linter keeps it so).
``node.py`` assembles a whole node; the other modules each know one component. Two nodes' objects differ only in
JIL_NODE_ID, JIL_REGION, JIL_JURISDICTION, names and labels, secrets, storage, and what follows from them (AC-04).
"""
