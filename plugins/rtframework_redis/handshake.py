"""Opening a connection to Redis: TCP, TLS or a Unix socket, then the protocol's version, the login and a name."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from .address import Address
from .errors import LinkLost, LinkRefused, ReplyError
from .link import Link, LinkOptions, OnPush

_NO_HELLO: Final = frozenset({"ERR", "NOPROTO", "NOPERM"})
"""Codes of errors of HELLO that say: speak RESP2."""


async def connect(
    address: Address,
    *,
    name: str = "rtframework",
    on_push: OnPush | None = None,
    on_stale: Callable[[ReplyError], None] | None = None,
    options: LinkOptions | None = None,
) -> Link:
    """Connect and log in. Raises ``LinkRefused``, which names the address without its password.

    ``name``: the beginning of the connection's name in Redis' CLIENT LIST, if the address has none. A server that
    loads its data, or that calls itself a replica where ``must_be_master`` is set, counts as unreachable.
    """
    options = options or LinkOptions()
    seconds = min(options.connect_timeout, address.connect_timeout or options.connect_timeout)
    made: list[Link] = []

    def make() -> Link:
        made.append(Link(on_push=on_push, on_stale=on_stale, asking=address.asking, options=options))
        return made[0]

    secret = ""
    opened = False
    try:
        async with asyncio.timeout(seconds):
            user, secret = await address.credentials()
            link = await _open(address, make)
            await _log_in(link, address, user, secret, f"{address.client_name or name}#{secrets.token_hex(6)}")
        opened = True
        return link
    except TimeoutError:
        raise LinkRefused(f"{address} did not answer within {seconds:g} s") from None
    except ReplyError as error:
        # Redis before 6 repeats the arguments of commands that it does not know.
        text = str(error).replace(secret, "***") if secret else str(error)
        raise LinkRefused(f"{address} refused: {text}", code=error.code) from None
    except LinkLost as error:
        raise LinkRefused(f"{address}: {error}") from None
    except OSError as error:
        raise LinkRefused(f"{address}: {error.strerror or error}") from None
    finally:
        if not opened:
            for each in made:
                each.fail("the connection was not opened")


async def _open(address: Address, make: Callable[[], Link]) -> Link:
    loop = asyncio.get_running_loop()
    if address.path:
        _, link = await loop.create_unix_connection(make, address.path)
        return link
    tls: dict[str, Any] = {"ssl": address.tls, "ssl_shutdown_timeout": 1.0} if address.tls is not None else {}
    transport, link = await loop.create_connection(make, address.host, address.port, **tls)
    connection = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in address.keepalive_options.items():
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
    return link


async def _log_in(link: Link, address: Address, user: str, password: str, name: str) -> None:
    if address.protocol >= 3:
        login = ("AUTH", user or "default", password) if password else ()
        try:
            await _hello(link, await link.send("HELLO", 3, *login))
        except ReplyError as error:
            if error.code not in _NO_HELLO:
                raise
    if not link.resp3 and password:
        await link.send("AUTH", *((user, password) if user else (password,)))
    optional = [link.send("CLIENT", "SETNAME", name), link.send("CLIENT", "ID")]
    needed = [link.send("PING")]
    if address.db:
        needed.append(link.send("SELECT", address.db))
    named, client_id, *_ = await asyncio.gather(*optional, *needed, return_exceptions=True)
    for command in needed:
        await command  # raises LOADING, NOAUTH, NOPERM …
    if not isinstance(named, BaseException):
        link.name = name
    if isinstance(client_id, int):
        link.client_id = client_id
    if address.must_be_master and link.role == "replica":
        raise LinkRefused(f"{address} is a replica")


async def _hello(link: Link, reply: Any) -> None:
    if not isinstance(reply, dict):
        raise LinkLost("Redis answered HELLO with something else than a map")
    link.resp3 = True
    role, version = reply.get(b"role", b""), reply.get(b"version", b"")
    link.role = {b"slave": "replica"}.get(role, role.decode(errors="replace"))
    link.version = version.decode(errors="replace")


@dataclass(frozen=True, slots=True)
class Former:
    """A connection that was lost, by which its successor can end it in Redis."""

    place: str
    """The server, as ``Address.place``."""
    client_id: int
    name: str


async def end_former(link: Link, former: Former) -> bool:
    """Make sure that Redis reads no more from a lost connection: end it by CLIENT KILL if it is still there.

    Return ``False`` if that cannot be known, because the user may not list or kill clients. Numbers of connections
    begin again when Redis restarts, so one of another name is left alone. ``link`` leads to ``former.place``.
    """
    try:
        found = await link.send("CLIENT", "LIST", "ID", former.client_id)
        if f"name={former.name} ".encode() not in bytes(found):
            return True
        await link.send("CLIENT", "KILL", "ID", former.client_id)
    except (ReplyError, TypeError):
        return False
    return True
