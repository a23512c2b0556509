"""All images are read once at the start of a training, and all that cannot be are named."""

import re
import time

import pytest
from dataset_tool_runs import random_images, save_images

from dnnlib.errors import UserError
from training.data import image_check
from training.data.dataset import TFRecordDataset
from training.loop.reals import RealsReader

pytestmark = pytest.mark.one_stack


def make_set(folder, count=40, damaged=(7, 23)):
    save_images(folder, random_images(count, 16, 16, 3))
    for number in damaged:
        path = folder / f"{number:04d}.png"
        path.write_bytes(path.read_bytes()[:400])  # its header is whole
    return TFRecordDataset(str(folder))


def test_ahead(tmp_path, capsys):
    make_set(tmp_path / "whole", damaged=()).image_check().ahead()
    assert "background" not in capsys.readouterr().out
    with pytest.raises(UserError) as error:
        make_set(tmp_path / "in").image_check().ahead()
    head, first, second, advice = str(error.value).splitlines()
    assert head == f"{tmp_path / 'in'}: 2 of 40 images cannot be read:"
    assert first.startswith("  0007.png: cannot be read (") and second.startswith("  0023.png: cannot be read (")
    assert "--resume-changed-data" in advice


def test_many(tmp_path, capsys):
    with pytest.raises(UserError, match=r"35 of 40 images cannot be read:(\n.*){30}\n  \.\.\. and 5 more"):
        make_set(tmp_path / "in", damaged=range(35)).image_check().ahead()
    assert all(f"{number:04d}.png: cannot be read" in capsys.readouterr().out for number in [34])


def test_in_the_background(tmp_path, capsys):
    check = make_set(tmp_path / "in").image_check()
    check.ahead(seconds=0)
    assert "1 of 40 images are checked; the others will be in the background." in capsys.readouterr().out
    with pytest.raises(UserError, match=r"2 of 40 images cannot be read:\n  0007\.png.*\n  0023\.png"):
        for _ in range(600):
            check.go_on()
            time.sleep(0.05)
    check.close()


def test_an_image_that_training_meets_first(tmp_path, monkeypatch):
    """All others are named with it; where a drive is gone, that is told alone."""
    training_set = make_set(tmp_path / "in", count=8, damaged=(2, 5))
    for gave_up, names in ((False, {"0002", "0005"}), (True, None)):
        check = training_set.image_check()
        monkeypatch.setattr(check, "go_on", lambda: None)
        monkeypatch.setattr(image_check, "gave_up", lambda gave_up=gave_up: gave_up)
        reader = RealsReader(training_set, 0, check=check)
        with pytest.raises(UserError, match=r"^\S+: \d{4}.png: cannot be read") as first:
            reader.pieces(0, 8, 8, 0)
        with pytest.raises(UserError) as error:  # once the state is saved
            reader.explain(first.value)
            raise first.value
        reader.explain(UserError("something else"))
        found = set(re.findall(r"(\d{4})\.png: cannot be read", str(error.value)))
        assert found == names if names else len(found) == 1
        reader.close()


def test_what_was_checked_when_it_was_opened(tmp_path):
    from dataset_tools.images import create_from_images

    save_images(tmp_path / "in", random_images(4, 16, 16, 3))
    create_from_images(str(tmp_path / "out"), str(tmp_path / "in"))
    check = TFRecordDataset(str(tmp_path / "out")).image_check()
    check.ahead(seconds=0)
    check.go_on()
    assert check._thread is None


def test_a_drive_that_is_gone_for_a_while(tmp_path, monkeypatch):
    """Images are not called damaged then."""
    training_set = make_set(tmp_path / "in", count=8, damaged=())
    check, fails, gone = training_set.image_check(), [True] * 2, [False, True, True, True]
    monkeypatch.setattr(image_check, "_SECONDS_TO_RECOVER", 0.0)
    monkeypatch.setattr(image_check, "gave_up", lambda: bool(gone) and gone.pop())
    problem_of = lambda *_: "0000.png: Input/output error" if fails and fails.pop() else None  # noqa: E731
    monkeypatch.setattr(training_set._source, "problem_of", problem_of)
    check.go_on()
    check._thread.join()
    check.go_on()
    assert (check._done, check._problems, fails, gone) == (8, [], [], [])
