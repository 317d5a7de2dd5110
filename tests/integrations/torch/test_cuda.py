"""Copies to a CUDA device, on a fake of it: what is read is right, though all work is done as late as it may be."""

from __future__ import annotations

import gc
import threading
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip('torch')

from fake_cuda import FakeTorch, OnDevice, Stream  # noqa: E402

import itpipe.integrations.torch._cuda  # noqa: E402
from itpipe.integrations.torch._cuda import Copies, memory_of  # noqa: E402

DEVICE = torch.device('cuda', 0)


@pytest.fixture
def fake() -> FakeTorch:
    return FakeTorch()


def batch(n: int) -> dict[str, Any]:
    return {'image': np.full((4, 5), n, np.float32), 'label': torch.full((4,), n), 'name': ['a'] * 4}


def trained(
    fake: FakeTorch, copies: Copies, count: int = 12, ahead: int = 2, at_once: bool = False
) -> list[tuple[list[Any], list[Any]]]:
    """What the kernels of a loop read, which run at once, or only in the end."""
    sent = [copies.send(batch(n)) for n in range(ahead)]
    read = []
    for n in range(count):
        sent.append(copies.send(batch(n + ahead)))
        got = sent.pop(0).receive()
        assert got['name'] == ['a'] * 4
        read.append((fake.cuda.kernel(got['image']), fake.cuda.kernel(got['label'])))
        del got
        gc.collect()
        if at_once:
            fake.cuda.default.synchronize()
    fake.cuda.default.synchronize()
    return read


def is_right(read: list[tuple[list[Any], list[Any]]]) -> bool:
    return all((image[0] == n).all() and (label[0] == n).all() for n, (image, label) in enumerate(read))


@pytest.mark.parametrize('pin_memory', [True, False])
@pytest.mark.parametrize('at_once', [True, False])
@pytest.mark.parametrize('ahead', [0, 1, 2, 4])
def test_what_is_read_is_right(fake: FakeTorch, pin_memory: bool, at_once: bool, ahead: int) -> None:
    assert is_right(trained(fake, Copies(fake, DEVICE, pin_memory), ahead=ahead, at_once=at_once))
    assert len(fake.cuda.pinned) == (4 if pin_memory else 0)  # two sets of two blocks, for 12 batches


def test_pinned_blocks_and_memory_are_used_again(fake: FakeTorch) -> None:
    """Memory of the device only when the loop's stream is through with it."""
    copies = Copies(fake, DEVICE, pin_memory=True)
    trained(fake, copies)
    assert 'memory used again' not in fake.cuda.counts
    trained(fake, copies)
    assert fake.cuda.counts['memory used again'] > 10
    assert len(fake.cuda.pinned) == 4


def test_without_the_wait_of_the_stream_it_would_be_wrong(fake: FakeTorch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stream, 'wait_event', lambda *_: None)
    assert not is_right(trained(fake, Copies(fake, DEVICE, pin_memory=True), ahead=1, at_once=True))


