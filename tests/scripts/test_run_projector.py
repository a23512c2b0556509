"""`run_projector.py` as a user runs it: files, log, vectors, messages."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import golden
import metric_net_files
import numpy as np
import PIL.Image
import pytest
import scripts
import weight_writers

import run_projector
from dnnlib.tflib import Network, convert_images_to_uint8
from dnnlib.tflib.checkpoints import network_files
from generation import vector_files, video

pytestmark = pytest.mark.one_stack
ROOT = Path(__file__).parent.parent.parent
RUNS = golden.index("cli", "projector_runs.json")["runs"]
SIZES = {"fmap_base": 512, "fmap_max": 32, "latent_size": 32, "dlatent_size": 32, "mapping_fmaps": 32}
NETWORKS = {
    "cfgf-r16-gray": {"resolution": 16, "num_channels": 1},
    "cfge-Gorig-Dskip-r32": {"resolution": 32, "num_channels": 3, "architecture": "orig"},
    "rgba": {"resolution": 16, "num_channels": 4},
}
QUICK = ("--num-steps=6", "--distance=pixel")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """The networks and the data set of the golden runs."""
    folder = tmp_path_factory.mktemp("base")
    (folder / "pickles").mkdir()
    for name, kwargs in NETWORKS.items():
        net = Network("Gs", func_name="training.networks_stylegan2.G_main", **kwargs, **SIZES)
        golden.set_variables(net.vars, f"{name}.Gs:")
        network_files.save_pkl(net, folder / "pickles" / f"{name}.pkl")
    name = "tfr_rgb32_noshuffle"
    shutil.copytree(golden.GOLDENS / "dataset" / name, folder / "dataset" / name)
    return folder


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs the script in this process, in an empty folder. Returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    return scripts.runner(run_projector, monkeypatch, capsys)


def run_dir(number=0):
    (found,) = run_dirs(number)
    return found


def run_dirs(number):
    return list(Path("results").glob(f"{number:05d}-*"))


def photo(path, size=(40, 36), channels=3, seed=0):
    pixels = np.random.RandomState(seed).randint(0, 256, [size[1], size[0], channels]).astype(np.uint8)
    PIL.Image.fromarray(pixels.squeeze()).save(path)


@pytest.mark.parametrize("number", range(len(RUNS)))
def test_official_runs(base, run, number):
    case = RUNS[number]
    args = [arg.replace("<BASE>", str(base)) for arg in case["argv"]]
    code, out, err = run(*args, f"--num-steps={case['num_steps']}", "--distance=pixel")
    assert code == 0, err
    assert run_dir().name[5:] == Path(case["run_dir"]).name[5:]
    assert sorted(path.name for path in run_dir().iterdir()) == sorted(case["files"])
    for name, (size, mode) in case["png"].items():
        with PIL.Image.open(run_dir() / name) as img:
            assert (list(img.size), img.mode) == (size, mode)
    # Ours has some lines more: what computes, what came out, and how long it took; and no line for each step.
    ours = (run_dir() / "log.txt").read_text().splitlines()
    more = [line for line in ours if re.match(r"(seed|image)\d+: distance|\d+ steps in", line)]
    assert len(more) == out.count("Projecting") + 1
    ours = [line for line in ours if line not in more and "custom ops" not in line.lower()]
    official = case["log_txt"].replace("<BASE>", str(base)).splitlines()
    official = [line for line in official if line.strip() and not re.match(r"\d+ / \d+ \.\.\. ", line)]
    assert ours[:-1] == official[:-1]
    assert re.fullmatch(re.escape(official[-1]).replace("<TIME>", r"\S+"), ours[-1])
    assert re.search(rf"^{case['num_steps'] * out.count('Projecting')} steps in .*steps/s", err, re.MULTILINE)


def test_photos_vectors_and_continuing(base, run):
    photo("b.jpg", (50, 80))
    Path("people").mkdir()
    for idx, name in enumerate(("anna.png", "bert.png", "carl.png")):
        photo(f"people/{name}", seed=idx)
    network = base / "pickles" / "cfge-Gorig-Dskip-r32.pkl"
    args = ("project_real_images", f"--network={network}", "--images", "people", "b.jp*", *QUICK)
    code, _, err = run(*args, "--minibatch-size=3", "--save-vector", "--w_plus", "--num-snapshots=1", "--seed=4")
    assert code == 0, err
    names = {f"image{idx:04d}{end}" for idx in range(4) for end in ("-target.png", "-step0006.png")}
    vectors = ["anna.npz", "bert.npz", "carl.npz", "b.npz"]
    assert {*names, *vectors} < {path.name for path in run_dir().iterdir()}
    assert "Projecting image0003: b.jpg (3/4) ..." in (run_dir() / "log.txt").read_text()
    Gs = network_files.load_pkl(network)
    files = [vector_files.load(run_dir() / name, Gs) for name in vectors]
    sources = ["people/anna.png", "people/bert.png", "people/carl.png", "b.jpg"]
    for idx, (file, source) in enumerate(zip(files, sources, strict=True)):
        assert file.dlatents.shape == (1, 8, 32) and file.settings["target"] == source
        assert file.settings["w_plus"] is True and file.settings["num_steps"] == 6 and file.settings["seed"] == 4
        image = Gs.components.synthesis.get_output_for(file.dlatents, noise=file.noises)
        pixels = np.rint((image[0].numpy() + 1) * 127.5).clip(0, 255).transpose(1, 2, 0)
        saved = np.asarray(PIL.Image.open(run_dir() / f"image{idx:04d}-step0006.png"))
        assert np.abs(pixels - saved).max() <= 1
    target = np.asarray(PIL.Image.open(run_dir() / "image0000-target.png"))
    cut = PIL.Image.open("people/anna.png").crop((2, 0, 38, 36)).resize((32, 32), PIL.Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(target, cut)

    initial = ("--initial", files[0].path)
    code, _, err = run(*args, "--num-images=1", *initial, "--w-plus", "--save-vector", "--learning-rate=0")
    assert code == 0, err
    again = vector_files.load(run_dir(1) / "anna.npz")
    np.testing.assert_array_equal(again.dlatents, files[0].dlatents)
    assert again.settings["initial"] == files[0].path
    # A start for each, whatever files they are in.
    vector_files.save("two.npz", np.concatenate([file.dlatents for file in files[:2]]))
    vector_files.save("other.npz", files[3].dlatents)
    quick = ("--minibatch-size=3", "--w-plus", "--save-vector", "--learning-rate=0", "--num-steps=1")
    code, _, err = run(*args, *quick, "--initial", "two.npz,other.npz", "o*.npz")
    assert code == 0, err
    expected = [files[0], files[1], files[3], files[3]]
    for name, file, path in zip(vectors, expected, ["two.npz", "two.npz", "other.npz", "other.npz"], strict=True):
        again = vector_files.load(run_dir(2) / name)
        np.testing.assert_array_equal(again.dlatents, file.dlatents)
        assert again.settings["initial"] == path
    assert "image0001: people/bert.png (1/4) ... from two.npz" in (run_dir(2) / "log.txt").read_text()
    # Files of the same images, which come in another order: by name, b.npz is the second.
    code, _, err = run(*args, *quick, "--initial", run_dir())
    assert code == 0, err
    for name, file in zip(vectors, files, strict=True):
        again = vector_files.load(run_dir(3) / name)
        assert again.settings["initial"] == file.path
        np.testing.assert_array_equal(again.dlatents, file.dlatents)

    code, _, err = run(*args, "--num-images=5", *initial)
    assert code == 1 and "--num-images=5: --images has 4" in err and "add --w-plus" in err
    code, _, err = run(*args, "--initial=two.npz", "--w-plus")
    assert code == 1 and "--initial: 2 vectors for 4 images; expected 1 or 4" in err
    code, _, err = run(*args, f"--initial={files[0].path},other.npz,two.npz", "--w-plus")
    assert code == 1 and "other.npz: has no noise images, others have; expected all or none with them" in err
    code, _, err = run(*args, "--initial=tow.npz,people")
    assert code == 1 and "--initial: tow.npz: no such file (did you mean two.npz?)" in err
    assert "--initial: people: there are no files of vectors (.npz) in this folder" in err
    assert not run_dirs(4)


def test_names_and_log(base, run):
    """Photos of one name; a line in the log for every hundred steps."""
    for idx, folder in enumerate(("a", "b")):
        Path(folder).mkdir()
        photo(f"{folder}/Ännä.png", (16, 16), 1, seed=idx)
    network = f"--network={base}/pickles/cfgf-r16-gray.pkl"
    args = ("project-real-images", network, "--images=b,a", "--distance=pixel", "--num-snapshots=0")
    code, out, err = run(*args, "--num-steps=250", "--save-vector")
    assert code == 0, err
    assert {path.name for path in run_dir().glob("*.npz")} == {"Ännä.npz", "Ännä_2.npz"}
    assert vector_files.load(run_dir() / "Ännä_2.npz").settings["target"] == "a/Ännä.png"
    steps = re.findall(r"^(\d+)/500 steps, distance \S+, loss \S+, \S+ steps/s, .* left$", err, re.MULTILINE)
    assert steps == ["100", "200", "350", "450"]
    assert len((run_dir() / "log.txt").read_text().splitlines()) < 20
    assert "\r" not in out  # no terminal


def test_lpips_and_video(base, run, monkeypatch):
    """LPIPS with random weights; a writer that keeps frames stands in for ffmpeg."""
    frames, closed = {}, []

    class Writer:
        def __init__(self, path, fps):
            self.frames = frames.setdefault(Path(path).name, [])

        def __enter__(self):
            return self

        def add(self, frame):
            self.frames.append(frame)

        def __exit__(self, *error):
            closed.append(error[0])

    import projection.run

    monkeypatch.setattr(projection.run, "VideoWriter", Writer)
    monkeypatch.setattr(video, "check_ffmpeg", lambda: None)
    weights = metric_net_files.lpips_of_pickle(metric_net_files.lpips_weights())
    weight_writers.write_official_pickle(
        Path("vgg16_zhang_perceptual.pkl"), "vgg16_perceptual_distance", weights, func_name="lpips_network"
    )
    args = (f"--network={base}/pickles/cfgf-r16-gray.pkl", "--seeds=1,2", "--num-steps=5", "--minibatch-size=2")
    code, _, err = run("project-generated-images", *args, "--metric-networks=.", "--video", "--save-vector")
    assert code == 0, err
    assert sorted(frames) == ["seed0001-projection.mp4", "seed0002-projection.mp4"] and closed == [None, None]
    target = np.asarray(PIL.Image.open(run_dir() / "seed0002-target.png")).repeat(16, 0).repeat(16, 1)
    last = np.asarray(PIL.Image.open(run_dir() / "seed0002-step0005.png")).repeat(16, 0).repeat(16, 1)
    shown = frames["seed0002-projection.mp4"]
    assert len(shown) == 6 and shown[0].shape == (256, 512, 1)
    np.testing.assert_allclose(shown[-1][:, :, 0], np.concatenate([target, last], axis=1), atol=1)
    settings = vector_files.load(run_dir() / "seed0001.npz").settings
    assert settings["distance_network"] == "lpips" and 0 < settings["distance"] < settings["loss"]
    # The same network by its path; images of four channels are compared over black and white.
    pkl = ("--network", base / "pickles" / "rgba.pkl", "--seeds=1", "--num-steps=1", "--num-snapshots=0")
    code, _, err = run("project-generated-images", *pkl, "--distance=vgg16_zhang_perceptual.pkl")
    assert code == 0, err
    assert PIL.Image.open(run_dir(1) / "seed0001-target.png").mode == "RGBA"
    assert not list(run_dir(1).glob("*step*"))


def test_what_does_not_fit_the_network(base, run):
    Path("bad").mkdir()
    photo("bad/gray.png", channels=1)
    photo("bad/rgba.png", channels=4)
    photo("bad/small.png", size=(20, 60))
    Path("bad/text.png").write_text("not a picture")
    vector_files.save("other.npz", np.zeros([1, 6, 16]), settings={"network": "other.pkl"})
    network = f"--network={base}/pickles/cfge-Gorig-Dskip-r32.pkl"
    args = ("project-real-images", network, "--images=bad", "--offline", "--initial=other.npz")
    code, _, err = run(*args, "--cache-dir=nothing")
    assert code == 1 and "Traceback" not in err
    for message in (
        "vgg16_zhang_perceptual.pkl is not in the cache",
        "--metric-networks=DIR",
        "--distance=pixel compares pixels",
        "bad/gray.png: 36x40 grayscale, but the network makes RGB images; --convert makes it so",
        "bad/rgba.png: 36x40 RGB with transparency, but the network makes RGB images",
        "--images: bad/small.png: 60x20 RGB, too small for a network of 32x32",
        "--images: bad/text.png: not an image",
        "--initial: other.npz: 6 layers of 16 numbers, but the network has 8 of 32 (made with other.pkl)",
    ):
        assert message in err
    Path("bad/small.png").unlink()
    Path("bad/text.png").unlink()
    code, _, err = run("project-real-images", network, "--images=bad", "--convert", *QUICK)
    assert code == 0, err
    (left,) = Path("results").iterdir()  # runs that never began leave no folder
    target = np.asarray(PIL.Image.open(left / "image0000-target.png"))
    assert target.shape == (32, 32, 3) and (target == target[:, :, :1]).all()

    gray = f"--network={base}/pickles/cfgf-r16-gray.pkl"
    dataset = (f"--data-dir={base}/dataset", "--dataset=tfr_rgb32_noshuffle")
    code, _, err = run("project-real-images", gray, *dataset, *QUICK)
    assert code == 1 and "has images [3, 32, 32], the network makes [1, 16, 16]" in err
    code, out, err = run("project-real-images", gray, *dataset, *QUICK, "--num-images=100", "--initial=other.npz")
    assert code == 1 and "--num-images=100: the data set tfr_rgb32_noshuffle has" in err and not out
    vector_files.save("two.npz", np.zeros([2, 6, 16]))
    code, out, err = run("project-real-images", gray, *dataset, *QUICK, "--initial=two.npz", "--num-images=1")
    assert code == 1 and "--initial: 2 vectors for 1 image; expected 1" in err and not out


def script(cwd, *args, **kwargs):
    command = [sys.executable, ROOT / "run_projector.py", *map(str, args)]
    options = {"capture_output": True, "text": True, "timeout": 300, "check": False, **kwargs}
    return subprocess.run(command, cwd=cwd, **options)


def test_all_mistakes_at_once(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "readme.txt").write_text("nothing")
    (tmp_path / "text.png").write_text("not a picture")
    np.savez(tmp_path / "nan.npz", dlatents=np.full([1, 8, 32], np.nan))
    images = ("--images", "empty", "text.png", "none.jpg", "*.gif")
    wrong = ("--network=none.pkl", "--initial=nan.npz", "--distance=lpip", "--metric-networks=nowhere")
    result = script(tmp_path, "project-real-images", *images, *wrong, "--result-dir=text.png")
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert sorted(line.removeprefix("Error: ") for line in result.stderr.splitlines()) == sorted(
        [
            f"--result-dir=text.png: {tmp_path / 'text.png'} is a file, expected a folder",
            "--network: none.pkl: no such file",
            "--images: empty: there are no images in this folder. Left out 1 file: 1 not an image (readme.txt)",
            "--images: none.jpg: no such file",
            "--images: *.gif: no file has such a name",
            "--images: text.png: not an image",
            "--metric-networks=nowhere: there is no such folder",
            "--distance=lpip: no such file, expected lpips, pixel, or a file with weights of LPIPS",
            "--initial: nan.npz: dlatents have values that are not finite",
        ]
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "nan.npz", "text.png"]


def test_wrong_arguments(run, monkeypatch):
    def no_ffmpeg():
        raise run_projector.UserError("writing mp4 needs the package imageio-ffmpeg: pip install imageio-ffmpeg")

    monkeypatch.setattr(video, "check_ffmpeg", no_ffmpeg)
    Path("x.pkl").write_text("")
    real, generated = ("project-real-images", "--network=x.pkl"), ("project-generated-images", "--network=x.pkl")
    Path("empty").mkdir()
    photo("a.png")
    Path("vgg16_zhang_perceptual.pkl").write_text("")
    for args, code, message in (
        ((), 1, ""),
        (("project", "--network=x.pkl"), 2, "(did you mean project-generated-images or project-real-images?)"),
        ((*real, "--images=a.png,b.png"), 1, "--images: b.png: no such file (did you mean a.png?)"),
        ((*real, "--images=a.png,,b.png"), 2, "expected names of files with commas between"),
        ((*real, "--images=a.png", "--num-images=2"), 1, "--num-images=2: --images has 1"),
        ((*generated, "--distance=empty"), 1, "--distance=empty: is a folder, expected lpips, pixel, or a file"),
        ((*generated, "--distance=empty"), 1, "--metric-networks=empty looks there"),
        (
            ("project-generated-images", "--network=vgg16_zhang_perceptual.pkl"),
            1,
            "--network: vgg16_zhang_perceptual.pkl: is a metric network, which measures images; expected a generator",
        ),
        (real, 1, "expected --dataset (with --data-dir) or --images, got neither"),
        ((*real, "--dataset=a", "--images=b"), 1, "expected --dataset (with --data-dir) or --images, got both"),
        ((*real, "--dataset=a"), 1, "--dataset=a: there is no datasets/a"),
        ((*real, "--dataset=a", "--convert"), 1, "--convert is for --images"),
        ((*generated, "--video"), 1, "--video: writing mp4 needs the package imageio-ffmpeg"),
        ((*generated, "--num-steps=0"), 2, "integer of 1 or more"),
        ((*generated, "--tune=-1"), 2, "integer of 0 or more"),
        (
            (*generated, "--tune-pixel=1", "--tune-locality=1"),
            1,
            "--tune-pixel, --tune-locality: for tuning, which --tune=350 asks for",
        ),
        (
            (*generated, "--tune=9", "--tune-locality-images=4"),
            1,
            "--tune-locality-images: for the locality term, which --tune-locality=WEIGHT asks for",
        ),
        ((*generated, "--learning-rate=-1"), 2, "expected a number of 0 or more, got '-1'"),
        ((*generated, "--regularize-noise-weight=nan"), 2, "expected a number of 0 or more"),
        ((*generated, "--save-vectors"), 2, "did you mean --save-vector?"),
        (("project-generated-images",), 2, "the following arguments are required: --network"),
        (("project-images",), 2, "did you mean project-real-images?"),
    ):
        got, out, err = run(*args)
        assert got == code and message in err, (args, err)
        assert args or "missing subcommand" in out
    assert not Path("results").exists()


def test_a_network_that_is_not_finite(base, run, tmp_path):
    Gs = network_files.load_pkl(base / "pickles" / "cfgf-r16-gray.pkl")
    Gs.set_var("G_synthesis/16x16/ToRGB/bias", [np.nan])
    network_files.save_pkl(Gs, tmp_path / "nan.pkl")
    code, _, err = run("project-generated-images", "--network=nan.pkl", "--seeds=3", *QUICK)
    assert code == 1 and "nan.pkl: NaN or infinity in" in err and "nothing can be projected with it" in err
    assert not run_dirs(0)


def test_settings_are_kept(base, run):
    code, _, err = run("project-generated-images", f"--network={base}/pickles/cfgf-r16-gray.pkl", "--seeds=3", *QUICK)
    assert code == 0, err
    assert "'num_steps': 6" in (run_dir() / "submit_config.txt").read_text()


def test_class_of_a_conditional_network(run):
    """Of PyTorch: it is needed; W is of the class, and images of seeds have the network's own noise."""
    network = golden.ADA_GOLDENS / "pt_pickles" / "auto-r32-cond5.pkl"
    args = ("project-generated-images", f"--network={network}", "--seeds=3", *QUICK, "--num-snapshots=0")
    code, _, err = run(*args)
    assert code == 1 and "--class-idx is missing: this network makes images of 5 classes, expected one of 0 to 4" in err
    code, _, err = run(*args, "--class-idx=5")
    assert code == 1 and "--class-idx=5: expected 0 to 4, the classes of the network" in err
    code, _, err = run(*args, "--class-idx=2", "--save-vector", "--learning-rate=0")
    assert code == 0, err
    Gs = network_files.load_pkl(network)[2]
    z = np.random.RandomState(3).randn(1, *Gs.input_shape[1:])
    kwargs = {"truncation_psi": 1, "randomize_noise": False, "num_fp16_res": 0}
    expected = convert_images_to_uint8(Gs.get_output_for(z, np.eye(5)[[2]], **kwargs), nchw_to_nhwc=True)[0].numpy()
    (target,) = Path("results").glob("*/*-target.png")
    assert np.abs(np.asarray(PIL.Image.open(target)).astype(int) - expected).max() <= 1
    samples = np.random.RandomState(123).randn(10000, *Gs.input_shape[1:])
    average = np.mean(Gs.components.mapping.run(samples, np.tile(np.eye(5)[2], [10000, 1]))[:, 0], axis=0)
    (vector,) = Path("results").glob("*/*.npz")
    found = vector_files.load(vector)
    np.testing.assert_allclose(found.dlatents[0, 0], average, atol=1e-4)
    assert found.settings["class_idx"] == 2
    code, _, err = run(*args, "--label=1,0")
    assert code == 1 and "--label of 2 numbers: expected 5" in err
    code, _, err = run(*args, "--label=0,0,1,0,0", "--save-vector", "--learning-rate=0")
    assert code == 0, err
    (vector,) = Path("results").glob("00001-*/*.npz")
    np.testing.assert_array_equal(vector_files.load(vector).dlatents, found.dlatents)
    assert vector_files.load(vector).settings["label"] == [0, 0, 1, 0, 0]


def test_help_is_in_docs():
    for name, args in (("", ()), ("-generated", ("project-generated-images",)), ("-real", ("project-real-images",))):
        result = script(ROOT, *args, "--help", env={"COLUMNS": "100", "PATH": ""})
        assert result.returncode == 0
        documented = (ROOT / "docs" / f"run_projector{name}-help.txt").read_text()
        assert " ".join(result.stdout.split()) == " ".join(documented.split())
