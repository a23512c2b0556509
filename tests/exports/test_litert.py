"""LiteRT files: run by its interpreter, compared with the networks that they were made of, and looked into."""

import errno
import json
import os
import re

import golden
import numpy as np
import pytest
import tensorflow as tf
from tiny_generators import (
    NETWORKS,
    build,
    check_1024,
    check_minibatches,
    convert,
    images_of,
    latents,
    nearly_constant,
    too_fine_for_float16,
)

from dnnlib.errors import UserError
from dnnlib.tflib.exports import litert_file, litert_model, verifying
from dnnlib.tflib.tfutil import convert_images_to_uint8

pytestmark = [pytest.mark.exports, pytest.mark.filterwarnings("ignore:(?s).*tf.lite.Interpreter is deprecated")]
QUICK = ("skip", "growing-0.4", "stylegan", "ada-16-bit", "rgba-not-square", "other-activation")
LARGER = {"fmap_base": 1024, "fmap_max": 48, "mapping_fmaps": 48, "latent_size": 48, "dlatent_size": 48}


def runner_of(path):
    return tf.lite.Interpreter(str(path)).get_signature_runner()


def run(runner, **inputs):
    return runner(**{name: np.asarray(value, np.float32) for name, value in inputs.items()})


def image(runner, **inputs):
    return run(runner, **inputs)["image"]


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in NETWORKS]
)
def test_networks(tmp_path, name):
    net = build(**NETWORKS[name])
    convert(net, tmp_path / "g.tflite")
    runner = runner_of(tmp_path / "g.tflite")
    check_minibatches(net, lambda **inputs: image(runner, **inputs))


def test_entries(tmp_path):
    """The mapping, and the synthesis of what it gives, are the generator; labels are one-hot."""
    net = build(label_size=3)
    z, label, psi = latents(4, net), np.eye(3, dtype=np.float32)[[0, 2, 1, 2]], 0.6
    runners = {}
    for entry in ("z", "w", "mapping"):
        convert(net, tmp_path / f"{entry}.tflite", entry=entry)
        runners[entry] = runner_of(tmp_path / f"{entry}.tflite")
    assert set(runners["z"].get_input_details()) == {"z", "label", "psi", "cutoff"}
    assert set(runners["w"].get_input_details()) == {"w"} and set(runners["mapping"].get_output_details()) == {"w"}
    inputs = {"z": z, "label": label, "psi": psi, "cutoff": 2}
    expected = images_of(net, z, label, psi, 2)
    golden.close(image(runners["z"], **inputs), expected, 1e-4)
    golden.close(image(runners["w"], w=run(runners["mapping"], **inputs)["w"]), expected, 1e-4)


def test_first_maps_that_are_nearly_constant(tmp_path):
    convert(nearly_constant(), tmp_path / "g.tflite", entry="w")


@pytest.mark.parametrize("noise_mode", ["none", "inputs"])
def test_noise(tmp_path, noise_mode):
    net = build(resolution=[8, 12], base=[4, 6])
    convert(net, tmp_path / "g.tflite", noise_mode=noise_mode)
    runner = runner_of(tmp_path / "g.tflite")
    z, inputs, given = latents(3, net), {}, None
    sizes = [(4, 6), (8, 12), (8, 12)]
    if noise_mode == "inputs":
        given = [golden.rnd(idx, 1 if idx == 1 else 3, 1, *size) for idx, size in enumerate(sizes)]
        inputs = {f"noise{idx}": value for idx, value in enumerate(given)}
    zeros = [np.zeros([1, 1, *size], np.float32) for size in sizes]
    actual = image(runner, z=z, psi=1, cutoff=0, **inputs)
    synthesis = net.components.synthesis
    w = net.components.mapping.run(z, None)
    expected = synthesis.get_output_for(tf.constant(w), noise=list(map(tf.constant, given or zeros)))
    golden.close(actual, expected.numpy(), 1e-4)


