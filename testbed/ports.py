"""TCP ports on loopback for servers that start later, or more than once."""

import fcntl
import os
import random
import socket

from testbed import paths
from testbed.errors import BedError

LOOPBACK = "127.0.0.1"
# Below the range from which the kernel takes the source ports of outgoing connections (ip_local_port_range, from 32768
# on). A port that the kernel would give out itself, as binding port 0 does, can be in use when its server starts.
RANGE = range(20000, 32000)
_drawn: dict[str, set[int]] = {}
_files: dict[str, int] = {}  # folder of locks -> open file; closing any of its descriptors would end all of its locks


def _reserve(port: int) -> bool:
    """Whether no rig has drawn it, of this process or another: a byte of a file is locked until this process ends."""
    folder = str(paths.locks())
    if folder not in _files:
        _files[folder] = os.open(f"{folder}/ports", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    drawn = _drawn.setdefault(folder, set())
    if port in drawn:
        return False
    try:
        fcntl.lockf(_files[folder], fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    drawn.add(port)
    return True


def free_ports(count: int) -> list[int]:
    """That many different ports on which nobody listens; they are the caller's until its process ends, also while their
    servers are not up. BedError: fewer are free among 400 drawn.
    """
    found: list[int] = []
    for port in random.sample(RANGE, 400):
        if not _reserve(port):
            continue
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise BedError(
        f"no {count} free TCP ports between {RANGE.start} and {RANGE.stop} on {LOOPBACK}; end what listens there"
    )


def require_free(port: int, what: str) -> None:
    """Raises BedError when somebody listens on ``port`` of loopback, which ``what`` is about to use."""
    with socket.socket() as probe:
        # As the server itself does it: connections of an earlier server that are still closing are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            raise BedError(
                f"{what} cannot start: another program listens on {LOOPBACK}:{port}; "
                f"`ss -ltnp sport = :{port}` tells which: end it, or start again for another port"
            ) from None
