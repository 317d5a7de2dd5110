"""A server of files on this machine, which fails when it is told to."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Fault = Callable[[str, int, int], str | None]
"""What goes wrong with a request for the bytes from the one number to the other of a path: None, 'unavailable' (503),
'dropped' (the connection, in the middle of the body), or 'refused' (the connection, before an answer)."""


class Web(ThreadingHTTPServer):
    """Gives the files of a folder, whole or in part, each with a tag of what is in it."""

    daemon_threads = True

    def __init__(self, folder: Path):
        super().__init__(('127.0.0.1', 0), _Handler)
        self.folder = folder
        self.fault: Fault = lambda path, begin, end: None
        self.lock = threading.Lock()
        self.requests: list[tuple[str, int, int]] = []
        """Which bytes of which files were asked for."""

    def url(self, name: str) -> str:
        return f'http://127.0.0.1:{self.server_address[1]}/{name}'

    def fails_first(self, kind: str) -> None:
        """Each part of a file fails when it is first asked for."""
        seen: set[tuple[str, int, int]] = set()

        def fault(*asked: Any) -> str | None:
            with self.lock:
                first = asked not in seen
                seen.add(asked)
            return kind if first else None

        self.fault = fault

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go are no errors of the test."""


@contextmanager
def web_of(folder: Path) -> Iterator[Web]:
    with Web(folder) as web:
        thread = threading.Thread(target=web.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield web
        finally:
            web.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    server: Web

    def do_HEAD(self) -> None:
        if (data := self._data()) is not None:
            self._head(200, len(data), data)

    def do_GET(self) -> None:
        if (data := self._data()) is None:
            return
        begin, end = 0, len(data)
        wanted = self.headers.get('Range')
        if wanted:
            first, _, last = wanted.removeprefix('bytes=').partition('-')
            begin, end = int(first), min(int(last or end) + 1, end)
        with self.server.lock:
            self.server.requests.append((self.path[1:], begin, end))
        fault = self.server.fault(self.path[1:], begin, end)
        if fault == 'refused':
            self.close_connection = True
            return
        if fault == 'unavailable':
            self._empty(503)
            return
        self._head(206 if wanted else 200, end - begin, data, begin)
        middle = begin + (end - begin) // 2 if fault == 'dropped' else end
        self.wfile.write(data[begin:middle])
        self.close_connection = self.close_connection or fault == 'dropped'

    def _data(self) -> bytes | None:
        path = self.server.folder / self.path[1:]
        if path.is_file():
            return path.read_bytes()
        self._empty(404)
        return None

    def _empty(self, status: int) -> None:
        self.send_response(status)
        self.send_header('Content-Length', '0')
        self.end_headers()

    def _head(self, status: int, size: int, data: bytes, begin: int = 0) -> None:
        self.send_response(status)
        self.send_header('Content-Length', str(size))
        self.send_header('Accept-Ranges', 'bytes')
        self.send_header('ETag', f'"{hash(data)}"')
        if status == 206:
            self.send_header('Content-Range', f'bytes {begin}-{begin + size - 1}/{len(data)}')
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        pass
