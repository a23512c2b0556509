"""Pictures with transparency, laid over something."""

import numpy as np
import pytest

from dnnlib.pictures import composited, over_checkerboard

pytestmark = pytest.mark.one_stack


def rgba(*shape):
    return np.random.RandomState(3).randint(0, 256, [*shape, 4, 12, 20], np.uint8)


@pytest.mark.parametrize("matte", [(255, 255, 255), (0, 0, 0), (200, 30, 7)])
def test_composited_over_a_colour(matte):
    images = rgba(2, 3)
    images[..., 3, :, 0], images[..., 3, :, 1] = 0, 255
    found = composited(images, matte)
    assert found.shape == (2, 3, 3, 12, 20) and found.dtype == np.uint8
    alpha = images[..., 3:, :, :] / 255
    expected = images[..., :3, :, :] * alpha + np.reshape(matte, [3, 1, 1]) * (1 - alpha)
    np.testing.assert_array_equal(found, np.rint(expected))
    np.testing.assert_array_equal(found[..., 0], np.broadcast_to(np.reshape(matte, [3, 1]), found[..., 0].shape))
    np.testing.assert_array_equal(found[..., 1], images[..., :3, :, 1])


def test_colours_under_alpha_0_are_not_seen():
    images = rgba()
    images[3] = np.where(images[3] < 128, 0, images[3])
    others = images.copy()
    others[:3, images[3] == 0] = 99
    for over in (composited, over_checkerboard):
        np.testing.assert_array_equal(over(images), over(others))


def test_checkerboard():
    clear = np.zeros([4, 12, 20], np.uint8)
    found = over_checkerboard(clear)
    assert (found == found[0]).all()
    board = found[0]
    assert (board[:8, :8] == 255).all() and (board[:8, 8:16] == 204).all() and (board[8:, :8] == 204).all()
    np.testing.assert_array_equal(board, over_checkerboard(clear, side=4)[0].repeat(2, 0).repeat(2, 1)[:12, :20])
