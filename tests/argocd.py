"""Argo CD's health check, run as Argo CD runs it: the Lua script of docs/argocd with the live object as ``obj``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lupa.lua51 import LuaRuntime

SCRIPT = Path(__file__).resolve().parents[1] / "docs" / "argocd" / "health.lua"


def health(obj: dict[str, Any]) -> tuple[str, str]:
    """(status, message). Lua 5.1 is what Argo CD's interpreter speaks; of its library nothing but ipairs is left."""
    lua = LuaRuntime(unpack_returned_tuples=True)
    sandbox = lua.eval("{ipairs = ipairs}")
    run = lua.eval(
        "function(source, env) local chunk = assert(loadstring(source)); setfenv(chunk, env); return chunk end"
    )
    sandbox["obj"] = lua.table_from(obj, recursive=True)
    answer = run(SCRIPT.read_text(), sandbox)()
    return str(answer["status"]), str(answer["message"])