def test_levels(tmp_path):
    net = build(num_channels=1)
    convert(net, tmp_path / "g.tflite", image="uint8-nhwc")
    z = latents(8, net)
    actual = image(runner_of(tmp_path / "g.tflite"), z=z, psi=1, cutoff=0)
    expected = convert_images_to_uint8(tf.constant(images_of(net, z)), nchw_to_nhwc=True).numpy()
    assert actual.dtype == np.uint8 and actual.shape == (8, 8, 8, 1) and len(np.unique(actual)) > 20
    assert np.abs(actual.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("weights", ["float16", "int8"])
def test_weights(tmp_path, weights):
    """Half or a quarter of the bytes; the line tells how near images are, and is right."""
    net = build(**LARGER)
    convert(net, tmp_path / "whole.tflite")
    lines = convert(net, tmp_path / "g.tflite", weights=weights)
    shares = {"float16": (0.5, 0.6), "int8": (0.25, 0.4)}
    share = (tmp_path / "g.tflite").stat().st_size / (tmp_path / "whole.tflite").stat().st_size
    assert shares[weights][0] <= share <= shares[weights][1]
    z = latents(8, net)
    before, after = (image(runner_of(tmp_path / name), z=z, psi=1, cutoff=0) for name in ("whole.tflite", "g.tflite"))
    rms = verifying.rms_of(before, after)
    assert 0 < rms <= 0.02
    if weights == "int8":
        told = float(re.fullmatch(r"int8 weights: (\S+) rms from float32, .* \(at most 0.02\)", lines[1])[1])
        assert rms / 2 < told < rms * 2
    else:
        assert verifying.decibels_of(before, after, 2) > 45 and re.match(r"float16 weights: \S+ dB", lines[1])
    nothing = image(runner_of(tmp_path / "g.tflite"), z=np.zeros_like(z), psi=1, cutoff=0)
    assert np.isfinite(nothing).all()  # by numbers that float16 does not have


def test_too_coarse(tmp_path):
    """Models of networks that int8 or float16 changes by more than is allowed are not written."""
    net = build(**LARGER)
    for name in net.vars:
        if name.endswith("ToRGB/weight"):
            net.set_var(name, 30 * net.get_var(name))
    with pytest.raises(UserError, match=r"int8 weights: \S+ rms from float32, .*; float16 is nearer; it is removed"):
        convert(net, tmp_path / "g.tflite", weights="int8")
    with pytest.raises(UserError, match=r"float16 weights: \S+ dB from float32 .*; float32 is exact; it is removed"):
        convert(too_fine_for_float16(), tmp_path / "g.tflite", weights="float16", entry="mapping")
    assert not list(tmp_path.iterdir())
    net = build()
    net.set_var("G_synthesis/8x8/Conv1/weight", 1e6 * net.get_var("G_synthesis/8x8/Conv1/weight"))
    convert(net, tmp_path / "g.tflite", weights="float16")  # what would be infinite stays as it is


@pytest.mark.parametrize(("weights", "resolution"), [("float32", 32), ("int8", 8)])
def test_content(tmp_path, weights, resolution):
    """Operators of LiteRT's own, one graph, weights that are aligned, notes; no noise image of many channels."""
    net = build(**LARGER, resolution=resolution)
    path = tmp_path / "g.tflite"
    convert(net, path, weights=weights)
    content = path.read_bytes()
    model = litert_model.parsed(content)
    (graph,) = model.subgraphs
    assert not litert_model.unusual_operators(model)
    names = {litert_model.name_of(model, op) for op in graph.operators}
    assert {"CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED"} <= names and ("DEQUANTIZE" in names) == (weights == "int8")
    assert max(len(tensor.shape) for tensor in graph.tensors) <= 4
    start = np.frombuffer(content, np.uint8).__array_interface__["data"][0]
    for buffer in model.buffers:
        if buffer.data is not None and len(buffer.data):
            assert (buffer.data.__array_interface__["data"][0] - start) % 16 == 0
    notes = json.loads(model.description)
    assert notes["resolution"] == f"{resolution}x{resolution}" and notes["weights"] == weights
    count = sum(int(np.prod(var.shape)) for var in net.vars.values())
    assert len(content) < {"float32": 4.8, "int8": 2}[weights] * count


def test_failures_leave_nothing(tmp_path, monkeypatch):
    """What LiteRT has no operator for; operators of TensorFlow; other numbers; a full disk; Ctrl-C."""

    class WithDeterminant(litert_file.Program):
        def _computed(self, inputs):
            return tf.linalg.det(super()._computed(inputs))

    parsed = litert_model.parsed

    def with_flex(content):
        model = parsed(content)
        model.operatorCodes[0].customCode = b"FlexErf"
        return model

    def with_zeros(content):
        model = parsed(content)
        largest = max((buffer for buffer in model.buffers if buffer.data is not None), key=lambda x: len(x.data))
        largest.data = np.zeros_like(largest.data)
        return model

    def full(_model):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def interrupted(_model):
        raise KeyboardInterrupt

    net = build()
    cases = [
        (litert_file, "Program", WithDeterminant, UserError, "g.tflite: is not written: Gs: LiteRT's converter fails"),
        (litert_model, "parsed", with_flex, UserError, "the model has operators that are not everywhere: "),
        (litert_model, "parsed", with_zeros, UserError, "g.tflite: was written, read again, and is not the same: Gs: "),
        (litert_model, "content_of", full, UserError, "g.tflite: cannot be written: No space left on device"),
        (litert_model, "content_of", interrupted, KeyboardInterrupt, ""),
    ]
    for module, name, value, error, message in cases:
        with monkeypatch.context() as patch, pytest.raises(error) as raised:
            patch.setattr(module, name, value)
            convert(net, tmp_path / "g.tflite", noise_mode="none")
        assert message in str(raised.value)
        assert not list(tmp_path.iterdir())


def test_nothing_is_said(tmp_path, capfd):
    """By TensorFlow and LiteRT."""
    net = build()
    convert(net, tmp_path / "a.tflite")  # the first one tells of our own ops
    capfd.readouterr()
    convert(net, tmp_path / "b.tflite", weights="float16")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"entry": "mapping", "weights": "int8"}, "--weights=int8: with --entry=mapping nothing is int8"),
        ({"entry": "mapping", "image": "uint8-nhwc"}, "--image: with --entry=mapping there is no image"),
    ],
)
def test_wrong_options(tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        convert(None, tmp_path / "g.tflite", **options)


@pytest.mark.slow
def test_1024(tmp_path):
    check_1024(tmp_path / "g.tflite")
