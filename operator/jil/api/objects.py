"""Reading an object of ours from the API server: metadata, the typed root, and an error that reads like help."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Self

from pydantic import AliasGenerator, BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from jil.api.fields import SpecModel


class InvalidObject(ValueError):  # noqa: N818 - it is a state of an object as much as an error
    """An object that the API server stores but this operator cannot read: its spec breaks a rule.

    ``problems`` has one line per fault, each with the path of the field.
    """

    def __init__(self, kind: str, name: str, problems: tuple[str, ...]) -> None:
        self.kind = kind
        self.name = name
        self.problems = problems
        super().__init__(f"{kind} {name}: " + "; ".join(problems))


class ObjectMeta(BaseModel):
    """The part of ``metadata`` that decisions are made of."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=AliasGenerator(alias=to_camel), populate_by_name=True
    )

    name: str
    namespace: str | None = None
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    labels: Mapping[str, str] = Field(default_factory=dict)
    annotations: Mapping[str, str] = Field(default_factory=dict)
    finalizers: tuple[str, ...] = ()
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None

    @property
    def deleting(self) -> bool:
        """Whether somebody asked for the deletion of the object."""
        return self.deletion_timestamp is not None


class Resource(BaseModel):
    """Root of a custom resource. ``apiVersion`` and ``kind`` are the reader's business, not ours."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    metadata: ObjectMeta
    #: Each kind narrows it to its own model.
    spec: SpecModel

    @classmethod
    def parse(cls, obj: Mapping[str, Any]) -> Self:
        """Typed view of ``obj`` as the API server returned it. Raises InvalidObject with one line per fault."""
        try:
            return cls.model_validate(obj)
        except ValidationError as error:
            metadata = obj.get("metadata")
            name = metadata.get("name", "?") if isinstance(metadata, Mapping) else "?"
            problems = tuple(_problem(item["loc"], item["msg"], item["input"]) for item in error.errors())
            raise InvalidObject(cls.__name__, str(name), problems) from error

    @property
    def name(self) -> str:
        """Name of the object."""
        return self.metadata.name


def _problem(location: tuple[int | str, ...], message: str, given: object) -> str:
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    shown = f" (got {given!r:.80})" if isinstance(given, str | int | float | bool) else ""
    return f"{path}: {message}{shown}"
