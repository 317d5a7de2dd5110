"""Copies of batches to a CUDA device, ahead of the loop.

Two threads take part. The sender copies a batch into pinned memory, starts the copies from there on a stream of its
own, and records an event behind them. It does not wait for these copies. The receiver is the thread that uses the
batch. It lets its current stream wait for the event, and does not wait itself, either.

Memory is used again in two places. The sender has two sets of blocks of pinned memory, in turn. Before it writes into a
set again, it waits for the event behind the copies from that set. The memory of the tensors on the device belongs to
the sender's stream. `record_stream` tells torch that the receiver's stream uses it, too. So when the loop drops a
tensor, its memory is not taken for another copy before the receiver's stream is through with it.
"""

from __future__ import annotations

from itertools import count
from typing import Any, NamedTuple

from ._structure import mapped
from ._tensors import as_tensor

__all__ = ['Copies', 'Sent', 'has_to']

SETS = 2


def has_to(value: Any) -> bool:
    """Whether it is an object that moves itself to a device, as a packed sequence does."""
    return callable(getattr(value, 'to', None)) and not isinstance(value, type)


def memory_of(torch: Any, tensor: Any) -> list[Any]:
    """The tensors that have the memory of this one: those of a sparse tensor, or itself."""
    if tensor.layout == torch.strided:
        return [tensor]
    if tensor.layout == torch.sparse_coo:
        return [tensor._indices(), tensor._values()]
    if tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        return [tensor.crow_indices(), tensor.col_indices(), tensor.values()]
    return [tensor.ccol_indices(), tensor.row_indices(), tensor.values()]


class Sent(NamedTuple):
    """A batch on its way to a device."""

    torch: Any
    device: Any
    batch: Any
    copies: list[Any]
    """The tensors in it whose copies were started …"""
    event: Any
    """… and the event behind them."""
    others: bool
    """Whether it has objects that move themselves. The receiver lets them do that."""

    def receive(self) -> Any:
        """The batch, for the current stream of this thread."""
        stream = self.torch.cuda.current_stream(self.device)
        stream.wait_event(self.event)
        for tensor in self.copies:
            for part in memory_of(self.torch, tensor):
                part.record_stream(stream)
        return mapped(self.batch, self._moved) if self.others else self.batch

    def _moved(self, value: Any) -> Any:
        return value if isinstance(value, self.torch.Tensor) or not has_to(value) else value.to(self.device)


class Copies:
    """The copies of one run, started in one thread. `torch` is the module, `device` has an index."""

    def __init__(self, torch: Any, device: Any, pin_memory: bool):
        self._torch, self._device, self._pin_memory = torch, device, pin_memory
        self._stream = torch.cuda.Stream(device)
        self._sets = [_Blocks(torch) for _ in range(SETS)]
        self._turns = count()

    def send(self, batch: Any) -> Sent:
        """Start to copy the arrays and tensors of the batch."""
        torch, copies, others = self._torch, [], []
        blocks = self._sets[next(self._turns) % SETS]
        blocks.begin()

        def sent(value: Any) -> Any:
            tensor = as_tensor(value)
            if not isinstance(tensor, torch.Tensor):
                if has_to(value):
                    others.append(value)
                return value
            if tensor.device == self._device:
                return tensor
            copies.append(copy := self._copied(tensor, blocks))
            return copy

        with torch.cuda.stream(self._stream):
            moved = mapped(batch, sent)
            event = torch.cuda.Event(blocking=True)  # so that the sender sleeps while it waits for it
            event.record(self._stream)
        blocks.event = event
        return Sent(torch, self._device, moved, copies, event, bool(others))

    def _copied(self, tensor: Any, blocks: _Blocks) -> Any:
        torch = self._torch
        plain = type(tensor) is torch.Tensor and tensor.layout == torch.strided
        if not plain or tensor.requires_grad or tensor.is_quantized or tensor.device.type != 'cpu':
            return tensor.to(self._device, non_blocking=True)
        if self._pin_memory and not tensor.is_pinned():
            tensor = blocks.staged(tensor)
        copy = torch.empty_like(tensor, device=self._device)
        copy.copy_(tensor, non_blocking=True)
        return copy


class _Blocks:
    """Blocks of pinned memory, one for each tensor of a batch."""

    event: Any = None
    """The event behind the copies from them."""

    def __init__(self, torch: Any):
        self._torch = torch
        self._blocks: list[Any] = []
        self._used = 0

    def begin(self) -> None:
        """Use them for another batch, as soon as they may be written to."""
        if self.event is not None:
            self.event.synchronize()
        self._used = 0

    def staged(self, tensor: Any) -> Any:
        """The tensor, copied into the next block."""
        torch, size = self._torch, tensor.numel() * tensor.element_size()
        if self._used == len(self._blocks):
            self._blocks.append(torch.empty(0, dtype=torch.uint8))
        if self._blocks[self._used].numel() < size:
            self._blocks[self._used] = torch.empty(size, dtype=torch.uint8, pin_memory=True)
        block = self._blocks[self._used]
        self._used += 1
        # in the order of axes that the copy will have
        strides = torch.empty_like(tensor, device='meta').stride()
        staged = block[:size].view(tensor.dtype).as_strided(tensor.shape, strides)
        staged.copy_(tensor)
        return staged
