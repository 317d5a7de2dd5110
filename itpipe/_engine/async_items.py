"""The items of an async iterable as an iterator gives them: an event loop in a thread of its own makes them."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterable, Iterator
from contextlib import suppress
from contextvars import copy_context
from queue import Empty, SimpleQueue
from typing import Any, Final

from itpipe._core.keys import END

from .stacks import format_stack, stack_of, stack_of_coroutine
from .threads import Thread
from .waiting import POLL_SECONDS, Stop, join

__all__ = ['awaited']

CLOSED: Final = object()


def awaited(iterable: AsyncIterable[Any], stop: Stop | None = None) -> Iterator[Any]:
    """The items of an async iterable. Each is asked for when it is needed; in between, the event loop runs on.

    A call of `stop` ends the wait for an item.
    """
    loop = _Loop(iterable)
    if stop is not None:
        stop.add(loop)
    try:
        while (item := loop.next()) is not END:
            yield item[0]
            del item
    finally:
        if stop is not None:
            stop.remove(loop)
        loop.close()


class _Loop:
    """An event loop that runs one task: it iterates, so that a task group or a timeout around a `yield` stays in it."""

    where = 'event loop itpipe-async'

    def __init__(self, iterable: AsyncIterable[Any]):
        self.iterable = iterable
        self._answers: SimpleQueue[Any] = SimpleQueue()
        """Items as tuples of one, an error, or END. What comes behind CLOSED is only looked at by `close`."""
        self._pid = os.getpid()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None
        self._step: Any = None
        """What the task awaits, for the warning about a stall."""
        self._waited_for = self._stopped = False
        # Only the loop's thread uses these.
        self._asked = asyncio.Event()
        self._idle = self._ending = False

    def next(self) -> Any:
        """The next item, in a tuple; END if there is none."""
        if os.getpid() != self._pid:
            raise RuntimeError('the event loop that makes the items is gone: this process was forked from its own')
        if self._thread is None and not self._stopped:
            self._thread = Thread(copy_context().run, 'itpipe-async', self._run)
            self._thread.start()
        else:
            self._call(self._asked.set)
        self._waited_for = True
        try:
            answer = self._wait()
        finally:
            self._waited_for = False
        if answer is CLOSED:
            raise RuntimeError('the run was closed while an item was awaited')
        if isinstance(answer, BaseException):
            try:
                raise answer
            finally:
                del answer  # its traceback holds this frame
        return answer

    def _wait(self) -> Any:
        while True:
            with suppress(Empty):
                return self._answers.get(timeout=POLL_SECONDS)

    def _call(self, function: Any) -> None:
        """Call the function in the loop, if that runs."""
        if self._loop is not None:
            with suppress(RuntimeError):  # it has ended
                self._loop.call_soon_threadsafe(function)

    # In the loop's thread

    def _run(self) -> None:
        main = self._main()
        try:
            asyncio.run(main)
        except BaseException as error:  # there is no loop, or another task ended it
            main.close()
            self._answers.put(error)

    async def _main(self) -> None:
        self._task = asyncio.current_task()
        self._loop = asyncio.get_running_loop()
        answer: Any = END
        try:
            if not self._stopped:  # said before `_loop` is looked at
                await self._iterate()
        except StopAsyncIteration:
            pass
        except asyncio.CancelledError as error:
            if not self._ending:
                answer = RuntimeError('the async iterable was cancelled, but not by itpipe')
                answer.__cause__ = error
        except BaseException as error:
            answer = error
        self._answers.put(answer)  # before the loop ends, which may take a while

    async def _iterate(self) -> None:
        iterator = aiter(self.iterable)
        try:
            step: Any = anext(iterator)
            while step is not None:
                # An async generator does not say what it is awaited by.
                self._step = iterator if hasattr(iterator, 'ag_frame') else step
                value = await step
                self._asked.clear()
                self._answers.put((value,))
                del value
                step = await self._next_step(iterator)
        finally:
            # An iterator that was given belongs to the user, as an open file does, but not a generator.
            if (iterator is not self.iterable or hasattr(iterator, 'athrow')) and hasattr(iterator, 'aclose'):
                await _close(iterator)

    async def _next_step(self, iterator: Any) -> Any:
        """What to await when the next item is asked for; None for the end."""
        try:
            await self._until_asked()
        except asyncio.CancelledError as error:
            if not hasattr(iterator, 'athrow'):
                raise
            return self._thrown(iterator, error)
        return None if self._ending else anext(iterator)

    async def _thrown(self, iterator: Any, error: asyncio.CancelledError) -> Any:
        """A task group or a timeout around a `yield` has cancelled the task: they know what that means."""
        value = await iterator.athrow(error)
        await self._until_asked()
        return value

    async def _until_asked(self) -> None:
        self._idle = not self._ending
        try:
            if self._idle:
                await self._asked.wait()
        finally:
            self._idle = False

    def _end(self) -> None:
        if self._ending:
            return
        self._ending = True
        if self._idle:  # a task that is being cancelled cannot await all that it has to clean up
            self._asked.set()
        elif self._task is not None:
            self._task.cancel()

    # For the run

    @property
    def threads(self) -> list[threading.Thread]:
        """The thread, if it has been started."""
        return [] if self._thread is None else [self._thread]

    def doing(self) -> str:
        """Where the iterable waits, for the warning about a stall."""
        if not self._waited_for or self._step is None or self._thread is None:
            return ''
        if asyncio.current_task(self._loop) is self._task:
            return format_stack(stack_of(self._thread.ident))
        return format_stack(stack_of_coroutine(self._step))

    def stop(self) -> None:
        """End the wait for an item, cancel what makes it, and let the iterable clean up. From any thread."""
        self._stopped = True
        self._answers.put(CLOSED)
        if os.getpid() == self._pid:
            self._call(self._end)

    def close(self) -> None:
        """Stop, wait until the loop is gone, and raise what cleaning up has raised."""
        if os.getpid() != self._pid:
            return
        self.stop()
        join(self.threads)
        while not self._answers.empty():
            if isinstance(answer := self._answers.get(), BaseException):
                try:
                    raise answer
                finally:
                    del answer


async def _close(iterator: Any) -> None:
    try:
        await iterator.aclose()
    except BaseExceptionGroup as group:  # task groups take the GeneratorExit of `aclose` for an error
        _, rest = group.split(GeneratorExit)
        if rest is not None:
            raise rest from None
