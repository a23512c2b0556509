"""Downloads from a real HTTP server that misbehaves in every way that servers do."""

import contextlib
import gzip
import hashlib
import http.server
import os
import socket
import threading
import time
import urllib.parse
import zlib

import pytest

import dnnlib
import pretrained_networks
from dnnlib import download, web_pages
from dnnlib.download import DownloadError, fetch
from dnnlib.files import only_one
from tests.helpers.limits import within

pytestmark = pytest.mark.one_stack
CONTENT = bytes(range(256)) * 4000  # 1 MB
PAGE = "<!DOCTYPE html><html><head><title>{title}</title></head><body>{body}</body></html>"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):  # the name that http.server calls
        url = urllib.parse.urlparse(self.path)
        self.query = urllib.parse.parse_qs(url.query)
        log = self.server.requests
        log.append((url.path, self.headers.get("Range")))
        self.count = sum(path == url.path for path, _ in log)
        getattr(self, "serve_" + url.path.strip("/").split("/")[0].split(".")[0])()

    def answer(self, content, status=200, length=None, **headers):
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        if "Transfer_Encoding" not in headers:
            self.send_header("Content-Length", str(len(content) if length is None else length))
        self.end_headers()
        self.wfile.write(content)

    def page(self, title, body="", **headers):
        self.answer(PAGE.format(title=title, body=body).encode(), Content_Type="text/html; charset=utf-8", **headers)

    def serve_good(self):
        self.answer(CONTENT, ETag='"1"')

    def serve_named(self):
        self.answer(CONTENT, Content_Disposition='attachment; filename="ugly name?.pkl"')

    def serve_broken(self):
        """Breaks off three times; honours ranges."""
        begin = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        headers = {"ETag": '"7"'}
        if begin:
            headers["Content_Range"] = f"bytes {begin}-{len(CONTENT) - 1}/{len(CONTENT)}"
        end = len(CONTENT) if self.count > 3 else begin + 300_000
        self.answer(CONTENT[begin:end], 206 if begin else 200, length=len(CONTENT) - begin, **headers)
        self.close_connection = True

    def serve_changed(self):
        """Breaks off, then has another file: If-Range does not match, so all of it is sent."""
        if self.count == 1:
            self.answer(b"old" * 1000, length=len(CONTENT), ETag='"old"')
            self.close_connection = True
        else:
            self.answer(CONTENT, ETag='"new"')

    def serve_untagged(self):
        """Breaks off once; honours ranges, but has nothing to tell files apart."""
        begin = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        headers = {"Content_Range": f"bytes {begin}-{len(CONTENT) - 1}/{len(CONTENT)}"} if begin else {}
        end = len(CONTENT) if self.count > 1 else 1000
        self.answer(CONTENT[begin:end], 206 if begin else 200, length=len(CONTENT) - begin, **headers)
        self.close_connection = True

    def serve_noranges(self):
        """Breaks off once; knows no ranges."""
        if self.count == 1:
            self.answer(CONTENT[:1000], length=len(CONTENT))
            self.close_connection = True
        else:
            self.answer(CONTENT)

    def serve_busy(self):
        if self.count < 3:
            self.answer(b"later", [503, 429][self.count - 1], Retry_After="0")
        else:
            self.answer(CONTENT)

    def serve_down(self):
        self.answer(b"", 500)

    def serve_missing(self):
        self.answer(b"no", 404)

    def serve_forbidden(self):
        self.answer(b"no", 403)

    def serve_reset(self):
        if self.count == 1:
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
        else:
            self.answer(CONTENT)

    def serve_empty(self):
        self.answer(b"")

    def serve_chunked(self):
        self.answer(b"%x\r\n%s\r\n0\r\n\r\n" % (len(CONTENT), CONTENT), Transfer_Encoding="chunked")

    def serve_page(self):
        self.page("Sign in")

    def serve_quota(self):
        self.page(
            "Google Drive - Quota exceeded", "Sorry, too many users have viewed or downloaded this file recently."
        )

    def serve_drive_link(self):
        if "confirm" in self.query:
            self.answer(CONTENT)
        else:
            self.page("Virus scan warning", '<a href="/drive_link?id=1&amp;confirm=t">Download anyway</a>')

    def serve_drive_form(self):
        if "confirm" in self.query:
            assert self.query["id"] == ["1"]
            self.answer(CONTENT)
        else:
            form = '<form id="f" action="/drive_form" method="get"><input type="hidden" name="id" value="1">'
            self.page("Warning", form + '<input type="hidden" name="confirm" value="t"></form>')

    def serve_drive_cookie(self):
        if "confirm" in self.query:
            self.answer(CONTENT)
        else:
            self.page("Warning", Set_Cookie="download_warning_1=xyz")

    def serve_drive_endless(self):
        self.page("Warning", '<a href="/drive_endless?confirm=t">Download anyway</a>')

    def serve_disguised(self):
        self.answer(PAGE.format(title="Sign in", body="").encode(), Content_Type="application/octet-stream")

    def serve_zipped(self):
        self.answer(gzip.compress(CONTENT), Content_Encoding="gzip")

    def serve_nonsense(self):
        self.answer(b"", 302, Location="http://[::1")

    def serve_redirect(self):
        self.answer(b"", 302, Location="/good.pkl")

    def serve_around(self):
        self.answer(b"", 302, length=1 << 40, Location="/around.pkl")
        self.close_connection = True

    def serve_endless(self):
        self.answer(b"<html>", length=1 << 40, Content_Type="text/html")
        with contextlib.suppress(OSError):
            while True:
                self.wfile.write(b"<form>" * 10_000)
        self.close_connection = True

    def serve_packed(self):
        page = zlib.compress(b"<html>" + bytes(200 << 20), 9)
        self.answer(page, Content_Type="text/html", Content_Encoding="deflate")

    def serve_painted(self):
        self.page("\x1b[2J\u202eoops")

    def serve_elsewhere(self):
        self.answer(b"", 302, Location="odd://\x1b[2J")


