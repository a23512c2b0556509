"""Downloads into a cache: resumed after breaks, checked, placed whole, and explained where they fail."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urljoin, urlparse

from . import web_pages
from .errors import UserError, printable, reason_of
from .files import only_one, sha256_of
from .kinds import HEAD, is_page

if TYPE_CHECKING:
    import requests
CACHE_VARIABLE = "STYLEGAN2_CACHE_DIR"
OFFLINE_VARIABLE = "STYLEGAN2_OFFLINE"
# URLs under which older versions of the official code cached the same files.
_FORMER_HOSTS = {
    "https://nvlabs-fi-cdn.nvidia.com/stylegan2/": "http://d36zk2xti64re0.cloudfront.net/stylegan2/",
    "https://nvlabs-fi-cdn.nvidia.com/stylegan/": "http://d36zk2xti64re0.cloudfront.net/stylegan1/",
}
_CONNECT_ATTEMPTS = 4  # without a sign of the server
_CHUNK = 1 << 18
_CHUNK_PACKED = 1 << 14  # of an answer that is compressed: a thousand times as much may be in it
_REDIRECTS = 20
_TIMEOUT = (15, 60)  # seconds to connect, and between bytes


class DownloadError(UserError, OSError):
    """A file that could not be downloaded. The message names it, the URL, the reason and what to do."""


class _Retry(Exception):
    """A failure that may pass: try again. `wait`: seconds that the server asks for."""

    def __init__(self, reason: str, wait: float | None = None):
        super().__init__(reason)
        self.wait = wait


def default_cache_dir() -> str:
    """The cache folder: $STYLEGAN2_CACHE_DIR, or `.stylegan2-cache` in the current folder as officially."""
    return os.environ.get(CACHE_VARIABLE) or ".stylegan2-cache"


def is_offline() -> bool:
    """Whether $STYLEGAN2_OFFLINE forbids downloads."""
    return os.environ.get(OFFLINE_VARIABLE, "").lower() not in ("", "0", "false", "no", "off")


def fetch(
    url: str,
    cache_dir: str | os.PathLike | None = None,
    num_attempts: int = 10,
    verbose: bool = True,
    size: int | None = None,
    sha256: str | None = None,
    offline: bool | None = None,
    backoff: float = 1.0,
    replaceable: bool = True,
) -> str:
    """The path of a URL's file in the cache; downloads it if it is not there.

    Args:
        url: http or https URL. Confirmation pages of Google Drive are followed.
        cache_dir: the cache folder; None is `default_cache_dir()`.
        num_attempts: tries before giving up; a broken download goes on where it stopped.
        verbose: show progress.
        size: expected bytes, None if not known (the size that the server states is checked in any case).
        sha256: expected hash, None if not known.
        offline: fail instead of downloading; None is `is_offline()`.
        backoff: seconds before the second try; doubled before each further one, at most 60.
        replaceable: whether the user can give the path of a file in its place: for messages.

    Raises:
        DownloadError: not reachable, not found, quota exceeded, a web page instead of the file, damaged, or offline.
    """
    cache = Path(cache_dir if cache_dir is not None else default_cache_dir()).expanduser()
    if cached := _whole(url, cache, size, sha256):
        return cached
    name = _name_of(url)
    key = _md5(url)
    if is_offline() if offline is None else offline:
        damaged = find_cached(url, cache)
        there = f" ({damaged}: {_problem(damaged, size, sha256)})" if damaged else ""
        raise DownloadError(
            f"{name} is not in the cache{there}, and downloads are off (--offline or {OFFLINE_VARIABLE}). "
            f"Get it from {url} and save it as {cache / f'{key}_{name}'}"
            + (", or give the path of the file instead." if replaceable else ".")
        )
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with only_one(cache / f"{key}.lock", f"Waiting for another process that downloads {name} ..."):
            if cached := _whole(url, cache, size, sha256):  # another process may have been faster
                return cached
            return _fetch(url, cache, key, num_attempts, verbose, size, sha256, backoff)
    except DownloadError:
        raise
    except OSError as error:
        raise DownloadError(f"{name}: cannot be saved in {cache}: {error.strerror or error}") from None


def find_cached(url: str, cache_dir: str | os.PathLike) -> str | None:
    """The path of a URL's file in the cache folder, also as older versions named it; None if it is not there.

    Of several, one that is not empty.
    """
    found = _cached(url, cache_dir)
    return next((path for path in found if os.path.getsize(path)), next(iter(found), None))


def _whole(url: str, cache: Path, size: int | None, sha256: str | None) -> str | None:
    """The path of a URL's file in the cache that is as expected. A server may have called it otherwise each time."""
    return next((path for path in _cached(url, cache) if _problem(path, size, sha256) is None), None)


