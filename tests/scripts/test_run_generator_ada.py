"""`run_generator.py` with networks of StyleGAN2-ADA: pixels of the official tools, noise, classes, official flags."""

from pathlib import Path

import golden
import numpy as np
import PIL.Image
import pytest

import run_generator
from dnnlib.errors import UserError
from dnnlib.tflib import Network, convert_images_to_uint8
from dnnlib.tflib.checkpoints import network_files
from generation import vector_files
from generation.conventions import Rendering
from generation.image_generator import ImageGenerator

RUNS = {case["key"]: case for case in golden.read_index(golden.ADA_GOLDENS / "cli" / "runs.json")}
SCRIPTS = {"generate-images": "generate-images", "generate-style-mix": "style-mixing-example"}
COND = "pt_pickles/auto-r32-cond5.pkl"
PLAIN = "pt_pickles/r16-gray.pkl"


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """The current folder, where images are saved."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*args):
    """Runs a command in this process, without a run folder."""
    kwargs = vars(run_generator._parser().parse_args(args))
    del kwargs["result_dir"]
    kwargs["network_pkl"] = str(golden.ADA_GOLDENS / kwargs["network_pkl"])
    run_generator.COMMANDS[kwargs.pop("command")](**kwargs)


def arrays(path):
    with np.load(path) as npz:
        return dict(npz)


def pixels(path):
    array = np.asarray(PIL.Image.open(path))
    return array if array.ndim == 3 else array[..., np.newaxis]


def check(path, expected):
    difference = np.abs(pixels(path).astype(int) - expected)
    assert difference.max() <= 1 and np.mean(difference > 0) < 0.005, path


def as_pixels(images):
    return convert_images_to_uint8(images, nchw_to_nhwc=True).numpy()


@pytest.mark.parametrize(
    "key", [key for key, case in RUNS.items() if case["exit_code"] == 0 and "projected" not in key]
)
def test_official_runs(place, key):
    case = RUNS[key]
    network, *args = case["argv"]
    if not (golden.ADA_GOLDENS / network.removeprefix("--network=")).exists():
        pytest.skip("needs the large set of goldens")
    run(SCRIPTS[case["script"]], network, *args)
    expected = arrays(golden.ADA_GOLDENS / "cli" / "images.npz")
    assert {path.name for path in place.iterdir()} == set(case["files"])
    for name in case["files"]:
        check(name, expected[f"{key}/{name}"])


def test_noise_modes_of_pytorch(capsys):
    """What is generated of Z and of W, in L mode; the default is the network's own noise, and no truncation."""
    data = arrays(golden.ADA_GOLDENS / "pt_pickles" / "r16-gray.npz")
    Gs = network_files.load_pkl(golden.ADA_GOLDENS / PLAIN)[2]
    for mode, name in (("const", "Gema_img_const"), ("none", "Gema_img_none")):
        images = ImageGenerator(Gs, Rendering(noise_mode=mode)).from_dlatents(data["Gema_ws"])
        difference = np.abs(images.astype(int) - as_pixels(data[name]))
        assert difference.max() <= 1 and np.mean(difference > 0) < 0.005
    run("generate-images", f"--network={PLAIN}", "--seeds=5", "--class-idx=1")
    z = np.random.RandomState(5).randn(1, *Gs.input_shape[1:])
    const = as_pixels(Gs.get_output_for(z, None, truncation_psi=1, randomize_noise=False, num_fp16_res=0))[0]
    check("seed0005.png", const)
    assert PIL.Image.open("seed0005.png").mode == "L"
    said = capsys.readouterr().out
    assert "Conventions of the PyTorch tools; truncation psi 1, noise mode const." in said
    assert "warn: --class-idx=1 is ignored" in said
    run("generate-images", f"--network={PLAIN}", "--seeds=5", "--noise-mode=random")
    assert np.abs(pixels("seed0005.png").astype(int) - const).max() > 1


