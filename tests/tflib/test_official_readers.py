"""What official programs know of our pickles: arguments, and the modules that the embedded source names."""

import io
import sys
import types

import golden
import numpy as np
import pytest
import torch_files
import torch_reference
import training_commands
import weight_writers as files

from dnnlib.formats import network_pickle
from dnnlib.tflib import Network
from dnnlib.tflib.checkpoints import converter, network_files

TINY = {"num_channels": 3, "resolution": 16, "fmap_base": 64, "fmap_max": 8}
TINY_G = {"latent_size": 8, "dlatent_size": 8, "mapping_fmaps": 8, "mapping_layers": 2}
# Names of arguments, by the readers that know them.
_SIZES = "num_channels resolution label_size fmap_base fmap_decay fmap_min fmap_max dtype nonlinearity "
_GENERATOR = (
    "truncation_psi truncation_cutoff truncation_psi_val truncation_cutoff_val dlatent_avg_beta style_mixing_prob "
    "is_training is_validation return_dlatents is_template_graph components mapping_func synthesis_func latent_size "
    "dlatent_size dlatent_broadcast mapping_layers mapping_fmaps mapping_lrmul mapping_nonlinearity normalize_latents "
    "randomize_noise use_noise "
)
TENSORFLOW = {
    "training.networks_stylegan": {
        "G": _SIZES + _GENERATOR + "use_wscale use_pixel_norm use_instance_norm const_input_layer normalize_latents "
        "use_styles blur_filter structure fused_scale force_clean_graph",
        "D": _SIZES + "use_wscale mbstd_group_size mbstd_num_features fused_scale blur_filter structure",
    },
    "training.networks_stylegan2": {
        "G": _SIZES + _GENERATOR + "architecture resample_kernel fused_modconv structure force_clean_graph",
        "D": _SIZES + "architecture mbstd_group_size mbstd_num_features resample_kernel structure",
    },
    "training.networks": {
        "G": _SIZES + _GENERATOR + "label_fmaps fmap_const architecture num_fp16_res conv_clamp resample_kernel "
        "fused_modconv",
        "D": _SIZES + "mapping_layers mapping_fmaps mapping_lrmul architecture mbstd_group_size mbstd_num_features "
        "num_fp16_res conv_clamp resample_kernel augment_strength use_pagan pagan_num pagan_fade score_size score_max "
        "use_spectral_norm adaptive_dropout freeze_layers",
    },
}
_BOTH = (
    "label_size resolution num_channels fmap_base fmap_max num_fp16_res conv_clamp architecture resample_kernel "
    "nonlinearity mapping_layers mapping_fmaps mapping_lrmul structure "
)
PYTORCH = {  # of StyleGAN2-ADA; StyleGAN3's knows more
    "G": _BOTH + "latent_size dlatent_size label_fmaps mapping_nonlinearity w_avg_beta use_noise truncation_psi "
    "truncation_cutoff style_mixing_prob",
    "D": _BOTH + "freeze_layers mbstd_group_size mbstd_num_features",
}


def build(role, kwargs, label_size=0):
    """A small network of the arguments of a training."""
    sizes = TINY_G if role == "G" else {}
    return Network(role, **{**kwargs[f"{role}_args"], **TINY, **sizes, "label_size": label_size})


def state_of(nets):
    """The states in the pickle of some networks."""
    stream = io.BytesIO()
    network_files.pickle_writer.dump(nets, stream)
    stream.seek(0)
    content = network_pickle.load(stream, "test.pkl")
    return [net.state for net in content] if isinstance(content, tuple) else content.state


def check(role, state, module, pytorch):
    given, where = set(state["static_kwargs"]), f"{role} {state['static_kwargs']}"
    # num_fp16_res and conv_clamp of StyleGAN2 are what its PyTorch reader knows; TensorFlow's computes without.
    known = TENSORFLOW[module][role] + (" num_fp16_res conv_clamp" if pytorch else "")
    assert given <= set(known.split()), where
    if pytorch:
        assert given <= set(PYTORCH[role].split()), where
    for part in (state, *(component.state for component in state["components"].values())):
        assert "fp16_dtype" not in part["static_kwargs"] and "pytorch_details" not in part["static_kwargs"]


