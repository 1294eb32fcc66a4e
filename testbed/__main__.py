"""``python -m testbed <command>``: see docs/testbed.md."""

from __future__ import annotations

import sys

if sys.version_info < (3, 11):  # noqa: UP036  (this runs before anything could have checked it)
    sys.exit(f"testbed: error: Python {sys.version.split()[0]} is too old; call it with Python 3.11 or newer")

from testbed.commands import main

sys.exit(main(sys.argv[1:]))
