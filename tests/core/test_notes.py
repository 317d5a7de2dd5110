"""An error says once which stage and which item it comes from, and stays the error that it was."""

from typing import Any

import pytest

from itpipe import apply, batch_by, filter_by, map_at, parallel_map, stream, unpack, with_rng
from itpipe._core.keys import Batch
from itpipe._core.notes import MAX_NOTES, close_after, note, note_index, noted, remark


def test_a_note_names_the_stage_and_the_item() -> None:
    error = KeyError('a')
    assert not noted(error)
    note(error, 'apply(f)', (7, 2))
    note(error, 'the source', None)
    assert error.__notes__ == ['itpipe: raised in apply(f), item 7 (part 2)', 'itpipe: raised in the source']
    assert noted(error)
    assert error.args == ('a',)


def test_an_error_that_is_raised_for_every_item_has_few_notes() -> None:
    error = ValueError()
    for _ in range(2):
        for item in range(MAX_NOTES + 5):
            note(error, 'apply(f)', item)
    assert error.__notes__ == [f'itpipe: raised in apply(f), item {item}' for item in range(MAX_NOTES)]


def test_notes_of_others_do_not_say_where_it_comes_from() -> None:
    error = ValueError()
    remark(error, 'try again')
    assert not noted(error)
    note(error, 'combine()', Batch((1, 2)))
    assert noted(error)


def test_an_error_of_closing_is_noted_on_the_one_before_it() -> None:
    def close() -> None:
        raise OSError('busy')

    error = ValueError('first')
    close_after(error, close)
    close_after(error, lambda: None)
    assert error.__notes__ == ["itpipe: closing raised OSError('busy') as well"]


@pytest.mark.parametrize(
    ('text', 'numbers', 'noted_'),
    [
        ('itpipe: raised in f, item 5', [5], 'itpipe: raised in f, item 5 (index 8)'),
        ('itpipe: raised in f, item 5 (part 0, 2)', [5, 0, 2], 'itpipe: raised in f, item 5 (part 0, 2) (index 8)'),
        ('itpipe: raised in f, items 5 to 6', [5, 6], 'itpipe: raised in f, items 5 to 6 (indices 8, 8)'),
        ('itpipe: raised in f, items 5, 3, …', [5, 3], 'itpipe: raised in f, items 5, 3, … (indices 8, 8, …)'),
        (
            'itpipe: raised in f, items 5 to 99',
            [5, 6, 7, 8, 9, 10, 11, 12],
            'itpipe: raised in f, items 5 to 99 (indices 8, 8, 8, 8, 8, 8, 8, 8, …)',
        ),
        ('itpipe: raised in f, items 5, 3 (part 0)', [5, 3], 'itpipe: raised in f, items 5, 3 (part 0) (indices 8, 8)'),
        ('itpipe: raised in the source', None, 'itpipe: raised in the source'),
        ('itpipe: raised in f, item 8', [8], 'itpipe: raised in f, item 8'),
    ],
)
def test_the_index_in_the_data_is_added_where_it_is_another_number(
    text: str, numbers: list[int] | None, noted_: str
) -> None:
    asked: list[list[int]] = []

    def index_of(numbers: list[int]) -> int:
        asked.append(numbers)
        return 8

    error = ValueError()
    for each in ('mine', 'itpipe: raised in inner, item 3', text, 'itpipe: closing raised 1 as well'):
        error.add_note(each)
    note_index(error, index_of)
    expected = ['mine', 'itpipe: raised in inner, item 3', noted_, 'itpipe: closing raised 1 as well']
    if 'items' in text:
        assert asked == [[number] for number in numbers or ()]
    else:
        assert asked == ([] if numbers is None else [numbers])
    assert error.__notes__ == expected


def test_the_same_index_is_noted_once() -> None:
    error = ValueError()
    for _ in range(3):
        note(error, 'f', 5)
        note_index(error, lambda numbers: 8)
    assert error.__notes__ == ['itpipe: raised in f, item 5 (index 8)']


def two(first: Any, second: Any) -> Any:
    return first


def noisy(item: Any, rng: Any) -> Any:
    return item


def noisy_by_name(item: Any, *, rng: Any) -> Any:
    return item


def within(item: Any) -> Any:
    return two(item)  # type: ignore[call-arg]


def notes(source: Any, stage: Any) -> list[str]:
    with pytest.raises(TypeError) as caught:
        list(stream(source) | stage)
    first, *others = caught.value.__notes__
    assert first.startswith('itpipe: raised in ')
    return others


OF_TUPLE = 'itpipe: the item is a tuple of 2: `unpack(f)` calls f(*item), `map_at(0, f)` calls f(item[0])'
OF_DICT = "itpipe: the item is a dict: `unpack(f)` calls f(**item), `map_at('a', f)` calls f(item['a'])"
OF_RNG = 'itpipe: `with_rng(f)` calls f(item, rng=…), with a random generator for each item'


@pytest.mark.parametrize(
    ('source', 'stage', 'others'),
    [
        ([(1, 2)], two, [OF_TUPLE]),
        ([(1, 2)], apply(abs) | two, []),
        ([(1, 2)], filter_by(two), [OF_TUPLE]),
        ([(1, 2)], parallel_map(two, threads=1), [OF_TUPLE]),
        ([(1, 2)], parallel_map(apply(two) | batch_by(1), threads=1), [OF_TUPLE]),
        ([{'a': 1, 'b': 2}], two, [OF_DICT]),
        ([(1, 2)], within, []),
        ([(1, 2)], map_at(0, two), []),
        ([1], two, []),
        ([()], two, []),
        ([1], noisy, [OF_RNG]),
        ([(1, 2)], noisy_by_name, [OF_RNG]),
        ([(1, 2)], map_at(0, noisy), [OF_RNG]),
        ([(1, 2)], apply(two, None, None), []),
    ],
)
def test_too_few_arguments_are_answered_with_what_would_give_them(source: Any, stage: Any, others: list[str]) -> None:
    assert notes(source, stage) == others


def test_the_answers_are_true() -> None:
    assert list(stream([(1, 2)]) | unpack(two)) == list(stream([{'first': 1, 'second': 2}]) | unpack(two)) == [1]
    assert list(stream([(-1, 2)]) | map_at(0, abs)) == [(1, 2)]
    assert list(stream([1]) | with_rng(noisy)) == list(stream([1]) | with_rng(noisy_by_name)) == [1]


def test_the_note_comes_out_of_processes_once() -> None:
    assert notes([(1, 2)], parallel_map(two, processes=1)) == [OF_TUPLE]
