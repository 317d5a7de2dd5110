"""README.md does what it says (see test_docs.py for how its blocks are read)."""

import pytest

from .test_docs import ROOT, run_page


def test_readme(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    """The code of the README runs, and prints what the README shows."""
    monkeypatch.chdir(tmp_path)
    run_page(ROOT / 'README.md', monkeypatch)
