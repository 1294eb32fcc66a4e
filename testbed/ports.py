"""TCP ports on loopback for servers that start later, or more than once."""

import random
import socket

from testbed.errors import BedError

LOOPBACK = "127.0.0.1"
# Below the range from which the kernel takes the source ports of outgoing connections (ip_local_port_range, from 32768
# on). A port that the kernel would give out itself, as binding port 0 does, can be in use when its server starts.
RANGE = range(20000, 32000)


def free_ports(count: int) -> list[int]:
    """That many different ports on which nobody listens; they stay free over a restart of their server.

    Another rig draws its own at random from the same 12,000. BedError: fewer are free among 400 drawn.
    """
    found: list[int] = []
    for port in random.sample(RANGE, 400):
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
