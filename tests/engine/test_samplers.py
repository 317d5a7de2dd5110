"""Samplers of torch as sources: what they give in each pass, and where a run goes on."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from running import raises

from itpipe import Infinite, batch_by, combine_lists, concat, cycle, mix, sample, shard, stream, take, zip_with
from itpipe._engine.samplers import is_sampler

torch = pytest.importorskip('torch')
data = torch.utils.data
DATA = [10 * n for n in range(12)]


def seeded() -> Any:
    return torch.Generator().manual_seed(3)


OWN_GENERATOR: dict[str, Callable[[], Any]] = {
    'random': lambda: data.RandomSampler(DATA, generator=seeded()),
    'with replacement': lambda: data.RandomSampler(DATA, replacement=True, num_samples=14, generator=seeded()),
    'subset': lambda: data.SubsetRandomSampler([1, 3, 5, 7], generator=seeded()),
    'weighted': lambda: data.WeightedRandomSampler([1.0, 2.0, 0.0, 3.0], 6, generator=seeded()),
    'batches': lambda: data.BatchSampler(data.RandomSampler(DATA, generator=seeded()), 5, drop_last=False),
}
OTHERS: dict[str, Callable[[], Any]] = {
    'random, no generator': lambda: data.RandomSampler(DATA),
    'subset, no generator': lambda: data.SubsetRandomSampler([1, 3, 5, 7]),
    'weighted, no generator': lambda: data.WeightedRandomSampler([1.0, 2.0, 0.0, 3.0], 6),
    'batches, no generator': lambda: data.BatchSampler(data.RandomSampler(DATA), 5, drop_last=True),
    'sequential': lambda: data.SequentialSampler(DATA),
    'of a rank': lambda: data.DistributedSampler(DATA, num_replicas=2, rank=1, seed=5),
    'batches of a rank': lambda: data.BatchSampler(data.DistributedSampler(DATA, 2, 0), 2, drop_last=False),
}
ALL = OWN_GENERATOR | OTHERS


def passes(sampler: Any, count: int = 4) -> list[list[Any]]:
    with Infinite(sampler, seed=0) as batch_iter:
        return [list(batch_iter) for _ in range(count)]


@pytest.mark.parametrize('name', OWN_GENERATOR)
def test_with_a_generator_of_its_own_it_gives_what_it_would_give_alone(name: str) -> None:
    make = OWN_GENERATOR[name]
    alone, given = make(), make()
    expected = [list(alone) for _ in range(4)]
    assert passes(given) == expected
    assert [list(stream(given)) for _ in range(2)] == [expected[0]] * 2  # and the sampler is left as it was


@pytest.mark.parametrize('name', [name for name in OTHERS if 'no generator' in name])
def test_without_one_it_draws_by_the_seed_of_the_run(name: str) -> None:
    """And nothing from torch's global generator."""
    make = OTHERS[name]
    before = torch.get_rng_state()
    first = passes(make())
    assert passes(make()) == first
    assert len({str(each) for each in first}) > 2
    assert torch.equal(torch.get_rng_state(), before)
    with Infinite(make(), seed=1) as batch_iter:
        assert [list(batch_iter) for _ in range(4)] != first


def test_one_that_deals_is_told_the_number_of_the_pass() -> None:
    alone, expected = data.DistributedSampler(DATA, 2, 0), []
    for epoch in range(4):
        alone.set_epoch(epoch)
        expected.append(list(alone))
    assert passes(data.DistributedSampler(DATA, 2, 0)) == expected
    assert passes(data.BatchSampler(data.DistributedSampler(DATA, 2, 0), 6, False)) == [[each] for each in expected]
    assert len({str(each) for each in expected}) == 4


@pytest.mark.filterwarnings('ignore:Infinite. an epoch ended after')
@pytest.mark.parametrize('name', ALL)
@pytest.mark.parametrize('seed', [0, None])
def test_a_run_goes_on_exactly(name: str, seed: int | None) -> None:
    """In any pass, also at its end; with another sampler, as in another process."""

    def infinite() -> Infinite[Any]:
        return Infinite(ALL[name](), batch_size=2, combiner=combine_lists, batches_per_epoch=3, seed=seed)

    states, batches = [], []
    with infinite() as batch_iter:
        for _ in range(6):
            for batch in batch_iter:
                batches.append(batch)
                states.append(json.dumps(batch_iter.state_dict()))
                if len(batches) == 8:
                    break
    for taken, state in enumerate(states, 1):
        with infinite() as batch_iter:
            batch_iter.load_state_dict(json.loads(state))
            rest: list[Any] = []
            while len(rest) < len(batches) - taken:
                rest += batch_iter
            assert rest[: len(batches) - taken] == batches[taken:]


@pytest.mark.parametrize('name', ['random', 'random, no generator'])
def test_with_restart_all_epochs_are_the_same(name: str) -> None:
    with Infinite(ALL[name](), batch_size=4, combiner=list, restart=True) as batch_iter:
        first, *others = [list(batch_iter) for _ in range(3)]
    assert others == [first, first]


