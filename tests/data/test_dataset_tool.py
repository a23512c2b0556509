"""`dataset_tool.py` as a user runs it: files as TensorFlow parses them, messages, what interruptions leave."""

import gzip
import os
import shutil
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path

import golden
import numpy as np
import PIL.Image
import pytest
from dataset_tool_runs import ROOT, dataset, fails, parse, random_images, run, save_images, start, succeeds

from dataset_tools import inspection
from training.data import tfrecord_export
from training.data.tfrecord_export import TFRecordExporter
from training.data.tfrecord_writer import TFRecordFileWriter

INDEX = golden.index("dataset", "index.json")["datasets"]
GOLDENS = golden.GOLDENS / "dataset"

# ----------------------------------------------------------------------------
# The official tool's own outputs.


@pytest.mark.parametrize("name", ["rgb32", "gray16"])
@pytest.mark.parametrize("kind", ["", "_noshuffle", "_h5"])
def test_official_outputs(tmp_path, name, kind):
    target = f"tfr_{name}{kind}"
    if kind == "_h5":
        (tmp_path / f"h5_{name}.h5").symlink_to(GOLDENS / f"h5_{name}.h5")
        (tmp_path / f"h5_{name}-labels.npy").symlink_to(GOLDENS / f"h5_{name}-labels.npy")
        result = succeeds(tmp_path, "create_from_hdf5", target, f"h5_{name}.h5")
    else:
        (tmp_path / f"png_{name}").symlink_to(GOLDENS / f"png_{name}")
        shuffle = ["--shuffle", "0"] if kind else []
        result = succeeds(tmp_path, "create_from_images", target, f"png_{name}", *shuffle)
    assert sorted(path.name for path in (tmp_path / target).iterdir()) == INDEX[name]["files"][target]
    for file in INDEX[name]["files"][target]:
        if file.endswith(".labels"):
            assert (tmp_path / target / file).read_bytes() == (GOLDENS / target / file).read_bytes()
        else:
            np.testing.assert_array_equal(parse(tmp_path / target / file), parse(GOLDENS / target / file))
    official = INDEX[name]["stdout"].replace("\\r", "\r").split("Loading")[("", "_noshuffle", "_h5").index(kind) + 1]
    for line in ("Loading" + official).splitlines():
        assert line in result.stdout.splitlines()


# ----------------------------------------------------------------------------
# Interruptions.


def slow_command(tmp_path):
    return start(tmp_path, "create_symbols", "out", "--num-images=100000")


def wait_for_temporary(tmp_path):
    for _ in range(600):
        found = [path for path in tmp_path.glob(".out.*.tmp") if any(p.stat().st_size for p in path.iterdir())]
        if found:
            return found[0]
        time.sleep(0.05)
    raise AssertionError("nothing was written")


def test_kill_leaves_no_data_set(tmp_path):
    process = slow_command(tmp_path)
    temporary = wait_for_temporary(tmp_path)
    other = succeeds(tmp_path, "create_symbols", "out2", "--num-images=3")
    assert temporary.exists()
    assert "interrupted" not in other.stderr
    process.kill()
    process.communicate()
    assert sorted(path.name for path in tmp_path.iterdir()) == [temporary.name, f"{temporary.name}.lock", "out2"]
    result = succeeds(tmp_path, "create_symbols", "out", "--num-images=3", "--resolution=16")
    assert "Removing what an interrupted run left" in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "out2"]
    assert len(dataset(tmp_path / "out")[0]) == 3


@pytest.mark.one_stack
def test_control_c_cleans_up(tmp_path):
    process = slow_command(tmp_path)
    wait_for_temporary(tmp_path)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert "Interrupted" in err
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())


@pytest.mark.one_stack
def test_a_disk_that_is_full(tmp_path):
    message = fails(tmp_path, "create_symbols", "out", "--num-images=2000", shell_prefix="ulimit -f 4000")
    assert "out: writing failed: File too large" in message
    assert "Nothing was kept" in message


@pytest.mark.one_stack
def test_room_is_checked_first(tmp_path):
    message = fails(tmp_path, "create_symbols", "out", "--num-images=999999999", "--resolution=64")
    assert "needs 16.7 TB, only" in message


