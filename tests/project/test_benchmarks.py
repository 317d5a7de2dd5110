"""The benchmarks run, and their checks fail where they should; what they measure is not looked at here."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from itpipe import parallel_map

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT))

import benchmarks.__main__ as benchmarks_main  # noqa: E402
from benchmarks import figures, passes, peers, published, table, workers, works  # noqa: E402

SHARE = 0.005
SINGLE = table.WORKS | table.STORES | table.GENERATORS | table.FIGURES
ROWS = [(name, title) for name, make in SINGLE.items() for title in make(SHARE).rows]
WHOLE = table.LOADING | table.VOLUMES | table.ROWS | table.WORKERS | table.PASSES | table.PACKING | table.TUNING
"""Works whose data takes a while to make: all rows of one are a test."""


@pytest.mark.many(3)
@pytest.mark.parametrize(('name', 'title'), ROWS)
def test_each_row_of_ours_runs_and_passes_its_checks(name, title):
    assert isinstance(table.ALL[name](SHARE).rows[title](), float)


@pytest.mark.long
@pytest.mark.parametrize('name', WHOLE)
def test_all_rows_of_a_work_of_ours_run_and_pass_their_checks(name):
    pytest.importorskip(table.NEEDS.get(name, 'numpy'))
    work = WHOLE[name](SHARE)
    for title, row in work.rows.items():
        assert row() > 0, title


@pytest.mark.many(3)
@pytest.mark.parametrize('name', [name for name, rows in peers.PEERS.items() if any(not row.module for row in rows)])
def test_what_others_are_measured_by_hand_runs_too(name):
    work = table.ALL[name](SHARE)
    for title, row in peers.rows(name, work).items():
        if 'by hand' in title:
            assert row() > 0


@pytest.mark.parametrize('page', published.PAGES, ids=lambda page: page.name)
def test_pages_show_what_was_measured_last(page):
    """If this fails: python -m benchmarks.published"""
    assert page.read_text(encoding='utf-8') == published.written(page)


def loop(work):
    """The batches of small items as they should be, each a pair of arrays that may be changed."""
    feed = work.feed
    for start in range(0, len(feed.items), feed.size):
        images, labels = zip(*map(feed.f, feed.items[start : start + feed.size]), strict=True)
        yield np.stack(images), np.array(labels)


def swapped(batches):
    first, second = next(batches), next(batches)
    yield from (second, first)
    yield from batches


def reversed_(batches):
    return ((images[::-1], labels[::-1]) for images, labels in batches)


def once_less(batches):
    next(batches)
    yield from batches


def as_float64(batches):
    return ((images.astype(np.float64), labels) for images, labels in batches)


def short(batches):
    return ((images[:-1], labels[:-1]) for images, labels in batches)


def wrong_pixel(batches):
    for images, labels in batches:
        images[-1, -1, -1] += 1
        yield images, labels


def mixed_up(batches):
    return ((images[::-1], labels) for images, labels in batches)


def ending(batches):
    return (next(batches) for _ in range(51))


@pytest.mark.parametrize(
    ('spoil', 'message'),
    [
        (swapped, r'batch 0 has \[.*\], not \[.*\]'),
        (reversed_, r'batch 0 has \[.*\], not \[.*\]'),
        (once_less, r'batch 0 has \[.*\], not \[.*\]'),
        (as_float64, r"batch 0 is .*dtype\('float64'\).*, not .*"),
        (short, r'batch 0 is .*\(31, 28, 28\).*, not .*'),
        (wrong_pixel, 'batch 59 has wrong values'),
        (mixed_up, 'batch 59 has wrong values'),
        (ending, '51 batches came, of 60'),
    ],
)
def test_batches_that_are_wrong_are_not_measured(spoil, message):
    work = works.small_items(SHARE)
    assert work.feed.seconds(loop(work)) > 0
    with pytest.raises(AssertionError, match=f'^{message}$'):
        work.feed.seconds(generator(spoil(loop(work))))


def generator(batches):
    yield from batches


def test_without_order_only_items_that_were_asked_for_may_come():
    feed = works.threads_waits(SHARE).feed
    feed.f = int
    groups = [np.arange(start, start + 16) for start in range(0, len(feed.items), 16)]
    assert feed.seconds(generator(groups[::-1]), ordered=False) > 0
    groups[5] = groups[5] + 10**6
    with pytest.raises(AssertionError, match=r'^not asked for: \[1000080, .*\]$'):
        feed.seconds(generator(groups), ordered=False)


def test_results_of_raw_threads_must_be_right():
    feed = works.threads_zlib(SHARE).feed
    right = [works.compressed(item) for item in feed.items[:8]]
    feed.check_results(right)
    with pytest.raises(AssertionError, match=r'^wrong results: \[.*\] …$'):
        feed.check_results(right[::-1])


def test_bare_processes_must_do_the_work():
    with pytest.raises(AssertionError, match=r'^\[\(2, 2, 1024\), \(3, 3, 1024\)\]$'):
        works.bare_processes(works.python, 4, 2**20)


@pytest.mark.parametrize('spoil', [lambda batch: batch + (batch == 0), lambda batch: np.roll(batch, 1, axis=-1)])
def test_images_must_be_where_they_belong(spoil):
    padding = works.combining(SHARE).feed
    with pytest.raises(AssertionError, match=r'^an image of \(10, 64, \d+\) is not where it should be$'):
        padding.seconds(lambda images: spoil(works.combine_pad(images)))


def test_images_must_keep_their_dtype():
    padding = works.combining(SHARE).feed
    with pytest.raises(AssertionError, match=r"^\(\(32, 10, 64, 400\), dtype\('float64'\)\)$"):
        padding.seconds(lambda images: works.combine_pad(images).astype(np.float64))


def test_a_first_batch_must_be_the_first():
    feed = figures.little(SHARE)
    with pytest.raises(AssertionError, match=r'^\(\[\(\(8, 1024\), .*\)\], \[8, 9, .*\]\)$'):
        figures.first_batch(feed, once_less(works.infinite(feed, figures.marked)))


def test_closing_is_measured_only_where_something_runs():
    feed = figures.little(SHARE)
    with pytest.raises(AssertionError, match='^nothing is running that could end$'):
        figures.closing_time(feed, works.infinite(feed, figures.marked, prefetch=0))


def test_closing_waits_until_all_is_gone(monkeypatch):
    monkeypatch.setattr(figures, 'PATIENCE', 0.05)
    feed = figures.little(SHARE)
    monkeypatch.setattr('itpipe._workers.inline.InlinePolicy.CHEAP', 0)
    # with so little ready, the run has not ended when its threads are counted
    batches = works.infinite(feed, parallel_map(feed.f, threads=feed.workers), prefetch=1)

    def left_open():
        yield from batches

    class Leaves:
        __next__ = left_open().__next__

        def close(self):
            pass

    with pytest.raises(AssertionError, match=r'^still 3 of its threads and processes there after 0\.05 s$'):
        figures.closing_time(feed, Leaves())
    batches.close()


def pass_of(feed, *, first=0):
    return (np.full((32, 128), np.arange(start, start + 32)[:, None]) for start in range(first, len(feed.items), 32))


def test_only_the_wait_for_a_pass_behind_the_first_one_is_counted():
    feed = workers.replace(passes.passing(SHARE).feed, pause=0, count=2)
    assert passes.next_pass(feed, generator(pass_of(feed) for _ in range(3))) > 0


@pytest.mark.parametrize(
    ('spoil', 'message'),
    [
        (lambda batches: list(batches)[:-1], '5 batches came in pass 1, of 6'),
        (lambda batches: list(batches)[::-1], r'batch 0 of pass 1 is .*\[160, .*'),
        (lambda batches: (batch[:-1] for batch in batches), r'batch 0 of pass 1 is .*\(31, 128\).*'),
    ],
)
def test_passes_that_are_wrong_are_not_measured(spoil, message):
    feed = workers.replace(passes.passing(SHARE).feed, pause=0)
    with pytest.raises(AssertionError, match=f'^{message}$'):
        passes.next_pass(feed, generator(iter([pass_of(feed), spoil(pass_of(feed))])))


def test_a_first_batch_must_be_shuffled_and_counts_what_was_looked_up():
    pytest.importorskip('PIL')
    feed = passes.shuffled(SHARE)

    def batches(indices):
        yield works.stacked([feed.dataset[index] for index in indices])

    assert passes.asked_for(feed, batches(range(31, -1, -1))) == 32
    for wrong in (range(32), [*range(31, 0, -1), 31], range(31, 0, -1)):
        with pytest.raises(AssertionError, match='.*uint8.*'):
            passes.first_shuffled(feed, batches(wrong))


def test_with_many_workers_each_has_given_batches_before_the_clock_starts():
    feed = workers.many_workers(1000, [2], SHARE).feed
    single, whole = (workers.with_workers(feed, 64, whole) for whole in (False, True))
    assert (single.workers, single.warm, single.count, single.f.pause) == (64, 8, 2, 0.064)
    assert (whole.workers, whole.warm, whole.count, whole.f.pause) == (64, 128, 64, 0.016)
    assert whole.batches > whole.warm + whole.count + 2 * 64


def test_a_stage_must_pass_on_every_item():
    with pytest.raises(AssertionError, match='^[0-9]+$'):
        figures.stage_cost(100, lambda items, number: items[number - 1 :])


@pytest.mark.long
def test_the_command_prints_the_table_and_writes_it_with_a_chart(tmp_path):
    command = [sys.executable, '-m', 'benchmarks', '--rounds', '2', '--share', str(SHARE), '--output', str(tmp_path)]
    done = subprocess.run(
        [*command, 'combine-pad', 'one-more-stage'], check=False, cwd=ROOT, capture_output=True, text=True, timeout=50
    )
    assert (done.returncode, done.stderr) == (0, '')
    written = (tmp_path / 'table.md').read_text(encoding='utf-8')
    assert done.stdout.startswith(written)
    lines = [line.split('|')[1:-1] for line in written.splitlines() if line.startswith('| ')]
    assert [line[1].strip() for line in lines] == [
        '', 'np.zeros and slice copies', '**itpipe**', 'map by hand', '**itpipe**'
    ]  # fmt: skip
    assert {len(line) for line in lines} == {5}
    assert (tmp_path / 'chart.png').read_bytes().startswith(b'\x89PNG')


def test_a_row_that_fails_is_reported_and_not_measured(monkeypatch):
    monkeypatch.setattr(table, 'rows_of', lambda *_: {'loop by hand': None, 'no such row': None})
    failed = table.measured('small-items', 1, False, SHARE)
    assert failed.failed == {'no such row': "KeyError: 'no such row'"}
    assert list(failed.seconds) == ['loop by hand']


def test_a_row_of_ours_that_fails_ends_the_benchmark(monkeypatch):
    def failing(_):
        raise RuntimeError('TypeError: not so')

    monkeypatch.setattr(table.Row, 'round', failing)
    with pytest.raises(RuntimeError, match='^small-items: loop by hand: TypeError: not so$'):
        table.measured('small-items', 1, False, SHARE)


def test_a_row_may_have_an_aim_of_its_own(monkeypatch, capsys):
    work = works.small_items(SHARE)
    work.aims = {'itpipe, prefetch=0': 1.1}
    monkeypatch.setitem(table.ALL, 'small-items', lambda _: work)
    monkeypatch.setattr(table.Row, 'round', lambda _: 1.0)
    monkeypatch.setattr(sys, 'argv', ['benchmarks', 'small-items'])
    benchmarks_main.main()
    assert '|  | **itpipe, prefetch=0** | 1000000 µs an item | 1.00 | ≤ 1.1 |' in capsys.readouterr().out


def test_a_work_without_the_library_that_it_needs_is_left_out(monkeypatch, capsys):
    monkeypatch.setitem(table.NEEDS, 'jpeg', 'no_such_library')
    monkeypatch.setattr(sys, 'argv', ['benchmarks', 'jpeg'])
    benchmarks_main.main()
    assert capsys.readouterr().out.endswith('\nLeft out: jpeg: no_such_library is not installed.\n')
