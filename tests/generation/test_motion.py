"""Cubic curves, loops, grids, sweeps, trajectories; what was stopped goes on with the same bytes."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from scipy.interpolate import CubicSpline

import pretrained_networks
from dnnlib import flags
from dnnlib.errors import UserError
from dnnlib.files import only_one
from generation import kept_frames, motion, sheets
from generation.conventions import Rendering
from generation.image_generator import ImageGenerator
from generation.interpolation import check_interpolation, interpolate
from generation.walks import Walk

pytestmark = pytest.mark.one_stack
ROOT = Path(pretrained_networks.__file__).parent
NETWORK = str(ROOT / "demo" / "symbols-32x32.pkl")


@pytest.fixture(scope="module")
def Gs():
    return pretrained_networks.load_networks(NETWORK)[2]


@pytest.mark.parametrize("num", [1, 2, 3, 6])
@pytest.mark.parametrize("loop", [False, True])
def test_cubic_curves_are_those_of_scipy(num, loop):
    if num == 1 and not loop:
        return
    points = np.random.RandomState(num).randn(num, 3, 4).astype(np.float32)
    walk = Walk(points, 7, loop, curve="cubic")
    knots = np.concatenate([points, points[:1]]) if loop else points
    spline = CubicSpline(np.arange(len(knots)), knots, bc_type="periodic" if loop else "not-a-knot")
    found = walk.between(0, len(walk))
    np.testing.assert_allclose(found, spline(np.arange(len(walk)) / 7), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(found[::7], points)
    np.testing.assert_array_equal(walk.at(np.array([0, 1, 3]), of=np.array([2, 0, 1])), found[[0, 1, 3], [2, 0, 1]])


@pytest.mark.parametrize("kwargs", [{}, {"curve": "cubic"}, {"smooth": True}, {"curve": "cubic", "spherical": True}])
def test_loops_close_bit_for_bit(kwargs):
    walk = Walk(np.random.RandomState(0).randn(3, 8).astype(np.float32), 7, loop=True, **kwargs)
    np.testing.assert_array_equal(walk.at(np.arange(21, 25)), walk.at(np.arange(4)))
    if kwargs.get("spherical"):
        lengths = np.linalg.norm(walk.points, axis=1)
        between = np.linalg.norm(walk.between(0, 8), axis=1)
        np.testing.assert_allclose(between, lengths[0] + (lengths[1] - lengths[0]) * np.arange(8) / 7)


def test_values_are_spread_over_a_way():
    values = motion.sweep([0, 1, 0.5], loop=False, smooth=False).at(np.arange(6), 5)[:, 0]
    np.testing.assert_allclose(values, [0, 0.4, 0.8, 0.9, 0.7, 0.5])
    np.testing.assert_allclose(motion.sweep([0, 1], True, False).at(np.arange(5), 4)[:, 0], [0, 0.5, 1, 0.5, 0])
    np.testing.assert_array_equal(motion.sweep([0.3], False, True).at(np.arange(5), 4)[:, 0], [0.3] * 5)


def test_enlarged():
    image = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    large = sheets.enlarged(image, (11, 7))
    assert large.shape == (7, 11, 4)
    np.testing.assert_array_equal(large[0:6, 1:10], image.repeat(3, 0).repeat(3, 1))
    assert not large[6].any() and not large[:, [0, 10]].any()
    with pytest.raises(UserError, match="--size=2x2: the frames are 3x2, width and height"):
        sheets.check_enlarged(2, 3, (2, 2))


def test_flags():
    assert flags.layer_psi("0-2:0.5,4,6:1") == [(0, 0.5), (1, 0.5), (2, 0.5), (4, 1.0), (6, 1.0)]
    assert flags.frame_size("1080p") == flags.frame_size("1920x1080") == (1920, 1080)
    assert flags.loop("noise") == "noise" and flags.loop("true") is True
    for parse, wrong in (
        (flags.layer_psi, "0-2"),
        (flags.layer_psi, "0:1,0:2"),
        (flags.frame_size, "x"),
        (flags.loop, "nois"),
        (flags.psis, "1"),
    ):
        with pytest.raises(flags.argparse.ArgumentTypeError, match="expected"):
            parse(wrong)


def test_all_problems_at_once():
    with pytest.raises(UserError) as error:
        check_interpolation(
            [1, 2, 3], "w", "webp", 91, grid=(2, 2), loop="noise", noise_mode="none", psi_sweep=[0, 1], dlatents_psi=0.5
        )
    assert str(error.value).splitlines() == [
        "--grid=2x2: expected as many seeds and vectors for each of 4 images, 4, 8, 12, ... in all, got 3",
        "--video=webp: webp holds up to 90 frames per second, got 91; mp4 holds more",
        "--loop=noise: with --noise-mode=none there is no noise",
        "--psi-sweep: leave out --dlatents-psi, which stays the same",
    ]
    with pytest.raises(UserError) as error:
        check_interpolation([1], "z", None, 30, trajectory=["a", "b"], frames=3, curve="cubic", mix_sweep=[0, 1])
    told = str(error.value)
    for flag in ("--seeds and --dlatents", "--space", "--frames", "--curve"):
        assert f"the frames are those of the file; leave out {flag}\n" in told
    assert "--trajectory: expected one file, got 2" in told and "--mix-sweep: --col-seeds or --col-dlatents" in told


# ----------------------------------------------------------------------------
# The command.


def frame(path, columns=1):
    """Images of a frame, `[N, 32, 32, 3]`."""
    pixels = np.asarray(PIL.Image.open(path)).astype(int)
    return pixels.reshape(-1, 32, columns, 32, 3).swapaxes(1, 2).reshape(-1, 32, 32, 3)


def test_a_grid_that_moves_in_every_way(tmp_path, monkeypatch, Gs):
    """psi, mixing and noise along the way, against the definition."""
    monkeypatch.chdir(tmp_path)
    way = {"curve": "cubic", "loop": "noise", "psi_sweep": [0.2, 1], "col_seeds": [7, 8], "col_styles": [1, 2]}
    interpolate(NETWORK, list(range(6)), frames=2, grid=(2, 1), mix_sweep=[0, 1], layer_psi=[(3, 0.1)], **way)
    assert sorted(os.listdir()) == [f"frame{idx:04d}.png" for idx in range(6)]
    images = ImageGenerator(Gs, Rendering(1.0, noise_mode="const"), has_seeds=True)
    w, others = images.stacked(range(6)).reshape(2, 3, 8, 64), images.stacked([7, 8])
    average = Gs.get_var("dlatent_avg")
    second = [np.random.RandomState(0)]
    noises = [noise.shape for noise in images.own_noises]
    second = [second[0].randn(*shape) for shape in noises]
    for idx in range(6):
        turn, share = 2 * np.pi * idx / 6, 1 - abs(1 - idx / 3)  # of sweeps there and back
        expected = np.stack([CubicSpline(range(4), [*cell, cell[0]], bc_type="periodic")(idx / 2) for cell in w])
        knots = [others[0], others[1], others[0]]
        other = CubicSpline(range(3), knots, bc_type="periodic")(idx / 3)
        expected[:, 3] = average + (expected[:, 3] - average) * 0.1
        expected[:, 1:3] += (other[1:3] - expected[:, 1:3]) * share
        psi = np.full([8, 1], 0.2 + 0.8 * share)
        psi[3] = 1
        expected = average + (expected - average) * psi
        noise = [own * np.cos(turn) + more * np.sin(turn) for own, more in zip(images.own_noises, second, strict=True)]
        reference = images.from_dlatents(expected, [[part.astype(np.float32) for part in noise]] * 2)
        assert np.abs(frame(f"frame{idx:04d}.png", 2) - reference).max() <= 1


@pytest.mark.slow
def test_trajectories(tmp_path, monkeypatch, Gs):
    monkeypatch.chdir(tmp_path)
    images = ImageGenerator(Gs, Rendering(noise_mode="const"))
    w = images.stacked(range(8))
    np.save("layers.npy", w)
    np.save("one.npy", w[:, 0])  # [8, 64] of a network of 8 layers: frames, nevertheless
    np.savez("zip.npz", w=w)
    for name in ("layers.npy", "one.npy", "zip.npz"):
        interpolate(NETWORK, trajectory=[name])
        for idx in range(8):
            assert np.abs(frame(f"frame{idx:04d}.png")[0] - images.from_dlatents(w[idx : idx + 1])[0]).max() <= 1
    np.save("short.npy", w[:5, :, :32])
    np.save("nan.npy", w * np.nan)
    np.save("single.npy", w[:1])
    np.save("five.npy", w[:5])
    with pytest.raises(UserError) as error:
        interpolate(NETWORK, trajectory=["short.npy", "nan.npy", "single.npy", "five.npy"], grid=(2, 2))
    assert str(error.value).splitlines() == [
        "--trajectory: short.npy: 8 layers of 32 numbers, but the network has 8 of 64",
        "--trajectory: nan.npy: dlatents have values that are not finite",
        "--trajectory: single.npy: has 1 frame, expected two or more: [frames, layers, dlatent_size]",
    ]


def test_random_noise_goes_round(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    interpolate(NETWORK, [1], loop="noise", noise_mode="random", frames=3, grid=(1, 1), video="webp", size=(64, 64))
    picture = PIL.Image.open("interpolation.webp")
    assert picture.n_frames == 3 and picture.size == (64, 64) and os.listdir() == ["interpolation.webp"]


class Stop(Exception):
    """What stops a run."""


@pytest.mark.parametrize("video", [pytest.param(None, marks=pytest.mark.slow), "gif"])
def test_what_was_stopped_goes_on(tmp_path, monkeypatch, video):
    """Frames that are there stay as they are, and are not rendered again."""

    def run(folder):
        (tmp_path / folder).mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / folder)
        interpolate(NETWORK, [1, 2, 3, 4], frames=5, grid=(2, 1), video=video, minibatch_size=4)
        return {path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()}

    expected = run("whole")
    save = kept_frames.KeptFrames.save

    def stopping(self, idx, pixels):
        if idx >= 3:
            raise Stop
        save(self, idx, pixels)

    monkeypatch.setattr(kept_frames.KeptFrames, "save", stopping)
    with pytest.raises(Stop):
        run("stopped")
    saved = []

    def saving(self, idx, pixels):
        saved.append(idx)
        save(self, idx, pixels)

    monkeypatch.setattr(kept_frames.KeptFrames, "save", saving)
    assert run("stopped") == expected and sorted(saved) == [3, 4, 5]


def test_only_the_same_command_goes_on(tmp_path):
    folder = tmp_path / "00003-interpolate"
    folder.mkdir()
    (tmp_path / "a.npz").write_bytes(b"1")
    arguments = {"seeds": [1, str(tmp_path / "a.npz")], "frames": 5, "cache_dir": "x"}
    kept_frames.KeptFrames(str(folder), kept_frames.plan_of(arguments), 9, None)

    def found(**others):
        return kept_frames.find_unfinished(str(tmp_path), "interpolate", {**arguments, **others})

    assert found() == found(cache_dir=None) == str(folder)
    assert found(frames=6) is None and kept_frames.find_unfinished(str(tmp_path / "none"), "interpolate", {}) is None
    (tmp_path / "a.npz").write_bytes(b"2")
    assert found() is None
    (tmp_path / "a.npz").write_bytes(b"1")
    with only_one(folder / ".lock", busy="x"):
        assert found() is None
    plan = folder / ".interpolation" / "plan.json"
    plan.write_text(json.dumps({**json.loads(plan.read_text()), "format_version": 2}))
    assert found() is None
    plan.write_text("{")
    assert found() is None


def test_frames_of_other_runs_are_not_taken(tmp_path):
    for number in (1, 2):
        plan = kept_frames.plan_of({"seeds": [number]})
        for again in (False, True):
            kept = kept_frames.KeptFrames(str(tmp_path), plan, 3, "png")
            assert kept.missing == ([2] if again else [0, 1, 2])
            for idx in (0, 1):
                kept.save(idx, np.full([2, 2, 3], number, np.uint8))
    kept.finish()
    assert kept_frames.KeptFrames(str(tmp_path), plan, 3, "png").missing == [0, 1, 2]


def test_too_many_frames(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="the whole way has 1999999999 frames, expected up to 1000000: fewer --frames"):
        interpolate(NETWORK, [1, 2, 3], frames=999_999_999)
    assert os.listdir() == []


@pytest.mark.slow
@pytest.mark.parametrize("flag", ["--format=png", "--video=gif", "--video=mp4"])
def test_kills(tmp_path, flag):
    """One command line, killed again and again: in the end there is one whole result, the same as without."""
    if flag == "--video=mp4":
        pytest.importorskip("imageio_ffmpeg")
    args = ["interpolate", f"--network={NETWORK}", "--seeds=0-7", "--grid=2x2", "--frames=60", flag, "--size=256x256"]
    command = [sys.executable, str(ROOT / "run_generator.py"), *args]
    begin = time.monotonic()
    subprocess.run([*command, "--result-dir=whole"], cwd=tmp_path, check=True, capture_output=True)
    seconds = time.monotonic() - begin
    rng = random.Random(flag)
    for _ in range(int(os.environ.get("MOTION_KILLS", "6"))):
        process = subprocess.Popen(
            [*command, "--result-dir=killed"], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(rng.uniform(0.1, 0.9) * seconds)
        process.send_signal(rng.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT]))
        process.wait()

    def results(root):
        folders = [folder for folder in (tmp_path / root).iterdir() if (folder / "_finished.txt").exists()]
        kept = [path for folder in folders for path in folder.iterdir() if path.name.startswith(("frame", "interp"))]
        return len(folders), {path.name: path.read_bytes() for path in kept}

    finished, _ = results("killed")  # before they were killed
    subprocess.run([*command, "--result-dir=killed"], cwd=tmp_path, check=True, capture_output=True)
    (_, whole), (num, killed) = results("whole"), results("killed")
    assert killed == whole and whole
    assert num == finished + 1
