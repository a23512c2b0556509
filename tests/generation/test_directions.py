"""Directions of files, flags that name them, and images that are moved along them."""

import io
import json

import numpy as np
import PIL.Image
import pytest
import tiny_generators
import weight_writers

import generation
import run_generator
from dnnlib.errors import UserError
from dnnlib.tflib import kept
from generation import direction_files, directions, vector_files
from generation.conventions import Rendering
from generation.directions import Direction, Move
from generation.image_generator import ImageGenerator
from training import misc
from training.nets.style_space import affine_layers

LAYERS, SIZE = 4, 8  # of W of the tiny generators


@pytest.fixture(scope="module")
def net():
    return tiny_generators.build()


def vectors(*shape, seed=0):
    return np.random.RandomState(seed).randn(*shape).astype(np.float32)


def in_both_spaces(net, vector):
    """A direction of W, and what it does as one of style space."""
    layers = tuple(range(net.components.synthesis.input_shape[1]))
    styles = {affine.name: vector @ affine.matrix() for affine in affine_layers(net)}
    return Direction("w", np.tile(vector, [len(layers), 1]), layers), Direction("s", styles, layers, space="s")


def levels(images, others):
    return np.abs(images.astype(int) - others).max()


def test_images_are_moved_after_truncation(net):
    """Of seeds, of vectors, between and mixed: all as the synthesis network makes them of W that is moved."""
    moves = [
        Move(Direction("a", vectors(LAYERS, SIZE), (0, 1, 3), 0.5), 3.0),
        Move(in_both_spaces(net, vectors(8))[0], 1, [2]),
    ]
    offset = np.zeros([LAYERS, SIZE], np.float32)
    offset[[0, 1, 3]] = 1.5 * vectors(LAYERS, SIZE)[[0, 1, 3]]
    offset[2] = vectors(8)
    plain = ImageGenerator(net, Rendering(0.6, noise_mode="const"))
    w = plain.dlatents([1, 2])
    expected = plain.from_dlatents(np.stack([w[1], w[2]]) + offset)
    moved = ImageGenerator(net, Rendering(0.6, noise_mode="const", directions=moves))
    assert levels(moved.from_seeds([1, 2]), expected) <= 1
    assert levels(np.stack(moved.render([1, 2])), expected) <= 1
    assert levels(moved.mix([(1, 1), (2, 2)], w), expected) == 0
    assert levels(np.stack(list(moved.between([moved.stacked([1, 2])], "w"))), expected) == 0
    assert levels(plain.from_seeds([1, 2]), expected) > 20
    np.testing.assert_array_equal(moved.dlatents([1])[1], w[1])
    moved.move([])
    np.testing.assert_array_equal(moved.from_seeds([1, 2]), plain.from_seeds([1, 2]))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["skip", "growing-0.4", "stylegan"])
def test_style_space(name):
    """What a direction of W does to styles, added to styles, gives the same images; in some layers, too."""
    net = tiny_generators.build(**tiny_generators.NETWORKS[name])
    of_w, of_styles = in_both_spaces(net, vectors(SIZE))
    for move in ({"strength": 2.0}, {"strength": -1.0, "layers": [1]}):
        moved = generation.images(net, [1, 2], 1.0, directions=[Move(of_w, **move)])
        assert levels(generation.images(net, [1, 2], 1.0, directions=[Move(of_styles, **move)]), moved) <= 1
        assert levels(generation.images(net, [1, 2], 1.0), moved) > 8
    if name == "skip":
        with kept.forced(True):  # as on GPUs, where styles of all layers are computed together
            in_one = ImageGenerator(net, Rendering(1.0, directions=[Move(of_styles, **move)]))
            assert levels(in_one.from_seeds([1, 2]), moved) <= 1


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


