"""A tuner that changes the workers all the time, whatever their speed."""

from __future__ import annotations

from itertools import cycle
from typing import Any, ClassVar

from itpipe._workers.tuning import FIRST, Setting, Tuner

EVERY = 5
"""Items."""


class Restless(Tuner):
    """Takes these settings in turn, each for some items. After one that cannot be used comes the first one."""

    order = FIRST, Setting('threads', 3), Setting('threads', 2)
    stays = FIRST
    """The one whose pool is kept while others are used."""
    made: ClassVar[list[Any]] = []
    """All tuners."""
    is_searching = True

    def __init__(self, *_: Any):
        self.setting, self.settings = FIRST, [FIRST]
        self._turns = cycle([*self.order[1:], self.order[0]])
        self._left = EVERY
        self.made.append(self)

    @property
    def kept(self) -> set[Setting]:
        return {self.setting, self.stays}

    def restart(self) -> None:
        pass

    def came_back(self) -> None:
        pass

    def goes_out(self, warm: bool) -> Setting | None:
        self._left -= 1
        return self._change(next(self._turns)) if not self._left else None

    def failed(self) -> Setting:
        return self._change(FIRST)

    def _change(self, setting: Setting) -> Setting:
        self._left, self.setting = EVERY, setting
        self.settings.append(setting)
        return setting


class WithProcesses(Restless):
    """Also takes processes."""

    order = FIRST, Setting('threads', 3), Setting('processes', 2), Setting('threads', 2)
    stays = Setting('processes', 2)
    made: ClassVar[list[Any]] = []
