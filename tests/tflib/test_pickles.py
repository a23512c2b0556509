"""Network pickles: official files in, our files out, and nothing executed in between."""

import concurrent.futures
import copy
import gc
import io
import pickle
import pickletools
import re
import weakref

import golden
import lane
import numpy as np
import pytest

import pretrained_networks
from dnnlib.formats import network_pickle
from dnnlib.tflib import Network, convert_images_to_uint8, network_report, network_state
from dnnlib.tflib.checkpoints import network_files
from training import misc

CASES = golden.index("pickles", "index.json")
AVAILABLE = [name for name, case in CASES.items() if (golden.GOLDENS / "pickles" / case["pkl"]).exists()]
TINY = {"resolution": 8, "num_channels": 3, "fmap_base": 32, "fmap_max": 8}
TINY_G = {**TINY, "latent_size": 8, "dlatent_size": 8, "mapping_fmaps": 8, "mapping_layers": 2}


def pkl_path(name):
    return golden.GOLDENS / "pickles" / CASES[name]["pkl"]


def tiny_networks():
    G = Network("G", func_name="training.networks_stylegan2.G_main", label_size=0, **TINY_G)
    D = Network("D", func_name="training.networks_stylegan2.D_stylegan2", label_size=0, **TINY)
    return G, D, G.clone("Gs")


@pytest.fixture(scope="module")
def tiny_pickle():
    stream = io.BytesIO()
    network_files.pickle_writer.dump(tiny_networks(), stream)
    return stream.getvalue()


def read(data):
    return network_files.read(io.BytesIO(data), "test.pkl")


@pytest.mark.gpu
@pytest.mark.parametrize("name", AVAILABLE)
def test_official_pickle(name):
    case, data = CASES[name], golden.arrays("pickles", case_file(name))
    G, D, Gs = pretrained_networks.load_networks(str(pkl_path(name)))
    for net, key in ((G, "G"), (Gs, "G"), (D, "D")):
        variables = [
            {"name": n, "shape": list(v.shape), "dtype": "float32", "trainable": bool(v.trainable)}
            for n, v in net.vars.items()
        ]
        assert variables == case["variables"][key]
        assert net.name == case["names"]["Gs" if net is Gs else key]
    for n, value in Gs.vars.items():
        if n.split("/")[-1] != "lod":
            expected = golden.variable_value(case["salts"]["Gs"], n, value.shape)
            np.testing.assert_array_equal(value.numpy(), expected)
    kwargs = case["names"]["static_kwargs"]
    assert G.static_kwargs == kwargs["G"]
    assert D.static_kwargs == kwargs["D"]
    assert G.components.mapping.static_kwargs == kwargs["mapping"]
    assert G.components.synthesis.static_kwargs == kwargs["synthesis"]

    G, D, Gs = (lane.network(net) for net in (G, D, Gs))
    z, labels, fixed = data["z"], data.get("labels"), {"randomize_noise": False}
    golden.close(G.components.mapping.run(z, labels), data["G_w"], 1e-4)
    golden.close(Gs.components.mapping.run(z, labels), data["Gs_w"], 1e-4)
    golden.close(Gs.run(z, labels, **fixed), data["Gs_img_default"], 1e-4)
    golden.close(Gs.run(z, labels, truncation_psi=1, **fixed), data["Gs_img_psi1"], 1e-4)
    cut = Gs.run(z, labels, truncation_psi=0.7, truncation_cutoff=4, **fixed)
    golden.close(cut, data["Gs_img_psi0.7_cut4"], 1e-4)
    images = G.run(z, labels, truncation_psi=1, **fixed)
    golden.close(images, data["G_img_psi1"], 1e-4)
    if "Gs_img_default_nolabel" in data:
        golden.close(Gs.run(z, None, **fixed), data["Gs_img_default_nolabel"], 1e-4)
    transform = {"func": convert_images_to_uint8, "nchw_to_nhwc": True}
    pixels = Gs.run(z, labels, output_transform=transform, **fixed)
    golden.check_pixels(pixels, data["Gs_uint8_default"])

    golden.close(D.run(images, labels), data["D_scores_on_G_img_psi1"], 1e-4)
    x = golden.rnd(int(data["D_x_seed"]), len(z) + 2, *D.input_shape[1:])
    for batch in (1, 2):
        scores = D.run(x, data.get("D_labels"), minibatch_size=batch)
        golden.close(scores, data[f"D_scores_x_batch{batch}"], 1e-4)


