"""The command line of `run_training.py`: official cases, options of ours, messages, options files, runs that go on."""

import json
import re
import subprocess
import sys
from pathlib import Path

import golden
import pytest
import yaml
from PIL import Image
from training_commands import REQUIRED, changes, kwargs_of, make_run, plain, problems, usage_error, write

import dnnlib
import run_training
from dnnlib.errors import UserError
from dnnlib.tflib import devices
from metrics.metric_defaults import metric_defaults
from training.data import find_dataset
from training.loop.options import LoopOptions
from training.options import loop_arguments
from training.options.configs import CONFIGS
from training.run_folder import options_file

pytestmark = pytest.mark.one_stack
ROOT = Path(__file__).parent.parent.parent
CASES = golden.index("config", "run_training_kwargs.json")


# ----------------------------------------------------------------------------
# The official command line.


@pytest.mark.parametrize("number", [i for i, case in enumerate(CASES["cases"]) if case["submit_run"]])
def test_official_options(number):
    case = CASES["cases"][number]
    expected = dict(case["submit_run"])
    run, dry_run = run_training.parse(case["argv"])
    assert plain(run.submit_config) == expected.pop("submit_config")
    assert expected.pop("run_func_name") == options_file.RUN_FUNCTION
    kwargs = plain(run.kwargs)
    assert kwargs.pop("config") == run.submit_config.run_desc.partition("gpu-")[2]  # ours, for --resume
    assert kwargs == expected
    assert run.run_dir is None and not dry_run


@pytest.mark.parametrize("number", [i for i, case in enumerate(CASES["cases"]) if not case["submit_run"]])
def test_official_errors(number, monkeypatch, capfd):
    case = CASES["cases"][number]
    monkeypatch.setattr(sys, "argv", ["run_training.py", *case["argv"]])
    monkeypatch.setattr(run_training.Run, "start", lambda run: pytest.fail("started"))
    with pytest.raises(SystemExit) as error:
        run_training.main()
    assert error.value.code == case["exit_code"]
    out, err = capfd.readouterr()
    assert out.startswith(case["stdout"].rstrip("\n"))
    assert bool(out) == bool(case["stdout"])
    last = err.strip().splitlines()[-1] if err else ""
    assert last.startswith(case["stderr_last"]) and bool(last) == bool(case["stderr_last"])


def test_official_tables():
    assert list(CONFIGS) == CASES["valid_configs"]
    official = golden.index("config", "metric_defaults.json")
    assert {name: kwargs for name, kwargs in plain(metric_defaults).items() if name in official} == official


def test_names_for_options_files_are_those_of_the_official_functions():
    functions = golden.index("config", "default_kwargs.json")
    loop = set(functions["training.training_loop.training_loop"])
    elsewhere = {"total_kimg", "mirror_augment", "data_dir", "resume_pkl"}  # flags
    ada = {"augment_args", "G_smoothing_rampup", "resume_partial"}
    assert loop - elsewhere == loop_arguments.ARGUMENTS - ada
    inner = {*("latents_in", "labels_in", "dlatents_in", "images_in", "self", "kwargs", "_kwargs", "components")}
    inner |= {"is_training", "is_validation", "is_template_graph", "force_clean_graph", "return_dlatents"}
    inner |= {"num_channels", "resolution", "label_size", "dlatent_broadcast"}

    def names(pattern):
        return {key for name in functions if re.search(pattern, name) for key in functions[name]} - inner

    own = {"func_name", "num_fp16_res", "conv_clamp", "fp16_dtype", "base"}  # of mixed precision, and sizes
    assert names(r"networks.*\.G_") | own | {"label_fmaps"} == loop_arguments.NESTED["G_args"]
    own_of_D = own | {"mapping_layers", "mapping_fmaps", "mapping_lrmul", "freeze_layers"}  # of StyleGAN2-ADA
    assert names(r"networks.*\.D_") | own_of_D == loop_arguments.NESTED["D_args"]
    arguments = {"G", "D", "opt", "training_set", "minibatch_size", "reals", "labels"}
    for net, own in (("G", {"func_name"}), ("D", {"func_name", "random_fake_labels"})):
        assert names(rf"loss\.{net}_") - arguments | own == loop_arguments.NESTED[f"{net}_loss_args"]
    assert names("training_schedule") - {"cur_nimg", "training_set"} == loop_arguments.NESTED["sched_args"]
    dataset = set(functions["training.dataset.TFRecordDataset"]) - {"self", "tfrecord_dir"}
    assert dataset | {"class_name", "exif", "max_value"} == loop_arguments.NESTED["dataset_args"]