@pytest.mark.one_stack
def test_names_that_are_too_long(tmp_path):
    """They are counted in bytes, and the files of a data set, one being written too, are named after it."""
    succeeds(tmp_path, "create_symbols", "写" * 66, "--num-images=1", "--resolution=8")
    for name in ("写" * 67, "a" * 201, "a" * 300):
        message = fails(tmp_path, "create_symbols", name, "--num-images=1", "--resolution=8")
        assert "the name is too long for the files that are named after it; at most 200 bytes" in message


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="for the administrator every folder is writable")
def test_unwritable_target(tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    assert "is not writable" in fails(tmp_path, "create_symbols", "locked/out")


def test_force_replaces_when_complete(tmp_path):
    args = ("create_symbols", "out", "--resolution=16", "--num-images=4")
    succeeds(tmp_path, *args)
    before = dataset(tmp_path / "out")[0]
    assert "--force replaces a data set" in fails(tmp_path, *args)
    fails(tmp_path, *args[:2], "--num-images=2000", "--force", shell_prefix="ulimit -f 4000")
    np.testing.assert_array_equal(dataset(tmp_path / "out")[0], before)
    succeeds(tmp_path, *args, "--random-seed=5", "--force")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert not np.array_equal(dataset(tmp_path / "out")[0], before)


def small(name="new", images=3):
    return TFRecordExporter(str(name), images, print_progress=False, force=True)


def write(exporter, value):
    with exporter:
        for _ in range(exporter.expected_images):
            exporter.add_image(np.full([1, 8, 8], value, np.uint8))


@pytest.mark.one_stack
@pytest.mark.parametrize("exchanges", [True, False])
def test_a_data_set_that_is_replaced_keeps_its_name(tmp_path, monkeypatch, exchanges):
    """An error at any renaming leaves the old one or the new one there, and nothing else."""
    write(small(tmp_path / "set"), 1)
    if not exchanges:
        monkeypatch.setattr(tfrecord_export, "_exchange", lambda *folders: False)
    rename, calls = os.rename, []

    def failing(source, target):
        calls.append(target)
        if len(calls) == 2:
            raise OSError(28, "No space left on device", target)
        rename(source, target)

    monkeypatch.setattr(os, "rename", failing)
    if exchanges:
        write(small(tmp_path / "set"), 2)
        assert not calls
    else:
        with pytest.raises(OSError, match="No space"):
            write(small(tmp_path / "set"), 2)
    assert (dataset(tmp_path / "set")[0] == (2 if exchanges else 1)).all()
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


@pytest.mark.one_stack
def test_what_an_interrupted_replacement_left(tmp_path, capsys):
    """It gets its name back where there is no other data set, and goes where there is one."""
    write(small(tmp_path / "set"), 1)
    (tmp_path / "set").rename(tmp_path / ".set.0123abcd.old")
    (tmp_path / ".set.0123abcd.tmp").mkdir()
    (tmp_path / ".settings.01234567.old").mkdir()
    message = run(tmp_path, "create_symbols", "set", "--num-images=2", "--resolution=8").stderr
    assert f".set.0123abcd.old: it is {tmp_path / 'set'} again" in message and "set exists and is not empty" in message
    assert (dataset(tmp_path / "set")[0] == 1).all()
    shutil.copytree(tmp_path / "set", tmp_path / ".set.0123abcd.old")
    write(small(tmp_path / "set"), 2)
    assert "Removing what an interrupted run left" in capsys.readouterr().err
    assert (dataset(tmp_path / "set")[0] == 2).all()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".settings.01234567.old", "set"]


# ----------------------------------------------------------------------------
# Symbols.


def test_symbols(tmp_path):
    result = succeeds(tmp_path, "create_symbols", "a", "--resolution=32", "--num_images=60", "--random_seed=7")
    assert "label 9: shapes" in result.stdout
    succeeds(tmp_path, "create_symbols", "b", "--resolution=32", "--num_images=60", "--random_seed=7")
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / ("b" + path.name[1:])).read_bytes()
    images, labels = dataset(tmp_path / "a")
    assert images.shape == (60, 3, 32, 32)
    assert labels.shape == (60, 10)
    assert (labels.sum(axis=1) == 1).all()
    assert (labels.sum(axis=0) > 0).sum() >= 8
    corner, spread = images[:, :, :2, :2].mean(axis=(2, 3)), images.std(axis=(2, 3)).max(axis=1)
    assert corner.std(axis=0).min() > 40  # colours vary from image to image
    assert spread.min() > 15  # and every image shows something


