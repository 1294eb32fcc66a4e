"""Configuration files from templates: a missing value is an error, and a template is compiled once."""

from __future__ import annotations

import jinja2
import pytest

from jil.render import templates
from jil.render.templates import render_text


def test_a_value_that_was_not_given_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError, match="size"):
        render_text("max = {{ size }}\n")


def test_a_template_is_compiled_once_and_filled_in_anew() -> None:
    before = templates._compiled.cache_info().misses
    assert [render_text("n = {{ n }} # once\n", n=n) for n in (1, 2, 3)] == [f"n = {n} # once\n" for n in (1, 2, 3)]
    assert templates._compiled.cache_info().misses == before + 1
