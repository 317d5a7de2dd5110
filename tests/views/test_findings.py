"""What `check` finds, as text and as HTML."""

from typing import NamedTuple

from itpipe._views.findings import as_html, as_text


class Found(NamedTuple):
    kind: str
    stage: str
    problem: str
    fix: str


ONE = Found('raises', 'apply(<f>)', 'It raises.', 'Do not.')
ROW = {'stage': 'apply(<f>)', 'items': 'int', 'bytes': 12_300, 'seconds': 0.012, 'where': 'threads'}
EMPTY = {'stage': '[]', 'items': '–', 'bytes': None, 'seconds': None, 'where': 'this thread'}


def test_text():
    assert as_text([ONE], [ONE, ONE], ['One more thing.'], [ROW, EMPTY]) == (
        '1 thing to fix, 2 hints\n\n'
        '1. apply(<f>)  [raises]\n   It raises.\n   → Do not.\n\n'
        'hint: apply(<f>)  [raises]\n   It raises.\n   → Do not.\n\n'
        'hint: apply(<f>)  [raises]\n   It raises.\n   → Do not.\n\n'
        'Note: One more thing.\n\n'
        'stage       items     size   time  in\n'
        '──────────  ─────  ───────  ─────  ───────────\n'
        'apply(<f>)  int    12.3 kB  12 ms  threads\n'
        '[]          –                      this thread'
    )


def test_nothing():
    assert as_text([], [], [], []) == 'Nothing is wrong'
    assert as_text([], [], [], [], items=1) == 'Nothing is wrong with the first item of each source'
    assert as_text([], [ONE], [], [], items=2).startswith('Nothing is wrong with the first 2 items of each source, 1 ')
    assert 'the first 2 items of each source' in as_html([], [], [], [], items=2)
    assert as_text([ONE, ONE], [], [], []).startswith('2 things to fix\n')


def test_what_was_not_looked_at():
    reasons = ['`f` is an iterator.', '`g` too.']
    assert as_text([], [], [], [], reasons) == 'Not looked at: `f` is an iterator.\n\nNot looked at: `g` too.'
    assert as_text([], [ONE], [], [], reasons).startswith('Not looked at: `f` is an iterator.\n\nhint: ')
    assert as_text([ONE], [], [], [], reasons[:1]).startswith('1 thing to fix\n')
    assert as_text([ONE], [], [], [], reasons[:1]).endswith('\n\nNot looked at: `f` is an iterator.')
    html = as_html([], [], [], [], reasons)
    assert 'Nothing is wrong' not in html
    assert html.count('Not looked at: ') == 2


def test_items_are_cut_between_fields():
    """So that what is left is true: never the end of one field behind the beginning of another one."""
    fields = "{'input_ids': int64 (6, 108), 'attention_mask': int64 (6, 108), 'labels': int64 (6,)}"
    text = as_text([], [], [], [ROW | {'items': fields}])
    assert "  {'input_ids': int64 (6, 108), …  " in text
    assert fields in as_html([], [], [], [ROW | {'items': fields}]).replace('&#x27;', "'")


def test_html_is_escaped():
    html = as_html([ONE], [ONE], ['a < b'], [ROW])
    assert '<f>' not in html
    assert html.count('apply(&lt;f&gt;)') == 3
    assert 'a &lt; b' in html
    assert 'background:transparent' in html
