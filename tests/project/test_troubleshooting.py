"""The messages that the page on troubleshooting lists are those of the code."""

import ast
import re
from pathlib import Path

import pytest

import itpipe

PAGE = (Path(__file__).parents[2] / 'docs' / 'troubleshooting.md').read_text(encoding='utf-8')
LISTED = [
    message
    for message, whose in re.findall(r'^\| `(.*?)` ?(\(\w+\))? \|', PAGE.partition('## By message')[2], re.MULTILINE)
    if not whose
]


def texts() -> list[str]:
    """Every text of the code, with … for what is put into it."""
    found = []
    for path in Path(itpipe.__file__).parent.rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if isinstance(node, ast.JoinedStr):
                found.append(''.join(part.value if isinstance(part, ast.Constant) else '…' for part in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return found


TEXTS = texts()


def is_in(message: str, text: str) -> bool:
    place = 0
    for part in message.split('…'):
        place = text.find(part.strip(), place)
        if place < 0:
            return False
        place += len(part.strip())
    return True


@pytest.mark.parametrize('message', LISTED)
def test_a_listed_message_is_one_of_the_code(message: str) -> None:
    assert any(is_in(message, text) for text in TEXTS)


def test_the_messages_were_found_in_the_page() -> None:
    assert len(LISTED) > 30
    assert not any(is_in('an epoch had … no bananas', text) for text in TEXTS)
