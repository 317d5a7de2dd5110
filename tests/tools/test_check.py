"""What is planted is found and named, and good pipelines give no finding."""

import io
import itertools
import random
import sqlite3
import threading
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from reference import build
from strategies import examples, executors, pipes

from itpipe import (
    Infinite,
    apply,
    batch_by,
    bucket_by,
    cache,
    check,
    combine,
    combine_lists,
    combine_pad,
    concat,
    cycle,
    filter_by,
    flatten,
    interleave,
    load_by_random_id,
    map_at,
    mix,
    pack,
    parallel_map,
    random_apply,
    reuse,
    sample,
    shard,
    shuffle,
    skip,
    stage,
    stream,
    take,
    unpack,
    with_rng,
    zip_with,
)
from itpipe._engine.functions import ItemFunction
from itpipe.tools import predicted
from itpipe.tools.check import HINTS, KINDS, RULES

__all__ = ['executors']  # a fixture

SEED = 0


class Clock:
    """In the place of the time: what functions take is what they say."""

    seconds = cpu = 0.0

    def wait(self, seconds):
        self.seconds += seconds

    def work(self, seconds):
        self.seconds += seconds
        self.cpu += seconds


CLOCK = Clock()


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    for module in 'seen', 'examined':
        monkeypatch.setattr(f'itpipe.tools.{module}.perf_counter', lambda: CLOCK.seconds)
    for name in 'thread_time', 'process_time':
        monkeypatch.setattr(f'itpipe.tools.seen.{name}', lambda: CLOCK.cpu)


class Images:
    """A dataset of images and labels, each made anew."""

    def __init__(self, size=64):
        self.size = size

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        if not 0 <= index < self.size:
            raise IndexError(index)
        return np.full((3, 8, 8), index % 256, np.uint8), index % 10


class Files:
    """Items that are read one after the other."""

    def __init__(self, size=64):
        self.size = size

    def __iter__(self):
        for index in range(self.size):
            yield np.full((4, 4), index, np.float32), index


def scaled(image):
    return image.astype(np.float32) / 255


def noisy(image, rng):
    return image + rng.normal(size=image.shape).astype(image.dtype)


def batches(data, *stages, **options):
    """As one writes it: with a seed, so that nothing is random that shall not be."""
    return Infinite(data, *stages, **({'batch_size': 4, 'seed': SEED} | options))


# ---------------------------------------------------------------------------------------------------------------------
# What is wrong


def global_noise(image):
    return image + np.random.random()


def python_noise(image):
    return image + random.random()


def own_noise(image):
    return image + np.random.default_rng().random()


class Counter:
    def __init__(self):
        self.count = 0

    def __call__(self, image):
        self.count += 1
        return image + self.count


def in_place(image):
    image += 1
    return image


def labelled(item):
    item['label'] = 1
    return item


def nothing(image):
    image.mean()


def into_generator(image):
    yield image


class Buffer:
    """It gives the same memory for each item."""

    def __init__(self):
        self.memory = np.zeros((3, 8, 8), np.float32)

    def __call__(self, image):
        self.memory[...] = image
        return self.memory


def cropped(item):
    image, label = item
    return image[:, : 4 + label], label


def randomly_cropped(image, rng):
    return image[:, : 4 + rng.integers(4)]


def grey_or_color(item):
    image, label = item
    return {'image': image} if label % 2 else {'image': image, 'label': label}


def sometimes_float(item):
    image, label = item
    return (image.astype(np.float32), label) if label % 2 else (image, label)


@dataclass
class Record:
    image: object
    label: int


def as_record(item):
    return Record(*item)


def failing(image):
    raise OSError('no such file')


class TooLong(Images):
    def __len__(self):
        return self.size + 10


class RandomItems(Images):
    def __getitem__(self, index):
        return np.random.random((3, 8, 8)), index


class Nones(Images):
    def __getitem__(self, index):
        return None


class InMemory:
    """It gives views of its own memory."""

    def __init__(self):
        self.data = np.zeros((16, 3, 8, 8), np.float32)

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        return self.data[index], index


class WithLock(Images):
    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()


class Short(Files):
    """It says that it has more items than it gives."""

    def __len__(self):
        return self.size

    def __iter__(self):
        return iter([])


def with_lock(lock=threading.Lock()):  # noqa: B008
    return lambda image: image if lock else None


def in_database():
    connection = sqlite3.connect(':memory:', check_same_thread=True)
    return lambda image: connection.execute('select 1').fetchone() and image


class OneBuffer:
    """It yields the same memory for each item."""

    def __iter__(self):
        memory = np.zeros(3)
        for n in range(9):
            memory[:] = n
            yield memory


class BufferedItems(Images):
    def __init__(self):
        super().__init__()
        self.memory = np.zeros(3)

    def __getitem__(self, index):
        self.memory[:] = index
        return self.memory


class OneFile(Images):
    def __init__(self):
        super().__init__()
        self.file = io.BytesIO(bytes(1000))

    def __getitem__(self, index):
        self.file.seek(index)
        return np.frombuffer(self.file.read(8), np.uint8)


class Restricted(Images):
    def __len__(self):
        return 10


