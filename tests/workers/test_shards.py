"""The items of a shard, in the process that has it open."""

import pickle
from typing import Any

import pytest
from pools import function_of
from running import raises

from itpipe._workers.pickling import dumps
from itpipe._workers.shards import NO_MORE, ItemOfShard

opened: list[Any] = []
closed: list[Any] = []


def read(shard: str) -> Any:
    opened.append(shard)
    try:
        for letter in shard:
            if letter == '!':
                raise OSError('disk')
            yield letter
    finally:
        closed.append(shard)


@pytest.fixture
def item() -> Any:
    opened.clear()
    closed.clear()
    function = ItemOfShard(function_of(read), 'interleave(read)')
    function.resource.open()
    return lambda opening, shard, n: function((7, n), (opening, dumps(shard, '', '')))


def test_the_iterator_is_kept_between_the_items(item: Any) -> None:
    assert [item(0, 'ab', n) for n in range(4)] == [('a',), ('b',), None, None]
    assert opened == closed == ['ab']


def test_an_item_out_of_order_is_read_anew_and_what_was_open_is_closed(item: Any) -> None:
    assert [item(0, 'abcd', n) for n in (2, 3, 1, 2)] == [('c',), ('d',), ('b',), ('c',)]
    assert opened == ['abcd'] * 2
    assert closed == ['abcd']


def test_another_opening_of_the_same_shard_begins_anew(item: Any) -> None:
    assert [item(opening, 'ab', n) for opening, n in ((0, 0), (1, 1))] == [('a',), ('b',)]
    assert opened == ['ab'] * 2


def test_behind_an_error_there_is_nothing_and_it_is_not_read_again(item: Any) -> None:
    assert item(0, 'a!b', 0) == ('a',)
    with raises(OSError, 'disk', "itpipe: raised in interleave(read), shard 'a!b', item 7 (part 1)"):
        item(0, 'a!b', 1)
    assert item(0, 'a!b', 2) is None
    assert opened == closed == ['a!b']


def test_the_end_is_known_from_its_bytes() -> None:
    assert pickle.loads(NO_MORE) is None


def test_a_copy_has_nothing_open() -> None:
    function = ItemOfShard(function_of(read), 'interleave(read)')
    assert function((0, 0), (0, dumps('ab', '', ''))) == ('a',)
    copy = pickle.loads(pickle.dumps(function))
    assert copy.resource.next is None
    assert copy.in_pass(3).resource is copy.resource
    function.resource.close()
