"""The parent's end of a socket to a process: whole messages, framed as `multiprocessing.connection` does.

Reading never waits. So one thread can read from all processes, even if one stops in the middle of what it sends.
"""

from __future__ import annotations

import selectors
import socket
import struct
from multiprocessing.connection import Connection, wait
from typing import Any

__all__ = ['Channel']

CHUNK = 1 << 14
"""Bytes that are read at once, at least, and the longest message that is copied to be sent with its header."""
LEAP = 1 << 20
"""Bytes that are read at once, at most."""
HEADER, LONG_HEADER = struct.Struct('!i'), struct.Struct('!iQ')


class Channel:
    """One end of a new socket."""

    def __init__(self) -> None:
        self._socket, other = socket.socketpair()
        self._socket.setblocking(False)
        self.other: Any = Connection(other.detach())
        """The other end, which is for the process."""
        self.ended = False
        """Whether the other end is closed and everything was read."""
        self._rest = bytearray()
        """The beginning of the next message."""

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, message: bytes) -> None:
        """Send it. Waits for the other end if it is more than the socket holds."""
        n = len(message)
        header = HEADER.pack(n) if n < 1 << 31 else LONG_HEADER.pack(-1, n)
        if n <= CHUNK:
            self._send(header + message)
        else:
            self._send(header)
            self._send(message)

    def receive(self) -> list[Any]:
        """All the messages that are there."""
        messages: list[Any] = []
        rest, size = self._rest, CHUNK
        while not self.ended:
            try:
                data = self._socket.recv(size)
            except BlockingIOError:
                break
            except ConnectionResetError:
                data = b''
            n = len(data)
            if not rest and n >= HEADER.size and HEADER.unpack_from(data)[0] == n - HEADER.size:  # as nearly always
                messages.append(memoryview(data)[HEADER.size :])
            elif n:
                rest += data
                missing = self._split(messages)
                if n == size:
                    size = max(CHUNK, min(missing, LEAP))
                    continue
            else:
                self.ended = True
            if n < size:  # that was all
                break
        return messages

    def _split(self, messages: list[Any]) -> int:
        """Move the messages that are complete from the rest to the list; returns how many bytes the next one lacks."""
        n: int
        rest, begin = self._rest, 0
        while len(rest) - begin >= HEADER.size:
            (n,), end = HEADER.unpack_from(rest, begin), begin + HEADER.size
            if n < 0:
                if len(rest) - begin < LONG_HEADER.size:
                    break
                (_, n), end = LONG_HEADER.unpack_from(rest, begin), begin + LONG_HEADER.size
            if len(rest) - end < n:
                del rest[:begin]
                return n - (len(rest) - (end - begin))
            messages.append(rest[end : end + n])
            begin = end + n
        del rest[:begin]
        return 0

    def poll(self, seconds: float) -> bool:
        """Wait until there is something to read, at most so long; whether there is."""
        return bool(wait([self._socket], seconds))

    def close(self) -> None:
        self._socket.close()
        self.other.close()

    def _send(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[self._socket.send(rest) :]
            except BlockingIOError:
                with selectors.DefaultSelector() as selector:
                    selector.register(self._socket, selectors.EVENT_WRITE)
                    selector.select()
