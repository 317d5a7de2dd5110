"""What works here, and not in a process."""

import os
import sys

import numpy as np
import pytest

from itpipe import batch_by, check, combine, map_at, mix, parallel_map, shuffle, stage, stream, take, with_rng
from itpipe.tools import process_trial


class Images:
    def __len__(self):
        return 40

    def __getitem__(self, index):
        return np.full((3, 4), index), index


def noisy(image, rng):
    return image + rng.random()


@stage(state={'total': 0})
def running_sum(items, state):
    for item in items:
        state['total'] += int(item)
        yield state['total']


GOOD = [
    stream(Images(), seed=0)
    | shuffle()
    | parallel_map(map_at(0, with_rng(noisy)) | batch_by(32) | combine, processes=4),
    stream(Images(), seed=0)
    | shuffle(9)
    | take(20)
    | parallel_map(map_at(0, np.flip), processes=2)
    | batch_by(4)
    | combine,
    mix(Images(), stream(Images()) | shuffle(3), seed=0) | parallel_map(map_at(0, with_rng(noisy)), processes=1),
    range(9) | parallel_map(abs, processes=1, on_error='skip') | running_sum(),
]


@pytest.mark.parametrize('made', GOOD, ids=repr)
def test_what_is_good_is_the_same_in_a_process(made):
    assert check(made) == []


def test_any_pipeline_can_be_tried():
    assert (
        check(stream(Images()) | parallel_map(map_at(0, np.flip), threads=2) | batch_by(4) | combine, processes=True)
        == []
    )


def test_no_process_is_started_if_there_is_none_in_the_pipeline(monkeypatch):
    monkeypatch.setattr('itpipe.tools.check.tried_in_processes', lambda *_, **__: pytest.fail('it was tried'))
    assert check(range(9) | parallel_map(abs, threads=2)) == []
    assert check(range(9) | parallel_map(abs, processes=2), processes=False) == []


@pytest.fixture
def imported(tmp_path, monkeypatch):
    """Write a module that processes import by its name, and import it here."""

    def write(source):
        (tmp_path / 'only_here.py').write_text(source, encoding='utf-8')
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, 'only_here', raising=False)
        import only_here

        return only_here

    yield write
    sys.modules.pop('only_here', None)


def test_globals_that_only_this_process_has(imported):
    module = imported('SCALE = 1\ndef scaled(x):\n    return x * SCALE\n')
    module.SCALE = 3
    (found,) = check(range(1, 5) | parallel_map(module.scaled, processes=1))
    assert found.kind == 'differs-in-process'
    assert found.stage == 'parallel_map(scaled, processes=1)'
    assert found.problem == 'What comes from a process is another value than here: 3 and 1.'


def from_globals(item):
    return item[0] + np.random.rand()


class RandomImages(Images):
    def __getitem__(self, index):
        return np.full((3, 4), index) + np.random.rand(), index


@pytest.mark.parametrize(
    'made',
    [
        stream(Images()) | parallel_map(from_globals, processes=1),
        stream(RandomImages()) | parallel_map(tuple, processes=1),
    ],
    ids=repr,
)
def test_what_draws_from_global_generators_is_no_other_finding_in_a_process(made):
    assert [finding.kind for finding in check(made)] == ['global-generator']


def from_own_generator(item):
    return item[0] + np.random.default_rng().random()


def test_what_is_another_value_each_time_is_no_other_finding_in_a_process():
    found = check(stream(Images()) | parallel_map(from_own_generator, processes=1))
    assert [finding.kind for finding in found] == ['not-reproducible']


def test_what_is_missing_in_a_process(imported):
    module = imported('def first(x):\n    return x\ndef second(x):\n    return FACTOR * x\n')
    module.FACTOR = 2
    (found,) = check(range(5) | parallel_map(stage_of(module), processes=1))
    assert (found.kind, found.stage) == ('fails-in-process', 'apply(second)')
    assert "raises NameError: name 'FACTOR' is not defined." in found.problem


def stage_of(module):
    from itpipe import apply

    return apply(module.first) | module.second


def test_a_module_that_blocks(imported, monkeypatch):
    monkeypatch.setattr(process_trial, 'LIMIT', 1.0)
    module = imported(
        'import os, threading\n'
        f'if os.getpid() != {os.getpid()}:\n'
        '    threading.Event().wait()\n'
        'def f(x):\n'
        '    return x\n'
    )
    (found,) = check(range(5) | parallel_map(module.f, processes=1))
    assert (found.kind, found.stage) == ('blocks-in-process', 'parallel_map(f, processes=1)')
    assert 'Nothing came from a process within 1 s' in found.problem
