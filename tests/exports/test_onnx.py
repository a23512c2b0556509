"""ONNX files: run by onnxruntime, compared with the networks that they were made of, and looked into."""

import errno
import logging
import os
import sys

import golden
import numpy as np
import pytest
from tiny_generators import (
    G2,
    NETWORKS,
    REVISED,
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
from dnnlib.formats.program_options import DEFAULT, OPSETS, ProgramOptions
from dnnlib.tflib.checkpoints import network_files
from dnnlib.tflib.checkpoints.converter import networks_of
from dnnlib.tflib.exports import onnx_file
from dnnlib.tflib.exports.comparing import exact_kwargs
from dnnlib.tflib.exports.programs import Program
from dnnlib.tflib.tfutil import convert_images_to_uint8

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("tf2onnx")
pytestmark = pytest.mark.exports


def session_of(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def run(session, **inputs):
    inputs = {name: np.asarray(value, np.float32) for name, value in inputs.items()}
    return session.run(None, inputs)[0]


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(tmp_path, name):
    net = build(**NETWORKS[name])
    convert(net, tmp_path / "g.onnx")
    session = session_of(tmp_path / "g.onnx")
    check_minibatches(net, lambda **inputs: run(session, **inputs))


@pytest.mark.parametrize("opset", OPSETS)
def test_opsets(tmp_path, opset):
    """The declared one is that of the operators: the checker knows what each opset has."""
    convert(build(), tmp_path / "g.onnx", opset=opset, image="uint8-nhwc")
    model = onnx.load(tmp_path / "g.onnx")
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", opset)]
    assert not {node.domain for node in model.graph.node} - {""} and not model.functions
    assert not {"If", "Loop", "Scan"} & {node.op_type for node in model.graph.node}
    onnx.checker.check_model(model, full_check=True)


def test_entries_and_labels(tmp_path):
    """W of the mapping makes the same image as z; labels go in as they are, those of StyleGAN2-ADA, too."""
    for name, kwargs in (("g2", {}), ("ada", {"func_name": "training.networks.G_main"})):
        net = build(**kwargs, label_size=3)
        folder = tmp_path / name
        folder.mkdir()
        sessions = {}
        for entry in ("z", "w", "mapping"):
            convert(net, folder / f"{entry}.onnx", entry=entry)
            sessions[entry] = session_of(folder / f"{entry}.onnx")
        assert [value.name for value in sessions["mapping"].get_inputs()] == ["z", "label", "psi", "cutoff"]
        assert [value.name for value in sessions["w"].get_inputs()] == ["w"]
        given = {"z": latents(5, net), "label": np.random.RandomState(1).rand(5, 3), "psi": 0.6, "cutoff": 2}
        image, w = (run(sessions[entry], **given) for entry in ("z", "mapping"))
        assert w.shape == (5, *net.components.synthesis.input_shape[1:])
        golden.close(run(sessions["w"], w=w), image, 1e-5)
        golden.close(image, images_of(net, given["z"], given["label"], 0.6, 2), 1e-4)
        assert not np.allclose(run(sessions["z"], **{**given, "label": np.zeros([5, 3])}), image, atol=1e-3)


@pytest.mark.parametrize("kwargs", [{}, {**REVISED, "structure": "recursive"}], ids=["skip", "growing"])
def test_noise(tmp_path, kwargs):
    net = build(**kwargs)
    if kwargs:
        net.set_var("lod", 1.0)  # of which the last layers' noise is no part
    noises = [var.shape for name, var in net.components.synthesis.vars.items() if name.startswith("noise")]
    convert(net, tmp_path / "const.onnx")
    convert(net, tmp_path / "none.onnx", noise_mode="none")
    convert(net, tmp_path / "inputs.onnx", noise_mode="inputs")
    sizes = [noise[2:] for noise in noises]
    for name in ("none", "inputs"):  # which have no images of noise in them
        arrays = onnx.load(tmp_path / f"{name}.onnx").graph.initializer
        assert not [array.name for array in arrays if list(array.dims[1:3]) in sizes and 1 in array.dims[3:]]

    z = latents(4, net)
    none, inputs = (session_of(tmp_path / f"{name}.onnx") for name in ("none", "inputs"))
    given = {value.name: value.shape for value in inputs.get_inputs() if value.name.startswith("noise")}
    assert list(given) == [f"noise{idx}" for idx in range(len(noises))]
    assert [shape[1:] for shape in given.values()] == [[1, *size] for size in sizes]
    random = np.random.RandomState(3)
    images = []
    for num_samples in (1, 4):
        noise = [random.randn(num_samples, *shape[1:]).astype(np.float32) for shape in noises]
        images.append(run(inputs, z=z, psi=1, cutoff=0, **dict(zip(given, noise, strict=True))))
        golden.close(images[-1], images_of(net, z, noise=noise), 1e-4)
    zeros = {f"noise{idx}": np.zeros([1, *shape[1:]]) for idx, shape in enumerate(noises)}
    golden.close(run(none, z=z, psi=1, cutoff=0), run(inputs, z=z, psi=1, cutoff=0, **zeros), 1e-5)
    assert np.abs(images[0] - images[1]).max() > 1e-2


def test_uint8(tmp_path):
    """Rounded as the official images are, and clipped."""
    net = build()
    net.set_var("G_synthesis/8x8/ToRGB/weight", 9 * net.get_var("G_synthesis/8x8/ToRGB/weight"))
    (line, _) = convert(net, tmp_path / "g.onnx", image="uint8-nhwc")
    assert "of 256 pixels differ, by" in line and "(tolerance 1)" in line
    z = latents(6, net)
    image = run(session_of(tmp_path / "g.onnx"), z=z, psi=1, cutoff=9)
    expected = images_of(net, z, output_transform={"func": convert_images_to_uint8, "nchw_to_nhwc": True})
    assert image.dtype == np.uint8 and image.shape == (6, 8, 8, 3) and {0, 255} <= set(image.ravel())
    difference = np.abs(image.astype(int) - expected)
    assert difference.max() <= 1 and np.count_nonzero(difference) <= 2


def test_float16(tmp_path):
    net = build(fmap_base=512, fmap_max=64, mapping_fmaps=64)
    convert(net, tmp_path / "32.onnx")
    lines = convert(net, tmp_path / "16.onnx", weights="float16")
    assert lines[1].startswith("float16 weights: ") and lines[1].endswith(" dB from float32 (at least 45)")
    sizes = [(tmp_path / name).stat().st_size for name in ("32.onnx", "16.onnx")]
    assert 0.45 < sizes[1] / sizes[0] < 0.56
    given = {"z": latents(3, net), "psi": 0.7, "cutoff": 4}
    before, after = (run(session_of(tmp_path / name), **given) for name in ("32.onnx", "16.onnx"))
    assert after.dtype == np.float32
    rms = np.sqrt(np.mean(np.square(before - after)))
    assert rms > 0 and 20 * np.log10(2 / rms) > 45


def test_float16_that_is_too_far_is_refused(tmp_path):
    net = too_fine_for_float16()
    convert(net, tmp_path / "a.onnx", entry="mapping")
    with pytest.raises(UserError, match=r"float16 weights: .* dB from float32 \(at least 45\)"):
        convert(net, tmp_path / "b.onnx", entry="mapping", weights="float16")
    assert os.listdir(tmp_path) == ["a.onnx"]


def test_names_and_notes(tmp_path):
    net = build(truncation_psi=0.6, label_size=3)
    convert(net, tmp_path / "g.onnx", opset=16)
    session = session_of(tmp_path / "g.onnx")
    inputs = {value.name: value.shape for value in session.get_inputs()}
    assert inputs == {"z": ["N", 6], "label": ["N", 3], "psi": [], "cutoff": []}
    assert {value.name: value.shape for value in session.get_outputs()} == {"image": ["N", 3, 8, 8]}
    notes = session.get_modelmeta().custom_metadata_map
    assert notes == {
        "name": "Gs",
        "func_name": G2,
        "latent_size": "6",
        "label_size": "3",
        "dlatent_size": "8",
        "num_layers": "4",
        "truncation_psi": "0.6",
        "truncation_cutoff": "4",
        "resolution": "8x8",
        "num_channels": "3",
        "source_format": "tensorflow",
        "entry": "z",
        "noise_mode": "const",
        "image": "float-nchw",
        "weights": "float32",
        "version": "1",
    }


OFFICIAL = sorted(path.name for path in (golden.GOLDENS / "pickles").glob("*.pkl"))
PYTORCH = sorted(path.name for path in (golden.ADA_GOLDENS / "pt_pickles").glob("*.pkl"))


QUICK = ("cfga-r32.pkl", "cfgd-r32-cond3-lod1.5.pkl", "auto-r32-cond5.pkl")


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in OFFICIAL + PYTORCH]
)
def test_files(tmp_path, name):
    """Networks of official files, of PyTorch, too; a generator at lod 1.5 among them."""
    folder = golden.GOLDENS / "pickles" if name in OFFICIAL else golden.ADA_GOLDENS / "pt_pickles"
    networks = networks_of(network_files.load_pkl(folder / name), name)
    net = networks.get("Gs") or pytest.skip("no generator")
    convert(net, tmp_path / "g.onnx")
    z, label_size = latents(2, net), net.input_shapes[1][1]
    label = np.eye(label_size)[[0, label_size - 1]] if label_size else None
    given = {"z": z, "psi": 0.7, "cutoff": 3, **({"label": label} if label_size else {})}
    image = run(session_of(tmp_path / "g.onnx"), **given)
    golden.close(image, images_of(net, z, label, 0.7, 3, **exact_kwargs(net)), 1e-4)


