"""The golden files of the charts: ``python -m tests.unit.charts.goldens [--write]``.

A golden file of a case holds the objects that one file of values renders to, sorted and without comments, so that it
depends on what the API server would get and not on the version of helm. CRDs are left out: they are compared with crds/
one by one. ``rbac.txt`` is the table of everybody's rights.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import yaml

from tests.rbac_usage import ServiceAccount, rights_of
from tests.unit.charts.rendering import Manifest, jurisdiction, of_kind, operator, template

HERE = Path(__file__).parent
FOLDER = HERE / "golden"
RIGHTS = "rbac.txt"
ACCOUNT = ServiceAccount("jil-system", "jil-operator")


@dataclass(frozen=True)
class Case:
    """A chart with a file of values and a release namespace."""

    name: str
    chart: str
    namespace: str = "jil-system"

    @property
    def values(self) -> Path:
        return HERE / "values" / f"{self.name}.yaml"

    def render(self) -> str:
        return normalised(template(self.chart, "--values", str(self.values), namespace=self.namespace))


CASES = (
    Case("operator-quickstart", "jil-operator"),
    Case("operator-everything", "jil-operator", namespace="platform"),
    Case("operator-guards-off", "jil-operator"),
    Case("jurisdiction-minimal", "jil-jurisdiction"),
    Case("jurisdiction-everything", "jil-jurisdiction"),
    Case("jurisdiction-own-namespace", "jil-jurisdiction"),
)


def normalised(manifests: Sequence[Manifest]) -> str:
    """Objects sorted by kind, namespace and name, without CRDs."""
    kept = [manifest for manifest in manifests if manifest["kind"] != "CustomResourceDefinition"]
    kept.sort(key=lambda m: (m["kind"], m["metadata"].get("namespace", ""), m["metadata"]["name"]))
    return yaml.safe_dump_all(kept, sort_keys=True, width=120)


def rights_table(manifests: Sequence[Manifest]) -> str:
    """One line for each resource: ``operator | where | resource: verbs``, then ``people | role | resource: verbs``."""
    lines = []
    grants = [(g.namespace, g.right.group, g.right.resource, g.right.verb) for g in rights_of(manifests, ACCOUNT)]
    for (namespace, group, resource), found in groupby(sorted(grants), key=lambda grant: grant[:3]):
        verbs = " ".join(sorted({verb for *_, verb in found}))
        lines.append(f"operator | {namespace or 'everywhere'} | {_full(resource, group)}: {verbs}")
    for role in sorted(of_kind(manifests, "ClusterRole"), key=lambda role: str(role["metadata"]["name"])):
        name = role["metadata"]["name"]
        if name.rpartition("-")[2] in ("view", "edit", "admin", "platform", "breakglass", "fencing"):
            lines += [
                f"people | {name} | {_full(resource, group)}: {' '.join(sorted(rule['verbs']))}"
                for rule in role["rules"]
                for group in rule["apiGroups"]
                for resource in sorted(rule["resources"])
            ]
    return "\n".join(lines) + "\n"


def _full(resource: str, group: str) -> str:
    return f"{resource}.{group}" if group else resource


def expected() -> dict[str, str]:
    """File name -> content as the charts are now."""
    return {f"{case.name}.yaml": case.render() for case in CASES} | {
        RIGHTS: rights_table([*operator(), *jurisdiction()])
    }


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="Compares the charts with their golden files.")
    parser.add_argument("--write", action="store_true", help="write the golden files anew; then read the diff")
    write = parser.parse_args(arguments).write
    stale = 0
    for name, content in expected().items():
        file = FOLDER / name
        if not file.exists() or file.read_text() != content:
            stale += 1
            print(f"{'written' if write else 'differs'}: {name}")
            if write:
                file.write_text(content)
    return 0 if write or not stale else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
