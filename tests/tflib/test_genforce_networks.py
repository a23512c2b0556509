"""State dicts of genforce's projects, and of networks in parallel; made of the tensors of `torch_reference`."""

import io

import golden
import numpy as np
import pytest
import torch_reference as reference
import weight_writers as writers

from dnnlib.tflib.checkpoints import network_files

CHANNELS = {4: 12, 8: 12, 16: 6}


def read(content):
    return network_files.read(io.BytesIO(writers.pth_zip(content)), "file.pth")


def problem_of(content):
    with pytest.raises(network_files.NetworkFileError) as error:
        read(content)
    return str(error.value)


def generator(p, average):
    """Names of layers, shapes, and no 1 in biases of styles; kernels after upsampling run the other way."""
    layers = {"conv1": "layer0", "to_rgb1": "output0"}
    for idx in range(len(CHANNELS) - 1):
        layers |= {f"convs.{2 * idx}": f"layer{2 * idx + 1}", f"convs.{2 * idx + 1}": f"layer{2 * idx + 2}"}
        layers[f"to_rgbs.{idx}"] = f"output{idx + 1}"
    t = {"truncation.w_avg": average, "synthesis.early_layer.const": p["input.input"]}
    for idx in range(1, 4):
        t |= {f"mapping.dense{idx - 1}.{leaf}": p[f"style.{idx}.{leaf}"] for leaf in ("weight", "bias")}
    for theirs, layer in layers.items():
        path, weight = f"synthesis.{layer}", p[f"{theirs}.conv.weight"][0]
        is_up = f"{theirs}.conv.blur.kernel" in p
        t[f"{path}.weight"] = np.ascontiguousarray(weight[:, :, ::-1, ::-1]) if is_up else weight
        t[f"{path}.style.weight"] = p[f"{theirs}.conv.modulation.weight"]
        t[f"{path}.style.bias"] = p[f"{theirs}.conv.modulation.bias"] - 1
        if "output" in layer:
            t[f"{path}.bias"] = p[f"{theirs}.bias"].reshape(-1)
            continue
        t[f"{path}.bias"] = p[f"{theirs}.activate.bias"]
        t[f"{path}.noise_strength"] = p[f"{theirs}.noise.weight"].reshape(())
        t[f"{path}.noise"] = p[f"noises.noise_{layer.removeprefix('layer')}"]
        if is_up:
            t[f"{path}.filter.kernel"] = p[f"{theirs}.conv.blur.kernel"][np.newaxis, np.newaxis]
    return t


def discriminator(p):
    last = len(CHANNELS) - 1
    t = {"input0.weight": p["convs.0.0.weight"], "input0.bias": p["convs.0.1.bias"]}
    for idx in range(last):
        t |= {f"layer{2 * idx}.{x}": p[f"convs.{idx + 1}.conv1.{n}.{x}"] for n, x in ((0, "weight"), (1, "bias"))}
        t |= {f"layer{2 * idx + 1}.{x}": p[f"convs.{idx + 1}.conv2.{n}.{x}"] for n, x in ((1, "weight"), (2, "bias"))}
        t[f"skip_layer{idx}.weight"] = p[f"convs.{idx + 1}.skip.1.weight"]
        t[f"skip_layer{idx}.filter.kernel"] = p[f"convs.{idx + 1}.skip.0.kernel"][np.newaxis, np.newaxis]
    t |= {f"layer{2 * last}.weight": p["final_conv.0.weight"], f"layer{2 * last}.bias": p["final_conv.1.bias"]}
    for idx in range(2):
        t |= {f"layer{2 * last + 1 + idx}.{leaf}": p[f"final_linear.{idx}.{leaf}"] for leaf in ("weight", "bias")}
    return t


@pytest.fixture(scope="module")
def made():
    g, d = reference.generator_tensors(CHANNELS), reference.discriminator_tensors(CHANNELS)
    average = golden.rnd(3, 8)
    return {"g": g, "d": d, "average": average, "G": generator(g, average), "D": discriminator(d)}


def images_of(net, z, **kwargs):
    return net.run(z, None, randomize_noise=False, **kwargs)