def case_file(name):
    return CASES[name]["npz_file"]


@pytest.mark.parametrize("name", AVAILABLE)
def test_round_trip_keeps_everything(name, tmp_path):
    nets = pretrained_networks.load_networks(str(pkl_path(name)))
    network_files.save_pkl(nets, tmp_path / "again.pkl")
    again = network_files.load_pkl(tmp_path / "again.pkl")
    for net, copied in zip(nets, again, strict=True):
        assert copied.static_kwargs == net.static_kwargs
        assert copied.pickled_state.source == net.pickled_state.source
        assert list(copied.vars) == list(net.vars)
        for key in net.vars:
            np.testing.assert_array_equal(net.get_var(key), copied.get_var(key))
    # The same opcodes of the same values as in the official file, but for memo numbers, framing and string sizes.
    ours, official = (globals_of(path.read_bytes()) for path in (tmp_path / "again.pkl", pkl_path(name)))
    assert ours == official


def globals_of(data):
    """All (module, name) that a protocol-4 pickle asks for."""
    strings, found = [], set()
    memo = []
    for opcode, argument, _pos in pickletools.genops(data):
        if "UNICODE" in opcode.name:
            strings.append(argument)
        elif opcode.name == "MEMOIZE":
            memo.append(strings[-1] if strings else None)
        elif opcode.name in ("BINGET", "LONG_BINGET"):
            strings.append(memo[argument])
        elif opcode.name == "STACK_GLOBAL":
            found.add(tuple(strings[-2:]))
    return found


