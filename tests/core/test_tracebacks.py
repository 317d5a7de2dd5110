"""Tracebacks that are made again: whoever shows errors shows them, with the places in the lines; they hold nothing."""

import bdb
import gc
import inspect
import io
import json
import pdb  # noqa: T100
import subprocess
import sys
import traceback
import types
import unittest
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from running import environment, run_script, start_script

from itpipe import Infinite, apply, parallel_map
from itpipe._core.tracebacks import Frame, add_note, frames_of, made_of, notes_of, without_values


def divide(
    x: float,
) -> float:
    half = x / 2
    return half + (
        1 /
        x
    )  # fmt: skip


def reraised(x: int) -> Any:
    # é: columns count bytes
    try:
        return (lambda: divide(len('é') - 1))()
    finally:
        del x


def error_of(call: Callable[..., Any], *args: Any) -> BaseException:
    try:
        call(*args)
    except BaseException as error:
        return error
    raise AssertionError('nothing was raised')


def again(error: BaseException) -> BaseException:
    """The error with its traceback made again, which has gone through a pickle's worth of plain data."""
    frames = [Frame(*each) for each in map(tuple, frames_of(error.__traceback__))]
    return BaseException.with_traceback(error, made_of(frames))


def remade(call: Callable[..., Any] = reraised, *args: Any) -> BaseException:
    return again(error_of(call, *(args or (1,))))


def test_it_prints_as_it_did_with_the_places_in_the_lines() -> None:
    error = error_of(reraised, 1)
    before = traceback.format_exception(error)
    assert any('^' in line for line in before)
    assert traceback.format_exception(again(error)) == before


def test_one_that_is_made_again_twice_is_still_the_same() -> None:
    error = remade()
    before = traceback.format_exception(error)
    assert traceback.format_exception(again(error)) == before


def test_each_frame_stands_at_an_instruction_of_its_code_where_the_place_is() -> None:
    error = error_of(reraised, 1)
    before = list(frames_of(error.__traceback__))
    tb = again(error).__traceback__
    for frame in before:
        assert tb is not None
        code, instruction = tb.tb_frame.f_code, tb.tb_lasti
        assert (tb.tb_lineno, tb.tb_frame.f_lineno, code.co_firstlineno) == (frame.line, frame.line, frame.first_line)
        assert 0 <= instruction == tb.tb_frame.f_lasti < len(code.co_code)
        assert instruction % 2 == 0
        assert frame.position is not None
        last, *columns = frame.position
        assert set(code.co_positions()) == {(frame.line, last, *columns)}
        tb = tb.tb_next
    assert tb is None


@pytest.mark.parametrize('line', [1, 2, 63, 64, 5000, 10**6])
@pytest.mark.parametrize('first', [1, 70, 10**5])
@pytest.mark.parametrize('place', [None, (0, 0, 0), (3, 62, 63), (200, 5000, 64)])
def test_any_place(line: int, first: int, place: Any) -> None:
    """Also where a line is before the first of its function, as in code that was put together by a template engine."""
    if place is not None:
        place = (line + place[0], *place[1:])
    frame = Frame('a.py', 'f', 'C.f', 'm', first, line, place)
    tb = made_of([frame])
    assert list(frames_of(tb)) == [frame]
    assert tb is not None
    assert tb.tb_frame.f_lineno == line


def test_without_an_instruction_or_a_line() -> None:
    """As tracebacks are that others have made, and of code of the compiler's own."""
    tb = made_of([Frame('a.py', 'f', 'f', 'm', 3, 5)])
    assert tb is not None
    for instruction in (-1, 10**6):
        found = list(frames_of(types.TracebackType(None, tb.tb_frame, instruction, 7)))
        assert found == [Frame('a.py', 'f', 'f', 'm', 3, 7)]


