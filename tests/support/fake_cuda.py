"""A CUDA device without one: streams, events and memory that is used again, as torch tells of them.

Work on a stream is done as late as it may be: when a thread waits for an event behind it, or when another stream that
waits for that event is worked on. A copy reads its source at that time. So where a wait is missing, or memory is used
again too early, something wrong is read, every time.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

torch = pytest.importorskip('torch')

__all__ = ['FakeTorch', 'OnDevice']


class Stream:
    def __init__(self, cuda: Cuda, name: str):
        self.cuda, self.name = cuda, name
        self.work: list[Callable[[], object]] = []
        self.done = 0

    def add(self, work: Callable[[], object]) -> None:
        with self.cuda.lock:
            self.work.append(work)

    def work_up_to(self, position: int) -> None:
        with self.cuda.lock:
            while self.done < position:
                self.done += 1
                self.work[self.done - 1]()

    def synchronize(self) -> None:
        self.work_up_to(len(self.work))

    def wait_event(self, event: Event) -> None:
        assert event.stream is not None, 'torch waits for nothing, then'
        self.cuda.note(f'{self.name} waits for {event.name}')
        stream, position = event.stream, event.position
        self.add(lambda: stream.work_up_to(position))


class Event:
    stream: Stream | None = None
    position = 0

    def __init__(self, cuda: Cuda, blocking: bool):
        assert blocking, 'or the thread that waits for it would keep a core busy'
        self.cuda, self.name = cuda, f'event {cuda.count("events")}'

    def record(self, stream: Stream) -> None:
        self.cuda.note(f'{self.name} on {stream.name}')
        self.stream, self.position = stream, len(stream.work)

    def synchronize(self) -> None:
        assert self.stream is not None
        self.cuda.note(f'host waits for {self.name}')
        self.stream.work_up_to(self.position)


class OnDevice(torch.Tensor):
    """A tensor on the device. Its values are `kernel`'s to look at."""

    memory: torch.Tensor
    cuda: Cuda
    used_by: list[Stream]

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return torch.device('cuda', 0)

    def copy_(self, source: torch.Tensor, non_blocking: bool = False) -> Any:
        memory, stream = self.memory, self.cuda.current_stream()
        stream.add(partial(memory.copy_, source))
        if not (non_blocking and self.cuda.is_pinned(source)):
            stream.synchronize()
        self.cuda.note(f'copy on {stream.name}')
        return self

    def record_stream(self, stream: Stream) -> None:
        self.used_by.append(stream)
        self.cuda.note(f'{stream.name} uses it')


class Cuda:
    """What is in `torch.cuda`."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.counts: dict[str, int] = {}
        self.log: list[tuple[int, str]] = []
        """What was done, and in which thread."""
        self.default = Stream(self, 'default stream')
        self.local = threading.local()
        self.free: list[tuple[Stream, torch.Tensor, list[tuple[Stream, int]]]] = []
        """Memory that may be used again: by work on this stream, when the others have come so far."""
        self.pinned: list[torch.Tensor] = []
        self.room: float = float('inf')
        """How many tensors the device has room for."""
        self.devices: dict[int, int] = {}

    def init(self) -> None:
        pass

    def count(self, what: str) -> int:
        with self.lock:
            self.counts[what] = self.counts.get(what, -1) + 1
            return self.counts[what]

    def note(self, text: str) -> None:
        self.log.append((threading.get_ident(), text))

    def Stream(self, device: torch.device) -> Stream:
        assert device.index is not None
        return Stream(self, f'stream {self.count("streams")}')

    def Event(self, blocking: bool = False) -> Event:
        return Event(self, blocking)

    def current_stream(self, device: Any = None) -> Stream:
        return getattr(self.local, 'stream', self.default)

    @contextmanager
    def stream(self, stream: Stream) -> Iterator[None]:
        before, self.local.stream = self.current_stream(), stream
        try:
            yield
        finally:
            self.local.stream = before

    def current_device(self) -> int:
        return self.devices.get(threading.get_ident(), 0)

    def set_device(self, device: torch.device) -> None:
        self.devices[threading.get_ident()] = device.index

    def is_pinned(self, tensor: torch.Tensor) -> bool:
        place = tensor.data_ptr()
        return any(block.data_ptr() <= place < block.data_ptr() + max(block.nbytes, 1) for block in self.pinned)

    def allocate(self, like: torch.Tensor) -> OnDevice:
        stream = self.current_stream()
        with self.lock:
            memory = self.memory(stream, like)
        tensor = memory.as_subclass(OnDevice)
        tensor.memory, tensor.cuda, tensor.used_by = memory, self, []
        weakref.finalize(tensor, self.give_back, stream, memory, tensor.used_by)
        return tensor

    def memory(self, stream: Stream, like: torch.Tensor) -> torch.Tensor:
        for n, (owner, memory, pending) in enumerate(self.free):
            done = all(other.done >= position for other, position in pending)
            if owner is stream and done and (memory.shape, memory.dtype) == (like.shape, like.dtype):
                self.count('memory used again')
                return self.free.pop(n)[1]
        if self.count('memory') >= self.room:
            raise torch.OutOfMemoryError('CUDA out of memory.')
        return torch.full_like(like, 77)

    def give_back(self, stream: Stream, memory: torch.Tensor, used_by: list[Stream]) -> None:
        self.free.append((stream, memory, [(other, len(other.work)) for other in used_by]))

    def kernel(self, tensor: Any) -> list[torch.Tensor]:
        """What the tensor holds when the current stream comes to this."""
        read: list[torch.Tensor] = []
        memory = tensor.memory
        self.current_stream().add(lambda: read.append(memory.clone()))
        return read


class FakeTorch:
    """Torch with a fake of CUDA."""

    def __init__(self) -> None:
        self.cuda = Cuda()

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    def empty(self, size: int, dtype: torch.dtype, pin_memory: bool = False) -> torch.Tensor:
        block = torch.empty(size, dtype=dtype)
        if pin_memory:
            self.cuda.pinned.append(block)
        return block

    def empty_like(self, tensor: torch.Tensor, device: Any) -> torch.Tensor:
        if device == 'meta':
            return torch.empty_like(tensor, device='meta')
        return self.cuda.allocate(tensor)