class Lazy(Images):
    """It opens a file when it is first asked."""

    file = None

    def __getitem__(self, index):
        self.file = self.file or threading.Lock()
        return super().__getitem__(index)

    def scaled(self, item):
        self.file = self.file or threading.Lock()
        return scaled(item[0]), item[1]

    def __call__(self, item):
        return self.scaled(item)


class Slow(Files):
    def __iter__(self):
        for item in super().__iter__():
            CLOCK.wait(0.003)
            yield item


class Table:
    """Like a data frame."""

    iloc, columns = None, ['image', 'label']

    def __iter__(self):
        return iter(self.columns)


def into_result_with_lock(image):
    return image, threading.Lock()


class PIL:
    """Like an image of Pillow."""

    def __init__(self, array):
        self.array = array

    def getbands(self):
        return ('L',)


def padded_ones(batching, **options):
    return stream(range(1, 41), seed=0) | ones | batching | combine_pad(ratio=0, **options)


def ones(index):
    return np.ones(1 + index % 5, np.int64)


def ones_of(indices):
    return [ones(index) for index in indices]


RNG = np.random.default_rng(0)
SLOW = parallel_map(map_at(0, scaled), threads=4)
PLANTED = [
    # (the mistake, the kind of the finding, a part of the stage that it names)
    (lambda: batches(Images(), map_at(0, global_noise)), 'global-generator', 'map_at(0, global_noise)'),
    (lambda: batches(Images(), map_at(0, python_noise)), 'global-generator', 'python_noise'),
    (lambda: batches(Images(), map_at(0, own_noise)), 'not-reproducible', 'map_at(0, own_noise)'),
    (lambda: batches(Images(), map_at(0, Counter())), 'not-reproducible', 'map_at(0, <Counter>)'),
    (lambda: batches(Images(), map_at(0, in_place)), 'changes-input', 'map_at(0, in_place)'),
    (lambda: stream([{'image': 1}, {'image': 2}]) | labelled | batch_by(2) | combine, 'changes-dataset', 'labelled'),
    (lambda: batches(InMemory(), map_at(0, in_place)), 'changes-dataset', 'map_at(0, in_place)'),
    (lambda: batches(Images(), map_at(0, nothing)), 'returns-none', 'map_at(0, nothing)'),
    (lambda: stream(Images()) | (lambda item: None) | batch_by(4), 'returns-none', 'apply(<lambda>)'),
    (lambda: batches(Nones(), combiner=list), 'returns-none', '<Nones>'),
    (lambda: stream(Images()) | unpack(lambda x, y: (x for _ in range(y))) | batch_by(4), 'lazy-result', 'unpack'),
    (lambda: batches(Images(), map_at(0, scaled), map_at(0, Buffer())), 'overwrites', 'map_at(0, <Buffer>)'),
    (lambda: batches(Images(), cropped), 'does-not-combine', 'apply(combine)'),
    (lambda: batches(Images(), map_at(0, with_rng(randomly_cropped))), 'does-not-combine', 'apply(combine)'),
    (lambda: batches(Images(), grey_or_color), 'does-not-combine', 'apply(combine)'),
    (lambda: batches(Images(), sometimes_float), 'dtypes-differ', 'apply(combine)'),
    (lambda: batches(Images(), sometimes_float, as_record), 'dtypes-differ', 'apply(combine)'),
    (lambda: batches(Images(), map_at(0, PIL)), 'object-array', 'apply(combine)'),
    (lambda: batches(Images(), map_at(0, PIL), as_record), 'object-array', 'apply(combine)'),
    (lambda: batches(Images(), map_at(0, failing)), 'raises', 'map_at(0, failing)'),
    (lambda: batches(TooLong()), 'length', '<TooLong>'),
    (lambda: batches(Short(), seed=None), 'length', '<Short>'),
    (lambda: batches(RandomItems()), 'global-generator', '<RandomItems>'),
    (lambda: batches([]), 'empty', '[]'),
    (lambda: batches(Images(), shuffle(10), skip(100)), 'empty', '<Images>'),
    (lambda: batches(OneBuffer(), seed=None), 'overwrites', '<OneBuffer>'),
    (lambda: batches(BufferedItems()), 'overwrites', '<BufferedItems>'),
    (lambda: batches(stream(range(9)) | filter_by(lambda x: x > 100)), 'empty', 'filter_by(<lambda>)'),
    (lambda: batches(stream(range(9)) | take(0)), 'empty', 'take(0)'),
    (lambda: batches(stream(Images()) | zip_with(Images(60))), 'lengths-differ', 'zip_with(<Images>)'),
    (lambda: batches(OneFile(), threads=2), 'shared-file', '<OneFile>'),
    (lambda: batches(stream('/data/train')), 'path-as-source', '/data/train'),
    (lambda: batches(Table(), combiner=list), 'table-as-source', '<Table>'),
    (lambda: batches(stream(Images()) | batch_by(4) | combine), 'batched-twice', 'batch_by(4)'),
    (lambda: batches(Images(), bucket_by(len, edges=[2], size=4), combiner=list), 'batched-twice', 'batch_by(4)'),
    (lambda: batches(range(8), ones, bucket_by(len, window=4, size=2)), 'batched-twice', 'batch_by(4)'),
    (lambda: stream(range(8)) | ones | batch_by(2) | bucket_by(len, window=4, size=2), 'batched-twice', 'bucket_by'),
    (lambda: stream(range(8)) | ones | batch_by(2) | pack(8), 'batched-twice', 'pack(8)'),
    (lambda: padded_ones(bucket_by(len, window=4, limit=40), multiple_of=16), 'over-limit', 'bucket_by(len'),
    (
        lambda: padded_ones(batch_by(limit=40, cost=len, padded=True), edges=[16, 32], lengths=True),
        'over-limit',
        'batch_by(limit=40',
    ),
    (
        lambda: padded_ones(bucket_by(len, window=4, limit=40, multiple_of=8), multiple_of=16),
        'over-limit',
        'bucket_by(len',
    ),
    (lambda: batches(Images(), tiles), 'no-flatten', 'batch_by(4)'),
    (lambda: batches(Images(), lambda item: [{'image': item[0]}] * (1 + item[1])), 'no-flatten', 'batch_by(4)'),
    (lambda: batches([list(range(20))] * 8), 'many-columns', 'apply(combine)'),
    (lambda: batches([{'ids': list(range(9)), 'n': 1}] * 8, combiner=combine_pad), 'many-columns', 'combine_pad'),
    (lambda: stream(Images()) | combine, 'combine-without-batch', 'apply(combine)'),
    (lambda: stream(Images()) | batch_by(4), 'no-combine', 'batch_by(4)'),
    (lambda: stream(Images()) | as_record | batch_by(4), 'no-combine', 'batch_by(4)'),
    (lambda: stream(Images(), seed=0) | batch_by(4) | combine | shuffle(8), 'shuffle-after-batch', 'shuffle(8)'),
    (lambda: batches(Images(), take(10), shuffle(10)), 'take-before-shuffle', 'take(10)'),
    (lambda: batches(sample(Images())), 'endless', 'sample(<Images>)'),
    (lambda: batches(stream(Images()) | cycle), 'endless', 'cycle()'),
    (lambda: batches(mix(Images(), itertools.repeat(1)), combiner=list), 'endless', 'repeat(1)'),
    (lambda: batches(Images(), batches_per_epoch=100), 'short-epochs', 'Infinite('),
    (lambda: stream(Images(3)) | batch_by(4, drop_last=True) | combine, 'no-batches', 'batch_by(4, drop_last=True)'),
    (lambda: batches(WithLock(), processes=1), 'not-picklable', '<WithLock>'),
    (lambda: batches(Images(), map_at(0, with_lock()), processes=1), 'not-picklable', 'map_at(0, <lambda>)'),
    (lambda: stream(range(9)) | parallel_map(into_result_with_lock, processes=1), 'not-picklable', 'into_result'),
    (lambda: stream([[1], [2, 3]]) | interleave(with_lock(), processes=True), 'not-picklable', 'interleave(<lambda>'),
    (lambda: stream(Slow()) | SLOW | batch_by(4) | combine, 'slow-in-front', '<Slow>'),
    (
        lambda: stream(Files()) | map_at(0, lambda x: np.zeros((64, 64))) | batch_by(32) | combine
        | parallel_map(map_at(0, scaled), processes=1),
        'workers-after-batch', 'map_at(0, scaled)',
    ),
    (lambda: batches(Images(), map_at(0, in_database())), 'raises-again', 'map_at(0, <lambda>)'),
    (lambda: batches(Images(), map_at(0, RNG.permutation), processes=1), 'copied-generator', 'permutation'),
]  # fmt: skip


