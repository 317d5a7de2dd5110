"""Errors that say what to write instead of names, methods and options of other libraries."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import wraps
from inspect import Parameter, signature
from typing import Any, Final, TypeVar

from .show import shortened

__all__ = [
    'check_options',
    'check_source',
    'check_text',
    'check_transform',
    'did_you_mean',
    'no_attribute',
    'no_attribute_of_images',
    'no_name',
    'option_of_workers',
    'renamed',
    'renames',
]

C = TypeVar('C', bound=Callable[..., Any])

PAGE: Final = '; the page "Coming from other libraries" has more'
LOADER_PAGE: Final = '; the page "Coming from DataLoader" has more'
OWN: Final = (
    'batch_size', 'batches_per_epoch', 'combiner', 'digest', 'drop_last', 'even', 'prefetch', 'processes', 'record',
    'restart', 'seed', 'shard', 'stall_timeout', 'threads', 'workers',
)  # fmt: skip


def check_options(options: dict[str, Any], combiner: Any) -> None:
    """Raise TypeError for options of another library or of `parallel_map`, unless the combiner takes them.

    Also for one that looks like an own option, if the combiner has none that is as close.
    """
    if not options:
        return
    from .other_names import INSTEAD, OF_LOADER, OF_PARALLEL_MAP, RENAMED, UNUSED

    found = {}
    for name, value in options.items():
        if name in OF_PARALLEL_MAP:
            found[name] = f'it belongs to `parallel_map(f, processes=2, {name}=…)`, among the transforms'
        elif name in INSTEAD:
            nothing = value is None or (type(value) in (bool, int, str) and not value)
            unused = value is UNUSED[name] if name in UNUSED else nothing
            found[name] = 'leave it out' if unused else INSTEAD[name]
    with suppress(TypeError, ValueError):  # some builtins have no signature
        parameters = signature(combiner).parameters
        if any(each.kind is Parameter.VAR_KEYWORD for each in parameters.values()):
            return
        found = {name: answer for name, answer in found.items() if name not in parameters}
        own = RENAMED.get(getattr(combiner, '__name__', ''), {})
        for name in options:
            known = name in found or name in parameters or name in own
            if not known and (meant := did_you_mean(name, parameters)):
                found[name] = meant.removeprefix(': ')
    if not found:
        return
    page = LOADER_PAGE if OF_LOADER.issuperset(found) else PAGE if INSTEAD.keys() & found else ''
    if len(found) == 1:
        (name, answer), *_ = found.items()
        raise TypeError(f'Infinite: there is no `{name}`: {answer}{page}')
    lines = ''.join(f'\n- `{name}`: {answer}' for name, answer in found.items())
    raise TypeError(f'Infinite: there are no options {", ".join(f"`{name}`" for name in found)}{page}{lines}')


def check_transform(where: str, value: object) -> None:
    """Raise TypeError for a number among the transforms, where other loaders take the size of a batch."""
    if type(value) is int:
        raise TypeError(
            f'{where} must be a stage or a function of one item, got int: did you mean `batch_size={value}`?'
        )


def check_source(where: str, source: Any) -> None:
    """Raise TypeError for what is iterable, but whose items nobody means: names of splits, or of columns."""
    library = str(type(source).__module__).partition('.')[0]
    if library == 'datasets' and isinstance(source, dict):
        names = list(source)
        raise TypeError(
            f'{where} has the splits {", ".join(map(repr, names))}: give one of them, such as'
            f' `d[{names[0] if names else "train"!r}]`'
        )
    if library == 'pandas' and hasattr(source, 'iloc') and hasattr(source, 'columns'):
        raise TypeError(
            f'{where} must not be a DataFrame, whose items are the names of its columns: for its rows, write'
            " `table.to_dict('records')`, or `stream(range(len(table))) | table.iloc.__getitem__`"
        )


def check_text(source: object) -> None:
    """Raise TypeError for text as the source of an `Infinite`, which is rather a path."""
    if isinstance(source, (str, bytes)):
        kind, parts = ('a str', 'characters') if isinstance(source, str) else ('bytes', 'bytes')
        raise TypeError(
            f'Infinite: `source` must not be {kind}, got {shortened(source)}: for its {parts}, write'
            ' `stream(list(text))`; for the images in a folder, `itpipe.files.images(folder)`'
        )


def did_you_mean(name: str, others: Iterable[str] = ()) -> str:
    """The end of an error message about an option that may be misspelt; empty if one of the others is closer."""
    from difflib import get_close_matches  # takes a while to import

    close = [] if name in OWN else get_close_matches(name, {*OWN, *others}, n=1)
    return f': did you mean `{close[0]}`?' if close and close[0] in OWN else ''


def renamed(function: Callable[..., Any], error: TypeError, given: Iterable[str] = ()) -> TypeError | None:
    """The error for an option that the function does not have, with what to write instead, or None.

    `error` is what Python raised for the call, with these options by name. One from inside the function has more lines
    in its traceback.
    """
    head, _, rest = str(error).partition('() ')
    if (error.__traceback__ is not None and error.__traceback__.tb_next is not None) or head != function.__qualname__:
        return None
    name, parameters = function.__name__, signature(function).parameters
    first, _, quoted = rest.partition(" argument '" if rest.startswith('got an unexpected keyword') else ': ')
    if first == 'got an unexpected keyword':
        return TypeError(f'{name}: there is no `{(option := quoted[:-1])}`: {_in_place_of(option, name, parameters)}')
    if "'rng'" in quoted and 'rng' not in given and first.startswith('missing'):
        return TypeError(f'{name}: it needs `rng`, a random generator: `with_rng({name}, …)` gives it')
    by_name = [own for own in re.findall(r"'(\w+)'", quoted) if own in given]
    if not by_name:
        return None
    call = [own for own, each in parameters.items() if each.kind is Parameter.POSITIONAL_ONLY]
    return TypeError(
        f'{name}: give {" and ".join(f"`{own}`" for own in by_name)} by position: `{name}({", ".join(call)})`'
    )


def _in_place_of(option: str, name: str, parameters: Mapping[str, Parameter]) -> str:
    """What to write instead of an option that the function does not have."""
    from difflib import get_close_matches  # takes a while to import

    from .other_names import RENAMED

    if (own := RENAMED.get(name, {}).get(option)) is not None:
        return f'here it is {own}{PAGE}'
    named = [own for own, each in parameters.items() if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
    if close := get_close_matches(option, named, n=1):
        return f'did you mean `{close[0]}`?'
    return f'it takes {", ".join(f"`{own}`" for own in named)}' if named else 'it takes no options'


def renames(function: C) -> C:
    """Decorates a function so that options which it does not have are answered with what to write instead."""

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except TypeError as error:
            if told := renamed(function, error, kwargs):
                raise told from None
            raise

    return call  # type: ignore[return-value]


def option_of_workers(given: dict[str, Any]) -> str:
    """The end of an error message where no workers are given, but an option that gives them in another library."""
    from .other_names import INSTEAD, WORKERS

    name = next((name for name in given if INSTEAD.get(name) is WORKERS), None)
    if name is None:
        return ''
    count = given[name] if type(given[name]) is int else '…'
    return f'; instead of `{name}`, write `threads={count}` or `processes={count}`{PAGE}'


def no_attribute(owner: Any, name: str) -> Any:
    """For `__getattr__`: raises AttributeError, with what to write instead, if another library has such a method."""
    from .other_names import NAMES, OF_INFINITE, OF_STREAM, STAGES

    kind = type(owner).__name__
    here = f'`{name}(…)`' if name in STAGES else NAMES.get(name)
    if any(each.__name__ == 'Infinite' for each in type(owner).__mro__):
        answer = OF_INFINITE.get(name) or (here and f'goes among the transforms, as {here}')
    else:
        answer = OF_STREAM.get(name) or (here and f'stands right of `|`, as {here}')
    if not answer or hasattr(type(owner), name):  # a property whose own code raised AttributeError raises it again
        return object.__getattribute__(owner, name)
    raise AttributeError(f'{kind!r} object has no attribute {name!r}: here it {answer}{PAGE}', name=name)


def no_attribute_of_images(owner: Any, name: str) -> Any:
    """For `__getattr__` of a folder of images: raises AttributeError, with what torchvision's attribute is here."""
    from .other_names import OF_IMAGES

    if name not in OF_IMAGES:
        return object.__getattribute__(owner, name)
    raise AttributeError(f'images: there is no attribute `{name}`: here it is {OF_IMAGES[name]}{PAGE}', name=name)


def no_name(module: str, name: str) -> AttributeError | ImportError:
    """The error of a module's `__getattr__` for a name that it does not have.

    It is an ImportError for `from module import name`, as Python makes one without this text of an AttributeError.
    """
    from .other_names import ELSEWHERE, NAMES, OF_FILES

    names, elsewhere = (OF_FILES, {}) if module == 'itpipe.files' else (NAMES, ELSEWHERE)
    if (here := names.get(name)) is not None:
        answer = f'here it is {here}{PAGE}'
    elif name in elsewhere:
        answer = f'it is in `{elsewhere[name]}`'
    else:
        return AttributeError(f'module {module!r} has no attribute {name!r}')
    from opcode import opmap

    asks = sys._getframe(2)
    if asks.f_lasti >= 0 and asks.f_code.co_code[asks.f_lasti] == opmap['IMPORT_FROM']:
        return ImportError(f'cannot import name {name!r} from {module!r}: {answer}')
    return AttributeError(f'module {module!r} has no attribute {name!r}: {answer}', name=name)
