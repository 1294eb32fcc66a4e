"""One file per question; each has ``run(report, nodes)`` and makes a rig of its own."""