@pytest.mark.parametrize(('made', 'kind', 'part'), PLANTED)
def test_a_mistake_is_found_and_named(made, kind, part):
    found = check(made(), processes=False)
    assert [finding.kind for finding in found] == [kind], found
    assert part in found[0].stage
    for finding in [*found, *found.hints]:
        assert finding.kind in KINDS
        assert finding.problem.endswith('.')
        assert finding.fix.endswith('.')


@pytest.mark.parametrize(
    ('made', 'problem', 'fix'),
    [
        (
            lambda: batches([{'ids': [0] * n} for n in range(9, 17)]),
            "element ['ids'] of item 1 has 10 elements, but item 0 has 9 elements.",
            "A list is structure: `map_at('ids', np.asarray)` makes an array of it, which combine_pad pads.",
        ),
        (
            lambda: batches([{'ids': [0] * n} for n in range(9, 17)], combiner=combine_pad),
            "element ['ids'] of item 1 has 10 elements, but item 0 has 9 elements.",
            "A list is structure: `map_at('ids', np.asarray)` makes an array of it.",
        ),
    ],
)
def test_the_way_out_of_an_error_is_what_to_do(made, problem, fix):
    (found,) = check(made())
    assert found == ('does-not-combine', found.stage, f'The items do not make a batch: {problem}', fix)