@pytest.mark.one_stack
def test_symbols_of_other_fonts(tmp_path):
    (tmp_path / "bad.ttf").write_text("no font")
    assert "--font=bad.ttf: cannot be read as a font" in fails(tmp_path, "create_symbols", "x", "--font=bad.ttf")
    import matplotlib

    font = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "cmr10.ttf"
    message = fails(tmp_path, "create_symbols", "x", f"--font={font}")
    assert "has no symbols ★☆" in message
    assert "--resolution=47: height and width must be" in fails(tmp_path, "create_symbols", "x", "--resolution=47")
    message = fails(tmp_path, "create_symbols", "x", "--resolution=2048")
    assert "--resolution=2048: expected height and width from 8 to 1024" in message


# ----------------------------------------------------------------------------
# Looking into data sets.


@pytest.fixture(scope="module")
def symbols(tmp_path_factory):
    folder = tmp_path_factory.mktemp("symbols")
    succeeds(folder, "create_symbols", "sym", "--resolution=16", "--num-images=20")
    return folder / "sym"


@pytest.mark.one_stack
def test_extract_and_back(tmp_path, symbols):
    result = succeeds(tmp_path, "extract", symbols, "png")
    assert "Extracted 20 images." in result.stdout
    assert sorted(path.name for path in (tmp_path / "png").iterdir()) == [f"img{i:08d}.png" for i in range(20)]
    succeeds(tmp_path, "create_from_images", "again", "png", "--shuffle=0")
    result = succeeds(tmp_path, "compare", symbols, "again")
    assert result.stdout.splitlines()[-2:] == ["Identical images: 20 / 20", "Identical labels: 0 / 20"]
    result = succeeds(tmp_path, "compare", symbols, "again", "--ignore_labels=1")
    assert result.stdout.splitlines()[-1] == "Identical images: 20 / 20"


@pytest.mark.one_stack
def test_compare_finds_differences(tmp_path, symbols):
    succeeds(tmp_path, "extract", symbols, "png")
    PIL.Image.new("RGB", (16, 16)).save(tmp_path / "png" / "img00000003.png")
    (tmp_path / "png" / "img00000019.png").unlink()
    succeeds(tmp_path, "create_from_images", "other", "png", "--shuffle=0")
    result = succeeds(tmp_path, "compare", symbols, "other", "--ignore-labels")
    assert "Image 3 is different\nDatasets contain different number of images" in result.stdout
    assert "Identical images: 18 / 19" in result.stdout


@pytest.mark.one_stack
def test_info(tmp_path, symbols):
    result = succeeds(tmp_path, "info", symbols, "--verify")
    for line in ("images      20", "resolution  16x16", "3 (RGB)", "10 classes", "sym-r04.tfrecords", "all images are"):
        assert line in result.stdout
    damaged = tmp_path / "sym"
    damaged.mkdir()
    for path in symbols.iterdir():
        (damaged / path.name).write_bytes(path.read_bytes())
    content = bytearray((symbols / "sym-r04.tfrecords").read_bytes())
    content[5000] ^= 1
    (damaged / "sym-r04.tfrecords").write_bytes(content)
    assert "sym-r04.tfrecords: record 6 has a wrong checksum" in run(tmp_path, "info", damaged, "--verify").stderr
    assert "there is no data set" in fails(tmp_path, "info", "nowhere")


@pytest.mark.one_stack
def test_pictures_of_other_kinds(tmp_path):
    """Official tfrecords have one channel or three; others write what they like."""
    for channels, name, says in ((4, "rgba", "4 (RGBA)"), (1, "gray", "1 (grayscale)"), (2, "two", "2 (no kind")):
        (tmp_path / name).mkdir()
        writer = TFRecordFileWriter(str(tmp_path / name / f"{name}-r03.tfrecords"), (channels, 8, 8))
        writer.write(random_images(2, channels, 8, 8))
        writer.close()
        assert f"channels    {says}" in succeeds(tmp_path, "info", name).stdout
    succeeds(tmp_path, "extract", "rgba", "png")
    assert PIL.Image.open(tmp_path / "png" / "img00000001.png").mode == "RGBA"
    for command in (("extract", "two", "out"), ("display", "two", "--sheet=x.png")):
        assert "two: images of 2 channels are no pictures; expected 1, 3 or 4" in fails(tmp_path, *command)


@pytest.mark.one_stack
@pytest.mark.parametrize("how", ["gzip", "zlib", "page", "lfs"])
def test_files_that_are_no_tfrecords(tmp_path, symbols, how):
    (tmp_path / "set").mkdir()
    content = (symbols / "sym-r04.tfrecords").read_bytes()
    content, says = {
        "gzip": (gzip.compress(content), "it is compressed by gzip; unpack it first"),
        "zlib": (zlib.compress(content), "it is compressed by zlib; unpack it first"),
        "page": (b"<!DOCTYPE html><title>Log in</title>", "this is a web page"),
        "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "this is a git-LFS pointer"),
    }[how]
    (tmp_path / "set" / "set-r04.tfrecords").write_bytes(content)
    assert f"set-r04.tfrecords: is no tfrecord file: {says}" in fails(tmp_path, "info", "set")