def test_nothing_of_the_frames_is_held() -> None:
    class Value:
        pass

    def fail() -> None:
        value = Value()
        values.append(weakref.ref(value))
        raise ValueError

    values: list[Any] = []
    error = again(error_of(fail))
    gc.collect()
    assert values[0]() is None
    tb = error.__traceback__
    while tb is not None:
        assert (tb.tb_frame.f_back, dict(tb.tb_frame.f_locals)) == (None, {})
        tb = tb.tb_next


def chained() -> None:
    try:
        divide(0)
    except ZeroDivisionError as error:
        raise LookupError('outer') from error


def grouped() -> None:
    raise ExceptionGroup('some', [error_of(divide, 0), error_of(chained)])


def all_remade(call: Callable[..., Any]) -> BaseException:
    error = error_of(call)
    for each in (error, error.__cause__, *getattr(error, 'exceptions', ())):
        if each is not None:
            again(each)
            if each.__cause__ is not None:
                again(each.__cause__)
    return error


@pytest.mark.parametrize('call', [chained, grouped])
class TestWhoeverShowsThem:
    def test_traceback(self, call: Any) -> None:
        before = traceback.format_exception(error_of(call))
        error = all_remade(call)
        assert traceback.format_exception(error) == before
        shown = traceback.TracebackException.from_exception(error, capture_locals=True, lookup_lines=True)
        assert 'half' not in ''.join(shown.format())
        assert 'ZeroDivisionError' in ''.join(shown.format())

    def test_executing_and_ipython(self, call: Any) -> None:
        executing = pytest.importorskip('executing')
        ultratb = pytest.importorskip('IPython.core.ultratb')
        error = all_remade(call)
        todo = [error, error.__cause__, *getattr(error, 'exceptions', ())]
        for each in filter(None, todo):
            tb = each.__traceback__
            while tb is not None:
                for what in (tb, tb.tb_frame):
                    found = executing.Source.executing(what)
                    assert found.statements
                tb = tb.tb_next
        for mode in ('Plain', 'Context', 'Verbose', 'Minimal'):
            text = ultratb.FormattedTB(mode=mode, theme_name='nocolor').text(type(error), error, error.__traceback__)
            assert str(error) in text
            if mode in ('Context', 'Verbose') and call is chained:
                assert "raise LookupError('outer') from error" in text
                assert 'half + (' in text

    def test_rich(self, call: Any) -> None:
        console = pytest.importorskip('rich.console')
        rich = pytest.importorskip('rich.traceback')
        error = all_remade(call)
        out = io.StringIO()
        shown = rich.Traceback.from_exception(type(error), error, error.__traceback__, show_locals=True)
        console.Console(file=out, width=200).print(shown)
        assert 'LookupError: outer' in out.getvalue()
        assert 'raise LookupError' in out.getvalue()

    @pytest.mark.parametrize('style', ['long', 'short', 'line', 'native', 'value', 'auto'])
    def test_pytest(self, call: Any, style: Any) -> None:
        error = all_remade(call)
        text = str(pytest.ExceptionInfo.from_exception(error).getrepr(style=style, showlocals=True, chain=True))
        assert str(error) in text
        if style == 'long' and call is chained:
            assert '    def chained() -> None:\n        try:\n' in text
            assert ">           raise LookupError('outer') from error\n" in text

    def test_pdb(self, call: Any) -> None:
        error = all_remade(call)
        out = io.StringIO()
        debugger = pdb.Pdb(stdin=io.StringIO('w\nl\nll\nup\ndown\nargs\np 1 + 1\nwhatis 1\nq\n'), stdout=out)
        debugger.use_rawinput = False
        debugger.rcLines = []
        debugger.reset()
        with suppress(bdb.BdbQuit):
            debugger.interaction(None, error.__traceback__)
        assert f'{call.__name__}()' in out.getvalue()
        assert '(Pdb) 2\n' in out.getvalue()

    def test_unittest_which_clears_frames(self, call: Any) -> None:
        error = all_remade(call)
        with unittest.TestCase().assertRaises(type(error)):  # noqa: PT027
            raise error
        assert str(error) in ''.join(traceback.format_exception(error))

    def test_those_who_walk_frames(self, call: Any) -> None:
        """As Sentry and its kin do, and `inspect`."""
        error = all_remade(call)
        tb = error.__traceback__
        assert [frame.function for frame in inspect.getinnerframes(tb)] == ['error_of', call.__name__]
        for frame in inspect.getinnerframes(tb):
            assert inspect.getframeinfo(frame.frame).filename == __file__
            assert inspect.getmodule(frame.frame) is sys.modules[__name__]
            assert frame.frame.f_globals['__name__'] == __name__


