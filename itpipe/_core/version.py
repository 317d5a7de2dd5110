"""The version of itpipe."""

from __future__ import annotations

from typing import Final

__all__ = ['VERSION']

VERSION: Final = '0.1.0'
