"""The page's pictures as text, the commands that make them, and a server that anybody may ask. Without TensorFlow."""

import contextlib
import http.client
import shlex
import socket
import threading
import time

import pytest

from dnnlib.errors import UserError
from generation.view import server
from generation.view.picture import Facts, Picture, command_line, parse, query_of

VECTORS = {"anna": "people/anna.npz", "bert-00": None, "85": "85.npz"}
MOVES = [("smile", "moves file.npz:0"), ("age", "moves file.npz:1")]
PLAIN = Facts("nets/G.pkl", 32, 32, 3, 8, 0, False, 0.5, 8, VECTORS, MOVES)
CLASSES = Facts("C.pkl", 16, 8, 1, 6, 3, True, 1.0, 6)
NETWORKS = [PLAIN, CLASSES]


# ----------------------------------------------------------------------------
# Pictures as text.


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", Picture(0, 0.5, 8)),
        ("seed=4294967295&psi=-0.25&cutoff=0&noise=seed", Picture(0, -0.25, 0, seed=4294967295, noise="seed")),
        ("x=0.25&y=0.999&space=z", Picture(0, 0.5, 8, x=0.25, y=0.999, space="z")),
        ("vector=anna&mix-vector=85&layers=0-2,5", Picture(0, 0.5, 8, vector="anna", mix="85", layers=(0, 1, 2, 5))),
        ("mix=7&layers=5,5", Picture(0, 0.5, 8, mix=7, layers=(5,))),
        ("direction=1:-2.5&direction=0:1&direction=1:3", Picture(0, 0.5, 8, directions=((0, 1.0), (1, 3.0)))),
        ("network=1", Picture(1, 1.0, 6, class_idx=0)),
        ("network=1&class=2", Picture(1, 1.0, 6, class_idx=2)),
    ],
)
def test_pictures(query, expected):
    picture = parse(query, NETWORKS)
    assert picture == expected
    if not picture.network:
        assert parse(query_of(picture), NETWORKS) == picture


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("seed=-1", "seed: expected an integer from 0 to 4294967295"),
        ("seed=4294967296", "seed: expected"),
        ("seed=1e3", "seed: expected"),
        ("seed=٣", "seed: expected"),
        ("x=1", "x: expected a number below 1"),
        ("x=-0.1", "x: expected a number from 0 to 1"),
        ("psi=nan", "psi: expected a number from -100 to 100"),
        ("psi=1e999", "psi: expected"),
        ("psi=inf", "psi: expected"),
        ("psi=0x1", "psi: expected"),
        ("cutoff=9", "cutoff: expected 0 to 8"),
        ("noise=random", "noise: expected seed or const or none"),
        ("class=0", "class: the network was trained without, got 0"),
        ("network=1&class=3", "class: expected 0 to 2, got 3"),
        ("network=2", "network: expected 0 to 1, got 2"),
        ("layers=8", "layers: the network has 0 to 7, got 8"),
        ("layers=0-99999999", "layers: expected layers such as"),
        ("layers=3-1", "layers: the range '3-1' is empty"),
        ("vector=../../etc/passwd", "vector: there is no vector '../../etc/passwd'"),
        ("vector=ana", "did you mean anna"),
        ("mix=1&mix-vector=anna", "mix, mix-vector: expected one of them, got both"),
        ("direction=2:1", "direction: there are 2, got index 2"),
        ("direction=0:nan", "direction: expected a number as strength"),
        ("direction=0", "direction: expected a number as strength"),
        ("sead=1", "sead is nothing that a picture has (did you mean seed?)"),
        ("seed=1&seed=2", "seed: is given twice"),
        ("seed", "expected a text such as"),
        ("seed=%ff", "expected a text such as"),
        ("seed=" + "1" * 5000, "has 5005 characters, expected 4000 at most"),
        ("&".join(f"a{i}=1" for i in range(300)), "expected a text such as"),
    ],
)
def test_wrong_pictures(query, message):
    with pytest.raises(UserError) as error:
        parse(query, NETWORKS)
    assert message in str(error.value)
    assert len(str(error.value)) < 20_000


def test_all_that_is_wrong_is_said_at_once():
    with pytest.raises(UserError) as error:
        parse("seed=x&psi=y&cutoff=99", NETWORKS)
    assert [line.partition(":")[0] for line in str(error.value).splitlines()] == ["seed", "psi", "cutoff"]


