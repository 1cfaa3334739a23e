"""A server with a contract that has something of everything, and the tools that judge what is written of it."""

from __future__ import annotations

import asyncio
import datetime
import enum
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NotRequired, TypedDict

from jsonschema import Draft7Validator
from msgspec import UNSET, Meta, Struct, UnsetType

from rtframework import EventError, Namespace, Server, Socket, emits
from rtframework.contracts import EventContract, NamespaceContract, describe
from rtframework.protocols import Serializer
from tests.support.typescript import Compiler

JS: Final = Path(__file__).parent.parent / "js"

PROGRAM: Final = """
from rtframework import Server, Socket

io = Server()

@io.emits("said", str)
@io.on("say")
async def say(socket: Socket, text: str) -> None:
    "Say something."
"""
"""A program with a small contract, for the commands."""


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Person(Struct, rename="camel"):
    """Somebody.

    Known by a name."""

    full_name: Annotated[str, Meta(min_length=1, description="As it is shown")]
    born_on: datetime.date | None = None
    seen: datetime.datetime | UnsetType = UNSET


class Text(Struct, tag="text"):
    text: str


class Picture(Struct, tag="picture"):
    data: bytes
    size: tuple[int, int] = (0, 0)
    replies: list[Text | Picture] = []


@dataclass
class Point:
    x: float
    y: float
    colour: Colour = Colour.RED


class Alarm(enum.IntEnum):
    SET = 1
    RINGS = 2


class Filters(TypedDict):
    limit: int
    by: NotRequired[Literal["name", "age"]]


class Chat(Namespace):
    """Talk within one tenant."""

    @emits("said", str, str, names=("who", "text"))
    async def on_say(self, socket: Socket, text: str) -> None:
        await self.emit("said", socket.id, text)


def make(serializer: Serializer | None = None) -> Server:
    """The server, anew."""
    io = Server(serializer=serializer)

    @io.emits("posted", Text | Picture, Person, names=("post", "author"), description="Somebody has posted.")
    @io.emits("moved", Point)
    @io.on("post")
    async def post(socket: Socket, post: Text | Picture, author: Person) -> int:
        """Show a post to everybody.

        Told apart by their tags.
        """
        await io.emit("posted", post, author)
        return len(post.text) if isinstance(post, Text) else len(post.data)

    @io.on("find")
    async def find(socket: Socket, filters: Filters, *names: str) -> dict[str, Person]:
        return {name: Person(name) for name in names[: filters["limit"]]}

    @io.on("move")
    async def move(socket: Socket, point: Point, quietly: bool = False) -> None:
        if not quietly:
            await io.emit("moved", point)

    @io.on("divide")
    async def divide(socket: Socket, a: int, b: int) -> tuple[int, int]:
        if not b:
            raise EventError("zero", "Nothing can be divided by zero")
        return divmod(a, b)

    @io.emits("sure?", str, returns=bool, names=("question",))
    @io.emits("numbers", rest=int)
    @io.emits("ping")
    @io.on("ask me")
    async def ask_me(socket: Socket, untyped, default: int = 0) -> bool:  # type: ignore[no-untyped-def]
        await socket.emit("ping")
        await socket.emit("numbers", 1, 2, 3)
        answer: bool = await socket.timeout(5).emit_with_ack("sure?", "really")
        return not answer

    io.of("/tenants/{tenant}", factory=Chat)
    io.of("/clock").emits("time", datetime.datetime)

    @io.of("/clock").emits(Alarm.RINGS, str)
    @io.of("/clock").on(Alarm.SET)
    async def set_alarm(socket: Socket, text: str) -> bool:
        await socket.emit(Alarm.RINGS, text)
        return True

    @io.of("/clock").on("now")
    async def now(socket: Socket, after: datetime.datetime | None = None) -> datetime.datetime:
        noon = datetime.datetime(2030, 1, 1, 12, tzinfo=datetime.UTC)
        await socket.emit("time", after or noon)
        return noon

    return io


@cache
def asyncapi_schema() -> Any:
    """The official JSON Schema of AsyncAPI 3.0."""
    return json.loads((JS / "node_modules/@asyncapi/specs/schemas/3.0.0.json").read_text(encoding="utf-8"))


def problems_of(document: Mapping[str, Any]) -> list[str]:
    """What the official schema says against a document, and references that lead nowhere."""
    found = [error.message for error in Draft7Validator(asyncapi_schema()).iter_errors(document)]

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            reference = value.get("$ref")
            if isinstance(reference, str):
                target: Any = document
                for part in reference.removeprefix("#/").split("/"):
                    target = target.get(part.replace("~1", "/").replace("~0", "~"), {})
                if not target:
                    found.append(f"{reference} leads nowhere")
            for each in value.values():
                walk(each)
        elif isinstance(value, list):
            for each in value:
                walk(each)

    walk(document)
    return found


class TypeScript:
    """A folder with programs in TypeScript that can import ``socket.io-client``. JavaScript needs no compiler."""

    def __init__(self, folder: Path, compiler: Compiler | None = None) -> None:
        self._folder = folder
        self._compiler = compiler
        (folder / "node_modules").symlink_to(JS / "node_modules")
        (folder / "package.json").write_text('{"type": "module"}', encoding="utf-8")

    def write(self, name: str, text: str) -> None:
        """Add a file."""
        (self._folder / name).write_text(text, encoding="utf-8")

    async def compile(self, *names: str, types: Sequence[str] = ()) -> list[str]:
        """What ``tsc --strict`` says against the files and what they import; JavaScript is written beside them."""
        assert self._compiler is not None
        options = {"strict": True, "target": "es2022", "module": "nodenext", "lib": ["es2022", "dom"], "types": types}
        self.write("tsconfig.json", json.dumps({"compilerOptions": options, "files": names}))
        return await self._compiler.compile(self._folder)

    async def run(self, name: str, *arguments: str) -> str:
        """What a compiled program prints. Raises ``AssertionError`` when it fails."""
        process = await asyncio.create_subprocess_exec(
            "node", name, *arguments, cwd=self._folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        try:
            async with asyncio.timeout(45):
                output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode == 0, output.decode()
        return output.decode()


def namespace_of(server: Server, name: str = "/") -> NamespaceContract:
    """The contract of one namespace."""
    return next(each for each in describe(server).namespaces if each.name == name)


def received(server: Server, event: str = "event") -> EventContract:
    """The contract of an event that clients emit."""
    return next(each for each in namespace_of(server).receives if each.name == event)


def types(event: EventContract) -> list[Any]:
    """Names and types of its arguments."""
    return [(each.name, *each.types) for each in event.arguments]
