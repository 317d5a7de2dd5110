"""What a random step draws depends on its name, not on which other random steps there are."""

import numpy as np
import pytest

from itpipe import (
    Infinite,
    apply,
    batch_by,
    filter_by,
    flatten,
    load_by_random_id,
    map_all,
    map_at,
    mix,
    parallel_map,
    prefetch,
    random_apply,
    reuse,
    sample,
    sample_args,
    shuffle,
    stream,
    take,
    unpack,
    with_rng,
)
from itpipe._core import rng as rng_module
from itpipe._engine import seeds as seeds_module
from itpipe._engine.seeds import Seeds


def drawing(label):
    """A function of this name that puts what it draws into the item, a dict."""

    def draw(item, rng):
        return {**item, label: [*item.get(label, ()), rng.random()]}

    draw.__name__ = label
    return draw


def marked(label):
    """A function of this name that puts what was drawn for it into the item."""

    def mark(item, *drawn):
        return {**item, label: drawn}

    mark.__name__ = label
    return mark


def passes(label):
    def keep(item, rng):
        return rng.random() < 0.9

    keep.__name__ = label
    return keep


nothing = apply(lambda item: item)
items = stream([{'id': n} for n in range(30)], seed=0)


# Each makes a pipeline of random steps: `keep(label, step)` is the step, or one that does nothing and draws nothing.


def in_a_row(keep):
    return (
        items
        | keep('a', with_rng(drawing('a')))
        | keep('shuffle', shuffle(5))
        | keep('b', random_apply(0.5, marked('b')))
        | keep('c', sample_args(marked('c'), lambda rng: rng.random()))
        | keep('d', with_rng(drawing('d')))
        | keep('again', shuffle(4, name='again'))
    )


def in_workers(keep):
    inner = keep('a', with_rng(drawing('a'))) | keep('b', random_apply(0.5, marked('b')))
    return (
        items | parallel_map(inner | keep('c', with_rng(drawing('c'))), threads=2) | keep('d', with_rng(drawing('d')))
    )


def nested(keep):
    coin = random_apply(0.5, keep('a', with_rng(drawing('a'))) | keep('b', with_rng(drawing('b'))), name='coin')
    return (
        items
        | (lambda item: ({**item}, {}))
        | keep('coin', map_at(0, coin))
        | map_at(1, keep('c', with_rng(drawing('c'))))
        | map_all(keep('d', with_rng(drawing('d'))))
        | unpack(lambda first, second: {**first, **{f'{label}, too': drawn for label, drawn in second.items()}})
    )


def with_a_filter(keep):
    return (
        items
        | keep('a', with_rng(drawing('a')))
        | keep('filter', filter_by(with_rng(passes('filter'))))
        | keep('b', with_rng(drawing('b')))
    )


def around_batches(keep):
    whole = items | keep('a', with_rng(drawing('a'))) | batch_by(4) | map_all(keep('b', with_rng(drawing('b'))))
    return whole | prefetch(2) | flatten | keep('c', with_rng(drawing('c'))) | keep('shuffle', shuffle(3))


def in_branches(keep):
    left = sample(list(items), name='left') | keep('a', with_rng(drawing('a'))) | keep('shuffle', shuffle(3)) | take(9)
    right = load_by_random_id(lambda n: {'id': n}, ids=range(9)) | keep('b', with_rng(drawing('b'))) | take(9)
    both = mix(left, right, items | keep('again', shuffle(3, name='again')), seed=0)
    return both | keep('c', with_rng(drawing('c'))) | keep('last', shuffle(3, name='last'))


def with_reuse(keep):
    repeated = items | keep('a', with_rng(drawing('a'))) | reuse(3, 2) | keep('b', with_rng(drawing('b')))
    return repeated | keep('shuffle', shuffle(3)) | reuse(2, 2, name='again') | keep('c', with_rng(drawing('c')))


LABELS = {
    in_a_row: ['a', 'shuffle', 'b', 'c', 'd', 'again'],
    in_workers: ['a', 'b', 'c', 'd'],
    nested: ['a', 'b', 'coin', 'c', 'd'],
    with_a_filter: ['a', 'filter', 'b'],
    around_batches: ['a', 'b', 'c', 'shuffle'],
    in_branches: ['a', 'shuffle', 'b', 'again', 'c', 'last'],
    with_reuse: ['a', 'b', 'shuffle', 'c'],
}


def made(build, without, monkeypatch):
    """What comes out, by its key, and the keys of all random steps by their names."""
    step_keys = {}

    def spied(seed, name, count, pass_):
        step_keys[name, count] = rng_module.step_key(seed, name, count, pass_)
        return step_keys[name, count]

    monkeypatch.setattr(seeds_module, 'step_key', spied)
    pipeline = build(lambda label, step: nothing if label in without else step)
    run = iter(pipeline)
    result = {}
    for value in run:
        result[run.item_keys[0]] = value
    return result, step_keys


