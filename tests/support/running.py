"""For the tests of what runs at the same time: executors of several kinds, and scripts in their own interpreter."""

import importlib.util
import json
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

ROOT = Path(__file__).parents[2]
LIMIT = 60
"""Seconds that a script or a wait may take; what goes well takes a fraction of it."""
HAS_GIL: bool = getattr(sys, '_is_gil_enabled', lambda: True)()


class Lazily:
    """An executor whose futures have `result` and nothing else; that is when the function runs."""

    def submit(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        class Future:
            def result(self) -> Any:
                return function(*args, **kwargs)

        return Future()


class AtOnce:
    """An executor that runs the function when it is submitted; its futures have `result` and `add_done_callback`."""

    def submit(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        try:
            outcome = (function(*args, **kwargs), None)
        except BaseException as error:
            outcome = (None, error)

        class Future:
            def result(self) -> Any:
                result, error = outcome
                if error is not None:
                    raise error
                return result

            def add_done_callback(self, callback: Callable[[Any], Any]) -> None:
                callback(self)

        return Future()


def through_json(state: Any) -> Any:
    """What is left of a state that was saved as JSON, the entries of its dicts in another order."""
    return json.loads(json.dumps(state, sort_keys=True))


def module_of(script: Path) -> Any:
    """A script as a module, without what it does when it is run."""
    spec: Any = importlib.util.spec_from_file_location(script.stem, script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def raises(kind: type[BaseException], message: str, note: str | None = None) -> Iterator[Any]:
    """As `pytest.raises`, but for the very type, the whole message, and the whole of one note, or none."""
    with pytest.raises(kind) as caught:
        yield caught
    error = caught.value
    assert type(error) is kind
    assert str(error) == message
    assert getattr(error, '__notes__', []) == ([] if note is None else [note])


def wait_until(condition: Callable[[], Any], what: str) -> None:
    """Wait for what no event tells of, such as the end of a process that is not a child of this one."""
    pause = threading.Event()
    for _ in range(LIMIT * 100):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError(f'waited in vain: {what}')


def is_gone(pid: int) -> bool:
    """Whether there is no such process, or only its zombie."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def environment(**changes: str | None) -> dict[str, str]:
    """This process's environment, in which itpipe is found, with changes; None takes out."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get('PYTHONPATH')])])
    given = {**os.environ, 'PYTHONPATH': path, 'PYTHONDONTWRITEBYTECODE': '1', **changes}
    return {name: value for name, value in given.items() if value is not None}


def start_script(source: str, *args: object, options: tuple[str, ...] = ('-W', 'error'), **kwargs: Any) -> Any:
    """An interpreter that runs the source by `python -c`, in a session of its own, with pipes for its output."""
    command = [sys.executable, *options, '-c', textwrap.dedent(source), *map(str, args)]
    kwargs = {'stdin': subprocess.DEVNULL, 'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE} | kwargs
    return subprocess.Popen(command, text=True, start_new_session=True, env=environment(), **kwargs)


def run_script(source: str, *args: object, **kwargs: Any) -> str:
    """What the source prints; it must end by itself, without an error, and leave no process behind."""
    with start_script(source, *args, **kwargs) as script:
        try:
            out, err = script.communicate(timeout=LIMIT)
        finally:
            script.kill()
    assert (script.returncode, err) == (0, ''), f'exit code {script.returncode}\n{err}'
    wait_until(lambda: not session(script.pid), 'processes of the script are left')
    return str(out)


def session(leader: int) -> list[int]:
    """The processes that were started, however indirectly, by the leader of a session."""
    return [pid for pid in psutil.pids() if _session_of(pid) == leader and not is_gone(pid)]


def _session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except (ProcessLookupError, PermissionError):
        return None