def test_conventions_of_tensorflow(capsys):
    """Noise comes from the seed, too, psi is 0.5, and without a class there is no label."""
    name = "tf_pickles/r32-cond3-Dmap2.pkl"
    Gs = network_files.load_pkl(golden.ADA_GOLDENS / name)[2]
    state = np.random.RandomState(7)
    z = state.randn(1, *Gs.input_shape[1:])
    own = [var for key, var in Gs.components.synthesis.vars.items() if key.startswith("noise")]
    noises = {
        "seed": [state.randn(*noise.shape).astype(np.float32) for noise in own],
        "const": [noise.numpy() for noise in own],
        "none": [np.zeros(noise.shape, np.float32) for noise in own],
    }
    label = np.eye(3, dtype=np.float32)[[2]]
    for mode, noise in noises.items():
        run("generate-images", f"--network={name}", "--seeds=7", "--class=2", f"--noise-mode={mode}", "--trunc=0.8")
        expected = as_pixels(Gs.get_output_for(z, label, noise=noise, truncation_psi=0.8))[0]
        check("seed0007.png", expected)
    without = Gs.get_output_for(z, label, use_noise=False, truncation_psi=0.8)
    np.testing.assert_array_equal(as_pixels(without)[0], expected)
    run("generate-images", f"--network={name}", "--seeds=7")
    check("seed0007.png", as_pixels(Gs.get_output_for(z, None, noise=noises["seed"], truncation_psi=0.5))[0])
    said = capsys.readouterr().out
    assert "Conventions of the TensorFlow tools; truncation psi 0.5, noise mode seed." in said
    assert "The network knows 3 classes; generating without a label (choose: --class-idx, --label)." in said


@pytest.mark.parametrize("func", ["networks_stylegan.G_style", "networks_stylegan2.G_main"])
def test_noise_modes_of_older_networks(func):
    sizes = {"resolution": 16, "num_channels": 1, "fmap_base": 32, "fmap_max": 8}
    latents = {"latent_size": 8, "dlatent_size": 8, "mapping_fmaps": 8}
    Gs = Network("Gs", func_name=f"training.{func}", **sizes, **latents)
    golden.set_variables(Gs.vars, "noise")
    w = Gs.components.mapping.run(golden.rnd(1, 3, 8), None)
    w[:] = w[:1]
    images = {
        mode: ImageGenerator(Gs, Rendering(noise_mode=mode)).from_dlatents(w) for mode in ("const", "none", "random")
    }
    for mode, kwargs in (("const", {"randomize_noise": False}), ("none", {"use_noise": False})):
        expected = as_pixels(Gs.components.synthesis.get_output_for(w, **kwargs))
        assert np.abs(images[mode].astype(int) - expected).max() <= 1
        assert np.abs(images[mode].astype(int) - images["random"]).max() > 1
        np.testing.assert_array_equal(images[mode][0], images[mode][1])
    assert np.abs(images["random"][0].astype(int) - images["random"][1]).max() > 1


def test_noise_mode_holds_for_files_and_their_noise():
    Gs = network_files.load_pkl(golden.ADA_GOLDENS / PLAIN)[2]
    w = arrays(golden.ADA_GOLDENS / "pt_pickles" / "r16-gray.npz")["Gema_ws"][:1]
    own = [var.shape for key, var in Gs.components.synthesis.vars.items() if key.startswith("noise")]
    noises = [golden.rnd(idx, *shape) for idx, shape in enumerate(own)]
    vector_files.save("anna.npz", w, noises)
    synthesis = Gs.components.synthesis
    for mode, noise in (("const", noises), ("none", [0 * noise for noise in noises])):
        run("generate-images", f"--network={PLAIN}", "--projected-w=anna.npz", f"--noise-mode={mode}")
        check("anna.png", as_pixels(synthesis.get_output_for(w, noise=noise, num_fp16_res=0))[0])


