"""Walks between vectors, and `interpolate`: which frames, of which vectors, in which files."""

import sys

import numpy as np
import PIL.Image
import pytest

import pretrained_networks
from dnnlib.errors import UserError
from dnnlib.tflib import convert_images_to_uint8
from generation import vector_files
from generation.interpolation import check_interpolation, interpolate
from generation.walks import Walk, slerp

pytestmark = pytest.mark.one_stack
NETWORK = str(pretrained_networks.__file__).replace("pretrained_networks.py", "demo/symbols-32x32.pkl")


def test_straight_walk():
    ends = np.array([[[0, 0]], [[4, 8]], [[0, 16]]], np.float32)
    walk = Walk(ends, frames=4)
    assert len(walk) == 9
    expected = [[0, 0], [1, 2], [2, 4], [3, 6], [4, 8], [3, 10], [2, 12], [1, 14], [0, 16]]
    np.testing.assert_allclose(walk.between(0, 100)[:, 0], expected)
    np.testing.assert_allclose(np.concatenate([walk.between(i, i + 2) for i in range(0, 9, 2)])[:, 0], expected)
    loop = Walk(ends, frames=4, loop=True)
    assert len(loop) == 12
    np.testing.assert_allclose(loop.between(0, 12)[:, 0], [*expected, [0, 12], [0, 8], [0, 4]])
    np.testing.assert_array_equal(Walk(ends, frames=1).between(0, 3), ends)


def test_smooth_walk():
    walk = Walk(np.array([[0.0], [1.0], [0.0]]), frames=100, smooth=True).between(0, 201)[:, 0]
    assert walk[0] == walk[200] == 0 and walk[100] == 1 and walk[50] == pytest.approx(0.5)
    steps = np.abs(np.diff(walk))
    assert steps[0] < 0.001 and steps[49] == pytest.approx(steps.max()) and steps[99] < 0.001


def test_great_circles():
    first, second = np.random.RandomState(0).randn(2, 512)
    t = np.linspace(0, 1, 11)[:, np.newaxis]
    way = slerp(np.tile(first, [11, 1]), np.tile(second, [11, 1]), t)
    np.testing.assert_allclose(way[[0, 10]], [first, second])
    unit = np.stack([first / np.linalg.norm(first), second / np.linalg.norm(second)])
    on_circle = slerp(np.tile(unit[0], [11, 1]), np.tile(unit[1], [11, 1]), t)
    np.testing.assert_allclose(np.linalg.norm(on_circle, axis=1), 1)
    angles = np.arccos(np.sum(on_circle[:-1] * on_circle[1:], axis=1))
    np.testing.assert_allclose(angles, angles[0], rtol=1e-6)  # all steps are as long
    same = slerp(first[np.newaxis], 2 * first[np.newaxis], np.array([[0.5]]))
    np.testing.assert_allclose(same, 1.5 * first[np.newaxis])
    walk = Walk(np.stack([first, second, first]), frames=10, spherical=True)
    np.testing.assert_allclose(walk.between(0, 11), way)
    np.testing.assert_allclose(walk.between(10, 21), way[::-1])


# ----------------------------------------------------------------------------
# The command.


@pytest.fixture(scope="module")
def Gs():
    return pretrained_networks.load_networks(NETWORK)[2]


def dlatents(Gs, seed, psi):
    z = np.random.RandomState(seed).randn(1, Gs.input_shape[1])
    return truncated(Gs, Gs.components.mapping.run(z.astype(np.float32), None), psi)


def truncated(Gs, w, psi):
    average = Gs.get_var("dlatent_avg")
    return average + (w - average) * psi


def image(Gs, w):
    images = Gs.components.synthesis.get_output_for(w.astype(np.float32), randomize_noise=False)
    return convert_images_to_uint8(images, nchw_to_nhwc=True)[0].numpy()


def check_image(path, expected):
    difference = np.abs(np.asarray(PIL.Image.open(path)).astype(int) - expected)
    assert difference.max() <= 1


