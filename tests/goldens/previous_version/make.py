"""Makes the data of this folder: see README.md. Run in the checkout of the version before, never of this one.

python make.py PART FOLDER      PART: networks, keras, runs
"""

import json
import os
import pickle
import shutil
import sys
from pathlib import Path

import numpy as np

sys.path[:0] = [".", "tests"]  # of the checkout

SIZES = {"resolution": 8, "num_channels": 3, "label_size": 2, "fmap_base": 16, "fmap_max": 4}
MAPPING = {"latent_size": 4, "dlatent_size": 4, "mapping_fmaps": 4, "mapping_layers": 2}
G, D, S = {**SIZES, **MAPPING}, SIZES, {key: SIZES[key] for key in SIZES if key != "label_size"} | {"dlatent_size": 4}
M = {key: G[key] for key in (*MAPPING, "label_size")}
CLASSES = {  # Keras' own name of every network class, in that version
    "training.networks_stylegan2>G_main": G,
    "training.networks_stylegan2>G_mapping": M,
    "training.synthesis_stylegan2>G_synthesis_stylegan2": S,
    "training.synthesis_stylegan2>G_synthesis_stylegan_revised": S,
    "training.discriminator_stylegan2>D_stylegan2": D,
    "training.discriminator_stylegan2>D_stylegan": D,
    "training.networks_stylegan>G_style": G,
    "training.networks_stylegan>G_mapping": M,
    "training.networks_stylegan>G_synthesis": S,
    "training.discriminator_stylegan>D_basic": D,
    "training.networks>G_main": G,
    "training.networks>G_mapping": M,
    "training.networks>G_synthesis": S,
    "training.networks>D_main": D,
}
SMALL = {"fmap_base": 16, "fmap_max": 4}
OPTIONS = {
    "data-dir": ".",
    "dataset": "data",
    "result-dir": "results",
    "metrics": "none",
    "minibatch": 8,
    "minibatch-gpu": 8,
    "total-kimg": 0.064,
    "snap": 1,
    "image-snap": 4,
    "seed": 7,
    "G_args": {"latent_size": 4, "dlatent_size": 4, "mapping_fmaps": 4, "mapping_layers": 2, **SMALL},
    "D_args": SMALL,
    "sched_args": {"tick_kimg_base": 0.016, "tick_kimg_dict": {}},
    "grid_args": {"size": "one", "layout": "random"},
    "minibatch_repeats": 1,
    "G_reg_interval": 2,
    "D_reg_interval": 2,
}
RUNS = {
    "stylegan2": ("--config=config-f",),
    "stylegan2-ada": ("--cfg=auto", "--aug=ada", "--cond", "--augpipe=blit", "--precision=fp32", "--options=ada.yaml"),
}


def inputs_of(model):
    """The inputs of a network: seeded numbers, and two classes."""
    inputs = [np.random.RandomState(i).randn(2, *shape[1:]) for i, shape in enumerate(model.io_inputs.values())]
    return [np.eye(2) if x.shape == (2, 2) else x.astype(np.float32) for x in inputs]


def make_keras(folder):
    """A `.keras` file of every class, and what each computes."""
    import golden

    import dnnlib
    from dnnlib.tflib.scope import KERAS_3
    from training import networks, networks_stylegan, networks_stylegan2  # noqa: F401

    outputs = {}
    for registered, kwargs in CLASSES.items():
        if not KERAS_3 and "networks" in registered:  # its files are larger: only those whose names change
            continue
        kwargs = {**kwargs, "randomize_noise": False} if "dlatent_size" in kwargs and "fmap_base" in kwargs else kwargs
        model = dnnlib.util.get_obj_by_name(registered.replace(">", "."))(**kwargs)
        golden.set_variables(model.named_variables(), registered)
        name = registered.removeprefix("training.")
        outputs[name] = model(*inputs_of(model)).numpy()
        model.save(folder / f"{name.replace('>', '-')}.keras")
    np.savez_compressed(folder / "outputs.npz", **outputs)


