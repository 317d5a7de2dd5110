"""Names, methods and options of other libraries are answered with what there is instead of them."""

import importlib
import os
import pickle
import re
import subprocess
import sys
from functools import partial
from inspect import signature
from typing import Any

import numpy as np
import pytest
from running import raises

import itpipe
from itpipe import (
    Infinite,
    Stage,
    apply,
    batch_by,
    bucket_by,
    combine_pad,
    concat,
    mix,
    pack,
    parallel_map,
    random_apply,
    sample,
    shuffle,
    stream,
    take,
)
from itpipe._core.instead import LOADER_PAGE, OWN, PAGE, check_options, did_you_mean, renames
from itpipe._core.other_names import ELSEWHERE, INSTEAD, NAMES, OF_INFINITE, OF_PARALLEL_MAP, OF_STREAM, RENAMED, STAGES


def test_its_own_options_are_those_of_infinite() -> None:
    parameters = signature(Infinite.__init__).parameters.values()
    assert set(OWN) == {each.name for each in parameters if each.kind is each.KEYWORD_ONLY}
    assert not set(OWN) & set(INSTEAD)


def test_a_stage_is_answered_with_itself_and_no_other_name_is() -> None:
    told = []
    for name in itpipe.__all__:
        try:
            getattr(stream('ab'), name)
        except AttributeError as error:
            told += [name] * (f'here it stands right of `|`, as `{name}(…)`' in str(error))
    public = {name: getattr(itpipe, name) for name in itpipe.__all__ if name != 'stage'}
    factories = {name for name, value in public.items() if getattr(value, 'is_factory', False)}
    stages = factories | {'combine', 'combine_lists', 'combine_pad', 'flatten'}
    assert [*STAGES] == sorted(stages)
    assert told == [name for name in itpipe.__all__ if name in stages]


def test_every_answer_names_something_that_there_is() -> None:
    there_is = {*OWN, *itpipe.__all__, 'setup', 'ordered', '`for`', '`to_device`'}
    answers = [*INSTEAD.values(), *NAMES.values()]
    there_is |= {'joined by `|`', 'it needs no base class', 'itpipe.files', 'itpipe.image'}
    assert [answer for answer in answers if not any(name in answer for name in there_is)] == []


def test_no_answer_calls_what_there_is_not() -> None:
    answers = [*INSTEAD.values(), *NAMES.values(), *OF_INFINITE.values(), *OF_STREAM.values()]
    code = ' '.join(re.findall('`[^`]+`', ' '.join(answers)))
    called = set(re.findall(r'(?<![.\w])(\w+)\(', code))
    assert called - set(itpipe.__all__) == {'f', 'iter', 'close', 'to_device'}
    assert set(re.findall(r'\.([a-z_]\w*)', code)) == {
        '__getitem__',
        'count',
        'dpipe',
        'files',
        'images',
        'resume',
        'stats',
        'tar',
    }


def test_the_options_of_parallel_map_that_infinite_does_not_have_are_all_answered() -> None:
    options = {name for name, each in signature(parallel_map).parameters.items() if each.kind is each.KEYWORD_ONLY}
    own = set(signature(Infinite.__init__).parameters)
    assert {*OF_PARALLEL_MAP, 'executor', 'name', 'tasks', 'timeout'} == options - own

    def combiner(batch: Any, **options: Any) -> Any:
        return options

    def with_setup(batch: Any, setup: int) -> int:
        return setup

    for name in OF_PARALLEL_MAP:
        answer = f'it belongs to `parallel_map(f, processes=2, {name}=…)`, among the transforms'
        with raises(TypeError, f'Infinite: there is no `{name}`: {answer}'):
            Infinite(range(4), batch_size=2, combiner=list, **{name: 1})
        assert next(iter(Infinite(range(4), batch_size=2, combiner=combiner, prefetch=0, **{name: 1}))) == {name: 1}
    assert list(Infinite(range(4), batch_size=2, combiner=with_setup, setup=3, prefetch=0)) == [3, 3]


