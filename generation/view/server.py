"""An HTTP server for one page on this machine, whose requests may be of anybody: any page of a browser can send some.

It answers GET and HEAD, one request a connection. A request has to arrive whole within seconds, is small, names this
server as its host (else a page elsewhere could let its own name lead here), and is not of another page.
"""

import collections
import contextlib
import errno
import http.server
import io
import ipaddress
import re
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from dnnlib.errors import UserError, printable, reason_of

_SECONDS = 10  # in which a request has to be here, and an answer gone
_MOST_BYTES = 16 << 10  # of a request
_MOST_CONNECTIONS = 128
_MOST_WAITING = 32  # requests that wait to be computed
_MOST_PAGES = 1000  # whose newest request is remembered
_HOST = re.compile(r"(\[[^][/?#@\\\s]+\]|[^][/?#@\\\s:]+)(:[0-9]+)?")  # name or number, port
_LOCAL = {"localhost", "127.0.0.1", "::1"}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Answer(NamedTuple):
    """What a request gets."""

    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()


class Request(NamedTuple):
    """What is asked for. page, number: which page asks, and how often it did; '' and 0 if it does not say."""

    path: str
    query: str
    page: str = ""
    number: int = 0


class Refused(Exception):
    """A request that cannot be answered now. status: of HTTP."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


class Turns:
    """One request is computed at a time, and of those of a page only the newest; others are refused."""

    def __init__(self) -> None:
        self._computing = threading.Lock()
        self._guard = threading.Lock()
        self._waiting = 0
        self._newest: collections.OrderedDict[str, int] = collections.OrderedDict()  # number by page

    @contextlib.contextmanager
    def turn(self, request: Request) -> Iterator[None]:
        """Waits until it is a request's turn. Raises Refused."""
        with self._guard:
            if self._waiting >= _MOST_WAITING:
                raise Refused(503, "Too many pictures are asked for at once; try again.")
            if request.page:
                self._newest[request.page] = max(request.number, self._newest.pop(request.page, 0))
                if len(self._newest) > _MOST_PAGES:
                    self._newest.popitem(last=False)
            self._waiting += 1
        try:
            with self._computing:
                if request.page and self._newest.get(request.page, 0) > request.number:
                    raise Refused(409, "The same page has asked for another picture since.")
                yield
        finally:
            with self._guard:
                self._waiting -= 1

    def end(self, seconds: float) -> None:
        """Waits until nothing is computed, and lets nothing be computed any more."""
        self._computing.acquire(timeout=seconds)


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Listens. Begins with `serve_forever`.

    Args:
        host, port: where. Port 0: one that is free.
        answer: to a request; raises UserError for one that is wrong, and Refused.

    Raises UserError where it cannot listen there.
    """

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, host: str, port: int, answer: Callable[[Request], Answer]):
        family, address = _address(host, port)
        self.address_family = family
        self.answer = answer
        self._is_local = is_local(address[0])
        self._names = {*_LOCAL, host.lower(), *([] if self._is_local else [socket.gethostname().lower()])}
        self._guard = threading.Lock()
        self._connections: dict[socket.socket, bool] = {}  # whether each is being answered, in the order that they came
        try:
            super().__init__(address, _Handler)
        except OSError as error:
            raise UserError(_reason(host, port, error)) from None
        self.port: int = self.server_address[1]

    def is_called(self, host: str) -> bool:
        """Whether a Host header names this server: by a name of its own, or unless only this machine can reach it by
        any number; names can be anybody's, and lead here."""
        found = _HOST.fullmatch(host)
        name = found[1].strip("[]").lower() if found else ""
        try:
            if name not in self._names:
                ipaddress.ip_address(name)
                return not self._is_local
        except ValueError:
            return False
        return True

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._guard:
            if len(self._connections) >= _MOST_CONNECTIONS:
                slow = next((other for other, is_here in self._connections.items() if not is_here), None)
                if slow is None:
                    self.close_request(request)
                    return
                del self._connections[slow]
                with contextlib.suppress(OSError):
                    slow.shutdown(socket.SHUT_RDWR)  # its thread ends
            self._connections[request] = False
        super().process_request(request, client_address)

    def has_arrived(self, request: Any) -> None:
        """From now on the connection is not closed in favour of others."""
        with self._guard:
            if request in self._connections:
                self._connections[request] = True

    def shutdown_request(self, request: Any) -> None:
        with self._guard:
            if request in self._connections:
                self._connections[request] = False  # is answered
        with contextlib.suppress(OSError):
            request.shutdown(socket.SHUT_WR)
            request.settimeout(1)
            end = time.monotonic() + 1
            while time.monotonic() < end and request.recv(1 << 16):
                pass  # a connection that is closed with something unread loses the answer, too
        with self._guard:
            self._connections.pop(request, None)
        self.close_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):  # who asked has gone
            print(f"warn: a request failed: {reason_of(error, with_kind=True)}", file=sys.stderr)


