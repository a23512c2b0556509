"""Metric networks against Keras' own networks and against plain formulas."""

import re

import lane
import metric_net_files as files
import numpy as np
import pytest
import tensorflow as tf

from metrics.nets import builders, inception, vgg16
from metrics.nets.images import legacy_resize, rgb_images
from metrics.nets.lpips import LPIPS
from metrics.nets.metric_network import MetricNetwork, combine
from metrics.nets.weight_files import WeightFile


def images(size, num=2, channels=3, dtype=np.uint8):
    return np.random.RandomState(size).randint(0, 256, [num, channels, size, size]).astype(dtype)


def assert_close(actual, expected, tolerance=1e-5):
    lane.only_float32()
    np.testing.assert_allclose(actual, expected, rtol=0, atol=lane.values(tolerance) * np.abs(expected).max())


# ----------------------------------------------------------------------------
# Images.


def resized(image, size):
    """The bilinear resize of TensorFlow 1 of [H, W, C], by its formula."""

    def weights(in_size):
        result = np.zeros([size, in_size])
        for j in range(size):
            source = np.float32(j) * (np.float32(in_size) / np.float32(size))
            low = int(np.floor(source))
            result[j, low] += 1 - (source - low)
            result[j, min(low + 1, in_size - 1)] += source - low
        return result

    rows = np.tensordot(weights(image.shape[0]), image, 1)  # [size, W, C]
    return np.einsum("xw,ywc->yxc", weights(image.shape[1]), rows, optimize=True)


@pytest.mark.parametrize("size", [32, 256, 299, 512])
def test_resize(size):
    image = images(size, 1)
    nhwc = rgb_images(tf.constant(image))
    assert nhwc.dtype == tf.float32
    expected = resized(image[0].transpose(1, 2, 0), 299)
    np.testing.assert_allclose(legacy_resize(nhwc, 299)[0], expected, atol=1e-3)


def test_resize_of_other_sides():
    image = np.random.RandomState(0).randint(0, 256, [1, 3, 40, 70])
    expected = resized(image[0].transpose(1, 2, 0), 224)
    np.testing.assert_allclose(legacy_resize(rgb_images(image), 224)[0], expected, atol=1e-3)


def test_padding_of_average_pools_does_not_count():
    assert np.all(inception._average(tf.ones([1, 5, 7, 2])) == 1)


# ----------------------------------------------------------------------------
# Inception.


@pytest.fixture(scope="module")
def inception_weights():
    return files.inception_weights()


@pytest.fixture(scope="module")
def features_net(inception_weights):
    return builders.inception_features(WeightFile("a.pb", "frozen graph", files.inception_of_graph(*inception_weights)))


@pytest.fixture(scope="module")
def softmax_net(inception_weights):
    arrays = files.inception_of_torch(*inception_weights)
    return builders.inception_softmax(WeightFile("a.pth", "torch zip", arrays))


def in_order(model, kind):
    """Layers of a kind in the order in which they were made, which their names count."""
    found = [layer for layer in model.layers if isinstance(layer, kind)]
    return sorted(found, key=lambda layer: int((re.findall(r"_(\d+)$", layer.name) or [0])[0]))


@pytest.mark.gpu
def test_inception_is_that_of_keras_but_for_one_pool(inception_weights, features_net):
    weights, _softmax = inception_weights
    model = tf.keras.applications.InceptionV3(weights=None, include_top=False, pooling="avg", input_shape=(139, 139, 3))
    last = in_order(model, tf.keras.layers.AveragePooling2D)[-1]

    def swapped(layer):
        if layer is last:
            return tf.keras.layers.MaxPooling2D(3, 1, "same", name="swapped")
        return type(layer).from_config(layer.get_config())

    model = tf.keras.models.clone_model(model, clone_function=swapped)
    pairs = zip(
        in_order(model, tf.keras.layers.Conv2D), in_order(model, tf.keras.layers.BatchNormalization), strict=True
    )
    for spec, (conv, normalization) in zip(builders.INCEPTION, pairs, strict=True):
        assert normalization.epsilon == pytest.approx(1e-3)
        conv.set_weights([weights[f"{spec.name}/weight"]])
        normalization.set_weights([weights[f"{spec.name}/{role}"] for role in ("bias", "mean", "var")])
    x = np.random.RandomState(0).rand(2, 139, 139, 3).astype(np.float32) * 2 - 1
    assert_close(features_net.trunk.features(tf.constant(x)), model(x, training=False), 1e-5)