def test_no_name_is_one_of_its_own() -> None:
    assert not set(NAMES) & set(itpipe.__all__)
    assert not [name for name in {*OF_INFINITE, *NAMES} if hasattr(Infinite, name)]
    assert not [name for name in {*OF_STREAM, *NAMES} if hasattr(stream('ab'), name)]


@pytest.mark.parametrize('function', RENAMED)
def test_the_names_of_options_are_those_of_the_function(function: str) -> None:
    home = next(home for home in (itpipe, itpipe.image, itpipe.files) if hasattr(home, function))
    parameters = signature(getattr(home, function)).parameters
    assert not set(RENAMED[function]) & set(parameters)
    for answer in RENAMED[function].values():
        assert not re.fullmatch(r'`\w+`', answer) or answer[1:-1] in parameters


def test_an_option_of_another_library_is_refused_unless_the_combiner_has_it() -> None:
    def combiner(batch: Any, shuffle: bool) -> None: ...

    check_options({'shuffle': True}, combiner)
    check_options({'shuffle': True}, lambda batch, **options: options)
    check_options({'something': True}, list)
    with raises(TypeError, f'Infinite: there is no `shuffle`: {INSTEAD["shuffle"]}{LOADER_PAGE}'):
        check_options({'shuffle': True}, list)
    with raises(TypeError, f'Infinite: there is no `rank`: {INSTEAD["rank"]}{PAGE}'):
        check_options({'rank': 1}, type)  # which has no signature


def test_an_option_that_looks_like_an_own_one_is_not_blamed_on_the_combiner() -> None:
    def combiner(batch: Any, work: bool) -> None: ...

    for each in (list, combine_pad, lambda batch, scale=1: batch):
        with raises(TypeError, 'Infinite: there is no `worker`: did you mean `workers`?'):
            check_options({'worker': 2}, each)
    check_options({'works': 2}, combiner)
    check_options({'padding_value': 0}, combine_pad)  # which says itself what it is here
    check_options({'worker': 2}, lambda batch, **options: batch)


def test_what_the_loader_does_without_being_asked_is_to_be_left_out() -> None:
    with raises(TypeError, f'Infinite: there is no `in_order`: leave it out{LOADER_PAGE}'):
        check_options({'in_order': True}, list)
    with raises(TypeError, f'Infinite: there is no `in_order`: {INSTEAD["in_order"]}{LOADER_PAGE}'):
        check_options({'in_order': False}, list)
    with raises(TypeError, f'Infinite: there is no `pin_memory_device`: leave it out{LOADER_PAGE}'):
        check_options({'pin_memory_device': ''}, list)


@pytest.mark.parametrize('value', [False, None, 0])
def test_an_option_that_asks_for_nothing_is_to_be_left_out(value: object) -> None:
    with raises(TypeError, f'Infinite: there is no `shuffle`: leave it out{LOADER_PAGE}'):
        check_options({'shuffle': value}, list)


def test_options_of_several_libraries_are_named_with_the_page_that_has_all() -> None:
    message = f'Infinite: there are no options `rank`, `shuffle`{PAGE}\n- `rank`: {INSTEAD["rank"]}'
    with raises(TypeError, f'{message}\n- `shuffle`: {INSTEAD["shuffle"]}'):
        check_options({'rank': 1, 'shuffle': True}, list)


@pytest.mark.parametrize(('name', 'module'), sorted(ELSEWHERE.items()))
def test_names_of_other_modules_are_found(name: str, module: str) -> None:
    assert hasattr(importlib.import_module(module), name)
    with raises(AttributeError, f"module 'itpipe' has no attribute {name!r}: it is in `{module}`"):
        getattr(itpipe, name)