def _cached(url: str, cache_dir: str | os.PathLike) -> list[str]:
    """The paths of all files in the cache folder that a URL's file may be."""
    urls = [url] + [former + url.removeprefix(now) for now, former in _FORMER_HOSTS.items() if url.startswith(now)]
    folder = glob.escape(os.fspath(cache_dir))
    return [
        path
        for key in map(_md5, urls)
        for path in sorted(glob.glob(os.path.join(folder, f"{key}_*")))
        if os.path.isfile(path)
    ]


def _fetch(
    url: str,
    cache: Path,
    key: str,
    num_attempts: int,
    verbose: bool,
    size: int | None,
    sha256: str | None,
    backoff: float,
) -> str:
    import requests  # takes as long as the rest of a script's --help

    part = cache / f"{key}.part"
    reason, attempt, attempts = "", 0, max(1, num_attempts)
    while attempt < attempts:
        try:
            with requests.Session() as session:
                name = _download(session, url, part, verbose, size)
                _check_content(part, url, name, size, sha256)
            target = cache / f"{key}_{name}"
            os.replace(part, target)
            _forget(part)
            return os.fspath(target)
        except (_Retry, requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
            reason = reason_of(error)
            if isinstance(error, requests.ConnectionError) and not part.exists():
                reason = f"no connection to {urlparse(url).netloc}"
                attempts = min(attempts, _CONNECT_ATTEMPTS)
            if attempt + 1 < attempts:
                wait = min(backoff * 2**attempt, 60)
                wait = max(wait, min(getattr(error, "wait", None) or 0, 300))
                if verbose:
                    print(
                        f"Download of {_name_of(url)} failed ({reason}); trying again in {wait:.0f}s", file=sys.stderr
                    )
                time.sleep(wait)
            attempt += 1
        except (requests.RequestException, ValueError) as error:  # ValueError: a redirect to something that is no URL
            raise DownloadError(f"{_name_of(url)}: {url} cannot be downloaded: {reason_of(error)}") from None
    raise DownloadError(
        f"{_name_of(url)}: {url} could not be downloaded in {attempt} attempts: {reason}. Try again later (the "
        f"download goes on where it stopped), or save the file by hand as {cache / f'{key}_{_name_of(url)}'}."
    )


# ----------------------------------------------------------------------------
# One attempt.


def _download(session: requests.Session, url: str, part: Path, verbose: bool, size: int | None) -> str:
    """Brings `part` to its full length and returns the name of the file."""
    import requests
    import urllib3

    from .progress import Progress

    broken = requests.ConnectionError, requests.exceptions.ChunkedEncodingError, urllib3.exceptions.HTTPError
    note = _read_note(part)
    have = part.stat().st_size if note and part.exists() else 0
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if note["validator"]:
            headers["If-Range"] = note["validator"]
    response = _get(session, url, headers)
    with response:
        _check_status(response, url, part)
        if response.status_code != 206:
            have = 0
        elif response.headers.get("Content-Range") != f"bytes {have}-{note['total'] - 1}/{note['total']}":
            _forget(part)
            raise _Retry("the server has another file than before")
        length = response.headers.get("Content-Length", "")
        encoded = response.headers.get("Content-Encoding", "identity") != "identity"  # then the length is not ours
        total = int(length) + have if length.isdigit() and not encoded else None
        if size is not None and total is not None and total != size:
            raise DownloadError(f"{_name_of(url)}: {url} has {total} bytes, expected {size}: this is another file")
        name = _response_name(response, url)
        _write_note(part, response, total)
        options = {"initial": have, "unit_scale": True, "disable": not verbose}
        bar = Progress(total or size, "B", desc=f"Downloading {name}", **options)
        with open(part, "ab" if have else "wb") as file, bar:
            try:
                for chunk in _chunks(response):
                    file.write(chunk)
                    bar.update(len(chunk))
                    if size is not None and file.tell() > size:
                        raise DownloadError(f"{_name_of(url)}: {url} has more than {size} bytes: this is another file")
            except broken as error:
                raise _Retry(f"the connection broke after {file.tell()} of {total or '?'} bytes") from error
    done = part.stat().st_size
    if total is not None and done != total:
        raise _Retry(f"the connection ended after {done} of {total} bytes")
    return name


def _read_note(part: Path) -> dict[str, Any]:
    """What is known of the file that `part` is the beginning of; {} if that is not enough to go on."""
    try:
        note = json.loads(_note_file(part).read_text())
        return note if isinstance(note["total"], int) and isinstance(note["validator"], str) else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _write_note(part: Path, response: requests.Response, total: int | None) -> None:
    etag = response.headers.get("ETag", "")
    validator = etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified", "")
    _note_file(part).write_text(json.dumps({"total": total, "validator": validator}))


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _note_file(part).unlink(missing_ok=True)


def _chunks(response: requests.Response) -> Iterator[bytes]:
    """The content as it arrives. `iter_content` would lose what came last before the connection broke."""
    if response.headers.get("Content-Encoding", "identity") != "identity":
        yield from response.iter_content(_CHUNK_PACKED)
        return
    while chunk := response.raw.read1(_CHUNK):
        yield chunk


def _get(session: requests.Session, url: str, headers: dict[str, str]) -> requests.Response:
    """Requests a URL, following the confirmation page that Google Drive shows for large files."""
    asked: str | None = url
    for _ in range(4):
        response = _follow(session, asked, headers)
        if not web_pages.is_page(response):
            return response
        page = web_pages.read(response)
        if web_pages.says_quota(page):
            raise DownloadError(
                f"{_name_of(url)}: Google Drive quota exceeded for {url}: too many downloads in the last 24 hours. "
                "Try again tomorrow, or give the path of the file if you have it."
            )
        asked = web_pages.confirmation_url(page, response.url, session.cookies)
        if asked is None:
            shown = web_pages.title(page)
            raise DownloadError(f"{_name_of(url)}: {url} answered with a web page{shown} instead of the file")
    raise DownloadError(f"{_name_of(url)}: {url} asks for confirmation again and again")


def _follow(session: requests.Session, url: str, headers: dict[str, str]) -> requests.Response:
    """Requests a URL, following redirects. `requests` itself would read whatever comes with them."""
    for _ in range(_REDIRECTS):
        response = session.get(url, headers=headers, stream=True, timeout=_TIMEOUT, allow_redirects=False)
        target = session.get_redirect_target(response)
        if not target:
            return response
        response.close()
        url = urljoin(response.url, target)
    raise DownloadError(f"{_name_of(url)}: {printable(url)} leads from one address to another again and again")


def _check_status(response: requests.Response, url: str, part: Path) -> None:
    status = response.status_code
    if status in (200, 206):
        return
    if status == 416:  # the part is no part of this file
        _forget(part)
        raise _Retry("the server has no more bytes than were downloaded")
    if status in (408, 425, 429) or status >= 500:
        wait = response.headers.get("Retry-After", "")
        raise _Retry(f"HTTP status {status}", float(wait) if wait.isdigit() else None)
    meaning = {401: "access denied", 403: "access denied", 404: "not found", 410: "gone"}.get(status, "refused")
    raise DownloadError(f"{_name_of(url)}: {url} is {meaning} (HTTP status {status})")


def _check_content(part: Path, url: str, name: str, size: int | None, sha256: str | None) -> None:
    """Refuses wrong bytes and deletes them."""
    with open(part, "rb") as file:
        head = file.read(HEAD)
    if is_page(head):
        _forget(part)
        raise DownloadError(f"{name}: {url} answered with a web page instead of the file")
    problem = _problem(part, size, sha256)
    if problem is not None:
        _forget(part)
        raise _Retry(f"damaged download of {name}: {problem}")


def _problem(path: str | os.PathLike, size: int | None, sha256: str | None) -> str | None:
    """What is wrong with a file, None if nothing is."""
    done = os.path.getsize(path)
    if done == 0:
        return "the file is empty"
    if size is not None and done != size:
        return f"{done} bytes, expected {size}"
    if sha256 is not None:
        found = sha256_of(path)
        if found != sha256.lower():
            return f"sha256 is {found}, expected {sha256}"
    return None


# ----------------------------------------------------------------------------
# Names.


def _md5(url: str) -> str:
    return hashlib.md5(url.encode("utf-8"), usedforsecurity=False).hexdigest()


def _note_file(part: Path) -> Path:
    return part.with_suffix(".json")


def _name_of(url: str) -> str:
    """A file name for a URL: its last part, with unusual characters replaced."""
    return _safe_name(unquote(urlparse(url).path).rsplit("/", 1)[-1] or urlparse(url).netloc)


def _response_name(response: requests.Response, url: str) -> str:
    match = re.search(r'filename="?([^";]+)"?', response.headers.get("Content-Disposition", ""))
    return _safe_name(match.group(1)) if match else _name_of(url)


def _safe_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", name).lstrip(".")[-150:] or "file"
