"""Conformance suites: what a serializer or authenticator must do, as tests that a plugin's author runs on it.

Subclass a suite, say how to make the thing under test, and let any test runner that collects classes with ``test_``
methods run it (pytest does; with unittest, inherit ``unittest.TestCase`` too). Without a runner, :func:`run_suite`
does. The tests are plain functions: asynchronous things run in an event loop of their own.

Example::

    class TestMySerializer(SerializerConformance):
        def serializer(self) -> Serializer:
            return MySerializer()
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import io
import logging
import random
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

from ..exceptions import AckTimeout, ConnectionRefused, DecodeError, Disconnected, EncodeError
from ..protocols import Session
from ..types import RESERVED_EVENTS, Handshake, Packet, PacketType, SocketDetails, Target

if TYPE_CHECKING:
    from ..protocols import Adapter, Authenticator, Decoder, Emitter, Frames, Serializer

_Frame: TypeAlias = str | bytes

_MAX_FRAMES: Final = 12
_SHORTEST_SECRET: Final = 6


def run_suite(suite: type[Any]) -> list[str]:
    """Run every test of a suite, each on an instance of its own; the names of the tests, sorted.

    Raises an ``ExceptionGroup`` with what failed.

    Example::

        run_suite(TestMySerializer)
    """
    names = sorted(name for name in dir(suite) if name.startswith("test_"))
    failures: list[Exception] = []
    for name in names:
        try:
            getattr(suite(), name)()
        except Exception as error:  # noqa: BLE001 - a test may fail in any way; all are reported together
            error.add_note(f"in {suite.__name__}.{name}")
            failures.append(error)
    if failures:
        raise ExceptionGroup(f"{len(failures)} of {len(names)} tests of {suite.__name__} failed", failures)
    return names


class SerializerConformance:
    """What every :class:`~rtframework.protocols.Serializer` must do.

    Give :meth:`serializer`. Set ``supports_binary = False`` for one that cannot carry bytes: it must then refuse them.
    ``rubbish`` adds frames of your own that are no packets to the ones that the suite makes up.
    """

    supports_binary: bool = True
    rubbish: Sequence[str | bytes] = ()

    def serializer(self) -> Serializer:
        """A new serializer, as a program would make it."""
        raise NotImplementedError("give the suite a serializer()")

    def test_every_packet_type_round_trips(self) -> None:
        """Clients can connect, talk, answer, be refused and leave."""
        for packet in (
            Packet(PacketType.CONNECT),
            Packet(PacketType.CONNECT, data={"token": "x"}),
            Packet(PacketType.CONNECT, data={"sid": "abc", "pid": "def"}),
            Packet(PacketType.DISCONNECT),
            Packet(PacketType.EVENT, data=["hello"]),
            Packet(PacketType.ACK, data=[], id=0),
            Packet(PacketType.ACK, data=[1, "two"], id=7),
            Packet(PacketType.CONNECT_ERROR, data={"message": "no", "data": {"code": "expired"}}),
        ):
            self._round_trip(packet)

    def test_arguments_round_trip(self) -> None:
        """What one side emits is what the other side's handler gets: several arguments, any JSON value, any depth."""
        for arguments in (
            [],
            [None],
            [True, False, None],
            [0, 1, -1, 127, 128, 255, 256, 65535, 65536, 2**31, -(2**31), 2**53 - 1, -(2**53) + 1],
            [0.5, -1.25, 1e300, 5e-324],
            ["", "a", "0", "/", ",", '"', "\\", "\n\x00\x7f", "[1]", "-", "x" * 70_000],
            ["ü", "日本語", "\U0001f600", "e\u0301", "\u2028", "\ufeff", "\uffff"],
            [[], {}, [[]], [{}], {"": {}}],
            [{"a": [1, {"b": [None, {"c": "d"}]}], "ü": 1, "_placeholder": False, "num": 0}],
            [list(range(70_000)), {str(number): number for number in range(1_000)}],
        ):
            self._round_trip(Packet(PacketType.EVENT, data=["event", *arguments]))
            self._round_trip(Packet(PacketType.ACK, data=arguments, id=1))
        nested: Any = "leaf"
        for _ in range(50):
            nested = [{"in": nested}]
        self._round_trip(Packet(PacketType.EVENT, data=["deep", nested]))

    def test_event_names_round_trip(self) -> None:
        """Any name that is not reserved can be used for an event."""
        for name in ("", "a", "event name", "1", "été", "\U0001f600", "Connect", "disconnected", "x" * 1_000):
            self._round_trip(Packet(PacketType.EVENT, data=[name, 1]))

    def test_namespaces_and_ids_round_trip(self) -> None:
        """A packet arrives in its namespace, and an acknowledgement finds its question."""
        for nsp in ("/", "/admin", "/chat/1", "/1", "/é", "/a-b_c.d"):
            for id in (None, 0, 1, 9, 10, 12_345, 2**31, 2**53 - 1):
                for arguments in ([], [1], ["1"], [{"a": 1}]):
                    self._round_trip(Packet(PacketType.EVENT, nsp, ["e", *arguments], id))
                    if id is not None:
                        self._round_trip(Packet(PacketType.ACK, nsp, arguments, id))
            self._round_trip(Packet(PacketType.CONNECT, nsp))
            self._round_trip(Packet(PacketType.CONNECT, nsp, {"a": 1}))
            self._round_trip(Packet(PacketType.DISCONNECT, nsp))

    def test_binary_round_trips_at_any_depth(self) -> None:
        """Bytes arrive as the same bytes wherever they stand; one that cannot carry them says so."""
        blob = bytes(range(256))
        payloads: tuple[list[Any], ...] = (
            [b""],
            [b"\x00"],
            [b"12345678"],
            [blob * 300],
            [1, blob, "between", b"two"],
            [{"a": {"b": [blob, {"c": b"\xff"}]}}, [[b"x"]]],
            [blob, blob],
        )
        for arguments in payloads:
            for packet in (
                Packet(PacketType.EVENT, data=["file", *arguments]),
                Packet(PacketType.EVENT, "/files", ["file", *arguments], 3),
                Packet(PacketType.ACK, "/files", arguments, 4),
            ):
                if self.supports_binary:
                    self._round_trip(packet)
                else:
                    self._refuses_to_encode(packet)
        if self.supports_binary:
            for like_bytes in (bytearray(blob), memoryview(blob)):
                frames = self._encode(self.serializer(), Packet(PacketType.EVENT, data=["file", like_bytes]))
                decoded = self._decode(self.serializer().decoder(), frames)
                _check(decoded.data == ["file", blob], f"{type(like_bytes).__name__} did not arrive as bytes")

    def test_encoding_leaves_its_input_alone(self) -> None:
        """A program may keep what it emitted and emit it again: to a broadcast's other namespaces, say."""
        data: list[Any] = ["e", {"a": [1, {"b": None}]}, "text"]
        if self.supports_binary:
            data += [b"bytes", {"c": bytearray(b"more")}]
        packet = Packet(PacketType.EVENT, "/n", data, 5)
        before = copy.deepcopy(packet)
        serializer = self.serializer()
        first = self._encode(serializer, packet)
        _check(packet == before, f"encode() changed its packet to {packet!r}")
        _check(packet.data is data, "encode() replaced the packet's data")
        _check(self._encode(serializer, packet) == first, "encoding the same packet again gave other frames")

    def test_decoders_are_independent(self) -> None:
        """Two clients that talk at the same time do not get parts of each other's packets."""
        serializer = self.serializer()
        one: list[Any] = ["one", {"n": 1}, "a"]
        two: list[Any] = ["two", {"n": 2}, "b"]
        if self.supports_binary:
            one += [b"1", {"x": b"11"}]
            two += [b"2", {"x": b"22"}]
        frames = [self._encode(serializer, Packet(PacketType.EVENT, data=data)) for data in (one, two)]
        decoders = [serializer.decoder(), serializer.decoder()]
        for _ in range(2):
            got: list[list[Packet]] = [[], []]
            for position in range(max(map(len, frames))):
                for index, decoder in enumerate(decoders):
                    if position < len(frames[index]):
                        packet = decoder.decode(frames[index][position])
                        if packet is not None:
                            got[index].append(packet)
            for packets, data in zip(got, (one, two), strict=True):
                _check([packet.data for packet in packets] == [data], f"expected {data!r}, got {packets!r}")

    def test_reserved_events_are_refused(self) -> None:
        """No client can make a server's connection or disconnect handler run by sending an event of that name."""
        for name in sorted(RESERVED_EVENTS):
            packet = Packet(PacketType.EVENT, data=[name, "forged"])
            try:
                frames = self._encode(self.serializer(), packet)
            except EncodeError:
                continue
            self._refuses_to_decode(frames, f"an event named {name!r}")

    def test_malformed_packets_are_refused(self) -> None:
        """A packet that is well written but makes no sense never reaches the framework."""
        for packet in (
            Packet(PacketType.EVENT),
            Packet(PacketType.EVENT, data=[]),
            Packet(PacketType.EVENT, data={"not": "a list"}),
            Packet(PacketType.EVENT, data="text"),
            Packet(PacketType.EVENT, data=[None]),
            Packet(PacketType.EVENT, data=[1]),
            Packet(PacketType.EVENT, data=[["name"]]),
            Packet(PacketType.ACK, data=[1]),
            Packet(PacketType.ACK, data={"not": "a list"}, id=1),
            Packet(PacketType.ACK, id=1),
            Packet(PacketType.CONNECT, data=["a list"]),
            Packet(PacketType.CONNECT, data="text"),
            Packet(PacketType.DISCONNECT, data={"anything": 1}),
            Packet(7, data=["e"]),
        ):
            try:
                frames = self._encode(self.serializer(), packet)
            except EncodeError:
                continue
            self._refuses_to_decode(frames, repr(packet))

    def test_rubbish_is_a_decode_error(self) -> None:
        """Whatever a client sends, the worst that happens is that its own connection is closed."""
        made_up: tuple[_Frame, ...] = (
            *(
                "",
                " ",
                "x",
                "{}",
                "[]",
                "null",
                "2",
                "2[",
                '2["e"',
                '2["e"]]',
                "5",
                "51-",
                "9",
                "-1",
                "²",
                "2²",
                "\ud800",
            ),
            *("2" + "[" * 100_000, "2[" + '{"a":' * 100_000, '2["e",' + "9" * 10_000 + "]", "5" + "9" * 400 + '-["e"]'),
            *(b"", b"\x00", b"\xc1", b"\xff" * 9, b"\x80", b"\x90", b"\xc0", b"\x00" * 10_000),
            *(
                b"\x91" * 100_000,
                b"\x81\xa1a" * 100_000,
                b"\xdd\xff\xff\xff\xff",
                b"\xdf\xff\xff\xff\xff",
                b"\xc6\xff\xff\xff\xff",
            ),
        )
        for frame in (*made_up, *self.rubbish):
            self._survives(frame)
        for frame in self.rubbish:
            self._refuses_to_decode([frame], repr(frame[:100]))

    def test_damaged_packets_are_decode_errors(self) -> None:
        """A good packet with some of it cut, doubled or changed is refused, or is still a packet that makes sense."""
        chance = random.Random(20240229)
        data: list[Any] = ["event", {"a": [1, -2.5, None, True], "ü": "\U0001f600"}, 2**40]
        packets = [
            Packet(PacketType.EVENT, "/n", data, 12),
            Packet(PacketType.ACK, "/", data, 3),
            Packet(PacketType.CONNECT, "/n", {"token": "x"}),
        ]
        if self.supports_binary:
            packets.append(Packet(PacketType.EVENT, "/n", [*data, b"12345678", {"b": b""}], 1))
        serializer = self.serializer()
        for packet in packets:
            frames = self._encode(serializer, packet)
            for frame in frames:
                for cut in range(len(frame)):
                    self._survives(frame[:cut])
                    self._survives(frame[cut:])
                for _ in range(500):
                    self._survives(_damaged(frame, chance))
                self._survives(frame + frame)  # type: ignore[operator]

    def test_what_cannot_be_sent_is_an_encode_error(self) -> None:
        """An emit with an object that has no form on the wire fails where it stands, with one kind of error."""
        endless: list[Any] = []
        endless.append(endless)
        deep: list[Any] = []
        for _ in range(100_000):
            deep = [deep]
        for value in (object(), object, endless, deep, {"in": [object()]}, "\ud800", {"\udfff": 1}):
            self._refuses_to_encode(Packet(PacketType.EVENT, data=["e", value]))

    # -- what the tests are made of

    def _encode(self, serializer: Serializer, packet: Packet) -> list[_Frame]:
        frames = list(serializer.encode(packet))
        _check(0 < len(frames) <= _MAX_FRAMES, f"{len(frames)} frames for {packet!r:.200}")
        for frame in frames:
            _check(type(frame) in (str, bytes), f"a frame is str or bytes, not {type(frame).__name__}")
        return frames

    def _decode(self, decoder: Decoder, frames: Sequence[_Frame]) -> Packet:
        for frame in frames[:-1]:
            early = decoder.decode(frame)
            _check(early is None, f"a packet before its last frame: {early!r:.200}")
        packet = decoder.decode(frames[-1])
        if packet is None:
            raise AssertionError("no packet after its last frame")
        return packet

    def _round_trip(self, packet: Packet) -> None:
        serializer = self.serializer()
        decoder = serializer.decoder()
        for attempt in ("", " the second time"):
            decoded = self._decode(decoder, self._encode(serializer, packet))
            _check_sense(decoded)
            _check(
                (decoded.type, decoded.nsp, decoded.id) == (packet.type, packet.nsp, packet.id)
                and _same(decoded.data, packet.data),
                f"{packet!r:.300} came back as {decoded!r:.300}{attempt}",
            )

    def _survives(self, frame: _Frame) -> None:
        try:
            packet = self.serializer().decoder().decode(frame)
        except DecodeError:
            return
        except Exception as error:
            raise AssertionError(f"{type(error).__name__} instead of DecodeError for {frame[:100]!r}") from error
        if packet is not None:
            _check_sense(packet)

    def _refuses_to_decode(self, frames: Sequence[_Frame], what: str) -> None:
        decoder = self.serializer().decoder()
        try:
            packets = [decoder.decode(frame) for frame in frames]
        except DecodeError:
            return
        raise AssertionError(f"{what} was taken for {packets!r:.200}")

    def _refuses_to_encode(self, packet: Packet) -> None:
        try:
            self.serializer().encode(packet)
        except EncodeError:
            return
        except Exception as error:
            raise AssertionError(f"{type(error).__name__} instead of EncodeError") from error
        raise AssertionError("what cannot be sent was encoded")


