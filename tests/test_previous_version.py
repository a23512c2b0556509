"""Files of the version before are read: networks of every format, and runs that go on (goldens/previous_version)."""

import json
import pickle
import pickletools
import shutil
import subprocess
import sys
from pathlib import Path

import golden
import numpy as np
import pytest
import tensorflow as tf

import dnnlib
import pretrained_networks
import run_training
from dnnlib.submission import submit
from dnnlib.tflib import Network
from dnnlib.tflib.scope import KERAS_3
from generation import vector_files
from training import misc, networks, networks_stylegan, networks_stylegan2
from training.run_folder import options_file

ROOT = Path(__file__).resolve().parent.parent
FOLDER = Path(__file__).parent / "goldens" / "previous_version"
KERAS = FOLDER / ("keras" if KERAS_3 else "keras2")  # neither version of Keras reads the files of the other
MODULES = {module.__name__: module for module in (networks, networks_stylegan, networks_stylegan2)}


def outputs_of(folder):
    with np.load(folder / "outputs.npz") as npz:
        return dict(npz)


# ----------------------------------------------------------------------------
# Networks.


def inputs_of(model):
    """As the data were made with."""
    inputs = [np.random.RandomState(i).randn(2, *shape[1:]) for i, shape in enumerate(model.io_inputs.values())]
    return [np.eye(2) if x.shape == (2, 2) else x.astype(np.float32) for x in inputs]


@pytest.mark.parametrize("name", outputs_of(KERAS))
def test_keras_files(name):
    """Each under the name that Keras knew its class by; saved again, under the official one."""
    model = tf.keras.models.load_model(KERAS / f"{name.replace('>', '-')}.keras")
    golden.close(model(*inputs_of(model)), outputs_of(KERAS)[name], 1e-5)
    module = type(model).__module__
    assert getattr(MODULES[module], name.split(">")[1]) is type(model)
    stored = tf.keras.utils.serialize_keras_object(model)
    assert stored["registered_name"] == f"{module}>{type(model).__name__}"
    assert stored["module"] in (module, None)