@pytest.mark.parametrize(
    ('made', 'fix'),
    [
        (lambda: batches([(1, [0] * 9)] * 8), '`map_at(1, np.asarray)` in front of it makes one array of it.'),
        (lambda: batches([[0] * 9] * 8), '`apply(np.asarray)` in front of it makes one array of it.'),
        (lambda: batches([{'x': {'ids': [0] * 9}}] * 8), '`np.asarray` in front of it makes one array of it.'),
    ],
)
def test_what_makes_one_array_of_many_columns(made, fix):
    (found,) = check(made())
    assert found.fix == f'A list is structure. {fix}'


def test_nothing_is_changed_by_looking():
    state = np.random.get_state()[1].tolist(), random.getstate()
    check(Images() | map_at(0, global_noise) | map_at(0, python_noise))
    assert state == (np.random.get_state()[1].tolist(), random.getstate())


def test_many_processes(monkeypatch):
    monkeypatch.setenv('WORLD_SIZE', '2')
    assert [finding.kind for finding in check(batches(Images()))] == ['not-sharded']
    assert not check(batches(Images(), shard=(0, 2)))


@pytest.mark.parametrize(
    ('made', 'stage'),
    [
        (lambda: batches(Images(10**6), batch_size=10**6), 'apply(combine)'),
        (lambda: batches(stream(Files(10**6)) | shuffle(10**6)), 'shuffle(1000000)'),
        (lambda: batches(stream(Files(10**6)) | reuse(10**6, 2)), 'reuse(1000000, 2)'),
        (lambda: batches(Images(), prefetch=10**6), 'apply(combine)'),
        (lambda: stream(Images()) | parallel_map(scaled_all, threads=1, in_flight=10**6), 'parallel_map(scaled_all'),
    ],
)
def test_memory(made, stage, monkeypatch):
    monkeypatch.setattr('itpipe.tools.rules_of_batches.available', lambda: 10**8)
    (found,) = check(made())
    assert found.kind == 'memory'
    assert stage in found.stage


def scaled_all(item):
    return item[0].astype(np.float64)


def test_an_index_takes_the_place_of_an_item_in_a_buffer(monkeypatch):
    monkeypatch.setattr('itpipe.tools.rules_of_batches.available', lambda: 10**8)
    assert not check(batches(Images(10**6), shuffle(10**6)))


def busy(item):
    CLOCK.work(0.002)
    return sum(x * x for x in range(50_000)) and item


def test_more_workers_than_cores(monkeypatch):
    monkeypatch.setattr('itpipe.tools.rules_of_workers.usable_cores', lambda: 2)
    found = check(stream(Images()) | parallel_map(busy, processes=32), processes=False)
    assert [(finding.kind, finding.stage) for finding in found] == [
        ('oversubscribed', 'parallel_map(busy, processes=32)')
    ]
    assert 'many-workers' in [hint.kind for hint in found.hints]


def halved(image):
    image *= 0.5
    return image


def pixels(item):
    return item[0].astype(np.float64)


def test_items_of_a_cache_may_be_changed_as_they_are_copies():
    kept = stream(Images()) | pixels | cache('memory')
    assert check(kept | halved | batch_by(4) | combine) == []
    assert [finding.kind for finding in check(kept | np.asarray | halved | batch_by(4) | combine)] == ['changes-input']


def test_a_cache_in_the_memory_of_each_process_is_a_hint(tmp_path):
    def hints(where, **workers):
        found = check(stream(Images()) | pixels | cache(where) | parallel_map(busy, **workers), processes=False)
        return [(hint.kind, hint.stage) for hint in found.hints if hint.kind == 'kept-by-each']

    assert hints('memory', processes=2) == [('kept-by-each', "<Images> | apply(pixels) | cache('memory')")]
    assert hints('memory', threads=2) == hints(tmp_path, processes=2) == []


def test_python_in_threads_is_a_hint():
    found = check(stream(Images()) | parallel_map(busy, threads=2))
    assert found == []
    assert [hint.kind for hint in found.hints] == ['python-in-threads']
    waiting = check(stream(Images()) | parallel_map(lambda item: CLOCK.wait(0.003) or item, threads=2))
    assert waiting.hints == []


def waiting(item):
    CLOCK.wait(0.02)
    return item


def combine_two(item):
    return item[0]


def cheap(item):
    CLOCK.work(10e-6)
    return item


