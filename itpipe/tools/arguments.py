"""The arguments of the command `itpipe`, and what `--help` says of them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from itpipe._core.version import VERSION

__all__ = ['parser']

PIPELINE = """
PIPELINE is where an Infinite or a stream is, or a function that takes no argument and returns one: module:name, or
file.py:name. That module is imported, so a script should train under `if __name__ == '__main__':` only.
"""
LOG = """
LOG is a file that `Infinite(…, record='run.log')` has written. It may hold several runs; the last one is taken, or
that of --run.
"""
STATUS = 'exit status: 0 all is well; 1 something was found; 2 the command cannot be carried out; 130 after Ctrl-C'


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    result = argparse.ArgumentParser(
        prog='itpipe',
        description='Looks into pipelines, and into runs that `Infinite(…, record=…)` has recorded.',
        epilog=f'`itpipe COMMAND --help` explains a command, with an example.\n\n{STATUS}',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument('--version', action='version', version=f'itpipe {VERSION}')
    commands = result.add_subparsers(dest='command', metavar='COMMAND', required=True)

    def add(name: str, short: str, text: str, *aliases: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name, help=short, description=text.strip(), epilog=STATUS, aliases=aliases,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip

    command = add(
        'replay',
        'make a batch of a recorded run again',
        f"""
Makes a batch of a recorded run again, bit for bit, in this process: what the loop received at step N. The batches
before it are not made. Shows its parts, and says whether it is the same if the run was recorded with digest=True.

    itpipe replay run.log --pipeline train.py:batches --step 340
    itpipe replay run.log --pipeline train.py:batches --step -1 --save last.npz
{LOG}{PIPELINE}""",
    )
    _log(command)
    _pipeline(command, required=True)
    command.add_argument(
        '--step', type=int, required=True, metavar='N', help='which batch, counted from 0; -1 is the last'
    )
    command.add_argument(
        '--save', type=Path, metavar='FILE', help='save it: arrays to FILE.npz, anything to FILE.pkl (by pickle)'
    )

    command = add(
        'diff',
        'find the first step at which two recorded runs differ',
        f"""
Finds the first step at which two recorded runs differ: in the items, or in their bits, if both were recorded with
digest=True. Versions, options and pipelines that differ come first. With --pipeline, the batch there is made again, to
find the stage. Give it twice if the runs had different code: first that of A, then that of B.

    itpipe diff yesterday.log today.log
    itpipe diff a.log b.log --pipeline train.py:batches
    itpipe diff a.log b.log --pipeline old/train.py:batches --pipeline new/train.py:batches
{PIPELINE}""",
    )
    command.add_argument('a', metavar='A', help='a record')
    command.add_argument('b', metavar='B', help='another one')
    _pipeline(command, action='append', default=[])

    command = add(
        'report',
        'say what each epoch of a recorded run held',
        f"""
Says what each epoch of a recorded run held: batches, items and how many times each came, items that were dropped, and
the time. Items are told apart by their numbers in the order of the source. With --pipeline it is by their places in the
data, which is something else after `sample`, for example.

With --steps it prints the stage `exclude` that leaves out what was in these steps, for a training that is to go on
without that. With --pipeline as well, these items of the data never come again, also where they would be drawn again.

    itpipe report run.log
    itpipe report run.log --pipeline train.py:batches
    itpipe report run.log --steps 1000:1200
    itpipe report run.log --steps 1000:1200 --pipeline train.py:batches
{LOG}{PIPELINE}""",
    )
    _log(command)
    _pipeline(command)
    command.add_argument(
        '--steps', type=_slice, metavar='M:N', help='how to leave out what was in the steps M to N - 1'
    )

    command = add(
        'show',
        'list or draw the stages of a pipeline',
        f"""
Lists the stages of a pipeline, or draws what will run where, and in which workers.

    itpipe show train.py:batches
    itpipe show train.py:batches --save pipeline.svg
    itpipe show train.py:batches --mermaid
{PIPELINE}""",
        'draw',
    )
    command.add_argument('pipeline', metavar='PIPELINE')
    command.add_argument('--save', type=Path, metavar='FILE', help='save the picture: .svg, or .mmd for Mermaid')
    command.add_argument('--mermaid', action='store_true', help='print the picture as Mermaid, for Markdown')

    command = add(
        'check',
        'find what is wrong with a pipeline',
        f"""
Sends a few items through a pipeline and says what is wrong, at which stage, and what to do. The exit status is 1 if
something is, so it can be a step of a test or of a job that is about to start.

    itpipe check train.py:batches
    itpipe check train.py:batches --processes --ignore no-seed
{PIPELINE}""",
    )
    command.add_argument('pipeline', metavar='PIPELINE')
    command.add_argument(
        '--items', type=int, default=2, metavar='N', help='how many items of each source; 2 by default'
    )
    command.add_argument(
        '--processes', action='store_true', default=None, help='also try whether all of it could go to processes'
    )
    command.add_argument('--ignore', action='append', default=[], metavar='KIND', help='leave such findings out')

    command = add(
        'doctor',
        'say what a report of a bug needs, and whether runs of all kinds work here',
        """
Prints versions, limits and settings of this machine that matter, and tries a short run of each kind. It takes about
five seconds. The values of other environment variables, and paths of your home, are not shown.

    itpipe doctor
    itpipe doctor --json > doctor.json
""",
    )
    command.add_argument('--json', action='store_true', help='print it as JSON')
    return result


def _slice(text: str) -> tuple[int, int]:
    try:
        first, end = map(int, text.split(':'))
    except ValueError:
        raise argparse.ArgumentTypeError(f'must be two numbers M:N, got {text!r}') from None
    return first, end


def _log(command: argparse.ArgumentParser) -> None:
    command.add_argument('log', metavar='LOG')
    command.add_argument('--run', type=int, dest='number', metavar='N', help='which run of the file, counted from 1')


def _pipeline(command: argparse.ArgumentParser, **options: Any) -> None:
    command.add_argument('--pipeline', metavar='PIPELINE', help='where the pipeline is', **options)
