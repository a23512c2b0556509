"""Figures: labelled sheets, and the commands that draw them."""

import golden
import numpy as np
import PIL.Image
import pytest

import pretrained_networks
import run_generator
from dnnlib.errors import UserError
from dnnlib.tflib import Network, convert_images_to_uint8
from dnnlib.tflib.checkpoints import network_files
from generation import noise as noise_samples
from generation import vector_files
from generation.commands import style_mixing_example
from generation.conventions import Rendering
from generation.figures import interpolation_grid, noise_figure, truncation_figure
from generation.image_generator import ImageGenerator
from generation.interpolation import interpolate
from generation.sheets import LabelledSheet

NETWORK = str(pretrained_networks.__file__).replace("pretrained_networks.py", "demo/symbols-32x32.pkl")


@pytest.fixture(scope="module")
def Gs():
    return pretrained_networks.load_networks(NETWORK)[2]


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """The current folder, where images are saved."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pixels(name):
    return np.asarray(PIL.Image.open(name))


def names(folder):
    return sorted(path.stem for path in folder.glob("*.png"))


def mapped(Gs, *seeds, psi=1.0):
    z = np.stack([np.random.RandomState(seed).randn(Gs.input_shape[1]) for seed in seeds])
    average = Gs.get_var("dlatent_avg")
    return average + (Gs.components.mapping.run(z, None) - average) * psi


def check(name, Gs, w, noise=None):
    images = Gs.components.synthesis.get_output_for(w.astype(np.float32), noise=noise, randomize_noise=False)
    expected = convert_images_to_uint8(images, nchw_to_nhwc=True)[0].numpy()
    assert np.abs(pixels(name).astype(int) - expected).max() <= 1, name


def places(sheet, image):
    """Where an image is in a sheet, pixel by pixel: [(y, x)]."""
    image = image if image.ndim == 3 else np.repeat(image[..., np.newaxis], 3, axis=2)
    windows = np.lib.stride_tricks.sliding_window_view(sheet, image.shape[:2], axis=(0, 1))  # [y, x, C, H, W]
    candidates = np.argwhere((windows[:, :, :, 0, 0] == image[0, 0]).all(axis=2))
    return [(y, x) for y, x in candidates if np.array_equal(windows[y, x], image.transpose(2, 0, 1))]


def holds(sheet, image):
    """How often an image is in a sheet."""
    return len(places(sheet, image))


# ----------------------------------------------------------------------------
# Sheets.


def some_images(rows, columns, channels, size=(24, 24)):
    state = np.random.RandomState(0)
    return {
        (row, column): state.randint(0, 256, [*size, channels]).astype(np.uint8)
        for row in range(rows)
        for column in range(columns)
    }


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_sheet(channels, mode):
    height, width = 24, 36
    images = some_images(2, 3, channels, (height, width))
    plain = LabelledSheet((height, width), ["", ""], ["", "", ""])
    picture = plain.draw(images)
    assert picture.mode == mode and picture.size == plain.size[::-1] == (3 * width + 4 * 2, 2 * height + 3 * 2)
    array = np.asarray(picture).reshape(picture.height, picture.width, channels)
    labelled = LabelledSheet((height, width), ["one", "a row"], ["x", "", "a long column"], ["", "below", ""])
    drawn = labelled.draw(images)
    assert drawn.size == labelled.size[::-1] and drawn.width > picture.width and drawn.height > picture.height
    drawn = np.asarray(drawn).reshape(drawn.height, drawn.width, channels)
    for image in images.values():
        assert holds(array, image) == holds(drawn, image) == 1
    # Text is above, below and at the left of the images, and nowhere else.
    dark = drawn[..., 0] < 128
    for image in images.values():
        ((y, x),) = places(drawn, image)
        dark[y : y + height, x : x + width] = False
    (((top, left),), ((bottom, _),)) = (places(drawn, images[place]) for place in ((0, 0), (1, 2)))
    assert dark[:top].any() and dark[bottom + height :].any() and dark[:, :left].any()
    assert not dark[top : bottom + height, left:].any()


def test_sheet_with_gaps_mixed_modes_and_long_names():
    images = some_images(1, 2, 3) | {(0, 2): some_images(1, 1, 1)[0, 0]}
    sheet = LabelledSheet((24, 24), ["r" * 100], ["a", "b", "c", "d"])
    drawn = sheet.draw(images)
    assert drawn.mode == "RGB" and sheet.size[1] < 24 * 12 + 4 * 30
    for image in images.values():
        assert holds(np.asarray(drawn), image if image.shape[2] == 3 else image[..., 0]) == 1
    assert (np.asarray(drawn)[30:, -20:] == 255).all()


# ----------------------------------------------------------------------------
# Truncation.


def test_truncation_figure(place, Gs, capsys):
    w = mapped(Gs, 9)
    noises = noise_samples.noise_of_seed([noise.shape for noise in ImageGenerator(Gs).own_noises], 1)
    vector_files.save("anna.npz", w, noises)
    truncation_figure(NETWORK, [3, "anna.npz"], psis=[1, 0.5, 0, -1], minibatch_size=3)
    psis = ("psi-1", "psi0", "psi0.5", "psi1")
    assert names(place) == sorted(["figure", *(f"{name}-{psi}" for name in ("seed0003", "anna") for psi in psis)])
    for psi in (1, 0.5, 0, -1):
        check(f"seed0003-psi{psi:g}.png", Gs, mapped(Gs, 3, psi=psi))
        check(f"anna-psi{psi:g}.png", Gs, mapped(Gs, 9, psi=psi), noises)
    figure = pixels("figure.png")
    for name in names(place):
        if name not in ("figure", "seed0003-psi0", "anna-psi0"):
            assert holds(figure, pixels(f"{name}.png")) == 1, name
    assert "8 images in" in capsys.readouterr().err
    truncation_figure(NETWORK, [3], psis=[-1], truncation_cutoff=2, noise_mode="none")
    w = np.concatenate([mapped(Gs, 3, psi=-1)[:, :2], mapped(Gs, 3)[:, 2:]], axis=1)
    check("seed0003-psi-1.png", Gs, w, [np.zeros(noise.shape, np.float32) for noise in noises])


def test_psis_of_the_command_line(capsys):
    parse = run_generator._parser().parse_args
    args = parse(["truncation-figure", "--network=x", "--seeds=1", "--psis=-0.5,1"])
    assert args.psis == [-0.5, 1]
    assert list(parse(["truncation-figure", "--network=x", "--seeds=1"]).psis) == [1, 0.7, 0.5, 0, -0.5, -1]
    for psis in ("1,x", "", "1,1.0", "nan"):
        with pytest.raises(SystemExit):
            parse(["truncation-figure", "--network=x", "--seeds=1", f"--psis={psis}"])
        assert "argument --psis: expected" in capsys.readouterr().err


# ----------------------------------------------------------------------------
# Noise.


def test_columns_of_noise():
    """Coarse is 4x4 to 32x32 of 1024x1024, as in the paper, and the lower half elsewhere."""
    shapes = [(1, 1, 2**res, 2**res) for res in (2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10)]
    for used, coarse in ((shapes, 32), (shapes[:7], 8), (shapes[:3], 4)):
        columns = noise_samples.columns(used, [7, 3])
        assert list(columns) == ["noise 7", "noise 3", "none", "coarse", "fine"]
        state = np.random.RandomState(7)
        for idx, shape in enumerate(used):
            noise = state.randn(*shape).astype(np.float32)
            np.testing.assert_array_equal(columns["noise 7"][idx], noise)
            np.testing.assert_array_equal(columns["none"][idx], 0 * noise)
            np.testing.assert_array_equal(columns["coarse"][idx], noise * (shape[2] <= coarse))
            np.testing.assert_array_equal(columns["fine"][idx], noise * (shape[2] > coarse))


def test_noise_figure(place, Gs):
    for layer in [name for name in Gs.vars if name.endswith("noise_strength")]:
        Gs.set_var(layer, Gs.get_var(layer) * 20)  # the demo network has found little use for noise
    network_files.save_pkl(Gs, "noisy.pkl")
    noise_figure("noisy.pkl", [3, 4], [5, 6], num_samples=7, std_gain=2, truncation_psi=0.7, minibatch_size=3)
    kinds = ("noise5", "noise6", "none", "coarse", "fine", "std")
    assert names(place) == sorted(["figure", *(f"seed000{seed}-{kind}" for seed in (3, 4) for kind in kinds)])
    shapes = [noise.shape for noise in ImageGenerator(Gs).own_noises]
    columns = noise_samples.columns(shapes, [5, 6])
    figure = pixels("figure.png")
    for seed in (3, 4):
        w = mapped(Gs, seed, psi=0.7)
        for label, noise in columns.items():
            check(f"seed{seed:04d}-{label.replace(' ', '')}.png", Gs, w, noise)
        noise = [noise_samples.noise_of_seed(shapes, sample) for sample in range(7)]
        images = ImageGenerator(Gs).from_dlatents(np.repeat(w, 7, axis=0), noise)
        expected = 2 * np.std(np.mean(images, axis=3), axis=0)
        std = pixels(f"seed{seed:04d}-std.png")
        assert std.shape == (32, 32) and np.abs(std.astype(int) - expected).max() <= 1.5 and std.max() > 20
        for kind in kinds:
            assert holds(figure, pixels(f"seed{seed:04d}-{kind}.png")) == 1


def test_noise_figure_without_deviation(place):
    noise_figure(NETWORK, [3], [5], num_samples=0)
    assert names(place) == ["figure", *(f"seed0003-{kind}" for kind in ("coarse", "fine", "noise5", "none"))]


def test_network_without_noise():
    sizes = {"resolution": 8, "num_channels": 3, "fmap_base": 32, "fmap_max": 8, "latent_size": 8, "dlatent_size": 8}
    Gs = Network("Gs", func_name="training.networks.G_main", use_noise=False, **sizes)
    network_files.save_pkl(Gs, "silent.pkl")
    with pytest.raises(UserError, match="the network has no noise to show"):
        noise_figure("silent.pkl", [1])


# ----------------------------------------------------------------------------
# Other tables.


def test_interpolation_grid_with_labels(place, Gs):
    vector_files.save("two.npz", mapped(Gs, 3, 4))
    interpolation_grid(NETWORK, [1, "two.npz", 2], 0.6, grid=(3, 2), dlatents_psi=0.9)
    assert names(place) == ["figure", "grid"]
    grid, figure = pixels("grid.png"), pixels("figure.png")
    assert grid.shape == (64, 96, 3)
    corners = [mapped(Gs, 1, psi=0.6), mapped(Gs, 3, psi=0.9), mapped(Gs, 4, psi=0.9), mapped(Gs, 2, psi=0.6)]
    for row in range(2):
        left, right = corners[2 * row : 2 * row + 2]
        for column, w in enumerate((left, (left + right) / 2, right)):
            cell = grid[32 * row : 32 * row + 32, 32 * column : 32 * column + 32]
            PIL.Image.fromarray(cell).save("cell.png")
            check("cell.png", Gs, w)
            assert holds(figure, cell) == 1
    interpolation_grid(NETWORK, [1, 2, 3, 4], grid=(1, 1))
    assert pixels("grid.png").shape == (32, 32, 3)
    with pytest.raises(UserError, match="--seeds, --dlatents: expected four, one for each corner, got 3"):
        interpolation_grid(NETWORK, [1, "two.npz"])
    with pytest.raises(UserError, match="--space=z: the vectors of --dlatents are W"):
        interpolation_grid(NETWORK, [1, "two.npz", 2], space="z")


def test_mixing_table_with_labels(place):
    style_mixing_example(NETWORK, [1, 2], [3], col_styles=[0], labels=True)
    assert names(place) == ["1-1", "1-3", "2-2", "2-3", "3-3", "figure", "grid"]
    figure = pixels("figure.png")
    assert all(holds(figure, pixels(f"{name}.png")) == 1 for name in ("1-1", "1-3", "2-2", "2-3", "3-3"))


@pytest.mark.slow  # it traces every command's networks
def test_images_of_any_shape_with_transparency(place):
    """All commands, of a network for images of 24x40."""
    sizes = {"fmap_base": 32, "fmap_max": 8, "latent_size": 8, "dlatent_size": 8, "mapping_fmaps": 8}
    net = Network(
        "Gs", func_name="training.networks_stylegan2.G_main", resolution=[24, 40], num_channels=4, label_size=0, **sizes
    )
    golden.set_variables(net.vars, "sprites")
    network_files.save_pkl(net, "wide.pkl")
    run_generator.generate_images("wide.pkl", [1, 2, 3], grid=(3, 1))
    images = [pixels(f"seed{seed:04d}.png") for seed in (1, 2, 3)]
    assert images[0].shape == (24, 40, 4)
    np.testing.assert_array_equal(pixels("grid.png"), np.concatenate(images, axis=1))
    style_mixing_example("wide.pkl", [1, 2], [3], col_styles=[0], labels=True)
    assert pixels("grid.png").shape == (3 * 24, 2 * 40, 4)
    assert all(holds(pixels("figure.png"), pixels(f"{name}.png")) == 1 for name in ("1-1", "1-3", "2-3"))
    interpolation_grid("wide.pkl", [1, 2, 3, 4], grid=(3, 2))
    assert pixels("grid.png").shape == (2 * 24, 3 * 40, 4)
    truncation_figure("wide.pkl", [1], psis=[1, 0])
    assert holds(pixels("figure.png"), pixels("seed0001-psi1.png")) == 1
    noise_figure("wide.pkl", [1], noise_seeds=[0], num_samples=3)
    samples = [pixels("seed0001-noise0.png").astype(float)]
    images = ImageGenerator(net, Rendering(noise_mode="const"))
    for seed in (1, 2):
        noise = noise_samples.noise_of_seed(images.noise_shapes, seed)
        samples.append(images.from_dlatents(images.stacked([1]), [noise])[0].astype(float))
    over_white = [255 + (image[..., :3] - 255) * image[..., 3:] / 255 for image in samples]
    deviation = np.std([image.mean(axis=2) for image in over_white], axis=0)
    assert np.abs(pixels("seed0001-std.png") - np.minimum(4 * deviation, 255)).max() < 3
    interpolate("wide.pkl", [1, 2], frames=2, video="gif")
    assert PIL.Image.open("interpolation.gif").size == (40, 24)


def test_a_figure_that_is_too_large():
    with pytest.raises(UserError, match=r"a grid of \d+x\d+ pixels is too large: webp holds up to 16383 pixels"):
        truncation_figure(NETWORK, [1] * 500, image_format="webp")
