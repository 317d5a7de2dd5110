"""What all processes of a pool are started with."""

from __future__ import annotations

import os
import pickle
from typing import Any

from itpipe._engine.functions import ItemFunction
from itpipe.errors import NotPicklable

from .arrays import IN_FUNCTION
from .block import Block
from .child import work
from .cores import native_limits
from .files import File
from .pickling import dumps, dumps_function
from .shared_memory import Large, arena_memory
from .starting import Context

__all__ = ['Launcher']


class Launcher:
    """Starts the processes of a pool of so many.

    The function goes to each process in its first message. The large arrays inside the function are in a block, which
    the processes map when they unpickle the function.
    """

    def __init__(self, function: ItemFunction, processes: int):
        large = Large()
        data = dumps_function(function, large)
        self._processes, self._pass = processes, function.pass_
        self._arena_bytes = arena_memory() // (processes + 1)
        self._context = Context()
        self.items = File.new(self._arena_bytes)
        """For the large arrays of the items."""
        self._block = Block(large)
        self.first_message = self._message(data)

    def _message(self, data: bytes) -> bytes:
        return pickle.dumps((data, self._block.buffers), protocol=5)

    def has_sent(self, function: ItemFunction) -> bool:
        """Whether new processes would get the same for this function, down to the contents of its arrays.

        Two functions that do the same may have different pickles. Then the answer is no.
        """
        large = Large()
        try:
            data = dumps(function.in_pass(self._pass), 'the function', '', large, IN_FUNCTION)
        except NotPicklable:  # which is raised again where new processes are to get it
            return False
        return self._message(data) == self.first_message and self._block.holds(large)

    def pipe(self) -> tuple[Any, Any]:
        """Two ends of a new pipe, for both directions."""
        return self._context.Pipe()  # type: ignore[no-any-return]

    def file(self) -> File | None:
        """A file for the large arrays of one process's results."""
        return File.new(self._arena_bytes)

    def process(self, name: str, socket: Any, control: Any, results: File | None) -> Any:
        """A new process that is about to be started."""
        arguments = socket, control, self.items, self._block.file, results, os.getpid()
        return self._context.Process(target=work, args=arguments, name=name, env=native_limits(self._processes))

    def close(self) -> None:
        """Give the memory up."""
        self._block.close()