def test_arguments_of_the_loop_are_official():
    official = golden.index("config", "default_kwargs.json")["training.training_loop.training_loop"]
    ours = {name: plain(value) for name, value in vars(LoopOptions()).items() if name in official}
    assert plain({**ours, "metric_arg_list": [], "drange_net": [-1, 1]}) == official
    assert list(ours) == list(official)
    assert (LoopOptions().metric_arg_list, LoopOptions().drange_net) == ((), (-1, 1))


# ----------------------------------------------------------------------------
# Flags of ours.


def test_every_flag(folder):
    lists = {"minibatch_size_dict": {}, "minibatch_gpu_dict": {}}
    assert changes("--seed=7") == [("seed", None, 7), ("tf_config.rnd.np_random_seed", 1000, 7)]
    assert changes("--cond") == [("dataset_args.max_label_size", None, "full")]
    assert changes("--cond=no") == []
    assert changes("--minibatch=64") == [("sched_args.minibatch_size_base", 32, 64)]
    assert changes("--minibatch_gpu=8") == [("sched_args.minibatch_gpu_base", 4, 8)]
    assert kwargs_of("--minibatch=8", "--minibatch-gpu=8", "--config=config-a").sched_args.items() >= lists.items()
    assert changes("--fmap-base=1024") == [("D_args.fmap_base", None, 1024), ("G_args.fmap_base", None, 1024)]
    assert changes("--fmap-max=64") == [("D_args.fmap_max", None, 64), ("G_args.fmap_max", None, 64)]
    assert changes("--resolution=96x64") == [("dataset_args.resolution", None, [96, 64])]
    assert changes("--base=5x3") == [("D_args.base", None, [5, 3]), ("G_args.base", None, [5, 3])]
    assert changes("--matte=#ff8000") == [("matte", None, [255, 128, 0])]
    assert changes("--resolution=64") == [("dataset_args.resolution", None, 64)]
    assert changes("--snap=2", "--image-snap=3") == [
        *(("image_snapshot_ticks", 10, 3), ("network_snapshot_ticks", 10, 2)),
    ]
    assert changes("--keep-snapshots=5") == [("keep_snapshots", None, 5)]
    assert changes("--logical-cpus=2", "--num-gpus=2") == [("logical_cpus", None, 2)]
    assert changes("--mirror-augment") == [("mirror_augment", False, True)]
    assert changes("--total-kimg=0.5", "--gamma=1e-1") == [("D_loss_args.gamma", 10, 0.1), ("total_kimg", 25000, 0.5)]
    assert kwargs_of("--total-kimg=100").total_kimg == 100
    assert kwargs_of("--metrics=ls, pr50k3,").metric_arg_list == [metric_defaults.ls, metric_defaults.pr50k3]
    assert not {"seed", "keep_snapshots", "logical_cpus", "resume_pkl", "resume_kimg"} & kwargs_of().keys()


def test_configs_do_not_share_their_tables(folder):
    kwargs_of("--config=config-a").sched_args.G_lrate_dict[128] = 1
    assert kwargs_of("--config=config-a").sched_args.G_lrate_dict[128] == 0.0015


