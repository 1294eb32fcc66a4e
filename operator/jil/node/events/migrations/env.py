"""Alembic's entry: migrates the schema ``events`` on the connection that the runner has locked."""

from jil.node.migration import run_environment

run_environment("events")