@pytest.mark.one_stack
def test_keras_files_need_only_the_official_module():
    names = [name for name in outputs_of(KERAS) if name.split("_")[-1] and "stylegan2" in name]
    paths = [str(KERAS / f"{name.replace('>', '-')}.keras") for name in names]
    code = "import sys, tensorflow as tf, training.networks_stylegan2\n"
    code += "for path in sys.argv[1:]: print(type(tf.keras.models.load_model(path)).__module__)"
    done = subprocess.run([sys.executable, "-c", code, *paths], cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["training.networks_stylegan2"] * len(names) and len(names) >= 4


def check_networks(family, **nets):
    labels = np.eye(2) if family == "ada" else None
    inputs = {"Gs": np.random.RandomState(0).randn(2, 4), "D": np.random.RandomState(1).randn(2, 3, 8, 8)}
    options = {"Gs": {"randomize_noise": False, "truncation_psi": 0.7}, "D": {}}
    expected = outputs_of(FOLDER / "networks")
    for role, net in nets.items():
        golden.close(net.run(inputs[role], labels, **options[role]), expected[f"{family}/{role}"], 1e-5)


def test_pickles():
    with open(FOLDER / "networks" / "network.pkl", "rb") as file:
        check_networks("f", Gs=pickle.load(file))
    check_networks("f", Gs=misc.load_pkl(str(FOLDER / "networks" / "network.pkl")))
    with open(FOLDER / "networks" / "networks.pkl", "rb") as file:
        _, D, Gs = pickle.load(file)
    check_networks("ada", Gs=Gs, D=D)
    _, D, Gs = misc.load_pkl(str(FOLDER / "networks" / "networks.pkl"))
    check_networks("ada", Gs=Gs, D=D)
    for run, module, D_name in (
        ("stylegan2", "networks_stylegan2", "D_stylegan2"),
        ("stylegan2-ada", "networks", "D_main"),
    ):
        found = misc.load_pkl(str(FOLDER / "runs" / run / "network-snapshot-000000.pkl"))
        names = [f"{type(net.model).__module__}.{type(net.model).__name__}" for net in found]
        assert names == [f"training.{module}.{name}" for name in ("G_main", D_name, "G_main")]


@pytest.mark.parametrize("name", ["network.npz", "network.safetensors", "network.weights.h5"])
def test_checkpoints(name):
    _, _, Gs = pretrained_networks.load_networks(str(FOLDER / "networks" / name))
    check_networks("f", Gs=Gs)
    assert type(Gs.model) is networks_stylegan2.G_main


def test_saved_model():
    served = tf.saved_model.load(str(FOLDER / "networks" / "saved_model")).signatures["serving_default"]
    z = tf.constant(np.random.RandomState(0).randn(2, 4), tf.float32)
    golden.close(served(z=z, psi=tf.constant(0.7))["image"], outputs_of(FOLDER / "networks")["f/Gs"], 1e-5)


def test_dlatents():
    file = vector_files.load(str(FOLDER / "networks" / "dlatents.npz"))
    np.testing.assert_array_equal(file.dlatents, outputs_of(FOLDER / "networks")["dlatents"])
    Gs = misc.load_pkl(str(FOLDER / "networks" / "network.pkl"))
    noises = [var.numpy() for name, var in Gs.vars.items() if name.startswith("G_synthesis/noise")]
    for found, expected in zip(file.noises, noises, strict=True):
        np.testing.assert_array_equal(found, expected)
    assert file.settings == {"seed": 0, "steps": 3}


# ----------------------------------------------------------------------------
# What our files name: nothing that a reader of another version lacks.

OF_NUMPY = {"numpy.core.multiarray._reconstruct", "numpy.core.multiarray.scalar", "numpy.dtype", "numpy.ndarray"}


def globals_of(data):
    """Dotted names of everything that a pickle asks for."""
    found, strings, memo = set(), [], []
    for opcode, arg, _ in pickletools.genops(data):
        if opcode.name == "GLOBAL":
            found.add(arg.replace(" ", "."))
        elif opcode.name == "STACK_GLOBAL":
            found.add(".".join(strings[-2:]))
        elif opcode.name == "MEMOIZE":
            memo.append(strings[-1] if strings else None)
        elif opcode.name in ("BINGET", "LONG_BINGET"):
            strings.append(memo[arg])
        elif isinstance(arg, str):
            strings.append(arg)
    return found


@pytest.mark.parametrize("func_name", ["training.networks_stylegan2.D_stylegan2", "training.networks.D_main"])
def test_globals_of_network_pickles(tmp_path, func_name):
    net = Network("D", func_name=func_name, resolution=8, fmap_max=4)
    misc.save_pkl((net, net, net), str(tmp_path / "net.pkl"))
    ours = {"dnnlib.tflib.network.Network"}
    assert ours < globals_of((tmp_path / "net.pkl").read_bytes()) <= ours | OF_NUMPY
    for path in [FOLDER / "networks" / "networks.pkl", *FOLDER.glob("runs/*/network*.pkl")]:
        assert ours < globals_of(path.read_bytes()) <= ours | OF_NUMPY
    # Python's own pickler takes NumPy's names of today.
    of_numpy = OF_NUMPY | {name.replace("numpy.core", "numpy._core") for name in OF_NUMPY}
    for data in (pickle.dumps(net), (FOLDER / "networks" / "network.pkl").read_bytes()):
        assert ours < globals_of(data) <= ours | of_numpy


def test_globals_of_submit_config(tmp_path):
    config = dnnlib.SubmitConfig()
    config.run_func_kwargs = dnnlib.EasyDict(a=dnnlib.EasyDict(b=1))
    submit._write_files(config, str(tmp_path))
    names = {
        "dnnlib.submission.internal.local.TargetOptions",
        "dnnlib.submission.submit.PlatformExtras",
        "dnnlib.submission.submit.SubmitConfig",
        "dnnlib.submission.submit.SubmitTarget",
        "dnnlib.util.EasyDict",
    }
    getattr_of_enums = {"builtins.getattr"}  # with some versions of Python
    assert globals_of((tmp_path / "submit_config.pkl").read_bytes()) - getattr_of_enums == names
    for path in FOLDER.glob("runs/*/submit_config.pkl"):
        assert globals_of(path.read_bytes()) == names
        before = pickle.loads(path.read_bytes())
        assert before.run_func_name == "training.training_loop.training_loop"
        assert before.run_func_kwargs["G_args"].func_name.startswith("training.networks")
        assert (before.submit_target, before.user_name) == (dnnlib.SubmitTarget.LOCAL, "user")


def functions_in(value, name=""):
    """The functions and classes that arguments of a training name, by option."""
    found = {}
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            found |= functions_in(item, f"{name}.{key}")
    elif isinstance(value, str) and value.startswith(("training.", "metrics.")):
        found[name[1:]] = value
    return found


def test_functions_in_training_options(tmp_path):
    """What a run keeps names exactly these, officially."""
    loop = {"run_func_name": "training.training_loop.training_loop"}
    data = (f"--data-dir={FOLDER / 'runs'}", "--dataset=data", "--resolution=8")
    for args, functions in (
        (
            ("--config=config-f",),
            {
                "G_args.func_name": "training.networks_stylegan2.G_main",
                "D_args.func_name": "training.networks_stylegan2.D_stylegan2",
                "G_loss_args.func_name": "training.loss.G_logistic_ns_pathreg",
                "D_loss_args.func_name": "training.loss.D_logistic_r1",
            },
        ),
        (
            ("--cfg=auto",),
            {
                "G_args.func_name": "training.networks.G_main",
                "D_args.func_name": "training.networks.D_main",
                "G_loss_args.func_name": "training.loss.G_logistic_ns_pathreg",
                "D_loss_args.func_name": "training.loss.D_logistic_r1",
            },
        ),
        (
            ("--config=config-a",),
            {
                "G_args.func_name": "training.networks_stylegan.G_style",
                "D_args.func_name": "training.networks_stylegan.D_basic",
                "G_loss_args.func_name": "training.loss.G_logistic_ns",
                "D_loss_args.func_name": "training.loss.D_logistic_r1",
            },
        ),
    ):
        run, _ = run_training.parse([*data, *args])
        run_dir = tmp_path / args[0]
        run_dir.mkdir()
        options_file.save_training_options(str(run_dir), 1, run.kwargs)
        named = functions_in(json.loads((run_dir / "training_options.json").read_text()))
        assert {key: value for key, value in named.items() if not key.startswith("metric_arg_list")} == functions | loop
        metrics = {value for key, value in named.items() if key.startswith("metric_arg_list")}
        assert metrics == {"metrics.frechet_inception_distance.FID"}


# ----------------------------------------------------------------------------
# Options and runs.


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """The current folder: the data set, options files and run folders of that version."""
    shutil.copytree(FOLDER / "runs", tmp_path / "runs")
    monkeypatch.chdir(tmp_path / "runs")
    return tmp_path / "runs"


@pytest.mark.one_stack
def test_options_files(runs):
    recorded = json.loads((runs / "functions.json").read_text())
    run, _ = run_training.parse(["--options=functions.yaml"])
    ours = json.loads(run.to_json())
    assert {key: ours[key] for key in recorded} == recorded
    for args, name in (
        (["--options=options.yaml", "--config=config-f"], "stylegan2"),
        (
            ["--options=ada.yaml", "--cfg=auto", "--aug=ada", "--augpipe=blit", "--cond", "--precision=fp32"],
            "stylegan2-ada",
        ),
    ):
        run, _ = run_training.parse(args)
        kept = json.loads((runs / name / "training_options.json").read_text())
        ours = json.loads(options_file.to_json(run.kwargs))
        assert args[1].endswith(f"={ours.pop('config')}")  # which that version did not store
        assert {key: kept[key] for key in ours} == ours


@pytest.mark.one_stack
@pytest.mark.parametrize("name", ["stylegan2", "stylegan2-ada"])
def test_a_run_goes_on(runs, name):
    """From where it was stopped to where that version came, by its options, with its logs."""
    before = json.loads((runs / name / "training_options.json").read_text())
    before["dataset_args"]["exif"] = "ignore"  # as that version did
    log = (runs / name / "log.txt").read_text()
    stats = (runs / name / "stats.jsonl").read_text()
    run, _ = run_training.parse([f"--resume={name}"])
    run.start()
    after = json.loads((runs / name / "training_options.json").read_text())
    assert {key: after[key] for key in before} == before
    went_on = (runs / name / "log.txt").read_text()
    assert went_on.startswith(log) and "whether it has changed since is not known" in went_on
    assert (runs / name / "stats.jsonl").read_text().startswith(stats)
    final = dict(np.load("final.npz"))
    with np.load(runs / name / "training-state.npz") as state:
        assert json.loads(str(state["meta"]))["counters"]["cur_nimg"] == 64
        if name == "stylegan2-ada":
            assert state["variables/augment/p"] == final.pop("stylegan2-ada/p") > 0
    _, _, Gs = misc.load_pkl(f"{name}/network-final.pkl")
    expected = {key.removeprefix(f"{name}/"): value for key, value in final.items() if key.startswith(f"{name}/")}
    assert expected.keys() == Gs.vars.keys()
    for key, value in expected.items():
        golden.close_relative(Gs.get_var(key), value, 1e-4, floor=1e-7)
