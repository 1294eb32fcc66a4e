"""``python -m testbed <command>``: see docs/testbed.md."""

from __future__ import annotations

import sys

from testbed.commands import main

sys.exit(main(sys.argv[1:]))