@pytest.mark.parametrize(
    ("query", "args"),
    [
        (
            "seed=85&psi=0.7&noise=seed",
            "generate-images --network=nets/G.pkl --seeds=85 --truncation-psi=0.7 --truncation-cutoff=8 "
            "--noise-mode=seed",
        ),
        (
            "vector=anna&noise=none&direction=1:-2",
            "generate-images --network=nets/G.pkl --dlatents=people/anna.npz --truncation-psi=0.5 "
            "--truncation-cutoff=8 --noise-mode=none '--direction=moves file.npz:1=-2'",
        ),
        (
            "seed=85&mix=3&layers=1-3,7&noise=seed",
            "style-mixing-example --network=nets/G.pkl --row-seeds=85 --col-seeds=3 --truncation-psi=0.5 "
            "--truncation-cutoff=8 --col-styles=1-3,7 --noise-mode=const",
        ),
        (
            "network=1&mix=3&layers=1&class=2",
            "style-mixing-example --network=C.pkl --row-seeds=0 --col-seeds=3 --truncation-psi=1 "
            "--truncation-cutoff=6 --col-styles=1 --noise-mode=const --class-idx=2",
        ),
        (
            "x=0.25",
            "view nets/G.pkl --dlatents=people '--state=seed=0&x=0.25&y=0&space=w&psi=0.5&cutoff=8&noise=const' --save",
        ),
        (
            "vector=bert-00",
            "view nets/G.pkl --dlatents=people '--state=vector=bert-00&psi=0.5&cutoff=8&noise=const' --save",
        ),
    ],
)
def test_commands(query, args):
    picture = parse(query, NETWORKS)
    text = command_line(picture, NETWORKS[picture.network], ["--dlatents=people"], ["--offline"])
    assert shlex.split(text) == ["python", "run_generator.py", *shlex.split(args), "--offline"]


# ----------------------------------------------------------------------------
# The server.


@contextlib.contextmanager
def serving(answer, host="localhost"):
    listening = server.Server(host, 0, answer)
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield listening
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join()


@pytest.fixture
def listening():
    """A server that says what it was asked."""
    with serving(lambda request: server.Answer(f"{request.path} {request.query}".encode())) as listening:
        yield listening


