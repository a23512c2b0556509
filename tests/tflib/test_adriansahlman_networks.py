"""Files of adriansahlman/stylegan2_pytorch; made of the tensors of `torch_reference`, by the names that project has."""

import io

import golden
import numpy as np
import pytest
import torch_reference as reference
import weight_writers as writers

from dnnlib.tflib.checkpoints import network_files

CHANNELS = {4: 12, 8: 12, 16: 6}
FILTER = np.outer([1, 3, 3, 1], [1, 3, 3, 1]).astype(np.float32)[np.newaxis, np.newaxis] / 64


def read(content):
    return network_files.read(io.BytesIO(writers.pth_zip(content)), "file.pth")


def problem_of(content):
    with pytest.raises(network_files.NetworkFileError) as error:
        read(content)
    return str(error.value)


def described(name, tensors, parts=(), **kwargs):
    return {"name": name, "kwargs": kwargs, "state_dict": tensors, **dict(parts)}


def generator(p, average):
    """Blocks of layers in wrappers: bias, noise, convolution. Kernels after upsampling run as in rosinality's."""
    mapping = {}
    for idx in range(3):
        mapping[f"main.{idx}.layer.weight"] = p[f"style.{idx + 1}.weight"]
        mapping[f"main.{idx}.bias"] = p[f"style.{idx + 1}.bias"]
    synthesis = {"const": p["input.input"][0], "upsample.filter.filter_kernel": FILTER * 4}
    synthesis["upsample.weight"] = np.ones([1, 1, 1, 1], np.float32)
    layers = {"conv1": "conv_blocks.0.conv_block.0", "to_rgb1": "to_data_layers.0"}
    for idx in range(len(CHANNELS) - 1):
        layers |= {f"convs.{2 * idx + layer}": f"conv_blocks.{idx + 1}.conv_block.{layer}" for layer in (0, 1)}
        layers[f"to_rgbs.{idx}"] = f"to_data_layers.{idx + 1}"
    for theirs, layer in layers.items():
        is_rgb = "to_data" in layer
        inner = f"{layer}.layer" if is_rgb else f"{layer}.layer.layer"
        synthesis[f"{inner}.weight"] = p[f"{theirs}.conv.weight"][0]
        synthesis[f"{inner}.dense.layer.weight"] = p[f"{theirs}.conv.modulation.weight"]
        synthesis[f"{inner}.dense.bias"] = p[f"{theirs}.conv.modulation.bias"]
        synthesis[f"{layer}.bias"] = p[f"{theirs}.bias" if is_rgb else f"{theirs}.activate.bias"].reshape(-1)
        if not is_rgb:
            synthesis[f"{layer}.layer.weight"] = p[f"{theirs}.noise.weight"]
        if f"{theirs}.conv.blur.kernel" in p:
            synthesis[f"{inner}.filter.filter_kernel"] = FILTER * 4
    parts = {
        "G_mapping": described("GeneratorMapping", mapping, latent_size=8, hidden=8, activation="leaky:0.2"),
        "G_synthesis": described("GeneratorSynthesis", synthesis, skip=True, resnet=False, channels=[6, 12, 12]),
    }
    return described("Generator", {"dlatent_avg": average}, parts, dlatent_avg_beta=0.995)


def discriminator(p):
    last = len(CHANNELS) - 1
    t = {"from_data_layers.0.layer.weight": p["convs.0.0.weight"], "from_data_layers.0.bias": p["convs.0.1.bias"]}
    for idx in range(last):
        block, theirs = f"conv_blocks.{idx}", f"convs.{idx + 1}"
        t[f"{block}.conv_block.0.layer.weight"] = p[f"{theirs}.conv1.0.weight"]
        t[f"{block}.conv_block.0.bias"] = p[f"{theirs}.conv1.1.bias"]
        t[f"{block}.conv_block.1.layer.weight"] = p[f"{theirs}.conv2.1.weight"]
        t[f"{block}.conv_block.1.layer.filter.filter_kernel"] = FILTER
        t[f"{block}.conv_block.1.bias"] = p[f"{theirs}.conv2.2.bias"]
        t[f"{block}.projection.weight"] = p[f"{theirs}.skip.1.weight"]
        t[f"{block}.projection.filter.filter_kernel"] = FILTER
    t[f"conv_blocks.{last}.1.conv_block.0.layer.weight"] = p["final_conv.0.weight"]
    t[f"conv_blocks.{last}.1.conv_block.0.bias"] = p["final_conv.1.bias"]
    for idx in range(2):
        t[f"dense.{idx}.layer.weight"] = p[f"final_linear.{idx}.weight"]
        t[f"dense.{idx}.bias"] = p[f"final_linear.{idx}.bias"]
    return described("Discriminator", t, resnet=True, skip=False, mbstd_group_size=4)