def test_start_from_a_pickle(folder):
    (folder / "net.pkl").write_bytes(b"")
    assert changes("--resume=net.pkl") == [("resume_pkl", None, "net.pkl")]
    assert kwargs_of("--resume=net.pkl").resume_kimg == 0
    ffhq = kwargs_of("--resume=gdrive:networks/stylegan2-ffhq-config-f.pkl").resume_pkl
    assert ffhq.startswith("https://") and ffhq.endswith("stylegan2-ffhq-config-f.pkl")
    assert problems(*REQUIRED, "--resume=nat.pkl") == [
        "--resume=nat.pkl: no such run folder or pickle (did you mean net.pkl?)"
    ]
    assert "did you mean" in problems(*REQUIRED, "--resume=gdrive:networks/stylegan2-ffhq.pkl")[0].lower()
    assert problems(*REQUIRED, "--resume=atuo") == ["--resume=atuo: no such run folder or pickle (did you mean auto?)"]


def test_data_sets(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))

    def found(*args):
        run, _ = run_training.parse(["--config=config-f", *args])
        return run.kwargs.data_dir, run.kwargs.dataset_args.tfrecord_dir, run.submit_config.run_desc

    assert found("--dataset=cats") == ("datasets", "cats", "stylegan2-cats-1gpu-config-f")
    archive = str(folder / "my.images.zip")
    expected = ("nowhere", archive, "stylegan2-my.images-1gpu-config-f")
    for name in ("my.images.zip", archive, "~/my.images.zip", "./my.images.zip"):
        assert found(f"--dataset={name}", "--data-dir=nowhere") == expected
    assert found("--dataset=datasets/cats/")[1] == str(folder / "datasets" / "cats")
    assert found("--dataset=cats", "--data-dir=~/datasets")[:2] == (str(folder / "datasets"), "cats")
    (folder / "datasets" / "my.images.zip").write_bytes(b"")
    assert found("--dataset=my.images.zip") == ("datasets", "my.images.zip", "stylegan2-my.images-1gpu-config-f")
    run, _ = run_training.parse(["--dataset=cats", "--config=config-f", "--result-dir=~/out"])
    assert run.submit_config.run_dir_root == str(folder / "out")

    find_dataset.check_dataset(run.kwargs.data_dir, run.kwargs.dataset_args.tfrecord_dir)
    (folder / "README.md").write_text("# Cats")
    (folder / "cut.zip").write_bytes(b"PK\3\4 and no more")
    (folder / "datasets" / "void").mkdir()
    messages = {
        "README.md": f"{folder}/README.md: is there, but is no data set: it is no zip file. Expected a zip file of",
        "cut.zip": f"{folder}/cut.zip: is there, but is no data set: the zip file is damaged or cut off. Expected",
        "my.images.zip": "datasets/my.images.zip: is there, but is no data set: the file is empty. Expected a zip file",
        "void": "datasets/void: there is no data set; looked for a folder of tfrecords (*.tfrecords), images",
    }
    for name, message in messages.items():
        run, _ = run_training.parse([f"--dataset={name}", "--config=config-f"])
        with pytest.raises(UserError, match="^" + re.escape(message)):
            find_dataset.check_dataset(run.kwargs.data_dir, run.kwargs.dataset_args.tfrecord_dir)
    messages = {
        "cat": "--dataset=cat: there is no datasets/cat (did you mean cats?)",
        "dogs": "--dataset=dogs: there is no datasets/dogs; datasets has cats, my.images.zip, void",
        "/dev/none/dogs": "--dataset=/dev/none/dogs: there is no /dev/none/dogs",
    }
    for name, message in messages.items():
        run, _ = run_training.parse([f"--dataset={name}", "--config=config-f"])
        with pytest.raises(UserError, match=re.escape(message) + "$"):
            find_dataset.check_dataset(run.kwargs.data_dir, run.kwargs.dataset_args.tfrecord_dir)


