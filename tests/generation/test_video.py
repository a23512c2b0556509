"""Videos: frames come back, files appear whole, what is missing is said."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from dnnlib.errors import UserError
from generation import video
from generation.video import GifWriter, VideoWriter

pytestmark = pytest.mark.one_stack


def frames(num, height, width, channels):
    """Smooth colours that move."""
    y, x = np.mgrid[:height, :width]
    for idx in range(num):
        moving = [(3 * x + 8 * idx) % 256, 255 - 4 * y, np.full_like(x, 10 * idx), np.full_like(x, 128)]
        yield np.stack(moving, axis=-1)[:, :, :channels].astype(np.uint8)


def shown(frame):
    """A frame as it is seen: colours, over a checkerboard where it is transparent."""
    if frame.shape[2] < 4:
        return np.broadcast_to(frame.astype(float), [*frame.shape[:2], 3])
    y, x = np.mgrid[: frame.shape[0], : frame.shape[1]]
    squares = np.where((y // 8 + x // 8) % 2, 204, 255)[..., np.newaxis]
    alpha = frame[:, :, 3:] / 255
    return frame[:, :, :3] * alpha + squares * (1 - alpha)


def write(writer, images):
    with writer:
        for image in images:
            writer.add(image)


@pytest.mark.parametrize(("channels", "size"), [(3, (32, 32)), (1, (17, 31)), (4, (16, 24))])
def test_gif(tmp_path, channels, size):
    write(GifWriter(tmp_path / "a.gif", 24), frames(12, *size, channels))
    picture = PIL.Image.open(tmp_path / "a.gif")
    assert picture.n_frames == 12 and picture.size == size[::-1] and picture.info["loop"] == 0
    durations = []
    for idx, frame in enumerate(frames(12, *size, channels)):
        picture.seek(idx)
        durations.append(picture.info["duration"])
        expected = shown(frame)
        assert np.abs(np.asarray(picture.convert("RGB")) - expected).mean() < 6
    assert set(durations) == {40, 50} and sum(durations) == 500


def test_gif_limits(tmp_path):
    with pytest.raises(UserError, match="up to 50 frames per second, got 60"):
        GifWriter(tmp_path / "a.gif", 60)
    with pytest.raises(UserError, match="1025 frames is too large, expected up to 1024 frames of 1024x1024"):
        GifWriter.check_size(1025, 1024, 1024)


@pytest.mark.parametrize(("channels", "size"), [(3, (32, 48)), (1, (17, 31)), (4, (64, 64))])
def test_mp4(tmp_path, channels, size):
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    write(VideoWriter(tmp_path / "a.mp4", 25), frames(10, *size, channels))
    read = imageio_ffmpeg.read_frames(str(tmp_path / "a.mp4"))
    about = next(read)
    even = [side + side % 2 for side in size]
    assert about["fps"] == 25 and about["codec"] == "h264" and list(about["size"]) == even[::-1]
    decoded = [np.frombuffer(image, np.uint8).reshape([*even, 3]) for image in read]
    assert len(decoded) == 10
    for image, frame in zip(decoded, frames(10, *size, channels), strict=True):
        expected = shown(frame)
        assert np.abs(image[: size[0], : size[1]] - expected).mean() < 12  # colours have half the resolution


def test_without_imageio_ffmpeg(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(UserError, match="mp4 needs the package imageio-ffmpeg: pip install imageio-ffmpeg"):
        VideoWriter(tmp_path / "a.mp4", 30)
    assert not list(tmp_path.iterdir())


def test_mp4_appears_whole(tmp_path):
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    path = tmp_path / "a.mp4"
    path.write_bytes(b"before")
    with VideoWriter(path, 30) as writer:
        writer.add(np.zeros([3, 5, 3], np.uint8))
        assert path.read_bytes() == b"before"
    written = path.read_bytes()
    assert imageio_ffmpeg.count_frames_and_secs(str(path))[0] == 1
    with pytest.raises(KeyError), VideoWriter(path, 30) as writer:
        writer.add(np.ones([4, 4, 3], np.uint8))
        raise KeyError
    assert path.read_bytes() == written
    assert [other.name for other in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize(
    "script",
    [
        "exec 0<&-; echo no space >&2; exit 1",  # while frames are written
        "cat > /dev/null; echo no space >&2; exit 1",
        "cat > /dev/null; echo no space >&2",  # and nothing in the file
    ],
)
def test_ffmpeg_fails(tmp_path, monkeypatch, capfd, script):
    pytest.importorskip("imageio_ffmpeg")
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\n" + script)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(program))
    with pytest.raises(UserError, match=r"a\.mp4: ffmpeg failed; what it says of that is above"):
        write(VideoWriter(tmp_path / "a.mp4", 30), [np.zeros([512, 512, 3], np.uint8)] * 3)
    assert "no space" in capfd.readouterr().err
    assert [other.name for other in tmp_path.iterdir()] == ["ffmpeg"]


def test_a_disk_that_is_full(tmp_path):
    """ffmpeg may write 8192 bytes."""
    pytest.importorskip("imageio_ffmpeg")
    code = (
        "import numpy as np; from generation.video import VideoWriter; from dnnlib.errors import exits_on_user_error\n"
    )
    code += "with exits_on_user_error(), VideoWriter('a.mp4', 30) as writer:\n"
    code += "    for _ in range(20): writer.add(np.random.randint(0, 256, [64, 64, 3]).astype(np.uint8))"
    command = ["bash", "-c", 'ulimit -f 8; exec "$0" -c "$1"', sys.executable, code]
    environment = {**os.environ, "PYTHONPATH": str(Path(video.__file__).parent.parent)}
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "Error: a.mp4: ffmpeg failed" in result.stderr and "Traceback" not in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", [GifWriter, VideoWriter])
def test_frames_must_fit(tmp_path, kind):
    if kind is VideoWriter:
        pytest.importorskip("imageio_ffmpeg")
    path = tmp_path / "a.mp4"
    with pytest.raises(ValueError, match="without frames"):
        write(kind(path, 30), [])
    with pytest.raises(ValueError, match=r"expected a frame \[4, 4, 3\] as before, got \[4, 5, 3\]"):
        write(kind(path, 30), [np.zeros([4, 4, 3], np.uint8), np.zeros([4, 5, 3], np.uint8)])
    for wrong in (np.zeros([4, 4, 3], np.float32), np.zeros([4, 4], np.uint8), np.zeros([4, 4, 2], np.uint8)):
        with pytest.raises(ValueError, match="expected a uint8 frame"):
            write(kind(path, 30), [wrong])
    assert not path.exists()
