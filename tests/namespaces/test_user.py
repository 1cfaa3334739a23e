"""The sockets of one user: what the adapter is asked for."""

from __future__ import annotations

import pytest

from rtframework import ConfigurationError, EventError, Target
from rtframework.namespaces.user import UserOperator
from tests.namespaces.test_operators import Noted, noted

ADA = frozenset({"$user:ada"})


def user() -> tuple[UserOperator, Noted]:
    """Return a user of a namespace, and its adapter."""
    everybody, adapter = noted()
    return UserOperator("ada", "$user:ada", everybody.to("$user:ada")), adapter


async def test_each_request_is_for_the_room_of_the_user() -> None:
    """A kick or a message would go to nobody, or to everybody."""
    ada, adapter = user()
    assert (ada.id, ada.room, repr(ada)) == ("ada", "$user:ada", "<UserOperator 'ada' of /x>")
    await ada.emit("mail", 1)
    await ada.timeout(2).emit_with_ack("well?")
    (remote,) = await ada.fetch_sockets()
    assert remote.id == "a"
    await ada.join("x", ["y"])
    await ada.leave("x")
    await ada.disconnect(True, reason="banned")
    target = Target(ADA)
    assert adapter.calls == [
        ("broadcast", ["mail", 1], target),
        ("broadcast_with_ack", ["well?"], target, 2),
        ("fetch_sockets", target, None),
        ("add_sockets", target, ["x", "y"]),
        ("del_sockets", target, ["x"]),
        ("broadcast", ["kicked", {"reason": "banned", "reconnect": False}], target),
        ("disconnect_sockets", target, True, "banned"),
    ]


async def test_options_make_a_new_selection() -> None:
    """A program that keeps a user would find that it selects less than before."""
    ada, adapter = user()
    chosen = ada.except_("tab").volatile.local.compress(False)
    assert chosen.room == ada.room
    await chosen.emit("mail")
    await ada.emit("mail")
    assert [target for _, _, target in adapter.calls] == [
        Target(ADA, except_=frozenset({"tab"}), volatile=True, local=True, compress=False),
        Target(ADA),
    ]


async def test_mistakes() -> None:
    """A program would wait for an effect that cannot come, or let a client choose a user's room."""
    ada, adapter = user()
    with pytest.raises(TypeError, match="emit"):
        await ada.emit("mail", to="x")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="emit_with_ack"):
        await ada.emit_with_ack("mail", to="x")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError):
        await ada.disconnect(reason="")
    for move in (ada.join, ada.leave):
        with pytest.raises(EventError, match="the server's own"):
            await move("$user:bob")
    assert not adapter.calls
