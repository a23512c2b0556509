"""Results leave the device in order, while at most a few minibatches more have been started."""

import numpy as np
import pytest
import tensorflow as tf

from dnnlib.tflib import Network, fetching


@pytest.fixture(params=["cpu", "gpu"])
def device(request, monkeypatch):
    """What is done where tensors are on a GPU is done with those of the CPU."""
    monkeypatch.setattr(fetching, "on_gpu", lambda _tensors: request.param == "gpu")
    return request.param


def test_results_come_in_order_and_little_is_started_ahead(device):
    started = []

    def start():
        for number in range(6):
            started.append(number)
            yield [tf.fill([2, 3], number), tf.constant([number], tf.uint8)]

    for number, (numbers, small) in enumerate(fetching.fetched(start())):
        assert (numbers == number).all()
        assert small == [number]
        numbers += 1  # one's own
        assert len(started) <= number + (3 if device == "gpu" else 2)


def test_errors_arrive(device):
    def broken(arrays):
        raise ValueError(f"broken {arrays[0]}")

    with pytest.raises(ValueError, match="broken 1"):
        list(fetching.fetched(([tf.constant(number)] for number in (1, 2)), broken))


@pytest.mark.parametrize("num_items", [4, 5, 2])
def test_joined(num_items):
    values = np.arange(num_items * 3).reshape(num_items, 3)
    joined = fetching.Joined(num_items, 2)
    for begin in range(0, num_items, 2):
        part = values[begin : begin + 2]
        joined.add([part, part[:1], part.astype(np.float16)])  # one of them has a row for each minibatch
    whole, firsts, halves = joined.arrays()
    assert (whole == values).all()
    assert (firsts == values[::2]).all()
    assert halves.dtype == np.float16
    assert (halves == values).all()


def test_large_arrays_are_copied_whole(monkeypatch):
    monkeypatch.setattr(fetching, "_LARGE", 10)
    values = np.random.RandomState(0).randn(7, 11)
    (result,) = fetching.copied([values])
    assert (result == values).all()
    assert result is not values


def test_networks_run_in_minibatches(device):
    D = Network("D", func_name="training.networks_stylegan2.D_stylegan2", resolution=8, fmap_max=8, num_channels=1)
    images = np.random.RandomState(0).randn(5, 1, 8, 8).astype(np.float32)
    alone = [float(D.run(image[np.newaxis])[0, 0]) for image in images]
    scores = D.run(images, minibatch_size=1)
    assert scores.shape == (5, 1)
    assert scores.flags.writeable
    np.testing.assert_array_equal(scores[:, 0], np.float32(alone))