def test_devices():
    for num_gpus, gpus, logical_cpus in ((1, 0, None), (1, 1, None), (3, 4, None), (2, 0, 2), (2, 0, 3), (4, 2, 4)):
        devices.check_devices(num_gpus, logical_cpus, gpus)
    with pytest.raises(UserError, match="finds no GPU on this machine. Use --num-gpus=1.*or --logical-cpus=2"):
        devices.check_devices(2, None, 0)
    with pytest.raises(UserError, match="--num-gpus=3: TensorFlow finds 2 GPUs .* Use --num-gpus=2 or"):
        devices.check_devices(3, None, 2)


# ----------------------------------------------------------------------------
# Messages.


def test_all_problems_at_once(folder):
    (folder / "options.yaml").write_text("G_args: {mapping_layer: 4}\nsched_args: 5\n")
    (folder / "file").write_text("")
    found = problems(
        *("--dataset=x", "--data-dir=nowhere", "--config=Config-F", "--metrics=fid40k,foo", "--options=options.yaml"),
        *("--result-dir=file", "--resume=none.pkl"),
    )
    assert [line[:30] for line in found] == [
        "dataset root directory does no",
        "--config value must be one of:",
        "unknown metric 'fid40k' (did y",
        "unknown metric 'foo'. There ar",
        "no G_args option 'mapping_laye",
        "sched_args: expected names and",
        "--result-dir=file: " + str(folder)[:11],
        "--resume=none.pkl: no such run",
    ]
    assert found[1].endswith("got 'Config-F' (did you mean config-f?)")
    assert problems("--dataset=", "--config=config-f") == ["--dataset is empty, expected a name or a path"]
    assert found[4].endswith("(did you mean mapping_layers?)")
    found = problems(
        *REQUIRED, "--resolution=61", "--minibatch=30", "--num-gpus=3", "--logical-cpus=2", "--minibatch-gpu=6"
    )
    assert [line[:24] for line in found] == [
        *(
            "--resolution: 61x61: hei",
            "--num-gpus=3 is more tha",
            "the minibatch of 30 (--m",
            "--minibatch-gpu=6: the d",
        ),
    ]
    assert found[0].endswith("nearest are 64x64 (resized) and 56x56 (cut out)")


def test_wrong_values(folder, capsys):
    messages = {
        "--gamma=-1": "argument --gamma: expected a number of 0 or more, got '-1'",
        "--gamma=nan": "argument --gamma: expected a number of 0 or more, got 'nan'",
        "--total-kimg=-1": "argument --total-kimg: expected a number above 0, got '-1'",
        "--seed=-3": "argument --seed: expected an integer from 0 to 4294967295, got '-3'",
        "--seed=4294967296": "argument --seed: expected an integer from 0 to 4294967295, got '4294967296'",
        "--cond=perhaps": "argument --cond: Boolean value expected. Give true or false, not 'perhaps'",
        "--num-gpus=0": "argument --num-gpus: expected an integer of 1 or more, got '0'",
        "--hlep": "unrecognized arguments: --hlep (did you mean --help?)",
        "--minibach=3": "unrecognized arguments: --minibach=3 (did you mean --minibatch?)",
    }
    size = "expected a number of pixels or HEIGHTxWIDTH such as 640x384"
    for name in ("resolution", "base"):
        messages[f"--{name}=5x"] = f"argument --{name}: {size}, got '5x'"
    for name in ("minibatch", "minibatch-gpu", "fmap-base", "fmap-max", "snap", "image-snap"):
        messages[f"--{name}=x"] = f"argument --{name}: expected an integer of 1 or more, got 'x'"
    for name in ("keep-snapshots", "logical-cpus"):
        messages[f"--{name}=1.5"] = f"argument --{name}: expected an integer of 1 or more, got '1.5'"
    for argument, message in messages.items():
        assert usage_error(capsys, argument) == message


