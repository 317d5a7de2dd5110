"""What to do about a function that is called with arguments that it does not take."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any

from itpipe._core.steps import Function, ItemStep

from .seen import Call, Seen

__all__ = ['for_arguments']


def for_arguments(seen: Seen, call: Call) -> str | None:
    """The way out if the function was called with arguments that do not fit; None for all other errors."""
    error = call.error
    if not isinstance(error, TypeError) or not _raised_by_the_call(error):
        return None
    text = str(error)
    if text.endswith("got an unexpected keyword argument 'rng'"):
        return 'Leave out `with_rng`: it takes no `rng`.'
    if re.search(r"missing 1 required (positional|keyword-only) argument: 'rng'$", text):
        return f'`with_rng({_name(text)})` gives it the generator of its item.'
    if (function := _applied(seen)) is not None and _takes_elements(function, call.got):
        return f'`unpack({_name(text)})` passes the elements of an item as arguments.'
    return None


def _raised_by_the_call(error: TypeError) -> bool:
    """Whether no line of the function ran: the last one that did is one of itpipe."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_globals.get('__name__', '').partition('.')[0] == 'itpipe'


def _applied(seen: Seen) -> Function | None:
    """The function that the stage calls with whole items."""
    options: Any = () if seen.step is None else seen.step.options
    steps = options[0] if options and isinstance(options[0], tuple) else ()
    alone = len(steps) == 1 and isinstance(steps[0], ItemStep) and steps[0].name in ('apply', 'parallel_map')
    return steps[0].functions[0] if alone else None


def _takes_elements(function: Function, item: Any) -> bool:
    """Whether it could be called as `unpack` does."""
    try:
        signature = inspect.signature(function.target)  # type: ignore[arg-type]  # a tuple has none: TypeError
        if isinstance(item, Mapping):
            signature.bind(*function.args, **item, **function.kwargs)
        elif isinstance(item, (tuple, list)):
            signature.bind(*item, *function.args, **function.kwargs)
        else:
            return False
    except (TypeError, ValueError):
        return False
    return True


def _name(text: str) -> str:
    """The name of the function, of the message; `f` if it has none to write."""
    name = text.partition('()')[0].rpartition('.')[2]
    return name if name.isidentifier() and not name.startswith('_') else 'f'
