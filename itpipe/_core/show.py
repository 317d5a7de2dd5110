"""How steps and their arguments print, and whether two arguments are the same."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple

from .steps import ItemStep, Joins, Step

__all__ = ['Counted', 'format_call', 'format_step', 'format_steps', 'format_value', 'non_defaults', 'same', 'shortened']


def same(a: object, b: object) -> bool:
    """Whether two arguments are the same: a bool for arrays, too, where `==` gives an array."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, partial) and isinstance(b, partial):
        return same((a.func, a.args, a.keywords), (b.func, b.args, b.keywords))
    if isinstance(a, Step):
        return same(vars(a), vars(b))
    if any(getattr(a, trait, None) != getattr(b, trait, None) for trait in ('shape', 'dtype')):
        return False
    try:
        equal: Any = a == b
        return bool(equal.all() if hasattr(equal, 'all') else equal)
    except Exception:  # their type does not support the comparison
        return False


def format_step(step: Step | ItemStep | Joins) -> str:
    """The step as source code."""
    return format_call(step.name, step.args, step.kwargs)


def format_steps(steps: Iterable[Step | ItemStep | Joins]) -> list[str]:
    """The steps as source code, without those that are a part of the step behind them."""
    return [format_step(step) for step in steps if not (isinstance(step, Step) and step.hidden)]


def format_call(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """A call as source code."""
    parts = [*map(format_value, args), *(f'{key}={format_value(value)}' for key, value in kwargs.items())]
    return f'{name}({", ".join(parts)})'


def shortened(value: Any) -> str:
    """The repr of a value that may be anything, shortened for an error message."""
    try:
        text = _in_one_line(value)
    except Exception:
        text = type(value).__name__
    return text if len(text) <= 40 else f'{text[:39]}…'


def non_defaults(**options: tuple[Any, Any]) -> dict[str, Any]:
    """The options, given as (value, default), that have another value than the default."""
    return {name: value for name, (value, default) in options.items() if value is not default}


def format_value(value: Any) -> str:
    """A value as source code, shortened if it is long."""
    if isinstance(value, partial):
        return format_call('partial', (value.func, *value.args), value.keywords)
    if isinstance(value, (list, tuple, dict, set, frozenset)) and type(value).__module__ == 'builtins':
        return _container(value)
    array_like: Any = hasattr(value, 'shape') and hasattr(value, 'dtype') and getattr(value, 'ndim', 0)
    if array_like and not isinstance(value, type):  # numpy.float32, a type, has all of these, too
        return f'<{type(value).__name__} of shape {tuple(value.shape)}, {value.dtype}>'
    if callable(value) and hasattr(value, '__name__'):
        owner = getattr(value, '__self__', None)
        bound = owner is not None and not isinstance(owner, (type, ModuleType))
        return f'{format_value(owner)}.{value.__name__}' if bound else _name(value)
    text = _in_one_line(value)
    if text.startswith('<') and ' at 0x' in text:
        return f'<{type(value).__name__}>'
    return text if len(text) <= 200 else f'{text[:120]}…{text[-20:]}'


def _in_one_line(value: Any) -> str:
    """The repr, without line breaks. Of a table of Hugging Face's datasets, its columns and how many rows it has."""
    kind = type(value)
    if kind.__module__.startswith('datasets.') and hasattr(value, 'num_rows') and hasattr(value, '__getitems__'):
        return f'{kind.__name__}({value.num_rows:,} rows: {", ".join(value.column_names)})'
    text = repr(value)
    return ' '.join(text.split()) if '\n' in text else text


def _name(function: Any) -> str:
    return str(getattr(function, '__qualname__', function.__name__)).rpartition('<locals>.')[2]


def _container(value: Any) -> str:
    brackets: dict[type, tuple[str, str]] = {list: ('[', ']'), tuple: ('(', ')')}
    opening, closing = brackets.get(type(value), ('{', '}'))
    if isinstance(value, dict):
        parts = [f'{format_value(k)}: {format_value(v)}' for k, v in list(value.items())[:7]]
    elif isinstance(value, (set, frozenset)):  # sorted, because their order differs between processes
        parts = sorted(map(format_value, value), key=lambda text: (len(text), text))[:7]
    else:
        parts = [format_value(v) for v, _ in zip(value, range(7), strict=False)]
    if len(value) > 7:
        parts[6:] = ['…']
    if isinstance(value, (set, frozenset)) and (not value or isinstance(value, frozenset)):
        return f'{type(value).__name__}({"{" + ", ".join(parts) + "}" if value else ""})'
    return opening + ', '.join(parts) + (',)' if isinstance(value, tuple) and len(value) == 1 else closing)


class Counted(NamedTuple):
    """Prints how many things there are, in the place of the things themselves.

    >>> Counted(1, 'item'), Counted(3, 'item')
    (<1 item>, <3 items>)
    """

    number: int
    what: str

    def __repr__(self) -> str:
        return f'<{self.number} {self.what}{"s" * (self.number != 1)}>'
