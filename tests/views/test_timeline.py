"""A trace has the form that Perfetto and Chrome read."""

import io
import json

import pytest
from traced import check_trace

from itpipe._views.timeline import Count, Span, events, write

SPANS = [
    Span('1', 'reader', 'read', 'work', 0.0, 0.001, 'item 0', ('0',)),
    Span('-2', 'process 0', 'load', 'call', 0.001, 0.003, 'item 0', ('0',)),
    Span('1', 'reader', 'read', 'work', 0.001, 0.002, 'item 1', ('1',)),
    Span('3', 'MainThread', 'the loop waits', 'ask', 0.0, 0.004, 'items 0 to 1', ('0', '1')),
    Span('1', 'reader', 'read', 'work', 0.005, 0.006, 'item 0', ('0',)),
]


def test_slices_arrows_and_counters():
    made = [*events(SPANS, [Count('ready', 0.002, 3)])]
    check_trace({'traceEvents': made})
    slices = [event for event in made if event['ph'] == 'X']
    assert [(event['ts'], event['dur'], event['args']) for event in slices[:2]] == [
        (0.0, 1000.0, {'item': 'item 0'}), (1000.0, 2000.0, {'item': 'item 0'}),
    ]  # fmt: skip
    arrows = [(event['ph'], event['id'], event['ts']) for event in made if event['ph'] in 'stf']
    assert arrows == [
        ('s', 0, 0.05), ('t', 0, 1000.05), ('f', 0, 3999.95), ('s', 2, 1000.05), ('f', 2, 3999.95),
    ]  # fmt: skip
    assert [event['args'] for event in made if event['ph'] == 'C'] == [{'items': 3}]


def test_tracks_are_in_an_order_and_none_is_taken_for_the_main_thread():
    threads = ('MainThread', 'itpipe-10', 'itpipe-9', 'itpipe-Infinite')
    spans = [
        Span(name, name, 'x', 'ask' if name == 'MainThread' else 'work', n, n + 1) for n, name in enumerate(threads)
    ]
    names = [event for event in events(spans) if event['name'] == 'thread_name']
    assert [event['args']['name'] for event in names] == ['itpipe-Infinite', 'itpipe-9', 'itpipe-10', 'MainThread']
    assert [event['tid'] for event in names] == [2, 3, 4, 5]


def test_what_took_no_time_has_no_arrow():
    made = [*events([SPANS[0], SPANS[1]._replace(begun=0.003), SPANS[3]])]
    assert [(event['ph'], event['ts']) for event in made if event['ph'] in 'stf'] == [('s', 0.05), ('f', 3999.95)]


def test_a_way_ends_at_the_step_of_the_loop_if_that_is_known():
    step = Span('3', 'MainThread', 'the loop', 'step', 0.004, 0.005, 'items 0 to 1', ('0', '1'))
    for spans, end in (([*SPANS, step], 4000.05), (SPANS, 3999.95)):
        arrows = [(event['ph'], event['ts']) for event in events(spans) if event['ph'] in 'stf']
        assert arrows == [('s', 0.05), ('t', 1000.05), ('f', end), ('s', 1000.05), ('f', end)]


def test_a_way_does_not_go_on_in_the_next_pass():
    spans = [
        Span('1', 'reader', name, 'work', n, n + 1, 'item 0', ('0',), begins=name == 'source')
        for n, name in enumerate(['source', 'f', 'source', 'f'])
    ]
    arrows = [(event['ph'], event['id']) for event in events(spans) if event['ph'] in 'stf']
    assert arrows == [('s', 0), ('f', 0), ('s', 1), ('f', 1)]


def test_long_names_are_shortened_and_whole_in_the_arguments():
    name = 'apply-load-' * 10
    spans = [SPANS[0]._replace(name=name), SPANS[0]]
    made = [*events(spans, [Count(name, 0.0, 1), Count(name[:44] + 'x' * 20 + name[-40:], 0.0, 2)])]
    long, short = [event for event in made if event['ph'] == 'X']
    assert (len(long['name']), long['args']) == (44, {'item': 'item 0', 'name': name})
    assert (short['name'], short['args']) == ('read', {'item': 'item 0'})
    counters = [event['name'] for event in made if event['ph'] == 'C']
    assert len({*counters}) == 2  # though they would be shortened to the same


def test_the_file_is_json():
    file = io.StringIO()
    write(file, SPANS)
    check_trace(json.loads(file.getvalue()))
    file = io.StringIO()
    write(file, [])
    assert [event['ph'] for event in json.loads(file.getvalue())['traceEvents']] == ['M']


@pytest.mark.parametrize('wrong', [{'ph': 'X'}, {'ph': 'f', 'name': 'item', 'pid': 1, 'tid': 1, 'ts': 0, 'id': 7}])
def test_what_is_wrong_is_found(wrong):
    with pytest.raises((AssertionError, KeyError)):
        check_trace({'traceEvents': [wrong]})