def test_frames_between_seeds_and_files(tmp_path, monkeypatch, Gs):
    monkeypatch.chdir(tmp_path)
    w = np.stack([dlatents(Gs, seed, 1)[0] for seed in (20, 21)])
    w[1, :3] = dlatents(Gs, 22, 1)[0, :3]  # W+
    noises = [np.random.RandomState(1).randn(*noise.shape) for noise in noise_variables(Gs)]
    vector_files.save("two.npz", w, noises)
    interpolate(NETWORK, [3, "two.npz", 4], 0.7, frames=2, loop=True, dlatents_psi=0.9, minibatch_size=3)
    ends = [dlatents(Gs, 3, 0.7), *truncated(Gs, w, 0.9)[:, np.newaxis], dlatents(Gs, 4, 0.7)]
    names = sorted(path.name for path in tmp_path.glob("*.png"))
    assert names == [f"frame{idx:04d}.png" for idx in range(8)]
    for idx, name in enumerate(names):
        leg, half = divmod(idx, 2)
        expected = (ends[leg] + ends[(leg + half) % 4]) / 2
        check_image(name, image(Gs, expected))


def noise_variables(Gs):
    synthesis = Gs.components.synthesis
    return [synthesis.get_var(name) for name in synthesis.vars if name.startswith("noise")]


def test_frames_in_z(tmp_path, monkeypatch, Gs):
    monkeypatch.chdir(tmp_path)
    interpolate(NETWORK, [3, 4], 0.6, space="z", frames=3, image_format="webp")
    assert [path.name for path in sorted(tmp_path.iterdir())] == [f"frame000{idx}.webp" for idx in range(4)]
    tmp_path = tmp_path / "png"
    tmp_path.mkdir()
    monkeypatch.chdir(tmp_path)
    interpolate(NETWORK, [3, 4], 0.6, space="z", frames=3)
    ends = [np.random.RandomState(seed).randn(1, Gs.input_shape[1]) for seed in (3, 4)]
    for idx in range(4):
        z = slerp(*ends, np.array([[idx / 3]]))
        w = truncated(Gs, Gs.components.mapping.run(z.astype(np.float32), None), 0.6)
        check_image(f"frame000{idx}.png", image(Gs, w))


def test_gif(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    interpolate(NETWORK, [3, 4, 5], frames=5, video="gif", fps=20, loop=True, minibatch_size=4)
    (path,) = tmp_path.iterdir()
    picture = PIL.Image.open(path)
    assert path.name == "interpolation.gif" and picture.n_frames == 15 and picture.size == (32, 32)


def test_mp4(tmp_path, monkeypatch):
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    monkeypatch.chdir(tmp_path)
    interpolate(NETWORK, [3, 4], frames=6, video="mp4", fps=12)
    assert [path.name for path in tmp_path.iterdir()] == ["interpolation.mp4"]
    about, *frames = imageio_ffmpeg.read_frames("interpolation.mp4")
    assert len(frames) == 7 and about["fps"] == 12


def test_what_cannot_be_is_said_before_any_work(monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(UserError) as error:
        check_interpolation([1, "a.npz"], "z", "mp4", 30)
    assert "--space=z: the vectors of --dlatents are W; use --space=w" in str(error.value)
    assert "--video=mp4: writing mp4 needs the package imageio-ffmpeg" in str(error.value)
    with pytest.raises(UserError) as error:
        check_interpolation([1], "w", "gif", 51)
    assert "expected two or more to go between, got 1" in str(error.value)
    assert "--video=gif: gif holds up to 50 frames per second, got 51" in str(error.value)


def test_a_walk_that_is_too_long_or_short(tmp_path, monkeypatch, Gs):
    monkeypatch.chdir(tmp_path)
    vector_files.save("one.npz", dlatents(Gs, 1, 1))
    with pytest.raises(UserError, match="expected two or more to go between, got 1"):
        interpolate(NETWORK, ["one.npz"])
    with pytest.raises(UserError, match="the whole way has 2000001 frames, expected up to 1000000"):
        interpolate(NETWORK, [1, 2, 3], frames=1000000, video="gif")
    assert [path.name for path in tmp_path.iterdir()] == ["one.npz"]
