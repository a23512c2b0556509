"""Videos, written frame by frame: mp4 by the ffmpeg that imageio-ffmpeg brings along, animated gif by Pillow.

A writer is a context manager; its file appears whole at the end of the block, and not at all after an exception.
"""

import contextlib
import os
from typing import Any

import numpy as np
import PIL.Image

from dnnlib.errors import UserError
from dnnlib.files import atomic_write
from dnnlib.pictures import over_checkerboard
from dnnlib.resolutions import size_text

_CRF = 16  # constant rate factor of H.264: 0 is lossless; less quality and smaller files as it grows
_MAX_GIF_FPS = 50  # browsers slow down anything faster
_MAX_GIF_PIXELS = 1 << 30  # of all frames, which Pillow keeps in memory


def check_ffmpeg() -> None:
    """Raises UserError without an ffmpeg program, which the package imageio-ffmpeg brings."""
    try:
        import imageio_ffmpeg

        imageio_ffmpeg.get_ffmpeg_exe()
    except ImportError:
        raise UserError("writing mp4 needs the package imageio-ffmpeg: pip install imageio-ffmpeg") from None
    except RuntimeError as error:  # installed without its program
        raise UserError(f"writing mp4 needs ffmpeg: {error}") from None


class _Writer:
    """What takes the frames of a video. path: the file. fps: frames per second."""

    def __init__(self, path: str | os.PathLike, fps: float):
        self.check(fps)
        self.path = os.fspath(path)
        self.fps = fps
        self._shape: tuple[int, ...] | None = None

    @staticmethod
    def check(fps: float) -> None:
        """Raises UserError if such videos cannot be written at all."""
        raise NotImplementedError

    def add(self, frame: np.ndarray) -> None:
        """Adds a uint8 frame `[H, W, C]` of 1, 3 or 4 channels, all of one size; RGBA is shown over a checkerboard."""
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] not in (1, 3, 4):
            raise ValueError(f"expected a uint8 frame [H, W, 1, 3 or 4], got {frame.dtype} {list(frame.shape)}")
        if frame.shape != (self._shape or frame.shape):
            raise ValueError(f"expected a frame {list(self._shape)} as before, got {list(frame.shape)}")
        self._shape = frame.shape
        if frame.shape[2] == 4:
            frame = over_checkerboard(frame.transpose(2, 0, 1)).transpose(1, 2, 0)
        self._add(np.broadcast_to(frame, [*frame.shape[:2], 3]))

    def _add(self, rgb: np.ndarray) -> None:
        raise NotImplementedError


class VideoWriter(_Writer):
    """Writes an mp4 (H.264) that every player shows.

    Raises UserError where ffmpeg is missing, or fails, as on a full disk. It says itself on stderr why.
    """

    def __init__(self, path: str | os.PathLike, fps: float):
        super().__init__(path, fps)
        self._count = 0
        self._frames: Any = None  # takes frames, when there is the first one
        self._stack = contextlib.ExitStack()

    @staticmethod
    def check(fps: float) -> None:
        """Raises UserError if videos cannot be written at all."""
        check_ffmpeg()

    def __enter__(self) -> "VideoWriter":
        self._file = self._stack.enter_context(atomic_write(self.path))
        self._stack.push(self._finish)
        return self

    def _add(self, rgb: np.ndarray) -> None:
        rgb = np.pad(rgb, [(0, rgb.shape[0] % 2), (0, rgb.shape[1] % 2), (0, 0)], "edge")  # H.264: even sides
        if self._frames is None:
            self._frames = self._start(*rgb.shape[:2])
        try:
            self._frames.send(rgb)
        except OSError:
            raise self._failure() from None
        self._count += 1

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def _start(self, height: int, width: int) -> Any:
        import imageio_ffmpeg

        options = ["-crf", str(_CRF), "-movflags", "+faststart", "-f", "mp4"]
        codec = {"codec": "libx264", "quality": None, "macro_block_size": 2, "output_params": options}
        size = width, height
        frames = imageio_ffmpeg.write_frames(self._file.name, size, fps=self.fps, ffmpeg_log_level="error", **codec)
        frames.send(None)
        return frames

    def _finish(self, kind: type | None, *_error: Any) -> None:
        if self._frames is not None:
            self._frames.close()
        if kind is not None:
            return
        if not self._count:
            raise ValueError(f"{self.path}: a video without frames")
        import imageio_ffmpeg

        try:  # how ffmpeg ended is not told, so the file is asked
            written, _ = imageio_ffmpeg.count_frames_and_secs(self._file.name)
        except RuntimeError:
            written = 0
        if written != self._count:
            raise self._failure()

    def _failure(self) -> UserError:
        return UserError(f"{self.path}: ffmpeg failed; what it says of that is above")


class GifWriter(_Writer):
    """Writes an animated gif that repeats forever: 256 colours a frame, times in hundredths of a second.

    Raises UserError where there are more than 50 frames per second, or too many pixels in all.
    """

    def __init__(self, path: str | os.PathLike, fps: float):
        super().__init__(path, fps)
        self._frames: list[PIL.Image.Image] = []

    @staticmethod
    def check(fps: float) -> None:
        """Raises UserError for a speed that no viewer shows."""
        if fps > _MAX_GIF_FPS:
            raise UserError(f"gif holds up to {_MAX_GIF_FPS} frames per second, got {fps:g}; mp4 holds more")

    @staticmethod
    def check_size(num: int, height: int, width: int) -> None:
        """Raises UserError for more pixels than are kept in memory."""
        if num * height * width > _MAX_GIF_PIXELS:
            most = f"{_MAX_GIF_PIXELS // (height * width)} frames of {size_text((height, width))}"
            raise UserError(f"a gif of {num} frames is too large, expected up to {most}; mp4 holds more")

    def __enter__(self) -> "GifWriter":
        return self

    def _add(self, rgb: np.ndarray) -> None:
        self.check_size(len(self._frames) + 1, *rgb.shape[:2])
        self._frames.append(PIL.Image.fromarray(rgb).quantize(256))

    def __exit__(self, kind: type | None, *_error: Any) -> None:
        if kind is not None:
            return
        if not self._frames:
            raise ValueError(f"{self.path}: a video without frames")
        ends = [round(100 * (idx + 1) / self.fps) for idx in range(len(self._frames))]
        durations = [10 * (end - begin) for begin, end in zip([0, *ends], ends, strict=False)]  # milliseconds
        first, *others = self._frames
        with atomic_write(self.path) as file:
            first.save(file, "GIF", save_all=True, append_images=others, duration=durations, loop=0)


WRITERS: dict[str, Any] = {"mp4": VideoWriter, "gif": GifWriter}
