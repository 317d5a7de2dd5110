"""The parent's end of a socket: whole messages, without waiting."""

import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from running import LIMIT

from itpipe._workers.channel import CHUNK, HEADER, LEAP, LONG_HEADER, Channel


@pytest.fixture
def channel() -> Iterator[Channel]:
    channel = Channel()
    yield channel
    channel.close()


def received(channel: Channel, count: int) -> list[bytes]:
    messages: list[Any] = []
    while len(messages) < count:
        assert channel.poll(LIMIT)
        messages += channel.receive()
    return list(map(bytes, messages))


SIZES = [0, 1, CHUNK - HEADER.size - 1, CHUNK - HEADER.size, CHUNK - HEADER.size + 1, CHUNK, LEAP, 3 * LEAP + 5]


@pytest.mark.parametrize('size', SIZES)
def test_a_message_of_any_size_goes_both_ways(channel: Channel, size: int) -> None:
    message = bytes(range(256)) * (size // 256) + bytes(size % 256)

    def answer() -> None:
        channel.other.send_bytes(channel.other.recv_bytes())

    thread = threading.Thread(target=answer)
    thread.start()
    channel.send(message)
    assert received(channel, 1) == [message]
    thread.join()
    assert channel.receive() == []
    assert not channel.ended


def test_messages_that_came_together() -> None:
    """With the end of all, and a part of one that never came as a whole."""
    channel = Channel()
    messages = [bytes([n]) * n * 500 for n in range(12)]
    for message in messages:
        channel.other.send_bytes(message)
    os.write(channel.other.fileno(), HEADER.pack(10) + b'half')
    channel.other.close()
    assert list(map(bytes, channel.receive())) == messages
    assert channel.receive() == []
    assert channel.ended
    channel.close()


@pytest.mark.parametrize('header', [HEADER.pack(10), LONG_HEADER.pack(-1, 10)])
def test_nobody_waits_for_the_rest_of_a_message(channel: Channel, header: bytes) -> None:
    for byte in header + b'0123456789':
        assert channel.receive() == []
        os.write(channel.other.fileno(), bytes([byte]))
    assert list(map(bytes, channel.receive())) == [b'0123456789']


def test_the_other_end_is_closed_before_it_has_read(channel: Channel) -> None:
    channel.send(b'unread')
    channel.other.close()
    assert channel.receive() == []
    assert channel.ended
    with pytest.raises(BrokenPipeError):
        channel.send(b'more')