def test_inception_features_are_those_of_scaled_images(features_net):
    x = images(75)
    nhwc = np.stack([resized(image.transpose(1, 2, 0), 299) for image in x]).astype(np.float32)
    expected = features_net.trunk.features(tf.constant((nhwc - 128) / 128))
    actual = features_net.run(x)
    assert actual.shape == (2, *features_net.output_shape[1:])
    assert actual.dtype == np.float32
    assert_close(actual, expected, 1e-4)
    assert_close(features_net.run(x.astype(np.float64)), actual)


def test_grey_images_are_three_equal_channels(features_net):
    grey = images(75, channels=1)
    np.testing.assert_array_equal(features_net.run(grey), features_net.run(np.repeat(grey, 3, axis=1)))


def test_softmax_has_no_bias(inception_weights, features_net, softmax_net):
    x = images(75)
    logits = features_net.run(x).astype(np.float64) @ inception_weights[1]["softmax/weight"]
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    expected = exponentials / exponentials.sum(axis=1, keepdims=True)
    assert_close(softmax_net.run(x), expected, 1e-4)


def test_gamma_is_folded_in(inception_weights, features_net):
    weights, softmax = inception_weights
    arrays = files.inception_of_graph(weights, softmax)
    arrays["conv/batchnorm/gamma"] = np.full(32, 2, np.float32)
    arrays["conv/batchnorm/beta"] = 2 * weights["conv/bias"]
    # The next convolution takes the factor back: ReLU(2 x) / 2 = ReLU(x).
    arrays["conv_1/conv2d_params"] = weights["conv_1/weight"] / 2
    net = builders.inception_features(WeightFile("a.pb", "frozen graph", arrays))
    assert_close(net.run(images(75)), features_net.run(images(75)))
    assert net.digest != features_net.digest


# ----------------------------------------------------------------------------
# Networks as metrics use them.


def test_networks_of_one_trunk_run_it_once(features_net, softmax_net):
    assert features_net.trunk_digest == softmax_net.trunk_digest
    assert features_net.digest != softmax_net.digest
    calls = []

    def counted(trunk):
        return lambda x: calls.append(1) or trunk(x)

    def copy(net):
        kwargs = {"source": "", "trunk_digest": net.trunk_digest, "output_shape": net.output_shape, "head": net.head}
        return MetricNetwork(net.name, counted(net.trunk), **kwargs)

    both = combine([copy(features_net), copy(softmax_net)])
    features, probabilities = both.run(images(75))
    assert len(calls) == 1
    assert_close(features, features_net.run(images(75)))
    assert_close(probabilities, softmax_net.run(images(75)))


def test_minibatches_and_graphs_give_the_same(features_net):
    x = images(75, 3)
    expected = features_net.run(x)
    assert_close(features_net.run(x, minibatch_size=2), expected)
    assert_close(features_net.get_output_for(x), expected)
    assert_close(tf.function(features_net.get_output_for)(tf.constant(x)), expected)
    assert len(features_net._functions) <= 5  # one for each size and type of images, not of minibatches


def test_wrong_inputs(features_net):
    with pytest.raises(ValueError, match=r"expected images of shape \[N, 3, any, any\], got \[2, 4, 8, 8\]"):
        features_net.run(np.zeros([2, 4, 8, 8]))
    with pytest.raises(ValueError, match="expected 1 inputs, got 2"):
        features_net.run(images(75), images(75))
    with pytest.raises(ValueError, match="0 items"):
        features_net.run(np.zeros([0, 3, 8, 8]))
    with pytest.raises(ValueError, match="minibatch_size must be 1 or more, got 0"):
        features_net.run(images(75), minibatch_size=0)
    with pytest.raises(ValueError, match="no networks"):
        combine([])


