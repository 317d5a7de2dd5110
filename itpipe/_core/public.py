"""Public names belong to the package that users import them from, not to the module that they are written in."""

from __future__ import annotations

from types import FunctionType
from typing import Any


def publish(package: dict[str, Any]) -> None:
    """Sets `__module__` of the functions and classes in `__all__`, which tracebacks, pickles and `help` show.

    Names that are not imported yet are left out.
    """
    for name in package['__all__']:
        if isinstance(value := package.get(name), (type, FunctionType)):
            value.__module__ = package['__name__']
