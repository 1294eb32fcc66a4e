"""Generate ``crds/``: ``python -m jil.api.crd --write`` or ``--check``, from the top of the checkout."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

from jil.api import generated
from jil.api.definitions import DEFINITIONS
from jil.api.labels import GROUP

DIRECTORY = Path("crds")
_HEADER = "# Generated from operator/jil/api by `python -m jil.api.crd --write`: change the models, not this file.\n"


class _Dumper(yaml.SafeDumper):
    """Readable and stable: no anchors, block lists indented under their key."""

    def ignore_aliases(self, data: object) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _text(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    # CEL is full of single quotes: in a literal block it reads as it was written.
    style = "|" if "'" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def render(manifest: dict[str, Any]) -> str:
    """One CRD as YAML text. It has no ``{{``: a Helm template may contain it as it is."""
    return _HEADER + yaml.dump(manifest, Dumper=_Dumper, sort_keys=False, width=110, allow_unicode=True)


def files(directory: Path = DIRECTORY) -> dict[Path, str]:
    """Path -> text of every generated CRD."""
    return {directory / d.file_name: render(d.manifest()) for d in DEFINITIONS}


def main(argv: list[str]) -> int:
    """Entry point; returns the exit code."""
    return generated.run(
        argv,
        module="jil.api.crd",
        expected=files(),
        present=sorted(DIRECTORY.glob(f"{GROUP}_*.yaml")),
        description="CustomResourceDefinitions, generated from the typed models.",
    )


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