def test_without_the_wait_for_a_block_it_would_be_wrong(fake: FakeTorch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(itpipe.integrations.torch._cuda._Blocks, 'event', property(lambda _: None, lambda *_: None))
    assert not is_right(trained(fake, Copies(fake, DEVICE, pin_memory=True)))


def test_without_record_stream_it_would_be_wrong(fake: FakeTorch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OnDevice, 'record_stream', lambda *_: None)
    assert not is_right(trained(fake, Copies(fake, DEVICE, pin_memory=True)))


def test_the_order_of_calls(fake: FakeTorch) -> None:
    copies = Copies(fake, DEVICE, pin_memory=True)
    for n in range(3):
        copies.send(np.full(3, n)).receive()
    assert [text for _, text in fake.cuda.log] == [
        'copy on stream 0', 'event 0 on stream 0', 'default stream waits for event 0', 'default stream uses it',
        'copy on stream 0', 'event 1 on stream 0', 'default stream waits for event 1', 'default stream uses it',
        'host waits for event 0',
        'copy on stream 0', 'event 2 on stream 0', 'default stream waits for event 2', 'default stream uses it',
    ]  # fmt: skip


def test_the_stream_that_waits_is_that_of_the_receiver(fake: FakeTorch) -> None:
    copies = Copies(fake, DEVICE, pin_memory=True)
    own = fake.cuda.Stream(DEVICE)
    read: list[list[Any]] = []

    def receive() -> None:
        with fake.cuda.stream(own):
            read.append(fake.cuda.kernel(copies.send(np.full(3, 7)).receive()))

    thread = threading.Thread(target=receive)
    thread.start()
    thread.join()
    own.synchronize()
    assert (read[0][0] == 7).all()
    assert fake.cuda.default.work == []


def test_blocks_grow(fake: FakeTorch) -> None:
    copies = Copies(fake, DEVICE, pin_memory=True)
    read = []
    for size in (3, 10, 2, 20, 5, 20):
        read.append((size, fake.cuda.kernel(copies.send(np.arange(size)).receive())))
    fake.cuda.default.synchronize()
    assert all(torch.equal(got[0], torch.arange(size)) for size, got in read)
    assert [block.numel() // 8 for block in fake.cuda.pinned] == [3, 10, 20, 5]


@pytest.mark.parametrize(
    'make',
    [
        lambda: torch.arange(24.0).reshape(2, 3, 2, 2).to(memory_format=torch.channels_last),
        lambda: torch.arange(12)[::2],
        lambda: torch.arange(6).reshape(2, 3).t(),
        lambda: torch.zeros(0, 3),
        lambda: torch.tensor(3.5),
        lambda: torch.tensor([True, False]),
        lambda: torch.arange(5, dtype=torch.bfloat16),
        lambda: torch.tensor([1 + 2j]).conj(),
        lambda: torch.arange(3).expand(2, 3),
    ],
)
def test_tensors_of_all_forms(fake: FakeTorch, make: Any) -> None:
    """They have the order of axes in memory that `.to(device)` would give them."""
    tensor = make()
    read = fake.cuda.kernel(copy := Copies(fake, DEVICE, pin_memory=True).send([tensor]).receive()[0])
    fake.cuda.default.synchronize()
    assert torch.equal(read[0], tensor)
    assert copy.memory.stride() == torch.empty_like(tensor).stride()
    assert copy.dtype == tensor.dtype


class Moving(torch.Tensor):
    """A tensor of a class of its own."""

    def to(self, device: Any, non_blocking: bool) -> Any:
        assert non_blocking
        fake, memory = FAKES[-1], self.as_subclass(torch.Tensor)
        copy = fake.cuda.allocate(memory)
        fake.cuda.current_stream().add(partial(copy.memory.copy_, memory))
        return copy


FAKES: list[FakeTorch] = []


def test_tensors_of_other_classes_move_themselves(fake: FakeTorch) -> None:
    FAKES[:] = [fake]
    given = torch.arange(3).as_subclass(Moving)
    read = fake.cuda.kernel(Copies(fake, DEVICE, pin_memory=True).send((given, 1)).receive()[0])
    fake.cuda.default.synchronize()
    assert read[0].tolist() == [0, 1, 2]
    assert fake.cuda.pinned == []


def test_other_objects_are_moved_where_they_are_received(fake: FakeTorch) -> None:
    moved = []
    thing = SimpleNamespace(to=lambda device: moved.append((device, threading.get_ident())) or 'moved')
    sent = Copies(fake, DEVICE, pin_memory=True).send([thing, np.zeros(2), torch.float32])
    assert moved == []
    assert sent.receive()[::2] == ['moved', torch.float32]
    assert moved == [(DEVICE, threading.get_ident())]


def test_what_is_on_the_device_stays(fake: FakeTorch) -> None:
    there = fake.cuda.allocate(torch.zeros(3))
    assert Copies(fake, DEVICE, pin_memory=True).send([there, 'x']).receive()[0] is there


@pytest.mark.filterwarnings('ignore:Sparse')
@pytest.mark.parametrize('kind', ['sparse_coo', 'sparse_csr', 'sparse_csc', 'sparse_bsr', 'sparse_bsc', 'strided'])
def test_the_memory_of_sparse_tensors(kind: str) -> None:
    """`record_stream` is only for the tensors in them."""
    dense = torch.eye(4)
    size = {'blocksize': (2, 2)} if kind in ('sparse_bsr', 'sparse_bsc') else {}
    tensor = dense if kind == 'strided' else dense.to_sparse(layout=getattr(torch, kind), **size)
    parts = memory_of(torch, tensor)
    assert len(parts) == {'strided': 1, 'sparse_coo': 2}.get(kind, 3)
    assert all(part.layout == torch.strided and part.numel() for part in parts)
