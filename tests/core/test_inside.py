"""Messages say where inside of a function or a value something is."""

import threading
from functools import partial
from typing import Any

import pytest

from itpipe import apply, map_at, with_rng
from itpipe._core.inside import kind_of, path_to
from itpipe._engine.functions import item_function
from itpipe._engine.seeds import Seeds
from itpipe._engine.stream import as_stage

LOCK = threading.Lock()


class Data:
    def __init__(self, **parts: Any):
        vars(self).update(parts)

    def load(self, item: Any) -> Any:
        return item

    def __call__(self, item: Any) -> Any:
        return item


class Slot:
    __slots__ = ('lock', 'unset')

    def __init__(self) -> None:
        self.lock = LOCK


class Broken:
    def __init__(self) -> None:
        self.lock = LOCK

    @property
    def __dict__(self) -> Any:  # type: ignore[override]
        raise ZeroDivisionError


def uses(item: Any) -> Any:
    return [LOCK for _ in range(3)]


def default(item: Any, other: Any = LOCK) -> Any:
    return other


def named(item: Any, *, other: Any = LOCK) -> Any:
    return other


def takes(item: Any, lock: Any) -> Any:
    return lock


def marked(item: Any) -> Any:
    return item


marked.lock = LOCK  # type: ignore[attr-defined]


def closure() -> Any:
    lock = {'a': [0, LOCK]}

    def inner(item: Any) -> Any:
        return lock

    return inner


@pytest.mark.parametrize(
    ('root', 'path'),
    [
        (Data(db=LOCK), '`db`'),
        (Data(db=LOCK).load, '`self.db` of `Data.load`'),
        ([1, {'k': Slot()}], "`[1]['k'].lock`"),
        ({3: (LOCK,)}, '`[3][0]`'),
        (LOCK.acquire, '`__self__`'),
        (uses, '`LOCK` of `uses`'),
        (default, '`other` of `default`'),
        (named, '`other` of `named`'),
        (marked, '`lock` of `marked`'),
        (closure(), "`lock['a'][1]` of `inner`"),
        (partial(takes, lock=LOCK), '`lock` of `takes`'),
        (partial(takes, 1, LOCK), '`lock` of `takes`'),
        (partial(Data(db=LOCK).load), '`self.db` of `Data.load`'),
        (LOCK, ''),
        (Data(), ''),
        (Broken(), ''),
        ({'x' * 200: LOCK}, ''),
    ],
)
def test_as_one_would_write_it_there(root: Any, path: str) -> None:
    assert path_to(LOCK, root) == path


@pytest.mark.parametrize(
    ('stage', 'path'),
    [
        (apply(Data(db=LOCK).load), '`self.db` of `Data.load`'),
        (apply(Data(db=LOCK)), '`db`'),
        (apply(takes, LOCK), '`args[0]`'),
        (apply(takes, lock=LOCK), "`kwargs['lock']`"),
        (map_at(0, with_rng(Data(db=LOCK).load)) | map_at(1, abs), '`self.db` of `Data.load`'),
    ],
)
def test_what_is_itpipe_s_own_is_passed_over(stage: Any, path: str) -> None:
    assert path_to(LOCK, item_function(as_stage(stage).steps, Seeds(0))) == path


def test_circles_and_depth() -> None:
    circle: list[Any] = []
    circle.append(circle)
    assert path_to(LOCK, circle) == ''
    deep: Any = LOCK
    for _ in range(5000):
        deep = [deep]
    assert path_to(LOCK, deep) == ''


def test_names_of_classes() -> None:
    assert [kind_of(each) for each in (3, LOCK, Slot())] == ['int', '_thread.lock', f'{__name__}.Slot']
