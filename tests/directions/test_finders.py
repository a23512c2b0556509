"""Finders of directions: against independent computations, and what they write, show and refuse."""

import os
import resource
import sys
import time

import numpy as np
import PIL.Image
import pytest
import tiny_generators

import generation
import pretrained_networks
import run_directions
from directions import components, fits, samples, scores, spaces
from dnnlib.errors import UserError
from dnnlib.tflib import Network
from dnnlib.tflib.checkpoints import network_files
from generation import directions as moves
from generation.conventions import Rendering
from training.nets.style_space import affine_layers

pytestmark = pytest.mark.one_stack
NETWORK = str(pretrained_networks.__file__).replace("pretrained_networks.py", "demo/symbols-32x32.pkl")
SLOW = pytest.mark.slow
KINDS = ["skip", "stylegan", *(pytest.param(name, marks=SLOW) for name in ("orig", "revised", "ada"))]


def style_weights(net, layers):
    """A, independently: of variables by their official names, scaled as the papers say; [styles, dlatent_size]."""
    rows = []
    for name, variable in net.components.synthesis.vars.items():
        res, layer, *rest = f"{name}/".split("/")[:-1] if name.count("/") > 1 else ("", "", "")
        if rest in (["mod_weight"], ["StyleMod", "weight"]):
            first = {"Const": 0, "Conv": 0, "Conv0_up": 1, "Conv1": 2, "ToRGB": 1 if res == "4x4" else 3}[layer]
            if rest[0] == "StyleMod":
                first = {"Const": 0, "Conv": 1, "Conv0_up": 2, "Conv1": 3}[layer]
        elif name == "ToRGB_lod0/mod_weight":
            first = 3
        else:
            continue
        if first in layers:
            rows.append(variable.numpy().T.astype(np.float64) / np.sqrt(variable.shape[0]))
    return np.concatenate(rows)


@pytest.mark.parametrize("kind", KINDS)
def test_sefa(kind):
    net = tiny_generators.build(**tiny_generators.NETWORKS[kind])
    affine = affine_layers(net)
    for layers in ([0, 1, 2, 3], [1], [2, 3]):
        found = components.sefa(spaces.style_matrix(affine, layers), spaces.space_w(8), 3)
        a = style_weights(net, layers)
        values, vectors = np.linalg.eig(a.T @ a)
        order = np.argsort(-values.real)[:3]
        np.testing.assert_allclose(found.values, values.real[order], rtol=1e-5)
        cosines = np.abs(np.sum(found.coordinates * vectors.real.T[order], axis=1))
        assert cosines.min() > 0.999999, (kind, layers)


@pytest.mark.slow
def test_style_space():
    """The strongest changes of styles are those that the strongest directions of W make; spreads are of samples."""
    net = tiny_generators.build()
    affine, layers = affine_layers(net), [1, 2]
    matrix, space = spaces.style_matrix(affine, layers), spaces.space_s(affine, layers)
    of_w = samples.moments(net, 3000, 1, Rendering())
    z = np.random.RandomState(1).randn(3000, 6).astype(np.float32)
    w = net.components.mapping.run(z, None)[:, 0].astype(np.float64)
    np.testing.assert_allclose(of_w.covariance, np.cov(w.T), rtol=1e-4, atol=1e-6 * np.trace(np.cov(w.T)))
    np.testing.assert_allclose(of_w.mean, w.mean(axis=0), atol=1e-5)
    styles = w @ matrix.T
    inside = np.concatenate([np.full(layer.width, layer.layer in layers) for layer in affine])
    for found in (components.sefa(matrix, space, 3), components.pca(of_w.covariance, space, 3)):
        vectors = found.coordinates @ space.axes.T
        assert not vectors[:, ~inside].any()
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)
        spreads = components.spreads(found.coordinates, of_w.covariance, space)
        np.testing.assert_allclose(spreads, np.std(styles @ vectors[:, inside].T, axis=0, ddof=1), rtol=1e-3)
    axes = np.linalg.eigh(np.cov(styles.T))[1].T[::-1][:3]
    assert np.abs(np.sum(axes * vectors[:, inside], axis=1)).min() > 0.9999
    of_pca = components.pca(of_w.covariance, spaces.space_w(8), 8)
    axes = np.linalg.eigh(np.cov(w.T))[1].T[::-1]
    assert np.abs(np.sum(axes * of_pca.coordinates, axis=1))[:4].min() > 0.999999