@pytest.mark.parametrize(
    ("args", "works"),
    [
        (("--minibatch=6",), "--minibatch=4, --minibatch=8, --minibatch-gpu=3, --minibatch-gpu=2"),
        (("--minibatch=2",), "--minibatch=4, --minibatch-gpu=2, --minibatch-gpu=1"),
        (("--num-gpus=3",), "--minibatch=24, --minibatch=36"),
        (("--num-gpus=16",), "--minibatch=64, --minibatch-gpu=2, --minibatch-gpu=1"),
        (("--minibatch-gpu=64",), "--minibatch=64, --minibatch-gpu=32, --minibatch-gpu=16"),
        (("--config=config-c", "--num-gpus=16"), "--minibatch=512, --minibatch-gpu=2, --minibatch-gpu=1"),
        (("--config=config-a", "--minibatch=16"), "--minibatch=32, --minibatch-gpu=4, --minibatch-gpu=2"),
    ],
)
def test_minibatches(folder, args, works):
    (line,) = problems(*REQUIRED, *args)
    assert re.match(r"the minibatch of \d+( at \d+x\d+)? \(--minibatch\) is not a multiple of \d+: ", line)
    assert line.endswith(f"What works: {works}")
    for option in works.split(", "):
        run_training.parse([*REQUIRED, *args, option])


def test_groups_of_the_discriminator(folder):
    (line,) = problems(*REQUIRED, "--minibatch=12", "--minibatch-gpu=6")
    assert line.startswith("--minibatch-gpu=6: the discriminator compares images in groups of 4")
    (folder / "options.yaml").write_text("D_args: {mbstd_group_size: 3}")
    assert kwargs_of("--minibatch=12", "--minibatch-gpu=6", "--options=options.yaml").D_args.mbstd_group_size == 3


# ----------------------------------------------------------------------------
# Options files.