def test_classes_of_pytorch():
    """A class is needed for seeds, in every command; files of W need none."""
    message = "--class-idx is missing: this network makes images of 5 classes, expected one of 0 to 4"
    message += ", or --label of 5 numbers"
    for command, *args in (
        ("generate-images", "--seeds=1"),
        ("style-mixing-example", "--rows=1", "--cols=2"),
        ("interpolate", "--seeds=1,2"),
        ("truncation-figure", "--seeds=1"),
        ("noise-figure", "--seeds=1"),
    ):
        with pytest.raises(UserError) as error:
            run(command, f"--network={COND}", *args)
        assert str(error.value) == message
    with pytest.raises(UserError, match="--class-idx=5: expected 0 to 4"):
        run("generate-images", f"--network={COND}", "--seeds=1", "--class-idx=5")
    Gs = network_files.load_pkl(golden.ADA_GOLDENS / COND)[2]
    z = np.stack([np.random.RandomState(seed).randn(*Gs.input_shape[1:]) for seed in (1, 2)])
    w = Gs.components.mapping.run(z, np.eye(5)[[3, 3]])
    vector_files.save("one.npz", w[:1])
    run("generate-images", f"--network={COND}", "--dlatents=one.npz")
    mixed = np.where(np.arange(w.shape[1])[:, np.newaxis] < 2, w[1], w[0])[np.newaxis]
    run("style-mixing-example", f"--network={COND}", "--rows=1", "--cols=2", "--styles=0,1", "--class=3")
    for name, dlatents in (("one", w[:1]), ("1-1", w[:1]), ("1-2", mixed)):
        kwargs = {"randomize_noise": False, "num_fp16_res": 0}
        check(f"{name}.png", as_pixels(Gs.components.synthesis.get_output_for(dlatents, **kwargs))[0])


def test_label_vectors():
    """--label is what the network maps Z with, whatever numbers; its length is that of the network's labels."""
    for label, message in (
        ("0.5,1", "--label of 2 numbers: expected 5, as the network's labels have"),
        ("0,0,0,1,0,0", "--label of 6 numbers: expected 5"),
    ):
        with pytest.raises(UserError, match=message):
            run("generate-images", f"--network={COND}", "--seeds=1", f"--label={label}")
    with pytest.raises(UserError, match="expected one of them, got both"):
        ImageGenerator(network_files.load_pkl(golden.ADA_GOLDENS / COND)[2], Rendering(class_idx=1, label=[0] * 5))
    with pytest.raises(UserError, match="got 6,7,8.*,25,... and 999974 more"):
        ImageGenerator(network_files.load_pkl(golden.ADA_GOLDENS / PLAIN)[2], col_styles=range(10**6))
    run("generate-images", f"--network={COND}", "--seeds=1", "--label=0.25,-1,0,.5,1e-1")
    Gs = network_files.load_pkl(golden.ADA_GOLDENS / COND)[2]
    z, kwargs = np.random.RandomState(1).randn(1, *Gs.input_shape[1:]), {"randomize_noise": False, "num_fp16_res": 0}
    label = np.array([[0.25, -1, 0, 0.5, 0.1]])
    check("seed0001.png", as_pixels(Gs.get_output_for(z, label, truncation_psi=1, **kwargs))[0])


# ----------------------------------------------------------------------------
# Command line.


def test_official_flags():
    parse = run_generator._parser().parse_args
    args = parse(["generate-images", "--network=x", "--projected-w=a", "--trunc=0.7", "--class=2", "--outdir=out"])
    assert (args.seeds, args.truncation_psi, args.class_idx, args.result_dir) == (["a"], 0.7, 2, "out")
    args = parse(["style-mixing-example", "--network=x", "--rows=1-2", "--cols=3", "--styles=0,4"])
    assert (args.row_seeds, args.col_seeds, args.col_styles) == ([1, 2], [3], [0, 4])


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--seeds=1", "--class-idx=1,2"), "argument --class-idx: expected one class for all images, got '1,2'"),
        (("--seeds=1", "--class=0-4"), "argument --class-idx: expected one class for all images, got '0-4'"),
        (("--seeds=1", "--class=-1"), "argument --class-idx: expected an integer of 0 or more, got '-1'"),
        (("--seeds=1", "--class=1", "--label=0,1"), "argument --label: not allowed with argument --class-idx"),
        (
            ("--seeds=1", "--label=1,,2"),
            "--label: expected a number or several with commas between, such as 0.5,1, got ''",
        ),
        (("--seeds=1", "--trunc=x"), "argument --truncation-psi: expected a number"),
        (("--seeds=1", "--noise-mode=fixed"), "invalid choice: 'fixed'"),
        ((), "the following arguments are required: --seeds or --dlatents"),
    ],
)
def test_wrong_arguments(args, message, capsys):
    with pytest.raises(SystemExit) as error:
        run_generator._parser().parse_args(["generate-images", "--network=x", *args])
    assert error.value.code == 2 and message in capsys.readouterr().err


def test_help_does_not_show_official_flags():
    text = (Path(run_generator.__file__).parent / "docs" / "run_generator-mixing-help.txt").read_text()
    assert "--row-seeds" in text and "--rows" not in text
