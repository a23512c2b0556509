"""Our pickles of TensorFlow as NVIDIA's PyTorch repositories open them, in PyTorch."""

import io

import golden
import numpy as np
import nvidia_legacy
import pytest
import training_commands

from dnnlib.tflib import Network, network_state
from dnnlib.tflib.checkpoints import converter, network_files

NAMES = golden.read_index(golden.ADA_GOLDENS / "names" / "tf_to_torch.json")
ADA, PYTORCH = golden.ADA_GOLDENS / "tf_pickles", golden.ADA_GOLDENS / "pt_pickles"
OFFICIAL = {path.stem: path for path in (*ADA.glob("*.pkl"), *(golden.GOLDENS / "pickles").glob("cfg[ef]*.pkl"))}
OFFICIAL.pop("cfgf-r32-cond5")  # labels of StyleGAN2 are not known there
TINY = {"num_channels": 3, "resolution": 16, "fmap_base": 32, "fmap_max": 6}
TINY_G = {"latent_size": 6, "dlatent_size": 6, "mapping_fmaps": 6}


@pytest.mark.parametrize("case", NAMES)
def test_the_reader_does_what_the_official_one_does(case):
    """Arguments and names that the official one was seen to make of an official pickle."""
    if case not in OFFICIAL:
        pytest.skip("the pickle is not here")
    with open(OFFICIAL[case], "rb") as file:
        G, D, _ = nvidia_legacy.opened(file)
    for net, role, class_name in ((G, "G", "Generator"), (D, "D", "Discriminator")):
        assert nvidia_legacy.constructor(net, class_name) == NAMES[case]["torch_init_kwargs"][role]
        of_role = nvidia_legacy.generators_variable if role == "G" else nvidia_legacy.discriminators_variable
        for name, (variable, change) in NAMES[case]["tables"][role].items():
            local, function = of_role(name)
            assert (
                local.replace("mapping/", "G_mapping/").replace("synthesis/", "G_synthesis/") == variable or role == "D"
            )
            assert role == "G" or local == variable
            size = 1 if ".skip." in name else 2  # of kernels
            v = golden.rnd(1, *((size, size, 3, 4) if "]" in change or "3, 2" in change else (2, 3)))
            expected = eval(change.removeprefix("transpose: t = ").replace("identity", "v"), {"v": v})
            np.testing.assert_array_equal(function(v), expected)


def nets_in_pytorch(data):
    """The networks of a pickle as its PyTorch readers make them."""
    torch = pytest.importorskip("torch")
    import nvidia_reference

    nets = [nvidia_reference.built(*found) for found in nvidia_legacy.read(io.BytesIO(data))]

    def called(net):
        def call(*inputs, **options):
            return net(*(None if x is None else torch.as_tensor(x) for x in inputs), **options).numpy()

        return call

    return [called(net) for net in nets]


def pickled(nets):
    stream = io.BytesIO()
    network_files.pickle_writer.dump(tuple(nets), stream)
    return stream.getvalue()


@pytest.mark.torch
@pytest.mark.parametrize("ours", [False, True], ids=["theirs", "ours"])
@pytest.mark.parametrize("case", OFFICIAL)
def test_official_numbers(case, ours):
    """Of the official pickle, by which the reader is right, and of what we write of it."""
    data = OFFICIAL[case].read_bytes()
    if ours:
        data = pickled(network_files.read(io.BytesIO(data), case))
    G, D, Gs = nets_in_pytorch(data)
    with np.load(OFFICIAL[case].with_suffix(".npz")) as npz:
        official = dict(npz)
    z, labels = official["z"], official.get("labels")
    images = {"Gs_img_default": (Gs, {"truncation_psi": 0.5}), "Gs_img_psi1": (Gs, {}), "G_img_psi1": (G, {})}
    images["Gs_img_psi0.7_cut4"] = Gs, {"truncation_psi": 0.7, "truncation_cutoff": 4}
    compared = official.keys() & images.keys()
    for key in compared:
        net, options = images[key]
        golden.close(net(z, labels, **options), official[key], 1e-5)
    assert compared
    if "D_scores_x" in official:
        x = golden.rnd(int(official["D_x_seed"]), *official["D_scores_x"].shape[:1], *images_shape(case))
        officially = NAMES.get(case, {"measured": {}})["measured"].get("D_scores_x", 0)  # where FromRGB is not clamped
        golden.close(D(x, official.get("D_labels")), official["D_scores_x"], max(1e-5, 1.01 * officially))
    else:
        golden.close(D(official["G_img_psi1"], labels), official["D_scores_on_G_img_psi1"], 1e-5)