ONE, MANY = vectors(SIZE), vectors(3, SIZE)
OF_OTHERS = {  # file: content, and what its directions are, as [n, 1 or layers, size] times spread
    "age.npy": (npy(ONE), ONE[np.newaxis, np.newaxis]),
    "boundary.npy": (npy(ONE[np.newaxis].astype(np.float64)), ONE[np.newaxis, np.newaxis]),
    "list.npy": (npy(MANY), MANY[:, np.newaxis]),
    "layers.npy": (npy(vectors(LAYERS, SIZE)), vectors(1, LAYERS, SIZE)),
    "both.npy": (npy(vectors(3, LAYERS, SIZE)), vectors(3, LAYERS, SIZE)),
    "named.npz": (npz(age=ONE, smile=-ONE), np.stack([ONE, -ONE])[:, np.newaxis]),
    "named-layers.npz": (npz(age=vectors(LAYERS, SIZE), smile=ONE), None),
    "sefa.npz": (npz(boundaries=MANY, values=np.ones(3, np.float32)), MANY[:, np.newaxis]),
    "factor.pt": (weight_writers.pth_zip({"ckpt": "a.pt", "eigvec": MANY.T.copy()}), MANY[:, np.newaxis]),
    "legacy.pt": (weight_writers.pth_legacy({"age": ONE, "smile": -ONE}), np.stack([ONE, -ONE])[:, np.newaxis]),
    "ganspace.npz": (
        npz(
            act_comp=vectors(5, 2, 3, 3), act_mean=vectors(1, 2, 3, 3), act_stdev=vectors(5),
            lat_comp=MANY[:, np.newaxis], lat_mean=ONE[np.newaxis], lat_stdev=np.array([3.0, 2, 1], np.float32),
            var_ratio=vectors(5), random_stdevs=vectors(5),
        ),
        MANY[:, np.newaxis] * [[[3]], [[2]], [[1]]],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OF_OTHERS)
def test_files_of_others(name, tmp_path, net):
    content, expected = OF_OTHERS[name]
    (tmp_path / name).write_bytes(content)
    found = directions.load(tmp_path / name, net)
    if name == "named-layers.npz":
        assert [direction.name for direction in found] == ["age", "smile"]
        np.testing.assert_array_equal(found[0].vector, vectors(LAYERS, SIZE))
        return
    assert [direction.layers for direction in found] == [(0, 1, 2, 3)] * len(expected)
    moved = np.stack([direction.vector * direction.spread for direction in found])
    np.testing.assert_allclose(moved, np.broadcast_to(expected, moved.shape), rtol=1e-6)
    stem = name.rpartition(".")[0]
    named = ["age", "smile"] if name in ("named.npz", "legacy.pt") else [f"{stem}{i}" for i in range(len(found))]
    assert [direction.name for direction in found] == (named if len(found) > 1 else [stem])


def test_own_files(tmp_path, net):
    spreads, layers = [0.5, 2.0], [[0, 1], [1, 2, 3]]
    of_w = vectors(2, LAYERS, SIZE)
    direction_files.save(tmp_path / "a.npz", ["x", "y"], of_w, layers, spreads, settings={"seed": 1})
    x, y = directions.load(tmp_path / "a.npz", net)
    assert (x.name, x.layers, x.spread, y.name, y.layers, y.spread) == ("x", (0, 1), 0.5, "y", (1, 2, 3), 2.0)
    np.testing.assert_array_equal(y.vector, of_w[1])
    styles = [(affine.name, affine.width) for affine in affine_layers(net)]
    numbers = vectors(1, sum(width for _, width in styles))
    direction_files.save(tmp_path / "s.npz", ["z"], numbers, [[0, 3]], [1.0], styles)
    (z,) = directions.load(tmp_path / "s.npz", net)
    assert z.space == "s" and list(z.vector) == [name for name, _ in styles]
    np.testing.assert_array_equal(np.concatenate(list(z.vector.values())), numbers[0])
    other = tiny_generators.build(fmap_max=2)
    with pytest.raises(UserError, match="its styles are not those of the network, first 4x4/Conv of 4 numbers"):
        directions.load(tmp_path / "s.npz", other)
    assert direction_files.layers_text([7, 0, 1, 2, 4]) == "0-2,4,7"


def object_array():
    return npy(np.array([weight_writers.Name("os", "system")], object))


def own(**changed):
    notes = json.dumps({"space": "w", **changed.pop("notes", {})})
    arrays = {"directions": MANY[:1, np.newaxis], "names": np.array(["a"]), "layers": np.array(["0-3"])}
    arrays |= {"spread": np.ones(1, np.float32), "settings": np.array(notes), "format_version": np.array(1)}
    return npz(**{**arrays, **changed})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.npy", npy(vectors(5, 7)), "a.npy: its directions have 7 numbers, but W of the network has 4 layers of 8"),
        ("a.npy", npy(vectors(2, 3, 8)), "have 3 layers of 8 numbers, but W of the network has 4 layers of 8"),
        (
            "a.npy",
            npy(np.arange(8)),
            "no directions: expected arrays .* of floating point numbers; it has int64 .8.",
        ),
        ("a.npy", npy(np.full(8, np.nan, np.float32)), "direction 0 .a. has numbers that are not finite"),
        ("a.npy", npy(np.zeros([2, 8], np.float32)), "direction 0 .a0. is all zeros"),
        ("a.npy", object_array(), "has Python objects"),
        ("a.npy", b"nothing", "is none of the files with directions: .npz, .npy, or .pt"),
        ("a.npz", npz(x=ONE, y=vectors(9)), "arrays of different sizes, and none says which are directions"),
        ("a.npz", npz(lat_comp=MANY, lat_stdev=ONE), "has 3 vectors in lat_comp, but 8 numbers in lat_stdev"),
        ("a.npz", npz(x=ONE)[:-30], "is damaged|is none of the files"),
        ("a.pt", weight_writers.pth_zip({"x": weight_writers.Name("os", "system")}), "os.system"),
        ("a.npz", own(format_version=np.array(2)), "is of format version 2, of a later version of this project"),
        ("a.npz", own(layers=np.array(["0-4"])), "a is of layers 0-4, the network has 4"),
        ("a.npz", own(names=np.array(["a", "b"])), "has not as many names, layers and spreads as directions"),
        ("a.npz", own(notes={"space": "s", "styles": [["x", 5]]}, directions=MANY), "which its styles do not have"),
    ],
)
def test_files_that_do_not_fit(name, content, message, tmp_path, net):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        directions.load(tmp_path / name, net)


