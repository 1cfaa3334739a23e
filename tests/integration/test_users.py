"""Users: all sockets of a person, on all servers of a cluster, reached by the id that the authenticator gave."""

from __future__ import annotations

from typing import Any

import pytest

from rtframework import AckTimeout, Handshake, Identity, Limits, Recovery, Server, Socket
from tests.conftest import Serve
from tests.support.js import JSClients
from tests.support.pairs import KINDS, Kind, running_pair
from tests.support.transports import Transport
from tests.support.until import until

IDS = ["42", "Ünï 🙂", "$user:42", "x" * 3000, "a,b/c:#?"]


class Users:
    """An authenticator that believes everybody."""

    async def authenticate(self, handshake: Handshake) -> Identity:
        return Identity(handshake.auth["user"])


def rooms(io: Server) -> None:
    """Let clients name rooms, as careless programs do."""

    @io.on("join")
    async def join(socket: Socket, room: str) -> list[str]:
        await socket.join(room)
        return sorted(socket.rooms - {socket.id})

    @io.on("leave")
    async def leave(socket: Socket, room: str) -> None:
        await socket.leave(room)

    @io.on("watch")
    async def watch(socket: Socket, sid: str) -> None:
        await socket.join(sid, socket_ids=True)


@pytest.mark.parametrize("id", IDS, ids=range(len(IDS)))
async def test_all_tabs_of_a_user(serve: Serve, js: JSClients, transport: Transport, id: str) -> None:
    """Somebody with two tabs would get a message in one; or somebody else get it."""
    io = Server(auth=Users())
    chat = io.of("/chat")
    server = await serve(io)
    one = await js.connect(server.url, via=transport, auth={"user": id})
    two = await js.connect(server.url, via=transport, auth={"user": id})
    other = await js.connect(server.url, via=transport, auth={"user": "other"})
    elsewhere = await one.of("/chat", auth={"user": id})
    await io.user(id).emit("mail", 1)
    await io.user(id).except_(await one.id()).emit("mail", 2)
    await chat.user(id).emit("mail", 3)
    assert [(await each.wait_for("mail"))[0] for each in (one, two, two, elsewhere)] == [1, 1, 2, 3]
    for each in (one, two, other, elsewhere):
        await each.expect_nothing("mail")
    for each in (one, two):
        await each.answer("well?", "yes")
    assert sorted((await io.user(id).timeout(5).emit_with_ack("well?")).values()) == ["yes", "yes"]
    assert len(await io.user(id).fetch_sockets()) == 2
    assert await io.user("nobody").fetch_sockets() == []


@pytest.mark.parametrize("recovery", [None, Recovery()], ids=["", "recovery"])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_user_on_several_servers(js: JSClients, kind: Kind, recovery: Recovery | None) -> None:
    """A message to somebody, or a ban, would end at the server that it was said on."""
    async with running_pair(kind, rooms, auth=Users(), connection_state_recovery=recovery) as (one, two):
        io = one[0]
        here = await js.connect(one[1], auth={"user": "ada"}, transports=["polling"])
        there = await js.connect(two[1], auth={"user": "ada"}, transports=["websocket"])
        other = await js.connect(two[1], auth={"user": "bob"})
        await io.user("ada").emit("mail", 1)
        for each in (here, there):
            assert (await each.wait_for("mail"))[0] == 1
            await each.answer("well?", "yes")
        await other.expect_nothing("mail")
        answers = await io.user("ada").timeout(5).emit_with_ack("well?")
        assert dict(answers) == {await here.id(): "yes", await there.id(): "yes"}
        assert {each.id for each in await io.user("ada").fetch_sockets()} == {await here.id(), await there.id()}
        with pytest.raises(AckTimeout):
            await io.user("bob").timeout(0.05).emit_with_ack("unanswered")
        sockets = [one[0].sockets[await here.id()], two[0].sockets[await there.id()]]
        await io.user("ada").join("reds")
        await until(lambda: all("reds" in socket.rooms for socket in sockets))
        await io.user("ada").leave("reds")
        await until(lambda: not any("reds" in socket.rooms for socket in sockets))
        assert "reds" not in two[0].sockets[await other.id()].rooms
        # A client that names the room of a socket on the other server.
        with_ids: list[Any] = await here.ack_args("join", await other.id())
        assert with_ids[0]["error"]["code"] == "room_of_a_socket"
        await io.user("ada").disconnect(reason="banned")
        for each in (here, there):
            assert await each.disconnected() == "io server disconnect"
        assert (await other.state()).id is not None
        await until(lambda: not one[0].sockets)