# ----------------------------------------------------------------------------
# VGG-16.

_PERIOD = 257  # of the rows of large matrices: a prime, so that no other order of rows gives the same


@pytest.fixture(scope="module")
def vgg_weights():
    weights = files.random_weights(builders.VGG_CONVS)
    rng = np.random.default_rng(2)
    for layer in builders.VGG_FULLY_CONNECTED:
        rows, columns = layer.kernel
        block = rng.standard_normal((_PERIOD, columns), np.float32) * np.float32(np.sqrt(2 / rows))
        weights[f"{layer.name}/weight"] = np.tile(block, (rows // _PERIOD + 1, 1))[:rows]
        weights[f"{layer.name}/bias"] = rng.standard_normal(columns, np.float32) * np.float32(0.1)
    return weights


def times_block(x, weight):
    """x [N, rows] times a matrix of repeated rows."""
    padded = np.pad(x, [(0, 0), (0, -x.shape[1] % _PERIOD)])
    return padded.reshape(len(x), -1, _PERIOD).sum(axis=1) @ weight[:_PERIOD]


@pytest.mark.gpu
def test_vgg16(vgg_weights):
    arrays = files.vgg_of_torch(vgg_weights, [*builders.VGG_CONVS, *builders.VGG_FULLY_CONNECTED])
    net = builders.vgg16_features(WeightFile("vgg.pth", "torch zip", arrays))
    model = tf.keras.applications.VGG16(weights=None, include_top=False)
    for layer, conv in zip(builders.VGG_CONVS, in_order_of_blocks(model), strict=True):
        conv.set_weights([vgg_weights[f"{layer.name}/{role}"] for role in ("weight", "bias")])
    x = images(224)
    scaled = (x.transpose(0, 2, 3, 1) / 255 - vgg16._MEAN) / vgg16._STD
    maps = model(scaled.astype(np.float32), training=False).numpy()
    flat = maps.transpose(0, 3, 1, 2).reshape(2, -1)  # as PyTorch flattens: channel, y, x
    hidden = np.maximum(times_block(flat, vgg_weights["fc1/weight"]) + vgg_weights["fc1/bias"], 0)
    expected = np.maximum(times_block(hidden, vgg_weights["fc2/weight"]) + vgg_weights["fc2/bias"], 0)
    assert net.output_shape == [None, 4096]
    assert_close(net.run(x), expected, 1e-4)


def in_order_of_blocks(model):
    return [layer for layer in model.layers if isinstance(layer, tf.keras.layers.Conv2D)]


def test_rows_by_pixel():
    maps = np.random.RandomState(0).randn(1, 7, 7, 512)
    weight = np.random.RandomState(1).randn(25088, 2)
    by_channel = maps.transpose(0, 3, 1, 2).reshape(1, -1) @ weight
    np.testing.assert_allclose(maps.reshape(1, -1) @ vgg16.rows_by_pixel(weight), by_channel)


# ----------------------------------------------------------------------------
# LPIPS.


@pytest.fixture(scope="module")
def lpips_weights():
    return files.lpips_weights()


@pytest.fixture(scope="module")
def lpips(lpips_weights):
    return builders.lpips([WeightFile("a.pkl", "official pickle", files.lpips_of_pickle(lpips_weights))])


def conv_of_numpy(x, weight, bias):
    """3x3 convolution [H, W, C] with padding, bias, ReLU."""
    padded = np.pad(x, [(1, 1), (1, 1), (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(0, 1))  # [H, W, C, 3, 3]
    return np.maximum(np.tensordot(windows, weight.transpose(2, 0, 1, 3), 3) + bias, 0)


def lpips_of_numpy(weights, a, b):
    """The distance of two images [3, H, W], in float64."""

    def unit_taps(image):
        x = (image.transpose(1, 2, 0) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        for number in range(1, 14):
            x = conv_of_numpy(x, weights[f"conv{number}/weight"], weights[f"conv{number}/bias"])
            if number in (2, 4, 7, 10, 13):
                yield x / (np.sqrt(np.sum(x**2, axis=2, keepdims=True)) + 1e-10)
                x = x.reshape(x.shape[0] // 2, 2, x.shape[1] // 2, 2, -1).max(axis=(1, 3))

    return sum(
        np.mean((x - y) ** 2 @ weights[f"perceptual_weight_{idx}/weight"].reshape(-1))
        for idx, (x, y) in enumerate(zip(unit_taps(a), unit_taps(b), strict=True))
    )


@pytest.mark.gpu
def test_lpips(lpips, lpips_weights):
    a, b = images(32, dtype=np.float32), images(32, 2)[::-1].astype(np.float32) * 0.5
    expected = [lpips_of_numpy(lpips_weights, x, y) for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(lpips.run(a, b), expected, rtol=1e-5)
    np.testing.assert_array_equal(lpips.run(a, a), [0, 0])
    assert lpips.output_shape == [None]


def test_lpips_of_kept_features(lpips):
    a, b = images(32, 3), images(33, 1)[:, :, :32, :32]
    target = lpips.trunk.features(tf.constant(b))
    distances = lpips.trunk.distance_of(lpips.trunk.features(tf.constant(a)), target)
    np.testing.assert_allclose(distances, lpips.run(a, np.repeat(b, 3, axis=0)), rtol=1e-4)


def plain_lpips(weights, a, b):
    """The distances of images [N, 3, H, W] by TensorFlow in float64, without care for zeros."""
    x = tf.transpose(tf.concat([a, b], axis=0), [0, 2, 3, 1])
    x = (x / 255 - np.array(vgg16._MEAN)) / np.array(vgg16._STD)
    distance = 0
    for number in range(1, 14):
        weight, bias = (tf.constant(weights[f"conv{number}/{role}"], tf.float64) for role in ("weight", "bias"))
        x = tf.nn.relu(tf.nn.conv2d(x, weight, 1, "SAME") + bias)
        if number in vgg16.TAPS:
            linear = tf.constant(weights[f"perceptual_weight_{vgg16.TAPS.index(number)}/weight"], tf.float64)
            unit = x / (tf.norm(x, axis=3, keepdims=True) + 1e-10)
            difference = tf.square(tf.subtract(*tf.split(unit, 2)))
            distance += tf.reduce_mean(tf.reduce_sum(difference * tf.reshape(linear, [-1]), axis=3), axis=[1, 2])
            x = tf.nn.max_pool2d(x, 2, 2, "VALID")
    return distance


@pytest.mark.gpu
def test_lpips_gradients(lpips, lpips_weights):
    a, b = images(32, 1), images(40, 1)[:, :, :32, :32]
    direction = np.random.RandomState(0).randn(*a.shape)

    def derivatives(function, dtype):
        x, y, vector = (tf.constant(value, dtype) for value in (a, b, direction))
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                distance = function(x, y)
            gradient = inner.gradient(distance, x)
            slope = tf.reduce_sum(gradient * vector)
        return distance, gradient, outer.gradient(slope, x)

    expected = derivatives(lambda x, y: plain_lpips(lpips_weights, x, y), tf.float64)
    for value, wanted in zip(derivatives(lpips.get_output_for, tf.float32), expected, strict=True):
        assert_close(value, wanted, 1e-3)


def test_lpips_where_all_features_are_zero(lpips_weights):
    weights = {name.removesuffix("/weight") if "perc" in name else name: v for name, v in lpips_weights.items()}
    weights["conv2/bias"] = np.full(64, -1e6, np.float32)
    trunk = LPIPS.with_weights(weights)
    x = tf.constant(images(16, 1), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        distance = trunk(x, x / 2)
    assert distance.numpy() == [0]
    assert np.all(tape.gradient(distance, x) == 0)


def test_lpips_of_small_images(lpips):
    a, b = images(8, dtype=np.float32), images(9, dtype=np.float32)[:, :, :8, :8]
    assert np.all(lpips.run(a, b) > 0)
