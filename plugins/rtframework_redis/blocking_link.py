"""A connection to Redis that blocks the thread that uses it: one command at a time, each with a deadline."""

from __future__ import annotations

import secrets
import socket
import ssl
from typing import Any, Final

from hiredis import HiredisError, Reader

from .address import Address
from .commands import Argument, pack
from .errors import LinkLost, LinkRefused, ReplyError
from .handshake import Former
from .link import wall_time

_MORE: Final = object()
_CHUNK: Final = 65536


class BlockingLink:
    """One connection, for one thread at a time. Deadlines are by ``wall_time``.

    It never repeats a command and never reconnects. Replies are those of RESP2, as of ``Link``.
    """

    def __init__(self, address: Address, deadline: float, *, name: str = "rtframework") -> None:
        """Connect and log in. Raises ``LinkRefused``, which names the address without its password."""
        self._asking = address.asking
        self._reader = Reader(replyError=ReplyError, notEnoughData=_MORE)
        self.former: Former | None = None
        """What is needed to end this connection by another one; ``None`` if Redis does not tell."""
        secret = ""
        try:
            self._socket = _open(address, deadline)
        except TimeoutError:
            raise LinkRefused(f"{address} did not answer in time") from None
        except OSError as error:
            raise LinkRefused(f"{address}: {error.strerror or error}") from None
        try:
            user, secret = _credentials(address)
            self._log_in(address, user, secret, f"{address.client_name or name}#{secrets.token_hex(6)}", deadline)
        except ReplyError as error:
            self.close()
            # Redis before 6 repeats the arguments of commands that it does not know.
            text = str(error).replace(secret, "***") if secret else str(error)
            raise LinkRefused(f"{address} refused: {text}", code=error.code) from None
        except LinkLost as error:
            raise LinkRefused(f"{address}: {error}") from None
        except BaseException:
            self.close()
            raise

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; in a process that was forked, the parent keeps its own."""
        connection = getattr(self, "_socket", None)
        if connection is not None:
            connection.close()

    def command(self, deadline: float, *args: Argument) -> Any:
        """Send a command and return its reply. Raises ``ReplyError``, and ``LinkLost``, after which it is of no use."""
        data = pack(args)
        is_written = False
        try:
            self._wait_until(deadline)
            is_written = True
            self._socket.sendall(pack(("ASKING",)) + data if self._asking else data)
            if self._asking:
                self._read(deadline)
            reply = self._read(deadline)
        except TimeoutError:
            self.close()
            raise LinkLost("Redis did not answer in time", written=is_written) from None
        except OSError as error:
            self.close()
            raise LinkLost(str(error), written=is_written) from None
        except HiredisError as error:
            self.close()
            raise LinkLost(f"Redis sent something that is no reply: {error}", written=is_written) from None
        if isinstance(reply, ReplyError):
            raise reply
        return reply

    def end(self, former: Former | None, deadline: float) -> bool:
        """Make sure that Redis reads no more from a lost connection to the same server, see ``end_former``."""
        if former is None or self.former is None or former.place != self.former.place:
            return False
        try:
            found = self.command(deadline, "CLIENT", "LIST", "ID", former.client_id)
            if f"name={former.name} ".encode() in bytes(found):
                self.command(deadline, "CLIENT", "KILL", "ID", former.client_id)
        except (ReplyError, TypeError):
            return False
        return True

    def _read(self, deadline: float) -> Any:
        while (reply := self._reader.gets()) is _MORE:
            self._wait_until(deadline)
            data = self._socket.recv(_CHUNK)
            if not data:
                raise ConnectionResetError("Redis closed the connection")
            self._reader.feed(data)
        return reply

    def _wait_until(self, deadline: float) -> None:
        """Let the next step take until a deadline. Raises ``TimeoutError`` if it has passed."""
        left = deadline - wall_time()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)

    def _log_in(self, address: Address, user: str, password: str, name: str, deadline: float) -> None:
        if password:
            try:
                # As HELLO of the other connections does: a Redis that has no password takes any for its default user.
                self.command(deadline, "AUTH", user or "default", password)
            except ReplyError as error:
                if user or error.code != "ERR":
                    raise
                self.command(deadline, "AUTH", password)  # Redis before 6 knows no users
        if address.db:
            self.command(deadline, "SELECT", address.db)
        self.command(deadline, "PING")  # raises LOADING, NOAUTH, NOPERM …
        try:
            self.command(deadline, "CLIENT", "SETNAME", name)
            self.former = Former(address.place, int(self.command(deadline, "CLIENT", "ID")), name)
            if address.must_be_master and self.command(deadline, "ROLE")[0] != b"master":
                self.close()
                raise LinkRefused(f"{address} is a replica")
        except ReplyError:
            pass  # the user may not: then a lost reply costs more time


def _open(address: Address, deadline: float) -> socket.socket:
    left = max(deadline - wall_time(), 0.001)
    seconds = min(left, address.connect_timeout or left)
    if address.path:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(seconds)
            connection.connect(address.path)
        except OSError:
            connection.close()
            raise
        return connection
    connection = socket.create_connection((address.host, address.port), seconds)
    try:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in address.keepalive_options.items():
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
        return address.tls.wrap_socket(connection, server_hostname=address.host) if address.tls else connection
    except (OSError, ssl.SSLError):
        connection.close()
        raise


def _credentials(address: Address) -> tuple[str, str]:
    provider = address.credential_provider
    if provider is None:
        return address.username, address.password
    found = provider.get_credentials()
    return (found[0], found[1]) if len(found) == 2 else ("", found[0])
