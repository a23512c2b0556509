"""The host does not wait for a GPU where it need not: it runs ahead, so that the GPU always has something to do."""

import numpy as np
import pytest
import tensorflow as tf

from dnnlib.tflib import Network, autosummary, random_stream
from dnnlib.tflib.devices import on_host
from tools import virtual_gpu
from training.data.dataset import SyntheticDataset
from training.loop.reals import RealsReader

KWARGS = {"resolution": 8, "num_channels": 3, "fmap_base": 32, "fmap_max": 8, "latent_size": 6, "dlatent_size": 8}


@pytest.mark.parametrize("func_name", ["networks_stylegan2.G_main", "networks_stylegan.G_style"])
def test_style_mixing(func_name):
    """The number of layers of the second latent is drawn and used without the host."""
    G = Network("G", func_name=f"training.{func_name}", mapping_fmaps=8, mapping_layers=2, structure="fixed", **KWARGS)
    seed = on_host([1, 2])

    def mixed(latents):
        from training.nets.growing import known_lod

        with random_stream.using(random_stream.StatelessStream(seed)), known_lod(0):
            return G.get_output_for(latents, tf.zeros([4, 0]), is_training=True)

    function = tf.function(mixed, autograph=False).get_concrete_function(tf.TensorSpec([4, 6]))
    assert virtual_gpu.work_of(function).waits == []


def test_numbers_are_averaged_like_tensors():
    numbers = [1.5, float("nan"), 0.1, float("inf"), 3, True, -1e30]
    autosummary.restore({})
    for number in numbers:
        assert autosummary.autosummary("numbers", number) is number
        autosummary.autosummary("tensors", tf.constant(float(number)))
    state = autosummary.state()
    np.testing.assert_array_equal(state["numbers"], state["tensors"])
    assert state["numbers"][0] == 5
    autosummary.restore(state)
    autosummary.autosummary("numbers", 1.0)
    assert autosummary.state()["numbers"][0] == 6
    autosummary.restore({})


def test_images_are_copied_to_devices_ahead():
    readers = [RealsReader(SyntheticDataset(8), 1, devices=devices) for devices in (None, ("/CPU:0",))]
    arrays, tensors = (reader.pieces(0, 8, 4, 0) for reader in readers)
    assert [number for number, *_ in tensors] == [0, 1]
    for of_array, of_tensor in zip(arrays, tensors, strict=True):
        assert tf.is_tensor(of_tensor[1])
        for array, tensor in zip(of_array, of_tensor, strict=True):
            np.testing.assert_array_equal(array, tensor)
    for reader in readers:
        reader.close()