def is_local(address: str) -> bool:
    """Whether only this machine reaches an address."""
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def check_address(host: str, port: int) -> None:
    """Raises UserError where no server can listen."""
    Server(host, port, lambda _: Answer(b"")).server_close()


def _address(host: str, port: int) -> tuple[Any, Any]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        wrong = f"--host={printable(host, 60)}: is no address of this machine ({reason_of(error)})"
        raise UserError(f"{wrong}; expected localhost, 0.0.0.0 or an address of its own") from None
    family, *_, address = min(found, key=lambda one: one[0] != socket.AF_INET)
    return family, address


def _reason(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"--port={port}: another program listens there; --port=0 takes one that is free"
    if error.errno == errno.EACCES:
        return f"--port={port}: needs an administrator; use one from 1024 on, or 0 for one that is free"
    return f"--host={host} --port={port}: {error.strerror}"


# ----------------------------------------------------------------------------
# A request.


class _TooLarge(Exception):
    """A request has too many bytes."""


class _Incoming(io.RawIOBase):
    """What a socket receives, until some time, and not more than some bytes."""

    def __init__(self, connection: socket.socket):
        self._connection = connection
        self._end = time.monotonic() + _SECONDS
        self._left = _MOST_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._left <= 0:
            raise _TooLarge
        seconds = self._end - time.monotonic()
        if seconds <= 0:
            raise TimeoutError
        self._connection.settimeout(seconds)
        try:
            count = self._connection.recv_into(memoryview(buffer)[: self._left])
        finally:
            self._connection.settimeout(_SECONDS)
        self._left -= count
        return count


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server
    server_version, sys_version = "stylegan2", ""

    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        self.rfile = io.BufferedReader(_Incoming(self.connection))

    def handle(self) -> None:
        self.requestline, self.request_version, self.command = "", "HTTP/1.0", ""
        try:
            super().handle()
        except _TooLarge:
            self.send_error(431)

    def log_message(self, *_: Any) -> None:
        pass

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Says what is wrong with a request."""
        code = 405 if code == 501 else int(code)  # unknown methods
        text = {405: "Expected GET or HEAD.", 431: f"Expected a request of {_MOST_BYTES} bytes at most."}
        headers = (("Allow", "GET, HEAD"),) if code == 405 else ()
        said = text.get(code) or "Expected a request of HTTP."
        self.request_version = "HTTP/1.0"  # that of a request that was not understood is not known
        self._send(Answer(said.encode(), status=code, headers=headers))

    def do_GET(self) -> None:
        self.server.has_arrived(self.connection)
        self._send(self._answer())

    do_HEAD = do_GET

    def _answer(self) -> Answer:
        path, _, query = self.path.partition("?")
        hosts = self.headers.get_all("Host", [])
        if len(hosts) != 1 or not self.server.is_called(hosts[0]):
            return _text(421, "This server is not called so; open the address that it was started with.")
        is_other = set(self.headers.get_all("Origin", [])) - {f"http://{hosts[0]}"}
        if is_other or (set(self.headers.get_all("Sec-Fetch-Site", [])) - {"none", "same-origin"} and path != "/"):
            return _text(403, "Other pages are not answered.")
        page, _, number = self.headers.get("View", "").partition(" ")
        if not (page.isascii() and page.isalnum() and len(page) <= 32 and number.isdecimal() and len(number) < 16):
            page, number = "", "0"
        try:
            return self.server.answer(Request(path, query, page, int(number)))
        except UserError as error:
            return _text(400, str(error))
        except Refused as error:
            return _text(error.status, str(error))
        except Exception as error:  # a mistake of ours must not end the server
            print(f"warn: {printable(self.path, 300)}: {reason_of(error, with_kind=True)}", file=sys.stderr)
            return _text(500, f"This picture cannot be made: {reason_of(error)}")

    def _send(self, answer: Answer) -> None:
        if self.request_version == "HTTP/0.9":
            return  # has no headers, which browsers need
        self.send_response(answer.status)
        lengths = {"Content-Type": answer.content_type, "Content-Length": str(len(answer.body)), "Connection": "close"}
        for name, value in [*{**_HEADERS, **lengths}.items(), *answer.headers]:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)


def _text(status: int, message: str) -> Answer:
    return Answer(message.encode("utf-8", "backslashreplace"), status=status)
