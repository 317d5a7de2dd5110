"""The rank of this process: as it is given, or from the environment that torchrun sets, or from `torch.distributed`."""

import sys
import types

import numpy as np
import pytest
from running import raises

from itpipe import Infinite
from itpipe.integrations.distributed import distributed, rank_of


def test_a_rank_that_is_given() -> None:
    assert rank_of('f', (1, 3)) == rank_of('f', [np.int64(1), 3]) == (1, 3)
    with raises(TypeError, "f: `shard` must be (rank, number of ranks) or 'env', got 3"):
        rank_of('f', 3)
    with raises(ValueError, 'f: `shard[0]` must be less than `shard[1]` (3), got 3'):
        rank_of('f', (3, 3))


def test_torch_is_asked_only_if_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, 'torch.distributed', raising=False)
    assert distributed() is None


def test_the_rank_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('RANK', '2')
    monkeypatch.setenv('WORLD_SIZE', '3')
    with Infinite(range(9), shard='env', even='keep') as batch_iter:
        assert list(batch_iter) == [2, 5, 8]
        assert repr(batch_iter) == "Infinite(range(0, 9), shard='env', even='keep')"
    monkeypatch.setenv('RANK', 'two')
    with pytest.raises(ValueError, match=r"Infinite: the environment variable RANK must be a number, got 'two'"):
        Infinite(range(9), shard='env', even='keep')
    monkeypatch.setenv('RANK', '3')
    with pytest.raises(ValueError, match=r'Infinite: `RANK` must be less than `WORLD_SIZE` \(3\), got 3'):
        Infinite(range(9), shard='env', even='keep')
    monkeypatch.delenv('RANK')
    with pytest.raises(ValueError, match=r"Infinite: `shard='env'` needs torch.distributed .* not set: RANK$"):
        Infinite(range(9), shard='env', even='keep')


def test_the_rank_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    distributed = types.SimpleNamespace(
        is_available=lambda: True, is_initialized=lambda: True, get_rank=lambda: 1, get_world_size=lambda: 2
    )
    monkeypatch.setitem(sys.modules, 'torch.distributed', distributed)
    monkeypatch.setenv('RANK', '0')
    monkeypatch.setenv('WORLD_SIZE', '1')
    assert list(Infinite(range(4), shard='env', even='keep', prefetch=0)) == [1, 3]
    distributed.is_initialized = lambda: False
    assert list(Infinite(range(4), shard='env', even='keep', prefetch=0)) == [0, 1, 2, 3]


def test_the_environment_is_not_read_if_nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('RANK', '1')
    monkeypatch.setenv('WORLD_SIZE', '2')
    assert list(Infinite(range(4), prefetch=0)) == [0, 1, 2, 3]