@pytest.fixture(scope="module")
def made():
    g, d = reference.generator_tensors(CHANNELS), reference.discriminator_tensors(CHANNELS)
    average = golden.rnd(3, 8)
    return {"g": g, "d": d, "average": average, "G": generator(g, average), "D": discriminator(d)}


def without(content, part, **kwargs):
    """A generator with other arguments of a part."""
    return {**content, part: {**content[part], "kwargs": {**content[part]["kwargs"], **kwargs}}}


def test_images(made):
    """But for noise images, which files have not: ours take the place of those of the reference."""
    nets = read(made["G"])
    Gs = nets[2]
    assert [net and net.name for net in nets] == [None, None, "Gs"] and Gs.source_format == "pytorch"
    z = golden.rnd(1, 2, 8)
    w = reference.mapping(made["g"], z.astype(np.float64))
    noise = {f"noises.noise_{idx}": Gs.get_var(f"G_synthesis/noise{idx}") for idx in range(5)}
    assert all(abs(np.std(image) - 1) < 0.5 for image in noise.values())
    expected = reference.generate(made["g"] | noise, made["average"] + 0.6 * (w - made["average"]))
    golden.close(Gs.run(z, None, randomize_noise=False, truncation_psi=0.6), expected, 1e-5)
    assert Gs.static_kwargs["truncation_psi"] == 1 and Gs.static_kwargs["resample_kernel"] == [1, 3, 3, 1]


def test_scores(made, capsys):
    x = golden.rnd(2, 4, 3, 16, 16)
    D = read(made["D"])[1]
    golden.close(D.run(x, None), reference.discriminate(made["d"], x), 1e-5)
    assert "untrained" not in capsys.readouterr().err
    tensors = made["D"]["state_dict"]
    blank = {f"dense.{idx}.bias": np.zeros_like(tensors[f"dense.{idx}.bias"]) for idx in range(2)}
    read({**made["D"], "state_dict": tensors | blank})
    assert "D: its last two layers are untrained, as this project's converter leaves them" in capsys.readouterr().err


def test_labels_and_halves(made):
    """A label is a row that is joined with Z; files may be in 16 bit, and hold a truncation that is not loaded."""
    mapping = made["G"]["G_mapping"]["state_dict"]
    joined = np.concatenate([mapping["main.0.layer.weight"]] * 2, axis=1)
    labels = golden.rnd(5, 3, 8)
    tensors = {**mapping, "main.0.layer.weight": joined, "embedding.weight": labels}
    psi = {"dlatent_avg": made["average"].astype(np.float16), "layer_psi": np.full([1, 6, 1], 0.5, np.float16)}
    part = {**made["G"]["G_mapping"], "state_dict": tensors}
    G = read({**made["G"], "G_mapping": part, "state_dict": psi})[2]
    np.testing.assert_array_equal(G.get_var("G_mapping/LabelConcat/weight"), labels)
    assert G.input_shapes == [[None, 8], [None, 3]] and G.static_kwargs["truncation_psi"] == 1
    np.testing.assert_array_equal(G.get_var("dlatent_avg"), psi["dlatent_avg"].astype(np.float32))


def test_what_computes_something_else_is_named(made):
    G = made["G"]
    assert "it is residual (resnet)" in problem_of(without(G, "G_synthesis", resnet=True, skip=False))
    problem = problem_of(without(G, "G_synthesis", noise=False, kernel_size=5, conv_filter=np.ones(4, np.float32)))
    assert "noise=False (only True can be read), kernel_size=5 (only 3 can be read)" in problem
    assert "its activation is 'lrelu', expected lrelu:0.2" in problem_of(without(G, "G_mapping", activation="lrelu"))
    assert "groups of 1 samples" in problem_of({**made["D"], "kwargs": {"mbstd_group_size": 1}})
    assert "G_synthesis is not there" in problem_of({k: x for k, x in G.items() if k != "G_synthesis"})
    fewer = {key: x for key, x in G["G_mapping"]["state_dict"].items() if key != "main.1.bias"}
    problem = problem_of({**G, "G_mapping": {**G["G_mapping"], "state_dict": fewer}})
    assert "mapping.main.1.bias: missing, the network needs shape [8]" in problem
    part = problem_of(G["G_mapping"])
    assert "'GeneratorMapping' of adriansahlman/stylegan2_pytorch; expected a Generator or a Discriminator" in part
    assert "file holds ['x'] of adriansahlman" in problem_of({**G, "name": ["x"]})
    odd = without(G, "G_synthesis", **{"eps": [np.ones(3, np.float32)], "base_shape": (4, 2), "lr_mul": "\x1b[1m"})
    assert problem_of(odd).isprintable()