CONFIGS = [(f"config-{letter}", "fp32", 0) for letter in "abcd"]
CONFIGS += [("config-e", "bf16", 0), ("config-e-Gresnet-Dorig", "fp16", 0), ("config-f", "fp16", 3)]
CONFIGS += [("paper512", "fp16", 3), ("paper256", "bf16", 0), ("cifar", "fp32", 3)]


@pytest.mark.parametrize(("config", "precision", "labels"), CONFIGS)
def test_networks_of_trainings(config, precision, labels, folder):
    flags = [f"--config={config}", *([f"--precision={precision}"] if precision != "fp32" else [])]
    kwargs = training_commands.kwargs_of(*flags)
    for role in "GD":
        net = build(role, kwargs, labels)
        module = kwargs[f"{role}_args"]["func_name"].rpartition(".")[0]
        pytorch = config[-1] not in "abcd"
        check(role, state_of(net), module, pytorch)
        again = network_files.read(io.BytesIO(pickled(net)), "test.pkl")
        assert state_of(again)["static_kwargs"] == state_of(net)["static_kwargs"]
        if precision != "fp32":
            assert net.build_kwargs["fp16_dtype"] != "auto"  # as long as the training lasts
            assert again.build_kwargs["num_fp16_res"] == 4


def pickled(net):
    stream = io.BytesIO()
    network_files.pickle_writer.dump(net, stream)
    return stream.getvalue()


def test_networks_of_pytorch(tmp_path, monkeypatch):
    """Those of StyleGAN3 keep the beta that the readers refuse, which is said."""
    monkeypatch.chdir(tmp_path)
    channels = {4: 12, 8: 12, 16: 6}
    average = golden.rnd(3, 8)
    G = torch_files.generator(torch_reference.generator_tensors(channels), average, clamp=256)
    D = torch_files.discriminator(torch_reference.discriminator_tensors(channels), clamp=256, group_size=1)
    mapping = G.args[0]["state"]["_modules"]["mapping"].args[0]["state"]
    for beta, refused in ((0.998, True), (0.995, False)):
        mapping["w_avg_beta"] = beta
        nets = network_files.read(io.BytesIO(files.pickle_of_modules({"G": G, "D": D, "G_ema": G})), "torch.pkl")
        nets = dict(zip(("G", "D", "Gs"), nets, strict=True))
        output = converter.Output(f"{beta}.pkl", converter.PKL, ("G", "D", "Gs"))
        lines = converter.Converter(nets).convert(output)
        assert any("refuse pickles of TensorFlow with dlatent_avg_beta=0.998" in line for line in lines) == refused
        read = network_files.load_pkl(f"{beta}.pkl")
        for role, state in zip("GDG", state_of(tuple(read)), strict=True):
            if refused:
                assert role == "D" or state["static_kwargs"].pop("dlatent_avg_beta") == 0.998
            check(role, state, "training.networks", True)
        # What the PyTorch versions do anyway stands beside the arguments, and is read here.
        assert state_of(read[1])["pytorch_details"] is True and read[1].build_kwargs["pytorch_details"] is True


def test_what_is_left_out_has_its_default():
    """Of networks built here only: a source can declare other defaults."""
    G = Network("G", func_name="training.networks.G_main", dlatent_avg_beta=0.995, fused_modconv=True, **TINY, **TINY_G)
    assert "dlatent_avg_beta" not in state_of(G)["static_kwargs"]
    assert state_of(G)["static_kwargs"]["fused_modconv"] is True
    state = state_of(G)
    source = "def G_main(latents_in, labels_in, dlatent_avg_beta=0.9, **kwargs):\n    pass\ndef D_main():\n    pass\n"
    state["build_module_src"] = source
    state["static_kwargs"]["dlatent_avg_beta"] = 0.995
    state["components"] = {}
    state["variables"] = [(name, var.numpy()) for name, var in G.vars.items()]
    data = files.dumps(files.Instance(files.Name("dnnlib.tflib.network", "Network"), state))
    again = network_files.read(io.BytesIO(data), "test.pkl")
    assert state_of(again)["static_kwargs"] == state["static_kwargs"]
    assert state_of(again)["build_module_src"] == source