def test_fits():
    state = np.random.RandomState(0)
    w = state.randn(400, 6) * [1, 2, 3, 1, 1, 1]
    direction = np.array([1, 0, 0.5, 0, 0, -1])
    scores_ = w @ direction + 0.1 * state.randn(400)
    for logistic, y in ((False, scores_), (True, (scores_ > 1).astype(float))):
        result = fits.fit(w, y, logistic)
        assert result.normal @ direction / np.linalg.norm(direction) > (0.99 if not logistic else 0.97)
        way = fits.towards(w, y)
        expected = w[y > 0].mean(axis=0) - w[y <= 0].mean(axis=0) if logistic else np.cov(w.T) @ direction
        assert way @ expected / np.linalg.norm(expected) > 0.999
        assert result.quality > 0.9
    assert fits.fit(w, state.randn(400), False).quality < 0.1
    for scale in (1e300, 1e-300):
        for found in (fits.fit(w, scores_ * scale, False).normal, fits.towards(w, scores_ * scale)):
            assert found @ direction / np.linalg.norm(direction) > 0.5
    for logistic in (False, True):  # one point again and again says nothing
        assert not fits.fit(np.ones([20, 6]), np.arange(20) % 2.0, logistic).normal.any()


TABLE = "seed,smile,glasses,hair\n" + "".join(
    f"{seed},{seed * 0.5:g},{seed % 2 == 1},{'red' if seed % 3 else 'brown'}\n" for seed in range(20)
)


def test_tables(tmp_path):
    (tmp_path / "a.csv").write_text(TABLE + "20,,1,red\n")
    (tmp_path / "b.csv").write_text("".join(f"{seed};{seed**2}\n" for seed in range(12)))
    table = scores.read(str(tmp_path / "a.csv"))
    assert table.samples == list(range(21)) and list(table.columns) == ["smile", "glasses", "hair"]
    smile, glasses, hair = scores.targets(table)
    assert (smile.name, smile.logistic, len(smile.rows)) == ("smile", False, 20)
    assert (glasses.logistic, hair.name, hair.logistic, hair.scores.sum()) == (True, "hair-red", True, 14)
    (only,) = scores.targets(table, ["glasses"], "linear")
    assert not only.logistic
    (plain,) = scores.targets(scores.read(str(tmp_path / "b.csv")))
    assert plain.name == "b" and plain.scores[3] == 9


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a first line such as 'seed,smile'.*got nothing"),
        ("smile,age\n1,2\n", "expected a first line such as 'seed,smile'.*got smile, age"),
        ("seed,smile\n", "has 0 samples"),
        ("seed,smile\n1,2\n-1,3\n4\n", "sample 2: expected a seed from 0 to 4294967295, got '-1'"),
        ("file,smile\nanna.npz,1\n", "sample 1: .*anna.npz: no such file"),
        ("seed,smile\n1,2\n", "smile: has 1 score, expected 10 or more"),
        ("seed,smile\n" + "1,2\n" * 10, "smile: all scores are 2"),
        ("seed,smile\n" + "1,no\n" * 10 + "1,yes\n", "smile: has 1 sample of one of two classes, expected 5 or more"),
    ],
)
def test_tables_that_cannot_be(text, message, tmp_path):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(UserError, match=f"(?s)a.csv: .*{message}" if "sample" not in message else message):
        scores.targets(scores.read(str(tmp_path / "a.csv")))
    with pytest.raises(UserError, match="there is no such column, only smile"):
        (tmp_path / "a.csv").write_text(TABLE)
        scores.targets(scores.read(str(tmp_path / "a.csv")), ["age"])