@pytest.fixture
def folder(tmp_path, monkeypatch, net):
    """The current folder, with a network, vectors and directions."""
    monkeypatch.chdir(tmp_path)
    misc.save_pkl(net, "net.pkl")
    vector_files.save("anna.npz", net.components.mapping.run(vectors(1, 6), None))
    direction_files.save("a.npz", ["x", "y:z"], vectors(2, LAYERS, SIZE), [[0, 1, 2, 3]] * 2, [0.5, 2.0])
    np.save("one:2=3.npy", ONE)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "name", "layers", "strength"),
    [
        ("a.npz:x=2", "x", None, 2.0),
        ("a.npz:1=-1.5", "y:z", None, -1.5),
        ("a.npz:y:z=1e-1", "y:z", None, 0.1),
        ("a.npz:y:z:0-2=1", "y:z", [0, 1, 2], 1.0),
        ("a.npz:0:3=1", "x", [3], 1.0),
        ("one:2=3.npy=1", "one:2=3", None, 1.0),
        ("one:2=3.npy:0,2=1", "one:2=3", [0, 2], 1.0),
        ("one:2=3.npy::2=0", "one:2=3", [2], 0.0),
    ],
)
def test_flags(text, name, layers, strength, folder, net):
    directions.check([directions.flag(text)])
    (move,) = directions.moves_of([text], net)
    assert (move.direction.name, move.layers, move.strength) == (name, layers, strength)


