"""The pages as text for language models: `llms.txt`, `llms-full.txt`, and each page as Markdown (https://llmstxt.org).

The build writes them beside the pages. The Markdown of `tutorial.html` is `tutorial.html.md`.
"""

import inspect
import json
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

DOCS = Path(__file__).parent
SUMMARY = (
    'Functions over iterators that compose with `|`, and a class that runs them in the background of a training loop.'
)
TOCTREE = re.compile(r'^```\{toctree\}\n(.*?)^```$', re.MULTILINE | re.DOTALL)
DIRECTIVE = re.compile(r'^\.\. (auto\w+|currentmodule):: ([\w.]+)(.*?)(?=^\.\. |\Z)', re.MULTILINE | re.DOTALL)


def groups(page: str = 'index') -> Iterator[tuple[str, list[str]]]:
    """The groups in the navigation, each with its pages, and with theirs behind them."""
    for tree in TOCTREE.findall((DOCS / f'{page}.md').read_text(encoding='utf-8')):
        caption = re.search(r'^:caption: (.*)$', tree, re.MULTILINE)
        names = [line for line in tree.splitlines() if line and not line.startswith(':')]
        yield caption[1] if caption else '', [below for name in names for below in (name, *below_of(name))]


def below_of(page: str) -> list[str]:
    is_page = (DOCS / f'{page}.md').exists()
    return [name for _, names in groups(page) for name in names] if is_page else []


def markdown(page: str) -> str:
    """The page without what only Sphinx or the tests read."""
    path = DOCS / f'{page}.md'
    text = path.read_text(encoding='utf-8') if path.exists() else notebook(DOCS / f'{page}.ipynb')
    text = re.sub(r'^```\{include\} (\S+)\n.*?^```$', included, text, flags=re.MULTILINE | re.DOTALL)
    text = TOCTREE.sub('', text)
    text = re.sub(r'^ *<!--.*?-->\n', '', text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r'^:::+.*\n(?::[\w-]+:.*\n)*', '', text, flags=re.MULTILINE)
    text = re.sub(r'^```\{eval-rst\}\n(.*?)^```$', from_docstrings, text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r'\]\((?!\w+:)([\w./-]+)\.(?:md|ipynb)(#[\w-]+)?\)', r'](\1.html.md\2)', text)
    return re.sub(r'\n{3,}', '\n\n', text).strip() + '\n'


def included(found: re.Match[str]) -> str:
    return (DOCS / found[1]).read_text(encoding='utf-8').replace('](docs/', '](')


def notebook(path: Path) -> str:
    cells = json.loads(path.read_text(encoding='utf-8'))['cells']
    texts = [(cell['cell_type'], ''.join(cell['source'])) for cell in cells]
    return '\n\n'.join(f'```python\n{text}\n```' if kind == 'code' else text for kind, text in texts) + '\n'


def from_docstrings(block: re.Match[str]) -> str:
    """What Sphinx would make of the directives: each name with its arguments and its docstring."""
    found, module = [], ''
    for kind, name, options in DIRECTIVE.findall(block[1]):
        if kind == 'currentmodule':
            module = name
            continue
        value = resolve(name if '.' in name else f'{module}.{name}')
        found.append(entry(name, value))
        if ':members:' in options:
            found += [entry(f'{name}.{member}', inner) for member, inner in members(value)]
    return '\n\n'.join(found)


def resolve(name: str) -> object:
    module, _, last = name.rpartition('.')
    try:
        return import_module(name)
    except ImportError:
        return getattr(import_module(module), last)


def members(value: object) -> list[tuple[str, object]]:
    if inspect.ismodule(value):
        return [(name, getattr(value, name)) for name in value.__all__]
    return [
        (name, member) for name, member in vars(value).items() if not name.startswith('_') and inspect.getdoc(member)
    ]


def entry(name: str, value: object) -> str:
    text = f'{inspect.getdoc(value) or ""}\n'
    text = re.sub(r'((?:^>>> .*\n?)(?:^.+\n?)*)', r'```python\n\1```\n', text, flags=re.MULTILINE)
    return f'## {name}\n\n`{name}{signature(value)}`\n\n{text}'.strip()


def signature(value: object) -> str:
    """The arguments without their types."""
    try:
        given = inspect.signature(value)
    except (TypeError, ValueError):  # a property, or a class that says nothing of them
        return ''
    bare = [parameter.replace(annotation=parameter.empty) for parameter in given.parameters.values()]
    return str(given.replace(parameters=bare, return_annotation=given.empty))


def title_and_summary(text: str) -> tuple[str, str]:
    """The heading, and the first sentence behind it."""
    title = re.search(r'^# (.+)$', text, re.MULTILINE)[1]
    if names := re.findall(r'^## itpipe\.(?:\w+\.)*(\w+)$', text, re.MULTILINE):  # a page of the reference
        return title, ', '.join(f'`{name}`' for name in names)
    prose = re.sub(
        r'^```.*?^```$|^!\[.*$|^[|#].*$', '', text.partition('\n')[2], flags=re.MULTILINE | re.DOTALL
    ).strip()
    first = re.sub(r'\s+', ' ', prose.partition('\n\n')[0])
    first = re.sub(r'\[([^]]*)\]\([^)]*\)', r'\1', re.split(r'(?<=[.?:])\s(?=[A-Z])', first)[0])
    return title, first.removesuffix(':')


def write(out: Path) -> None:
    lines, full = ['# itpipe', '', f'> {SUMMARY}'], []
    for caption, names in groups():
        lines += ['', f'## {caption}', '']
        for name in names:
            text = markdown(name)
            title, summary = title_and_summary(text)
            target = out / f'{name}.html.md'
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding='utf-8')
            lines.append(f'- [{title}]({name}.html.md){f": {summary}" if summary else ""}')
            full.append(f'<!-- {name}.html -->\n\n{text}')
    (out / 'llms.txt').write_text('\n'.join(lines) + '\n', encoding='utf-8')
    (out / 'llms-full.txt').write_text('\n\n'.join([markdown('index'), *full]), encoding='utf-8')
