"""Chromium without a window, driven by chromedriver over HTTP (WebDriver), and a server of a folder for it."""

import base64
import contextlib
import functools
import http.server
import json
import re
import shutil
import subprocess
import tempfile
import threading

import requests

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
CHROMEDRIVER = shutil.which("chromedriver")


_ARGUMENTS = (
    *("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-background-networking"),
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost",  # a page that asks for more does not get it
)


class Browser:
    """A window."""

    def __init__(self, address, arguments):
        capabilities = {
            "goog:chromeOptions": {"binary": CHROMIUM, "args": arguments},
            "goog:loggingPrefs": {"performance": "ALL", "browser": "ALL"},
            "timeouts": {"script": 120_000},
        }
        self._address = f"{address}/session"
        self._address += "/" + self._post("", {"capabilities": {"alwaysMatch": capabilities}})["sessionId"]

    def _post(self, path, content):
        answer = requests.post(self._address + path, json=content, timeout=600).json()["value"]
        if isinstance(answer, dict) and "error" in answer:
            raise RuntimeError(f"{answer['error']}: {answer['message']}")
        return answer

    def open(self, url):
        self._post("/url", {"url": url})  # which may return before the page's scripts have run
        self.run("while (document.readyState !== 'complete') await new Promise((done) => setTimeout(done, 10));")

    def run(self, script, *args):
        """What an async function with this body returns; its arguments are `arguments`."""
        wrapped = f"""
            const done = arguments[arguments.length - 1];
            (async function () {{ {script} }}).apply(null, arguments).then(
                (value) => done([value]), (error) => done("" + error));"""
        answer = self._post("/execute/async", {"script": wrapped, "args": list(args)})
        if isinstance(answer, str):
            raise RuntimeError(answer)
        return answer[0]

    def keys(self, text):
        """Presses keys, one after the other, wherever the focus is."""
        actions = [{"type": kind, "value": key} for key in text for kind in ("keyDown", "keyUp")]
        self._post("/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def size(self, width, height):
        parameters = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self._command("Emulation.setDeviceMetricsOverride", parameters)

    def prefer(self, scheme):
        """'dark' or 'light'."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._command("Emulation.setEmulatedMedia", {"features": features})

    def _command(self, name, parameters):
        return self._post("/goog/cdp/execute", {"cmd": name, "params": parameters})

    def screenshot(self, path):
        with open(path, "wb") as file:
            file.write(base64.b64decode(requests.get(f"{self._address}/screenshot", timeout=60).json()["value"]))

    def requested(self):
        """URLs asked for since this was called last, of the page and its workers."""
        entries = [json.loads(entry["message"])["message"] for entry in self._log("performance")]
        urls = [
            entry["params"]["request"]["url"] for entry in entries if entry["method"] == "Network.requestWillBeSent"
        ]
        return [url for url in urls if not url.startswith(("chrome:", "chrome-untrusted:", "data:"))]

    def errors(self):
        """What the console has of errors since this was called last."""
        return [entry["message"] for entry in self._log("browser") if entry["level"] == "SEVERE"]

    def _log(self, kind):
        return self._post("/se/log", {"type": kind})

    def close(self):
        requests.delete(self._address, timeout=60)


@contextlib.contextmanager
def opened(*arguments):
    """A `Browser`. arguments: of Chromium, besides those that it always has."""
    with tempfile.TemporaryDirectory() as profile:
        driver = subprocess.Popen([CHROMEDRIVER, "--port=0"], stdout=subprocess.PIPE, text=True)
        try:
            line = next(line for line in driver.stdout if "successfully" in line)
            browser = Browser(
                f"http://localhost:{re.search('port ([0-9]+)', line)[1]}",
                [*_ARGUMENTS, f"--user-data-dir={profile}", *arguments],
            )
            try:
                yield browser
            finally:
                browser.close()
        finally:
            driver.terminate()
            driver.wait()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@contextlib.contextmanager
def served(folder):
    """The URL of a folder, as `python -m http.server` has it."""
    server = http.server.ThreadingHTTPServer(("localhost", 0), functools.partial(_Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://localhost:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