HINTS_PLANTED = [
    (lambda: stream(Images()) | map_at(0, with_rng(noisy)), 'no-seed', 'map_at(0, with_rng(noisy))'),
    (lambda: stream(Images()) | shuffle(), 'no-seed', '<Images> | shuffle()'),
    (lambda: stream({'a': 1}) | str, 'dict-as-source', "{'a': 1}"),
    (lambda: batches(iter([1, 2])), 'one-pass', 'iterator'),
    (lambda: stream(Files(1000)) | apply(tuple) | shuffle(10, seed=0), None, ''),
    (lambda: batches(Images(5000), shuffle(10)), 'small-buffer', 'shuffle(10)'),
    (lambda: batches(Images(50), batch_size=16, batches_per_epoch=3), 'short-epochs', 'Infinite('),
    (lambda: batches(Images(), waiting), 'no-workers', 'apply(waiting)'),
    (
        lambda: batches(stream(Files()) | map_at(0, with_rng(noisy)) | reuse(4, 2) | combine_two),
        'same-augmentation', 'reuse(4, 2)',
    ),
    (lambda: batches(Restricted()), 'has-more', '<Restricted>'),
    (lambda: Infinite(Images()), 'not-batched', 'Infinite(<Images>)'),
    (lambda: stream(Images()) | parallel_map(len, threads=1, ordered=False), 'unordered', 'parallel_map(len'),
    (lambda: batches(Images(), shuffle(10), restart=True), 'same-order', 'shuffle(10)'),
    (lambda: stream(Images()) | stage(list)(), 'no-state', 'list()'),
    (lambda: stream(Images()) | map_at(0, lambda x: np.log(x * 0.0)), 'not-finite', 'map_at(0, <lambda>)'),
    (
        lambda: stream(Images()) | parallel_map(busy, processes=1) | parallel_map(busy, processes=1),
        'processes-twice', 'parallel_map(busy, processes=1)',
    ),
    (lambda: stream(Images()) | parallel_map(cheap, processes=1), 'too-cheap', 'parallel_map(cheap, processes=1)'),
]  # fmt: skip


@pytest.mark.filterwarnings('ignore:divide by zero')
@pytest.mark.parametrize(('made', 'kind', 'part'), HINTS_PLANTED)
def test_a_hint_is_given_and_not_counted(made, kind, part):
    found = check(made(), processes=False)
    assert found == []
    assert [hint.kind for hint in found.hints] == ([] if kind is None else [kind])
    assert all(part in hint.stage for hint in found.hints)


@pytest.mark.parametrize('function', [failing, lambda x: 1 / 0], ids=['image', 'item'])
def test_batches_are_not_missing_where_a_function_has_failed(function):
    for made in batches(Images(), map_at(0, function)), Infinite(stream(Images()) | map_at(0, function) | batch_by(4)):
        found = check(made)
        assert [finding.kind for finding in found] == ['raises']
        assert found.hints == []


def test_a_batch_by_that_gives_nothing_makes_batches():
    never = filter_by(lambda item: item[1] > 100)
    assert check(Infinite(stream(Images()) | never | batch_by(4))).hints == []


def test_passes_that_end_with_a_short_epoch():
    (hint,) = check(batches(Images(200), batch_size=16, batches_per_epoch=10)).hints
    assert hint.problem == (
        '200 items make 13 batches, not a multiple of `batches_per_epoch=10`: the last epoch of each pass has 3.'
    )
    whole = stream(Images(200)) | batch_by(16, drop_last=True) | combine
    assert check(Infinite(whole, batches_per_epoch=6)).hints == []
    for options in {'batches_per_epoch': 13}, {}:
        assert check(batches(Images(200), batch_size=16, **options)).hints == []
    assert check(batches(Images(200), batch_size=16, batches_per_epoch=10, restart=True)).hints == []


def two(image, label):
    return image, label


def wants_rng(image, rng):
    return image


def wants_none(image):
    return image


def calls_another(item):
    return two(item)


UNPACK = '`unpack(two)` passes the elements of an item as arguments.'
WITH_RNG = '`with_rng(wants_rng)` gives it the generator of its item.'
ALONE = 'Call it with that item alone to see where it fails.'


@pytest.mark.parametrize(
    ('made', 'fix'),
    [
        (lambda: stream(Images()) | two, UNPACK),
        (lambda: stream(Images()) | parallel_map(two, threads=1), UNPACK),
        (lambda: stream([{'image': 1, 'label': 2}]) | two, UNPACK),
        (lambda: stream([{'picture': 1, 'label': 2}]) | two, ALONE),
        (lambda: stream([(1, 2, 3)]) | two, ALONE),
        (lambda: stream([1, 2]) | two, ALONE),
        (lambda: stream([np.zeros(2)]) | two, ALONE),
        (lambda: stream(Images()) | calls_another, ALONE),
        (lambda: stream(Images()) | map_at(0, wants_rng), WITH_RNG),
        (lambda: stream(Images()) | wants_rng, WITH_RNG),
        (lambda: stream(Images()) | map_at(0, with_rng(wants_none)), 'Leave out `with_rng`: it takes no `rng`.'),
        (lambda: stream(Images()) | unpack(wants_none), ALONE),
        (lambda: stream(Images()) | unpack(two, 3), ALONE),
    ],
)
def test_what_to_do_about_arguments_that_do_not_fit(made, fix):
    (found,) = check(made())
    assert (found.kind, found.fix) == ('raises', fix)


def test_what_changes_in_place_is_told_before_and_after():
    def halved(image):
        image[image > 3] = 0
        return image

    found = check(Images() | skip(3) | map_at(0, halved), ignore='changes-dataset')
    assert 'in place (at [0][0][0][0] 4 before, 0 after; 192 of 192 values differ). Whoever' in found[0].problem


