"""What every test shares: it leaves nothing behind, and hypothesis tries as hard as a profile says."""

import doctest
import gc
import os
import sys
from collections import Counter
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from leftovers import alive, describe, still_left
from loky import cpu_count
from strategies import executors, executors_with_processes, fickle  # noqa: F401  (fixtures)
from written import is_written_in

# Read by type checkers, which must refuse some of it; not run.
collect_ignore = ['tests/typing', 'tests/project/user_project']

# ITPIPE_HYPOTHESIS chooses a profile: `quick` tries a twentieth of the examples that the tests name, `full` a tenth.
# `thorough` is for once by hand; ITPIPE_EXAMPLES splits its work over several runs, each with a seed of its own.
settings.register_profile(
    'full',
    deadline=None,
    derandomize='CI' in os.environ,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile('quick', parent=settings.get_profile('full'))
settings.register_profile(
    'thorough',
    parent=settings.get_profile('full'),
    derandomize=False,
    max_examples=int(os.environ.get('ITPIPE_EXAMPLES', '100000')),
)
settings.load_profile(os.environ.get('ITPIPE_HYPOTHESIS', 'quick'))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """What `-n auto` stands for; 0 for the usual process."""
    cores = min(cpu_count(), 8)
    return cores if cores > 1 else 0


def pytest_configure(config: pytest.Config) -> None:
    # A plugin, and not only a fixture of this folder, so that the doctests of itpipe/ are watched too.
    config.pluginmanager.register(NothingLeftBehind(), 'nothing-left-behind')
    doctest.DocTestFinder._from_module = is_from_module


def is_from_module(
    finder: doctest.DocTestFinder, module: ModuleType, thing: Any, usual: Any = doctest.DocTestFinder._from_module
) -> bool:
    """Doctests are found in the file that they are written in, though `__module__` names the package of the name."""
    written_here = is_written_in(module, thing)
    return usual(finder, module, thing) if written_here is None else written_here


@pytest.hookimpl(tryfirst=True)  # before `-m` is looked at
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    seen: Counter[str] = Counter()
    for item in items:
        if (many := item.get_closest_marker('many')) is not None:
            test = item.nodeid.partition('[')[0]
            if seen[test] % many.args[0]:
                item.add_marker(pytest.mark.long)
            seen[test] += 1
        if settings.get_current_profile_name() == 'thorough' and hasattr(
            getattr(item, 'obj', None), 'is_hypothesis_test'
        ):
            item.add_marker(pytest.mark.timeout(0))


class NothingLeftBehind:
    """Each test must leave no thread, child process, descriptor or shared memory, or be marked `leaves_threads`."""

    failed = pytest.StashKey[bool]()
    modules = 0
    """How many modules were imported when the garbage was collected last."""

    def pytest_collection_finish(self) -> None:
        self.leave_alone_what_stays()

    def pytest_runtest_teardown(self, item: pytest.Item, nextitem: pytest.Item | None) -> None:
        if nextitem is not None and nextitem.path != item.path:  # it may have imported a library
            self.leave_alone_what_stays()

    def leave_alone_what_stays(self) -> None:
        """Take the modules of large libraries out of the garbage collections of tests, which is far faster."""
        if len(sys.modules) != self.modules:
            self.modules = len(sys.modules)
            gc.collect()
            gc.freeze()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Iterator[None]:
        report = yield
        if report.failed:  # its traceback may hold anything
            item.stash[self.failed] = True
        return report

    @pytest.fixture(autouse=True)
    def nothing_left_behind(self, request: pytest.FixtureRequest) -> Iterator[None]:
        marker = request.node.get_closest_marker('leaves_threads')
        if marker:
            assert [type(reason) for reason in marker.args] == [str], 'leaves_threads needs a reason'
            yield
            return

        before = alive()
        yield
        if alive() <= before or self.failed in request.node.stash:
            return
        if any(kind == 'thread' and what.name == 'IO loop' for kind, what, *_ in before):
            return  # a dask cluster of this module, which opens and closes files and connections when it likes
        left = still_left(before)
        if left:
            pytest.fail('left behind:\n' + '\n'.join(sorted(map(describe, left))), pytrace=False)