@pytest.fixture(scope="module")
def server():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.requests = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


@pytest.fixture
def get(server, tmp_path):
    server.requests.clear()

    def get(path, **kwargs):
        kwargs = {"cache_dir": tmp_path / "cache", "verbose": False, "backoff": 0.01, "num_attempts": 4, **kwargs}
        return fetch(f"http://127.0.0.1:{server.server_port}/{path}", **kwargs)

    return get


def left_over(tmp_path):
    return sorted(path.name.split("_", 1)[-1] for path in (tmp_path / "cache").iterdir())


@pytest.mark.parametrize(
    "path",
    [
        *(
            "good.pkl",
            "broken.pkl",
            "changed.pkl",
            "untagged.pkl",
            "noranges.pkl",
            "busy.pkl",
            "reset.pkl",
            "chunked.pkl",
            "redirect.pkl",
            "zipped.pkl",
        ),
        *("drive_link?id=1", "drive_form?id=1", "drive_cookie?id=1"),
    ],
)
def test_arrives(get, path, tmp_path):
    result = get(path)
    with open(result, "rb") as file:
        assert file.read() == CONTENT
    assert len(list((tmp_path / "cache").iterdir())) == 1
    assert get(path) == result


def test_name_and_cache(get, server, tmp_path):
    path = get("named")
    assert path.endswith("_ugly_name_.pkl")
    url = f"http://127.0.0.1:{server.server_port}/named"
    assert hashlib.md5(url.encode()).hexdigest() in path
    requests = len(server.requests)
    with dnnlib.util.open_url(url, cache_dir=tmp_path / "cache") as file:
        assert file.read() == CONTENT
    assert len(server.requests) == requests


