"""Linear separability, from the generator to the score."""

from types import SimpleNamespace

import golden
import numpy as np
import pytest
import tensorflow as tf

from metrics.features.evaluation import Evaluating, Evaluation
from metrics.features.random_inputs import RandomInputs
from metrics.linear_separability import LS, predictions_of
from metrics.metric_defaults import metric_defaults

RESULT = golden.index("metrics", "metrics.json")["ls"]["result"]
LATENTS = golden.arrays("metrics", "metrics.npz")["ls/latents"]


class Mapping:
    """The mapping of the golden: two layers of W."""

    output_shape = [None, 2, 3]

    def get_output_for(self, z, labels, **kwargs):
        assert labels.shape[1] == 0
        return tf.stack([2 * z, z + 1], axis=1)


class Gs:
    """The generator of the golden: the three channels of an image tell the latents."""

    input_shape, input_shapes, num_inputs = [None, 3], [[None, 3], [None, 0]], 2
    output_shape, static_kwargs, vars, model = [None, 3, 512, 512], {}, {}, None
    components = SimpleNamespace(mapping=Mapping())

    def get_output_for(self, z, labels, **kwargs):
        assert labels is None and kwargs == {"is_validation": True}
        return tf.tile((z + 1.5 * tf.sin(3 * z))[:, :, tf.newaxis, tf.newaxis], [1, 1, 512, 512])


class Classifier:
    """The logit is a weighted sum of the channels of a pixel."""

    def __init__(self, *weights):
        self.name = self.digest = str(weights)
        self.weights = tf.constant(weights)

    def get_output_for(self, images, labels):
        assert labels is None and images.shape[2:] == [256, 256]  # averaged
        return tf.reduce_sum(images[:, :, 0, 0] * self.weights, axis=1, keepdims=True)


CLASSIFIERS = [Classifier(1.0, 0.5, -0.2), Classifier(0.3, -1.0, 2.0)]


@pytest.mark.parametrize("official_numerics", [False, True])
def test_golden(tmp_path, monkeypatch, official_numerics):
    monkeypatch.setattr(RandomInputs, "latents", lambda self, begin, count, size: LATENTS[begin : begin + count])
    settings = Evaluating(minibatch_size=32, cache_dir=str(tmp_path))
    evaluation = Evaluation("golden", Gs(), {"is_validation": True}, lambda labels: None, False, settings)
    metric = LS(*(200, 120, [0, 1], 4), classifiers=CLASSIFIERS, name="ls", official_numerics=official_numerics)
    np.random.seed(5)
    metric.run(None, dataset_args={}, mirror_augment=False, evaluation=evaluation)
    for name, value in metric.get_results().items():
        assert value == pytest.approx(RESULT[name.removeprefix("ls")][0], rel=0.02)
    evaluation.finish()
    assert list((tmp_path / "metrics").iterdir()) == []


def test_predictions():
    logits = np.array([-1000, -2, 0, 0.5, 1000], np.float32)
    both = tf.nn.softmax(tf.stack([logits, -logits], axis=1)).numpy()
    np.testing.assert_allclose(predictions_of(logits), both, atol=1e-7)


@pytest.mark.one_stack
def test_arguments():
    kwargs = {key: value for key, value in metric_defaults["ls"].items() if key != "func_name"}
    metric = LS(**kwargs)
    assert metric.classifiers[0] == "celebahq-classifier-00-male" and len(metric.classifiers) == 40
    assert metric.classifiers[39] == "celebahq-classifier-39-wearing-necktie"
    with pytest.raises(ValueError, match="num_keep"):
        LS(**{**kwargs, "num_keep": 200001})