@pytest.mark.parametrize(
    ('build', 'label'),
    [(build, label) for build, labels in LABELS.items() for label in labels],
    ids=lambda value: getattr(value, '__name__', value),
)
def test_a_random_step_more_or_less_leaves_the_others_alone(build, label, monkeypatch):
    """Each step of each pipeline: the values that the others draw for an item, and the keys of all of them."""
    whole, all_keys = made(build, (), monkeypatch)
    less, keys = made(build, (label,), monkeypatch)
    assert len(keys) == len(all_keys) - (3 if label == 'coin' else 1)
    assert keys.items() < all_keys.items()
    if label in ('shuffle', 'again', 'last'):  # the order is another one, and so is what a mix or a reuse repeats
        shared = less.keys() & whole.keys()
        assert len(shared) > len(whole) / 3
    else:
        shared = whole.keys() & less.keys()
        assert [key for key in whole if key in shared] == [key for key in less if key in shared]
        if label != 'filter':
            assert less.keys() == whole.keys()
    inner = ('a', 'b') if label == 'coin' else (label,)
    for key in shared:
        assert without(inner, less[key]) == without(inner, whole[key])


def without(labels, item):
    return {name: value for name, value in item.items() if name.removesuffix(', too') not in labels}


def test_of_several_steps_with_one_name_their_order_counts():
    noise = with_rng(drawing('a'))
    assert list(items | noise | noise) == [
        {**first, 'a': first['a'] + second['a']}
        for first, second in zip(
            items | noise, items | with_rng(drawing('b')) | noise | noise | keep_last('a'), strict=True
        )
    ]


def keep_last(label):
    return apply(lambda item: {**item, label: item[label][1:]})


def test_a_function_that_is_renamed_draws_the_same_under_its_old_name():
    def renamed(item, rng):
        return drawing('a')(item, rng)

    assert list(items | with_rng(renamed, name='a')) == list(items | with_rng(drawing('a')))
    assert list(items | with_rng(renamed)) != list(items | with_rng(drawing('a')))


def test_names_are_told_apart_by_their_stage():
    """One that is given, too: it takes the place of the function's name alone."""
    firsts = [
        list(stream([0] * 20, seed=0) | step)
        for step in (
            sample_args(lambda x, r: r, lambda rng: rng.random(), name='same'),
            with_rng(lambda x, rng: rng.random(), name='same'),
        )
    ]
    assert firsts[0] != firsts[1]


def test_the_copies_of_seeds_count_by_themselves_and_the_branches_together():
    seeds = Seeds(0)
    first = seeds.copy().next('f')
    assert seeds.copy().next('f') == first
    branch = seeds.branch(7)
    assert branch.next('f') == first != seeds.next('f')
    assert seeds.copy().next('f') == branch.copy().next('f') == seeds.next('f')
    assert [Seeds().branch(fallback).seeded for fallback in (None, 7)] == [False, True]


def test_copies_share_the_entropy_that_one_of_them_draws():
    seeds = Seeds()
    copies = [seeds.copy(), seeds.branch(None), seeds.in_pass(3)]
    assert seeds.entropy is None
    drawn = copies[0].seed
    assert {each.entropy for each in [seeds, *copies]} == {drawn} == {each.seed for each in copies}


def test_passes_draw_apart():
    seeds = [Seeds(0).in_pass(number) for number in range(20)]
    assert [each.pass_ for each in seeds] == [*range(20)]
    assert len({each.next('f') for each in seeds}) == 20
    assert Seeds(0, pass_=3).next('f') == Seeds(0).in_pass(3).next('f')


def test_passes_of_infinite_draw_apart():
    with Infinite(range(8), shuffle(8), batch_size=8, seed=0) as it:
        epochs = [next(it()).tolist() for _ in range(2)]
    assert epochs[0] != epochs[1]


def drawn(steps, count):
    """What each of some steps of one pipeline draws, a row each."""
    pipeline = stream([()] * count, seed=0)
    for step in steps:
        pipeline = pipeline | step
    return np.array(list(pipeline)).T


@pytest.mark.long
def test_all_steps_of_a_pipeline_draw_independently():
    """Of other names, stages and counts; the bounds are five standard deviations and more."""

    def append(x, rng):
        return (*x, rng.random())

    names = [f'step {n}' for n in range(6)]
    steps = [with_rng(append, name=name) for name in names] + [with_rng(append)] * 6
    steps += [
        sample_args(lambda x, r: (*x, r), lambda rng: rng.random(), name=name) for name in [*names, *['again'] * 6]
    ]
    rows = drawn(steps, 4000) - 0.5
    assert len({float(value) for value in rows.flat}) == rows.size
    correlations = rows @ rows.T * 12 / rows.shape[1]
    apart = correlations[np.triu_indices(len(rows), 1)]
    assert abs(apart).max() < 5 / np.sqrt(rows.shape[1])
    shifted = rows[:, 1:] @ rows[:, :-1].T * 12 / rows.shape[1]
    assert abs(shifted).max() < 5 / np.sqrt(rows.shape[1])
    assert abs(rows.mean(axis=1)).max() < 5 * np.sqrt(1 / 12 / rows.shape[1])


def test_the_draws_of_streams_and_of_items_are_independent():
    """The orders of two shuffles, and what a step draws for the items that they order."""
    n = 3000
    orders = [list(stream(range(n), seed=0) | shuffle(n, name=name)) for name in 'ab']
    orders.append(list(stream(range(n), seed=0) | shuffle(n) | shuffle(n)))
    orders.append(list(map(int, np.argsort(list(stream([0] * n, seed=0) | with_rng(lambda x, rng: rng.random()))))))
    correlations = np.corrcoef(orders)[np.triu_indices(len(orders), 1)]
    assert abs(correlations).max() < 5 / np.sqrt(n)