def test_pickles_of_new_networks_are_official(tiny_pickle):
    assert tiny_pickle[:2] == b"\x80\x04"
    assert globals_of(tiny_pickle) == {
        ("dnnlib.tflib.network", "Network"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy.core.multiarray", "scalar"),
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
    }
    content = network_files.network_pickle.load(io.BytesIO(tiny_pickle), "t")
    assert isinstance(content, tuple) and len(content) == 3
    state = content[0].state
    assert list(state) == [
        *("version", "name", "static_kwargs", "components", "build_module_src", "build_func_name", "variables"),
    ]
    assert state["version"] == 4
    assert state["static_kwargs"] == {"label_size": 0, **TINY_G}
    assert "from training.networks_stylegan2 import" in state["build_module_src"]
    assert state["components"]["synthesis"].state["build_func_name"] == "G_synthesis_stylegan2"
    assert [name for name, _ in state["variables"]] == ["lod", "dlatent_avg"]


def test_weights_are_kept_once(tiny_pickle):
    G = read(tiny_pickle)[0]
    arrays = [weakref.ref(array) for array in G._pending[1].values.values() if array.ndim]
    assert G.vars and len(arrays) > 20
    gc.collect()
    assert [array for array in arrays if array() is not None] == []


def test_plain_pickle_load_works(tiny_pickle):
    G, D, Gs = pickle.loads(tiny_pickle)
    z = golden.rnd(1, 2, 8)
    golden.close(Gs.run(z, None, randomize_noise=False), read(tiny_pickle)[2].run(z, None, randomize_noise=False), 1e-6)
    again = pickle.loads(pickle.dumps((G, D, Gs)))
    golden.close(again[0].run(z, None, randomize_noise=False), G.run(z, None, randomize_noise=False), 1e-6)
    # a network on its own, and without its parent
    mapping = pickle.loads(pickle.dumps(G.components.mapping))
    golden.close(mapping.run(z, None), G.components.mapping.run(z, None), 1e-6)
    with open(pkl_path(AVAILABLE[0]), "rb") as file:
        assert len(pickle.load(file, encoding="latin1")) == 3


@pytest.mark.parametrize("func", ["G_style", "D_basic", "G_mapping", "G_synthesis"])
def test_new_networks_of_config_a(func, tmp_path):
    sizes = {**TINY, "latent_size": 8, "dlatent_size": 8} if func[0] == "G" else TINY
    net = Network(func, func_name="training.networks_stylegan." + func, **sizes)
    for again in (
        pickle.loads(pickle.dumps(net)),
        copy.deepcopy(net),
        copy.copy(net),
        saved(net, tmp_path / "net.pkl"),
    ):
        assert type(again.model) is type(net.model)
        for name in net.vars:
            np.testing.assert_array_equal(again.get_var(name), net.get_var(name))


def saved(net, path):
    misc.save_pkl(net, path)
    return misc.load_pkl(path)


def test_single_network_and_versions(tiny_pickle, tmp_path):
    net = tiny_networks()[0]
    network_files.save_pkl(net, tmp_path / "single.pkl")
    assert pretrained_networks.load_networks(str(tmp_path / "single.pkl"))[2].name == "G"
    for version in (2, 3, 4, 5):
        state = net.__getstate__()
        state["version"] = version
        if version == 5:
            state.update(input_shapes=[[None, 8]], output_shapes=[], input_names=[], output_names=[])
        assert network_state.from_dict(raw_state(state)).version == version
    for version in (1, 6, "4", None, True):
        with pytest.raises(network_state.NetworkStateError, match="version"):
            network_state.from_dict(raw_state({**net.__getstate__(), "version": version}))


def raw_state(state):
    """A state as the reader gives it: components are pickled networks."""
    state = copy.copy(state)
    state["components"] = {key: pickled(net) for key, net in state["components"].items()}
    return state


def pickled(net):
    result = network_files.network_pickle.PickledNetwork()
    result.state = raw_state(net.__getstate__())
    return result


def test_defaults_of_the_source_count():
    D = tiny_networks()[1]
    source = "def D_stylegan2(images_in, labels_in, nonlinearity='relu', fmap_base=16 << 10, **_kwargs):\n    evil()\n"
    state = {**raw_state(D.__getstate__()), "build_module_src": source}
    net = Network.from_state(network_state.from_dict(state))
    x = golden.rnd(1, 4, 3, 8, 8)
    golden.close(net.run(x, None), D.run(x, None, nonlinearity="relu"), 1e-6)
    assert np.max(np.abs(net.run(x, None) - D.run(x, None))) > 1e-3
    assert "nonlinearity" not in net.static_kwargs


# ----------------------------------------------------------------------------
# Hostile and damaged files.


class Foreign:
    """Pickles as a call of os.system."""

    def __reduce__(self):
        import os

        return os.system, ("touch owned",)


FOREIGN = {
    "posix.system|nt.system": pickle.dumps(Foreign()),
    "builtins.eval": b"cbuiltins\neval\n(S'1'\ntR.",
    "os.system": b"cos\nsystem\n(S'touch owned'\ntR.",
    "numpy.core.multiarray.fromfile": b"cnumpy.core.multiarray\nfromfile\n.",
    "dnnlib.tflib.network.Network.__init__": b"\x80\x04\x8c\x14dnnlib.tflib.network\x8c\x10Network.__init__\x93.",
    "builtins.object.__class__": b"\x80\x04\x8c\x08builtins\x8c\x10object.__class__\x93.",
}


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_globals_are_refused_by_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(network_files.NetworkFileError, match="refused") as error:
        read(FOREIGN[name])
    assert any(part in str(error.value) for part in name.split("|"))
    assert not list(tmp_path.iterdir())


def test_source_is_never_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    nets = tiny_networks()
    states = [raw_state(net.__getstate__()) for net in nets]
    for state in states:
        for part in (state, *(c.state for c in state["components"].values())):
            part["build_module_src"] = "open('owned', 'w')\ndef D_stylegan2(x=open('owned', 'w')):\n    pass\n"
        Network.from_state(network_state.from_dict(state)).run(np.zeros([1, *nets[0].input_shape[1:]]), None) if state[
            "components"
        ] else Network.from_state(network_state.from_dict(state))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>quota</html>", "web page"),
        (b"\n <html><body>", "web page"),
        (b"PK\x03\x04....", "zip"),
        (b"\x1f\x8b....", "compressed"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git-LFS"),
        (b"hello world", "damaged"),
        (pickle.dumps([1, 2]), "expected a network"),
        (pickle.dumps({}), "expected a network"),
        (pickle.dumps(()), "expected a network"),
        (pickle.dumps(np.zeros(3)), "expected a network"),
        (b"\x80\x04]\x94h\x00a.", "contains itself"),
        (b"cdnnlib.tflib.network\nNetwork\n)\x81.", "damaged"),
        (b"cdnnlib.tflib.network\nNetwork\n(S'G'\ntR.", "with arguments"),
        (b"cnetwork\nNetwork\n.", "Theano"),
        (b"(" * 100_000 + b"t" * 100_000 + b".", "damaged"),
    ],
)
def test_damaged_files(data, message):
    with pytest.raises(network_files.NetworkFileError, match=message):
        read(data)