# ----------------------------------------------------------------------------
# What fails.


def test_failures_leave_nothing(tmp_path, monkeypatch):
    """tf2onnx that raises, and that only logs; operators of others; a full disk; other numbers; Ctrl-C."""
    import tf2onnx

    net = build()
    real, save = tf2onnx.convert.from_function, onnx.save

    def raising(*_args, **_kwargs):
        raise ValueError("no such\nthing")

    def logging_only(*args, **kwargs):
        logging.getLogger("tf2onnx.tfonnx").error("Unsupported ops: Counter")
        return real(*args, **kwargs)

    def changed(change):
        def converted(*args, **kwargs):
            model, rest = real(*args, **kwargs)
            change(model.graph)
            return model, rest

        return converted

    def of_others(graph):
        graph.node[-1].domain = "com.others"

    def twice_as_large(graph):
        graph.node[-1].output[0] = "half"
        graph.node.append(onnx.helper.make_node("Add", ["half", "half"], ["image"]))

    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def interrupted(*_args, **_kwargs):
        raise KeyboardInterrupt

    cases = [
        (raising, save, UserError, "g.onnx: is not written: Gs: tf2onnx fails: ValueError: no such thing"),
        (logging_only, save, UserError, "Gs: tf2onnx fails: Unsupported ops: Counter"),
        (changed(of_others), save, UserError, "the model has operators that are not everywhere: com.others.Add"),
        (changed(twice_as_large), save, UserError, "g.onnx: was written, read again, and is not the same: Gs: image"),
        (real, full, UserError, "g.onnx: cannot be written: No space left on device"),
        (interrupted, save, KeyboardInterrupt, ""),
    ]
    for convert_by, save_by, error, message in cases:
        monkeypatch.setattr(tf2onnx.convert, "from_function", convert_by)
        monkeypatch.setattr(onnx, "save", save_by)
        with pytest.raises(error) as raised:
            convert(net, tmp_path / "g.onnx")
        assert message in str(raised.value)
        assert not os.listdir(tmp_path)


