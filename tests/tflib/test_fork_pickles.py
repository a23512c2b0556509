"""Pickles of forks of the official code: what changes nothing is left out, the rest is named."""

import copy
import io

import golden
import numpy as np
import pytest
import weight_writers as files

from dnnlib.tflib import Network
from dnnlib.tflib.checkpoints import network_files

SIZES = {"resolution": 16, "num_channels": 3, "fmap_base": 32, "fmap_max": 4}
G_SIZES = {**SIZES, "latent_size": 6, "dlatent_size": 8, "mapping_fmaps": 8, "mapping_layers": 2}
FUNCTIONS = {
    "training.networks_stylegan2": ("G_main", "D_stylegan2"),
    "training.networks": ("G_main", "D_main"),
    "training.networks_stylegan": ("G_style", "D_basic"),
}
FORKS = {
    "skyflynil, pbaylies, justinpinkney": {"min_h": 4, "min_w": 4, "res_log2": 2},
    "aydao, shawwn": {"resolution_h": 16, "resolution_w": 16, "use_attention": False},
    "eps696": {"init_res": [4, 4], "size": None, "scale_type": None, "verbose": False, "impl": "cuda"},
    "mit-han-lab": {"impl": "ref", "avg_pooling": False},
    "several": {"impl": "cuda", "min_h": 4, "resolution_w": 16, "init_res": [4, 4], "size": [16, 16]},
    "NumPy": {
        **{"min_h": np.int64(4), "res_log2": np.float32(2), "init_res": np.array([4, 4])},
        **{"size": (np.int32(16), np.int32(16)), "verbose": np.bool_(True)},
    },
}


@pytest.fixture(scope="module")
def nets():
    made = {}
    for module, (G, D) in FUNCTIONS.items():
        sizes = {key: G_SIZES[key] for key in G_SIZES if "stylegan2" in module or key != "mapping_layers"}
        made[module] = (
            Network("G", func_name=f"{module}.{G}", **sizes),
            Network("D", func_name=f"{module}.{D}", **SIZES),
            Network("Gs", func_name=f"{module}.{G}", **sizes),
        )
        for net in made[module]:
            golden.set_variables(net.vars, net.name)
    return made


def raw(net, kwargs=(), variables=(), **changes):
    """A network as a fork pickles it: with arguments and variables of its own, in the components, too."""
    state = copy.copy(net.__getstate__())
    state["static_kwargs"] = {**state["static_kwargs"], **dict(kwargs)}
    state["variables"] = [*state["variables"], *variables]
    parts = state["components"].items()
    state["components"] = {key: raw(part, kwargs, variables, **changes) for key, part in parts}
    return files.Instance(files.Name("dnnlib.tflib.network", "Network"), {**state, **changes})


def read(content, protocol=4):
    return network_files.read(io.BytesIO(files.dumps(content, protocol)), "fork.pkl")


def outputs(net):
    x = golden.rnd(1, 2, *net.input_shape[1:])
    return net.run(x, None, **({} if net.name == "D" else {"randomize_noise": False, "truncation_psi": 0.7}))


CASES = [("training.networks_stylegan2", fork) for fork in FORKS]
CASES += [(module, "several") for module in FUNCTIONS if module != "training.networks_stylegan2"]


@pytest.mark.parametrize(("module", "fork"), CASES)
def test_what_changes_nothing_is_left_out(module, fork, nets, capsys):
    plain, protocol = read(tuple(map(raw, nets[module]))), 2 if fork == "NumPy" else 4
    assert "left out" not in capsys.readouterr().err
    forked = read(tuple(raw(net, FORKS[fork]) for net in nets[module]), protocol)
    said = capsys.readouterr().err
    assert said.count("left out") == 1 and "fork.pkl: of a fork of the official code; left out" in said
    assert all(f" {name}=" in said for name in FORKS[fork])
    for net, of in zip(forked, plain, strict=True):
        same_network(net, of)
        if fork == "several":
            np.testing.assert_array_equal(outputs(net), outputs(of))
        # What is written again is an official pickle.
        state = net.__getstate__()
        for part in (state, *(part.__getstate__() for part in state["components"].values())):
            assert not FORKS[fork].keys() & part["static_kwargs"].keys()
            assert f"from {module} import" in part["build_module_src"]
        same_network(read(raw(net)), of)
    assert "left out" not in capsys.readouterr().err