@pytest.mark.parametrize('options', [{}, {'threads': 2}, {'prefetch': 0}])
def test_the_items_are_looked_up(options: dict[str, Any]) -> None:
    with Infinite(ALL['random'](), DATA.__getitem__, batch_size=5, combiner=list, seed=0, **options) as batch_iter:
        assert len(batch_iter) == 3
        got = [x for batch in batch_iter for x in batch]
        assert [batch_iter.item(key) for key in batch_iter.item_keys] == got[10:]
    assert got == [DATA[n] for n in ALL['random']()]


def test_in_other_sources() -> None:
    both = stream(ALL['random'](), seed=0) | concat(stream(ALL['subset, no generator'](), seed=1)) | batch_by(3)
    with Infinite(both) as batch_iter:
        first = list(batch_iter)
        state = json.loads(json.dumps(batch_iter.state_dict()))
        following = list(batch_iter)
    assert sorted(x for batch in first for x in batch) == sorted([*range(12), 1, 3, 5, 7])
    with Infinite(both) as batch_iter:
        batch_iter.load_state_dict(state)
        assert list(batch_iter) == following


def test_it_is_pickled_before_it_runs() -> None:
    batch_iter = Infinite(ALL['random'](), batch_size=2)
    with pickle.loads(pickle.dumps(batch_iter)) as other:
        assert [x for batch in other for x in batch.tolist()] == list(ALL['random']())


def test_what_the_passes_before_drew_is_kept_for_the_latest() -> None:
    source = stream(ALL['random']()).source
    with Infinite(stream(ALL['random']()), batch_size=12) as batch_iter:
        for _ in range(30):
            list(batch_iter)
        samplers = batch_iter._epochs.source.samplers  # type: ignore[attr-defined]
        assert len(samplers._stood) <= 6
    assert source.random is False  # type: ignore[attr-defined]


class Own(data.Sampler):  # type: ignore[misc]
    """Nobody knows how its order changes."""

    def __iter__(self) -> Iterator[int]:
        return iter(range(4))

    def __len__(self) -> int:
        return 4


class Told(Own):
    epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        return iter([self.epoch] * 4)


def test_samplers_of_others() -> None:
    """Those with `set_epoch` are told the pass. Of those without, a warning says that a run may not go on exactly."""
    assert passes(Told(), 2) == [[0] * 4, [1] * 4]
    assert passes(Own(), 2) == [[0, 1, 2, 3]] * 2
    for sampler, warned in ((Own, True), (Told, False)):
        with Infinite(sampler(), batch_size=2) as batch_iter:
            list(batch_iter)
            next(batch_iter())
            state = batch_iter.state_dict()
        with Infinite(sampler(), batch_size=2) as batch_iter:
            batch_iter.load_state_dict(state)
            if warned:
                with pytest.warns(UserWarning, match='^itpipe: the run goes on in pass 1 over <Own>. If its order'):
                    assert len(list(batch_iter)) == 1
            else:
                assert len(list(batch_iter)) == 1


def test_what_is_refused() -> None:
    hint = 'a sampler is a source by itself: `stream(sampler) | dataset.__getitem__`'
    with raises(TypeError, f'sample: `sequence` must not be a sampler, got SequentialSampler; {hint}'):
        sample(ALL['sequential']())
    with raises(TypeError, f'sample: `weights` must not be a sampler, got RandomSampler; {hint}'):
        sample(DATA, ALL['random']())
    text = 'deals items to ranks itself; take a sampler that does not, or leave out `shard`'
    for where, use in (
        ('Infinite', lambda: Infinite(ALL['of a rank'](), shard=(0, 2))),
        ('Infinite', lambda: Infinite(stream(ALL['batches of a rank'](), seed=0), shard=(0, 2))),
        ('shard', lambda: iter(ALL['of a rank']() | shard(0, 2))),
        ('Infinite', lambda: Infinite(mix(range(8), ALL['of a rank'](), seed=0), shard=(0, 2))),
        ('Infinite', lambda: Infinite(stream(mix(ALL['batches of a rank']()), seed=0), shard=(0, 2))),
        ('Infinite', lambda: Infinite(ALL['of a rank'](), zip_with(range(6)), shard=(0, 2))),
        ('Infinite', lambda: Infinite(range(6), zip_with(stream(ALL['of a rank']())), shard=(0, 2))),
        ('Infinite', lambda: Infinite(range(6), concat(mix(ALL['of a rank']())), cycle(2), shard=(0, 2), seed=0)),
    ):
        with raises(ValueError, f'{where}: <DistributedSampler> {text}'):
            use()
    with raises(
        ValueError,
        'Infinite: the ranks need a seed, the same for all, or each would get items that it draws by itself; give the'
        ' source or Infinite a `seed`',
    ):
        Infinite(ALL['random, no generator'](), shard=(0, 2))


class OfNumpy(Own):
    """Its generator is not one of torch: nobody knows how its order changes."""

    def __init__(self, broken: bool = False) -> None:
        self.generator, self.broken = np.random.default_rng(0), broken

    def __iter__(self) -> Iterator[int]:
        yield from self.generator.permutation(4).tolist()
        if self.broken:
            raise OSError('broken')


