"""The reference says of every public name what it gives, what it raises, and what else there is, and shows it."""

import inspect
import re

import numpy as np
import pytest

import itpipe
import itpipe.image
import itpipe.testing

NAMES = {
    f'{package.__name__}.{name}': getattr(package, name)
    for package in (itpipe, itpipe.image, itpipe.testing)
    for name in package.__all__
}
METHODS = {
    f'{cls.__name__}.{name}': method
    for cls in (itpipe.Infinite, itpipe.Stage, itpipe.Stream)
    for name, method in vars(cls).items()
    if inspect.isfunction(method) and not name.startswith('_')
}
RECEIVED = (BaseException, tuple)
"""What users receive, errors and named tuples, takes nothing from them."""


def text_of(value: object) -> str:
    return inspect.getdoc(value) or ''


@pytest.mark.parametrize('name', [*NAMES, *METHODS])
def test_it_begins_with_one_sentence(name: str) -> None:
    first = text_of({**NAMES, **METHODS}[name]).partition('\n\n')[0]
    assert first.endswith(('.', ':'))
    assert len(first) > 15


@pytest.mark.parametrize('name', NAMES)
def test_it_has_an_example(name: str) -> None:
    assert '>>> ' in text_of(NAMES[name])


@pytest.mark.parametrize('name', NAMES)
def test_it_says_what_it_raises(name: str) -> None:
    value = NAMES[name]
    if isinstance(value, type) and issubclass(value, RECEIVED):
        pytest.skip('takes nothing from users')
    assert re.search(r'\b[Rr]aises\b.*\b\w*Error\b|`Not\w+`', text_of(value), re.DOTALL)


@pytest.mark.parametrize('name', NAMES)
def test_it_says_what_else_there_is(name: str) -> None:
    assert re.search(r'^See also: `', text_of(NAMES[name]), re.MULTILINE)


TAKES = [name for name, method in METHODS.items() if len(inspect.signature(method).parameters) > 1]


@pytest.mark.parametrize('name', TAKES)
def test_a_method_with_arguments_has_all_of_it(name: str) -> None:
    text = text_of(METHODS[name])
    assert '>>> ' in text
    assert re.search(r'\bRaises \w+Error', text)
    assert re.search(r'^See also: `', text, re.MULTILINE)


def test_the_methods_were_found() -> None:
    assert {'Infinite.load_state_dict', 'Infinite.item', 'Stage.item', 'Stream.resume', 'Stream.at'} <= set(TAKES)


PLACES = {'numpy': np, 'itpipe': itpipe, 'image': itpipe.image, **vars(itpipe)}
FUNCTIONS = [value for value in [*NAMES.values(), *METHODS.values()] if inspect.isfunction(value)]
PARAMETERS = {parameter for function in FUNCTIONS for parameter in inspect.signature(function).parameters}


@pytest.mark.parametrize('name', [*NAMES, *METHODS])
def test_what_it_sees_also_is_there(name: str) -> None:
    """The names after "See also" are public ones, of the same class, or those of parameters."""
    text = text_of({**NAMES, **METHODS}[name]).partition('See also:')[2]
    for before, last in re.findall(r'`(?:itpipe\.)?(?:(\w+)\.)?(\w+)`', text):
        owners = [PLACES[before]] if before else [itpipe, itpipe.image, itpipe.testing, itpipe.Infinite]
        assert last in PARAMETERS or any(hasattr(owner, last) for owner in owners), f'{before}.{last}'
