"""What is structure in a batch, and keeps its type."""

from __future__ import annotations

import types
from collections import OrderedDict, UserDict
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest

from itpipe.integrations.torch._structure import mapped


class Pair(NamedTuple):
    first: Any
    second: Any


class Tagged(tuple[Any, ...]):  # noqa: SLOT001
    tag = ''


class Listed(list[Any]):
    tag = ''


@dataclass
class Plain:
    x: Any
    y: Any = 0


@dataclass(frozen=True, slots=True)
class Frozen:
    x: Any


class Moving(NamedTuple):
    x: Any

    def to(self, device: Any) -> Any: ...


def doubled(value: Any) -> Any:
    return value.real * 2 if isinstance(value, Number) else value


class Number(float):
    """Not one of the plain types, which are left alone."""


ONE, TWO = Number(1), Number(2)


@pytest.mark.parametrize(
    ('given', 'expected'),
    [
        (ONE, 2.0),
        ((ONE, 'a'), (2.0, 'a')),
        ([ONE, [TWO, None]], [2.0, [4.0, None]]),
        ({'x': ONE, 'y': (TWO,)}, {'x': 2.0, 'y': (4.0,)}),
        (OrderedDict(x=ONE), OrderedDict(x=2.0)),
        (UserDict(x=ONE, y=b''), UserDict(x=2.0, y=b'')),
        (types.MappingProxyType({'x': ONE}), {'x': 2.0}),
        (Pair(ONE, 'b'), Pair(2.0, 'b')),
        (Plain(ONE), Plain(2.0)),
        (Frozen([ONE]), Frozen([2.0])),
        ((), ()),
    ],
)
def test_each_value_in_its_place(given: Any, expected: Any) -> None:
    got = mapped(given, doubled)
    assert got == expected
    assert type(got) is type(expected)


def test_subclasses_keep_their_attributes() -> None:
    for kind in (Tagged, Listed):
        given = kind([ONE])
        given.tag = 'x'
        got = mapped(given, doubled)
        assert (type(got), list(got), got.tag) == (kind, [2.0], 'x')


@pytest.mark.parametrize(
    'given', [('a', 1), [1], {'x': 1}, Pair(1, 2), Plain(1), Frozen(None), UserDict(x=1), 'abc', {1, 2}, Plain]
)
def test_what_does_not_change_is_passed_on_as_it_is(given: Any) -> None:
    assert mapped(given, doubled) is given


def test_what_moves_itself_is_a_value() -> None:
    seen: list[Any] = []
    moving = Moving(ONE)
    assert mapped([moving], lambda value: seen.append(value) or value) == [moving]
    assert seen == [moving]


class Tensors(MutableMapping[str, Any]):
    """As a TensorDict: a mapping that moves itself."""

    def __init__(self, **parts: Any):
        self.parts = parts

    def __getitem__(self, key: str) -> Any:
        return self.parts[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.parts[key] = value

    def __delitem__(self, key: str) -> None:
        del self.parts[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.parts)

    def __len__(self) -> int:
        return len(self.parts)

    def to(self, device: Any) -> str:
        return f'moved to {device}'


def test_a_mapping_that_moves_itself_is_a_value() -> None:
    assert mapped({'x': Tensors(y=ONE)}, lambda value: value.to('there')) == {'x': 'moved to there'}


class Output(OrderedDict[str, Any]):
    """As the outputs of transformers."""

    def update(self, *_: Any, **__: Any) -> None:
        raise AttributeError('You cannot use `update`')


def test_a_dict_that_refuses_update() -> None:
    given = Output()
    given['x'], given['y'] = ONE, 'a'
    got = mapped(given, doubled)
    assert (type(got), dict(got), dict(given)) == (Output, {'x': 2.0, 'y': 'a'}, {'x': ONE, 'y': 'a'})
