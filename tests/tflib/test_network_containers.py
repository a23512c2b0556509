"""Networks of TensorFlow as scripts pickle them: in dicts, beside other things, in other packages, incomplete."""

import copy
import io

import golden
import numpy as np
import pytest
import weight_writers as files

from dnnlib.formats import network_pickle, safe_pickle
from dnnlib.tflib import Network
from dnnlib.tflib.checkpoints import network_files

SIZES = {"resolution": 16, "num_channels": 3, "fmap_base": 32, "fmap_max": 4}
G_SIZES = {**SIZES, "latent_size": 6, "dlatent_size": 8, "mapping_fmaps": 8, "mapping_layers": 2}
MODULE = "training.networks_stylegan2"


@pytest.fixture(scope="module")
def nets():
    made = {name: Network(name, func_name=f"{MODULE}.G_main", **G_SIZES) for name in ("G", "Gs")}
    made["D"] = Network("D", func_name=f"{MODULE}.D_stylegan2", **SIZES)
    for net in made.values():
        golden.set_variables(net.vars, net.name)
    return made


def raw(net, module="dnnlib.tflib.network", without=(), kwargs=()):
    """A network as a script pickles it."""
    state = copy.copy(net.__getstate__())
    state["static_kwargs"] = {**state["static_kwargs"], **dict(kwargs)}
    state["variables"] = [(name, value) for name, value in state["variables"] if name not in without]
    parts = state["components"].items()
    state["components"] = {key: raw(part, module, without, kwargs) for key, part in parts}
    return files.Instance(files.Name(module, "Network"), state)


def read(content):
    return network_files.read(io.BytesIO(files.dumps(content)), "file.pkl")


def names(read_nets):
    return [net and net.name for net in read_nets]


def images(net, **kwargs):
    return net.run(golden.rnd(1, 2, 6), None, randomize_noise=False, **kwargs)


def test_dicts(nets, capsys):
    G, D, Gs = (raw(nets[name]) for name in ("G", "D", "Gs"))
    assert names(read({"G_ema": Gs})) == [None, None, "Gs"]
    assert names(read({"D": D, "Gs": Gs, "G": G})) == ["G", "D", "Gs"]
    assert names(read({"G": G, "D": D, "Gs": None})) == ["G", "D", "G"]  # as files of PyTorch without an average
    assert names(read({"G": None, "D": D})) == [None, "D", None]
    assert capsys.readouterr().err == ""
    easy = files.Instance(files.Name("dnnlib.util", "EasyDict"), {"G_ema": Gs, "kimg": 7, "training_set_kwargs": None})
    np.testing.assert_array_equal(images(read(easy)[2]), images(nets["Gs"]))
    assert "file.pkl: left out, as it is no network: 'kimg' (int)\n" in capsys.readouterr().err
    for unclear in ({"G_ema": Gs, "Gs": Gs}, {"best": Gs}, {"G": {}, "Gs": Gs}, {"Gs": Gs, "old": G}):
        with pytest.raises(network_files.NetworkFileError, match="the file holds a dict of"):
            read(unclear)


def test_what_follows_networks(nets, capsys):
    three = tuple(raw(nets[name]) for name in ("G", "D", "Gs"))
    assert names(read((*three, {"kimg": 1000, "augment_p": 0.2}, None))) == ["G", "D", "Gs"]
    assert capsys.readouterr().err == "file.pkl: left out, as it is no network: object 4 (dict)\n"
    assert names(read([*three, 12.5, np.float32(3), "text"])) == ["G", "D", "Gs"]
    assert "no network: object 4 (float), object 5 (float32), object 6 (str)\n" in capsys.readouterr().err
    assert read((three[2], 140)).name == "Gs"
    assert names(read((*three[:2], None))) == ["G", "D", None]
    for unclear in ((*three, [1]), (1, *three), (*three, {"G_ema": three[2]}), (*three, {"x": three[2]})):
        with pytest.raises(network_files.NetworkFileError, match="the file holds a tuple of 4"):
            read(unclear)


@pytest.mark.parametrize("module", ["stylegan2.dnnlib.tflib.network", "tflib.network", "a.b.tflib.network"])
def test_moved_packages(module, nets):
    np.testing.assert_array_equal(images(read(raw(nets["Gs"], module))), images(nets["Gs"]))
    options = files.Instance(files.Name("stylegan2.dnnlib.util", "EasyDict"), {"G_ema": raw(nets["Gs"], module)})
    assert names(read(options)) == [None, None, "Gs"]


@pytest.mark.parametrize(
    "module", ["mytflib.network", "tflib.network.os", "dnnlib.tflib.networks", "", ".", "x" * 10**6]
)
def test_other_modules_are_refused(module, nets):
    for name in ("Network", "system"):
        content = files.Name(module, name)
        with pytest.raises(network_pickle.UnsafePickleError, match="refused: the pickle asks for"):
            safe_pickle.load(io.BytesIO(files.dumps(content)), "f", "network pickle", network_pickle.ALLOWED)


def test_whole_numbers_that_are_floats(nets):
    floats = {key: float(value) for key, value in G_SIZES.items()}
    net = read(raw(nets["Gs"], kwargs=floats))
    np.testing.assert_array_equal(images(net), images(nets["Gs"]))
    assert type(net.static_kwargs["resolution"]) is int and type(net.static_kwargs["fmap_base"]) is float
    assert Network("D", func_name=f"{MODULE}.D_stylegan2", **{**SIZES, "resolution": 16.0}).input_shape[2:] == [16, 16]
    for wrong in (16.5, 1e300, float("inf")):
        with pytest.raises(network_files.NetworkFileError, match="resolution: expected the side of a square"):
            read(raw(nets["Gs"], kwargs={"resolution": wrong}))


def test_untrained_variables_that_are_missing(nets, capsys):
    noise = {f"noise{idx}" for idx in range(5)}
    Gs = read(raw(nets["Gs"], without={"dlatent_avg", "lod", *noise}))
    said = capsys.readouterr().err
    assert said.startswith(
        "file.pkl: network 'Gs' lacks untrained variables: dlatent_avg (now that of random Z), lod, "
    )
    w = nets["Gs"].components.mapping.run(golden.rnd(2, 2000, 6), None)[:, 0]
    np.testing.assert_allclose(Gs.get_var("dlatent_avg"), w.mean(axis=0), atol=0.1 * w.std())
    assert Gs.get_var("lod") == 0 and 0.5 < np.std(Gs.get_var("G_synthesis/noise4")) < 1.5
    part = read(raw(nets["Gs"], without={"noise3"}))
    assert "untrained variables: G_synthesis/noise3\n" in capsys.readouterr().err
    np.testing.assert_array_equal(part.get_var("dlatent_avg"), nets["Gs"].get_var("dlatent_avg"))
    # Written again, it is whole.
    read(raw(Gs))
    assert capsys.readouterr().err == ""
    with pytest.raises(network_files.NetworkFileError) as error:
        read(raw(nets["Gs"], without={"dlatent_avg", "Dense0/bias"}))
    for missing in ("dlatent_avg: missing", "G_mapping/Dense0/bias: missing"):
        assert missing in str(error.value)
