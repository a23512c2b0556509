"""Sizes of images: bases, levels, and what is said of sizes that cannot be."""

import argparse

import numpy as np
import pytest

from dnnlib import flags
from dnnlib.resolutions import level_of_size, nearest, resolution_of


@pytest.mark.parametrize("log2", range(2, 11))
def test_squares_are_as_officially(log2):
    resolution = resolution_of(2**log2)
    assert (resolution.log2, resolution.first_log2, resolution.base) == (log2, 2, (4, 4))
    assert [resolution.size(level) for level in resolution.levels] == [(2**k, 2**k) for k in range(log2, 1, -1)]
    assert resolution.argument == 2**log2 and str(resolution) == f"{2**log2}x{2**log2}"


@pytest.mark.parametrize(
    ("size", "base", "levels"),
    [
        ((640, 384), (5, 3), range(9, 1, -1)),
        ((384, 512), (3, 4), range(9, 1, -1)),
        ((192, 128), (6, 4), range(7, 1, -1)),
        ((288, 512), (9, 16), range(9, 3, -1)),
        ((96, 96), (3, 3), range(7, 1, -1)),
        ((4, 8), (2, 4), (3, 2)),
    ],
)
def test_the_base_is_found(size, base, levels):
    resolution = resolution_of(size)
    assert resolution.base == base
    assert resolution.levels == list(levels)
    assert resolution.size(resolution.log2) == size and resolution.size(resolution.first_log2) == base


def test_a_base_can_be_asked_for():
    assert resolution_of((640, 384), (10, 6)).levels == [9, 8, 7, 6, 5, 4, 3]
    assert resolution_of(64, 1).levels == [6, 5, 4, 3, 2, 1, 0]
    with pytest.raises(ValueError, match="640x384 is not 4x4 times a power of two; 640x384 has the bases 5x3, 10x6"):
        resolution_of((640, 384), (4, 4))
    with pytest.raises(ValueError, match="base 64x64: expected one of fewer than 512 pixels"):
        resolution_of(128, 64)


def test_every_size_has_a_base_or_a_near_one():
    rng = np.random.RandomState(1)
    for height, width in rng.randint(4, 3000, [300, 2]).tolist():
        resized, cut = nearest(height, width)
        resolution = resolution_of(resized)
        assert max(resized[0] / height, height / resized[0], resized[1] / width, width / resized[1]) < 1.5
        assert cut is None or (resolution_of(cut) and cut[0] <= height and cut[1] <= width)
        transposed = resolution_of(resized[::-1])
        assert (transposed.base, transposed.levels) == (resolution.base[::-1], resolution.levels)


def test_sizes_that_cannot_be_are_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"641x385: .* nearest is 640x384"):
        resolution_of((641, 385))
    with pytest.raises(ValueError, match=r"1000x1500: .* nearest are 1024x1536 \(resized\) and 896x1408 \(cut out\)"):
        resolution_of((1000, 1500))
    for wrong in ("640x384", [4], [4, 4, 4], 0, -4, 4.5, [4, None]):
        with pytest.raises(ValueError, match="expected the side of a square"):
            resolution_of(wrong)


def test_levels_are_those_of_squares_of_about_as_many_pixels():
    for height, width in ((1, 1), (3, 2), (5, 3), (9, 16), (21, 9)):
        side = 2.0 ** level_of_size(height, width)
        assert 0.5 <= height * width / side**2 < 2


@pytest.mark.parametrize(
    ("text", "size"), [("256", 256), ("640x384", [640, 384]), ("64X64", 64), ("0096x64", [96, 64])]
)
def test_flag(text, size):
    assert flags.image_size(text) == size


@pytest.mark.parametrize("text", ["", "x", "64x", "0", "0x4", "-64", "64x64x3", "64.0", "1e3", "٦٤"])
def test_flag_refuses(text):
    with pytest.raises(argparse.ArgumentTypeError, match="HEIGHTxWIDTH such as 640x384"):
        flags.image_size(text)
