"""Videos, written frame by frame: mp4 by the ffmpeg that imageio-ffmpeg brings along, animated gif and webp by Pillow.

A writer is a context manager; its file appears whole at the end of the block, and not at all after an exception.
"""

import contextlib
import os
from typing import Any, ClassVar

import numpy as np
import PIL.Image

from dnnlib.errors import UserError
from dnnlib.files import atomic_write
from dnnlib.pictures import over_checkerboard
from dnnlib.resolutions import size_text

_CRF = 16  # constant rate factor of H.264: 0 is lossless; less quality and smaller files as it grows
QUICK = "ultrafast"
"""The preset of x264 that takes least time: of the same quality as the usual one, in larger files."""
_MAX_MP4_SIDE = 16384  # pixels, of x264


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

    keeps_alpha = False  # whether what is transparent stays so

    def __init__(self, path: str | os.PathLike, fps: float):
        self.check(fps)
        self.path = os.fspath(path)
        self.fps = fps
        self._shape: tuple[int, ...] | None = None

    @staticmethod
    def check(fps: float) -> None:
        """Raises UserError if such videos cannot be written at all."""
        raise NotImplementedError

    @classmethod
    def check_size(cls, num: int, height: int, width: int) -> None:
        """Raises UserError for frames that are too large, or more pixels than are kept in memory."""
        raise NotImplementedError

    def add(self, frame: np.ndarray) -> None:
        """Adds a uint8 frame `[H, W, C]` of 1, 3 or 4 channels, all of one size.

        RGBA is shown over a checkerboard where the format knows no transparency.
        """
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] not in (1, 3, 4):
            raise ValueError(f"expected a uint8 frame [H, W, 1, 3 or 4], got {frame.dtype} {list(frame.shape)}")
        if frame.shape != (self._shape or frame.shape):
            raise ValueError(f"expected a frame {list(self._shape)} as before, got {list(frame.shape)}")
        self._shape = frame.shape
        if frame.shape[2] == 4 and not self.keeps_alpha:
            frame = over_checkerboard(frame.transpose(2, 0, 1)).transpose(1, 2, 0)
        self._add(frame if frame.shape[2] == 4 else np.broadcast_to(frame, [*frame.shape[:2], 3]))

    def _add(self, image: np.ndarray) -> None:
        """Adds RGB, or RGBA where transparency is kept."""
        raise NotImplementedError


class VideoWriter(_Writer):
    """Writes an mp4 (H.264) that every player shows.

    preset: of x264; None: its own, 'medium'.

    Raises UserError where ffmpeg is missing, or fails, as on a full disk. It says itself on stderr why.
    """

    def __init__(self, path: str | os.PathLike, fps: float, preset: str | None = None):
        super().__init__(path, fps)
        self._preset = preset
        self._count = 0
        self._frames: Any = None  # takes frames, when there is the first one
        self._stack = contextlib.ExitStack()

    @staticmethod
    def check(fps: float) -> None:
        """Raises UserError if videos cannot be written at all."""
        check_ffmpeg()

    @classmethod
    def check_size(cls, num: int, height: int, width: int) -> None:
        """Raises UserError for frames that H.264 cannot hold."""
        if max(height, width) > _MAX_MP4_SIDE:
            size = size_text((height, width))
            raise UserError(f"frames of {size} pixels are too large: mp4 holds up to {_MAX_MP4_SIDE} a side")

    def __enter__(self) -> "VideoWriter":
        self._file = self._stack.enter_context(atomic_write(self.path))
        self._stack.push(self._finish)
        return self

    def _add(self, image: np.ndarray) -> None:
        if image.shape[0] % 2 or image.shape[1] % 2:  # H.264: even sides
            image = np.pad(image, [(0, image.shape[0] % 2), (0, image.shape[1] % 2), (0, 0)], "edge")
        if self._frames is None:
            self._frames = self._start(*image.shape[:2])
        try:
            self._frames.send(np.ascontiguousarray(image))
        except OSError:
            raise self._failure() from None
        self._count += 1

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def _start(self, height: int, width: int) -> Any:
        import imageio_ffmpeg

        preset = ["-preset", self._preset] if self._preset else []
        options = ["-crf", str(_CRF), *preset, "-movflags", "+faststart", "-f", "mp4"]
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


class _PictureWriter(_Writer):
    """Writes an animated picture that repeats forever, by Pillow, which keeps all frames in memory.

    Raises UserError where there are more frames per second than viewers show, or too many pixels.
    """

    kind = ""
    max_fps = 0  # browsers slow down anything faster
    max_side = 0  # pixels
    max_pixels = 0  # of all frames
    second = 0  # what times are whole numbers of: how many are a second
    options: ClassVar[dict[str, Any]] = {}  # of Pillow

    def __init__(self, path: str | os.PathLike, fps: float):
        super().__init__(path, fps)
        self._frames: list[PIL.Image.Image] = []

    @classmethod
    def check(cls, fps: float) -> None:
        """Raises UserError for a speed that no viewer shows."""
        if fps > cls.max_fps:
            raise UserError(f"{cls.kind} holds up to {cls.max_fps} frames per second, got {fps:g}; mp4 holds more")

    @classmethod
    def check_size(cls, num: int, height: int, width: int) -> None:
        """Raises UserError for frames that are too large, or more pixels than are kept in memory."""
        if max(height, width) > cls.max_side:
            size = size_text((height, width))
            raise UserError(f"frames of {size} pixels are too large: {cls.kind} holds up to {cls.max_side} a side")
        if num * height * width > cls.max_pixels:
            most = f"{cls.max_pixels // (height * width)} frames of {size_text((height, width))}"
            raise UserError(f"a {cls.kind} of {num} frames is too large, expected up to {most}; mp4 holds more")

    def __enter__(self) -> "_PictureWriter":
        return self

    def _add(self, image: np.ndarray) -> None:
        self.check_size(len(self._frames) + 1, *image.shape[:2])
        self._frames.append(self._picture(image))

    def _picture(self, image: np.ndarray) -> PIL.Image.Image:
        return PIL.Image.fromarray(image)

    def __exit__(self, kind: type | None, *_error: Any) -> None:
        if kind is not None:
            return
        if not self._frames:
            raise ValueError(f"{self.path}: a video without frames")
        unit = 1000 // self.second  # milliseconds
        ends = [round(self.second * (idx + 1) / self.fps) for idx in range(len(self._frames))]
        durations = [unit * (end - begin) for begin, end in zip([0, *ends], ends, strict=False)]
        first, *others = self._frames
        times = {"save_all": True, "append_images": others, "duration": durations, "loop": 0}
        with atomic_write(self.path) as file:
            first.save(file, self.kind.upper(), **times, **self.options)


class GifWriter(_PictureWriter):
    """Writes an animated gif: 256 colours a frame, times in hundredths of a second, up to 50 frames per second."""

    kind = "gif"
    max_fps = 50
    max_side = 65535
    max_pixels = 1 << 30
    second = 100

    def _picture(self, image: np.ndarray) -> PIL.Image.Image:
        return PIL.Image.fromarray(image).quantize(256)


class WebpWriter(_PictureWriter):
    """Writes an animated WebP: all colours, nearly as they are, with transparency."""

    keeps_alpha = True
    kind = "webp"
    max_fps = 90
    max_side = 16383
    max_pixels = 1 << 28  # of four bytes
    second = 1000
    options: ClassVar[dict[str, Any]] = {"quality": 95, "method": 4}


WRITERS: dict[str, Any] = {"mp4": VideoWriter, "gif": GifWriter, "webp": WebpWriter}
