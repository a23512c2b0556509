"""dataset_tool.py --encoding and convert: what goes in comes out, bit for bit, with labels and names."""

import numpy as np
import pytest
from helpers.dataset_tool_runs import fails, save_images, shuffled, succeeds

from training.data.dataset import TFRecordDataset

pytestmark = pytest.mark.one_stack


def photos(count=40, size=(64, 64, 3)):
    """Smooth images, [N, H, W, C]."""
    ramp = np.indices(size).sum(axis=0)
    return np.stack([(ramp * 2 + 5 * number) % 256 for number in range(count)]).astype(np.uint8)


def read(path):
    dataset = TFRecordDataset(str(path), max_label_size="full", shuffle_mb=0)
    images, labels = dataset.read(np.arange(dataset.num_images))
    dataset.close()
    return images, labels, dataset.label_names


@pytest.mark.parametrize("encoding", ["png", "webp-lossless", "jpeg"])
def test_create_from_images(tmp_path, encoding):
    save_images(tmp_path / "photos/a", photos(3))
    save_images(tmp_path / "photos/b", photos(3) // 2)
    out = succeeds(tmp_path, "create-from-images", "set", "photos", f"--encoding={encoding}").stdout
    assert f"Writing 6 images of 3x64x64 as {encoding}: about " in out
    assert sorted(path.name for path in (tmp_path / "set").iterdir()) == ["set-r06.tfrecords", "set-rxx.labels"]
    images, labels, _ = read(tmp_path / "set")
    expected = np.concatenate([photos(3), photos(3) // 2]).transpose(0, 3, 1, 2)[shuffled(6)]
    assert np.abs(images.astype(int) - expected).mean() <= (3 if encoding == "jpeg" else 0)
    assert labels.argmax(axis=1).tolist() == [number // 3 for number in shuffled(6)]
    info = succeeds(tmp_path, "info", "set", "--verify").stdout
    assert "all images are whole" in info


def test_create_from_images_that_cannot_be_encoded(tmp_path):
    save_images(tmp_path / "gray", photos(2)[..., 0])
    assert "webp-lossless has no grayscale; png has" in fails(
        tmp_path, "create-from-images", "set", "gray", "--encoding=webp-lossless"
    )
    assert "--quality=90 is of --encoding=jpeg; png has none" in fails(
        tmp_path, "create-from-images", "set", "gray", "--encoding=png", "--quality=90"
    )
    assert "quality=101, expected 1 to 100" in fails(
        tmp_path, "create-from-images", "set", "gray", "--encoding=jpeg", "--quality=101"
    )
