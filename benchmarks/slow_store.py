"""The work of a store that takes long to answer, as an object store does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import sleep
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from itpipe import interleave

from .feeds import Feed
from .works import Work, infinite

__all__ = ['STORES', 'served', 'slow_store']

DELAY = 0.03
ITEMS = 10
"""In a shard."""
OPEN = 8


class Answers(BaseHTTPRequestHandler):
    """`/shard/item` is a row of numbers, each of them that of the item."""

    protocol_version = 'HTTP/1.1'
    wbufsize = -1  # one packet for an answer
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        shard, item = map(int, self.path.strip('/').split('/'))
        content = np.full(128, shard * ITEMS + item).tobytes()
        sleep(DELAY)
        self.send_response(200)
        self.send_header('Content-Length', str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def served() -> Iterator[str]:
    """The address of a store on this machine."""
    server = ThreadingHTTPServer(('127.0.0.1', 0), Answers)
    thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.01})
    thread.start()
    try:
        yield f'http://127.0.0.1:{server.server_port}'
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def items_of(url: str) -> Iterator[Any]:
    """The items of a shard, one request for each."""
    address = urlsplit(url)
    with closing(HTTPConnection(str(address.hostname), address.port)) as connection:
        for item in range(ITEMS):
            connection.request('GET', f'{address.path}/{item}')
            yield np.frombuffer(connection.getresponse().read(), np.int64)


def in_turns(shards: int) -> list[list[int]]:
    """The numbers of the items in each batch: as all shards are of one length, one of each that is open."""
    return [
        [shard * ITEMS + item for shard in range(first, first + OPEN)]
        for first in range(0, shards, OPEN)
        for item in range(ITEMS)
    ]


def slow_store(share: float = 1) -> Work:
    """Items behind answers that take 30 ms, of eight shards at once; behind ten items, a shard ends."""
    warm, count = 5, max(2, int(100 * share))
    shards = -(-(warm + count + 30) // ITEMS) * OPEN
    feed = Feed(
        items=range(shards * ITEMS),
        f=items_of,
        size=OPEN,
        form=[((OPEN, 128), np.int64)],
        expected=in_turns(shards),
        warm=warm,
        count=count,
        workers=OPEN,
        keys=lambda batch: batch[:, 0].tolist(),
        whole=lambda batch: bool((batch == batch[:, :1]).all()),
    )

    def batches() -> Iterator[Any]:
        with served() as address:
            urls = Feed(**{**vars(feed), 'items': [f'{address}/{shard}' for shard in range(shards)]})
            yield from infinite(urls, interleave(urls.f, cycle=OPEN, prefetch=4))

    rows: dict[str, Callable[[], float]] = {
        'arithmetic': lambda: DELAY / OPEN,
        'itpipe': lambda: feed.seconds(batches()),
    }
    title = f'interleave: answers after 30 ms, {OPEN} shards at once, batches of {OPEN}'
    return Work(title, 1.05, 'ms an item', rows, feed)


STORES: dict[str, Callable[[float], Work]] = {'slow-store': slow_store}
