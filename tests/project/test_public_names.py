"""Every public name says that it is of the package that users import it from; the doctests stay with the code."""

import pickle
from collections import Counter
from doctest import DocTestFinder
from importlib import import_module
from pkgutil import walk_packages
from traceback import format_exception_only
from types import FunctionType, ModuleType

import pytest

import itpipe
import itpipe.dpipe
import itpipe.files
import itpipe.image
import itpipe.integrations.torch
import itpipe.testing

PACKAGES = [itpipe, itpipe.dpipe, itpipe.files, itpipe.image, itpipe.integrations.torch, itpipe.testing]
NAMES = [(package, name) for package in PACKAGES for name in package.__all__]


@pytest.mark.parametrize(('package', 'name'), NAMES, ids=lambda value: getattr(value, '__name__', value))
def test_a_public_name_is_of_the_package_that_it_is_imported_from(package: ModuleType, name: str) -> None:
    value = getattr(package, name)
    if isinstance(value, (type, FunctionType)):
        assert (value.__module__, value.__qualname__) == (package.__name__, name)
    assert pickle.loads(pickle.dumps(value)) == value


def test_an_error_prints_with_the_name_that_users_catch_it_by() -> None:
    assert format_exception_only(itpipe.WorkerCrashed('twice')) == ['itpipe.WorkerCrashed: twice\n']


def test_the_doctests_of_public_names_are_found_once() -> None:
    modules = [itpipe, *(import_module(found.name) for found in walk_packages(itpipe.__path__, 'itpipe.'))]
    found = Counter(test.docstring for module in modules for test in DocTestFinder().find(module) if test.examples)
    shown = [getattr(package, name).__doc__ for package, name in NAMES if '>>>' in getattr(package, name).__doc__]
    assert len(shown) > 50
    assert {found[text] for text in shown} == {1}
