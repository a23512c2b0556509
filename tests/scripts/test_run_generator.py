"""`run_generator.py` as a user runs it: pixels, files and messages."""

import dataclasses
import inspect
import shutil
import subprocess
import sys
from pathlib import Path

import golden
import numpy as np
import PIL.Image
import pytest

import run_generator
from dnnlib.errors import UserError
from dnnlib.tflib import Network, convert_images_to_uint8
from dnnlib.tflib.checkpoints import network_files
from generation.conventions import Rendering

ROOT = Path(__file__).parent.parent.parent
RUNS = golden.index("cli", "runs.json")
PIXELS = golden.arrays("cli", "images.npz")


def run(cwd, *args, env=None):
    return subprocess.run(
        [sys.executable, ROOT / "run_generator.py", *map(str, args)],
        cwd=cwd,
        capture_output=True,
        text=True,
        env=env,
        timeout=300,
        check=False,
    )


@pytest.fixture
def folder(tmp_path):
    """A folder with the golden networks under `nets`."""
    (tmp_path / "nets").mkdir()
    for path in (golden.GOLDENS / "pickles").glob("*.pkl"):
        shutil.copy(path, tmp_path / "nets")
    return tmp_path


def check_pixels(path, expected):
    pixels = np.asarray(PIL.Image.open(path))
    assert pixels.shape == expected.shape
    difference = np.abs(pixels.astype(int) - expected)
    assert difference.max() <= 1
    assert np.mean(difference > 0) < 0.005


@pytest.mark.parametrize("number", range(len(RUNS["runs"])))
def test_official_runs(folder, number):
    case = RUNS["runs"][number]
    if not (folder / "nets" / case["pkl"]).exists():
        pytest.skip("needs the large set of goldens")
    result = run(folder, *case["argv"])
    assert result.returncode == 0, result.stderr
    (run_dir,) = (folder / "results").iterdir()
    assert run_dir.name == "00000" + Path(case["run_dir"]).name[5:]
    assert sorted(path.name for path in run_dir.iterdir()) == sorted(case["files"])
    for name in case["files"]:
        if name.endswith(".png"):
            check_pixels(run_dir / name, PIXELS[f"{Path(case['run_dir']).name}/{name}"])
    ours = result.stdout.splitlines()
    for line in case["stdout"].replace(Path(case["run_dir"]).name, run_dir.name).splitlines():
        if "<TIME>" not in line:
            assert line in ours


@pytest.mark.parametrize("number", range(len(RUNS["errors"])))
def test_official_errors(tmp_path, number):
    case = RUNS["errors"][number]
    result = run(tmp_path, *case["argv"])
    assert result.returncode == case["exit_code"]
    assert result.stdout == case["stdout"]
    if case["stderr_last"]:
        expected = case["stderr_last"].split("invalid _parse_num_range value")[0]
        assert result.stderr.strip().splitlines()[-1].startswith(expected)
    assert not (tmp_path / "results").exists()


# ----------------------------------------------------------------------------
# Beyond the official tool.


@pytest.fixture(scope="module")
def nets(tmp_path_factory):
    """Small networks: grayscale, RGBA, two channels, conditional."""
    folder = tmp_path_factory.mktemp("nets")
    kwargs = {"fmap_base": 32, "fmap_max": 8, "latent_size": 8, "dlatent_size": 8, "mapping_fmaps": 8}
    for name, num_channels, label_size in (("gray", 1, 0), ("rgba", 4, 0), ("two", 2, 0), ("cond", 3, 4)):
        net = Network(
            "Gs",
            func_name="training.networks_stylegan2.G_main",
            resolution=16,
            num_channels=num_channels,
            label_size=label_size,
            **kwargs,
        )
        golden.set_variables(net.vars, name)
        network_files.save_pkl(net, folder / f"{name}.pkl")
    return folder


def only_run(folder):
    (run_dir,) = (folder / "results").iterdir()
    return run_dir


def test_batches_grid_and_formats(tmp_path, nets):
    args = ("generate-images", f"--network={nets / 'rgba.pkl'}", "--seeds=5,1-3,70000")
    (tmp_path / "a").mkdir()
    assert run(tmp_path / "a", *args).returncode == 0
    (tmp_path / "b").mkdir()
    result = run(tmp_path / "b", *args, "--minibatch-size=3", "--grid=2x3")
    assert result.returncode == 0, result.stderr
    assert "5 images in" in result.stderr and "images/s" in result.stderr
    alone, batch = only_run(tmp_path / "a"), only_run(tmp_path / "b")
    sheet = np.asarray(PIL.Image.open(batch / "grid.png"))
    assert sheet.shape == (48, 32, 4)
    for idx, seed in enumerate((5, 1, 2, 3, 70000)):
        pixels = np.asarray(PIL.Image.open(batch / f"seed{seed:04d}.png"))
        check_pixels(alone / f"seed{seed:04d}.png", pixels)
        row, column = divmod(idx, 2)
        np.testing.assert_array_equal(sheet[row * 16 : row * 16 + 16, column * 16 : column * 16 + 16], pixels)
    (tmp_path / "c").mkdir()
    args = ("generate_images", f"--network={nets / 'gray.pkl'}", "--seeds=1", "--truncation_psi=0.7", "--format=jpg")
    result = run(tmp_path / "c", *args, "--grid")
    assert result.returncode == 0, result.stderr
    picture = PIL.Image.open(only_run(tmp_path / "c") / "seed0001.jpg")
    assert picture.mode == "L" and picture.format == "JPEG"
    (tmp_path / "d").mkdir()
    args = ("style-mixing-example", f"--network={nets / 'rgba.pkl'}", "--row-seeds=1", "--col-seeds=2")
    result = run(tmp_path / "d", *args, "--format=WEBP", "--minibatch-size=1")
    assert result.returncode == 0, result.stderr
    assert PIL.Image.open(only_run(tmp_path / "d") / "grid.webp").mode == "RGBA"


