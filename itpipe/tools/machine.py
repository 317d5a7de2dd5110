"""What a report of a bug needs to say of the machine: versions, limits, settings. Nothing that tells who uses it."""

from __future__ import annotations

import os
import platform
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from itpipe._core.version import VERSION
from itpipe._views.figures import bytes_of
from itpipe._workers.cores import NATIVE_THREADS, usable_cores

__all__ = ['Facts', 'facts', 'without_paths']

Facts = dict[str, dict[str, str]]
"""By topic."""
NOT_USED: Final = {'dev', 'docs', 'peers'}
"""The extras that have nothing to do with a run."""
VARIABLES: Final = (
    *NATIVE_THREADS, 'CUDA_VISIBLE_DEVICES', 'GLIBC_TUNABLES', 'KMP_AFFINITY', 'LD_PRELOAD', 'LOCAL_RANK',
    'LOCAL_WORLD_SIZE', 'LOKY_MAX_CPU_COUNT', 'MALLOC_ARENA_MAX', 'MALLOC_CONF', 'MALLOC_MMAP_MAX_',
    'MALLOC_MMAP_THRESHOLD_', 'MALLOC_TOP_PAD_', 'MALLOC_TRIM_THRESHOLD_', 'MASTER_PORT', 'OMPI_COMM_WORLD_RANK',
    'OMPI_COMM_WORLD_SIZE', 'OMP_PROC_BIND', 'PMI_RANK', 'PMI_SIZE', 'PYTHONASYNCIODEBUG', 'PYTHONDEVMODE',
    'PYTHONDONTWRITEBYTECODE', 'PYTHONFAULTHANDLER', 'PYTHONHASHSEED', 'PYTHONHOME', 'PYTHONIOENCODING',
    'PYTHONMALLOC', 'PYTHONNOUSERSITE', 'PYTHONOPTIMIZE', 'PYTHONPATH', 'PYTHONSAFEPATH', 'PYTHONSTARTUP',
    'PYTHONTRACEMALLOC', 'PYTHONUNBUFFERED', 'PYTHONUTF8', 'PYTHONWARNINGS', 'PYTHON_GIL', 'RANK', 'SLURM_LOCALID',
    'SLURM_NTASKS', 'SLURM_PROCID', 'SLURM_STEP_ID', 'TMPDIR', 'WORLD_SIZE',
)  # fmt: skip
"""The environment variables that change how a run goes. Of no others is anything said."""
OF_PATHS: Final = {'LD_PRELOAD', 'PYTHONHOME', 'PYTHONPATH', 'PYTHONSTARTUP', 'TMPDIR'}
"""Those that hold paths, of which nothing is shown."""
WORDS: Final = {
    'all', 'always', 'ascii', 'auto', 'background_thread', 'balanced', 'close', 'compact', 'core', 'cores', 'debug',
    'default', 'disabled', 'error', 'explicit', 'false', 'fine', 'granularity', 'ignore', 'latin-1', 'malloc',
    'malloc_debug', 'master', 'metadata_thp', 'mimalloc', 'mimalloc_debug', 'module', 'narenas', 'none', 'off', 'on',
    'once', 'percpu_arena', 'primary', 'pymalloc', 'pymalloc_debug', 'random', 'replace', 'scatter', 'sockets',
    'spread', 'strict', 'surrogateescape', 'threads', 'true', 'utf-8', 'utf8', 'verbose', 'warnings',
}  # fmt: skip
"""The words that a value may consist of, besides numbers, to be shown."""
SHOWN: Final = rf'(-?\d{{1,20}}(\.\d+)?|glibc(\.[a-z_]+)+|dirty_decay_ms|muzzy_decay_ms|{"|".join(WORDS)})?'
DEVICE: Final = r'(GPU|MIG)-[\w/-]+'
"""A device by its own name, which no other in the world has."""
PATH: Final = r"""(?<![\w.…])(?:[A-Za-z]:)?[/\\]+(?=[^\s/'"\\])"""
"""How an absolute path begins."""
DEVICES: Final = '/dev', '/dev'
PACKAGE: Final = str(Path(__file__).parents[1])
CGROUP: Final = Path('/sys/fs/cgroup')


def facts() -> Facts:
    """All that is to be said, by topic."""
    return {
        'versions': dict(_versions()),
        'platform': dict(_platform()),
        'cores': dict(_cores()),
        'memory': dict(_memory()),
        'limits': dict(_limits()),
        'environment': dict(_environment()),
    }


def without_paths(text: str) -> str:
    """The text with … for each absolute path, but for those of devices, of Python and its packages, and of itpipe.

    >>> without_paths("no such file: '/home/ann/data/1.png'")
    "no such file: '…'"
    """
    quoted = rf"""(?P<quote>['"]){PATH}.*?(?P=quote)"""
    bare = rf"""{PATH}[^\s'"]*(?: [^\s'"]*[/\\][^\s'"]*)*"""  # names of folders may have spaces in them
    return re.sub(f'{quoted}|{bare}', _shown_path, text)


def _shown_path(found: re.Match[str]) -> str:
    quote = found['quote'] or ''
    text = found[0].strip(quote) if quote else found[0]
    # Where the first of several paths can be shown, the others may be of another kind.
    ends = '[,:;]' if quote else r'[,:;\s)\]]'
    drive, rest = os.path.splitdrive(text)
    path = drive + re.split(ends, rest, maxsplit=1)[0]
    normal = os.path.normpath(path)
    for name, root in ('<itpipe>', PACKAGE), ('<prefix>', sys.prefix), ('<base_prefix>', sys.base_prefix), DEVICES:
        if len(root) > 1 and normal.startswith(os.path.join(root, '')):
            return f'{quote}{name}{normal[len(root) :]}{without_paths(text[len(path) :])}{quote}'
    return f'{quote}…{quote}' + ('' if quote else text[len(text.rstrip('.,:;)]}>')) :])


