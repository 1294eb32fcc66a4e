"""Configuration files that have no serialiser of their own, from jinja2 templates where a missing value is an error."""

from __future__ import annotations

import functools

import jinja2

_ENV = jinja2.Environment(
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    autoescape=False,  # noqa: S701  configuration files, not HTML; values are validated by the API's schemas
)


def render_text(template: str, **values: object) -> str:
    """The template filled in. Raises jinja2.UndefinedError for a value that was not given."""
    return _compiled(template).render(**values)


# Compiling was a quarter of the CPU of a look at a node in which nothing has changed.
@functools.lru_cache(maxsize=64)
def _compiled(template: str) -> jinja2.Template:
    return _ENV.from_string(template)