# ----------------------------------------------------------------------------
# The embedded source, executed as the official code does.


@pytest.fixture
def stylegan2():
    G = Network("G", func_name="training.networks_stylegan2.G_main", **TINY, **TINY_G)
    D = Network("D", func_name="training.networks_stylegan2.D_stylegan2", mbstd_group_size=1, **TINY)
    return G, D


def executed(source, monkeypatch, **modules):
    """The functions in a source, where `training` has these modules only."""
    package = types.ModuleType("training")
    package.__path__ = []
    for name in [name for name in sys.modules if name.split(".")[0] == "training"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "training", package)
    for name, functions in modules.items():
        module = types.ModuleType(f"training.{name}")
        vars(module).update(functions)
        monkeypatch.setattr(package, name, module, raising=False)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    namespace = {}
    exec(source, namespace)
    return namespace


def test_the_source_names_modules_of_both_repositories(stylegan2, monkeypatch):
    G, D = stylegan2
    state = state_of(G)
    sources = {
        part["build_func_name"]: part["build_module_src"]
        for part in (state, state_of(D), *(component.state for component in state["components"].values()))
    }
    assert set(sources) == {"G_main", "G_mapping", "G_synthesis_stylegan2", "D_stylegan2"}
    calls = []

    def called(name):
        return lambda *inputs, **kwargs: calls.append((name, inputs, kwargs))

    ada = {name: called(name) for name in ("G_main", "G_mapping", "G_synthesis", "D_main")}
    made = []
    fake_tf = types.ModuleType("tensorflow")
    fake_tf.get_variable = lambda name, **kwargs: made.append(name)
    monkeypatch.setitem(sys.modules, "tensorflow", fake_tf)
    for func_name, source in sources.items():
        official = executed(source, monkeypatch, networks_stylegan2={func_name: "official"})
        assert official[func_name] == "official"
        there = executed(source, monkeypatch, networks=ada)
        inputs = ("x",) if func_name == "G_synthesis_stylegan2" else ("x", "y")
        there[func_name](*inputs, label_size=0, resolution=16)
        there[func_name](*inputs)
        if func_name != "G_synthesis_stylegan2":
            with pytest.raises(ImportError, match="needs the code of StyleGAN2"):
                there[func_name](*inputs, label_size=3)
        with pytest.raises(ImportError, match="needs the code of StyleGAN2"):
            there["D_stylegan"]("x")
    assert made == ["lod", "lod", "lod"]  # which StyleGAN2-ADA's has not, but the pickle
    assert {name for name, *_ in calls} == set(ada)
    kwargs = {name: kwargs for name, _, kwargs in calls}  # without arguments: defaults of StyleGAN2
    assert kwargs["G_mapping"] == {"mapping_fmaps": 512}
    assert kwargs["D_main"] == {"mbstd_group_size": 4, "mbstd_num_features": 1}


def test_the_code_of_stylegan2_ada_computes_the_same(stylegan2):
    """With the arguments that the embedded source gives it."""
    G, D = stylegan2
    golden.set_variables(G.vars, "G")
    golden.set_variables(D.vars, "D")
    ada_G = Network("G", func_name="training.networks.G_main", **TINY, **TINY_G)
    ada_D = Network("D", func_name="training.networks.D_main", mbstd_group_size=1, mbstd_num_features=0, **TINY)
    for net, ada in ((G, ada_G), (D, ada_D)):
        assert set(net.vars) - {"lod"} == set(ada.vars)
        ada.copy_vars_from(net)
    z, x = golden.rnd(1, 2, 8), golden.rnd(2, 2, 3, 16, 16)
    options = {"randomize_noise": False, "truncation_psi": 0.7}
    golden.close(ada_G.run(z, None, **options), G.run(z, None, **options), 1e-5)
    golden.close(ada_D.run(x, None), D.run(x, None), 1e-5)
    assert np.isfinite(D.run(x, None)).all()