def test_options_file(folder):
    option = write(
        folder,
        """
        dataset: cats
        config: config-a
        total_kimg: 100
        mirror-augment: true
        metrics: [ls, fid50k]
        fmap-base: 2048
        G_args: {mapping_layers: 4, fmap_base: 99}
        G_opt_args: {epsilon: 1e-7}
        sched_args:
          lod_training_kimg: 1.5
          minibatch_size_dict: {8: 64}
        tf_config: {any.thing: 3}
        G_reg_interval: 8
        """,
    )
    run, _ = run_training.parse([option, "--fmap_base=512", "--total-kimg=7"])
    kwargs = run.kwargs
    assert run.submit_config.run_desc == "stylegan2-cats-1gpu-config-a"
    assert kwargs.total_kimg == 7 and kwargs.mirror_augment is True and kwargs.G_reg_interval == 8
    assert [metric.name for metric in kwargs.metric_arg_list] == ["ls", "fid50k"]
    assert kwargs.G_args == {"func_name": "training.networks_stylegan.G_style", "mapping_layers": 4, "fmap_base": 512}
    assert kwargs.D_args.fmap_base == 512
    assert kwargs.G_opt_args == {"beta1": 0.0, "beta2": 0.99, "epsilon": 1e-7}
    assert kwargs.sched_args.minibatch_size_dict == {8: 64} and kwargs.sched_args.lod_training_kimg == 1.5
    assert kwargs.sched_args.minibatch_gpu_dict == {8: 32, 16: 16, 32: 8, 64: 4}
    assert kwargs.tf_config == {"rnd.np_random_seed": 1000, "any.thing": 3}
    assert kwargs_of(write(folder, "metrics: null")).metric_arg_list == []
    assert kwargs_of(write(folder, "")) == kwargs_of()
    assert kwargs_of(write(folder, "network_snapshot_ticks: null")).network_snapshot_ticks is None
    assert kwargs_of(write(folder, "drange_net: [-2, 2]")).drange_net == [-2, 2]
    dummy = {"name": "dummy", "func_name": "metrics.metric_base.DummyMetric"}
    assert kwargs_of(write(folder, f"metric_arg_list: [{dummy}]")).metric_arg_list == [dummy]


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("gama: 3\nmini_batch: 8", ["options.yaml: no option 'gama' (did you mean gamma?)", "options.yaml: no option"]),
        ("dry-run: true\noptions: x", ["options.yaml: no option 'dry-run'", "options.yaml: no option 'options'"]),
        ("G_arg: {a: 1}", ["options.yaml: no option 'G_arg' (did you mean G_args?)"]),
        ("D_loss_args: {Gamma: 1}", ["no D_loss_args option 'Gamma' (did you mean gamma?)"]),
        ("sched_args: {minibatch_size_dict: 8}", ["sched_args.minibatch_size_dict: expected resolutions and numbers"]),
        ("sched_args: {minibatch_size_dict: {x: 8}}", ["sched_args.minibatch_size_dict: expected resolutions"]),
        (
            "sched_args: {minibatch_size_base: many}",
            ["sched_args.minibatch_size_base: expected a number of 0 or more,"],
        ),
        ("sched_args: {minibatch_size_base: 1.5}", ["a minibatch of 1.5: expected an integer of 1 or more"]),
        (
            "G_opt_args: {beta1: x}\nD_loss_args: {gamma: true}",
            ["G_opt_args.beta1: expected a ", "D_loss_args.gamma: ex"],
        ),
        ("G_reg_interval: 0", ["G_reg_interval: expected an integer of 1 or more, got 0"]),
        ("lazy_regularization: 1", ["lazy_regularization: expected true or false, got 1"]),
        ("image_snapshot_ticks: often", ["image_snapshot_ticks: expected an integer of 1 or more, or null"]),
        ("G_smoothing_kimg: .inf", ["G_smoothing_kimg: expected a number of 0 or more, got inf"]),
        ("drange_net: [1, 0]", ["drange_net: expected two numbers such as [-1, 1]"]),
        ("drange_net: [a, b]", ["drange_net: expected two numbers such as [-1, 1]"]),
        ("tf_config: 3", ["tf_config: expected names and values, got 3"]),
        ("metric_arg_list: [fid50k]", ["metric_arg_list: expected a list of {name: ..., func_name: ...}"]),
        ("dataset_args: {resolution: big}", ["--resolution: expected the side of a square"]),
        ("dataset_args: {tfrecord_dir: x}", ["no dataset_args option 'tfrecord_dir'"]),
        ("gamma: 1\ngamma: 2", ["--options=options.yaml, line 1: gamma comes twice"]),
        ("a: [", ["--options=options.yaml, line 1: "]),
        ("- a", ["--options=options.yaml: expected lines such as `gamma: 10`, got a list"]),
        (
            "a: !!python/object/apply:os.getcwd []",
            ["--options=options.yaml, line 1: could not determine a constructor"],
        ),
        ("? [a]\n: 1", ["--options=options.yaml"]),
    ],
)
def test_wrong_options_files(folder, text, messages):
    found = problems(*REQUIRED, write(folder, text))
    assert len(found) == len(messages)
    for line, message in zip(found, messages, strict=True):
        assert line.startswith(message)


def test_options_files_name_themselves(folder, capsys):
    assert usage_error(capsys, write(folder, "gamma: none")).endswith("got 'none' (in options.yaml)")
    assert problems(*REQUIRED, "--options=none.yaml") == ["--options=none.yaml: No such file or directory"]
    assert usage_error(capsys, write(folder, "gamma: 3"), "--gamma=x").endswith("got 'x'")