def test_a_function_in_front_of_workers_that_have_little_to_do():
    def computing(item):
        CLOCK.work(0.0005)
        return item

    (found,) = check(range(100) | apply(computing) | shuffle(3, seed=0) | parallel_map(abs, threads=4))
    assert (found.kind, found.stage) == ('slow-in-front', 'apply(computing)')
    assert 'takes 500 µs for each item of the workers' in found.problem


def test_a_generator_is_not_looked_at():
    found = check(stream(n for n in range(8)) | str | batch_by(2))
    assert repr(found).startswith('Not looked at: `<generator>` is an iterator')
    assert 'Nothing is wrong' not in repr(found) + found._repr_html_()
    assert repr(found).count('is an iterator') == 1


def test_batches_are_combined_once_more_only_if_there_are_several(monkeypatch):
    combined = []
    call = ItemFunction.__call__

    def counting(function, key, value):
        combined.extend(name for name in function.names if 'combine' in name)
        return call(function, key, value)

    monkeypatch.setattr('itpipe.tools.copying.MOST', 100)  # a batch is too large to be copied, and to be made again
    monkeypatch.setattr(ItemFunction, '__call__', counting)
    assert check(batches(Images())) == []
    assert len(combined) == 1


def test_of_large_items_one_is_copied_and_made_again(monkeypatch):
    monkeypatch.setattr('itpipe.tools.copying.LARGE', 1000)
    called, copies = [], []

    class Large:
        def __init__(self, index):
            self.array = np.full(1000, index)

        def __deepcopy__(self, memo):
            copies.append(self)
            return Large(self.array[0])

    def large(index):
        called.append(index)
        return Large(index)

    def larger(image):
        called.append('larger')
        return Large(image.array[0] + 1)

    assert check(range(9) | apply(large) | larger, items=2) == []
    assert called == [0, 1, 'larger', 'larger', 0, 'larger'] or called == [0, 'larger', 1, 'larger', 0, 'larger']
    assert len(copies) == 6  # each stage: what it got and made, and both again when it is called again


# ---------------------------------------------------------------------------------------------------------------------
# What is good


def padded(text):
    return np.array([ord(letter) for letter in text])


def words(index):
    return ['the', 'quick', 'brown', 'fox', 'jumps', 'over', 'the', 'lazy', 'dog'][index % 9]


def patch(volume, rng):
    z, y, x = (int(rng.integers(size - 3)) for size in volume.shape)
    return volume[z : z + 4, y : y + 4, x : x + 4]


def volume(index):
    return np.random.default_rng(index).normal(size=(8, 8, 8)).astype(np.float32)


def broken_or_not(index):
    return None if index % 2 else np.full(3, index)


def tiles(item):
    image, label = item
    return [(image[:, y : y + 4], label) for y in (0, 4)]


def longer_than(item, least):
    return len(item) > least


def archive():
    class Archive:
        def close(self):
            pass

    return Archive()


def read(index, setup):
    return np.full(4, index, np.float32) if setup else None


@stage(state={'slots': []})
def windows(items, state):
    for item in items:
        state['slots'].append(item)
        if len(state['slots']) == 5:
            yield np.stack([image for image, _ in state['slots']])
            state['slots'].clear()


def one_batch(tiles_of_items):
    return np.stack([image for tiles in tiles_of_items for image, _ in tiles])