def same_network(net, of):
    assert net.build_kwargs == of.build_kwargs and type(net.model) is type(of.model) and list(net.vars) == list(of.vars)
    for name in of.vars:
        np.testing.assert_array_equal(net.get_var(name), of.get_var(name))


def test_counters_of_training_are_left_out(nets, capsys):
    """dvschultz: of other networks, these are variables that do not belong there."""
    extra = [("epochs", np.float32(0)), ("epochs_1", np.float32(12.5)), ("epochs_2", 0.0)]
    content = [raw(net, variables=extra) for net in nets["training.networks"]]
    for net, of in zip(read(content), nets["training.networks"], strict=True):
        same_network(net, read(raw(of)))
    assert "variable epochs, variable epochs_1, variable epochs_2\n" in capsys.readouterr().err
    with pytest.raises(network_files.NetworkFileError, match="epochs: not part of the network"):
        read(raw(nets["training.networks"][1], variables=[("epochs", np.zeros(3, np.float32))]))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (
            {"min_h": 6, "min_w": 4},
            r"not square: min_h=6, min_w=4; 4x4/Const/const has shape .1, 4, 4, 4., expected .1,",
        ),
        ({"init_res": [5, 3], "impl": "cuda"}, r"not square: init_res=\[5, 3\]; 4x4/Const/const has shape"),
        ({"res_log2": 3, "resolution_w": 32}, "not square: res_log2=3, resolution_w=32; expected res_log2=2 in"),
        ({"res_log2": 1e308, "min_w": "4"}, "not square: min_w='4', res_log2=1e[+]308; expected height and width"),
        ({"init_res": [64, 64]}, "not square: .*base 64x64: expected one of fewer than 512 pixels"),
        ({"size": [16, 32], "scale_type": "fit"}, r"for scaled images: size=\[16, 32\], scale_type='fit'$"),
        ({"use_attention": True}, "with attention: use_attention=True"),
        ({"mapping_fmaps_extra": 1, "min_h": 4}, "unknown argument 'mapping_fmaps_extra'"),
    ],
)
def test_what_is_left_is_named(kwargs, message, nets):
    G, D, Gs = nets["training.networks_stylegan2"]
    with pytest.raises(network_files.NetworkFileError, match=message) as error:
        read((raw(G, kwargs), raw(D, kwargs), raw(Gs, kwargs)))
    assert all(f"network {name!r}" in str(error.value) for name in ("G", "D", "Gs"))
    assert "Known:" not in str(error.value)


SHAPES = {
    "skyflynil": (
        *({"resolution": [20, 12]}, {"resolution": 20, "min_h": 5, "min_w": 3, "res_log2": 2}),
        lambda level: f"{4 << level}x{4 << level}",
    ),
    "skyflynil, larger": (
        *({"resolution": [36, 64]}, {"resolution": 36, "min_h": 9, "min_w": 16, "res_log2": 2}),
        lambda level: f"{9 << level}x{16 << level}",
    ),
    "aydao": (
        *({"resolution": [8, 24]}, {"resolution": 8, "resolution_h": 8, "resolution_w": 24}),
        lambda level: f"{2 << level}x{6 << level}",
    ),
    "eps696": (
        *({"resolution": [24, 20], "base": [12, 10]}, {"resolution": 20, "init_res": [12, 10], "size": None}),
        lambda level: f"{4 << level}x{4 << level}",
    ),
    "eps696, square": (
        *({"resolution": 32, "base": [8, 8]}, {"resolution": 32, "init_res": [8, 8], "impl": "cuda"}),
        lambda level: f"{4 << level}x{4 << level}",
    ),
}