def test_a_generator_that_is_not_of_torch_is_left_to_the_sampler() -> None:
    alone = OfNumpy()
    assert passes(OfNumpy(), 3) == [list(alone) for _ in range(3)]
    with Infinite(OfNumpy(), batch_size=2, seed=0) as batch_iter:
        list(batch_iter)
        next(batch_iter())
        state = batch_iter.state_dict()
    with Infinite(OfNumpy(), batch_size=2, seed=0) as batch_iter:
        batch_iter.load_state_dict(state)
        with pytest.warns(UserWarning, match='^itpipe: the run goes on in pass 1 over <OfNumpy>. If its order'):
            assert len(list(batch_iter)) == 1


def test_an_error_in_a_sampler_is_noted_with_its_name() -> None:
    with pytest.raises(OSError, match='broken') as caught:
        passes(OfNumpy(broken=True))
    assert 'the source <OfNumpy>' in caught.value.__notes__[0]


class Counting(Own):
    """It counts its passes, as samplers do that shuffle by the epoch without being told."""

    epoch = 0

    def __iter__(self) -> Iterator[int]:
        self.epoch += 1
        return iter([self.epoch] * 4)


@pytest.mark.parametrize('batches', [False, True])
def test_one_that_counts_its_passes_is_read_itself(batches: bool) -> None:
    """And not ahead of the loop: the next pass begins when it is asked for."""
    counting = Counting()
    source = data.BatchSampler(counting, 4, drop_last=False) if batches else counting
    with Infinite(source) as batch_iter:
        for epoch in range(1, 4):
            assert list(batch_iter) == ([[epoch] * 4] if batches else [epoch] * 4)
            assert counting.epoch == epoch


def test_what_is_in_a_sampler_that_is_read_itself_is_told_the_pass() -> None:
    class Doubled(Own):
        def __init__(self, sampler: Any):
            self.sampler = sampler

        def __iter__(self) -> Iterator[int]:
            return (2 * n for n in self.sampler)

    expected = [[2 * n for n in each] for each in passes(data.DistributedSampler(DATA, 2, 0))]
    assert passes(Doubled(data.DistributedSampler(DATA, 2, 0))) == expected


class Global(Own):
    """It draws from torch's global generator."""

    def __iter__(self) -> Iterator[int]:
        return iter(torch.randperm(4).tolist())


def test_a_warning_where_a_run_goes_on_within_the_first_pass() -> None:
    with Infinite(Global(), batch_size=2) as batch_iter:
        next(batch_iter())
        state = batch_iter.state_dict()
        batch_iter.load_state_dict(state)
        with pytest.warns(UserWarning, match='^itpipe: the run goes on in pass 0 over <Global>. If its order'):
            assert len(list(batch_iter)) == 1
        assert len(list(batch_iter)) == 2


class Endless(data.Sampler):  # type: ignore[misc]
    def __init__(self) -> None:
        self.generator = seeded()

    def __iter__(self) -> Iterator[int]:
        while True:
            yield int(torch.randint(9, (), generator=self.generator))


class EndlessTold(Endless):
    """Its generator is made in each pass."""

    def __init__(self) -> None:
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        self.generator = torch.Generator().manual_seed(self.epoch)
        return super().__iter__()


def test_the_second_pass_over_a_sampler_that_may_be_endless_is_refused() -> None:
    """Where its generator stands at the end of the pass is not known, and reading on would have no end."""
    with Infinite(Endless(), take(3)) as batch_iter:
        assert len(list(batch_iter)) == 3
        with pytest.raises(ValueError, match='^<Endless> has a `generator`, but no len\\(\\), so it may be endless'):
            list(batch_iter)
    with Infinite(EndlessTold(), take(3)) as batch_iter:
        first, second = list(batch_iter), list(batch_iter)
        assert (len(first), len(second)) == (3, 3)
        assert first != second


class Inside(Own):
    """The sampler in it is made by a property, which cannot be set."""

    @property
    def sampler(self) -> Any:
        return data.SequentialSampler(DATA)

    def set_epoch(self, epoch: int) -> None:
        pass

    def __iter__(self) -> Iterator[int]:
        return iter(self.sampler)


def test_a_property_of_a_sampler_is_left_alone() -> None:
    assert passes(Inside(), 2) == [[*range(12)]] * 2


def test_ranks_share_a_sampler_that_does_not_deal() -> None:
    got = []
    for rank in range(2):
        with Infinite(ALL['random, no generator'](), shard=(rank, 2), seed=0) as batch_iter:
            got += list(batch_iter)
    assert sorted(got) == [*range(12)]


def test_what_a_sampler_is() -> None:
    assert all(is_sampler(make()) for make in ALL.values())
    assert not any(map(is_sampler, (DATA, data.DataLoader(DATA), data.TensorDataset(torch.zeros(3)), None)))
    code = 'import sys; from itpipe import Infinite; list(Infinite([1])); assert "torch" not in sys.modules'
    subprocess.run([sys.executable, '-c', code], check=True)
