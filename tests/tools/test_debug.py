"""One function under pdb."""

import io
import sys

import pytest

from itpipe import Infinite, apply, batch_by, combine, debug, filter_by, mix, parallel_map, shuffle, stream, with_rng
from itpipe.tools.explain import explain


@pytest.fixture
def pdb(monkeypatch):
    """Answers what pdb asks; gives what it writes."""

    def answer(*lines):
        monkeypatch.setattr(sys, 'stdin', io.StringIO('\n'.join(lines) + '\n'))
        monkeypatch.setattr(sys, 'stdout', out := io.StringIO())
        return out

    return answer


def halved(x):
    y = x // 2
    return y  # noqa: RET504


def shifted(x, rng):
    z = rng.integers(100)
    return x + z


def received(made, **options):
    batch_iter = Infinite(made, seed=0, prefetch=0, **options)
    return batch_iter, next(batch_iter())


def test_the_first_stop_is_in_the_function(pdb):
    batch_iter, _ = received(stream(range(40)) | shuffle(8) | halved | with_rng(shifted), batch_size=4)
    key = batch_iter.ordinals[3]
    out = pdb('p x', 'n', 'p y', 'c')
    assert debug(batch_iter, 3, 'halved') == key // 2
    text = out.getvalue()
    assert text.startswith(f'> {__file__}')
    assert '-> y = x // 2\n' in text.split('(Pdb)')[0]
    assert [part.split('\n')[0].strip() for part in text.split('(Pdb) ')[1::2]] == [str(key), str(key // 2)]
    batch_iter.close()


def test_random_numbers_are_those_of_the_run(pdb):
    batch_iter, batch = received(stream(range(40)) | parallel_map(with_rng(shifted), threads=2), batch_size=4)
    out = pdb('n', 'p x + z', 'c')
    assert debug(batch_iter, -1, 1) == batch[3]
    assert f'(Pdb) {batch[3]!r}\n' in out.getvalue()
    batch_iter.close()


def test_behind_the_batch_the_function_gets_the_whole_batch(pdb):
    def whole(batch):
        return batch * 2

    batch_iter, batch = received(stream(range(8)) | batch_by(4) | combine | whole)
    out = pdb('p batch', 'c')
    assert debug(batch_iter, 1, 'whole').tolist() == batch.tolist()
    assert 'array([0, 1, 2, 3])' in out.getvalue()
    batch_iter.close()


def test_one_of_two_stages_with_the_same_function_is_chosen_by_its_number(pdb):
    batch_iter, _ = received(stream(range(100, 140)) | halved | halved, batch_size=4)
    for number, before in ((1, 103), (2, 51)):
        out = pdb('p x', 'c')
        debug(batch_iter, 3, number)
        assert out.getvalue().count('(Pdb) ') == 2
        assert f'(Pdb) {before}\n' in out.getvalue()
    batch_iter.close()


def test_stages_in_streams_that_are_put_together_and_predicates(pdb):
    def even(x):
        return x % 2 == 0

    batch_iter, _ = received(mix(stream(range(100, 140)) | apply(halved)) | filter_by(even), batch_size=2)
    assert [each.stage for each in explain(batch_iter, 0)][1] == 'apply(halved)'
    out = pdb('p x', 'c')
    assert debug(batch_iter, 0, 1) == batch_iter.ordinals[0] // 2 + 50
    assert f'(Pdb) {batch_iter.ordinals[0] + 100}\n' in out.getvalue()
    pdb('c')
    assert debug(batch_iter, 1, 'filter_by') == batch_iter.item(batch_iter.item_keys[1])
    batch_iter.close()


def test_to_quit_ends_it_and_what_the_function_raises_is_raised(pdb):
    fails = []

    def fragile(x):
        if fails:
            raise ValueError('mine')
        return x

    batch_iter, _ = received(stream(range(8)) | halved | fragile, batch_size=4)
    pdb('q')
    assert debug(batch_iter, 0, 'halved') is None
    fails.append(True)
    with pytest.raises(ValueError, match='^mine\n'):
        debug(batch_iter, 0, 'fragile')
    batch_iter.close()


@pytest.mark.parametrize(
    ('chosen', 'message'),
    [
        ('shuffle', 'debug: `stage` must be one that calls a function, got `shuffle(4)`'),
        (0, 'debug: `stage` must be one that calls a function, got `stream(range(0, 8), seed=0)`'),
        (9, 'debug: `stage` must be one of these, got 9:\n  0  '),
        ('nothing', "debug: `stage` must be in the text of one stage, 'nothing' is in that of no:\n  0  "),
        ('apply', "debug: `stage` must be in the text of one stage, 'apply' is in that of several:\n  0  "),
    ],
)
def test_a_stage_that_is_none_is_refused(chosen, message):
    with Infinite(stream(range(8), seed=0) | shuffle(4) | halved, batch_size=4) as batch_iter:
        next(batch_iter())
        with pytest.raises(ValueError, match='^debug: ') as caught:
            debug(batch_iter, 0, chosen)
        assert str(caught.value).startswith(message) or chosen == 0
        for wrong, kind in ((-1, ValueError), (1.5, TypeError)):
            with pytest.raises(kind, match='debug: `stage` must be'):
                debug(batch_iter, 0, wrong)