@pytest.mark.parametrize(
    ("module", "fork"),
    [
        *(("training.networks_stylegan2", fork) for fork in SHAPES),
        ("training.networks", "skyflynil, larger"),
        ("training.networks_stylegan", "skyflynil, larger"),
    ],
)
def test_images_that_are_not_square(module, fork, capsys):
    """Networks of forks are ours, with other names of scopes and feature maps counted from another level."""
    ours, theirs, scope = SHAPES[fork]
    sizes = {key: G_SIZES[key] for key in G_SIZES if "stylegan2" in module or key != "mapping_layers"}
    for func_name, kwargs in zip(FUNCTIONS[module], (sizes, SIZES), strict=True):
        net = Network("D" if kwargs is SIZES else "Gs", func_name=f"{module}.{func_name}", **{**kwargs, **ours})
        golden.set_variables(net.vars, net.name)
        resolution = net.model.resolution
        first = resolution.first_log2
        names = {f"{2**level}x{2**level}": scope(level - first) for level in range(first, resolution.log2 + 1)}
        fmap_base = kwargs["fmap_base"] / 2 ** (first - 2)
        made = read(as_fork(net, names, {**theirs, "fmap_base": fmap_base, "verbose": True}))
        same_network(made, read(raw(net)))
        assert made.output_shape == net.output_shape
        np.testing.assert_array_equal(outputs(made), outputs(net))
        same_network(read(raw(made)), made)
    said = capsys.readouterr().err
    assert "verbose=True" in said and not any(f"{name}=" in said for name in ("min_h", "init_res", "resolution_h"))


def as_fork(net, names, kwargs):
    """A network of ours as a fork pickles it. names: of its scopes, by ours."""
    state = copy.copy(net.__getstate__())
    state["static_kwargs"] = {**state["static_kwargs"], **kwargs}
    state["static_kwargs"].pop("base", None)
    paths = [(name.partition("/"), value) for name, value in state["variables"]]
    state["variables"] = [(names.get(path[0], path[0]) + "".join(path[1:]), value) for path, value in paths]
    state["components"] = {key: as_fork(part, names, kwargs) for key, part in state["components"].items()}
    return files.Instance(files.Name("dnnlib.tflib.network", "Network"), state)


def test_the_source_of_a_fork_is_replaced(nets):
    """Its defaults of arguments that are left out could be of another network; other defaults become arguments."""
    source = "def D_stylegan2(images_in, labels_in, min_h=6, nonlinearity='relu', impl='cuda', **_kwargs):\n    pass\n"
    D = nets["training.networks_stylegan2"][1]
    read_D = read(raw(D, {"min_h": 4}, build_module_src=source))
    assert read_D.static_kwargs["nonlinearity"] == "relu" and "min_h" not in read_D.__getstate__()["build_module_src"]
    again = read(raw(read_D))
    x = golden.rnd(1, 2, 3, 16, 16)
    np.testing.assert_array_equal(again.run(x, None), D.run(x, None, nonlinearity="relu"))


def test_labels_of_diffaugment_are_refused():
    """Same names and shapes, but a label is a number there, and its embedding is scaled otherwise."""
    G = Network("G", func_name="training.networks_stylegan2.G_main", label_size=3, **G_SIZES)
    D = Network("D", func_name="training.networks_stylegan2.D_stylegan2", label_size=3, **SIZES)
    source = "def G_main(latents_in, labels_in, **kwargs):\n    pass\n"
    source += "def G_mapping(latents_in, labels_in, **_kwargs):\n    y = tf.one_hot(labels_in, 3)\n"
    source += "def D_stylegan2(images_in, num_channels=3, **_kwargs):\n    pass\n"
    for net in (G, D):
        with pytest.raises(network_files.NetworkFileError, match="of a fork .DiffAugment., in which labels are"):
            read(raw(net, {"impl": "cuda"}, build_module_src=source))
        read(raw(net, {"impl": "cuda"}))