class AuthenticatorConformance:
    """What every :class:`~rtframework.protocols.Authenticator` must do.

    Give :meth:`authenticator`, :meth:`good` and :meth:`bad`, and :meth:`secrets` if the suite's guess does not fit.
    """

    def authenticator(self) -> Authenticator:
        """A new authenticator, as a program would make it."""
        raise NotImplementedError("give the suite an authenticator()")

    def good(self) -> Handshake:
        """A handshake that is let in."""
        raise NotImplementedError("give the suite a good() handshake")

    def bad(self) -> Mapping[str, Handshake]:
        """Handshakes that are refused, by a word that says what is wrong; one for each way to fail."""
        raise NotImplementedError("give the suite bad() handshakes")

    def secrets(self, handshake: Handshake) -> Iterable[str]:
        """What of a handshake must not be told to anybody.

        By default every string of six characters or more in ``auth``, in cookies and in the query, and the
        credentials of the Authorization header.
        """
        values = [*_strings(handshake.auth), *handshake.cookies.values(), *handshake.query.values()]
        for name, value in handshake.headers.items():
            if name.lower() == "authorization":
                values += [value, value.partition(" ")[2]]
        return [value for value in values if len(value) >= _SHORTEST_SECRET]

    def test_a_good_handshake_is_let_in(self) -> None:
        """Who has the right to come in comes in, again and again."""

        async def run() -> None:
            authenticator = self.authenticator()
            for _ in range(2):
                user = await authenticator.authenticate(self.good())
                _check(user is not None, "a good handshake gave no user; None means refused")

        asyncio.run(run())

    def test_bad_handshakes_are_refused_with_a_code(self) -> None:
        """A client's program can tell from ``err.data.code`` what to do: sign in again, ask for another token."""
        _check(bool(self.bad()), "bad() is empty: there is nothing to refuse")
        for what, handshake in self.bad().items():
            refused = self._refused(what, handshake)
            _check(isinstance(refused.message, str) and bool(refused.message), f"{what}: a message that says nothing")
            code = refused.data.get("code") if isinstance(refused.data, dict) else None
            _check(isinstance(code, str) and bool(code), f"{what}: data is no dict with a string as its code")
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
                    _check(secret not in text, f"{what}: {where} holds a secret of the handshake")

    def test_calls_do_not_mix(self) -> None:
        """Clients that come at the same time are each judged by their own handshake."""

        async def run() -> None:
            authenticator = self.authenticator()
            good, bad = self.good(), list(self.bad().values())
            handshakes = [handshake for refused in bad for handshake in (good, refused, good)] * 3
            outcomes = await asyncio.gather(
                *(authenticator.authenticate(handshake) for handshake in handshakes), return_exceptions=True
            )
            for handshake, outcome in zip(handshakes, outcomes, strict=True):
                if handshake is good:
                    _check(
                        outcome is not None and not isinstance(outcome, BaseException),
                        f"a good handshake among bad ones: {outcome!r:.200}",
                    )
                else:
                    _check(isinstance(outcome, ConnectionRefused), f"a bad handshake among good ones: {outcome!r:.200}")

        asyncio.run(run())

    def test_hostile_handshakes_do_no_harm(self) -> None:
        """What no honest client sends is refused like any other: it does not fill the log with tracebacks."""
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


