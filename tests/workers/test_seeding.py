"""Functions that draw from the global generators repeat with `seed_globals`; generators that are copied are told of."""

import copy
import os
import pickle
import random
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running import raises, through_json

from itpipe import Infinite, batch_by, combine_lists, filter_by, parallel_map, shuffle, stream, with_rng
from itpipe._workers.seeding import SeedGlobals

WARNING = (
    ' is a random generator ({}). Each process gets a copy of it, and all draw the same numbers: use `with_rng`, which'
    ' gives each item a generator of its own'
)


def draw(item: int) -> tuple[int, float, float]:
    return item, random.random(), float(np.random.rand())


def drawn(count: int = 2, f: Any = draw, seed: int = 3, **options: Any) -> list[Any]:
    return list(stream(range(20), seed=seed) | parallel_map(f, processes=count, seed_globals=True, **options))


class TestSeedGlobals:
    @pytest.mark.long
    def test_the_same_whatever_the_number_of_processes(self) -> None:
        expected = drawn(1)
        assert drawn(2) == drawn(3, max_tasks_per_worker=8) == sorted(drawn(2, ordered=False)) == expected
        assert len({value for each in expected for value in each[1:]}) == 40
        assert drawn(2, seed=4) != expected

    @pytest.mark.long
    def test_after_a_crash_and_at_every_try(self, tmp_path: Path) -> None:
        def crash(item: int) -> Any:
            result, mark = draw(item), tmp_path / str(item)
            if item in (7, 11) and not mark.exists():
                mark.touch()
                if item == 7:
                    os._exit(1)
                raise OSError
            return result

        assert drawn(2, crash, name='draw', retries=1, retry_on=OSError, backoff=0) == drawn(1)

    @pytest.mark.long
    def test_after_a_resume_and_in_every_pass(self) -> None:
        noisy = stream(range(12), seed=3) | parallel_map(draw, processes=2, seed_globals=True)
        whole = list(noisy)
        run = iter(noisy)
        begun = [next(run) for _ in range(5)]
        state = through_json(run.state_dict())
        run.close()
        assert begun + list(noisy.resume(state)) == whole
        made: Callable[[], Any] = lambda: Infinite(noisy, batch_size=4, combiner=combine_lists, seed=3)
        with made() as batch_iter:
            first, second = list(batch_iter), list(batch_iter)
        assert first != second
        with made() as batch_iter:
            assert [list(batch_iter), list(batch_iter)] == [first, second]

    @pytest.mark.long
    def test_shards_have_what_the_whole_has(self) -> None:
        noisy = parallel_map(draw, processes=1, seed_globals=True)
        parts = []
        for rank in range(2):
            with Infinite(range(8), noisy, batch_size=1, combiner=combine_lists, seed=3, shard=(rank, 2)) as batch_iter:
                parts.append([batch[0] for batch in batch_iter])
        with Infinite(range(8), noisy, batch_size=1, combiner=combine_lists, seed=3) as batch_iter:
            whole = [batch[0] for batch in batch_iter]
        assert parts == [whole[::2], whole[1::2]]

    @pytest.mark.long
    def test_whatever_is_left_out_before_it(self) -> None:
        noisy = parallel_map(draw, processes=1, seed_globals=True)
        assert list(stream(range(20), seed=3) | filter_by(lambda x: x > 16) | noisy) == drawn()[17:]

    def test_with_stages_that_are_random_themselves(self) -> None:
        def both(item: int, rng: np.random.Generator) -> Any:
            return (*draw(item), rng.random())

        results = drawn(2, with_rng(both))
        assert results == drawn(1, with_rng(both))
        assert len({value for each in results for value in each[1:]}) == 60

    def test_a_single_item_and_the_generators_here(self) -> None:
        noisy = stream(range(20), seed=3) | shuffle(5) | parallel_map(draw, processes=1, seed_globals=True)
        before = random.getstate(), pickle.dumps(np.random.get_state())
        assert noisy.item(7) in list(noisy)
        assert (random.getstate(), pickle.dumps(np.random.get_state())) == before

    @pytest.mark.long
    def test_torch(self) -> None:
        torch = pytest.importorskip('torch')

        def of_torch(item: int) -> float:
            return float(torch.rand(()))

        results = drawn(1, of_torch)
        assert results == drawn(2, of_torch)
        assert len(set(results)) == 20

    def test_torch_that_comes_too_late(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Its generator begins with a seed of its own in every process."""
        torch = pytest.importorskip('torch')

        def imports(draws: bool) -> Any:
            sys.modules['torch'] = torch
            return torch.rand(()) if draws else None

        before = torch.default_generator.get_state()
        torch.default_generator.manual_seed(torch.default_generator.initial_seed())
        seeded = SeedGlobals(restore=False)(np.random.default_rng(0), imports)
        message = (
            'parallel_map: with `seed_globals`, torch must be imported before the function is called: import it outside'
            ' of the function'
        )
        try:
            monkeypatch.delitem(sys.modules, 'torch')
            assert seeded(False) is None
            monkeypatch.delitem(sys.modules, 'torch')
            with raises(RuntimeError, message):
                seeded(True)
        finally:
            torch.default_generator.set_state(before)

    def test_only_in_processes(self) -> None:
        message = (
            'parallel_map: `seed_globals` goes with `processes`, as threads share the global generators: take `rng`'
            ' from `with_rng` instead'
        )
        for where in ({'threads': 2}, {'executor': Submits()}):
            with raises(TypeError, message):
                parallel_map(draw, seed_globals=True, **where)  # type: ignore[call-overload]
        with raises(TypeError, 'parallel_map: `seed_globals` must be True or False, got int'):
            parallel_map(draw, processes=1, seed_globals=1)  # type: ignore[call-overload]

    def test_it_prints_compares_and_pickles(self) -> None:
        stage = parallel_map(draw, processes=2, seed_globals=True)
        assert repr(stage) == 'parallel_map(draw, processes=2, seed_globals=True)'
        assert pickle.loads(pickle.dumps(stage)) == stage
        assert stage != parallel_map(draw, processes=2)
        assert parallel_map(draw, processes=2, seed_globals=False) == parallel_map(draw, processes=2)

    def test_a_state_of_another_way_is_refused(self) -> None:
        plain = stream(range(4), seed=3) | parallel_map(draw, processes=1) | batch_by(1)
        run = iter(stream(range(4), seed=3) | parallel_map(draw, processes=1, seed_globals=True) | batch_by(1))
        next(run)
        state = run.state_dict()
        run.close()
        with pytest.raises(ValueError, match='seed_globals'):
            plain.resume(state)


class Submits:
    def submit(self, *_: Any) -> None: ...


class Data:
    def __init__(self, held: Any):
        self.held = held

    def load(self, item: Any) -> Any:
        return item


class Sub(random.Random):
    pass


class TestGeneratorsInTheFunction:
    @pytest.mark.many(9)
    @pytest.mark.parametrize(
        ('held', 'kind'),
        [
            (np.random.default_rng(0), 'numpy.random._generator.Generator'),
            (np.random.RandomState(0), 'numpy.random.mtrand.RandomState'),
            (np.random.PCG64(0), 'numpy.random._pcg64.PCG64'),
            (random.Random(0), 'random.Random'),
            (Sub(0), f'{__name__}.Sub'),
        ],
        ids=lambda each: type(each).__name__,
    )
    def test_are_told_of(self, held: Any, kind: str) -> None:
        def closure(item: int) -> Any:
            return item, held is None

        functions = {
            '`self.held` of `Data.load`': Data(held).load,
            '`held` of `closure`': closure,
            '`other` of `two`': partial(two, other=held),
            "`self.held['a'][1]` of `Data.load`": Data({'a': [0, held]}).load,
        }
        for place, function in functions.items():
            with pytest.warns(RuntimeWarning) as said:
                list(range(2) | parallel_map(function, processes=1))
            (warning,) = said
            assert f': {place}{WARNING.format(kind)}' in str(warning.message)
            assert str(warning.message).startswith('parallel_map(')
            assert warning.filename == __file__

    def test_not_beside_the_generator_of_the_item(self) -> None:
        """It seeds a copy of what the function holds, as a transform of MONAI; other functions are still told of."""
        held = [np.random.RandomState(0)]

        def seeded(item: int, rng: Any) -> float:
            own = copy.deepcopy(held[0])
            own.seed(int(rng.integers(2**32)))
            return float(own.random())

        numbers = stream(range(4), seed=0)
        assert list(numbers | parallel_map(with_rng(seeded), processes=1)) == list(numbers | with_rng(seeded))
        with pytest.warns(RuntimeWarning, match='`self.held` of `Data.load` is a random generator'):
            list(numbers | parallel_map(with_rng(seeded) | Data(random.Random(0)).load, processes=1))

    @pytest.mark.long
    def test_those_of_torch(self) -> None:
        torch = pytest.importorskip('torch')
        with pytest.warns(RuntimeWarning, match='`self.held` of `Data.load` is a random generator'):
            list(range(2) | parallel_map(Data(torch.Generator()).load, processes=1))

    def test_in_other_processes_of_executors(self) -> None:
        warned = pytest.warns(RuntimeWarning, match='`self.held` of `Data.load` is a random generator')
        with ProcessPoolExecutor(1, mp_context=get_context('spawn')) as executor, warned:
            list(range(2) | parallel_map(Data(random.Random(0)).load, executor=executor))

    def test_once_for_a_run_with_several(self) -> None:
        with pytest.warns(RuntimeWarning) as said:
            list(range(20) | parallel_map(Data([random.Random(0), np.random.default_rng()]).load, processes=2))
        assert len(said) == 1

    @pytest.mark.many(3)
    @pytest.mark.parametrize(
        'held',
        [random.SystemRandom(), random.random, np.random.normal, np.random.SeedSequence(0), random, np.random],
        ids=lambda each: getattr(each, '__name__', type(each).__name__),
    )
    def test_not_of_what_is_not_copied(self, held: Any) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter('error')
            assert list(range(2) | parallel_map(Data(held).load, processes=1)) == [0, 1]

    def test_nor_in_items_threads_and_with_rng(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter('error')
            items = [random.Random(0), np.random.default_rng(0)]
            assert len(list(items | parallel_map(Data(None).load, processes=1))) == 2
            assert list(range(2) | parallel_map(Data(items).load, threads=1)) == [0, 1]
            assert len(list(range(2) | parallel_map(with_rng(own), processes=1))) == 2


def own(item: int, rng: Any) -> float:
    return float(rng.random())


def two(item: int, other: Any) -> int:
    return item
