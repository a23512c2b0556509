"""Writes demo/random-64x64.pkl: an untrained config-f network whose random weights paint colourful shapes.

`make demo` uses it until a trained one takes its place. Usage: python tools/make_demo_network.py [SEED]
"""

import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


def main(seed: int = 11) -> None:
    """Writes the file."""
    from dnnlib.tflib import Network, network_files

    sizes = {"num_channels": 3, "resolution": 64, "label_size": 0, "fmap_base": 512, "fmap_max": 32}
    mapping = {"latent_size": 64, "dlatent_size": 64, "mapping_fmaps": 64, "mapping_layers": 4}
    G = Network("G", func_name="training.networks_stylegan2.G_main", **sizes, **mapping)
    D = Network("D", func_name="training.networks_stylegan2.D_stylegan2", **sizes)
    rnd = np.random.RandomState(seed)
    for name, var in (*G.trainables.items(), *D.trainables.items()):
        scale = 1.0 if name.split("/")[-1] in ("weight", "mod_weight", "const") else 0.0
        scale *= 100.0 if name.startswith("G_mapping/") else 1.0  # 1 / lrmul, as the official initialization
        var.assign(rnd.randn(*var.shape) * scale)
    for name, var in G.trainables.items():
        if name.endswith("ToRGB/weight"):  # coarse shapes dominate, contrast fills the range
            resolution = int(name.split("/")[1].split("x")[0])
            var.assign(var * 0.45 * (8 / resolution) ** 0.1)
        if name.endswith("mod_bias") and "ToRGB" not in name:
            var.assign(rnd.randn(*var.shape) * 0.5)
    for name, var in G.vars.items():
        if name.split("/")[-1].startswith("noise") and not name.endswith("noise_strength"):
            var.assign(rnd.randn(*var.shape))
    dlatents = G.components.mapping.run(rnd.randn(4096, 64), None)[:, 0]
    G.set_var("dlatent_avg", dlatents.mean(axis=0))
    path = ROOT / "demo" / "random-64x64.pkl"
    network_files.save_pkl((G, D, G.clone("Gs")), path)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
