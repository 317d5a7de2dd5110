"""An attribute that another thread sets to None, in the worst moment."""

from typing import Any

__all__ = ['Taken']


class Taken:
    """In place of an attribute of a class: each second look at it finds None, as if it had been reset in between."""

    def __init__(self, value: Any):
        self.value, self.looks = value, 0

    def __get__(self, owner: Any, kind: Any = None) -> Any:
        self.looks += 1
        return self.value if self.looks % 2 else None

    def __set__(self, owner: Any, value: Any) -> None:
        pass