@pytest.mark.parametrize(
    ('written', 'answer'),
    [
        ('bach_size', ': did you mean `batch_size`?'),
        ('batch_size', ''),
        ('something', ''),
        ('seeds', ': did you mean `seed`?'),
    ],
)
def test_an_option_that_is_misspelt(written: str, answer: str) -> None:
    assert did_you_mean(written) == answer


MORE = '; the page "Coming from other libraries" has more'
LOADER = '; the page "Coming from DataLoader" has more'
KINDS = 'exactly one of `threads`, `processes`, `tasks`, `executor` and `workers`, got none of them'


@pytest.mark.parametrize(
    ('guess', 'message'),
    [
        (lambda: Infinite(['a', 'b'], collate_fn=list), f'Infinite: there is no `collate_fn`: give `combiner`{LOADER}'),
        (
            lambda: Infinite(['a', 'b'], batch_size=2, num_workers=4),
            (
                "Infinite: there is no `num_workers`: give `processes`, `threads` or `workers='auto'`, or put"
                f' `parallel_map(function, processes=…)` among the transforms{LOADER}'
            ),
        ),
        (
            lambda: Infinite(range(2), transform=abs, batch_size=2),
            f'Infinite: there is no `transform`: put it among the transforms: `Infinite(data, map_at(0, f), …)`{MORE}',
        ),
        (
            lambda: Infinite(range(2), timeout=3, batch_size=2),
            (
                'Infinite: there is no `timeout`: give `stall_timeout`, the seconds after which a warning says what is'
                ' waited for; one that ends an item belongs to `parallel_map(f, processes=2, timeout=…)`, among the'
                f' transforms{LOADER}'
            ),
        ),
        (lambda: Infinite(range(2), batchsize=4), 'Infinite: there is no `batchsize`: did you mean `batch_size`?'),
        (
            lambda: Infinite(['a', 'b'], 32, True),
            (
                'Infinite: `transforms[0]` must be a stage or a function of one item, got int: did you mean'
                ' `batch_size=32`?'
            ),
        ),
        (
            lambda: parallel_map(abs, num_parallel_calls=4),
            f'parallel_map: give {KINDS}; instead of `num_parallel_calls`, write `threads=4` or `processes=4`{MORE}',
        ),
        (
            lambda: parallel_map(abs, num_workers=None),
            f'parallel_map: give {KINDS}; instead of `num_workers`, write `threads=…` or `processes=…`{MORE}',
        ),
        (lambda: parallel_map(abs, scale=4), f'parallel_map: give {KINDS}'),
        (
            lambda: Infinite(['a'], bucket_by(len, edges=[2], size=2), combiner=combine_pad),
            'Infinite: `combiner` goes with `batch_size`; or write it as the last stage: `bucket_by(…), combine_pad`',
        ),
        (
            lambda: Infinite(['a'], batch_by(2), combiner=partial(combine_pad, padding_values=0)),
            (
                'Infinite: `combiner` goes with `batch_size`; or write it as the last stage: `batch_by(…),'
                ' partial(combine_pad, padding_values=0)`'
            ),
        ),
        (
            lambda: Infinite('photos', batch_size=2),
            (
                "Infinite: `source` must not be a str, got 'photos': for its characters, write `stream(list(text))`;"
                ' for the images in a folder, `itpipe.files.images(folder)`'
            ),
        ),
        (
            lambda: Infinite(b'photos'),
            (
                "Infinite: `source` must not be bytes, got b'photos': for its bytes, write `stream(list(text))`; for"
                ' the images in a folder, `itpipe.files.images(folder)`'
            ),
        ),
        (lambda: batch_by(batch_size=2), f'batch_by: there is no `batch_size`: here it is `size`{MORE}'),
        (
            lambda: batch_by(2, collate_fn=list),
            f'batch_by: there is no `collate_fn`: here it is a stage behind it, such as `combine`{MORE}',
        ),
        (
            lambda: batch_by(bach=2),
            'batch_by: there is no `bach`: it takes `size`, `drop_last`, `limit`, `cost`, `padded`, `multiple_of`',
        ),
        (lambda: shuffle(window_size=2), f'shuffle: there is no `window_size`: here it is `buffer_size`{MORE}'),
        (
            lambda: sample('ab', replacement=False),
            f'sample: there is no `replacement`: here it is `replace`{MORE}',
        ),
        (lambda: sample('ab', sed=1), 'sample: there is no `sed`: did you mean `seed`?'),
        (lambda: mix('ab', probabilities=[1]), f'mix: there is no `probabilities`: here it is `weights`{MORE}'),
    ],
)
def test_a_guess_at_an_option(guess: Any, message: str) -> None:
    with raises(TypeError, message):
        guess()


