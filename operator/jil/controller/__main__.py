"""``python -m jil.controller``: the operator's process."""

from __future__ import annotations

import asyncio
import logging
import sys

from pydantic import ValidationError

from jil.cluster.access import AccessError
from jil.cluster.errors import ApiError
from jil.controller.app import run
from jil.engine import logs
from jil.engine.settings import Settings


def main() -> int:
    """0 after an orderly end, 1 when it could not go on, 2 when it is set up wrongly."""
    try:
        settings = Settings()
    except ValidationError as error:
        for fault in error.errors():
            name = "JIL_" + "_".join(str(part) for part in fault["loc"]).upper()
            print(f"jil-operator: {name}: {fault['msg']}; correct the environment", file=sys.stderr)  # noqa: T201
        return 2
    logs.configure(settings.log_level)
    try:
        return asyncio.run(run(settings))
    except AccessError as error:
        logging.getLogger("jil").critical("%s", error)
        return 2
    except ApiError as error:
        logging.getLogger("jil").critical("the API server could not be used at the start: %s", error)
        return 1


if __name__ == "__main__":
    sys.exit(main())
