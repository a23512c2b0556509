"""The page in headless Chromium, served as a user does it."""

import io
import re
import shlex
import signal
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import browser
import numpy as np
import PIL.Image
import pytest

from generation import direction_files, vector_files

pytestmark = [pytest.mark.slow, pytest.mark.one_stack]
ROOT = Path(__file__).parent.parent.parent
DEMO = ROOT / "demo/symbols-32x32.pkl"


class Page:
    """A server in a process of its own. url: of its page. pid: of the process."""

    def __init__(self, folder, *args):
        command = [sys.executable, str(ROOT / "run_generator.py"), "view", *map(str, args), "--port=0"]
        self.process = subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.said = []
        for line in self.process.stdout:
            self.said.append(line)
            if "The page is at" in line:
                break
        else:
            pytest.fail("".join(self.said))
        self.url = re.search(r"http://\S+/", self.said[-1])[0]
        self.pid = self.process.pid

    def get(self, path, **headers):
        request = urllib.request.Request(self.url + path, headers=headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read(), answer.headers

    def picture(self, query):
        return pixels_of(self.get(f"picture?{query}")[0])

    def memory(self):
        """MB that the process has."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024

    def cpu(self):
        """Seconds of processors that the process took."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100

    def end(self):
        """What it said since, and its exit status."""
        self.process.send_signal(signal.SIGINT)
        said, _ = self.process.communicate(timeout=60)
        return said, self.process.returncode


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a vector and directions."""
    folder = tmp_path_factory.mktemp("place")
    rnd = np.random.RandomState(0)
    vector_files.save(folder / "anna.npz", rnd.randn(1, 8, 64) * 0.5)
    direction_files.save(folder / "moves.npz", ["wide", "dark"], rnd.randn(2, 8, 64), [range(8)] * 2, [0.3, 0.3])
    return folder


@pytest.fixture(scope="module")
def page(place):
    page = Page(place, DEMO, ROOT / "demo/symbols-32x32.pkl", "--dlatents=anna.npz", "--directions=moves.npz")
    yield page
    said, status = page.end()
    assert (said.splitlines()[0], status) == ("The page has ended.", 0), said


@pytest.fixture(scope="module")
def window():
    if not (browser.CHROMIUM and browser.CHROMEDRIVER):
        pytest.skip("needs chromium and chromedriver")
    with browser.opened() as window:
        window.size(1200, 900)
        yield window


def pixels_of(png):
    return np.array(PIL.Image.open(io.BytesIO(png)))


SETTLED = """
    while (!(state && shown && !wanted && / ms$/.test($('status').textContent)))
        await new Promise((done) => setTimeout(done, 10));"""


def settled(window):
    """Waits until nothing is going on; what picture there is, as text."""
    return window.run(f"{SETTLED} return shown.text;")


def seen(window):
    """The pixels that the browser shows, uint8 `[H, W, 3]`."""
    script = """
        const image = $('picture'), canvas = document.createElement('canvas');
        const width = canvas.width = image.naturalWidth, height = canvas.height = image.naturalHeight;
        const context = canvas.getContext('2d');
        context.drawImage(image, 0, 0);
        return [width, height, Array.from(context.getImageData(0, 0, width, height).data)];"""
    width, height, data = window.run(SETTLED + script)
    return np.array(data, np.uint8).reshape(height, width, 4)[..., :3]


def enter(window, **values):
    """Changes controls as a user does it."""
    window.run(
        """for (const [id, value] of Object.entries(arguments[0])) {
            const control = $(id.replace('_', '-'));
            if (control.type === 'checkbox') control.checked = value; else control.value = value;
            control.dispatchEvent(new Event('input', { bubbles: true }));
        }""",
        values,
    )
    return settled(window)


def drag(window, *points):
    """Drags the map, in pixels from its middle."""
    window.run(
        """const map = $('map'), { left, top, width, height } = map.getBoundingClientRect();
        map.setPointerCapture = () => {};
        const send = (type, [x, y]) => map.dispatchEvent(new PointerEvent(type,
            { pointerId: 1, bubbles: true, clientX: left + width / 2 + x, clientY: top + height / 2 + y }));
        send('pointerdown', arguments[0][0]);
        for (const point of arguments[0]) { send('pointermove', point); await new Promise(requestAnimationFrame); }
        send('pointerup', arguments[0].at(-1));""",
        points,
    )
    return settled(window)


def test_controls(page, window, place, tmp_path):
    window.requested(), window.errors()  # of pages before
    window.open(f"{page.url}#seed=85&psi=0.7&noise=seed")
    assert settled(window) == "seed=85&psi=0.7&cutoff=8&noise=seed"
    changes = [
        {"psi": "-0.3"},
        {"cutoff": "3"},
        {"noise": "const"},
        {"psi_number": "1"},
        {"seed": "4294967295"},
        {"direction1": "2.5"},
        {"vector": "anna"},
    ]
    for change in changes:
        text = enter(window, **change)
        assert np.array_equal(seen(window), page.picture(text)), text
    assert text == "vector=anna&psi=1&cutoff=3&noise=const&direction=1%3A2.5"
    enter(window, seed="85", mix="3")
    window.run("document.querySelectorAll('#layers input')[2].click()")
    text = settled(window)
    assert text == "seed=85&psi=1&cutoff=3&noise=const&mix=3&layers=2&direction=1%3A2.5"
    made = run_shown(window, place, tmp_path)
    assert np.array_equal(made["85-3.png"], seen(window))
    enter(window, mix_vector="anna")
    assert settled(window).endswith("mix-vector=anna&layers=2&direction=1%3A2.5")
    window.run("$('no-directions').click()")
    assert settled(window).endswith("mix-vector=anna&layers=2")
    enter(window, network="1")
    assert settled(window).startswith("network=1&seed=85&psi=0.5&cutoff=8")
    assert {url.removeprefix(page.url).partition("?")[0] for url in window.requested() if "blob:" not in url} == {
        *("", "style.css", "page.js", "networks.json", "picture")
    }
    assert window.errors() == []


def run_shown(window, place, folder):
    """What the shown command makes, by name."""
    _, script, *args = shlex.split(window.run("return $('command').textContent"))
    command = [sys.executable, str(ROOT / script), *args, f"--result-dir={folder}"]
    subprocess.run(command, cwd=place, check=True, stdout=subprocess.DEVNULL)
    return {path.name: np.array(PIL.Image.open(path)) for path in folder.glob("*/*.png")}


def test_map(page, window, place, tmp_path):
    window.open(f"{page.url}#seed=85&psi=0.7")
    settled(window)
    cell = window.run("return cellSize()")
    assert drag(window, [0, 0], [-0.1 * cell, 0], [-0.25 * cell, -0.5 * cell]).startswith(
        "seed=85&x=0.25&y=0.5&space=w"
    )
    made = run_shown(window, place, tmp_path)
    assert np.array_equal(made["picture.png"], seen(window))
    assert enter(window, space="z").startswith("seed=85&x=0.25&y=0.5&space=z")
    assert drag(window, [0, 0], [0.5 * cell, 0.7 * cell]).startswith("seed=4294967280&x=0.75&y=0.8&")
    assert drag(window, [cell, cell]) == "seed=186&psi=0.7&cutoff=8&noise=const"  # a click: the nearest seed there
    window.run("while (thumbnails.size < 20) await new Promise((done) => setTimeout(done, 10));")
    assert window.run("await new Promise((done) => setTimeout(done, 500)); return location.hash;") == "#" + settled(
        window
    )


def test_keys(page, window):
    window.open(f"{page.url}#seed=85")
    settled(window)
    window.run("""
        window.saved = [];
        const made = URL.createObjectURL, blobs = {};
        URL.createObjectURL = (blob) => { const url = made(blob); blobs[url] = blob; return url; };
        HTMLAnchorElement.prototype.click = function () {
            const keep = (data) => saved.push([this.download, Array.from(new Uint8Array(data))]);
            blobs[this.href].arrayBuffer().then(keep);
        };""")
    right, left, down, up = "\ue014", "\ue012", "\ue015", "\ue013"
    window.keys(right + down + right + left)
    assert settled(window).startswith("seed=186&psi")
    window.keys(up + up + up)
    assert settled(window).startswith(f"seed={(186 - 300) % 2**32}&psi")
    window.run("""
        const event = new KeyboardEvent('keydown', { key: 'ArrowDown', shiftKey: true, bubbles: true });
        document.body.dispatchEvent(event);""")
    assert settled(window).startswith(f"seed={(186 - 300) % 2**32}&x=0&y=0.1&")
    window.keys("r")
    assert "x=" not in settled(window)
    enter(window, seed="7")
    window.keys("sv")
    saved = window.run("while (saved.length < 2) await new Promise((done) => setTimeout(done, 10)); return saved;")
    (image, png), (vector, npz) = sorted(saved)[::-1] if saved[0][0].endswith("z") else saved
    assert (image, vector) == ("seed0007.png", "seed0007.npz")
    assert np.array_equal(pixels_of(bytes(png)), seen(window))
    with np.load(io.BytesIO(bytes(npz))) as arrays:
        assert arrays["dlatents"].shape == (1, 8, 64)
    window.run("state.seed = 8; saveImage()")  # which is not shown yet
    saved = window.run("while (saved.length < 3) await new Promise((done) => setTimeout(done, 10)); return saved;")
    assert saved[2][0] == "seed0007.png"
    window.keys("n")
    assert settled(window).startswith("network=1&")


def test_narrow_and_dark(page, window, tmp_path):
    window.open(page.url)
    try:
        for width, scheme in ((320, "dark"), (390, "light"), (1200, "dark")):
            window.size(width, 800)
            window.prefer(scheme)
            settled(window)
            assert window.run("return document.documentElement.scrollWidth") <= width
            window.screenshot(tmp_path / "window.png")
            corner = np.array(PIL.Image.open(tmp_path / "window.png").convert("L"))[-1, 0]
            assert corner > 200 if scheme == "light" else corner < 50
    finally:
        window.size(1200, 900)


def test_wrong_states(page, window):
    for state, message in (
        ("seed=-3", "seed: expected"),
        ("psi=1e999", ""),
        ("vector=nobody", "there is no vector 'nobody'"),
    ):
        window.open("about:blank")
        window.open(f"{page.url}#{state}")
        window.run("""while (/^loading|^computing|^$/.test($('status').textContent))
            await new Promise((done) => setTimeout(done, 10));""")
        assert message in window.run("return $('status').textContent"), state
    enter(window, seed="1", vector="")
    window.run("$('seed').value = ''; $('seed').dispatchEvent(new Event('input', { bubbles: true }))")
    assert window.run("return $('status').className") == "error"
    assert enter(window, seed="2").startswith("seed=2&")


def test_quick_and_without_growth(page):
    """CPU time of warm pictures, and memory over a thousand of them, between seeds and on them."""
    rnd = np.random.RandomState(0)
    queries = [
        f"seed={rnd.randint(1e6)}&x={rnd.rand():.3f}&psi={rnd.rand():.2f}&direction=0:{rnd.randn():.2f}"
        for _ in range(600)
    ]
    queries += [f"seed={rnd.randint(1e6)}&psi={rnd.rand():.2f}&cutoff={rnd.randint(9)}&noise=seed" for _ in range(600)]
    for query in queries[:50] + queries[-50:]:
        page.get(f"picture?{query}")
    memory, cpu = page.memory(), page.cpu()
    for query in queries:
        page.get(f"picture?{query}")
    seconds = (page.cpu() - cpu) / len(queries)
    print(f"{seconds * 1000:.1f} ms of CPU time a picture; memory {memory:.0f} MB, then {page.memory():.0f} MB")
    assert seconds < 0.06
    assert page.memory() < memory + 20


def test_flood_of_wrong_requests(page):
    rnd = np.random.RandomState(1)
    names = ["seed", "x", "psi", "cutoff", "layers", "mix", "direction", "vector", "network", "class", "../x", "é"]
    values = [
        "nan",
        "1e999",
        "-1",
        "9" * 3000,
        "%00",
        "%ff",
        "..%2f..%2fetc%2fpasswd",
        "",
        "0x10",
        "1_0",
        "٣",
        "[]",
        "<script>",
    ]
    memory, refused = page.memory(), 0
    for _ in range(1000):
        parts = [f"{rnd.choice(names)}={rnd.choice(values)}" for _ in range(rnd.randint(1, 5))]
        path = rnd.choice(["picture", "vector", "../etc/passwd", "page.js/../../x", "%2e%2e/x", "networks.json/"])
        try:
            page.get(urllib.parse.quote(f"{path}?{'&'.join(parts)}", safe="/?=&%"))
        except urllib.error.HTTPError as error:
            assert error.code in (400, 404), error.read()
            assert "Traceback" not in error.read().decode()
            refused += 1
    assert refused > 900
    assert page.memory() < memory + 20
    assert page.picture("seed=1").shape == (32, 32, 3)


def test_two_browsers(page, window):
    window.open(f"{page.url}#seed=1")
    settled(window)
    with browser.opened() as other:
        other.open(f"{page.url}#seed=2")
        settled(other)
        for seed in range(5):
            for one, base in ((window, 100), (other, 200)):
                one.run("Object.assign(state, { seed: arguments[0] }); changed();", base + seed)
        assert settled(window).startswith("seed=104&")
        assert settled(other).startswith("seed=204&")
        for one in (window, other):
            assert np.array_equal(seen(one), page.picture(settled(one)))


def test_files_are_where_they_belong(page, place):
    page.get("vector?seed=1&x=0.5")
    assert {path.name for path in place.iterdir()} == {"anna.npz", "moves.npz", "results"}
    (run,) = (place / "results").glob("0*-view")
    assert {path.name for path in run.iterdir()} <= {
        "log.txt",
        "run.txt",
        "submit_config.txt",
        "submit_config.pkl",
        ".lock",
    }


def test_whole_network(place):
    page = Page(place, DEMO, "--host=0.0.0.0")
    assert page.picture("seed=1").shape == (32, 32, 3)
    with pytest.raises(urllib.error.HTTPError, match="421"):
        page.get("picture", Host="evil.example")
    _, status = page.end()
    assert status == 0
    assert "warn: --host=0.0.0.0: everybody who reaches this machine" in "".join(page.said)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["no.pkl"], "no.pkl"),
        ([DEMO, "--port=70000"], "argument --port: expected 0 to 65535, got 70000"),
        ([DEMO, "--dlatents=no.npz", "--directions=none.npz"], "--dlatents: no.npz: no such file"),
        ([DEMO, "--host=no.such.host.invalid"], "--host=no.such.host.invalid: is no address of this machine"),
        ([DEMO, "--save", "--state=seed=x&psi=y"], "--state: psi: expected a number"),
        ([], "the following arguments are required: NETWORK"),
    ],
)
def test_wrong_command_lines(place, args, message):
    command = [sys.executable, str(ROOT / "run_generator.py"), "view", *map(str, args)]
    result = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode in (1, 2)
    assert message in result.stderr
    assert "Traceback" not in result.stderr
