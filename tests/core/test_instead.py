"""Options of other libraries are answered with what there is instead of them."""

from inspect import signature
from typing import Any

import pytest
from running import raises

import itpipe
from itpipe import Infinite
from itpipe._core.instead import INSTEAD, OWN, check_option, did_you_mean


def test_its_own_options_are_those_of_infinite() -> None:
    parameters = signature(Infinite.__init__).parameters.values()
    assert set(OWN) == {each.name for each in parameters if each.kind is each.KEYWORD_ONLY}
    assert not set(OWN) & set(INSTEAD)


def test_every_answer_names_something_that_there_is() -> None:
    there_is = {*OWN, *itpipe.__all__, 'setup', 'ordered', '`for`', 'pin the tensors'}
    assert all(any(name in answer for name in there_is) for answer in INSTEAD.values())


def test_an_option_of_another_library_is_refused_unless_the_combiner_has_it() -> None:
    def combiner(batch: Any, shuffle: bool) -> None: ...

    check_option('shuffle', combiner)
    check_option('something', list)
    with raises(TypeError, f'Infinite: there is no `shuffle`: {INSTEAD["shuffle"]}'):
        check_option('shuffle', list)
    with raises(TypeError, f'Infinite: there is no `rank`: {INSTEAD["rank"]}'):
        check_option('rank', type)  # which has no signature


@pytest.mark.parametrize(
    ('written', 'answer'),
    [
        ('bach_size', ': did you mean `batch_size`?'),
        ('batch_size', ''),
        ('something', ''),
        ('seeds', ': did you mean `seed`?'),
    ],
)
def test_an_option_that_is_misspelt(written: str, answer: str) -> None:
    assert did_you_mean(written) == answer