def test_images_and_scores(made):
    G, D, Gs = read({"generator": made["G"], "discriminator": made["D"], "generator_smooth": made["G"]})
    z, x = golden.rnd(1, 4, 8), golden.rnd(2, 4, 3, 16, 16)
    w = reference.mapping(made["g"], z.astype(np.float64))
    golden.close(images_of(Gs, z), reference.generate(made["g"], w), 1e-5)
    average = made["average"]
    golden.close(
        images_of(Gs, z, truncation_psi=0.6), reference.generate(made["g"], average + 0.6 * (w - average)), 1e-5
    )
    golden.close(D.run(x, None), reference.discriminate(made["d"], x), 1e-5)
    assert {net.source_format for net in (G, D, Gs)} == {"pytorch"}
    assert G.static_kwargs["resample_kernel"] == [1, 3, 3, 1]


def test_parts_and_prefixes(made):
    """One state dict; a training's file; and all names with the prefix of torch.nn.DataParallel, once or twice."""

    def parallel(tensors, times=1):
        return {"module." * times + name: tensor for name, tensor in tensors.items()}

    names = lambda nets: [net and net.name for net in nets]  # noqa: E731
    assert names(read(made["G"])) == [None, None, "Gs"] and names(read(made["D"])) == [None, "D", None]
    assert names(read({"models": {"generator": made["G"]}, "runner": 1})) == ["G", None, "G"]
    z = golden.rnd(1, 2, 8)
    rosinality = {"g_ema": parallel(made["g"], 2), "latent_avg": made["average"]}
    for content in (parallel(made["G"]), {"generator_smooth": parallel(made["G"])}, rosinality, parallel(made["g"])):
        Gs = read(content)[2]
        golden.close(images_of(Gs, z), reference.generate(made["g"], reference.mapping(made["g"], z)), 1e-5)
    x = golden.rnd(2, 4, 3, 16, 16)
    for content in (parallel(made["d"]), {"d": parallel(made["d"])}, parallel(made["D"])):
        golden.close(read(content)[1].run(x, None), reference.discriminate(made["d"], x), 1e-5)


def test_labels_and_architectures(made):
    """A label is a row that is joined with Z; without outputs but the last, there are no skip connections."""
    labels = golden.rnd(5, 3, 8)
    joined = np.concatenate([made["G"]["mapping.dense0.weight"]] * 2, axis=1)
    G = read({**made["G"], "mapping.label_weight": labels, "mapping.dense0.weight": joined})[2]
    np.testing.assert_array_equal(G.get_var("G_mapping/LabelConcat/weight"), labels)
    assert G.input_shapes == [[None, 8], [None, 3]]
    plain = {
        name: x for name, x in made["G"].items() if not name.startswith(("synthesis.output0", "synthesis.output1"))
    }
    assert read(plain)[2].static_kwargs["architecture"] == "orig"
    assert (
        read({name: x for name, x in made["D"].items() if "skip" not in name})[1].static_kwargs["architecture"]
        == "orig"
    )


def test_what_does_not_fit_is_named(made):
    wide = {**made["G"], "synthesis.early_layer.const": np.zeros([1, 12, 4, 6], np.float32)}
    assert "generator: of a fork, for images that are not square: it begins with 4x6" in problem_of({"generator": wide})
    five = {**made["g"], "input.input": np.zeros([1, 12, 5, 5], np.float32)}
    assert "for images of other sizes: it begins with 5x5" in problem_of({"g_ema": five})
    rest = {name: x for name, x in made["G"].items() if name != "synthesis.layer1.noise"}
    assert "synthesis.layer1.noise: missing, the network needs shape [1, 1, 8, 8]" in problem_of(rest)
    assert "extra: not part of the network" in problem_of({**made["D"], "extra": np.zeros(3, np.float32)})
    for name in ("truncation.w_avg", "mapping.dense0.weight"):
        assert "expected" in problem_of({key: x for key, x in made["G"].items() if key != name})
    many = {**made["D"], "layer99999.weight": np.zeros(1, np.float32)}
    assert "expected 0 to 30" in problem_of(many)