def test_open_url(server, tmp_path, monkeypatch):
    """As the scripts of StyleGAN2-ADA call it."""
    server.requests.clear()
    monkeypatch.delenv("STYLEGAN2_CACHE_DIR", raising=False)
    monkeypatch.setenv("DNNLIB_CACHE_DIR", str(tmp_path / "cache"))
    open_url, url = dnnlib.util.open_url, f"http://127.0.0.1:{server.server_port}/good.pkl"
    with open_url(url, verbose=False) as file:
        assert file.read() == CONTENT
    path = open_url(url, return_filename=True)
    assert len(server.requests) == 1 and path.startswith(dnnlib.util.make_cache_dir_path("downloads"))
    with open_url(url, cache=False, verbose=False) as file:
        assert file.read() == CONTENT
    assert len(server.requests) == 2
    monkeypatch.setattr(dnnlib.util, "_cache_dir", None)
    dnnlib.util.set_cache_dir(tmp_path / "other")
    assert open_url(url, return_filename=True, verbose=False) == str(
        tmp_path / "other/downloads" / os.path.basename(path)
    )
    assert len(server.requests) == 3
    with pytest.raises(DownloadError, match="1 attempts"):
        open_url(url.replace("good", "down"), num_attempts=1, verbose=False)

    local = tmp_path / "a b.pkl"
    local.write_bytes(b"local")
    for name in (str(local), local, f"file://{tmp_path}/a%20b.pkl", f"file://localhost{tmp_path}/a%20b.pkl"):
        with open_url(name) as file:
            assert file.read() == b"local"
        assert open_url(name, return_filename=True) == str(local)
    with pytest.raises(FileNotFoundError):
        open_url(str(tmp_path / "none.pkl"))
    with pytest.raises(ValueError, match="not a URL"):
        open_url("ftp://x/a.pkl")
    with pytest.raises(ValueError, match="return_filename=True needs cache=True"):
        open_url(url, return_filename=True, cache=False)


def test_broken_download_goes_on(get, server):
    get("broken.pkl")
    assert [begin for _, begin in server.requests] == [None, "bytes=300000-", "bytes=600000-", "bytes=900000-"]


def test_broken_download_goes_on_in_another_call(get, server, tmp_path):
    get("untagged.pkl")
    assert [begin for _, begin in server.requests] == [None, "bytes=1000-"]
    server.requests.clear()
    with pytest.raises(DownloadError, match=r"1 attempts: .* of 1024000 bytes.*goes on where it stopped"):
        get("broken.pkl", num_attempts=1)
    assert "broken.pkl" not in left_over(tmp_path)
    get("broken.pkl", num_attempts=3)
    assert server.requests[1][1] == "bytes=300000-"
    assert left_over(tmp_path) == ["broken.pkl", "untagged.pkl"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("missing.pkl", "missing.pkl: .* is not found .HTTP status 404."),
        ("forbidden.pkl", "access denied"),
        ("down.pkl", "4 attempts: HTTP status 500"),
        ("empty.pkl", "the file is empty"),
        ("page.pkl", "answered with a web page titled 'Sign in'"),
        ("quota.pkl", "Google Drive quota exceeded"),
        ("drive_endless", "again and again"),
        ("disguised.pkl", "answered with a web page"),
        ("nonsense.pkl", "cannot be downloaded"),
    ],
)
def test_fails_with_a_reason(get, path, message, tmp_path):
    with pytest.raises(DownloadError, match=message):
        get(path)
    assert left_over(tmp_path) == []


def test_size_and_hash(get, tmp_path):
    good = hashlib.sha256(CONTENT).hexdigest()
    with pytest.raises(DownloadError, match="expected 5: this is another file"):
        get("good.pkl", size=5)
    with pytest.raises(DownloadError, match=f"sha256 is {good}, expected {'0' * 64}"):
        get("good.pkl", sha256="0" * 64)
    assert left_over(tmp_path) == []
    path = get("good.pkl", size=len(CONTENT), sha256=good.upper())
    with open(path, "r+b") as file:
        file.write(b"damage")
    assert get("good.pkl") == path
    get("good.pkl", sha256=good)  # a cached file is checked, too, and replaced
    with open(path, "rb") as file:
        assert file.read() == CONTENT


def test_no_server(tmp_path):
    start = time.time()
    with pytest.raises(DownloadError, match="in 4 attempts: no connection to 127.0.0.1:9"):
        fetch("http://127.0.0.1:9/x.pkl", cache_dir=tmp_path, backoff=0.01, verbose=False)
    assert time.time() - start < 20


