"""The subscriptions of a STOMP client."""

from __future__ import annotations

import pytest

from rtframework.gateways.stomp_subscriptions import AUTO, CLIENT, INDIVIDUAL, Subscription, Subscriptions

_numbers = iter(range(1, 10_000))


def to(destination: str, room: str | None = None, mode: str = AUTO, id: str | None = None) -> Subscription:
    """Make a subscription."""
    number = next(_numbers)
    id = id or f"sub-{number}"
    made = Subscription(id, destination, mode, number, "1.2", (id, destination))
    made.room = room
    return made


def test_an_event_goes_to_its_rooms_or_else_to_a_queue() -> None:
    """A page would hear things twice, or not at all."""
    subscriptions = Subscriptions()
    a, again, b = to("/topic/a", "a"), to("/topic/a", "a"), to("/topic/x", "b")
    mail, every, also = to("/user/queue/mail"), to("/user/queue/*"), to("/user/queue/**")
    assert subscriptions.readers_of("mail", None) == []
    for each in (a, again, b, mail, every, also):
        subscriptions.add(each)
    assert len(subscriptions) == 6
    assert subscriptions.readers_of("mail", {"a"}) == [a, again]
    assert subscriptions.readers_of("mail", ("b",)) == [b]
    assert set(subscriptions.readers_of("mail", {"a", "b", "c"})) == {a, again, b}
    assert subscriptions.readers_of("mail", {"c"}) == [mail, every, also]
    assert subscriptions.readers_of("mail", {"c", "d"}) == [mail, every, also]
    assert subscriptions.readers_of("else", None) == [every, also]
    subscriptions.remove(every)
    subscriptions.remove(also)
    assert subscriptions.readers_of("mail", None) == [mail]
    assert subscriptions.readers_of("else", None) == []
    assert subscriptions.has_queue("mail")
    subscriptions.remove(a)
    assert subscriptions.in_room("a")
    subscriptions.remove(again)
    assert not subscriptions.in_room("a")
    assert a.id not in subscriptions
    assert subscriptions.get(b.id) is b
    subscriptions.clear()
    assert (len(subscriptions), subscriptions.get(b.id)) == (0, None)


def test_a_client_owns_a_room_by_its_subscriptions() -> None:
    """A client would leave a room that the program has put it into."""
    subscriptions = Subscriptions()
    ours = to("/topic/a", "a")
    subscriptions.add(ours)
    assert not subscriptions.owns("a")
    ours.owns_room = True
    assert subscriptions.owns("a")
    assert not subscriptions.owns("b")


def test_what_is_alike_has_one_key() -> None:
    """A broadcast would be encoded once for each client."""
    one, two = to("/topic/a", id="sub-0"), to("/topic/a", id="sub-0")
    assert one.key == two.key
    assert one.key != to("/topic/b", id="sub-0").key
    assert one.key != to("/topic/a", id="sub-1").key
    assert to("/topic/a", id="x", mode=CLIENT).key != to("/topic/a", id="x", mode=CLIENT).key


def test_ack_answers_one_message_or_all_up_to_it() -> None:
    """The program would wait for answers that the client has given."""
    subscriptions = Subscriptions()
    each, all_of_them = to("/user/queue/a", mode=INDIVIDUAL), to("/user/queue/b", mode=CLIENT)
    for subscription in (each, all_of_them):
        subscriptions.add(subscription)
        for number in range(1, 6):
            subscriptions.ask(subscription, number, 100 + number)
    assert subscriptions.acknowledged(each.number, "3-103") == [103]
    assert subscriptions.acknowledged(each.number, "4") == []
    assert subscriptions.acknowledged(all_of_them.number, "3-103") == [101, 102, 103]
    assert subscriptions.acknowledged(all_of_them.number, "3-103") == []
    assert subscriptions.acknowledged(all_of_them.number, "9") == [104, 105]
    subscriptions.remove(all_of_them)
    assert subscriptions.acknowledged(all_of_them.number, "3-103") == [103]
    for wrong in ("", "x", "1-x", "-1", "1" * 16, "²"):
        with pytest.raises(ValueError, match="server's"):
            subscriptions.acknowledged(each.number, wrong)


def test_what_waits_for_ack_is_bounded() -> None:
    """A client that never acknowledges would fill the memory."""
    subscriptions = Subscriptions()
    one = to("/user/queue/b", mode=CLIENT)
    for number in range(3_000):
        subscriptions.ask(one, number, number)
    assert len(subscriptions.acknowledged(one.number, "5000")) == 1_000