def test_malformed_flags(folder, capsys):
    texts = [
        ("", "expected FILE[:NAME|INDEX][:LAYERS]=STRENGTH, such as sefa.npz:0=2"),
        ("a.npz", "expected FILE[:NAME|INDEX][:LAYERS]=STRENGTH"),
        (":0=2", "expected FILE[:NAME|INDEX][:LAYERS]=STRENGTH"),
        ("a.npz:0=", "expected a number as STRENGTH"),
        ("a.npz:0=nan", "got 'nan'"),
        ("a.npz:0=1e9", "from -1e6 to 1e6, got '1e9'"),
        ("a.npz:0=two", "got 'two'"),
    ]
    for text, message in texts:
        with pytest.raises(SystemExit):
            run_generator._parser().parse_args(["generate-images", "--network=x", "--seeds=1", f"--direction={text}"])
        assert message in capsys.readouterr().err, text
    later = [
        ("b.npz:0=1", "b.npz: no such file"),
        ("a.npz=1", "which direction? Expected a.npz:INDEX or a.npz:NAME; a.npz has 0 (x), 1 (y:z)"),
        ("a.npz:2=1", "there is no direction '2'; a.npz has 0 (x), 1 (y:z)"),
        ("a.npz:y:x=1", "LAYERS: 'x' in 'x' is not a number or a range such as 5-8"),
        ("a.npz:xx=1", "there is no direction 'xx' (did you mean x?)"),
        ("a.npz:0:3-1=1", "the range '3-1' is empty"),
        (".=1", ".: is a folder, expected a .npz, .npy or .pt file"),
        ("two.npz:x=1", "several directions are called 'x'; expected an INDEX; two.npz has 0 (x), 1 (x)"),
    ]
    direction_files.save("two.npz", ["x", "x"], vectors(2, LAYERS, SIZE), [[0]] * 2, [1.0, 2.0])
    with pytest.raises(UserError) as error:
        directions.check([text for text, _ in later])
    for text, message in later:
        assert f"--direction={text}: " in str(error.value) and message in str(error.value)


def test_far_too_far(folder, net):
    np.save("huge.npy", np.full(SIZE, 1e30, np.float32))
    with pytest.raises(UserError, match="huge.npy=2: would move by 2e\\+30, expected 1e\\+30 at most"):
        directions.moves_of(["huge.npy=2"], net)


@pytest.mark.slow
def test_commands(folder, net, monkeypatch, capsys):
    """All that make images, of seeds and files; the problems of the network come together with others."""

    def run(*args):
        monkeypatch.setattr("sys.argv", ["run_generator.py", *args, "--network=net.pkl"])
        run_generator.main()
        return sorted(folder.glob("results/*"))[-1]

    flags = ["--truncation-psi=0.6", "--direction=a.npz:x:0-1=3", "--direction=a.npz:1=-0.5"]
    moves = directions.moves_of([flag.partition("=")[2] for flag in flags[1:]], net)
    images = ImageGenerator(net, Rendering(0.6, directions=moves, noise_mode="const"), has_seeds=True)
    w = vector_files.load("anna.npz", net).dlatents
    anna = images.from_dlatents(w)[0]
    generated = run("generate-images", "--seeds=5", "--dlatents=anna.npz", "--noise-mode=const", *flags)
    seed = images.from_seeds([5])[0]
    mixed = run("style-mixing-example", "--row-seeds=5", "--col-dlatents=anna.npz", "--col-styles=1", *flags)
    frames = run("interpolate", "--seeds=5", "--dlatents=anna.npz", "--frames=1", *flags)
    both = images.dlatents([5])[5].copy()
    both[1] = w[0, 1]
    expected = {
        generated / "seed0005.png": seed,
        generated / "anna.png": anna,
        mixed / "5-anna.png": images.from_dlatents(both[np.newaxis])[0],
        mixed / "5-5.png": seed,
        frames / "frame0000.png": seed,
        frames / "frame0001.png": anna,
    }
    for path, image in expected.items():
        assert levels(np.asarray(PIL.Image.open(path)), image) <= 1, path
    with pytest.raises(SystemExit):
        run("generate-images", "--seeds=5", "--class-idx=1", "--direction=a.npz:0:9=1")
    said = capsys.readouterr().err
    assert "--direction=a.npz:0:9=1: the network has layers 0 to 3, got 9" in said and "--class-idx=1" in said