def ask(port, method="GET", path="/a?b", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(
        method, path, headers={"Host": "localhost", **{k.replace("_", "-"): v for k, v in headers.items()}}
    )
    answer = connection.getresponse()
    return answer.status, answer.read().decode(), answer.headers


def raw(port, data):
    """What comes back for some bytes."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        with contextlib.suppress(OSError):
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
        found = b""
        with contextlib.suppress(ConnectionError):
            while part := connection.recv(65536):
                found += part
    return found


def test_answers(listening):
    status, text, headers = ask(listening.port)
    assert (status, text) == (200, "/a b")
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "Access-Control-Allow-Origin" not in headers
    assert ask(listening.port, "HEAD")[1] == ""
    same = f"http://localhost:{listening.port}"
    assert ask(listening.port, Host=f"localhost:{listening.port}", Origin=same, Sec_Fetch_Site="same-origin")[0] == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "localhost.evil.example:8000"}, 421),
        ({"Host": "192.168.1.2"}, 421),
        ({"Host": ""}, 421),
        ({"Host": "localhost@evil.example"}, 421),
        ({"Host": "[::1"}, 421),
        ({"Host": "evil.example@localhost"}, 421),
        ({"Host": "localhost/evil.example"}, 421),
        ({"Host": "localhost:a"}, 421),
        ({"Host": "127.0.0.1:80"}, 200),
        ({"Host": "[::1]:80"}, 200),
        ({"Host": "LOCALHOST:80"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "https://localhost"}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "same-site"}, 403),
    ],
)
def test_who_is_answered(listening, headers, status):
    assert ask(listening.port, **headers)[0] == status


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get", "X" * 100])
def test_wrong_methods(listening, method):
    status, text, headers = ask(listening.port, method)
    assert (status, text, headers["Allow"]) == (405, "Expected GET or HEAD.", "GET, HEAD")


HOST = b"Host: localhost\r\n"
HOSTILE = [
    b"",
    b"\r\n\r\n",
    b"\0" * 1000,
    b"GET",
    b"GET / HTTP/1.1\r\n",
    b"GET /\r\n",
    b"GET / HTTP/9.9\r\n" + HOST + b"\r\n",
    b"GET / HTTP/1.1 more\r\n\r\n",
    b"GET / HTTP/-1.1\r\n\r\n",
    b"GET  \t / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + HOST * 2 + b"\r\n",
    b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n",
    b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\na: " + b"b" * 1_000_000 + b"\r\n\r\n",
    b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 99999999999\r\n\r\n" + b"x" * 1_000_000,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    bytes(range(256)) * 8,
]


@pytest.mark.parametrize("data", HOSTILE)
def test_hostile_bytes(listening, data, capsys):
    found = raw(listening.port, data)
    assert found == b"" or 400 <= int(found.split()[1]) < 600
    assert ask(listening.port)[0] == 200
    assert capsys.readouterr().err == ""


def test_other_versions_of_http_are_answered(listening):
    assert raw(listening.port, b"PRI * HTTP/2.0\r\n\r\n").startswith(b"HTTP/1.0 505 ")
    assert raw(listening.port, b"GET / nonsense\r\n\r\n").startswith(b"HTTP/1.0 400 ")


def test_who_was_answered_and_stays_shuts_nobody_out(listening, monkeypatch):
    monkeypatch.setattr(server, "_MOST_CONNECTIONS", 1)
    with socket.create_connection(("127.0.0.1", listening.port)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
        while connection.recv(65536):
            pass
        assert ask(listening.port)[0] == 200


def test_too_large(listening):
    assert b" 431 " in raw(listening.port, b"GET / HTTP/1.1\r\na: " + b"b" * 60_000)


@pytest.mark.slow  # it waits
def test_slow_requests_neither_stay_nor_shut_others_out(listening, monkeypatch):
    monkeypatch.setattr(server, "_SECONDS", 0.2)
    slow = [socket.create_connection(("127.0.0.1", listening.port)) for _ in range(200)]
    for connection in slow:
        with contextlib.suppress(OSError):  # more than there is room for are ended at once
            connection.sendall(b"GET / HT")
    assert ask(listening.port)[0] == 200
    deadline = time.monotonic() + 20
    while listening._connections and time.monotonic() < deadline:
        for connection in slow:
            with contextlib.suppress(OSError):
                connection.sendall(b"T")  # a byte now and then does not help
        time.sleep(0.1)
    assert not listening._connections
    for connection in slow:
        connection.close()


def test_mistakes_of_ours_end_nothing(capsys):
    def answer(request):
        raise ValueError("\x1b[2J is wrong")

    with serving(answer) as listening:
        for _ in range(2):
            status, text, _ = ask(listening.port)
            assert status == 500 and "is wrong" in text
    assert "\x1b" not in capsys.readouterr().err


def test_only_the_newest_of_a_page_is_computed():
    turns = server.Turns()
    done, refused = [], []

    def wait(page, number):
        try:
            with turns.turn(server.Request("", "", page, number)):
                done.append((page, number))
        except server.Refused as error:
            refused.append((page, number, error.status))

    with turns.turn(server.Request("", "")):
        threads = [
            threading.Thread(target=wait, args=args) for args in (("a", 1), ("b", 1), ("a", 3), ("a", 2), ("", 0))
        ]
        for thread in threads:
            thread.start()
            while not thread.is_alive():
                pass
        deadline = time.monotonic() + 10
        while turns._waiting < 6 and time.monotonic() < deadline:
            time.sleep(0.001)
    for thread in threads:
        thread.join()
    assert sorted(done) == [("", 0), ("a", 3), ("b", 1)]
    assert sorted(refused) == [("a", 1, 409), ("a", 2, 409)]


def test_too_many_that_wait_are_refused(monkeypatch):
    monkeypatch.setattr(server, "_MOST_WAITING", 1)
    turns = server.Turns()
    with turns.turn(server.Request("", "")), pytest.raises(server.Refused, match="Too many"):
        turns.turn(server.Request("", "")).__enter__()


def test_ports_and_hosts():
    with serving(lambda _: server.Answer(b"")) as listening, pytest.raises(UserError) as error:
        server.check_address("localhost", listening.port)
    expected = f"--port={listening.port}: another program listens there; --port=0 takes one that is free"
    assert str(error.value) == expected
    with pytest.raises(UserError, match=r"--host=no\.such\.host\.invalid: is no address of this machine"):
        server.check_address("no.such.host.invalid", 0)
    with pytest.raises(UserError, match="--host=192.0.2.1 --port=0: "):
        server.check_address("192.0.2.1", 0)


def test_whole_network():
    with serving(lambda _: server.Answer(b""), "0.0.0.0") as listening:
        assert ask(listening.port, Host="192.168.1.2:8000")[0] == 200
        assert ask(listening.port, Host=socket.gethostname())[0] == 200
        assert ask(listening.port, Host="evil.example")[0] == 421
