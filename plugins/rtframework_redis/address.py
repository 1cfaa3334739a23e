"""Addresses of Redis servers: everything that is needed to connect to one and to log in, as redis-py understands it."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast
from urllib.parse import quote

from redis.asyncio import Redis
from redis.asyncio.connection import Connection, ConnectionPool, SSLConnection, UnixDomainSocketConnection
from redis.credentials import CredentialProvider
from redis.exceptions import RedisError

from rtframework.exceptions import ConfigurationError

_IGNORED: Final = frozenset({"connection_pool", "max_connections", "timeout"})
"""Settings of redis-py's pools that are passed to their connections, or stand beside those of connections."""


@dataclass(frozen=True, kw_only=True)
class Address:
    """One Redis server and the way to log in there. ``str(address)`` is its URL without password.

    ``path``: a Unix socket, instead of ``host`` and ``port``. ``tls``: the settings for ``rediss://``.
    ``credential_provider``: asked for user and password at each connection, as redis-py does.
    ``protocol``: 2 or 3; with 3, servers that do not know it are spoken to with 2. ``must_be_master``: refuse the
    server if it calls itself a replica. ``asking``: its slot is being moved to it, see ``Redirect``.
    """

    host: str = "localhost"
    port: int = 6379
    path: str = ""
    db: int = 0
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    credential_provider: CredentialProvider | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    client_name: str = ""
    connect_timeout: float | None = None
    protocol: int = 3
    keepalive_options: Mapping[int, int | bytes] = field(default_factory=dict, repr=False)
    must_be_master: bool = False
    asking: bool = False

    def __str__(self) -> str:
        user = f"{quote(self.username, safe='')}@" if self.username else ""
        if self.path:
            return f"unix://{user}{quote(self.path)}?db={self.db}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"redis{'s' if self.tls else ''}://{user}{host}:{self.port}/{self.db}"

    @property
    def place(self) -> str:
        """The server alone, without user and database."""
        return self.path or f"{self.host}:{self.port}"

    async def credentials(self) -> tuple[str, str]:
        """Return user and password; the password is empty if there is none."""
        if self.credential_provider is None:
            return self.username, self.password
        found = await self.credential_provider.get_credentials_async()
        return (found[0], found[1]) if len(found) == 2 else ("", found[0])

    @classmethod
    def from_url(cls, url: str) -> Address:
        """Parse a URL with redis-py: ``redis://``, ``rediss://`` or ``unix://``, with all of its options.

        Raises ``ConfigurationError``, which names the URL without its password.
        """
        try:
            pool = ConnectionPool.from_url(url)
            return cls.from_settings(pool.connection_class, pool.connection_kwargs)
        except (ValueError, TypeError, OSError, RedisError) as error:
            raise ConfigurationError(f"{without_password(url)}: {error}") from None

    @classmethod
    def from_client(cls, client: Redis) -> Address:
        """Take the settings of a ``redis.asyncio.Redis``; its connections are not used."""
        pool = client.connection_pool
        return cls.from_settings(pool.connection_class, pool.connection_kwargs)

    @classmethod
    def from_settings(cls, connection_class: type[Any], settings: Mapping[str, Any]) -> Address:
        """Take the settings of redis-py's connections of a class; the object that is made never connects.

        ``TypeError`` and ``ValueError`` are redis-py's, as is ``RedisError``, for settings that it does not know.
        """
        made = connection_class(**{name: value for name, value in settings.items() if name not in _IGNORED})
        common: dict[str, Any] = {
            "db": int(made.db or 0),
            "username": made.username or "",
            "password": made.password or "",
            "credential_provider": made.credential_provider,
            "client_name": made.client_name or "",
            "connect_timeout": made.socket_connect_timeout,
            "protocol": int(settings.get("protocol") or 3),
        }
        if isinstance(made, UnixDomainSocketConnection):
            return cls(path=made.path, **common)
        if not isinstance(made, Connection):
            raise TypeError(f"{connection_class.__name__} connects in a way that is not known here")
        return cls(
            host=made.host,
            port=int(made.port),
            tls=made.ssl_context.get() if isinstance(made, SSLConnection) else None,
            keepalive_options=cast(Mapping[int, int | bytes], made.socket_keepalive_options or {}),
            **common,
        )


def without_password(url: str) -> str:
    """Return a URL without its password and without its options, for messages."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return "the URL"  # a password could be anywhere in it
    authority, slash, path = rest.partition("?")[0].rpartition("@")[2].partition("/")
    login = rest.partition("?")[0].rpartition("@")[0]
    user = login.partition(":")[0]
    return f"{scheme}://{f'{user}@' if user else ''}{authority}{slash}{path}"