def test_a_package_that_cannot_be_imported(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "tf2onnx")
    (tmp_path / "tf2onnx.py").write_text("import ml_dtypes\nml_dtypes.float3")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"g.onnx: is not written: Gs: tf2onnx cannot be imported: .*'float3'; is its"):
        convert(build(), tmp_path / "g.onnx")
    assert not (tmp_path / "g.onnx").exists()


@pytest.mark.parametrize(("cutoff", "noted"), [(None, 4), (2.5, 3), (-1, 0), (1e9, 4)])
def test_the_cutoff_that_is_noted_is_one_of_layers(cutoff, noted):
    assert Program(build(truncation_cutoff=cutoff), DEFAULT).notes()["truncation_cutoff"] == str(noted)


def test_nothing_is_said(tmp_path, capfd):
    """By TensorFlow, tf2onnx and onnxruntime."""
    net = build()
    convert(net, tmp_path / "a.onnx")  # the first one tells of our own ops
    capfd.readouterr()
    convert(net, tmp_path / "b.onnx", weights="float16")
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_1024(tmp_path):
    check_1024(tmp_path / "g.onnx")


def test_first_maps_that_are_nearly_constant(tmp_path):
    net = nearly_constant()
    lines = onnx_file.write(net, ProgramOptions(entry="w"), str(tmp_path / "g.onnx"))
    assert "differs" in lines[0]
