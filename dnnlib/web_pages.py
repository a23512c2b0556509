"""Web pages with which servers answer in place of a file: what they say, and where Google Drive's confirmation leads.

Pages are of anybody. Patterns here go through a page once, and only its beginning is read.
"""

from __future__ import annotations

import html
import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urljoin

from .errors import printable

if TYPE_CHECKING:
    import requests
_MOST_BYTES = 1 << 20
_MOST_SECONDS = 60
_CHUNK = 1 << 14  # bytes as they arrive, which may be compressed
_QUOTA = ("quota exceeded", "too many users have viewed or downloaded", "download quota")


def is_page(response: requests.Response) -> bool:
    """Whether an answer is a page, by what it says that it is."""
    content_type = response.headers.get("Content-Type", "").lower()
    return response.status_code == 200 and content_type.startswith("text/html")


def read(response: requests.Response) -> str:
    """The beginning of a page, as far as it arrives within a minute; the answer is closed."""
    content, begin = b"", time.monotonic()
    with response:
        while len(content) < _MOST_BYTES and time.monotonic() - begin < _MOST_SECONDS:
            chunk = response.raw.read1(_CHUNK, decode_content="," not in response.headers.get("Content-Encoding", ""))
            if not chunk:
                break
            content += chunk
    return content[:_MOST_BYTES].decode("utf-8", "replace")


def title(page: str) -> str:
    """' titled 'Sign in'', or nothing."""
    match = re.search(r"<title[^<>]*>([^<]*)", page, re.IGNORECASE)
    return f" titled '{printable(html.unescape(match[1][:500]).strip(), 80)}'" if match else ""


def says_quota(page: str) -> bool:
    """Whether Google Drive says that a file was downloaded too often."""
    lower = page.lower()
    return any(phrase in lower for phrase in _QUOTA)


def confirmation_url(page: str, url: str, cookies: Mapping[str, str]) -> str | None:
    """Where a confirmation page leads: a link or a form with a `confirm` parameter, or a warning cookie; else None.

    url: of the page.
    """
    for link in re.findall(r'href="([^"]+)"', page):
        if "confirm=" in link:
            return urljoin(url, html.unescape(link))
    form = re.search(r'<form(?=[\s"])[^<>]*>', page)
    action = form and re.search(r'\baction="([^"]+)"', form[0])
    if action:
        inside = page[form.end() : page.find("</form", form.end())]
        inputs = re.findall(r"<input[^<>]*>", inside)
        attributes = [dict(re.findall(r'\b(name|value)="([^"]*)"', text)) for text in inputs]
        fields = [(found["name"], html.unescape(found["value"])) for found in attributes if len(found) == 2]
        if "confirm" in action[1] + inside:
            return _with(urljoin(url, html.unescape(action[1])), urlencode(fields))
    for cookie, value in cookies.items():
        if cookie.startswith("download_warning"):
            return _with(url, f"confirm={value}")
    return None


def _with(url: str, query: str) -> str:
    return url + ("&" if "?" in url else "?") + query