@pytest.mark.parametrize("kind", KINDS)
async def test_the_sessions_of_a_user_that_is_thrown_out(js: JSClients, kind: Kind) -> None:
    """Who is thrown out while in a tunnel would be back with all rooms, and all that was said meanwhile."""
    async with running_pair(kind, auth=Users(), connection_state_recovery=Recovery()) as ((io, url), two):
        clients = {name: await js.connect(url, auth={"user": name}) for name in ("ada", "bob")}
        ids = {name: await client.id() for name, client in clients.items()}
        for client in clients.values():
            await client.kill()
            await client.disconnected()
        await until(lambda: not io.sockets)
        await two[0].user("ada").disconnect()
        for client in clients.values():
            await client.open()
        states = {name: await client.reconnected() for name, client in clients.items()}
        assert {name: state["recovered"] for name, state in states.items()} == {"ada": False, "bob": True}
        assert (await clients["ada"].id() == ids["ada"], await clients["bob"].id() == ids["bob"]) == (False, True)


async def test_no_client_names_a_room_of_the_server(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A client would read the mail of another user, of another socket, or leave the room by which it is thrown out."""
    io = Server(auth=Users())
    rooms(io)
    server = await serve(io)
    ada = await js.connect(server.url, via=transport, auth={"user": "ada"})
    bob = await js.connect(server.url, via=transport, auth={"user": "bob"})
    for event in ("join", "leave"):
        for room in ("$user:bob", "$user:ada", "$", "$token:1"):
            answer = await ada.emit_with_ack(event, room)
            assert answer["error"]["code"] == "reserved_room", (event, room)
    assert (await ada.emit_with_ack("join", await bob.id()))["error"]["code"] == "room_of_a_socket"
    assert await ada.emit_with_ack("join", await ada.id()) == ["$user:ada"]
    assert await ada.emit_with_ack("join", "x" * 20) == ["$user:ada", "x" * 20]
    await io.user("bob").emit("mail", 1)
    assert (await bob.wait_for("mail"))[0] == 1
    await ada.expect_nothing("mail")
    await ada.emit_with_ack("watch", await bob.id())
    await io.to(await bob.id()).emit("watched", 1)
    assert (await ada.wait_for("watched"))[0] == 1


async def test_a_session_does_not_bring_the_room_of_another_user(serve: Serve, js: JSClients) -> None:
    """A program that takes all users of a company for one would give each what was said to the others."""
    io = Server(auth=Users(), connection_state_recovery=Recovery(identity=lambda user: "the company"))
    server = await serve(io)
    client = await js.connect(server.url, auth={"user": "ada"})
    await io.user("ada").emit("mail", 1)  # from then on it has an offset
    assert (await client.wait_for("mail"))[0] == 1
    await client.kill()
    await client.disconnected()
    await until(lambda: not io.sockets)
    await io.user("ada").emit("mail", "for Ada alone")
    await client.set_auth({"user": "bob"})
    await client.open()
    assert not (await client.reconnected())["recovered"]
    await io.user("ada").emit("mail", "for Ada alone")
    await io.user("bob").emit("mail", "for Bob")
    assert (await client.wait_for("mail"))[0] == "for Bob"
    (socket,) = io.sockets.values()
    assert socket.rooms == {socket.id, "$user:bob"}


async def test_rooms_that_the_server_gives_are_no_burden(serve: Serve, js: JSClients) -> None:
    """An authenticator would leave a client one room less."""
    io = Server(auth=Users(), limits=Limits(max_rooms=2))
    rooms(io)
    server = await serve(io)
    client = await js.connect(server.url, auth={"user": "ada"})
    assert await client.emit_with_ack("join", "a") == ["$user:ada", "a"]
    assert (await client.emit_with_ack("join", "b"))["error"]["code"] == "too_many_rooms"