@pytest.mark.parametrize(
    ('owner', 'name', 'message'),
    [
        (
            stream('ab'),
            'map',
            (
                "'Stream' object has no attribute 'map': here it stands right of `|`, as `apply(f)`, or `parallel_map("
                f'f, threads=4)` in workers{MORE}'
            ),
        ),
        (
            sample('ab'),
            'shuffle',
            f"'Stream' object has no attribute 'shuffle': here it stands right of `|`, as `shuffle(…)`{MORE}",
        ),
        (
            apply(abs),
            'batch',
            (
                "'Stage' object has no attribute 'batch': here it stands right of `|`, as `batch_by(n)`, and `combine`"
                f' behind it{MORE}'
            ),
        ),
        (
            stream('ab'),
            'state_dict',
            (
                "'Stream' object has no attribute 'state_dict': here it is that of a run, `run = iter(stream)`, or of"
                f' an `Infinite`{MORE}'
            ),
        ),
        (
            Infinite(['a', 'b']),
            'set_epoch',
            (
                "'Infinite' object has no attribute 'set_epoch': here it is not needed: each pass over the source is"
                f' shuffled and augmented anew{MORE}'
            ),
        ),
        (
            Infinite(range(2), batch_size=2),
            'batch_size',
            (
                "'Infinite' object has no attribute 'batch_size': here it is what you gave it; the first batch shows"
                f' it{MORE}'
            ),
        ),
        (
            Infinite(range(2)),
            'dataset',
            f"'Infinite' object has no attribute 'dataset': here it is what you gave as `source`{MORE}",
        ),
        (
            Infinite(range(2)),
            'num_workers',
            (
                "'Infinite' object has no attribute 'num_workers': here it is what you gave as `threads` or"
                f' `processes`; `batch_iter.stats()` counts the workers{MORE}'
            ),
        ),
        (
            Infinite(['a', 'b']),
            'filter',
            f"'Infinite' object has no attribute 'filter': here it goes among the transforms, as `filter_by(f)`{MORE}",
        ),
        (stream('ab'), 'foo', "'Stream' object has no attribute 'foo'"),
        (apply(abs), 'foo', "'Stage' object has no attribute 'foo'"),
        (Infinite(['a', 'b']), 'foo', "'Infinite' object has no attribute 'foo'"),
        (
            itpipe,
            'DataLoader',
            (
                "module 'itpipe' has no attribute 'DataLoader': here it is `Infinite(dataset, shuffle(), f, batch_size="
                f'32, processes=8)`{MORE}'
            ),
        ),
        (itpipe, 'foo', "module 'itpipe' has no attribute 'foo'"),
    ],
)
def test_a_guess_at_a_method_or_a_name(owner: Any, name: str, message: str) -> None:
    with raises(AttributeError, message):
        getattr(owner, name)
    assert not hasattr(owner, name)


def test_a_guess_at_an_import() -> None:
    message = f"cannot import name 'collate' from 'itpipe': here it is {NAMES['collate']}{MORE}"
    with raises(ImportError, message):
        from itpipe import collate  # type: ignore[attr-defined]  # noqa: F401
    with pytest.raises(ImportError, match="cannot import name 'foo' from 'itpipe'"):
        from itpipe import foo  # type: ignore[attr-defined]  # noqa: F401