def test_classes(tmp_path, nets):
    for name, options in (("none", ()), ("two", ("--class-idx=2",))):
        (tmp_path / name).mkdir()
        result = run(tmp_path / name, "generate-images", f"--network={nets / 'cond.pkl'}", "--seeds=3", *options)
        assert result.returncode == 0, result.stderr
        assert ("--class-idx" in result.stdout) == (name == "none")
    Gs = network_files.load_pkl(nets / "cond.pkl")
    state = np.random.RandomState(3)
    z = state.randn(1, 8)
    noise = [state.randn(*var.shape) for key, var in Gs.components.synthesis.vars.items() if key.startswith("noise")]
    for name, labels in (("none", None), ("two", np.eye(4)[[2]])):
        images = Gs.get_output_for(z, labels, noise=[n.astype(np.float32) for n in noise], truncation_psi=0.5)
        expected = convert_images_to_uint8(images, nchw_to_nhwc=True)[0].numpy()
        check_pixels(only_run(tmp_path / name) / "seed0003.png", expected)


def hostile(folder):
    """Files that are no networks."""
    good = (ROOT / "demo" / "symbols-32x32.pkl").read_bytes()
    files = {
        "foreign.pkl": b"cposix\nsystem\n(S'touch owned'\ntR.",
        "truncated.pkl": good[: len(good) // 2],
        "empty.pkl": b"",
        "page.pkl": b"<!DOCTYPE html><html><title>Quota exceeded</title></html>",
        "flipped.pkl": good[:300] + bytes([good[300] ^ 0xFF]) + good[301:],
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--network=foreign.pkl", "--seeds=1"), "refused: the pickle asks for posix.system"),
        (("--network=truncated.pkl", "--seeds=1"), "damaged"),
        (("--network=empty.pkl", "--seeds=1"), "empty"),
        (("--network=page.pkl", "--seeds=1"), "web page"),
        (("--network=flipped.pkl", "--seeds=1"), "flipped.pkl: "),
        (("--network=missing.pkl", "--seeds=1"), "missing.pkl: no such file"),
        (("--network=emty.pkl", "--seeds=1"), "did you mean empty.pkl?"),
        (("--network=.", "--seeds=1"), "is a folder"),
        (("--network=gdrive:networks/stylegan2-ffhq-config-g.pkl", "--seeds=1"), "stylegan2-ffhq-config-f.pkl"),
        (("--network=gdrive:networks/stylegan2-ffhq-config-f.pkl", "--seeds=1", "--offline"), "save it as"),
        (("--network={nets}/two.pkl", "--seeds=1"), "2 channels; only 1, 3 or 4"),
        (("--network={nets}/rgba.pkl", "--seeds=1", "--format=jpg"), "use png or webp"),
        (("--network={nets}/gray.pkl", "--seeds=1", "--class-idx=0"), "trained without classes"),
        (("--network={nets}/cond.pkl", "--seeds=1", "--class-idx=4"), "expected 0 to 3"),
        (("--network={nets}/gray.pkl", "--seeds=1", "--truncation-cutoff=7"), "expected 0 to 6"),
        (("--network={nets}/gray.pkl", "--seeds=1-5", "--grid=2x2"), "has 4 places, there are 5 images"),
        (("--network={nets}/gray.pkl", "--seeds=1", "--result-dir=empty.pkl"), "--result-dir=empty.pkl: "),
        (("--network={nets}/gray.pkl", "--seeds=1", "--result-dir=empty.pkl/x"), "is a file, expected a folder"),
        (("--network={nets}/gray.pkl", "--seeds=1", "--result-dir="), "--result-dir is empty"),
        (("--network=", "--seeds=1"), "the name of the network is empty"),
        (("--network=ftp://x/y.pkl", "--seeds=1"), "expected a path, an http or https URL"),
    ],
)
def test_user_errors(tmp_path, nets, args, message, monkeypatch, capsys):
    hostile(tmp_path)
    before = sorted(path.name for path in tmp_path.rglob("*"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["run_generator.py", "generate-images", *(arg.format(nets=nets) for arg in args)])
    with pytest.raises(SystemExit) as error:  # any other error would be a traceback
        run_generator.main()
    assert error.value.code == 1
    assert message in capsys.readouterr().err
    left = [path.name for path in tmp_path.rglob("*") if path.name != "results"]
    assert sorted(left) == before


def test_all_problems_at_once(tmp_path, nets):
    args = ("--row-seeds=1", "--col-seeds=2", "--col-styles=0,6,9", "--class-idx=1", "--truncation-cutoff=9")
    result = run(tmp_path, "style-mixing-example", f"--network={nets / 'rgba.pkl'}", "--format=jpg", *args)
    assert result.returncode == 1
    for message in ("layers 0 to 5, got 6,9", "without classes", "--truncation-cutoff=9", "--format=jpg"):
        assert message in result.stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--seeds=5-1",), "did you mean 1-5?"),
        (("--seeds=",), "not a number or a range"),
        (("--seeds=1,,2",), "not a number or a range"),
        (("--seeds=4294967296",), "expected 0 to 4294967295"),
        (("--seeds=0-9999999",), "more than 1000000"),
        (("--seeds=-1",), "not a number or a range"),
        (("--seeds=1", "--truncation-psi=nan"), "from -100 to 100"),
        (("--seeds=1", "--truncation-psi=x"), "from -100 to 100"),
        (("--seeds=1", "--minibatch-size=0"), "integer of 1 or more"),
        (("--seeds=1", "--grid=0x3"), "COLUMNSxROWS"),
        (("--seeds=1", "--format=gif"), "expected png, jpg or webp"),
        (("--seeds=1", "--truncation-psi=1e30"), "from -100 to 100"),
        (("--seeds=1", "--row-seeds=1"), "unrecognized arguments: --row-seeds=1"),
        (("--seeds=1", "--truncation-pis=1"), "did you mean --truncation-psi?"),
    ],
)
def test_wrong_arguments(tmp_path, args, message):
    result = run(tmp_path, "generate-images", "--network=x.pkl", *args)
    assert result.returncode == 2
    assert message in result.stderr
    assert not list(tmp_path.iterdir())


