"""`run_generator.py` with vectors from files: pixels, names, tables, and messages."""

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import pretrained_networks
import run_generator
from dnnlib import flags
from dnnlib.errors import UserError
from dnnlib.tflib import convert_images_to_uint8
from generation import vector_files
from generation.commands import generate_images, style_mixing_example
from generation.points import load_vectors, locate

ROOT = Path(__file__).parent.parent.parent
NETWORK = str(ROOT / "demo" / "symbols-32x32.pkl")


def run(cwd, *args):
    return subprocess.run(
        [sys.executable, ROOT / "run_generator.py", *args], cwd=cwd, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def Gs():
    return pretrained_networks.load_networks(NETWORK)[2]


@pytest.fixture
def people(tmp_path, monkeypatch, Gs):
    """The current folder, with files of vectors: with noise of their own, without, and of other makers."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "people").mkdir()
    w = np.concatenate([mapped(Gs, seed) for seed in range(100, 104)])
    w[0] = w[0] + np.random.RandomState(0).randn(*w[0].shape).astype(np.float32) * 0.1  # W+
    vector_files.save("people/anna.npz", w[:1], noises(Gs, 1))
    vector_files.save("people/bert.npz", w[1:2])
    both = zip(noises(Gs, 2), noises(Gs, 3), strict=True)
    vector_files.save("two.npz", w[2:], [np.concatenate(pair) for pair in both])
    np.save("plain.npy", w[3])
    return tmp_path


def test_far_from_the_average(people, Gs, capsys):
    np.savez("far.npz", w=mapped(Gs, 5, 4.0))
    np.savez("w.npz", w=mapped(Gs, 5)[:, 0])
    load_vectors({"--dlatents": ["w.npz", "people/bert.npz"]}, Gs)
    assert "Farther" not in capsys.readouterr().out
    load_vectors({"--dlatents": ["w.npz", "far.npz"]}, Gs)
    printed = capsys.readouterr().out
    assert "Farther from the average W than 1000 of the network's own" in printed
    assert ": far (" in printed and "w (" not in printed


def mapped(Gs, seed, psi=1.0):
    """W [1, layers, dlatent_size] of a seed."""
    z = np.random.RandomState(seed).randn(1, Gs.input_shape[1])
    return truncated(Gs, Gs.components.mapping.run(z.astype(np.float32), None), psi)


def truncated(Gs, w, psi):
    average = Gs.get_var("dlatent_avg")
    return average + (w - average) * psi


def own_noises(Gs):
    synthesis = Gs.components.synthesis
    return [synthesis.get_var(name) for name in synthesis.vars if name.startswith("noise")]


def noises(Gs, seed):
    state = np.random.RandomState(seed)
    return [state.randn(*noise.shape).astype(np.float32) * 3 for noise in own_noises(Gs)]


def image(Gs, w, noise=None):
    images = Gs.components.synthesis.get_output_for(w.astype(np.float32), randomize_noise=False, noise=noise)
    return convert_images_to_uint8(images, nchw_to_nhwc=True)[0].numpy()


def pixels(name):
    return np.asarray(PIL.Image.open(name))


def check(name, expected):
    assert np.abs(pixels(name).astype(int) - expected).max() <= 1, name


def names(folder):
    return sorted(path.stem for path in folder.glob("*.png"))


def test_images_of_files(people, Gs):
    points = ["people/anna.npz", "people/bert.npz", 5, "two.npz", "plain.npy"]
    generate_images(NETWORK, points, 0.5, minibatch_size=4, grid=(3, 2))
    assert names(people) == ["anna", "bert", "grid", "plain", "seed0005", "two-00", "two-01"]
    anna, two = vector_files.load("people/anna.npz"), vector_files.load("two.npz")
    check("anna.png", image(Gs, anna.dlatents, anna.noises))
    assert np.abs(pixels("anna.png").astype(int) - image(Gs, anna.dlatents)).max() > 1  # the noise matters
    check("bert.png", image(Gs, mapped(Gs, 101)))
    for idx in range(2):
        check(f"two-0{idx}.png", image(Gs, two.dlatents[idx : idx + 1], noises(Gs, 2 + idx)))
    check("plain.png", image(Gs, two.dlatents[1:]))
    grid = pixels("grid.png")
    for idx, name in enumerate(["anna", "bert", "seed0005", "two-00", "two-01", "plain"]):
        row, column = divmod(idx, 3)
        np.testing.assert_array_equal(
            grid[32 * row : 32 * row + 32, 32 * column : 32 * column + 32], pixels(f"{name}.png")
        )
    seed = pixels("seed0005.png")
    generate_images(NETWORK, [5], 0.5)
    check("seed0005.png", seed)


def test_truncation_of_files_is_asked_for(people, Gs):
    generate_images(NETWORK, ["people/bert.npz"], 0.5, truncation_cutoff=3, dlatents_psi=0.3)
    w = mapped(Gs, 101)
    w[:, :3] = truncated(Gs, w, 0.3)[:, :3]
    check("bert.png", image(Gs, w))


def test_all_mixed_with_all(people, Gs):
    points = {"anna": "people/anna.npz", "bert": "people/bert.npz", "7": 7}
    style_mixing_example(NETWORK, list(points.values()), list(points.values()), 0.6, col_styles=[0, 1, 4])
    assert names(people) == sorted(["grid", *("-".join(pair) for pair in itertools.product(points, points))])
    anna = vector_files.load("people/anna.npz")
    w = {"anna": anna.dlatents, "bert": mapped(Gs, 101), "7": mapped(Gs, 7, 0.6)}
    noise = {"anna": anna.noises, "bert": own_noises(Gs), "7": own_noises(Gs)}
    grid = pixels("grid.png")
    assert grid.shape == (128, 128, 3) and not grid[:32, :32].any()
    for (i, row), (j, col) in itertools.product(enumerate(points), enumerate(points)):
        mixed = w[row].copy()
        mixed[:, [0, 1, 4]] = w[col][:, [0, 1, 4]]
        of_layers = [noise[col if layer in (0, 1, 4) else row][layer] for layer in range(len(anna.noises))]
        check(f"{row}-{col}.png", image(Gs, mixed, of_layers))
        cell = grid[32 * i + 32 : 32 * i + 64, 32 * j + 32 : 32 * j + 64]
        np.testing.assert_array_equal(cell, pixels(f"{row}-{col}.png"))
    for i, point in enumerate(points):
        for cell in (grid[32 * i + 32 : 32 * i + 64, :32], grid[:32, 32 * i + 32 : 32 * i + 64]):
            assert np.abs(cell.astype(int) - image(Gs, w[point], noise[point])).max() <= 1


def test_names_that_are_taken(people, capsys):
    (people / "more").mkdir()
    for name in ("more/anna", "more/Bert", "5", "grid", "a", "a-b", "b-c", "c"):
        vector_files.save(f"{name}.npz", vector_files.load("plain.npy").dlatents)
    generate_images(NETWORK, ["people/anna.npz", "more/anna.npz", "people/bert.npz", "more/Bert.npz", 5, "grid.npz"])
    assert names(people) == ["Bert_2", "anna", "anna_2", "bert", "grid_2", "seed0005"]
    assert "more/anna.npz: its images are called anna_2; anna is taken." in capsys.readouterr().out
    style_mixing_example(NETWORK, ["a.npz", "a-b.npz"], ["c.npz", "b-c.npz"])
    assert {"a-b-c", "a-b-c_2"} <= set(names(people))


# ----------------------------------------------------------------------------
# Command line.


def test_order_of_the_command_line():
    def seeds(*args):
        return run_generator._parser().parse_args([*args, "--network=x"]).seeds

    assert seeds("interpolate", "--seeds=1,2", "--dlatents=a,b", "--seeds=3") == [1, 2, "a", "b", 3]
    assert seeds("generate-images", "--seeds=1", "--dlatents=a,b", "--seeds=3-4") == ["a", "b", 3, 4]
    assert seeds("generate-images", "--dlatents=a") == ["a"]
    assert seeds("generate-images", "--seeds=1", "--seeds=3") == [3]


def test_folders_and_patterns(people):
    (people / "people" / "notes.txt").write_text("x")
    (people / "odd[1],name.npz").write_bytes(b"")
    files = ["people/anna.npz", "people/bert.npz"]
    assert locate([1, "people", 2]) == [1, *files, 2]
    assert locate(["people/*.npz", "odd[1],name.npz"]) == [*files, "odd[1],name.npz"]
    assert flags.split("odd[1],name.npz") == ["odd[1],name.npz"]
    (people / "empty").mkdir()
    with pytest.raises(UserError) as error:
        locate(["people/ana.npz", "peopel", "empty", "x*.npz"])
    assert str(error.value).splitlines() == [
        "people/ana.npz: no such file (did you mean anna.npz?)",
        "peopel: no such file (did you mean people?)",
        "empty: there are no files of vectors (.npz) in this folder",
        "x*.npz: no file has such a name",
    ]


def test_table_from_the_command_line(people):
    args = ["style-mixing-example", f"--network={NETWORK}", "--row-dlatents=people", "--col-seeds=4"]
    result = run(people, *args, "--col-dlatents=people/*.npz,two.npz", "--col-styles=0-3")
    assert result.returncode == 0, result.stderr
    (run_dir,) = (people / "results").iterdir()
    cols = ["4", "anna", "bert", "two-00", "two-01"]
    mixed = {f"{row}-{col}" for row, col in itertools.product(["anna", "bert"], cols)}
    assert set(names(run_dir)) == {"grid", *mixed, *(f"{col}-{col}" for col in cols)}
    assert PIL.Image.open(run_dir / "grid.png").size == (6 * 32, 3 * 32)


def test_all_problems_before_tensorflow(people):
    args = ["interpolate", "--network=missing.pkl", "--dlatents=none.npz,people/ana.npz", "--space=z"]
    result = run(people, *args, "--video=gif", "--fps=60")
    assert result.returncode == 1 and not result.stdout
    for message in (
        "missing.pkl: no such file",
        "--dlatents: none.npz: no such file",
        "--dlatents: people/ana.npz: no such file (did you mean anna.npz?)",
        "--space=z: ",
        "--video=gif: gif holds up to 50 frames per second",
    ):
        assert message in result.stderr


def test_all_problems_of_files_at_once(people, Gs):
    w = vector_files.load("plain.npy").dlatents
    vector_files.save("other.npz", np.zeros([1, 14, 512]))
    vector_files.save("noise.npz", w, noises(Gs, 1)[:-1])
    vector_files.save("nan.npz", w * np.nan)
    (people / "text.npz").write_text("hello")
    args = ["style-mixing-example", f"--network={NETWORK}", "--row-dlatents=other.npz,text.npz", "--row-seeds=1"]
    result = run(people, *args, "--col-dlatents=nan.npz,noise.npz", "--col-styles=99")
    assert result.returncode == 1 and "Traceback" not in result.stderr
    for message in (
        "--col-styles: the network has layers 0 to 7, got 99",
        "--row-dlatents: other.npz: 14 layers of 512 numbers, but the network has 8 of 64",
        "--row-dlatents: text.npz: ",
        "--col-dlatents: nan.npz: dlatents have values that are not finite",
        "--col-dlatents: noise.npz: noise images of 4x4",
    ):
        assert message in result.stderr, result.stderr
    assert not list((people / "results").iterdir())


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            ("generate-images", "--dlatents="),
            "argument --dlatents: expected names of files with commas between, got ''",
        ),
        (("style-mixing-example", "--row-dlatents=a,,b"), "argument --row-dlatents: expected names of files"),
        (
            ("style-mixing-example", "--row-dlatents=a"),
            "[--row-dlatents FILES]",
        ),
        (("style-mixing-example", "--row-dlatents=a"), "are required: --col-seeds or --col-dlatents\n"),
        (("style-mixing-example",), "are required: --row-seeds or --row-dlatents, --col-seeds or --col-dlatents\n"),
        (("style-mixing-example", "--cols=1"), "are required: --row-seeds or --row-dlatents\n"),
        (("interpolate",), "the following arguments are required: --seeds or --dlatents or --trajectory\n"),
        (("interpolate", "--seeds=1,2", "--gif"), "unrecognized arguments: --gif (did you mean --video=gif?)"),
        (("interpolate", "--seeds=1,2", "--frame=3"), "unrecognized arguments: --frame=3 (did you mean --frames?)"),
        (("mix",), "(did you mean style-mixing-example?)"),
        (("interpolate", "--seeds=1,2", "--video=avi"), "invalid choice: 'avi'"),
        (("interpolate", "--seeds=1,2", "--frames=0"), "expected an integer of 1 or more, got '0'"),
    ],
)
def test_wrong_arguments(args, message, capsys):
    with pytest.raises(SystemExit):
        run_generator._parser().parse_args([*args, "--network=x"])
    assert message in capsys.readouterr().err


def test_all_that_is_missing_is_said_at_once(capsys):
    with pytest.raises(SystemExit):
        run_generator._parser().parse_args(["noise-figure"])
    assert "are required: --seeds or --dlatents, --network\n" in capsys.readouterr().err


def test_help_needs_no_tensorflow():
    code = "import sys; sys.modules['tensorflow'] = None; import run_generator; run_generator._parser().format_help()"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