def images_shape(case):
    _, D, _ = network_files.load_pkl(OFFICIAL[case])
    return D.input_shape[1:]


TRAININGS = [("config-e", "fp32", 0), ("config-f", "fp16", 0), ("paper512", "fp16", 0), ("paper256", "fp32", 3)]
TRAININGS += [("cifar", "fp16", 3), ("config-e-Gskip-Dskip", "fp32", 0)]


@pytest.mark.torch
@pytest.mark.parametrize(("config", "precision", "labels"), TRAININGS)
def test_networks_of_trainings(config, precision, labels, folder):
    kwargs = training_commands.kwargs_of(f"--config={config}", f"--precision={precision}")
    nets = []
    for role in "GDG":
        sizes = TINY_G if role == "G" else {}
        net = Network(role, **{**kwargs[f"{role}_args"], **TINY, **sizes, "label_size": labels})
        golden.set_variables(net.vars, f"{role}{len(nets)}")
        nets.append(net)
    check_same(nets, labels)


@pytest.mark.torch
@pytest.mark.parametrize("case", [path.stem for path in PYTORCH.glob("*.pkl")])
def test_networks_of_pytorch(case):
    """There and back: an official pickle of PyTorch as one of TensorFlow."""
    nets = network_files.load_pkl(PYTORCH / f"{case}.pkl")
    check_same(nets, nets[0].input_shapes[1][1])


def check_same(nets, label_size):
    in_pytorch = nets_in_pytorch(pickled(nets))
    labels = np.eye(label_size, dtype=np.float32)[np.arange(4) % label_size] if label_size else None
    for net, call in zip(nets, in_pytorch, strict=True):
        inputs, exact = golden.rnd(1, 4, *net.input_shapes[0][1:]), net.model.float32_kwargs()
        if "images_in" in net.input_names:
            golden.close(call(inputs, labels), net.run(inputs, labels, minibatch_size=4, **exact), 1e-5)
        else:
            ours = net.run(inputs, labels, truncation_psi=0.6, randomize_noise=False, **exact)
            golden.close(call(inputs, labels, truncation_psi=0.6), ours, 1e-5)


# ----------------------------------------------------------------------------
# What they do otherwise is said.


def notes_on(*nets):
    output = converter.Output("a.pkl", converter.PKL, ("G", "D", "Gs"))
    lines = converter.changed_conventions(dict(zip(("G", "D", "Gs"), nets, strict=False)), output)
    return [line.removeprefix("note: the PyTorch versions of StyleGAN2-ADA and StyleGAN3 ") for line in lines]


def test_what_they_do_otherwise_is_said():
    def build(func_name, **kwargs):
        sizes = {} if ".D_" in func_name else TINY_G
        return Network("net", func_name=f"training.{func_name}", **{**TINY, **sizes, **kwargs})

    G, D = build("networks.G_main"), build("networks.D_main", mbstd_group_size=4)
    assert notes_on(G, D, G) == []
    assert notes_on(G) == ["read pickles of G, D and Gs together; a single network is for .pytorch.safetensors"]
    assert nvidia_legacy.constructor(Stub(D), "Discriminator")["epilogue_kwargs"]["mbstd_group_size"] == 4
    D = build("networks_stylegan2.D_stylegan2")
    assert notes_on(G, D, G) == ["find no mbstd_group_size=4 in such a pickle, and take None"]
    assert nvidia_legacy.constructor(Stub(D), "Discriminator")["epilogue_kwargs"]["mbstd_group_size"] is None
    D = build("networks_stylegan2.D_stylegan2", label_size=2, mbstd_group_size=2)
    assert notes_on(G, D, G) == ["refuse pickles of TensorFlow with label_size=2"]
    D = build("networks.D_main", resolution=24)
    assert notes_on(G, D, G) == ["refuse pickles of TensorFlow with resolution=24"]
    D = build("networks.D_main", label_size=2)
    for latent_size, notes in ((6, []), (5, ["find no label_fmaps=5 in such a pickle, and take None"])):
        G = build("networks.G_main", label_size=2, latent_size=latent_size)
        assert notes_on(G, D, G) == notes


class Stub:
    """A network as its pickle is read."""

    def __init__(self, net):
        vars(self).update(network_state.to_dict(net))
