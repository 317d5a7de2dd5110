"""Each module has a test file of its own, in the folder that mirrors its room."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ELSEWHERE = {
    '__main__.py': 'tools/test_command.py',
    '_core/other_names.py': 'core/test_instead.py',
    '_core/public.py': 'project/test_public_names.py',
    '_core/version.py': 'tools/test_command.py',
    '_engine/branches.py': 'stages/test_zip.py',
    '_engine/chain.py': 'whole/test_resume.py',
    '_engine/collecting.py': 'engine/test_stats.py',
    '_engine/drawn_steps.py': 'engine/test_drawing.py',
    '_engine/epoch_run.py': 'test_infinite.py',
    '_engine/epochs.py': 'test_infinite.py',
    '_engine/factories.py': 'engine/test_stream.py',
    '_engine/failures.py': 'workers/test_failures.py',
    '_engine/figures.py': 'engine/test_stats.py',
    '_engine/fingerprint.py': 'engine/test_checkpoint.py',
    '_engine/indexing.py': 'engine/test_iterables.py',
    '_engine/iterators.py': 'engine/test_iterables.py',
    '_engine/kinds.py': 'core/test_steps.py',
    '_engine/ledgers.py': 'engine/test_stats.py',
    '_engine/merging.py': 'engine/test_dealing.py',
    '_engine/operators.py': 'whole/test_resume.py',
    '_engine/grouping.py': 'stages/test_bucket.py',
    '_engine/segments.py': 'stages/test_custom.py',
    '_engine/source.py': 'no code: protocols',
    '_engine/source_states.py': 'engine/test_iterables.py',
    '_engine/record_paths.py': 'engine/test_recording.py',
    '_engine/state_checks.py': 'engine/test_states.py',
    '_engine/trials.py': 'stages/test_custom.py',
    '_engine/types.py': 'whole/test_typing.py',
    '_engine/user_state.py': 'stages/test_custom.py',
    '_views/parts.py': 'no code: dataclasses',
    '_workers/opening.py': 'stages/test_parallel.py',
    '_workers/stall_query.py': 'engine/test_waiting.py',
    'dpipe/expiration_pool.py': 'dpipe/test_pipeline.py',
    'image/_arguments.py': 'image/test_image.py',
    'tools/arguments.py': 'tools/test_command.py',
    'stages/options.py': 'stages/test_pad.py',
    'stages/sampled.py': 'stages/test_sample.py',
    'stages/tables.py': 'stages/test_array_likes.py',
    'tools/calling.py': 'tools/test_check.py',
    'tools/copying.py': 'tools/test_check.py',
    'tools/examined.py': 'tools/test_check.py',
    'tools/findings.py': 'tools/test_check.py',
    'tools/own_copies.py': 'tools/test_check.py',
    'tools/placing.py': 'tools/test_check.py',
    'tools/predicted.py': 'tools/test_check.py',
    'tools/rules_of_batches.py': 'tools/test_check.py',
    'tools/rules_of_data.py': 'tools/test_check.py',
    'tools/rules_of_epochs.py': 'tools/test_check.py',
    'tools/rules_of_functions.py': 'tools/test_check.py',
    'tools/rules_of_order.py': 'tools/test_check.py',
    'tools/rules_of_padding.py': 'tools/test_check.py',
    'tools/rules_of_pickling.py': 'tools/test_check.py',
    'tools/rules_of_workers.py': 'tools/test_check.py',
    'tools/reruns.py': 'test_testing.py',
    'tools/resuming.py': 'test_testing.py',
    'tools/rewriting.py': 'tools/test_stepwise.py',
    'tools/seen.py': 'tools/test_check.py',
    'tools/single_steps.py': 'tools/test_stepwise.py',
    'tools/trial.py': 'tools/test_check.py',
}
"""Modules without a test file: the file that tests them, or why there is none."""
MORE = {
    'dpipe/test_old_scripts.py': 'scripts that use all of it',
    'engine/test_lookups.py': 'where items are looked up: the plan of a run, in all its modes',
    'engine/test_states.py': 'states that have been changed by hand: all that is saved and read',
    'files/test_files.py': 'what all of its datasets promise',
    'files/test_large_files.py': 'files of 100,000 items',
    'files/test_real_files.py': 'files that are shipped with libraries',
    'files/test_servers.py': 'what they read from servers that fail',
    'image/test_image.py': 'what all of its functions promise',
    'stages/test_shuffle.py': '`shuffle()` of all of a dataset, and runs that begin anywhere',
    'stages/test_whole_batches.py': '`parallel_map` of a stage that makes batches',
}
"""Test files of no single module, and what they test."""
NO_ROOM = {'whole', 'project', 'support', 'typing'}
"""Folders of what no module does alone."""


def mirrored(module: str) -> str:
    """Where the tests of a module are; for a folder, `__init__.py` is its own module."""
    *room, name = module.removesuffix('.py').split('/')
    return '/'.join([*(part.lstrip('_') for part in room), f'test_{name.lstrip("_")}.py'])


def files(folder: str, pattern: str) -> set[str]:
    return {path.relative_to(ROOT / folder).as_posix() for path in (ROOT / folder).rglob(pattern)}


MODULES = {name for name in files('itpipe', '*.py') if not name.endswith('__init__.py')}
TESTS = files('tests', 'test_*.py')


def test_each_module_has_a_test_file() -> None:
    without = {module for module in MODULES if mirrored(module) not in TESTS}
    wanted = [mirrored(module) for module in sorted(without - ELSEWHERE.keys())]
    assert not wanted, 'write these in tests/, or say in ELSEWHERE above which file tests the module'
    assert not ELSEWHERE.keys() - without, 'these have a test file of their own: take them out of ELSEWHERE above'


@pytest.mark.parametrize('reason', ELSEWHERE.values())
def test_where_the_tests_are_instead(reason: str) -> None:
    assert reason.startswith('no code') or reason in TESTS


def test_each_test_file_is_that_of_a_module() -> None:
    alone = {name for name in TESTS - set(map(mirrored, MODULES)) if name.split('/')[0] not in NO_ROOM}
    assert alone == MORE.keys()