def test_a_disk_that_is_full(tmp_path, nets):
    """Writing stops at 2048 bytes a file: the picture does not fit."""
    command = f"ulimit -f 2; exec {sys.executable} {ROOT / 'run_generator.py'} interpolation-grid"
    command += f" --network={ROOT / 'demo' / 'symbols-32x32.pkl'} --seeds=1-4"
    result = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "File too large" in result.stderr and "Traceback" not in result.stderr
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".png", ".tmp")]
    assert not list(tmp_path.rglob("_finished.txt"))


def test_what_is_no_generator(tmp_path):
    sizes = {"resolution": 8, "num_channels": 3, "fmap_base": 32, "fmap_max": 8}
    D = Network("D", func_name="training.networks_stylegan2.D_stylegan2", **sizes)
    network_files.save_pkl(D, tmp_path / "D.pkl")
    with pytest.raises(UserError, match=r"D\.pkl: network 'D' \(D_stylegan2\) is not a generator"):
        run_generator.generate_images(str(tmp_path / "D.pkl"), [1])


def test_seeds_of_numpy(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    demo = str(ROOT / "demo" / "symbols-32x32.pkl")
    run_generator.generate_images(demo, np.arange(2), np.float32(0.7))
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["seed0000.png", "seed0001.png"]


def test_official_signatures():
    """Scripts call the functions with these arguments, by position or name."""
    for function, names in (
        (run_generator.generate_images, ["network_pkl", "seeds", "truncation_psi"]),
        (
            run_generator.style_mixing_example,
            ["network_pkl", "row_seeds", "col_seeds", "truncation_psi", "col_styles", "minibatch_size"],
        ),
    ):
        assert list(inspect.signature(function).parameters)[: len(names)] == names


def test_commands_take_what_the_parser_gives():
    known = {field.name for field in dataclasses.fields(Rendering)}
    for command, function in run_generator.COMMANDS.items():
        if command == "view":  # whose pictures have them
            continue
        points = ("--row-seeds=1", "--col-seeds=1") if "mixing" in command else ("--seeds=1",)
        given = vars(run_generator._parser().parse_args([command, "--network=x", *points]))
        own = {*inspect.signature(function).parameters, "command", "result_dir"}
        assert known - given.keys() <= {"truncation_psi", "layer_psi", "dlatents_psi", "noise_mode"}
        assert given.keys() - own <= known


def test_help_is_in_docs():
    commands = {
        "generate-images": "generate-images",
        "mixing": "style-mixing-example",
        "interpolation": "interpolation-grid",
        "interpolate": "interpolate",
        "noise": "noise-figure",
        "truncation": "truncation-figure",
        "view": "view",
    }
    for name, args in (("", ()), *((f"-{name}", (command,)) for name, command in commands.items())):
        result = run(ROOT, *args, "--help", env={"COLUMNS": "100", "PATH": ""})
        assert result.returncode == 0
        documented = (ROOT / "docs" / f"run_generator{name}-help.txt").read_text()
        assert " ".join(result.stdout.split()) == " ".join(documented.split())
