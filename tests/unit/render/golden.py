"""Golden files of whole nodes. ``make test`` compares and never writes; ``make golden`` runs this file."""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

sys.path[:0] = [str(Path(__file__).parents[3] / "operator"), str(Path(__file__).parents[3])]

from jil.render import node, policies  # noqa: E402
from jil.render.context import Object  # noqa: E402
from tests.unit.render import samples  # noqa: E402

FOLDER = Path(__file__).parent / "golden"


def cases() -> dict[str, list[Object]]:
    """Golden file name -> the objects in it."""
    return {
        "node-kafka-small": node.objects(samples.zurich()),
        "node-kafka-dev": node.objects(samples.zurich(spec={"profile": "dev"})),
        "node-redpanda-prod": node.objects(
            samples.zurich(
                release=samples.release("redpanda"),
                spec={"profile": "prod", "placement": {"nodeSelector": {"jil.io/pool": "validators"}}},
            )
        ),
        "node-without-validator": node.objects(
            samples.zurich(
                spec={
                    "validator": {"enabled": False},
                    "services": [{"name": "rates", "replicas": 3, "resources": {"memory": "1Gi"}}],
                    "storage": {"storageClassName": "fast", "database": "50Gi"},
                }
            )
        ),
        "namespace": policies.namespace_objects("jil-ch-finma", "ch-finma", "jil"),
    }


def text(objects: list[Object]) -> str:
    return yaml.safe_dump_all(objects, sort_keys=False, width=120)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, objects in cases().items():
        (FOLDER / f"{name}.yaml").write_text(text(objects))
        print("wrote", f"{name}.yaml")
