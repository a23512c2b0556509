"""`run_projector.py --tune`: what it saves, what of it can be rendered, and runs that are interrupted."""

import os
import signal
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import scripts

import run_projector
from dnnlib.tflib import Network
from dnnlib.tflib.checkpoints import network_files
from generation import vector_files
from projection import state
from projection.projector import Projector
from projection.run import TUNED, Run
from projection.tuning import Tuner

pytestmark = pytest.mark.one_stack
SIZES = {"fmap_base": 256, "fmap_max": 16, "latent_size": 16, "dlatent_size": 16, "mapping_fmaps": 16}
G_MAIN = "training.networks_stylegan2.G_main"


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs the script in this process, in an empty folder with photos. Returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("anna", "bert", "carl")):
        pixels = np.random.RandomState(seed).randint(0, 256, [40, 40, 3]).astype(np.uint8)
        PIL.Image.fromarray(pixels).save(f"{name}.png")
    return scripts.runner(run_projector, monkeypatch, capsys)


def make_network(path, func_name=G_MAIN, **kwargs):
    net = Network("Gs", func_name=func_name, **{"resolution": 16, "num_channels": 3, **SIZES, **kwargs})
    network_files.save_pkl(net, path)
    return f"--network={path}"


def rendered(network, vectors):
    """What a network of a file makes of vectors of files, uint8 [N, H, W, C]."""
    Gs = network_files.load_pkl(network)
    images = []
    for path in vectors:
        file = vector_files.load(path, Gs)
        kwargs = Gs.components.synthesis.model.rendering_kwargs()
        image = Gs.components.synthesis.get_output_for(file.dlatents, noise=file.noises or None, **kwargs)[0].numpy()
        images.append(np.rint((image + 1) * 127.5).clip(0, 255).transpose(1, 2, 0))
    return np.stack(images)


def results(folder):
    """The content of everything that says what came out."""
    names = [path for path in folder.iterdir() if path.suffix in (".npz", ".png")]
    return {path.name: path.read_bytes() for path in (*names, folder / TUNED)}


ARGS = ("project-real-images", "--images=anna.png,bert.png,carl.png", "--convert", "--distance=pixel")
QUICK = ("--num-steps=4", "--num-snapshots=1", "--minibatch-size=2", "--tune=4", "--tune-locality=0.1")


def check_tuned(folder, channels=3):
    """A run's network makes its tuned images of its vectors, nearer to the targets than they were."""
    vectors = [folder / f"{name}.npz" for name in ("anna", "bert", "carl")]
    images = rendered(folder / TUNED, vectors)
    for idx, (path, image) in enumerate(zip(vectors, images, strict=True)):
        shapes = [np.asarray(PIL.Image.open(folder / f"image{idx:04d}-{name}.png")) for name in ("tuned", "target")]
        tuned, target = (picture.reshape(image.shape).astype(float) for picture in shapes)
        assert np.abs(tuned - image).max() <= 1
        how = vector_files.load(path).settings["tuned"]
        assert how["network"] == TUNED
        np.testing.assert_allclose(np.square(tuned - target).mean() / 255**2, how["error"], rtol=1e-5)
        assert how["error"] < how["error_before"]


@pytest.mark.slow
def test_interrupted(run, monkeypatch):
    """Whenever a run is interrupted, the same command goes on and ends with the same bytes."""
    args = (*ARGS, make_network("net.pkl"), *QUICK)
    code, out, err = run(*args, "--result-dir=whole")
    assert code == 0, err
    (whole,) = Path("whole").iterdir()
    check_tuned(whole)
    assert (whole / "tuning.png").exists() and not (whole / state.STATE).exists()
    expected = results(whole)

    ends = {Projector: (2, 6), Tuner: (2,)}  # calls of `step` after which a signal comes
    for kind, calls in ends.items():
        step, done = kind.step, []

        def interrupted(self, step=step, done=done, calls=calls):
            step(self)
            done.append(self)
            if len(done) in calls:
                os.kill(os.getpid(), signal.SIGTERM)

        monkeypatch.setattr(kind, "step", interrupted)
    for place in ({"projected": 0, "step": 2}, {"projected": 2, "step": 2}, {"projected": 3, "tuned": 2}):
        code, out, err = run(*args)
        (folder,) = Path("results").iterdir()
        assert code == 128 + signal.SIGTERM and "The same command goes on" in out, err
        assert state.load(folder)[0]["place"] == place
    # Another command has nothing to go on with, nor has one with other photos or another network.
    assert state.unfinished("results", "project-real-images", {}) is None
    for path, other in (("bert.png", "carl.png"), ("net.pkl", "other.pkl")):
        make_network("other.pkl")
        before = Path(path).read_bytes()
        Path(path).write_bytes(Path(other).read_bytes())
        code, out, err = run(*args)
        assert code == 1 and "changed since this run began; without" in err and "starts anew" in err
        Path(path).write_bytes(before)
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="power cut"):

        def cut(*_):
            raise RuntimeError("power cut")

        patch.setattr(Run, "_save_picture", cut)  # what comes after all W have been replaced
        run(*args)
    code, out, err = run(*args)
    assert code == 0, err
    assert "Tuning a copy of the network to 3 images ... from step 2" in out
    (folder,) = Path("results").iterdir()
    assert results(folder) == expected and (folder / "_finished.txt").exists() and not (folder / state.STATE).exists()


KINDS = {
    "gray": {"num_channels": 1},
    "transparent and wide": {"num_channels": 4, "resolution": [16, 24]},
    "conditional": {"label_size": 3},
    "config a": {"func_name": "training.networks_stylegan.G_style"},
    "ada, 16 bit": {"func_name": "training.networks.G_main", "num_fp16_res": 2, "conv_clamp": 256, "label_size": 2},
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_networks(run, kind):
    """All steps by default; W+; the network is read again, as are its vectors, and projected with."""
    network = make_network("net.pkl", **KINDS[kind])
    label = ("--label=0,1,0",) if kind == "conditional" else ()
    code, _, err = run(*ARGS, network, *QUICK, "--w-plus", "--tune=20", *label)
    assert code == 0, err
    (folder,) = Path("results").iterdir()
    check_tuned(folder)
    before, after = (network_files.load_pkl(path) for path in ("net.pkl", folder / TUNED))
    same = {key for key, variable in before.vars.items() if np.array_equal(variable.numpy(), after.get_var(key))}
    changed = set(before.vars) - same
    assert changed and changed <= {f"G_synthesis/{key}" for key in before.components.synthesis.trainables}
    assert type(after.model) is type(before.model) and after.static_kwargs == before.static_kwargs
    again = ("--num-steps=2", "--initial", folder, "--w-plus", "--learning-rate=0", "--save-vector")
    code, _, err = run(*ARGS, f"--network={folder / TUNED}", *again, *label)
    assert code == 0, err
    target, found = (
        np.asarray(PIL.Image.open(path), float)
        for path in (folder / "image0000-tuned.png", *Path("results").glob("00001-*/image0000-step0002.png"))
    )
    assert np.abs(target - found).max() <= 1


@pytest.mark.slow
def test_diverged(run):
    """A network that makes no images any more is not written."""
    quick = ("--num-steps=1", "--num-snapshots=0", "--tune=4", "--tune-learning-rate=1e30")
    code, _, err = run(*ARGS, make_network("net.pkl"), *quick)
    assert code == 1 and "makes no images any more; a smaller --tune-learning-rate" in err, err
    (folder,) = Path("results").iterdir()
    assert not (folder / TUNED).exists() and "Traceback" not in (folder / "log.txt").read_text()
