"""CITATION.cff and CHANGELOG.md have the form that programs read, and tell of the same release."""

import re
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.one_stack
ROOT = Path(__file__).parent.parent
CHANGES = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security", "Known limits")


def releases():
    """Versions and dates of the changelog, newest first, and what comes before them."""
    titles = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    return titles[0], [re.fullmatch(r"\[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)", title).groups() for title in titles[1:]]


def test_changelog():
    unreleased, _ = releases()
    assert unreleased == "[Unreleased]"
    kinds = re.findall(r"^### (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert kinds and set(kinds) <= set(CHANGES)


def test_citation():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0" and citation["message"] and citation["title"] and citation["authors"]
    assert citation["license"] == "Apache-2.0"
    of_release = (citation.get("version"), str(citation.get("date-released")))
    assert of_release == (releases()[1] or [(None, "None")])[0]
    for paper in citation["references"]:
        assert {"type", "title", "authors", "year", "conference", "url"} == paper.keys()
        assert all({"family-names", "given-names"} == author.keys() for author in paper["authors"])