def test_own_functions_have_own_arguments(folder):
    text = "G_loss_args: {func_name: my_losses.G_loss, strength: 3}"
    assert kwargs_of(write(folder, text)).G_loss_args == {"func_name": "my_losses.G_loss", "strength": 3}


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_ready_files(folder, path):
    comment = re.match(r"(#.*\n)+", path.read_text())[0]
    command = re.search(r"python run_training.py (.*)", comment)[1].split()
    assert f"--options=configs/{path.name}" in command and "Expected time" in comment
    (folder / "configs").symlink_to(ROOT / "configs")
    symbols = folder / "datasets/few-symbols"  # config auto looks at the images
    symbols.mkdir()
    Image.new("RGB", (32, 32)).save(symbols / "a.png")
    run, _ = run_training.parse(command)
    assert json.loads(run.to_json())["run_desc"] == run.submit_config.run_desc
    assert set(yaml.safe_load(path.read_text()))


# ----------------------------------------------------------------------------
# The script.


def script(folder, *args, **env):
    command = [sys.executable, ROOT / "run_training.py", *args]
    env = {"PATH": "", "COLUMNS": "100", **env}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=env, timeout=100, check=False)


def test_help_is_in_docs(folder):
    result = script(folder, "--help")
    assert result.returncode == 0
    documented = (ROOT / "docs" / "run_training-help.txt").read_text()
    assert " ".join(result.stdout.split()) == " ".join(documented.split())


def test_dry_run(folder):
    (folder / "tensorflow.py").write_text("raise SystemExit('TensorFlow was imported')")
    result = script(folder, *REQUIRED, "--dry_run", "--seed=3", "--metrics=ls", PYTHONPATH=str(folder))
    assert result.returncode == 0, result.stderr
    options = json.loads(result.stdout)
    assert options.pop("run_func_name") == options_file.RUN_FUNCTION
    assert options.pop("run_desc") == "stylegan2-cats-1gpu-config-f" and options.pop("result_dir") == "results"
    assert options.pop("num_gpus") == 1
    assert options == plain(kwargs_of("--seed=3", "--metrics=ls"))
    assert not (folder / "results").exists()


def test_messages_of_the_script(folder):
    result = script(folder, "--dataset=cats", "--config=config-x", "--metrics=foo")
    assert result.returncode == 1 and result.stderr == ""
    assert [line[:12] for line in result.stdout.splitlines()] == ["Error: --con", "Error: unkno"]
    result = script(folder, "--dataset=cat", "--config=config-f")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "Error: --dataset=cat: there is no datasets/cat (did you mean cats?)\n"
    dry = script(folder, "--dataset=cat", "--config=config-f", "--dry-run")
    assert (dry.returncode, dry.stdout, dry.stderr) == (1, "", result.stderr)


def test_start(folder, monkeypatch):
    called = []

    def record(name):
        return lambda *args, **kwargs: called.append((name, *args, kwargs))

    submit, function = dnnlib.submission.submit, options_file.RUN_FUNCTION
    monkeypatch.setattr(dnnlib, "submit_run", record("new"))
    monkeypatch.setattr(submit, "resume_run", record("old"))
    new, _ = run_training.parse([*REQUIRED])
    new.start()
    assert called.pop() == ("new", new.submit_config, function, new.kwargs)
    old, _ = run_training.parse([f"--resume={make_run(folder, 0)}", "--num-gpus=2"])
    old.start()
    assert called.pop() == ("old", old.run_dir, function, 2, old.kwargs)

    worker = json.dumps({"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}})
    for run in (new, old):
        monkeypatch.setenv("TF_CONFIG", worker.replace("1}", "0}"))
        run.start()
        assert called.pop()[0] == ("new" if run is new else "old")
        for config in ("{", "3"):
            monkeypatch.setenv("TF_CONFIG", config)
            with pytest.raises(UserError, match="TF_CONFIG: expected"):
                run.start()
        monkeypatch.setenv("TF_CONFIG", worker)
        monkeypatch.setattr(dnnlib.util, "call_func_by_name", record("worker"))
        run.start()
        assert called.pop() == ("worker", {"func_name": function, **run.kwargs})
    assert dnnlib.submit_config is None