def _versions() -> Iterator[tuple[str, str]]:
    yield 'itpipe', VERSION
    yield 'Python', f'{platform.python_implementation()} {platform.python_version()}{_threading()}'
    required, optional = _requirements()
    for name in required:
        yield name, _version(name) or 'missing'
    for name in optional:
        if version := _version(name):
            yield name, version


def _threading() -> str:
    from sysconfig import get_config_var

    if not get_config_var('Py_GIL_DISABLED'):
        return ''
    return ', free-threaded' + (', but the interpreter lock is on' if sys._is_gil_enabled() else '')  # type: ignore[attr-defined]


def _requirements() -> tuple[list[str], list[str]]:
    """The names of the libraries that itpipe needs, and of those that it can use, as its metadata says."""
    try:
        given = metadata.requires('itpipe') or []
    except metadata.PackageNotFoundError:  # it is imported from where it lies
        return ['numpy', 'scipy', 'toolz', 'loky', 'cloudpickle'], []
    required: set[str] = set()
    optional: set[str] = set()
    for each in given:
        name = re.split(r'[^\w.-]', each, maxsplit=1)[0]
        extras = set(re.findall(r'extra == [\'"](\w+)[\'"]', each))
        if name == 'itpipe' or (extras and extras <= NOT_USED):
            continue
        (optional if extras else required).add(name)
    return sorted(required), sorted(optional - required)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _platform() -> Iterator[tuple[str, str]]:
    yield 'system', platform.platform()
    yield 'machine', platform.machine()
    yield 'C library', ' '.join(filter(None, platform.libc_ver())) or 'unknown'


def _cores() -> Iterator[tuple[str, str]]:
    yield 'of the machine', str(os.cpu_count())
    if hasattr(os, 'sched_getaffinity'):
        yield 'of this process', str(len(os.sched_getaffinity(0)))
    yield 'quota of its group', _quota()
    yield 'used by itpipe', str(usable_cores())


def _quota() -> str:
    given, period = (*_read(CGROUP / 'cpu.max').split(), '', '')[:2]
    if not given:  # of the first version of cgroups
        given, period = (_read(CGROUP / 'cpu' / f'cpu.cfs_{name}_us').strip() for name in ('quota', 'period'))
    if not (given.isdecimal() and period.isdecimal() and int(period)):
        return 'none'
    return f'{int(given) / int(period):g} cores'


def _memory() -> Iterator[tuple[str, str]]:
    with suppress(AttributeError, OSError, ValueError):
        yield 'of the machine', bytes_of(os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE'))
    if found := re.search(r'MemAvailable: +(\d+)', _read(Path('/proc/meminfo'))):
        yield 'available', bytes_of(int(found[1]) * 1024)
    limit = (_read(CGROUP / 'memory.max') or _read(CGROUP / 'memory' / 'memory.limit_in_bytes')).strip()
    yield 'limit of its group', bytes_of(int(limit)) if limit.isdecimal() and int(limit) < 1 << 60 else 'none'
    yield 'files in memory', 'yes' if _has_memfd() else 'no: temporary files are used instead'
    for name, folder in ('/dev/shm', '/dev/shm'), ('temporary files', _temporary()):
        with suppress(AttributeError, OSError):
            stat = os.statvfs(folder)
            free, size = (bytes_of(blocks * stat.f_frsize) for blocks in (stat.f_bavail, stat.f_blocks))
            yield name, f'{free} free of {size}'


def _has_memfd() -> bool:
    try:
        os.close(os.memfd_create('itpipe'))
    except (AttributeError, OSError):
        return False
    return True


def _temporary() -> str:
    try:
        return tempfile.gettempdir()
    except OSError:
        return ''


def _limits() -> Iterator[tuple[str, str]]:
    try:
        import resource
    except ImportError:
        return
    for name, what in ('AS', 'address space'), ('NOFILE', 'open files'), ('NPROC', 'processes'), ('FSIZE', 'file size'):
        kind = getattr(resource, f'RLIMIT_{name}', None)
        if kind is not None:
            bounds = resource.getrlimit(kind)
            show: Any = bytes_of if name in ('AS', 'FSIZE') else str
            soft, hard = ('none' if bound == resource.RLIM_INFINITY else show(bound) for bound in bounds)
            yield what, soft if soft == hard else f'{soft}, may be raised to {hard}'
    import multiprocessing

    yield 'start method of multiprocessing', multiprocessing.get_start_method(allow_none=True) or 'not chosen'


def _environment() -> Iterator[tuple[str, str]]:
    for name in sorted(VARIABLES):
        if name in os.environ:
            yield name, _shown(name, os.environ[name])


def _shown(name: str, value: str) -> str:
    """The value if it consists of numbers and known words, without the ids of devices; else that it is set."""
    if not value:
        return 'empty'
    parts = re.split('([,:;=])', re.sub(DEVICE, r'\1-…', value) if name == 'CUDA_VISIBLE_DEVICES' else value)
    plain = all(re.fullmatch(SHOWN, part, re.IGNORECASE) or part in ('GPU-…', 'MIG-…') for part in parts[::2])
    return ''.join(parts) if plain and name not in OF_PATHS else 'set'


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, ValueError):
        return ''