AUGMENT = map_at(0, scaled) | map_at(0, with_rng(noisy)) | map_at(0, random_apply(0.5, np.flip))
GOOD = {
    'images': lambda: Infinite(Images(), shuffle(), AUGMENT, batch_size=16, seed=0, batches_per_epoch=4),
    'images in threads': lambda: batches(Images(), shuffle(), AUGMENT, threads=2, batches_per_epoch=4),
    'images in processes': lambda: batches(Images(), shuffle(), AUGMENT, processes=2, batches_per_epoch=4),
    'steps': lambda: batches(sample(Images(), seed=0) | AUGMENT, batches_per_epoch=10, processes=2),
    'text': lambda: stream(range(9)) | words | padded | batch_by(3) | combine_pad,
    'text by length': lambda: (
        stream([words(n) for n in range(9)], seed=0) | shuffle(9) | padded
        | batch_by(limit=20, cost=len, padded=True) | combine_pad | shuffle(3)
    ),
    'volumes': lambda: batches(
        load_by_random_id(volume, ids=range(20)), reuse(4, 8), with_rng(patch), batches_per_epoch=10, threads=2
    ),
    'two datasets': lambda: batches(
        mix(stream(Images()) | AUGMENT, stream(Images(20)) | cycle | AUGMENT, weights=[3, 1], seed=0),
        batches_per_epoch=5,
    ),
    'side by side': lambda: batches(stream(Images()) | zip_with(range(64)) | unpack(lambda item, n: (*item, n))),
    'one after the other': lambda: batches(stream(Images()) | concat(Images(3))),
    'dicts': lambda: (
        stream([{'x': np.zeros(3), 'id': str(n)} for n in range(5)]) | map_at('x', scaled) | batch_by(2) | combine
    ),
    'lists of text': lambda: stream('abcdef') | str.upper | batch_by(2),
    'detection': lambda: (
        stream(Images()) | unpack(lambda image, n: {'image': image, 'boxes': [[0, 0, 1, 1]] * n}) | batch_by(4)
        | combine_lists
    ),
    'broken files': lambda: (
        stream(range(20)) | parallel_map(broken_or_not, threads=2) | filter_by(lambda x: x is not None) | batch_by(4)
        | combine
    ),
    'rare items': lambda: batches(stream(Images()) | filter_by(lambda item: item[1] > 7)),
    'tiles': lambda: batches(stream(Images()) | tiles | flatten | shuffle(8)),
    'tiles, put together by a function': lambda: batches(Images(), tiles, combiner=one_batch),
    'tiles, as lists': lambda: batches(Images(), tiles, combiner=combine_lists),
    'texts of similar length': lambda: (
        stream(range(40), seed=0) | shuffle() | ones | bucket_by(len, window=8, size=4) | combine_pad(ratio=0)
    ),
    'indices of similar length': lambda: (
        stream(range(40)) | bucket_by(lambda n: n % 7, edges=[3], size=4) | parallel_map(ones_of, threads=1)
    ),
    'padded to multiples': lambda: padded_ones(bucket_by(len, window=9, limit=64, multiple_of=8), multiple_of=8),
    'lengths rounded by hand': lambda: padded_ones(
        bucket_by(lambda item: -(-len(item) // 8) * 8, window=9, limit=64), multiple_of=8
    ),
    'another axis': lambda: (
        stream(range(40), seed=0)
        | (lambda n: {'ids': np.ones(1 + n % 7), 'vector': np.ones(30)})
        | batch_by(limit=40, cost=lambda item: len(item['ids']), padded=True)
        | combine_pad(ratio=0)
    ),
    'rows of tokens': lambda: batches(stream(range(90)) | ones | pack(8)),
    'rows of tokens, read together': lambda: batches(stream(range(90)) | batch_by(10) | ones_of | flatten | pack(8)),
    'a few numbers': lambda: batches([{'box': [0, 0, 4, 4], 'label': n} for n in range(8)]),
    'validation': lambda: batches(Images(), map_at(0, scaled), restart=True, threads=2),
    'part of the data': lambda: batches(stream(Images()) | skip(8) | take(16)),
    'one of many ranks': lambda: batches(Images(), shuffle(), AUGMENT, shard=(1, 2)),
    'shard by hand': lambda: batches(stream(Images()) | shard(1, 2)),
    'header': lambda: stream(['x,y', '1,2', '3,4']) | skip(1) | (lambda line: np.array(line.split(','), float)),
    'whole batches': lambda: (
        stream(Images(), seed=0) | shuffle() | parallel_map(AUGMENT | batch_by(8) | combine, processes=2)
    ),
    'batches of names': lambda: (
        stream(range(64)) | batch_by(4) | parallel_map(lambda names: np.array(names, np.float32), processes=1)
    ),
    'archive': lambda: batches(stream(range(9)) | parallel_map(read, threads=1, setup=archive)),
    'memory map': lambda: batches(np.zeros((64, 3, 8, 8), np.float32), shuffle(), scaled),
    'windows': lambda: batches(stream(Images()) | windows()),
    'global generators, seeded': lambda: batches(
        stream(Images(), seed=0) | parallel_map(map_at(0, global_noise), processes=1, seed_globals=True)
    ),
    'debug': lambda: stream(Files()) | take(8) | batch_by(4) | combine,
}  # fmt: skip


@pytest.mark.parametrize('made', GOOD.values(), ids=GOOD)
def test_a_good_pipeline_gives_no_finding(made):
    found = check(made(), processes=False)
    assert found == [], found


@examples(200)
@given(made=pipes())
def test_any_pipeline_can_be_checked(made, executors):
    found = check(build(made, executors), processes=False)
    assert all(finding.kind in KINDS for finding in [*found, *found.hints])
    assert repr(found)
    assert found._repr_html_()


def test_a_source_that_is_not_read_to_its_end_does_not_lie():
    assert not check(stream({'a': 1, 'b': 2}) | zip_with({'c': 3}, range(5)), ignore='lengths-differ')


def test_views_of_memory_take_what_they_show():
    large = np.zeros((10**7,), np.float32)
    found = check(Infinite(range(100), lambda n: large[n : n + 10], batch_size=4))
    assert [row['bytes'] for row in found.table] == [0, 40, 160, 160]


def test_an_iterator_is_not_touched():
    items = iter(range(8))
    found = check(stream(items) | str | batch_by(2))
    assert found == []
    assert 'is an iterator' in found.unseen[0]
    assert list(items) == list(range(8))


def test_few_items_are_looked_at():
    looked_up, called = [], []

    class Data(Images):
        def __getitem__(self, index):
            looked_up.append(index)
            return super().__getitem__(index)

    def count(item):
        called.append(item[1])
        return item

    check(batches(Data(), shuffle(50), count), items=3)
    assert set(looked_up) == {0, 1, 2, 63, 64}  # the last one, and one that should not be there
    assert set(called) == {0, 1, 2}
    assert len(called) <= 18


@pytest.mark.long  # of a process; `test_files_that_are_opened_by_looking_are_closed` is of none
def test_what_opens_itself_is_not_opened_by_looking():
    data, function, method = Lazy(), Lazy(), Lazy()
    by_id = Lazy()
    pipeline = mix(
        stream(data) | function | method.scaled,
        load_by_random_id(by_id.__getitem__, ids=range(5)),
        seed=0,
    )
    assert check(pipeline | parallel_map(unpack(lambda image, label: image.sum()), processes=1)) == []
    assert [each.file for each in (data, function, method, by_id)] == [None] * 4


def test_files_that_are_opened_by_looking_are_closed(tmp_path):
    (tmp_path / 'data').write_bytes(bytes(range(100)))

    class Lines(Images):
        file = None

        def __getitem__(self, index):
            if self.file is None:
                self.file = open(tmp_path / 'data', 'rb')  # noqa: SIM115
            self.file.seek(index)
            return self.file.read(1)[0]

    data = Lines()
    assert check(batches(data, shuffle())) == []
    assert data.file is None


def test_a_slow_function_is_called_again_once():
    called = []

    def slow(item):
        called.append(item)
        CLOCK.wait(0.26)
        return item

    check(range(9) | apply(slow), items=1)
    assert called == [0, 0]


def test_the_random_numbers_are_those_of_the_run():
    got = []

    def keep(x, rng):
        got.append(rng.random())
        return x

    pipeline = stream(range(8), seed=3) | with_rng(keep)
    check(pipeline, items=2)
    looked = set(got)
    got.clear()
    run = iter(pipeline)
    next(run), next(run)
    run.close()
    assert set(got) < looked  # and those of the next passes


def test_generators_are_closed():
    closed = []

    class Data:
        def __iter__(self):
            try:
                yield from range(10)
            finally:
                closed.append(True)

    check(stream(Data()) | str)
    assert closed == [True]


def test_kinds_can_be_left_out():
    pipeline = batches(Images(), take(10), shuffle(10))
    assert check(pipeline, ignore='take-before-shuffle') == []
    assert check(pipeline, ignore=['take-before-shuffle', 'no-seed']) == []
    with pytest.raises(ValueError, match=r"^check: `ignore` must be kinds of findings, batched-twice, .*; got 'seed'$"):
        check(pipeline, ignore='seed')


def test_wrong_arguments():
    with pytest.raises(TypeError, match=r'`check` cannot stand right of `\|`: it takes the stream, `check\(stream\)`'):
        stream(range(3)) | check
    with pytest.raises(ValueError, match=r'^check: `items` must be at least 1, got 0$'):
        check(range(3), items=0)
    with pytest.raises(TypeError, match=r'^stream: what stands left of `\|` must be iterable, got int$'):
        check(3)


def test_it_prints():
    found = check(batches(Images(), map_at(0, own_noise), shuffle(5), batches_per_epoch=2))
    text = repr(found)
    assert text.startswith('1 thing to fix\n\n1. map_at(0, own_noise)  [not-reproducible]\n')
    assert '→ If it draws random numbers' in text
    assert '\n<Images>              (uint8 (3, 8, 8), int)' in text
    assert found.table[0]['bytes'] == 192
    assert [row['stage'] for row in found.table] == [
        '<Images>', 'map_at(0, own_noise)', 'shuffle(5)', 'batch_by(4)', 'apply(combine)'
    ]  # fmt: skip
    html = found._repr_html_()
    assert '<code>map_at(0, own_noise)</code>' in html
    assert '&lt;Images&gt;' in html


def test_what_is_available_is_known_or_not(monkeypatch, tmp_path):
    assert predicted.available() > 0
    monkeypatch.setattr(predicted, 'Path', lambda _: tmp_path / 'not there')
    assert predicted.available() is None


def test_each_rule_is_a_function_of_its_own():
    rules = [rule.__name__ for rule in [*RULES, *HINTS]]
    assert len(set(rules)) == len(rules)


def test_what_is_right_is_said_of_the_items_that_were_looked_at():
    found = check([1, 2, 3, 'a'] | apply(lambda n: n + 1))
    assert found == []
    assert repr(found).startswith('Nothing is wrong with the first 2 items of each source')
    assert repr(check([1, 2], items=1)).startswith('Nothing is wrong with the first item of each source')


def test_the_table_shows_one_item():
    """Not two that differ, of which the middle is cut, as if they were one."""
    found = check([np.zeros(n) for n in (3, 4, 5)] | batch_by(3) | combine_pad)
    assert [row['items'] for row in found.table][:2] == ['float64 (3,)', '2 of 3: [float64 (3,), float64 (4,)]']


class DrawsAnItem:
    """A dataset that draws by itself."""

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return np.random.random()


@pytest.mark.parametrize(
    'made',
    [
        lambda data: stream(data, seed=0),
        lambda data: stream(range(8), seed=0) | data.__getitem__,
        lambda data: stream(range(8), seed=0) | parallel_map(data.__getitem__, threads=1),
    ],
)
def test_a_dataset_that_draws_by_itself_may_have_its_look_up_seeded(made):
    (found,) = [each for each in check(made(DrawsAnItem())) if each.kind == 'global-generator']
    assert 'seed_globals=True' in found.fix