def _check(condition: bool, message: str) -> None:
    # Not an assert: those are gone under python -O.
    if not condition:
        raise AssertionError(message)


def _same(one: Any, other: Any) -> bool:
    """Equal, and of equal types all the way down: ``1``, ``1.0`` and ``True`` are three things."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    return type(one) is type(other) and bool(one == other)


def _check_sense(packet: Packet) -> None:
    """A packet that the framework can work with (types.Packet)."""
    data, id = packet.data, packet.id
    _check(type(packet.nsp) is str, f"the namespace of {packet!r:.200} is no string")
    _check(id is None or (type(id) is int and id >= 0), f"the id of {packet!r:.200} is no id")
    match packet.type:
        case PacketType.EVENT:
            sensible = type(data) is list and bool(data) and type(data[0]) is str and data[0] not in RESERVED_EVENTS
        case PacketType.ACK:
            sensible = type(data) is list and id is not None
        case PacketType.CONNECT:
            sensible = data is None or isinstance(data, dict)
        case PacketType.DISCONNECT:
            sensible = data is None
        case PacketType.CONNECT_ERROR:
            sensible = isinstance(data, dict | str)
        case _:
            sensible = False
    _check(sensible, f"{packet!r:.200} makes no sense")


def _damaged(frame: _Frame, chance: random.Random) -> _Frame:
    characters: list[Any] = list(frame)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(characters) + 1)
        new: Any = (
            chance.choice('0129-,/[]{}":\\ue\ud800\U0001f600') if isinstance(frame, str) else chance.randrange(256)
        )
        match chance.randrange(3):
            case 0:
                characters.insert(at, new)
            case 1:
                characters[at : at + 1] = [new]
            case _:
                del characters[at : at + chance.randint(1, 3)]
    return "".join(characters) if isinstance(frame, str) else bytes(characters)


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
    """The good handshake with each of its values in turn replaced by something odd."""
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
    """Everything that is logged, from DEBUG up and with its tracebacks, or printed."""
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


class AdapterConformance:
    """What every :class:`~rtframework.protocols.Adapter` must do for the sockets of its own server.

    Give :meth:`adapter`. ``patience`` is how many seconds a broadcast may take to be delivered.
    """

    patience: float = 2.0

    def adapter(self, nsp: str, emitter: Emitter) -> Adapter:
        """A new adapter, as a program's ``Server(adapter=...)`` would make it."""
        raise NotImplementedError("give the suite an adapter()")

    def test_rooms_and_members_agree(self) -> None:
        """A socket is told that it is in just those rooms whose broadcasts it gets."""

        async def run(adapter: Adapter, sent: _Deliveries) -> None:
            adapter.add("a", ["a", "x", "y"])
            adapter.add("b", ["b"])
            adapter.add("b", ("y", "z"))
            adapter.add("c", set())
            adapter.add("c", (room for room in ("y", "y")))
            _check(adapter.rooms("a") == {"a", "x", "y"}, f"a is in {adapter.rooms('a')}")
            _check(adapter.rooms("b") == {"b", "y", "z"}, f"b is in {adapter.rooms('b')}")
            _check(adapter.rooms("stranger") == frozenset(), "a stranger is in rooms")
            for room, members in {"x": "a", "y": "abc", "z": "b", "a": "a", "c": "", "nowhere": ""}.items():
                self._selects(adapter, Target(frozenset((room,))), members)

        self._run(run)

    def test_leaving_is_at_once_and_forgiving(self) -> None:
        """Who has left a room gets nothing more of it, and leaving twice is no mistake."""

        async def run(adapter: Adapter, sent: _Deliveries) -> None:
            adapter.add("a", ["a", "x", "y"])
            adapter.add("b", ["b", "x"])
            adapter.remove("a", ["x", "x", "nowhere"])
            adapter.remove("a", iter(["x"]))
            adapter.remove("stranger", ["x"])
            _check(adapter.rooms("a") == {"a", "y"}, f"a is in {adapter.rooms('a')}")
            self._selects(adapter, Target(frozenset({"x"})), "b")
            self._selects(adapter, Target(), "ab")
            adapter.remove("a", ["a", "y"])
            self._selects(adapter, Target(), "ab")

        self._run(run)

    def test_a_socket_that_goes_is_forgotten(self) -> None:
        """Nobody is left in a room who is not there any more; one who comes again starts anew."""

        async def run(adapter: Adapter, sent: _Deliveries) -> None:
            adapter.add("a", ["a", "x"])
            adapter.add("b", ["b", "x"])
            left = adapter.remove_all("a")
            _check(left == {"a", "x"}, f"remove_all() gave {left!r}")
            _check(adapter.remove_all("a") == frozenset(), "remove_all() of one who has gone gave rooms")
            _check(adapter.remove_all("stranger") == frozenset(), "remove_all() of a stranger gave rooms")
            _check(adapter.rooms("a") == frozenset(), "one who has gone is in rooms")
            self._selects(adapter, Target(), "b")
            self._selects(adapter, Target(frozenset({"x", "a"})), "b")
            adapter.add("a", ["y"])
            _check(adapter.rooms("a") == {"y"}, f"one who came again is in {adapter.rooms('a')}")

        self._run(run)

    def test_listeners_hear_of_rooms(self) -> None:
        """Each room is announced once and in time, and a listener that fails harms nobody."""

        async def run(adapter: Adapter, sent: _Deliveries) -> None:
            heard: list[tuple[str, ...]] = []

            def listen(event: str) -> Callable[..., None]:
                def listener(*args: str) -> None:
                    if event == "join_room" and args[0] not in adapter.rooms(args[1]):
                        heard.append(("too early", *args))
                    heard.append((event, *args))

                return adapter.on(event)(listener)

            def fail(*args: str) -> None:
                raise RuntimeError("a listener that fails")

            with _silence("rtframework.rooms"):
                adapter.add("early", ["early"])
                adapter.on("join_room")(fail)
                listeners = {
                    event: listen(event) for event in ("create_room", "join_room", "leave_room", "delete_room")
                }
                adapter.add("a", ["x", "x"])
                adapter.add("a", ["x"])
                adapter.add("b", ["x"])
                adapter.remove("a", ["x", "x", "nowhere"])
                adapter.remove("stranger", ["x"])
                adapter.remove_all("b")
                adapter.remove_all("b")
                expected = [
                    ("create_room", "x"),
                    ("join_room", "x", "a"),
                    ("join_room", "x", "b"),
                    ("leave_room", "x", "a"),
                    ("leave_room", "x", "b"),
                    ("delete_room", "x"),
                ]
                _check(heard == expected, f"listeners heard {heard}")
                for event, listener in listeners.items():
                    adapter.off(event, listener)
                    adapter.off(event, listener)
                adapter.add("c", ["y"])
                _check(heard == expected, "a listener that was taken off hears more")

        self._run(run)

    def test_targets_select_whom_they_name(self) -> None:
        """Everybody who is meant is reached once, and nobody else: least of all everybody by an empty list."""

        async def run(adapter: Adapter, sent: _Deliveries) -> None:
            for sid, rooms in {"a": "ax", "b": "bxy", "c": "cyz", "d": "d"}.items():
                adapter.add(sid, rooms)
            nobody: frozenset[str] = frozenset()
            cases: tuple[tuple[frozenset[str] | None, frozenset[str], str], ...] = (
                (None, nobody, "abcd"),
                (nobody, nobody, ""),
                (frozenset("x"), nobody, "ab"),
                (frozenset("xy"), nobody, "abc"),
                (frozenset("xyz"), frozenset("b"), "ac"),
                (frozenset("xyz"), frozenset("y"), "a"),
                (frozenset("xyz"), frozenset("xz"), ""),
                (None, frozenset("d"), "abc"),
                (None, frozenset("xd"), "c"),
                (None, frozenset({"nowhere"}), "abcd"),
                (frozenset("a"), frozenset("a"), ""),
                (frozenset({"nowhere"}), nobody, ""),
                (frozenset({"nowhere", "d"}), nobody, "d"),
            )
            for wanted, except_, expected in cases:
                self._selects(adapter, Target(wanted, except_), expected)

        self._run(run)

    def test_a_room_s_name_is_just_a_name(self) -> None:
        """A room that users name is no pattern, no path and no other room."""
        names = [
            "",
            " ",
            "*",
            "a*",
            "?",
            "[ab]",
            "a,b",
            "a/b",
            "a:b",
            "a#b",
            "{}",
            "x" * 1_000,
            "é",
            "\U0001f600",
            "a\n",
        ]

        async def run(adapter: Adapter, sent: _Deliveries) -> None:
            for number, name in enumerate(names):
                adapter.add(f"s{number}", [name])
            adapter.add("bystander", ["a", "b", "ab", "A"])
            for number, name in enumerate(names):
                _check(adapter.rooms(f"s{number}") == {name}, f"the room {name[:20]!r} has become another")
                self._selects(adapter, Target(frozenset((name,))), [f"s{number}"])

        self._run(run)

    def test_what_is_handed_out_is_a_copy(self) -> None:
        """A program may loop over rooms or sockets while they change."""

        async def run(adapter: Adapter, sent: _Deliveries) -> None:
            adapter.add("a", ["x", "y"])
            rooms = adapter.rooms("a")
            _check(isinstance(rooms, frozenset), f"rooms() gave a {type(rooms).__name__}")
            for room in rooms:
                adapter.remove("a", [room])
            sids = adapter.sockets(Target())
            _check(isinstance(sids, list), f"sockets() gave a {type(sids).__name__}")
            for sid in sids:
                adapter.remove_all(sid)
            _check(sids == ["a"], "the list of sockets changed")

        self._run(run)

    def test_broadcasts_are_delivered_once_and_as_they_are(self) -> None:
        """Everybody who is meant gets the packet once, unchanged, and what was said about it stays said."""

        async def run(adapter: Adapter, sent: _Deliveries) -> None:
            for sid, rooms in {"a": "ax", "b": "bxy", "c": "cy"}.items():
                adapter.add(sid, rooms)
            data: list[Any] = ["news", {"a": [1, b"\x00\xff", None, "ü"]}]
            for target, expected in (
                (Target(), "abc"),
                (Target(frozenset("xy"), frozenset("c")), "ab"),
                (Target(frozenset("y"), volatile=True), "bc"),
                (Target(frozenset("x"), compress=False), "ab"),
                (Target(local=True), "abc"),
            ):
                packet = Packet(PacketType.EVENT, "/n", data, 7 if target.volatile else None)
                await adapter.broadcast(packet, target)
                await sent.wait_for(len(expected), self.patience)
                got = sorted(sid for sid, _ in sent.taken())
                _check(got == sorted(expected), f"{target!r} reached {got!r}")
                for _, delivered in sent.last:
                    _check(delivered == packet and delivered.data == data, f"{packet!r} arrived as {delivered!r}")
                wanted = {"volatile": target.volatile, "compress": target.compress}
                _check(sent.flags == wanted, f"{target!r} was sent with {sent.flags}")

        self._run(run)

    def test_broadcasts_keep_their_order(self) -> None:
        """What one program emits in some order arrives in that order."""

        async def run(adapter: Adapter, sent: _Deliveries) -> None:
            adapter.add("a", ["a", "x"])
            for number in range(50):
                target = (Target(), Target(frozenset("x")), Target(local=True))[number % 3]
                await adapter.broadcast(Packet(PacketType.EVENT, "/n", ["n", number]), target)
            await sent.wait_for(50, self.patience)
            numbers = [packet.data[1] for _, packet in sent.taken()]
            _check(numbers == list(range(50)), f"50 broadcasts arrived as {numbers}")

        self._run(run)

    def test_who_has_gone_or_left_is_not_reached(self) -> None:
        """A broadcast goes to those who are in the room when it is made."""

        async def run(adapter: Adapter, sent: _Deliveries) -> None:
            for sid in "abc":
                adapter.add(sid, [sid, "x"])
            adapter.remove("a", ["x"])
            adapter.remove_all("b")
            await adapter.broadcast(Packet(PacketType.EVENT, "/n", ["n"]), Target(frozenset("x")))
            adapter.add("d", ["d", "x"])
            await adapter.broadcast(Packet(PacketType.EVENT, "/n", ["last"]), Target(frozenset("c")))
            await sent.wait_for(2, self.patience)
            got = [(sid, packet.data[0]) for sid, packet in sent.taken()]
            _check(got == [("c", "n"), ("c", "last")], f"reached {got!r}")

        self._run(run)

    def test_sessions_are_handed_out_once(self) -> None:
        """Whoever comes back finds what was kept, if anything is, and nobody finds it a second time."""

        async def run(adapter: Adapter, sent: _Deliveries) -> None:
            _check(adapter.session_time() == 0, "something is kept of which nobody has heard")
            adapter.add("a", ["a", "x"])
            adapter.persist_session(Session("a", "pid of a", adapter.rooms("a"), {"n": 1}, None, None))
            adapter.remove_all("a")
            self._selects(adapter, Target(), "")
            _check(await adapter.restore_session("another", None) is None, "a session for another pid")
            back = await adapter.restore_session("pid of a", None)
            if back is not None:
                _check(
                    back.sid == "a" and back.rooms == {"a", "x"} and back.data == {"n": 1}, f"{back!r:.200} came back"
                )
            _check(await adapter.restore_session("pid of a", None) is None, "a session was handed out twice")
            _check(adapter.session_time() == 0, "what is not kept is to be waited for")

        self._run(run)

    def test_sockets_may_go_while_they_are_sent_to(self) -> None:
        """A client that turns out to be gone during a broadcast does not break it for the others."""

        async def run(adapter: Adapter, sent: _Deliveries) -> None:
            for number in range(20):
                adapter.add(f"s{number}", [f"s{number}", "x"])
            sent.on_send = lambda sid: adapter.remove_all(sid)
            await adapter.broadcast(Packet(PacketType.EVENT, "/n", ["n"]), Target(frozenset("x")))
            await sent.wait_for(20, self.patience)
            _check(len(sent.taken()) == 20, "not everybody was reached")
            self._selects(adapter, Target(), "")

        self._run(run)

    def test_what_cannot_be_sent_is_told_to_the_caller(self) -> None:
        """An emit of something that no client can receive fails where it stands."""

        async def run(adapter: Adapter, sent: _Deliveries) -> None:
            adapter.add("a", ["a"])
            sent.error = EncodeError("cannot be sent")
            try:
                await adapter.broadcast(Packet(PacketType.EVENT, "/n", ["n", object()]), Target(local=True))
            except EncodeError:
                return
            raise AssertionError("the EncodeError of the emitter was swallowed")

        self._run(run)

    def test_namespaces_do_not_mix(self) -> None:
        """A room in one namespace has nothing to do with the room of that name in another."""

        async def run(adapter: Adapter, sent: _Deliveries) -> None:
            other_sent = _Deliveries()
            other = self.adapter("/other", other_sent)
            await other.start()
            try:
                adapter.add("a", ["a", "x"])
                other.add("b", ["b", "x"])
                _check(other.rooms("a") == frozenset(), "a socket is in both namespaces")
                await adapter.broadcast(Packet(PacketType.EVENT, "/n", ["n"]), Target(frozenset("x")))
                await other.broadcast(Packet(PacketType.EVENT, "/other", ["o"]), Target())
                await sent.wait_for(1, self.patience)
                await other_sent.wait_for(1, self.patience)
                _check([sid for sid, _ in sent.taken()] == ["a"], "a broadcast left its namespace")
                _check([sid for sid, _ in other_sent.taken()] == ["b"], "a broadcast left its namespace")
            finally:
                await other.close()

        self._run(run)

    def test_questions_are_answered_by_socket(self) -> None:
        """A vote counts everybody who is asked once, and says who left; one of nobody does not wait."""

        async def run(adapter: Adapter, sent: _Deliveries) -> None:
            for sid, rooms in {"a": "ax", "b": "bx", "c": "cx", "d": "d"}.items():
                adapter.add(sid, rooms)
            for local in (False, True):
                question = Packet(PacketType.EVENT, "/n", ["q", 1])
                target = Target(frozenset("x"), frozenset("c"), compress=False, local=local)
                asking = asyncio.create_task(adapter.broadcast_with_ack(question, target, self.patience))
                await sent.wait_for(2, self.patience)
                _check(sorted(sid for sid, _ in sent.taken()) == ["a", "b"], f"{target!r} asked {sent.last!r}")
                _check(all(packet.data == ["q", 1] for _, packet in sent.last), "the question was changed")
                _check(sent.flags == {"volatile": False, "compress": False}, f"asked with {sent.flags}")
                sent.asked["a"].set_result([{"yes": 1}, 2])
                sent.asked["b"].set_exception(Disconnected())
                answers = await asking
                _check(dict(answers) == {"a": ({"yes": 1}, 2)}, f"the answers are {dict(answers)!r}")
                _check(answers.missing == ("b",), f"{answers.missing!r} are missing")
            nobody = await adapter.broadcast_with_ack(question, Target(frozenset(), local=True), None)
            _check(not nobody and not nobody.missing, "nobody answered something")

        self._run(run)

    def test_questions_end_in_time(self) -> None:
        """Who does not answer holds nobody up, and what did come is not lost; no question is kept for ever."""

        async def run(adapter: Adapter, sent: _Deliveries) -> None:
            for sid in "abc":
                adapter.add(sid, sid)
            question = Packet(PacketType.EVENT, "/n", ["q"])
            asking = asyncio.create_task(adapter.broadcast_with_ack(question, Target(local=True), self.patience / 10))
            await sent.wait_for(3, self.patience)
            sent.asked["b"].set_result([])
            try:
                await asking
            except AckTimeout as timeout:
                _check(timeout.responses == {"b": None}, f"what did come: {timeout.responses!r}")
                _check(sorted(timeout.missing) == ["a", "c"], f"{timeout.missing!r} are missing")
            else:
                raise AssertionError("no AckTimeout")
            _check(sent.asked["a"].cancelled(), "nobody waits for an answer any more, and it was not cancelled")

        self._run(run)

    def test_selected_sockets_are_described(self) -> None:
        """A list of who is in a room shows all of them, and nobody else."""

        async def run(adapter: Adapter, sent: _Deliveries) -> None:
            for sid, rooms in {"a": "ax", "b": "bxy", "c": "c"}.items():
                adapter.add(sid, rooms)
            for target, expected in (
                (Target(), "abc"),
                (Target(frozenset("x"), frozenset("y")), "a"),
                (Target(frozenset()), ""),
                (Target(frozenset("y"), local=True), "b"),
            ):
                found = {each.id: each for each in await adapter.fetch_sockets(target)}
                _check(sorted(found) == sorted(expected), f"{target!r} gave {sorted(found)}")
                for sid, each in found.items():
                    _check(each.rooms == adapter.rooms(sid), f"{sid} is said to be in {each.rooms}")
                    _check(each.data == {"of": sid}, f"the data of {sid} are {each.data!r}")

        self._run(run)

    def test_selected_sockets_join_and_leave(self) -> None:
        """Moving a room's people to another room moves all of them, and nobody else."""

        async def run(adapter: Adapter, sent: _Deliveries) -> None:
            for sid, rooms in {"a": "ax", "b": "bxy", "c": "c"}.items():
                adapter.add(sid, rooms)
            await adapter.add_sockets(Target(frozenset("x"), frozenset("y")), ["m", "n"])
            await adapter.add_sockets(Target(frozenset()), ["m"])
            await self._until(lambda: adapter.rooms("a") == set("axmn"), "a did not join")
            await adapter.add_sockets(Target(local=True), ["all"])
            await self._until(lambda: adapter.rooms("c") == {"c", "all"}, "c did not join, or too much")
            _check(adapter.rooms("b") == {*"bxy", "all"}, f"b is in {adapter.rooms('b')}")
            await adapter.del_sockets(Target(frozenset("x")), ["x", "n", "nowhere"])
            await self._until(lambda: adapter.rooms("a") == {*"am", "all"}, f"a is in {adapter.rooms('a')}")
            self._selects(adapter, Target(frozenset("x")), "")
            self._selects(adapter, Target(frozenset("m")), "a")

        self._run(run)

    def test_selected_sockets_are_disconnected(self) -> None:
        """Throwing a room out throws out those who are in it, and nobody else."""

        async def run(adapter: Adapter, sent: _Deliveries) -> None:
            for sid, rooms in {"a": "ax", "b": "bxy", "c": "c"}.items():
                adapter.add(sid, rooms)
            await adapter.disconnect_sockets(Target(frozenset()), True)
            await adapter.disconnect_sockets(Target(frozenset("x"), frozenset("y")), False)
            await self._until(lambda: sent.disconnected == [("a", False)], f"{sent.disconnected!r}")
            await adapter.disconnect_sockets(Target(local=True), True)
            await self._until(lambda: len(sent.disconnected) == 3, f"{sent.disconnected!r}")
            _check(sorted(sent.disconnected[1:]) == [("b", True), ("c", True)], f"{sent.disconnected!r}")

        self._run(run)

    def test_server_side_events_do_not_come_back(self) -> None:
        """A server that tells the others something does not tell itself, and a lone one does not wait for answers."""

        async def run(adapter: Adapter, sent: _Deliveries) -> None:
            await adapter.server_side_emit(["cache.clear", "key"])
            answers = await adapter.server_side_emit_with_ack(["who?"], self.patience)
            _check(not answers, f"nobody is there, and answered {answers!r}")
            _check(not sent.served, f"this server heard itself: {sent.served!r}")

        self._run(run)

    # -- what the tests are made of

    def _run(self, scenario: Callable[[Adapter, _Deliveries], Awaitable[None]]) -> None:
        async def run() -> None:
            sent = _Deliveries()
            sent.adapter = adapter = self.adapter("/n", sent)
            await adapter.start()
            try:
                await scenario(adapter, sent)
            finally:
                await adapter.close()

        asyncio.run(run())

    def _selects(self, adapter: Adapter, target: Target, expected: Iterable[str]) -> None:
        selected = adapter.sockets(target)
        _check(sorted(selected) == sorted(expected), f"{target!r:.200} selects {selected!r:.200}")

    async def _until(self, condition: Callable[[], bool], message: str) -> None:
        try:
            async with asyncio.timeout(self.patience):
                while not condition():  # noqa: ASYNC110 - whatever the adapter does meanwhile
                    await asyncio.sleep(0.001)
        except TimeoutError:
            raise AssertionError(message) from None


