"""Data sets as targets. Needs no TensorFlow."""

from dnnlib.errors import UserError
from training.data import dataset


def open_dataset(name: str, data_dir: str | None, num_images: int | None = None) -> dataset.Dataset:
    """A data set in the order of storage. Raises UserError if it cannot be read or has less than `num_images`."""
    opened = dataset.load_dataset(data_dir=data_dir, tfrecord_dir=name, max_label_size=0, repeat=False, shuffle_mb=0)
    if num_images is not None and num_images > opened.num_images:
        opened.close()
        raise UserError(f"--num-images={num_images}: the data set {name} has {opened.num_images}")
    return opened
