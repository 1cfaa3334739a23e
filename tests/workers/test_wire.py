"""Frames between workers and their broker."""

from __future__ import annotations

import pytest

from rtframework.exceptions import DecodeError
from rtframework.workers import wire


def test_frames_are_found_in_pieces_of_any_size() -> None:
    """A message would be lost, or everything after it misread, when a read ends in the middle of it."""
    frames = [wire.direct(3, b"x" * size) for size in (0, 1, 5, 70_000)] + [wire.own(7), wire.event(1, 2**40, b"e")]
    stream = b"".join(frames)
    for size in (1, 3, 4, 7, 1000, len(stream)):
        reader = wire.FrameReader()
        found = [each for at in range(0, len(stream), size) for each in reader.feed(stream[at : at + size])]
        assert found == [frame[4:] for frame in frames]


@pytest.mark.parametrize("buckets", [(), (5,), (65_535, 0, 1)])
def test_a_publication_names_its_buckets(buckets: tuple[int, ...]) -> None:
    """A message would go to the workers of other rooms."""
    frame = wire.publish(wire.KEEP, buckets, b"payload")[4:]
    found, start = wire.buckets_of(frame)
    assert (tuple(found), frame[start:], frame[0], frame[1]) == (buckets, b"payload", wire.PUBLISH, wire.KEEP)


def test_numbers_are_read_of_events_and_of_own_messages() -> None:
    """Clients would be given offsets that belong to other messages."""
    assert wire.number_of(wire.event(63, 2**50, b"x")[4:]) == 2**50
    assert wire.number_of(wire.own(2**50)[4:]) == 2**50


def test_an_event_comes_as_it_was_sent() -> None:
    """Rooms, exceptions and flags would be lost between workers."""
    payload = wire.encode_event("k\0/", frozenset(["é"]), frozenset(["b"]), wire.VOLATILE, '["n","\\u2028"]')
    event = wire.read_event(payload)
    assert (event.key, event.rooms, event.except_, event.flags, event.text) == (
        "k\0/",
        ["é"],
        ["b"],
        wire.VOLATILE,
        '["n","\\u2028"]',
    )
    with pytest.raises(DecodeError):
        wire.read_event(payload[:-1])


def test_a_join_names_its_rooms_before_the_message() -> None:
    """The broker could not know which rooms a worker is about to have."""
    payload = wire.encode_join([1, 65_535], b"message")
    buckets, start = wire.read_join(payload)
    assert (tuple(buckets), payload[start:]) == ((1, 65_535), b"message")


def test_questions_and_answers_come_as_they_were_sent() -> None:
    """A worker would answer something else, or another question."""
    question, answer = wire.Question(4, "stats", b"\x00"), wire.Answer(4, None)
    assert wire.read_question(wire.encode_question(question)) == question
    assert wire.read_answer(wire.encode_answer(answer)) == answer


def test_each_side_reads_what_the_other_says() -> None:
    """A worker could not join, or its sessions were not kept."""
    hello = wire.Hello(wire.Member(-1, "w", 1, "host", "1.0", 2.5))
    keep = wire.KeepSession("pid", "/", "sid", b"value", 120.0)
    welcome = wire.Welcome(3, "epoch", [hello.member])
    packets = wire.Packets(1, 9, [(8, b"x"), (9, b"y")])
    for message in (hello, keep):
        assert wire.read_by_broker(wire.control(message)[4:]) == message
    for other in (welcome, packets, wire.Packets(1, 9, None)):
        assert wire.read_by_worker(wire.control(other)[4:]) == other
