"""For the tests of projects that use itpipe."""

from ._core.public import publish as _publish
from .tools.resuming import check_resume

__all__ = ['check_resume']

_publish(globals())
