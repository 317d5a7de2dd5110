"""Each module has a test file of its own, in the room that mirrors its own."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = {'_core': 'core', '_engine': 'engine', '_workers': 'workers'}
WITHOUT = {
    '_core/public.py': 'what it does to all names: project/test_public_names.py',
    '_engine/source.py': 'protocols, without code',
    '_engine/types.py': 'read by type checkers only: typing/, whole/test_typing.py',
}
"""Modules without a test file, and why."""
NO_MODULE = {'whole', 'project', 'support', 'typing'}
"""Folders of tests for what no module is responsible for alone."""


def mirrored(module: Path) -> Path:
    """Where the tests of a module are."""
    *room, name = module.parts
    return Path(*(ROOMS.get(part, part) for part in room), f'test_{name}')


def test_each_module_has_a_test_file() -> None:
    files = [path.relative_to(ROOT / 'itpipe') for path in (ROOT / 'itpipe').rglob('*.py')]
    modules = [path for path in files if path.name != '__init__.py' and path.parts[0] != 'dpipe']
    without = {path.as_posix() for path in modules if not (ROOT / 'tests' / mirrored(path)).exists()}
    assert without == set(WITHOUT)


def test_each_test_file_has_a_module() -> None:
    modules = {mirrored(path.relative_to(ROOT / 'itpipe')) for path in (ROOT / 'itpipe').rglob('*.py')}
    tests = {path.relative_to(ROOT / 'tests') for path in (ROOT / 'tests').rglob('test_*.py')}
    alone = {path.as_posix() for path in tests - modules if path.parts[0] not in NO_MODULE}
    assert alone == {'test_dpipe.py'}
