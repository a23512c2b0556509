"""LiteRT files: run by its interpreter, compared with the networks that they were made of, and looked into."""

import numpy as np
import pytest
import tensorflow as tf
from tiny_generators import NETWORKS, build, check_minibatches, convert

pytestmark = [pytest.mark.exports, pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated")]


def runner_of(path):
    return tf.lite.Interpreter(str(path)).get_signature_runner()


def run(runner, **inputs):
    ((_, value),) = runner(**{name: np.asarray(value, np.float32) for name, value in inputs.items()}).items()
    return value


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(tmp_path, name):
    net = build(**NETWORKS[name])
    convert(net, tmp_path / "g.tflite")
    runner = runner_of(tmp_path / "g.tflite")
    check_minibatches(net, lambda **inputs: run(runner, **inputs))
