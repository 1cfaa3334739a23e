"""The conformance suite of authenticators."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ...exceptions import ConnectionRefused
from ...types import Handshake
from .suites import check

if TYPE_CHECKING:
    from ...protocols import Authenticator

_SHORTEST_SECRET: Final = 6


class AuthenticatorConformance:
    """Tests of an :class:`~rtframework.protocols.Authenticator`.

    Implement :meth:`authenticator`, :meth:`good` and :meth:`bad`, and :meth:`secrets` if its default does not fit.
    """

    def authenticator(self) -> Authenticator:
        """Return a new authenticator, as a program would make it."""
        raise NotImplementedError("give the suite an authenticator()")

    def good(self) -> Handshake:
        """Return a handshake that the authenticator accepts."""
        raise NotImplementedError("give the suite a good() handshake")

    def bad(self) -> Mapping[str, Handshake]:
        """Return handshakes that the authenticator refuses, by a description; one for each way to fail."""
        raise NotImplementedError("give the suite bad() handshakes")

    def secrets(self, handshake: Handshake) -> Iterable[str]:
        """Return the strings of a handshake that must not be revealed.

        By default these are all strings of six characters or more in ``auth``, in the cookies and in the query, and the
        Authorization header and its credentials.
        """
        values = [*_strings(handshake.auth), *handshake.cookies.values(), *handshake.query.values()]
        for name, value in handshake.headers.items():
            if name.lower() == "authorization":
                values += [value, value.partition(" ")[2]]
        return [value for value in values if len(value) >= _SHORTEST_SECRET]

    def test_a_good_handshake_is_let_in(self) -> None:
        """A client with a valid handshake is accepted, each time."""

        async def run() -> None:
            authenticator = self.authenticator()
            for _ in range(2):
                user = await authenticator.authenticate(self.good())
                check(user is not None, "a good handshake gave no user; None means refused")

        asyncio.run(run())

    def test_bad_handshakes_are_refused_with_a_code(self) -> None:
        """A client's program can tell from ``err.data.code`` what to do: sign in again, ask for another token."""
        check(bool(self.bad()), "bad() is empty: there is nothing to refuse")
        for what, handshake in self.bad().items():
            refused = self._refused(what, handshake)
            check(isinstance(refused.message, str) and bool(refused.message), f"{what}: a message that says nothing")
            code = refused.data.get("code") if isinstance(refused.data, dict) else None
            check(isinstance(code, str) and bool(code), f"{what}: data is no dict with a string as its code")
            try:
                msgspec.json.encode(refused.data)
            except (TypeError, ValueError, RecursionError) as error:
                raise AssertionError(f"{what}: data cannot be sent to the client") from error

    def test_nothing_secret_is_told(self) -> None:
        """Tokens do not end up in the client's error, in logs, in a traceback's text, or where an object is printed."""
        for what, handshake in {"good": self.good(), **self.bad()}.items():
            secrets = set(self.secrets(handshake))
            authenticator = self.authenticator()
            refused: ConnectionRefused | None = None
            with _overheard() as overheard:
                try:
                    asyncio.run(_authenticate(authenticator, handshake))
                except ConnectionRefused as error:
                    refused = error
            told = {"the log or output": "\n".join(overheard), "repr(authenticator)": repr(authenticator)}
            seen: set[int] = set()
            link: BaseException | None = refused
            while link is not None and id(link) not in seen:
                seen.add(id(link))
                told[f"the exception {type(link).__name__}"] = f"{link} {link!r} {vars(link)}"
                link = link.__cause__ or link.__context__
            for where, text in told.items():
                for secret in secrets:
                    check(secret not in text, f"{what}: {where} holds a secret of the handshake")

    def test_calls_do_not_mix(self) -> None:
        """Clients that connect at the same time are each judged by their own handshake."""

        async def run() -> None:
            authenticator = self.authenticator()
            good, bad = self.good(), list(self.bad().values())
            handshakes = [handshake for refused in bad for handshake in (good, refused, good)] * 3
            outcomes = await asyncio.gather(
                *(authenticator.authenticate(handshake) for handshake in handshakes), return_exceptions=True
            )
            for handshake, outcome in zip(handshakes, outcomes, strict=True):
                if handshake is good:
                    check(
                        outcome is not None and not isinstance(outcome, BaseException),
                        f"a good handshake among bad ones: {outcome!r:.200}",
                    )
                else:
                    check(isinstance(outcome, ConnectionRefused), f"a bad handshake among good ones: {outcome!r:.200}")

        asyncio.run(run())

    def test_hostile_handshakes_do_no_harm(self) -> None:
        """Invalid data is refused like a wrong token, and does not fill the log with tracebacks."""
        for what, handshake in _hostile(self.good()):
            try:
                asyncio.run(_authenticate(self.authenticator(), handshake))
            except ConnectionRefused:
                continue
            except Exception as error:
                raise AssertionError(f"{what}: {type(error).__name__} instead of ConnectionRefused") from error

    def _refused(self, what: str, handshake: Handshake) -> ConnectionRefused:
        try:
            user = asyncio.run(_authenticate(self.authenticator(), handshake))
        except ConnectionRefused as refused:
            return refused
        except Exception as error:
            raise AssertionError(f"{what}: {type(error).__name__} instead of ConnectionRefused") from error
        raise AssertionError(f"{what}: was let in as {user!r:.200}")


async def _authenticate(authenticator: Authenticator, handshake: Handshake) -> Any:
    return await authenticator.authenticate(handshake)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _strings(item)


def _hostile(good: Handshake) -> Iterator[tuple[str, Handshake]]:
    """Yield copies of the good handshake in which one value is replaced by an odd one, with a description."""
    odd: tuple[Any, ...] = (
        *(None, True, 0, -1.5, [], {}, ["x"], {"x": {}}, b"bytes", float("nan")),
        *("", " ", ".", "..", "a.b.c", "\x00", "\ud800", "é" * 50, "x" * 1_000_000, "e30." * 5_000),
    )
    yield "nothing at all", Handshake()
    names = {*good.auth, "token"}
    for value in odd:
        yield f"auth of {value!r:.40}", _with(good, auth=dict.fromkeys(names, value))
        if isinstance(value, str):
            yield f"credentials of {value!r:.40}", _with(good, headers={"Authorization": f"Bearer {value}"})
            yield f"an Authorization header of {value!r:.40}", _with(good, headers={"Authorization": value})
            yield f"cookies of {value!r:.40}", _with(good, cookies=dict.fromkeys(good.cookies, value))
            yield f"a query of {value!r:.40}", _with(good, query=dict.fromkeys(good.query, value))


def _with(
    good: Handshake,
    *,
    auth: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
    cookies: Mapping[str, str] | None = None,
    query: Mapping[str, str] | None = None,
) -> Handshake:
    return Handshake(
        auth=auth if auth is not None else {},
        headers=headers if headers is not None else {},
        cookies=cookies if cookies is not None else {},
        query=query if query is not None else {},
        address=good.address,
        secure=good.secure,
        nsp=good.nsp,
        url=good.url,
        time=good.time,
    )


@contextlib.contextmanager
def _overheard() -> Iterator[list[str]]:
    """Collect everything that is printed or logged, from DEBUG up and with tracebacks."""
    lines: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(f"{self.format(record)} {record.args!r} {vars(record)!r}")

    root = logging.getLogger()
    level, handler, output = root.level, Handler(), io.StringIO()
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            yield lines
    finally:
        root.setLevel(level)
        root.removeHandler(handler)
        lines.append(output.getvalue())