def test_what_a_property_raises_is_not_hidden() -> None:
    class Loader(Infinite[Any]):
        @property
        def batch(self) -> Any:
            raise AttributeError('its own')

    with raises(AttributeError, 'its own'):
        Loader(['a', 'b']).batch
    with raises(AttributeError, f"'Loader' object has no attribute 'stop': here it {OF_INFINITE['stop']}{MORE}"):
        Loader(['a', 'b']).stop()  # type: ignore[attr-defined]


def test_an_error_within_a_function_is_not_taken_for_a_wrong_option() -> None:
    @renames
    def take(n: int) -> None:
        raise TypeError("take() got an unexpected keyword argument 'count'")

    with raises(TypeError, "take() got an unexpected keyword argument 'count'"):
        take(3)
    with raises(TypeError, f'take: there is no `count`: here it is `n`{MORE}'):
        take(count=3)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ('guess', 'message'),
    [
        (
            lambda: bucket_by(len, window=3, max_tokens=4),
            f'bucket_by: there is no `max_tokens`: here it is `limit`{MORE}',
        ),
        (lambda: pack(max_length=5), f'pack: there is no `max_length`: here it is `length`{MORE}'),
        (lambda: pack(5, max_rows=3), 'pack: there is no `max_rows`: did you mean `rows`?'),
        (lambda: pack(5, overlap=3), 'pack: there is no `overlap`: it takes `length`, `cut`, `rows`, `padding`'),
        (lambda: take(4, last=True), 'take: there is no `last`: it takes `n`'),
        (lambda: concat('ab', axis=0), 'concat: there is no `axis`: it takes no options'),
        (lambda: combine_pad(padding=3), 'combine_pad: there is no `padding`: did you mean `padding_values`?'),
        (
            lambda: [[[1], [2, 3]]] | combine_pad(padding_value=3),
            f'combine_pad: there is no `padding_value`: here it is `padding_values`{MORE}',
        ),
        (lambda: sample('ab', weight=[1, 2]), f'sample: there is no `weight`: here it is `weights`{MORE}'),
        (
            lambda: itpipe.split('ab', [0.5, 0.5], groups='ab'),
            f'split: there is no `groups`: here it is `together`{MORE}',
        ),
        (
            lambda: itpipe.image.grid_patches([[1]], 1, stride=1),
            f'grid_patches: there is no `stride`: here it is `overlap`, the size without the stride{MORE}',
        ),
        (lambda: random_apply(f=abs, p=0.5), 'random_apply: give `p` and `f` by position: `random_apply(p, f)`'),
        (lambda: random_apply(0.5, f=abs), 'random_apply: give `f` by position: `random_apply(p, f)`'),
        (lambda: parallel_map(f=abs, threads=2), 'parallel_map: give `f` by position: `parallel_map(f)`'),
        (lambda: take(), "take() missing 1 required positional argument: 'n'"),
    ],
)
def test_any_stage_says_what_to_write_instead(guess: Any, message: str) -> None:
    with raises(TypeError, message):
        guess()


def test_streams_and_stages_pickle_as_before() -> None:
    for value in (apply(abs), [1, 2] | batch_by(2)):
        assert pickle.loads(pickle.dumps(value)) == value
        assert isinstance(value, (Stage, itpipe.Stream))


def test_the_names_of_others_are_loaded_for_errors_only() -> None:
    code = (
        "import sys, itpipe; itpipe.stream('ab') | itpipe.apply(abs); itpipe.Infinite(['a', 'b'], abs, batch_size=2); "
    )
    code += "print('itpipe._core.other_names' in sys.modules)"
    run = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, env=os.environ, check=True)
    assert run.stdout == 'False\n'


def items() -> Any:
    yield 1


