"""The stage that copies batches to a device, ahead of the loop."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from itpipe._core.checks import integer, truth
from itpipe._core.keys import Key
from itpipe._core.notes import note
from itpipe._core.steps import AS_WRITTEN, METER, STOP, Elsewhere, Handover, Pair, Stateless
from itpipe._engine.background import Background
from itpipe._engine.factories import factory
from itpipe._engine.meters import Meter
from itpipe._engine.stream import Stage
from itpipe._engine.threads import close_outside
from itpipe._engine.waiting import Stop

from ._cuda import Copies, Sent, has_to
from ._structure import mapped
from ._tensors import as_tensor, need_torch

__all__ = ['to_device']


@factory
def to_device(device: Any, pin_memory: bool = True, ahead: int = 1) -> Stage[Any, Any]:
    """The same batches, on a device: the last stage, which copies `ahead` batches while the loop works on another one.

    `device` is a `torch.device` or its name, such as `'cuda'`. Without an index, it is the current device of the thread
    in which the run begins. Numpy arrays and CPU tensors, anywhere in tuples, named tuples, lists, dicts and
    dataclasses, become tensors on the device. Objects that have a method `to`, such as packed sequences and a
    TensorDict, are moved by it, when the loop receives them. Other values stay as they are.

    On CUDA, a thread copies each batch into pinned memory, which is used again. From there it is copied on a stream of
    its own. The current stream of the loop waits for that, the loop itself does not. At most `ahead` batches that the
    loop has not received are on the device, and one that is being copied. With `pin_memory=False`, the memory is not
    pinned, and the thread waits for each copy. On other devices, the thread just makes `ahead` batches ready there.

    In an `Infinite`, `prefetch` batches are ready besides, in the memory of the host. Its state is that of the batch
    that the loop received last, so no batch is lost or comes twice where a training is resumed. States do not depend on
    this stage: a training may go on on another device, or without it.

    Raises ImportError if torch is not installed, ValueError if it knows no such device, and TypeError or ValueError for
    other wrong arguments. While running, raises the errors of torch as they are, such as that there is no such device,
    or no memory left on it.

    >>> from itpipe import batch_by, combine
    >>> from itpipe.integrations.torch import to_device
    >>> list(range(4) | batch_by(2) | combine | to_device('cpu'))  # doctest: +SKIP
    [tensor([0, 1]), tensor([2, 3])]

    See also: `to_torch`, `prefetch`.
    """
    need_torch('to_device')
    import torch

    try:
        target = torch.device(device)
    except (RuntimeError, TypeError) as error:
        kind = ValueError if isinstance(error, RuntimeError) else TypeError
        raise kind(f"to_device: `device` must be a torch.device or its name, such as 'cuda', got {device!r}") from None
    integer('to_device', 'ahead', ahead, least=1)
    options = (AS_WRITTEN, target, truth('to_device', 'pin_memory', pin_memory))
    step = Stateless(
        'to_device', _ahead, (STOP, METER, ahead, *options), fingerprint='', itemwise=True,
        elsewhere=Elsewhere('thread', limit=ahead), handover=Handover(_sent, options, _received, ahead),
    )  # fmt: skip
    return Stage((step,))


def _ahead(
    items: Iterator[Pair], stop: Stop, meter: Meter, ahead: int, where: str, device: Any, pin_memory: bool
) -> Iterator[Pair]:
    """The batches, sent in a thread, and received in that of the caller."""
    sent = _sent(items, where, device, pin_memory)
    background = Background('itpipe-to_device', ahead, meter)

    def run() -> Iterator[Pair]:
        stop.add(background)
        try:
            for key, value in background.run(sent, sent.close):
                yield key, _received(value)
                del value
        finally:
            threads = stop.threads(above=background)
            stop.remove(background)
            close_outside(threads, background.close)

    return run()


def _sent(items: Iterator[Pair], where: str, device: Any, pin_memory: bool) -> Any:
    """The batches, on their way to the device; for `_received`. This is called in the thread in which a run begins."""
    if device.type == 'cuda' and device.index is None:
        import torch

        with _named(where):
            device = torch.device('cuda', torch.cuda.current_device())
    return _send(items, where, device, pin_memory, threading.get_ident())


def _send(items: Iterator[Pair], where: str, device: Any, pin_memory: bool, begun_in: int) -> Iterator[Pair]:
    import torch

    copies = None
    if device.type == 'cuda':
        with _named(where):
            torch.cuda.init()  # whose error says what is missing
            if threading.get_ident() != begun_in:  # a thread of ours, which may begin the next pass
                torch.cuda.set_device(device)
            copies = Copies(torch, device, pin_memory)

    def moved(value: Any) -> Any:
        tensor = as_tensor(value)
        return tensor.to(device) if has_to(tensor) else tensor

    for key, value in items:
        with _named(where, key):
            value = mapped(value, moved) if copies is None else copies.send(value)
        yield key, value
        del value


def _received(value: Any) -> Any:
    return value.receive() if isinstance(value, Sent) else value


@contextmanager
def _named(where: str, key: Key | None = None) -> Iterator[None]:
    """Errors within get a note on the stage, and on the item."""
    try:
        yield
    except Exception as error:
        note(error, where, key)
        raise
