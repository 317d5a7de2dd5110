"""An item after each stage, as text and as HTML."""

from itpipe._views.explained import Part, as_html, as_text

PARTS = [Part('range(3)', ['1'], depth=1), Part('f', ['<2>', '3'], ['random() → 0.5'], picture=b'png')]


def test_text():
    assert as_text('item 1', PARTS) == (
        'item 1\n\n  0  range(3)\n       1\n\n1  f\n     drawn: random() → 0.5\n     <2>\n     3'
    )


def test_html():
    html = as_html('item <1>', PARTS)
    assert 'item &lt;1&gt;' in html
    assert 'drawn: random() → 0.5\n&lt;2&gt;\n3</pre><img alt="f" src="data:image/png;base64,cG5n"' in html