def test_arrays_of_objects_are_refused():
    data = pickle.dumps(np.array([{}, None], dtype=object), protocol=2).replace(b"numpy._core", b"numpy.core")
    with pytest.raises(network_files.NetworkFileError, match="damaged"):
        read(data)


@pytest.mark.parametrize("size", [10, 4096, 4097, 10_000])
def test_strings_of_python_2(size):
    """Strings and arrays of any length, as lines of text (protocol 0) and in binary (protocol 2)."""
    values = np.resize(np.arange(256, dtype=np.uint8), size)
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I%d\nt" % size
    array += b"cnumpy\ndtype\n(S'u1'\nI0\nI1\ntRI00\n%stb"
    for string in (
        b"S" + repr(values.tobytes())[1:].encode() + b"\n",
        b"T" + size.to_bytes(4, "little") + values.tobytes(),
    ):
        text, pixels = network_pickle.load(io.BytesIO(b"(" + string + array % string + b"t."), "old")
        assert text == values.tobytes().decode("latin1")
        np.testing.assert_array_equal(pixels, values)
    assert network_pickle.load(io.BytesIO(b"V" + b"x" * size + b"\n."), "old") == "x" * size


def test_truncated_files(tiny_pickle):
    for size in [*range(1, 200, 7), *range(200, len(tiny_pickle), len(tiny_pickle) // 40)]:
        with pytest.raises(network_files.NetworkFileError):
            read(tiny_pickle[:size])


def change(state, path, value):
    """Changes a variable of a raw state; None removes it."""
    *components, name = path.split(":")
    for key in components:
        state = state["components"][key].state
    variables = [(key, array) for key, array in state["variables"] if key != name]
    state["variables"] = variables if value is None else [*variables, (name, value)]


def test_all_mismatches_are_listed_at_once():
    G, D, _ = tiny_networks()
    state = raw_state(G.__getstate__())
    change(state, "dlatent_avg", np.zeros(9, np.float32))
    change(state, "synthesis:4x4/Conv/bias", None)
    change(state, "mapping:Dense0/weight", np.zeros([3, 3], np.float32))
    change(state, "mapping:extra", np.zeros(1, np.float32))
    with pytest.raises(ValueError, match="do not fit") as error:
        Network.from_state(network_state.from_dict(state))
    for line in (
        "dlatent_avg: has shape [9], the network needs [8]",
        "G_synthesis/4x4/Conv/bias: missing, the network needs shape [8]",
        "G_mapping/Dense0/weight: has shape [3, 3]",
        "G_mapping/extra: not part of the network",
    ):
        assert line in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"static_kwargs": {**TINY_G, "fmap_maxx": 3}}, "unknown argument 'fmap_maxx' .did you mean fmap_max"),
        ({"static_kwargs": {**TINY_G, "resolution": 49}}, "power of two"),
        ({"static_kwargs": {**TINY_G, "architecture": "dense"}}, "'orig', 'skip', 'resnet'"),
        ({"static_kwargs": {1: 2}}, "not a name of an argument"),
        ({"static_kwargs": {"a": object()}}, "cannot be a object"),
        ({"build_func_name": "G_paper"}, "ProGAN"),
        ({"build_func_name": "os.system"}, "cannot build 'os.system'"),
        (
            {"build_func_name": "D_main", "static_kwargs": {"use_pagan": True}},
            "ADA networks with use_pagan=True .PA-GAN",
        ),
        (
            {"build_func_name": "D_main", "static_kwargs": {"use_spectral_norm": True}},
            "use_spectral_norm=True .spectral",
        ),
        ({"build_func_name": "D_main", "static_kwargs": {"adaptive_dropout": 0.2}}, "adaptive_dropout=0.2 .dropout"),
        ({"name": "a/b c"}, "not a name"),
        ({"name": "_Gs"}, "not a name"),
        ({"static_kwargs": {**TINY_G, "fmap_base": float("inf")}}, "finite number"),
        ({"static_kwargs": {**TINY_G, "fmap_decay": -1e308}}, "no feature maps"),
        ({"static_kwargs": {**TINY_G, "resolution": 2**2000}}, "side of a square"),
        ({"static_kwargs": {**TINY_G, "mapping_lrmul": 0}}, "mapping_lrmul must be"),
        ({"static_kwargs": {**TINY_G, "mapping_layers": 10**6}}, "1000 or less"),
        ({"static_kwargs": {**TINY_G, "resample_kernel": [1, -1]}}, "resample_kernel must be"),
        ({"static_kwargs": {**TINY_G, "resample_kernel": "abc"}}, "resample_kernel must be"),
        ({"static_kwargs": {**TINY_G, "truncation_cutoff": "x"}}, "truncation_cutoff must be"),
        ({"static_kwargs": {**TINY_G, "dlatent_broadcast": "x"}}, "dlatent_broadcast must be"),
        ({"static_kwargs": {"x": [[[1] * 100] * 100] * 100}}, "too many items"),
        ({"variables": [("lod", "x")]}, "not an array"),
        ({"variables": [("lod", np.float32(0)), ("lod", np.float32(0))]}, "twice"),
        ({"variables": None}, "must be a list"),
    ],
)
def test_states_that_cannot_be_built(changes, message):
    state = {**raw_state(tiny_networks()[0].__getstate__()), "components": {}, **changes}
    with pytest.raises((ValueError, TypeError), match=message):
        Network.from_state(network_state.from_dict(state))


