"""Sockets to listen on, bound before anything else happens, so that a port in use is reported at once."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import sys
from typing import Final

from .errors import Exit, Failure

BACKLOG: Final = 4096
"""Connections that the system keeps until they are accepted, if it allows so many (Linux: ``net.core.somaxconn``)."""


def bind(host: str, port: int) -> list[socket.socket]:
    """Listen on all addresses of a host, with the same port; port 0 picks a free one. Raises ``Failure``."""
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise Failure(f"{host} is no address of this machine: {error.strerror}") from None
    bound: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            try:
                sock = socket.socket(family, kind, protocol)
            except OSError:  # a machine without IPv6 may still resolve names to IPv6 addresses
                continue
            bound.append(sock)
            if os.name == "posix":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((address[0], port, *address[2:]))
            sock.listen(BACKLOG)
            port = sock.getsockname()[1]
    except OSError as error:
        for sock in bound:
            sock.close()
        raise Failure(_explain(error, f"{host or '*'}:{port}")) from None
    if not bound:
        raise Failure(f"{host} has no address that this machine can listen on")
    return bound


def can_share() -> bool:
    """Return whether several processes can listen on one port of this system, and get connections evenly."""
    return sys.platform == "linux" and hasattr(socket, "SO_REUSEPORT")


def bind_shared(host: str, port: int, count: int) -> list[list[socket.socket]]:
    """Bind so many sockets to each address of a host, which share its connections. Raises ``Failure``.

    A socket gets connections from the moment at which somebody listens on it.
    """
    first = bind(host, port)  # without sharing: a port in use would be shared with another program
    addresses = [(sock.family, sock.proto, sock.getsockname()) for sock in first]
    for sock in first:
        sock.close()
    bound: list[list[socket.socket]] = []
    try:
        for _ in range(count):
            bound.append([])
            for family, protocol, address in addresses:
                sock = socket.socket(family, socket.SOCK_STREAM, protocol)
                bound[-1].append(sock)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                if family == socket.AF_INET6:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                sock.bind(address)
    except OSError as error:
        for sock in (sock for each in bound for sock in each):
            sock.close()
        raise Failure(_explain(error, f"{host or '*'}:{port}")) from None
    return bound


def bind_unix(path: str, mode: int | None = None) -> socket.socket:
    """Listen on a Unix socket; replace the file of one that no process listens on. Raises ``Failure``.

    ``mode``: the file's permissions, set before a client can connect; by default 0777 without the bits of the umask. A
    process that may not write to the file cannot connect.
    """
    if not hasattr(socket, "AF_UNIX"):
        raise Failure("this system has no Unix sockets")
    if not path:
        raise Failure("a Unix socket needs the name of a file", Exit.USAGE)
    if os.path.exists(path) and not stat.S_ISSOCK(os.stat(path).st_mode):
        raise Failure(f"{path} is there already, and no Unix socket")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if _is_abandoned(path):
            os.unlink(path)
        sock.bind(path)
        if mode is not None:
            os.chmod(path, mode)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise Failure(_explain(error, path)) from None
    return sock


def url_of(sock: socket.socket) -> str:
    """Return the URL of a listening socket, or ``unix:`` and its file."""
    address = sock.getsockname()
    if not isinstance(address, tuple):
        return f"unix:{address}"
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    return f"http://{host}:{address[1]}"


def remove_unix(path: str) -> None:
    """Remove the file of a closed Unix socket."""
    with contextlib.suppress(OSError):
        os.unlink(path)


def _is_abandoned(path: str) -> bool:
    if not os.path.exists(path):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return True
    return False


def _explain(error: OSError, where: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"{where} is in use: another program listens there"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{where} is no address of this machine"
    if error.errno == errno.EACCES:
        return f"{where} may not be listened on by this user"
    return f"cannot listen on {where}: {error.strerror or error}"