# ----------------------------------------------------------------------------
# The commands.


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs the script in an empty folder, and gives the folder of the run."""
    monkeypatch.chdir(tmp_path)

    def _run(*args):
        monkeypatch.setattr(sys, "argv", ["run_directions.py", *map(str, args)])
        run_directions.main()
        return sorted((tmp_path / "results").iterdir())[-1]

    return _run


def images_of(net, *directions, seeds=range(5000, 5100)):
    return generation.images(net, seeds, 1.0, noise_mode="const", directions=directions).astype(float)


def redness(images):
    red, green, blue = images.mean(axis=(1, 2)).T
    return red - (green + blue) / 2


@pytest.mark.slow
@pytest.mark.parametrize("space", ["w", "s"])
def test_colour_of_symbols(space, run, tmp_path):
    """A direction fitted to the colour of some seeds changes that of others."""
    net = pretrained_networks.load(NETWORK)
    seeds = range(1500)
    images = images_of(net, seeds=seeds)
    rows = zip(seeds, redness(images), images.mean(axis=(1, 2, 3)) > 140, strict=True)
    table = "seed,red,bright\n" + "".join(f"{seed},{red:.3f},{int(bright)}\n" for seed, red, bright in rows)
    (tmp_path / "colours.csv").write_text(table)
    folder = run("labels", NETWORK, "--labels=colours.csv", f"--space={space}", "--seeds=1,2", "--strengths=-2,0,2")
    sheet = PIL.Image.open(folder / "sheet.png")
    assert sheet.width > 3 * 32 and sheet.height > 4 * 32
    before = images_of(net)
    for name, measure in (("red", redness), ("bright", lambda images: images.mean(axis=(1, 2, 3)))):
        for strength in (1.5, -1.5):
            after = images_of(net, f"{folder}/labels.npz:{name}={strength}")
            assert np.mean((measure(after) - measure(before)) * strength > 0) >= 0.9, (name, strength)


@pytest.mark.slow
def test_commands(run, tmp_path):
    net = pretrained_networks.load(NETWORK)
    folder = run("sefa", NETWORK, "--layers=4-7", "--num=64", "--shown=0", "--num-samples=1000")
    assert not (folder / "sheet.png").exists()
    found = moves.load(folder / "sefa.npz", net)
    assert len(found) == 64 and found[0].layers == (4, 5, 6, 7) and found[3].name == "sefa3"
    names = [name for name in net.vars if name.endswith("mod_weight")]
    wanted = [name for name in names if name.split("/")[1] in ("16x16", "32x32")]
    wanted.remove("G_synthesis/16x16/Conv0_up/mod_weight")
    a = np.concatenate([net.get_var(name).T for name in wanted]).astype(np.float64) / 8
    vectors = np.linalg.eigh(a.T @ a)[1].T[::-1]
    assert np.abs(np.sum(vectors * np.stack([d.vector[0] for d in found]), axis=1)).min() > 0.999999
    pca = run("pca", NETWORK, "--num-samples=30000", "--num=5", "--space=s", "--layers=0-3", "--strengths=-1,1")
    shown = run("show", NETWORK, folder / "sefa.npz", pca / "pca.npz", "--shown=2", "--video=gif", "--frames=8")
    assert sorted(file.name for file in shown.glob("*.*g*")) >= ["log.txt", "sefa0.gif", "sefa1.gif", "sheet.png"]
    with PIL.Image.open(shown / "sefa0.gif") as video:
        assert video.n_frames == 8
    with pytest.raises(SystemExit):
        run("sefa", NETWORK, "--layers=7-8")


@pytest.mark.slow
def test_nothing_to_find(run, tmp_path, capsys):
    """No direction is made up where nothing changes styles, or nothing is told; no run folder is left behind."""
    net = Network("Gs", func_name="training.networks_stylegan2.G_main", **{**tiny_generators.G_SIZES, "fmap_max": 2})
    network_files.save_pkl(net, tmp_path / "net.pkl")
    for space in ("w", "s"):
        found = run("sefa", tmp_path / "net.pkl", "--layers=3", f"--space={space}", "--shown=0", "--num-samples=9")
        assert len(moves.load(found / "sefa.npz", net)) == 2  # feature maps that ToRGB sees
    assert "No more than 2 directions of W change these styles" in capsys.readouterr().out
    (tmp_path / "same.csv").write_text("seed,a,b\n" + "".join(f"7,{idx},{idx % 2}\n" for idx in range(20)))
    with pytest.raises(SystemExit):
        run("labels", tmp_path / "net.pkl", "--labels=same.csv", "--num-samples=9")
    message = capsys.readouterr().err
    assert message.count("same.csv: ") == 1 and "b: nothing to tell, its samples have the same W" in message
    assert len(list((tmp_path / "results").iterdir())) == 2


@pytest.mark.slow
def test_classes(run, tmp_path):
    """The classes of a conditional network tell its directions; a class moved towards another has its W on average."""
    net = Network("Gs", func_name="training.networks_stylegan2.G_main", **{**tiny_generators.G_SIZES, "label_size": 3})
    from training import misc

    misc.save_pkl(net, tmp_path / "net.pkl")
    folder = run("labels", tmp_path / "net.pkl", "--num-samples=600", "--class-idx=0")
    found = moves.load(folder / "labels.npz", net)
    assert [direction.name for direction in found] == ["class0", "class1", "class2"]
    means = [samples.of_class(net, number, 500, 9).mean(axis=0) for number in range(3)]
    for number, direction in enumerate(found):
        along = [float(mean @ direction.vector[0]) for mean in means]
        assert int(np.argmax(along)) == number


@pytest.mark.slow
def test_a_million():
    """Principal components of a million W of 512 numbers: how much time of two cores, and memory, they take."""
    net = Network("Gs", func_name="training.networks_stylegan2.G_main", resolution=64, fmap_base=512)
    start = time.process_time()
    of_w = samples.moments(net, 1_000_000, 0, Rendering())
    components.pca(of_w.covariance, spaces.space_w(512), 512)
    assert time.process_time() - start < 2 * 90
    assert os.environ.get("PYTEST_XDIST_WORKER") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 1.5e6
