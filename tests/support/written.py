"""Where the code of public names is written, which is not where their `__module__` says that users import them from."""

import inspect
from types import FunctionType, ModuleType
from typing import Any


def is_written_in(module: ModuleType, thing: Any) -> bool | None:
    """Whether this module has the code of a function, or of a class with methods; None for anything else."""
    parts = vars(thing).values() if isinstance(thing, type) else [thing]
    functions = [inspect.unwrap(part) for part in parts if isinstance(part, FunctionType)]
    return any(function.__globals__ is vars(module) for function in functions) if functions else None
