"""Fixtures of several test files."""

import pytest


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a data set `cats` and an image archive."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "datasets" / "cats").mkdir(parents=True)
    (tmp_path / "datasets" / "cats" / "cats-r05.tfrecords").write_bytes(b"")
    (tmp_path / "my.images.zip").write_bytes(b"")
    return tmp_path