@contextlib.contextmanager
def _silence(name: str) -> Iterator[None]:
    """What is provoked is not to be seen in the log."""
    logger = logging.getLogger(name)
    disabled, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = disabled


class _Deliveries:
    """An emitter that keeps what it is given, and does to the adapter what a namespace would."""

    def __init__(self) -> None:
        self.adapter: Adapter | None = None
        self.log: list[tuple[str, Packet]] = []
        self.last: list[tuple[str, Packet]] = []
        self.flags: dict[str, bool] = {}
        self.asked: dict[str, asyncio.Future[list[Any]]] = {}
        self.disconnected: list[tuple[str, bool]] = []
        self.served: list[Sequence[Any]] = []
        self.error: Exception | None = None
        self.on_send: Callable[[str], Any] | None = None

    def send(
        self,
        sids: Collection[str],
        packet: Packet,
        *,
        volatile: bool = False,
        compress: bool = True,
        frames: Frames | None = None,
    ) -> None:
        self.flags = {"volatile": volatile, "compress": compress if frames is None else frames.compress}
        if self.error is not None:
            raise self.error
        if isinstance(frames, _Kept):  # what an adapter adds for itself comes last
            _check(frames.packet.data[: len(packet.data)] == packet.data, f"{frames.packet!r:.200} for {packet!r:.200}")
        for sid in sids:
            self.log.append((sid, packet))
            if self.on_send is not None:
                self.on_send(sid)

    def encode(self, packet: Packet, *, compress: bool = True) -> Frames:
        if self.error is not None:
            raise self.error
        return _Kept(packet, compress)

    def ask(
        self, sids: Collection[str], packet: Packet, *, volatile: bool = False, compress: bool = True
    ) -> dict[str, asyncio.Future[list[Any]]]:
        self.asked = {sid: asyncio.get_running_loop().create_future() for sid in sids}
        self.send(sids, packet, volatile=volatile, compress=compress)
        return self.asked

    def describe(self, sids: Collection[str]) -> list[SocketDetails]:
        return [SocketDetails(sid, Handshake(nsp="/n"), self._adapter.rooms(sid), {"of": sid}) for sid in sids]

    def join(self, sids: Collection[str], rooms: Collection[str]) -> None:
        for sid in sids:
            self._adapter.add(sid, rooms)

    def leave(self, sids: Collection[str], rooms: Collection[str]) -> None:
        for sid in sids:
            self._adapter.remove(sid, rooms)

    def disconnect(self, sids: Collection[str], close: bool) -> None:
        for sid in sids:
            self.disconnected.append((sid, close))
            self._adapter.remove_all(sid)

    async def serve(self, args: Sequence[Any]) -> Any:
        self.served.append(args)

    @property
    def _adapter(self) -> Adapter:
        assert self.adapter is not None
        return self.adapter

    async def wait_for(self, count: int, patience: float) -> None:
        try:
            async with asyncio.timeout(patience):
                while len(self.log) < count:  # noqa: ASYNC110 - whatever the adapter does meanwhile
                    await asyncio.sleep(0.001)
        except TimeoutError:
            raise AssertionError(f"{len(self.log)} of {count} deliveries within {patience:g} s") from None

    def taken(self) -> list[tuple[str, Packet]]:
        self.last, self.log = self.log, []
        return self.last


class _Kept:
    """A packet that was not encoded."""

    websocket = b""
    polling = ""
    size = 0
    droppable = True

    def __init__(self, packet: Packet, compress: bool) -> None:
        self.packet = packet
        self.compress = compress

    def deflated(self, window: int, threshold: int, level: int) -> bytes:
        return b""
