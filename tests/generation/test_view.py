"""Pictures of the page against those of the commands that it shows, to the bit."""

import shlex
import sys
from pathlib import Path

import golden
import numpy as np
import PIL.Image
import pytest

import pretrained_networks
import run_generator
from dnnlib.errors import UserError
from dnnlib.tflib import Network
from generation import direction_files, vector_files
from generation.conventions import Rendering
from generation.view import commands
from generation.view.picture import parse
from training import misc
from training.nets import style_space

ROOT = Path(__file__).parent.parent.parent
DEMO = "demo/symbols-32x32.pkl"
G_SIZES = {"fmap_base": 64, "fmap_max": 8, "latent_size": 6, "dlatent_size": 8, "mapping_fmaps": 8, "mapping_layers": 2}


def save_network(path, **kwargs):
    net = Network("Gs", func_name="training.networks_stylegan2.G_main", **{**G_SIZES, **kwargs})
    golden.set_variables(net.vars, "Gs")
    misc.save_pkl(net, path)
    return net


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def stage_of(networks, dlatents=(), directions=()):
    return commands._stage(networks, dlatents, directions, Rendering())


def made_by(command, monkeypatch, folder):
    """The images that a command makes, by name."""
    program, script, *args = shlex.split(command)
    assert (program, script) == ("python", "run_generator.py")
    monkeypatch.setattr(sys, "argv", [script, *args, f"--result-dir={folder}"])
    run_generator.main()
    return {path.name: np.array(PIL.Image.open(path)) for path in folder.glob("*/*.png")}


def check_command(stage, query, monkeypatch, folder):
    """That the shown command makes the picture; returns it, as it is in files."""
    picture = parse(query, stage.facts)
    image = stage.render(picture)
    shown = image[..., 0] if image.shape[2] == 1 else image
    made = made_by(stage.command(picture), monkeypatch, folder / "of command")
    name = f"{picture.base}-{picture.mix}.png" if picture.is_mixed and "mixing" in stage.command(picture) else None
    assert np.array_equal(made[name] if name else next(iter(made.values())), shown), query
    return shown


def check(stage, query, monkeypatch, folder):
    """That the shown command makes the picture, and so does the vector that is saved."""
    shown = check_command(stage, query, monkeypatch, folder)
    picture = parse(query, stage.facts)
    if any(index == 2 for index, _ in picture.directions):
        with pytest.raises(UserError, match="directions in style space cannot be in them"):
            stage.vector(picture)
        return
    (folder / "saved.npz").write_bytes(stage.vector(picture))
    name = stage.facts[picture.network].name
    noise = "none" if picture.noise == "none" else "const"
    command = f"python run_generator.py generate-images --network={name} --dlatents=saved.npz --noise-mode={noise}"
    (of_vector,) = made_by(command, monkeypatch, folder / "of vector").values()
    assert np.abs(of_vector.astype(int) - shown).max() <= 1, query


def test_gray_images_between_seeds(place, monkeypatch):
    save_network("G.pkl", resolution=[8, 4], num_channels=1, label_size=3)
    shown = check_command(stage_of(["G.pkl"]), "x=0.25&y=0.5&class=1&mix=3&layers=1-2", monkeypatch, place)
    assert shown.shape == (8, 4)


@pytest.mark.slow
def test_gray_images_that_are_not_square(place, monkeypatch):
    save_network("G.pkl", resolution=[16, 8], num_channels=1, label_size=3)
    check(stage_of(["G.pkl"]), "seed=85&psi=0.7&noise=seed&class=2", monkeypatch, place)


CASES = [
    "seed=0",
    "seed=85&psi=0.7&cutoff=8&noise=seed",
    "seed=4294967295&psi=1",
    "seed=7&psi=-0.31&cutoff=3&noise=none",
    "seed=7&psi=1.4&cutoff=0",
    "seed=85&mix=3&layers=1-3&psi=0.8&cutoff=5",
    "seed=85&mix=85&layers=0&noise=seed",
    "seed=85&x=0.25&y=0.125&psi=0.7",
    "seed=4294967295&x=0.999&space=z&noise=seed",
    "seed=85&y=0.5&space=z&cutoff=4&mix=9&layers=0,7&noise=none",
    "vector=anna",
    "vector=anna&mix=5&layers=4-7",
    "seed=5&mix-vector=anna&layers=4-7",
    "seed=5&x=0.3&mix-vector=anna&layers=4-7",
    "vector=some-01&psi=0.2",
    "seed=5&direction=0:1.5&noise=seed",
    "seed=5&direction=1:-3&direction=0:0.25&mix=3&layers=2",
    "seed=5&y=0.7&direction=1:2",
    "vector=anna&direction=0:2",
    "seed=5&psi=0.6&direction=2:2&direction=0:-1",
    "seed=5&x=0.5&direction=2:2",
]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A stage of the demo network with files of vectors, and their folder."""
    folder = tmp_path_factory.mktemp("demo")
    rnd = np.random.RandomState(0)
    noises = [rnd.randn(1, 1, size, size) for size in (4, 8, 8, 16, 16, 32, 32)]
    paths = [str(folder / "anna.npz"), str(folder / "some.npz")]
    vector_files.save(paths[0], rnd.randn(1, 8, 64) * 0.5, noises)
    vector_files.save(paths[1], rnd.randn(2, 8, 64) * 0.5)
    moves = [str(folder / "moves.npz"), str(folder / "styles.npz")]
    direction_files.save(moves[0], ["x", "0"], rnd.randn(2, 8, 64), [range(8), [2, 3]], [0.5, 2.0])
    affine = style_space.affine_layers(pretrained_networks.load(str(ROOT / DEMO)))
    styles = [(layer.name, layer.width) for layer in affine]
    numbers = rnd.randn(1, sum(width for _, width in styles))
    direction_files.save(moves[1], ["z"], numbers, [range(8)], [0.3], styles)
    return stage_of([str(ROOT / DEMO)], paths, moves)


@pytest.mark.slow
@pytest.mark.parametrize("query", CASES)
def test_demo_network(demo, place, monkeypatch, query):
    check(demo, query, monkeypatch, place)


@pytest.mark.slow
def test_two_networks(place, monkeypatch):
    save_network("A.pkl", resolution=8, num_channels=3)
    save_network("B.pkl", resolution=16, num_channels=4)
    vector_files.save("a.npz", np.ones([1, 4, 8]))
    vector_files.save("b,c.npz", np.ones([2, 6, 8]))
    vector_files.save("d.npz", np.ones([1, 6, 8]))
    np.savez("e=[0]:1,.npz", **{"0": np.ones([6, 8])})
    stage = stage_of(["A.pkl", "B.pkl"], ["a.npz", "b,c.npz", "d.npz"], ["e=[0]:1,.npz"])
    vectors = [{"a": "a.npz"}, {"b,c-00": None, "b,c-01": None, "d": "d.npz"}]
    assert [dict(facts.vectors) for facts in stage.facts] == vectors
    check(stage, "network=1&seed=3&psi=0.4&direction=0:1", monkeypatch, place)
    check_command(stage, "network=1&seed=3&x=0.4&mix-vector=b,c-01&layers=4&direction=0:1", monkeypatch, place)


def test_files_that_fit_no_network(place):
    save_network("A.pkl", resolution=8, num_channels=3)
    vector_files.save("b.npz", np.ones([2, 6, 8]))
    with pytest.raises(UserError, match=r"--dlatents: b\.npz: 6 layers of 8 numbers, but the network has 4 of 8"):
        stage_of(["A.pkl"], ["b.npz"])
