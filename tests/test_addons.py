"""TensorFlow Addons as an independent reference, where it is installed (`make test-addons`)."""

import golden
import numpy as np
import pytest
import tensorflow as tf

from dnnlib.tflib import Network
from dnnlib.tflib.ops.upfirdn_2d import filter_2d

tfa = pytest.importorskip("tensorflow_addons")


@pytest.mark.parametrize(("size", "sigma"), [(3, 0.8), (5, 1.5)])
def test_filter_is_a_gaussian_filter(size, sigma):
    images = golden.rnd(1, 2, 16, 12, 3)
    expected = tfa.image.gaussian_filter2d(images, [size, size], sigma, padding="CONSTANT")
    taps = np.exp(-(np.arange(-(size // 2), size // 2 + 1) ** 2) / (2 * sigma**2))
    golden.close(filter_2d(images, taps, data_format="NHWC"), expected.numpy(), 1e-5)


def test_moving_average():
    kwargs = {"resolution": 8, "num_channels": 1, "fmap_base": 16, "fmap_max": 4}
    net = Network("G", func_name="training.networks_stylegan2.D_stylegan2", **kwargs)
    average = net.clone("Gs")
    update = average.setup_as_moving_average_of(net, beta=0.9)
    variables = list(net.trainables.values())
    optimizer = tfa.optimizers.MovingAverage(tf.keras.optimizers.legacy.SGD(0.1), average_decay=0.9)
    for step in range(3):
        gradients = [tf.constant(golden.rnd(step, *var.shape)) for var in variables]
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        update()
    for name, var in net.trainables.items():
        expected = optimizer.get_slot(var, "average").numpy()
        golden.close(average.get_var(name), expected, 1e-5)