def make_networks(folder):
    """Checkpoints of all kinds of one generator, pickles of three networks, W of an image."""
    import golden

    from dnnlib import tflib
    from dnnlib.checkpoint_formats import Output  # noqa: F401
    from training import dlatent_files, misc

    networks = []
    for family, G_func, D_func in (("networks_stylegan2", "G_main", "D_stylegan2"), ("networks", "G_main", "D_main")):
        sizes = {**SIZES, "label_size": 0} if family == "networks_stylegan2" else SIZES
        nets = [
            tflib.Network("G", func_name=f"training.{family}.{G_func}", **sizes, **MAPPING),
            tflib.Network("D", func_name=f"training.{family}.{D_func}", **sizes),
        ]
        nets.append(nets[0].clone("Gs"))
        for net in nets:
            golden.set_variables(net.vars, family + net.name)
        networks.append(nets)
    f, ada = networks
    with open(folder / "network.pkl", "wb") as file:
        pickle.dump(f[2], file)
    misc.save_pkl(tuple(ada), folder / "networks.pkl")
    outputs = {}
    for name, nets in {"f": f, "ada": ada}.items():
        labels = np.eye(2) if name == "ada" else None
        z = np.random.RandomState(0).randn(2, 4)
        outputs[f"{name}/Gs"] = nets[2].run(z, labels, randomize_noise=False, truncation_psi=0.7)
        outputs[f"{name}/D"] = nets[1].run(np.random.RandomState(1).randn(2, 3, 8, 8), labels)
    outputs["dlatents"] = f[2].components.mapping.run(z, None)[:1]
    np.savez_compressed(folder / "outputs.npz", **outputs)
    noises = [value.numpy() for name, value in f[2].vars.items() if "/noise" in name and name[-1].isdecimal()]
    dlatent_files.save(str(folder / "dlatents.npz"), outputs["dlatents"], noises, {"seed": 0, "steps": 3})

    import run_convert

    for name in ("network.npz", "network.safetensors", "network.weights.h5", "saved_model"):
        sys.argv = ["run_convert.py", str(folder / "network.pkl"), f"--output={folder / name}"]
        run_convert.main()


def make_runs(folder):
    """Trainings that were stopped, and the weights that they end with when they go on."""
    import yaml

    import dnnlib.submission.submit as submit
    import run_training
    from training import misc, training_state
    from training.dataset_export import TFRecordExporter

    os.chdir(folder)
    submit.set_user_name_override("user")
    images = np.random.RandomState(0).randint(256, size=[24, 3, 8, 8]).astype(np.uint8)
    with TFRecordExporter("data", len(images)) as exporter:
        for image in images:
            exporter.add_image(image)
        exporter.add_labels(np.eye(2)[np.arange(24) % 2])
    Path("options.yaml").write_text(yaml.safe_dump(OPTIONS, sort_keys=False))
    ada = {"D_args": {**SMALL, "mbstd_group_size": 4}, "augment_args": {"tune_kimg": 0.05}, "G_reg_interval": 100}
    Path("ada.yaml").write_text(yaml.safe_dump({**OPTIONS, **ada}, sort_keys=False))
    save, final = training_state.save, {}
    for name, args in RUNS.items():

        def keep(run_dir, variables, counters, name=name):
            save(run_dir, variables, counters)
            if counters["cur_nimg"] == 40 and not Path(name).exists():
                shutil.copytree(run_dir, name)

        training_state.save = keep
        run_training.parse(["--options=options.yaml", *args][len(args) > 1 :])[0].start()
        shutil.copytree(name, f"{name}-goes-on")
        run_training.parse([f"--resume={name}-goes-on"])[0].start()
        state = np.load(f"{name}-goes-on/training-state.npz")
        meta = json.loads(str(state["meta"]))["counters"]
        assert meta["cur_nimg"] == 64
        _, _, Gs = misc.load_pkl(f"{name}-goes-on/network-final.pkl")
        final.update({f"{name}/{key}": value.numpy() for key, value in Gs.vars.items()})
        if name == "stylegan2-ada":
            final[f"{name}/p"] = state["variables/augment/p"]
        shutil.rmtree(f"{name}-goes-on")
    shutil.rmtree("results")
    for index in Path("data").glob(".*.index"):
        index.unlink()
    np.savez_compressed("final.npz", **final)


if __name__ == "__main__":
    target = Path(sys.argv[2]).resolve()
    target.mkdir(parents=True, exist_ok=True)
    {"keras": make_keras, "networks": make_networks, "runs": make_runs}[sys.argv[1]](target)
