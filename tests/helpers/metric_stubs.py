"""Small networks and data sets for tests of metrics."""

import numpy as np
import tensorflow as tf

from dnnlib import tflib
from metrics.frechet_inception_distance import FID
from training import misc
from training.data.tfrecord_export import TFRecordExporter

RESOLUTION = 8


class Detector:
    """Features that tell a lot about images: averages, differences, and which image it was."""

    def __init__(self, name="detector", digest="abc", columns=6):
        self.name, self.digest = name, digest
        self.output_shape = [None, columns]
        self.images_seen = 0

    def get_output_for(self, images):
        assert images.dtype == tf.uint8
        weights = np.random.RandomState(sum(map(ord, self.digest))).randn(3 * RESOLUTION**2, self.output_shape[1])
        flat = tf.reshape(tf.cast(images, tf.float32), [tf.shape(images)[0], -1]) / 255
        return tf.nn.tanh(tf.matmul(flat, weights.astype(np.float32)) / RESOLUTION)


def make_network(path, label_size=0, seed=0):
    """A small generator, in a pickle."""
    tf.random.set_seed(seed)
    sizes = {"latent_size": 8, "dlatent_size": 8, "mapping_fmaps": 8, "mapping_layers": 2}
    sizes |= {"fmap_base": 64, "fmap_max": 8, "resolution": RESOLUTION, "num_channels": 3, "label_size": label_size}
    Gs = tflib.Network("Gs", func_name="training.networks_stylegan2.G_main", **sizes)
    for name, variable in Gs.vars.items():
        if name.endswith("noise_strength"):
            variable.assign(0.1)
    misc.save_pkl(Gs, path)
    return str(path)


def make_dataset(folder, num_images, num_classes=0, seed=0):
    """Random images as tfrecords. Returns the images [N, C, H, W]."""
    rnd = np.random.RandomState(seed)
    images = rnd.randint(0, 256, [num_images, 3, RESOLUTION, RESOLUTION]).astype(np.uint8)
    with TFRecordExporter(str(folder), num_images, print_progress=False) as exporter:
        for image in images:
            exporter.add_image(image)
        if num_classes:
            exporter.add_labels(np.eye(num_classes, dtype=np.float32)[np.arange(num_images) % num_classes])
    return images


def small_fid(name):
    """A quick metric."""
    return FID(num_images=12, minibatch_per_gpu=4, detector=Detector(), name=name)
