"""No network for this process: what asks for a host or connects to one fails, and is noted.

    python tests/offline.py WORDS... [, WORDS...]...  # commands of stkit, one after the other

Python tells its audit hooks before it does either; a hook stays as long as the process. Loopback,
by which ranks find one another, and sockets that are files remain.
"""

import errno
import ipaddress
import socket
import sys
from typing import Any

asked: list[str] = []
"""What was asked for and refused, so that code which swallows the error is seen too."""


def forbid() -> None:
    """Have every request of this process for another machine fail as if there were no network."""
    sys.addaudithook(_refuse)


def taken() -> list[str]:
    """What was asked for since the last call."""
    found = asked.copy()
    asked.clear()
    return found


def _refuse(event: str, args: tuple[Any, ...]) -> None:
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        asker, address = args
        if asker.family == getattr(socket, "AF_UNIX", None) or address is None:
            return
        host = address[0] if isinstance(address, tuple) else address
    elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        host = args[0]
    else:
        return
    if not _is_here(host):
        asked.append(f"{event} {host!r}")
        raise OSError(errno.ENETUNREACH, "no network in tests")


def _is_here(host: Any) -> bool:
    name = host.decode() if isinstance(host, bytes) else host
    if name in (None, "", "localhost", socket.gethostname()):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def main(words: list[str]) -> int:
    """The first exit code that is not 0; 3 where a command asked for the network.

    Ends with what was imported of that takes long and that no command needs.
    """
    forbid()
    from stkit.cli import main as stkit

    for line in " ".join(words).split(" , "):
        if code := stkit(line.split()):
            return code
    print(*asked, sep="\n", file=sys.stderr)
    print("imported:", *({"torch._dynamo", "torch._inductor"} & sys.modules.keys()))
    return 3 if asked else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
