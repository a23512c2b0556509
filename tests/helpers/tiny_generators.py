"""Small generators of all kinds, written as programs, and what they make themselves; what a large one takes."""

import os
import subprocess
import sys

import golden
import numpy as np

from dnnlib.formats import checkpoint_formats
from dnnlib.formats.program_options import ProgramOptions
from dnnlib.tflib import Network
from dnnlib.tflib.checkpoints.converter import Converter
from dnnlib.tflib.exports.comparing import exact_kwargs

SIZES = {"resolution": 8, "num_channels": 3, "fmap_base": 32, "fmap_max": 4}
G_SIZES = {**SIZES, "latent_size": 6, "dlatent_size": 8, "mapping_fmaps": 8, "mapping_layers": 2}
G2 = "training.networks_stylegan2.G_main"
REVISED = {"synthesis_func": "G_synthesis_stylegan_revised"}
NETWORKS = {
    "skip": {},
    "resnet": {"architecture": "resnet"},
    "orig": {"architecture": "orig"},
    "revised": REVISED,
    "growing": {**REVISED, "structure": "recursive", "lod": 0.0},
    "growing-0.4": {**REVISED, "structure": "recursive", "lod": 0.4},
    "growing-1": {**REVISED, "structure": "linear", "lod": 1.0},
    "stylegan": {"func_name": "training.networks_stylegan.G_style"},
    "stylegan-0.7": {"func_name": "training.networks_stylegan.G_style", "structure": "recursive", "lod": 0.7},
    "ada": {"func_name": "training.networks.G_main"},
    "ada-16-bit": {"func_name": "training.networks.G_main", "num_fp16_res": 2, "conv_clamp": 256, "mapping_layers": 8},
    "all-16-bit": {"dtype": "float16"},
    "gray": {"num_channels": 1, "resample_kernel": None},
    "rgba-not-square": {"num_channels": 4, "resolution": [24, 20], "base": [12, 10]},
    "no-noise": {"use_noise": False, "fused_modconv": False},
    "other-activation": {"nonlinearity": "swish", "mapping_nonlinearity": "relu", "normalize_latents": False},
}
"""Arguments of kinds of generators by name; `lod` is of the variable."""


def build(func_name=G2, lod=None, **kwargs):
    net = Network("Gs", func_name=func_name, **{**G_SIZES, **kwargs})
    golden.set_variables(net.vars, "Gs")
    if lod is not None:
        net.set_var("lod", lod)
    return net


def convert(net, path, **options):
    output = checkpoint_formats.check_output(str(path), None, None, False, ProgramOptions(**options))
    return Converter({"Gs": net}).convert(output)


def latents(num_samples, net, seed=5):
    return np.random.RandomState(seed).randn(num_samples, net.input_shape[1]).astype(np.float32)


def images_of(net, z, label=None, psi=1.0, cutoff=None, **kwargs):
    """What the network itself makes, as everywhere else in this repository."""
    given = {"truncation_psi": psi, "truncation_cutoff": cutoff, "randomize_noise": False, **kwargs}
    return net.run(z, label, is_validation=False, **given)


def check_minibatches(net, run):
    """What a program computes for one to eight samples. run: of inputs by name, float32."""
    layers = net.components.synthesis.input_shape[1]
    for num_samples in range(1, 9):
        z = latents(num_samples, net)
        psi, cutoff = (0.6, layers // 2) if num_samples % 2 else (1.3, layers)
        image = run(z=z, psi=np.float32(psi), cutoff=np.float32(cutoff))
        golden.close(image, images_of(net, z, psi=psi, cutoff=cutoff, **exact_kwargs(net)), 1e-4)


def check_1024(path):
    """Config f at 1024x1024 takes less than 6 GB and two minutes of two cores, what is compared included."""
    code = (
        "import sys, resource\nfrom dnnlib.tflib import Network\n"
        "from dnnlib.tflib.checkpoints.converter import Converter\n"
        "from dnnlib.formats.checkpoint_formats import check_output\n"
        "net = Network('Gs', func_name='training.networks_stylegan2.G_main', resolution=1024)\n"
        "Converter({'Gs': net}).convert(check_output(sys.argv[1], None, None, False))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    before = os.times().children_user
    result = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert int(result.stdout.split()[-1]) < 6e6, result.stdout  # kB
    assert os.times().children_user - before < 240


def too_fine_for_float16():
    """A generator whose W hangs on numbers that float16 does not have, beside others that it has."""
    net = build(mapping_fmaps=64)
    values = {name: net.get_var(f"G_mapping/{name}") for name in ("Dense0/weight", "Dense0/bias", "Dense1/weight")}
    values["Dense0/weight"] *= 1e-9
    values["Dense0/weight"][0, 0] = 1
    values["Dense0/bias"] *= 0
    values["Dense1/weight"] *= 1e9
    values["Dense1/weight"][0] = 0  # of what is 1
    for name, value in values.items():
        net.set_var(f"G_mapping/{name}", value)
    return net


def nearly_constant():
    """A generator as after a few steps of training: instance normalization would magnify the rounding of others."""
    net = Network("Gs", func_name="training.networks_stylegan.G_style", resolution=8, num_channels=3, fmap_max=16)
    random = np.random.RandomState(0)
    for name, var in net.vars.items():
        if name.endswith("Const/bias"):
            net.set_var(name, 0.05 * random.randn(*var.shape))
    return net
