"""What SECURITY.md promises: states and records are data, and nothing in them is ever run."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

from itpipe._core.version import VERSION

ROOT = Path(__file__).parents[2]
READS = """
import json, pickle, sys
from itpipe import Infinite, batch_by, merge_states, shuffle
from itpipe.tools import records

def made():
    return Infinite(range(16), shuffle(4), batch_size=2, seed=0, shard=(0, 2))

with made() as batch_iter:
    next(iter(batch_iter))
    good = batch_iter.state_dict()
stream = range(16) | shuffle(4) | batch_by(2)
RUNS = {'pickle.find_class', 'exec', 'compile', 'import', 'marshal.loads', 'os.system', 'subprocess.Popen', 'os.exec'}
seen, watch = [], False
sys.addaudithook(lambda event, args: seen.append((event, args)) if watch and event in RUNS else None)

def read(state):
    for reader in made().load_state_dict, stream.resume, lambda state: merge_states([state, state]):
        for strict in ({}, {'strict': False}):
            try:
                reader(state, **strict)
            except (TypeError, ValueError):
                pass
    with open(sys.argv[1], 'wb') as file:
        file.write(json.dumps(state).encode())
    try:
        records.read(sys.argv[1])
    except ValueError:
        pass

read(good)  # what it takes to read is imported now
watch = True
pickle.loads(pickle.dumps(print))
assert 'pickle.find_class' in dict(seen), 'what is run is seen'
seen.clear()
for state in [good, *json.loads(sys.stdin.read())]:
    read(state)
    for name in good:
        read(good | {name: state})
watch = False
print(seen)
"""


def test_nothing_in_a_state_or_a_record_is_run(tmp_path: Path) -> None:
    code = 'import os; os.abort()'
    dumped = pickle.dumps(print).decode('latin-1')
    hostile = [code, '__import__("os").abort()', dumped, {'__reduce__': [code]}, [[code]], {'slots': [dumped]}, 1 << 80]
    done = subprocess.run(
        [sys.executable, '-c', READS, tmp_path / 'run.log'],
        input=json.dumps(hostile), capture_output=True, text=True, check=True, timeout=100,
    )  # fmt: skip
    assert done.stdout == '[]\n'


def test_the_citation_has_the_version() -> None:
    lines = (ROOT / 'CITATION.cff').read_text().splitlines()
    assert f'version: {VERSION}' in lines
    assert {'cff-version: 1.2.0', 'license: MIT', 'type: software'} <= set(lines)
