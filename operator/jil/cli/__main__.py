"""``python -m jil.cli``: jilctl from a checkout."""

from jil.cli.main import main

main()