def test_back_off_doubles(get, monkeypatch, capsys):
    waits = []
    monkeypatch.setattr(download.time, "sleep", waits.append)
    with pytest.raises(DownloadError):
        get("down.pkl", backoff=1.0, num_attempts=5, verbose=True)
    assert waits == [1, 2, 4, 8]
    assert "trying again in 4s" in capsys.readouterr().err


def test_offline(get, tmp_path, monkeypatch):
    with pytest.raises(DownloadError, match=r"good.pkl is not in the cache.*Get it from http.*save it as .*_good.pkl"):
        get("good.pkl", offline=True)
    monkeypatch.setenv("STYLEGAN2_OFFLINE", "1")
    with pytest.raises(DownloadError, match="downloads are off"):
        get("good.pkl")
    monkeypatch.setenv("STYLEGAN2_OFFLINE", "0")
    path = get("good.pkl")
    monkeypatch.setenv("STYLEGAN2_OFFLINE", "1")
    assert get("good.pkl") == path


def test_unwritable_cache(get, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DownloadError, match="cannot be saved in"):
        get("good.pkl", cache_dir=tmp_path / "file" / "cache")


def test_two_downloads_at_once(get, server):
    threads = [threading.Thread(target=get, args=("good.pkl",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.requests) == 1


def test_cache_of_older_versions_is_found(tmp_path):
    old = "http://d36zk2xti64re0.cloudfront.net/stylegan1/networks/metrics/inception_v3_features.pkl"
    new = "https://nvlabs-fi-cdn.nvidia.com/stylegan/networks/metrics/inception_v3_features.pkl"
    assert hashlib.md5(new.encode()).hexdigest() == "eddea278bf91d59eb094b162709edc6c"
    cached = tmp_path / (hashlib.md5(old.encode()).hexdigest() + "_inception_v3_features.pkl")
    cached.write_bytes(b"x")
    assert fetch(new, cache_dir=tmp_path, offline=True) == str(cached)


def test_pretrained_names():
    urls = pretrained_networks.gdrive_urls
    assert len(urls) == 36
    base = "https://nvlabs-fi-cdn.nvidia.com/stylegan2/networks/"
    assert urls["gdrive:networks/stylegan2-ffhq-config-f.pkl"] == base + "stylegan2-ffhq-config-f.pkl"
    table2 = "table2/stylegan2-car-config-e-Gskip-Dresnet.pkl"
    assert urls["gdrive:networks/" + table2] == base + table2
    with pytest.raises(dnnlib.errors.UserError, match="did you mean gdrive:networks/stylegan2-ffhq-config-f.pkl"):
        pretrained_networks.get_path_or_url("gdrive:networks/stylegan2-ffhq-f.pkl")


def test_short_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = pretrained_networks.short_names
    assert len(names) == 60 == sum(map(len, pretrained_networks.published.values()))
    base = "https://nvlabs-fi-cdn.nvidia.com/"
    assert names["ffhq-config-f"] == base + "stylegan2/networks/stylegan2-ffhq-config-f.pkl"
    table2 = "stylegan2/networks/table2/stylegan2-car-config-e-Gskip-Dorig.pkl"
    assert names["car-config-e-Gskip-Dorig"] == base + table2
    assert names["ada-metfaces"] == base + "stylegan2-ada/pretrained/metfaces.pkl"
    source = "pretrained/transfer-learning-source-nets/ffhq-res256-mirror-paper256-noaug.pkl"
    assert pretrained_networks.locate("ffhq256") == base + f"stylegan2-ada/{source}"
    assert pretrained_networks.locate("ada-pytorch-ffhq256") == base + f"stylegan2-ada-pytorch/{source}"
    (tmp_path / "ffhq256").write_bytes(b"a file of this name wins")
    assert pretrained_networks.locate("ffhq256") == "ffhq256"
    with pytest.raises(dnnlib.errors.UserError, match="did you mean ffhq-config-f"):
        pretrained_networks.locate("ffhq-config-g")
    with pytest.raises(dnnlib.errors.UserError, match="no published network .did you mean ada-metfaces"):
        pretrained_networks.published_url("metfaces")


def test_networks_by_url(server, tmp_path, monkeypatch):
    """A network that a server has: downloaded, read, and read from the cache the second time."""
    import golden

    source = next((golden.GOLDENS / "pickles").glob("cfgf-r16-gray.pkl")).read_bytes()
    monkeypatch.setattr(Handler, "serve_net", lambda self: self.answer(source), raising=False)
    url = f"http://127.0.0.1:{server.server_port}/net.pkl"
    for _ in range(2):
        _G, _D, Gs = pretrained_networks.load_networks(url, cache_dir=tmp_path)
        assert Gs.output_shape == [None, 1, 16, 16]
        pretrained_networks._cached_networks.clear()
    assert sum(path == "/net.pkl" for path, _ in server.requests) == 1
    monkeypatch.setattr(Handler, "serve_bad", lambda self: self.answer(source[:5000]), raising=False)
    with pytest.raises(dnnlib.errors.UserError, match="damaged"):
        pretrained_networks.load_networks(url.replace("net.pkl", "bad.pkl"), cache_dir=tmp_path)


@pytest.mark.parametrize(
    "page",
    [
        '<form action="x"' * 60_000,
        '<form action="x">' * 60_000,
        '<form action="x">' + '<input name="a" ' * 60_000,
        '<form action="confirm">' + '<input name="a" value="' * 40_000 + "</form>",
        "<title>" * 140_000,
        "<title " * 140_000,
        'href="' * 160_000,
        "<form " + 'action="' * 100_000,
        "<title>" + "&amp;" * 200_000,
    ],
    ids=["forms", "whole forms", "inputs", "values", "titles", "open titles", "links", "actions", "references"],
)
def test_pages_are_read_once(page):
    def read():
        assert len(web_pages.title(page)) < 100
        web_pages.confirmation_url(page, "http://a/b", {})

    within(read, seconds=1)


def test_pages_without_end(get, tmp_path):
    """A server that never stops, and one that packs a page into pages."""
    for path in ("endless", "packed"):
        message = within(lambda path=path: get(path), errors=(DownloadError,), megabytes=150)
        assert "answered with a web page" in message


def test_redirects(get, server):
    """What comes with them is not read; they end."""
    with pytest.raises(DownloadError, match="again and again"):
        get("around.pkl")
    assert len(server.requests) == 20


def test_what_servers_say_is_printable(get):
    with pytest.raises(DownloadError, match=r"titled '\\x1b\[2J\\u202eoops'") as error:
        get("painted")
    assert str(error.value).isprintable()
    with pytest.raises(DownloadError) as error:
        get("elsewhere")
    assert str(error.value).isprintable()


def test_more_bytes_than_expected(get, tmp_path):
    with pytest.raises(DownloadError, match="more than 5 bytes"):
        get("chunked.pkl", size=5)


def test_a_file_that_is_not_whole_does_not_hide_another(get, server, tmp_path):
    path = get("good.pkl")
    key = os.path.basename(path).partition("_")[0]
    for name, content in (("a.pkl", b""), ("b.pkl", b"other")):
        (tmp_path / "cache" / f"{key}_{name}").write_bytes(content)
    url = f"http://127.0.0.1:{server.server_port}/good.pkl"
    assert get("good.pkl", size=len(CONTENT)) == get("good.pkl", size=len(CONTENT), offline=True) == path
    assert os.path.basename(download.find_cached(url, tmp_path / "cache")) == f"{key}_b.pkl"
    assert len(server.requests) == 1
    os.unlink(path)
    with pytest.raises(
        DownloadError, match=r"not in the cache .*b.pkl: 5 bytes, expected 1024000\), and downloads are"
    ):
        get("good.pkl", size=len(CONTENT), offline=True)


def test_who_waits_says_so(get, server, tmp_path, capfd):
    (tmp_path / "cache").mkdir()
    key = hashlib.md5(f"http://127.0.0.1:{server.server_port}/good.pkl".encode()).hexdigest()
    with only_one(tmp_path / "cache" / f"{key}.lock"):
        thread = threading.Thread(target=get, args=("good.pkl",))
        thread.start()
        thread.join(1)
        assert thread.is_alive()
    thread.join()
    assert "Waiting for another process that downloads good.pkl ..." in capfd.readouterr().err
