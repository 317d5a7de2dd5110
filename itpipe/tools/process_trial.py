"""The trial once more, in a real process: what works only here."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby, islice
from typing import Any, Final

from itpipe._core.keys import Key
from itpipe._core.steps import ItemStep, Step
from itpipe._core.tracebacks import notes_of
from itpipe._engine.chain import Chain
from itpipe._engine.order import is_by_count
from itpipe._engine.stream import Stage, Stream
from itpipe._engine.waiting import report
from itpipe.stages.parallel import parallel_map

from .comparing import difference
from .examined import Examined
from .findings import Finding
from .own_copies import with_own_data, with_own_functions
from .rewriting import rewritten
from .single_steps import workers_of

__all__ = ['tried_in_processes']

LIMIT: Final = 20.0
"""Seconds, besides those for the calls, until the items must have come from a process."""


def tried_in_processes(examined: Examined, everything: bool) -> Iterator[Finding]:
    """What goes wrong in one process; of `everything`, also of what runs in this process or in threads."""
    last = examined.stages[-1]
    if not last.out:
        return

    def smaller(steps: tuple[Step | ItemStep, ...]) -> Iterator[Step | ItemStep]:
        for is_item, group in groupby(steps, key=lambda step: isinstance(step, ItemStep)):
            own = map(with_own_functions, group)
            if is_item and everything:
                yield from parallel_map(Stage(tuple(own)), processes=1).steps  # type: ignore[misc]
            else:
                for step in own:
                    yield from _smaller(step, examined.trial.items, everything)

    small = rewritten(Stream(examined.source, tuple(examined.steps)), smaller, lambda source, _: with_own_data(source))
    chain = Chain(small.source, small.steps, examined.seeds.copy(), tracked=False)
    came: list[tuple[Key, Any]] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            came.extend(islice(chain.pairs, len(last.out)))
        except Exception as error:
            errors.append(error)
        finally:
            chain.close()

    thread = threading.Thread(target=run, name='itpipe-check')
    thread.start()
    seconds = LIMIT + 2 * sum(call.seconds for seen in examined.stages for call in seen.calls)
    thread.join(seconds)
    if thread.is_alive():
        doing = _where(report(chain.stop.waitables))
        chain.stop()
        thread.join()
        problem = f'Nothing came from a process within {seconds:.0f} s{doing}.'
        fix = (
            'A process imports the modules of its functions: let them do nothing then that takes long or waits, and put'
            " what a script does under `if __name__ == '__main__':`."
        )
        yield Finding('blocks-in-process', _first(examined), problem, fix)
    elif errors:
        yield _failed(examined, errors[0])
    else:
        yield from _other_bits(examined, came)


def _smaller(step: Any, items: int, everything: bool) -> tuple[Step | ItemStep, ...]:
    """The step as it is tried: with one process, for a few items."""
    workers = workers_of(step)
    if workers is not None and (workers.kind == 'processes' or (everything and workers.kind != 'executor')):
        functions, _, *rest = step.options
        one = workers._replace(kind='processes', given=1, in_flight=None)
        return (replace(step, options=(functions, one, *rest)),)
    if isinstance(step, ItemStep):
        return (step,)
    if is_by_count(step):
        return (replace(step, options=(min(step.options[0], items), False, *step.options[2:])),)
    if step.name in ('shuffle', 'take', 'prefetch') or step.share is not None:
        return ()
    return (step,)


def _first(examined: Examined) -> str:
    """The first stage that is done in processes."""
    found = (seen.stage for seen in examined.stages if seen.in_processes)
    return next(found, examined.stages[-1].stage)


def _where(doing: str) -> str:
    """The line that the process is at, of what it says that it is doing."""
    lines = re.findall(r'File "([^"]+)", line (\d+), in (\S+)\n\s*(.*)', doing)
    return f': it is at line {lines[-1][1]} of {lines[-1][0]}, `{lines[-1][3]}`' if lines else ''


def _failed(examined: Examined, error: Exception) -> Finding:
    noted = [
        match[1] for text in notes_of(error) if (match := re.match(r'itpipe: raised in (.*?)(, items? .*)?$', text))
    ]
    stages = [seen.stage for seen in examined.stages]
    stage = next((name for name in noted if name in stages), _first(examined))
    problem = f'It works here, but in a process it raises {type(error).__name__}: {str(error).rstrip(".")}.'
    fix = (
        'What it uses must be there in the process, too: modules that can be imported, and no globals, files or'
        ' connections that this process has set up. Make them in the function, or by `setup=…`.'
    )
    return Finding('fails-in-process', stage, problem, fix)


def _other_bits(examined: Examined, came: list[tuple[Key, Any]]) -> Iterator[Finding]:
    here = dict(examined.stages[-1].out)
    for key, value in came:
        found = difference(here[key], value) if key in here else None
        if found is not None:
            problem = f'What comes from a process is another value than here: {found}.'
            fix = 'Let the function depend on its arguments only, not on globals that this process has changed.'
            yield Finding('differs-in-process', _first(examined), problem, fix)
            return