def test_clones_with_other_arguments(tmp_path):
    """They are written as what they are, components included; new variables get initial values."""
    G = Network("G", func_name="training.networks_stylegan2.G_main", randomize_noise=True, **TINY_G)
    loaded = saved(G, tmp_path / "1.pkl")
    still = saved(loaded.clone("Gs", randomize_noise=False), tmp_path / "2.pkl")
    z = golden.rnd(1, 2, 8)
    np.testing.assert_array_equal(still.run(z, None), still.run(z, None))
    assert still.components.synthesis.static_kwargs.randomize_noise is False
    resnet = loaded.clone("Gs", architecture="resnet")
    np.testing.assert_array_equal(resnet.get_var("dlatent_avg"), loaded.get_var("dlatent_avg"))
    assert "G_synthesis/8x8/Skip/weight" in saved(resnet, tmp_path / "3.pkl").vars


def test_networks_are_built_once_by_several_threads(tmp_path):
    net = saved(tiny_networks()[0], tmp_path / "net.pkl")
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        models = list(pool.map(lambda _: net.model, range(8)))
    assert len(set(map(id, models))) == 1
    assert not hasattr(net, "nix")


def test_writer_refuses_other_objects():
    with pytest.raises(TypeError, match="do not belong"):
        network_files.pickle_writer.dump({"a": {1, 2}}, io.BytesIO())


def test_saved_files_appear_whole(tmp_path):
    (tmp_path / "net.pkl").write_bytes(b"old")
    with pytest.raises(TypeError):
        network_files.save_pkl([object()], tmp_path / "net.pkl")
    assert [path.name for path in tmp_path.iterdir()] == ["net.pkl"]
    assert (tmp_path / "net.pkl").read_bytes() == b"old"
    with pytest.raises(OSError, match=re.escape(str(tmp_path / "no" / "net.pkl"))):
        network_files.save_pkl(tiny_networks()[1], tmp_path / "no" / "net.pkl")


# ----------------------------------------------------------------------------
# NaN and infinity.


def test_whoever_reads_networks_that_are_not_finite_is_warned(tmp_path, capsys):
    G, D, Gs = tiny_networks()
    misc.save_pkl((G, D, Gs), tmp_path / "good.pkl")
    Gs.set_var("G_synthesis/8x8/ToRGB/bias", [0, np.nan, 0])
    for name in ("4x4/Conv/bias", "4x4/Conv/weight", "Output/weight", "Output/bias"):
        D.set_var(name, np.full(D.vars[name].shape, np.inf))
    misc.save_pkl((G, D, Gs), tmp_path / "bad.pkl")
    misc.load_pkl(tmp_path / "good.pkl")
    assert capsys.readouterr() == ("", "")
    read = misc.load_pkl(tmp_path / "bad.pkl")
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "bad.pkl: NaN or infinity in 4 variables of D (4x4/Conv/weight, " in said
    assert " and 1 more), 1 variable of Gs (G_synthesis/8x8/ToRGB/bias)." in said
    assert all("_pending" in vars(net) for net in read)  # nothing is built for it
    assert network_report.not_finite(Gs) == network_report.not_finite(read[2]) == ["G_synthesis/8x8/ToRGB/bias"]