def test_what_threads_keep_is_made_in_the_same_way() -> None:
    error = error_of(reraised, 1)
    before = traceback.format_exception(error)
    tb = without_values(error.__traceback__)
    assert traceback.format_exception(error.with_traceback(tb)) == before
    assert tb is not None
    assert tb.tb_lasti >= 0


def test_an_error_that_nobody_catches(tmp_path: Any) -> None:
    """Of a script, whose functions go to the process by value: its file, its lines, and the place in them."""
    script = tmp_path / 'script.py'
    script.write_text(
        'from itpipe import parallel_map\n'
        'def f(x):\n    return (1 +\n        x.there / 2)\n'
        'list([1] | parallel_map(f, processes=1))\n'
    )
    done = subprocess.run(
        [sys.executable, script], env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    expected = f'  File "{script}", line 4, in f\n    x.there / 2)\n    ^^^^^^^\nAttributeError: '
    assert expected in done.stderr


CELLS = {
    'lambda': "list(range(5) | parallel_map(lambda x: 1 / (x - 3), processes=1))",
    'chained': '''
def f(x):
    try:
        return 1 / (x - 3)
    except ZeroDivisionError as error:
        raise LookupError('outer') from error
list(range(5) | parallel_map(f, processes=1))''',
    'group': '''
def g(x):
    raise ExceptionGroup('some', [ValueError('inside'), KeyError(2)])
list(range(5) | parallel_map(g, processes=1))''',
    'setup': '''
def s():
    return {}['missing']
list(range(5) | parallel_map(lambda x, setup: x, processes=1, setup=s))''',
    'kept of processes': '''
run = iter(range(5) | parallel_map(f, processes=1, on_error='skip'))
list(run)
raise run.dropped[0].error''',
    'kept of threads': '''
run = iter(range(5) | parallel_map(f, threads=1, on_error='skip'))
list(run)
raise run.dropped[0].error''',
    'no source': '''
exec('def h(x): return 1 / (x - 3)')
list(range(5) | parallel_map(h, processes=1))''',
    'verbose': '%xmode Verbose\nlist(range(5) | parallel_map(f, processes=1))',
}  # fmt: skip


@pytest.mark.long
def test_a_notebook_shows_them() -> None:
    """IPython looks for the place in the source with `executing`, which once went on for ever."""
    for name in ('nbclient', 'nbformat', 'ipykernel', 'executing'):
        pytest.importorskip(name)
    script = start_script(
        """
        import json, sys
        import nbclient, nbformat

        cells = ['from itpipe import parallel_map', *json.loads(sys.argv[1])]
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        nbclient.NotebookClient(notebook, timeout=60, allow_errors=True, kernel_name='python3').execute()
        shown = [[output.get('traceback') or output['text'] for output in cell.outputs] for cell in notebook.cells[1:]]
        print(json.dumps(shown))
        """,
        json.dumps(list(CELLS.values())),
        options=('-W', 'ignore'),
    )
    with script:
        try:
            out, err = script.communicate(timeout=90)
        finally:
            script.kill()
    assert script.returncode == 0, err
    shown = {name: json.dumps(each) for name, each in zip(CELLS, json.loads(out), strict=True)}
    assert 'ZeroDivisionError' in shown['lambda']
    assert 'Cell' in shown['lambda']
    for name in ('chained', 'kept of processes', 'kept of threads', 'verbose'):
        assert 'ZeroDivisionError' in shown[name]
        assert 'LookupError' in shown[name]
        assert 'outer' in shown[name]
    assert 'inside' in shown['group']
    assert 'missing' in shown['setup']
    assert 'ZeroDivisionError' in shown['no source']


class TestNotes:
    def test_of_an_error_that_is_frozen(self) -> None:
        class Frozen(Exception):
            def __setattr__(self, name: str, value: Any) -> None:
                raise TypeError('frozen')

        error = Frozen()
        add_note(error, 'a')
        add_note(error, 'b')
        assert error.__notes__ == notes_of(error) == ['a', 'b']

    @pytest.mark.parametrize('notes', [None, 5, 'text', ('a', 'b'), np.arange(2)])
    def test_what_is_no_list_stays(self, notes: Any) -> None:
        error = ValueError()
        error.__notes__ = notes
        add_note(error, 'a')
        assert error.__notes__ is notes
        assert notes_of(error) == []

    def test_of_an_error_that_looks_up_attributes_in_its_own_way(self) -> None:
        class Asking(Exception):
            def __getattr__(self, name: str) -> Any:
                return self.__dict__['file'][name]

        error = Asking()
        assert notes_of(error) == []
        add_note(error, 'a')
        assert notes_of(error) == ['a']


# ---------------------------------------------------------------------------------------------------------------------
# What IPython and pytest leave out


def wrong(x):
    return {'a': x}['b']


def shown(error):
    """The functions in the traceback that IPython and pytest show."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return [frame.f_code.co_name for frame in frames if not frame.f_locals.get('__tracebackhide__')]


@pytest.mark.parametrize('options', [{'prefetch': 0}, {}, {'threads': 2}, {'processes': 1}], ids=str)
def test_frames_of_itpipe_are_left_out_by_those_who_look_for_that(options):
    with Infinite(range(4), wrong, batch_size=2, **options) as batches, pytest.raises(KeyError) as caught:
        next(iter(batches))
    error = caught.value
    assert shown(error) == ['test_frames_of_itpipe_are_left_out_by_those_who_look_for_that', 'wrong']
    assert error.__notes__ == ['itpipe: raised in apply(wrong), item 0']
    assert ''.join(traceback.format_exception(error)).count('/itpipe/') > 5  # Python itself shows all


@pytest.mark.parametrize('made', [lambda: range(4) | apply(wrong), lambda: range(4) | parallel_map(wrong, threads=1)])
def test_frames_of_a_stream_are_left_out(made):
    with pytest.raises(KeyError) as caught:
        next(iter(made()))
    assert shown(caught.value) == ['test_frames_of_a_stream_are_left_out', 'wrong']


def test_frames_of_the_errors_before_are_left_out():
    def ends(x):
        next(iter(()))

    with pytest.raises(RuntimeError) as caught:
        list([1] | apply(ends))
    assert shown(caught.value.__cause__) == ['ends']


def test_frames_that_are_left_out_keep_nothing():
    class Large:
        pass

    kept = []

    def fails(x):
        value = Large()
        kept.append(weakref.ref(value))
        raise KeyError(x)

    def run():
        with pytest.raises(KeyError), Infinite(range(4), fails, batch_size=2, prefetch=0) as batches:
            next(iter(batches))

    gc.disable()
    try:
        run()
        assert kept[0]() is None
    finally:
        gc.enable()


def test_ipython_shows_the_cell_and_the_function(tmp_path):
    pytest.importorskip('IPython')
    script = """
        import os, sys
        os.environ['IPYTHONDIR'] = sys.argv[1]
        from IPython.core.interactiveshell import InteractiveShell
        shell = InteractiveShell.instance(colors='nocolor')
        shell.run_cell('''
        from itpipe import Infinite
        def wrong(x):
            return {'a': x}['b']
        with Infinite(range(4), wrong, batch_size=2, threads=2) as batches:
            list(batches)
        ''')
    """
    text = run_script(script, tmp_path)
    assert '/itpipe/' not in text
    assert 'skipping hidden' in text
    assert "return {'a': x}['b']" in text
    assert 'itpipe: raised in apply(wrong), item 0' in text
