"""Our own formats: docs/formats.md has the numbers that the code has, and files of later versions are refused clearly.

That files of the version before are read is tested in test_previous_version.py.
"""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import pretrained_networks
from dnnlib.errors import UserError
from dnnlib.formats import versions
from dnnlib.tflib.checkpoints import descriptions
from generation import direction_files, vector_files, vector_layouts
from projection import state as projection_state
from training.data import labels
from training.run_folder import heartbeat, options_file, state

pytestmark = pytest.mark.one_stack
ROOT = Path(__file__).parent.parent
BEFORE = ROOT / "tests" / "goldens" / "previous_version"
NUMBERS = {
    "training-state.npz": state.VERSION,
    "training_options.json": options_file.VERSION,
    "description of networks": descriptions.VERSION,
    "vectors": vector_layouts.VERSION,
    "directions": direction_files.VERSION,
    "projection-state.npz": projection_state.VERSION,
    "names of images": labels.NAMES_VERSION,
    "heartbeat.json": heartbeat.VERSION,
}


def changed_npz(source, path, **arrays):
    with np.load(source) as npz:
        np.savez(path, **{**npz, **arrays})
    return path


def refusal(read, *args):
    with pytest.raises(UserError) as error:
        read(*args)
    return str(error.value)


def later_files(folder):
    """A file of each format with the next number, and what reads it."""
    run = BEFORE / "runs" / "stylegan2"
    with np.load(run / "training-state.npz") as npz:
        meta = {**json.loads(str(npz["meta"])), "version": state.VERSION + 1}
    changed_npz(run / "training-state.npz", folder / "training-state.npz", meta=np.array(json.dumps(meta)))
    yield "training-state.npz", "training-state.npz", state.load, folder

    options = json.loads((run / "training_options.json").read_text())
    options[versions.KEY] = options_file.VERSION + 1
    (folder / "training_options.json").write_text(json.dumps(options))
    yield "training_options.json", "training_options.json", options_file.load_training_options, folder

    source = BEFORE / "networks" / "network.npz"
    with np.load(source) as npz:
        notes = json.loads(str(npz["__metadata__"]))
    (key,) = notes
    notes[key] = json.dumps({**json.loads(notes[key]), "version": descriptions.VERSION + 1})
    path = changed_npz(source, folder / "network.npz", __metadata__=np.array(json.dumps(notes)))
    yield "description of networks", "network.npz", pretrained_networks.load_networks, str(path)

    later = {versions.KEY: vector_layouts.VERSION + 1}
    path = changed_npz(BEFORE / "networks" / "dlatents.npz", folder / "dlatents.npz", **later)
    yield "vectors", "dlatents.npz", vector_files.load, path

    direction_files.save(folder / "of.npz", ["a"], np.ones([1, 1, 2]), [[0]], [1])
    later = {versions.KEY: direction_files.VERSION + 1}
    yield "directions", "a.npz", direction_files.read, changed_npz(folder / "of.npz", folder / "a.npz", **later)

    meta = np.array(json.dumps({"version": projection_state.VERSION + 1}))
    np.savez(folder / "projection-state.npz", meta=meta)
    yield "projection-state.npz", "projection-state.npz", projection_state.load, str(folder)

    content = {"names": ["a"], "classes": [], versions.KEY: labels.NAMES_VERSION + 1}
    (folder / "data-rxx.json").write_text(json.dumps(content))
    yield "names of images", "data-rxx.json", lambda path: labels.read_names_file(str(path), 1), folder


def test_files_of_later_versions(tmp_path):
    told = set()
    for what, name, read, argument in later_files(tmp_path):
        message, number = refusal(read, argument), NUMBERS[what]
        assert str(tmp_path / name) in message and "\n" not in message
        assert f"format version {number + 1}, of a later version of this project; this one reads {number}" in message
        assert "install that version or a newer one" in message
        told.add(what)
    assert told == set(NUMBERS) - {"heartbeat.json"}  # which is for others to read


def test_files_without_a_number_and_with_ours(tmp_path):
    """Before there were numbers, and since then."""
    shutil.copytree(BEFORE / "runs" / "stylegan2", tmp_path / "run")
    num_gpus, options = options_file.load_training_options(str(tmp_path / "run"))
    options_file.save_training_options(str(tmp_path / "run"), num_gpus, options)
    assert json.loads((tmp_path / "run" / "training_options.json").read_text())[versions.KEY] == options_file.VERSION
    assert options_file.load_training_options(str(tmp_path / "run")) == (num_gpus, options)
    before = vector_files.load(BEFORE / "networks" / "dlatents.npz")
    vector_files.save(tmp_path / "w.npz", before.dlatents, before.noises, before.settings)
    after = vector_files.load(tmp_path / "w.npz")
    np.testing.assert_array_equal(after.dlatents, before.dlatents)
    assert after.settings == before.settings


@pytest.mark.parametrize(
    ("version", "problem"),
    [
        (2, None),
        (3, None),
        (4, "format version 4, of a later version of this project; this one reads 2 to 3; install that version or a"),
        (1, "format version 1, of an earlier version of this project; this one reads 2 to 3"),
        (True, "format version True, which is none; this one reads 2 to 3"),
        (3.0, "format version 3.0, which is none"),
        ("x" * 1000, "format version 'xxx"),
        (None, "format version None, which is none"),
        (10**3000, "format version "),
    ],
)
def test_numbers(version, problem):
    found = versions.problem_of(version, 3, 2)
    assert found is None if problem is None else (found.startswith(problem) and len(found) < 200)


def test_the_document():
    """Each format with its number."""
    text = (ROOT / "docs" / "formats.md").read_text()
    rows = dict(re.findall(r"^\| ([^|]+?) \| [^|]+ \| (\d+) \|", text, re.MULTILINE))
    assert rows == {f"`{name}`" if "." in name else name: str(number) for name, number in NUMBERS.items()}