@pytest.mark.one_stack
def test_info_of_a_zip_file(tmp_path):
    save_images(tmp_path / "in", random_images(3, 8, 8))
    shutil.make_archive(tmp_path / "sets" / "x", "zip", tmp_path / "in")
    lines = succeeds(tmp_path, "info", "sets/x.zip").stdout.splitlines()
    assert lines[0] == "sets/x.zip: zip"
    assert any(line.endswith("  x.zip") for line in lines)


def test_info_names_files_with_their_folders(tmp_path, capsys):
    save_images(tmp_path / "cats", random_images(1, 8, 8), ["two\nlines.png"])
    inspection.info(str(tmp_path))
    assert "  cats/two\\nlines.png\n" in capsys.readouterr().out


def test_display_without_a_screen(tmp_path, symbols):
    env = {key: value for key, value in os.environ.items() if key not in ("DISPLAY", "WAYLAND_DISPLAY", "MPLBACKEND")}
    result = succeeds(tmp_path, "display", symbols, env=env)
    assert f"Wrote the first 20 of 20 images to {tmp_path / 'sym-sheet.png'}" in result.stdout
    sheet = np.asarray(PIL.Image.open(tmp_path / "sym-sheet.png"))
    assert sheet.shape == (16, 20 * 16, 3)
    np.testing.assert_array_equal(sheet[:, 32:48].transpose(2, 0, 1), dataset(symbols)[0][2])


@pytest.mark.one_stack
def test_window(symbols, monkeypatch):
    """The window's keys; matplotlib draws it, but there is no screen."""
    monkeypatch.setenv("MPLBACKEND", "agg")
    import matplotlib.pyplot as plt

    from dataset_tools import inspection
    from training.data.dataset import TFRecordDataset

    viewer = inspection.Viewer(TFRecordDataset(str(symbols), max_label_size="full"))
    for key, idx in ((" ", 1), ("right", 2), ("left", 1), ("x", 1), (None, 1), ("left", 0), ("left", 19), ("enter", 0)):
        viewer.on_key(key)
        assert viewer.idx == idx
    viewer.on_key("escape")
    assert not plt.fignum_exists(viewer.figure.number)


# ----------------------------------------------------------------------------


@pytest.mark.one_stack
def test_help_is_in_docs(monkeypatch):
    """docs/dataset_tool-help.txt holds the help of the tool and of every sub-command."""
    monkeypatch.setenv("COLUMNS", "100")
    top = succeeds(ROOT, "--help").stdout
    commands = [line.split()[0] for line in top.splitlines() if line.startswith("    ") and line[4] != " "]
    assert len(commands) == 16
    texts = [top] + [succeeds(ROOT, name, "--help").stdout for name in commands]
    documented = (ROOT / "docs" / "dataset_tool-help.txt").read_text()
    assert " ".join(documented.split()) == " ".join(" ".join(texts).split())


@pytest.mark.one_stack
def test_help_does_not_wait():
    """Nothing heavy is imported for --help."""
    code = "import sys, dataset_tool; sys.argv[1:] = ['info', '--help']\n"
    code += (
        "try: dataset_tool.main()\nexcept SystemExit: print(sorted({'tensorflow', 'matplotlib'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"


@pytest.mark.one_stack
@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("create_cifar", "a", "b"), "invalid choice: 'create-cifar'"),
        (("create_from_image", "a", "b"), "(did you mean create-from-images?)"),
        (("create_from_images", "a", "b", "--shuffle=2"), "invalid choice: 2"),
        (
            ("create_from_images", "a", "b", "--crop=left"),
            "expected center, none or a size such as 640x384, got 'left'",
        ),
        (("create_from_images", "a", "b", "--base=5by3"), "expected a number of pixels or HEIGHTxWIDTH"),
        (("create_symbols", "a", "--num_image=5"), "did you mean --num-images?"),
        (("create_symbols", "a", "--num-images=0"), "integer of 1 or more"),
        (("compare", "a"), "the following arguments are required: TFRECORD_DIR_B"),
    ],
)
def test_wrong_arguments(tmp_path, args, message):
    result = run(tmp_path, *args)
    assert result.returncode == 2
    assert message in result.stderr
    assert not list(tmp_path.iterdir())
    assert run(tmp_path).returncode == 1