def test_a_generator_function_is_to_be_called() -> None:
    text = (
        'stream: what stands left of `|` must be iterable, got a generator function; call it, or, for several epochs,'
        ' write a class with an `__iter__` that yields'
    )
    for make in (stream, Infinite, lambda source: source | batch_by(2)):
        with raises(TypeError, text):
            make(items)
    assert list(stream(items())) == [1]


def test_the_splits_of_a_dataset_are_no_source(monkeypatch: pytest.MonkeyPatch) -> None:
    class DatasetDict(dict[str, Any]):
        pass

    assert list(stream(DatasetDict(train=1))) == ['train']
    monkeypatch.setattr(DatasetDict, '__module__', 'datasets.dataset_dict')
    both = DatasetDict(train=range(3), test=range(2))
    text = "has the splits 'train', 'test': give one of them, such as `d['train']`"
    for make in (stream, Infinite, batch_by(2), lambda source: mix(source)):
        with raises(TypeError, f'stream: what stands left of `|` {text}'):
            make(both)
    with raises(TypeError, f'sample: `sequence` {text}'):
        sample(both)  # type: ignore[arg-type]
    assert list(stream({'train': 1})) == ['train']


def test_the_splits_that_hugging_face_gives() -> None:
    datasets = pytest.importorskip('datasets')
    rows = datasets.Dataset.from_dict({'a': [1, 2]})
    kinds = {datasets.DatasetDict: rows, datasets.IterableDatasetDict: rows.to_iterable_dataset()}
    for kind, split in kinds.items():
        text = "has the splits 'test': give one of them, such as `d['test']`"
        with raises(TypeError, f'stream: what stands left of `|` {text}'):
            stream(kind({'test': split}))
        assert list(stream(kind({'test': split})['test'])) == [{'a': 1}, {'a': 2}]


def test_a_table_is_no_source() -> None:
    pandas = pytest.importorskip('pandas')
    table = pandas.DataFrame({'a': [1, 2], 'b': [3, 4]})
    text = (
        'must not be a DataFrame, whose items are the names of its columns: for its rows, write'
        " `table.to_dict('records')`, or `stream(range(len(table))) | table.iloc.__getitem__`"
    )
    for make in (stream, Infinite, batch_by(2)):
        with raises(TypeError, f'stream: what stands left of `|` {text}'):
            make(table)
    assert [dict(row) for row in stream(range(2)) | table.iloc.__getitem__] == table.to_dict('records')
    assert list(stream(table['a'])) == [1, 2]


def test_what_needs_a_random_generator_says_what_gives_one() -> None:
    with raises(
        TypeError, 'random_patches: it needs `rng`, a random generator: `with_rng(random_patches, …)` gives it'
    ):
        itpipe.image.random_patches(np.zeros((4, 4)), (2, 2))


def test_the_formats_of_other_libraries_are_answered() -> None:
    import itpipe.files

    for name, own in {'json': 'jsonl', 'text': 'lines', 'webdataset': 'tar'}.items():
        message = f"module 'itpipe.files' has no attribute '{name}': here it is `{own}`{PAGE}"
        with raises(AttributeError, message):
            getattr(itpipe.files, name)
    with pytest.raises(ImportError, match="cannot import name 'json' from 'itpipe.files': here it is `jsonl`"):
        exec('from itpipe.files import json')
    with raises(AttributeError, "module 'itpipe.files' has no attribute 'nothing'"):
        itpipe.files.nothing


def test_options_of_packing_and_mixing_are_answered() -> None:
    with raises(TypeError, f'pack: there is no `pad_token_id`: here it is `padding`{PAGE}'):
        pack(8, pad_token_id=0)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match='pack: there is no `eos`: here it is a part of each sequence: the tokenizer'):
        pack(8, eos=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r'mix: there is no `stopping_strategy`: here it is `cycle\(\)` behind each'):
        mix([1], stopping_strategy='all_exhausted')  # type: ignore[call-overload]
    with pytest.raises(AttributeError, match='here it is `reweight`'):
        Infinite([1]).set_weights
