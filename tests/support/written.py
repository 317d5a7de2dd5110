"""Where the code of public names is written, which is not where their `__module__` says that users import them from."""

import ast
import inspect
from functools import cache
from types import FunctionType, ModuleType
from typing import Any


def is_written_in(module: ModuleType, thing: Any) -> bool | None:
    """Whether this module has the code of a function or class; None for anything else."""
    if isinstance(thing, type):
        return thing.__name__ in classes_of(module)
    return inspect.unwrap(thing).__globals__ is vars(module) if isinstance(thing, FunctionType) else None


@cache
def classes_of(module: ModuleType) -> set[str]:
    """The names of the classes that the module defines, also those without methods."""
    return {node.name for node in ast.walk(ast.parse(inspect.getsource(module))) if isinstance(node, ast.ClassDef)}
