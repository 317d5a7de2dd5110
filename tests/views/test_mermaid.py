"""Pictures as Mermaid."""

from itpipe._views.mermaid import mermaid
from itpipe._views.parts import Box, Figures, Inputs, Node


def test_parts_are_nodes_subgraphs_and_arrows() -> None:
    flow = (
        Inputs(((Node('a', ('2 items',), 'source'),), (Node('b'), Node('c'))), ('0: 50 %', '')),
        Node('mix()', figures=Figures('3 items')),
        Box(
            '2 threads',
            (Node('f', holds='up to 3 items'),),
            'workers',
            'parallel_map',
            ('retry_on=(OSError,)',),
            'up to 4 items in flight',
        ),
        Node('loop', kind='loop'),
    )
    assert mermaid(flow).splitlines() == [
        'flowchart TD',
        '    n1(["a<br/>2 items"])',
        '    n2["b"]',
        '    n3["c"]',
        '    n2 --> n3',
        '    n4["mix()<br/>3 items"]',
        '    n1 -->|"0: 50 %"| n4',
        '    n3 --> n4',
        '    subgraph n5["2 threads, parallel_map"]',
        '        direction TB',
        '        n6["f<br/>up to 3 items"]',
        '    end',
        '    n4 --> n5',
        '    n7(["loop"])',
        '    n5 -->|"up to 4 items in flight<br/>retry_on=(OSError,)"| n7',
    ]


def test_what_would_mean_something_is_written_as_numbers() -> None:
    text = mermaid((Node('f(<a href="#x">, `b`; c{d} & größe 画像)'),)).splitlines()[1]
    assert text == ('    n1["f(#60;a href=#34;#35;x#34;#62;, #96;b#96;#59; c#123;d#125; #38; größe 画像)"]')


def test_long_texts_are_cut() -> None:
    assert mermaid((Node('f' * 100),)).splitlines()[1] == f'    n1["{"f" * 59}…"]'
