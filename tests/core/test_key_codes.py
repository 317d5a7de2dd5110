"""Keys in JSON, and back."""

import json

import hypothesis.strategies as st
import pytest
from hypothesis import given
from strategies import examples, keys

from itpipe._core.key_codes import MAX_DEPTH, MAX_IN_RUNS, decode, decode_all, encode, encode_all


def kinds(key):
    """A key with the types of its parts, which `==` does not look at."""
    return (type(key), *map(kinds, key)) if isinstance(key, tuple) else type(key)


@given(keys)
@examples(200)
def test_a_key_comes_back_from_json_as_it_was(key):
    again = decode(json.loads(json.dumps(encode(key))))
    assert again == key
    assert kinds(again) == kinds(key)


@given(st.lists(keys))
@examples(200)
def test_many_keys_come_back_from_json_as_they_were(some):
    again = decode_all(json.loads(json.dumps(encode_all(some))))
    assert again == some
    assert list(map(kinds, again)) == list(map(kinds, some))


@given(st.lists(keys, unique_by=lambda key: (kinds(key), key), min_size=2, max_size=6))
@examples(200)
def test_different_keys_have_different_codes(some):
    codes = [json.dumps(encode(key)) for key in some]
    assert len(set(codes)) == len(codes)


def nested(code, make, depth):
    for _ in range(depth):
        code = make(code)
    return code


@pytest.mark.parametrize(
    'code',
    ['abc', None, 1.5, True, -1, 1 << 63, [], [1], [1, 2, 3], [None, 1], [1, 0.5], {}, {'batch': []}, {'batch': 3},
     {'batch': [1], 'n': 2}, {'batch': [None]}, {'zip': []}, {'zip': 3}],
)  # fmt: skip
def test_what_is_no_code_of_a_key_is_refused(code):
    with pytest.raises(ValueError, match='^not a key$'):
        decode(code)


@pytest.mark.parametrize(
    ('code', 'message'),
    [
        (3, 'not keys'),
        ({}, 'not keys'),
        ({'n': [0]}, 'not keys'),
        ([[1]], 'not a key'),
        ({'n': [0, 1], 'of': [5]}, 'not keys'),
        ({'n': [0.5], 'of': [5]}, 'not numbers'),
        ({'of': [1, 2], 'sizes': [3]}, 'not keys'),
        ({'of': [1, 2], 'sizes': [2, 0]}, 'not keys'),
        ({'of': [1, 2], 'sizes': 2}, 'not numbers'),
        ({'runs': [0, 1, 2]}, 'not keys'),
        ({'zip': []}, 'not keys'),
        ({'zip': 3}, 'not keys'),
        ({'zip': [[1], [2, 3]]}, 'not keys'),
        ({'runs': [0, MAX_IN_RUNS, 0, 1]}, 'not keys: too many'),
        (nested([], lambda code: {'n': [], 'of': code}, MAX_DEPTH + 1), 'not keys: too deep'),
        (nested([5], lambda code: {'n': [0], 'of': code}, MAX_DEPTH), None),
        ([nested(5, lambda code: [code, 0], MAX_DEPTH)], None),
        ([nested(5, lambda code: [code, 0], MAX_DEPTH + 1)], 'not a key: too deep'),
        ({'n': [0], 'of': [nested(5, lambda code: [code, 0], MAX_DEPTH)]}, 'not a key: too deep'),
    ],
)  # fmt: skip
def test_what_is_no_code_of_keys_is_refused(code, message):
    if message is None:
        assert len(decode_all(code)) == 1
    else:
        with pytest.raises(ValueError, match=f'^{message}$'):
            decode_all(code)
