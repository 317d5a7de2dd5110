"""Where the parts of a picture are: nothing overlaps, nothing sticks out, and every arrow begins and ends at a part."""

from itertools import combinations

import pytest

from itpipe._views.layout import Line, Rectangle, Text, cut, laid_out
from itpipe._views.parts import Box, Figures, Flow, Inputs, Node

LONG = 'map_at(0, a_function_with_a_name_that_is_much_too_long_to_be_shown, 1, 2, 3)'
TWO: Flow = (Node('source', ('10 items',), 'source'), Node(LONG, holds='up to 3 items'))
WORKERS = Box('2 processes', TWO, 'workers', 'parallel_map', ("on_error='skip'",), 'up to 4 items in flight')
NESTED = Inputs((TWO, (Inputs((TWO, (WORKERS,), TWO), ('0', '1', '2')), Node('mix()')), (WORKERS,)), ('0', '1', '2'))
FLOWS: dict[str, Flow] = {
    'one': TWO[:1],
    'fifteen': TWO + tuple(Node(f'apply({n})') for n in range(13)),
    'box': (*TWO, WORKERS, Node('for item in stream:', kind='loop')),
    'nested': (Box('thread', (NESTED, Node('mix()'), WORKERS)), Node('loop', kind='loop')),
    'many': (Inputs(tuple(TWO for _ in range(9)), tuple(f'{n}: 11.1 %' for n in range(9))), Node('mix()')),
    'figures': (
        Node('a', figures=Figures('3 items', 0.5)),
        Box('2 threads', (Node('b'),), 'workers', figures=Figures('at work', 1.5, limits=True)),
    ),
}


@pytest.fixture(params=FLOWS.values(), ids=FLOWS.keys())
def laid(request):
    return laid_out(request.param)


def inside(a: Rectangle, b: Rectangle) -> bool:
    return b.x <= a.x and b.y <= a.y and a.x + a.width <= b.x + b.width and a.y + a.height <= b.y + b.height


def apart(a: Rectangle, b: Rectangle) -> bool:
    beside = a.x + a.width <= b.x or b.x + b.width <= a.x
    return beside or a.y + a.height <= b.y or b.y + b.height <= a.y


def test_parts_are_apart_or_one_in_the_other(laid) -> None:
    width, height, shapes = laid
    whole = Rectangle(0, 0, width, height, '')
    rectangles = [shape for shape in shapes if isinstance(shape, Rectangle)]
    assert all(inside(each, whole) for each in rectangles)
    assert all(apart(a, b) or inside(a, b) or inside(b, a) for a, b in combinations(rectangles, 2))


def test_each_text_is_in_the_smallest_part_around_its_place(laid) -> None:
    _, _, shapes = laid
    rectangles = [shape for shape in shapes if isinstance(shape, Rectangle)]
    for text in (shape for shape in shapes if isinstance(shape, Text) and shape.look != 'note'):
        letter = 7.9 if text.look in ('code', 'call') else 7.0
        place = Rectangle(text.x, text.y - 10, len(text.text) * letter, 12, '')
        around = [each for each in rectangles if inside(place, each)]
        assert around, text
        smallest = min(around, key=lambda each: each.width)
        assert all(apart(place, each) or inside(place, each) for each in rectangles), (text, smallest)


def test_arrows_end_at_a_part_and_begin_at_a_part_or_where_lines_meet(laid) -> None:
    _, _, shapes = laid
    rectangles = [shape for shape in shapes if isinstance(shape, Rectangle)]
    lines = [shape for shape in shapes if isinstance(shape, Line)]
    tops = {(round(each.x + each.width / 2), round(each.y)) for each in rectangles}
    bottoms = {(round(each.x + each.width / 2), round(each.y + each.height)) for each in rectangles}
    meeting = {tuple(map(round, line.points[-1])) for line in lines if not line.head}

    def near(point, places) -> bool:
        return any(abs(point[0] - x) <= 1 and abs(point[1] - y) <= 1 for x, y in places)

    for line in lines:
        assert near(line.points[0], bottoms | meeting), line
        assert near(line.points[-1], tops) if line.head else near(line.points[-1], meeting), line


@pytest.mark.parametrize(
    ('text', 'letters', 'expected'),
    [
        ('short', 5, 'short'),
        ('too long', 5, 'too…'),
        ('f(too, long)', 8, 'f(too,…)'),
        ('two\nlines\tof  it', 20, 'two lines of it'),
        ('nul\0 and \x1b[31m', 20, 'nul and [31m'),
        ('画像を読む', 10, '画像を読む'),
        ('画像を読む', 9, '画像を読…'),
        ('e\u0301te\u0301', 3, 'e\u0301te\u0301'),
    ],
)
def test_cut(text: str, letters: int, expected: str) -> None:
    """Texts are one line, and no longer than there is room."""
    assert cut(text, letters) == expected
