"""Configurations and flags of StyleGAN2-ADA against what the official scripts make of theirs (goldens/ada/options)."""

import json
import os

import golden
import numpy as np
import pytest
from PIL import Image
from training_commands import make_run, problems, usage_error

import run_training
from training.augmentation.specs import AUGPIPE_SPECS
from training.options import new_run

CASES = json.loads((golden.ADA_GOLDENS / "options" / "tf_train.json").read_text())
SAME_FLAGS = ("data", "gpus", "cfg", "mirror", "res", "gamma", "kimg", "metrics", "aug", "p", "target", "augpipe")
SAME_FLAGS += ("resume", "freezed", "seed", "snap")


def understood(case):
    """Cases whose flags and values mean the same here."""
    flags = dict(arg.removeprefix("--").partition("=")[::2] for arg in case["argv"])
    unknown = set(flags) - set(SAME_FLAGS)
    if case["exit_code"] and "gpus" in flags:  # any number will do here
        return False
    return not unknown and flags.get("aug") != "adarv" and flags["data"] != "data/nonexistent"


GOOD = [case for case in CASES if case["exit_code"] == 0 and understood(case)]
BAD = [case for case in CASES if case["exit_code"] != 0 and understood(case)]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Data sets named as those of the goldens, and a file to resume from."""
    folder = tmp_path_factory.mktemp("options")
    for resolution in (32, 128, 256, 512, 1024):
        (folder / f"data/r{resolution}").mkdir(parents=True)
        Image.new("RGB", (resolution, resolution)).save(folder / f"data/r{resolution}/a.png")
    (folder / "data/r32lab").symlink_to("r32")
    (folder / "some").mkdir()
    (folder / "some/net.pkl").write_bytes(b"\x80")
    before = os.getcwd()
    os.chdir(folder)
    yield folder
    os.chdir(before)


def parsed(*args):
    return run_training.parse([*args, "--data-dir=."])[0]


def official(kwargs):
    """Our arguments of `training_loop` in the official form."""
    sched = kwargs.sched_args
    G, D = dict(kwargs.G_args), dict(kwargs.D_args)
    loss = {"func_name": "training.loss.stylegan2", "r1_gamma": kwargs.D_loss_args.gamma}
    if "pl_weight" in kwargs.G_loss_args:
        loss["pl_weight"] = kwargs.G_loss_args.pl_weight
    augment = {"class_name": "training.augment.AdaptiveAugment"}
    if kwargs.augment_args.get("apply_args"):
        augment["apply_func"] = "training.augment.augment_pipeline"
    augment |= {key: value for key, value in kwargs.augment_args.items() if value not in (None, {})}
    return {
        "G_args": G,
        "D_args": D,
        "G_opt_args": {"beta1": 0.0, "beta2": 0.99, "learning_rate": sched.G_lrate_base},
        "D_opt_args": {"beta1": 0.0, "beta2": 0.99, "learning_rate": sched.D_lrate_base},
        "loss_args": loss,
        "augment_args": augment,
        "image_snapshot_ticks": kwargs.image_snapshot_ticks,
        "network_snapshot_ticks": kwargs.network_snapshot_ticks,
        "metrics": [metric["name"] for metric in kwargs.metric_arg_list],
        "mirror_augment": kwargs.mirror_augment,
        "total_kimg": kwargs.total_kimg,
        "minibatch_size": sched.minibatch_size_base,
        "minibatch_gpu": sched.minibatch_gpu_base,
        "G_smoothing_kimg": kwargs.G_smoothing_kimg,
        "G_smoothing_rampup": kwargs.get("G_smoothing_rampup"),
        "resume_pkl": kwargs.get("resume_pkl"),
    }


@pytest.mark.parametrize("case", GOOD, ids=lambda case: " ".join(case["argv"][1:]) or "defaults")
def test_official_options(case, data):
    ours = official(parsed("--cfg=auto", *case["argv"]).kwargs)  # there the default
    wanted = {key: case["options"].get(key) for key in ours}
    wanted["metrics"] = [metric["name"] for metric in case["options"]["metric_arg_list"]]
    wanted["mirror_augment"] = case["options"]["train_dataset_args"]["mirror_augment"]
    # Officially, more GPUs than `minibatch_gpu` allows are divided by zero.
    wanted["minibatch_gpu"] = min(wanted["minibatch_gpu"], wanted["minibatch_size"] // case["options"]["num_gpus"])
    assert ours == wanted


@pytest.mark.parametrize("case", BAD, ids=lambda case: " ".join(case["argv"][1:]))
def test_official_errors(case, data):
    with pytest.raises((SystemExit, run_training.UserError)) as error:
        parsed("--cfg=auto", *case["argv"])
    if isinstance(error.value, SystemExit):
        assert error.value.code not in (0, None)


def test_the_resolution_is_that_of_the_first_image(tmp_path, monkeypatch):
    for number in range(5):
        Image.new("RGB", (32, 32)).save(tmp_path / f"{number}.png")
    open_image, opened = Image.open, []
    monkeypatch.setattr(Image, "open", lambda *args, **kwargs: opened.append(args) or open_image(*args, **kwargs))
    assert parsed(f"--data={tmp_path}", "--cfg=auto").kwargs.sched_args.minibatch_size_base == 32
    assert len(opened) == 1
    for number in (0, 3):
        Image.new("RGB", (32, 31)).save(tmp_path / f"{number}.png")
    lines = problems(f"--data={tmp_path}", "--cfg=auto", "--data-dir=.")
    assert [line.split(":")[0].strip() for line in lines[1:3]] == ["0.png", "3.png"]


def test_auto_goes_by_the_number_of_pixels(tmp_path):
    """96x384 is as many as 192x192."""
    rows = []
    for size in ((384, 96), (192, 192)):  # width, height
        folder = tmp_path / f"{size[1]}"
        folder.mkdir()
        Image.new("RGB", size).save(folder / "0.png")
        kwargs = parsed(f"--data={folder}", "--cfg=auto").kwargs
        rows.append((kwargs.G_args, kwargs.D_args, kwargs.sched_args, kwargs.D_loss_args))
        half = parsed(f"--data={folder}", "--cfg=auto", f"--resolution={size[1] // 2}x{size[0] // 2}").kwargs
        assert half.D_loss_args.gamma * half.sched_args.minibatch_size_base == pytest.approx(0.0002 * 96 * 96)
    assert rows[0] == rows[1]
    (line,) = problems(f"--data={tmp_path / '96'}", "--cfg=auto", "--resolution=96x384", "--base=5x3", "--data-dir=.")
    assert line.startswith("--base: 96x384 is not 5x3 times a power of two; 96x384 has the bases 3x12, 6x24")
    (line,) = problems(f"--data={tmp_path / '96'}", "--cfg=auto", "--resolution=384x96", "--data-dir=.")
    assert line.startswith("--resolution=384x96: expected 96x384, the resolution of the data set, or a lower one: 3x12")


def test_sizes_that_the_data_set_does_not_have(tmp_path):
    Image.new("RGB", (24, 40)).save(tmp_path / "0.png")
    (tmp_path / "options.yaml").write_text("base: [5, 4]\n")
    wrong = {
        f"--options={tmp_path / 'options.yaml'}": "--base: 40x24 is not 5x4 times a power of two; 40x24 has",
        "--resolution=24x40": "--resolution=24x40: expected 40x24, the resolution of the data set, or a lower one: 5x3",
        "--resolution=80x48": "--resolution=80x48: expected 40x24",
    }
    for argument, message in wrong.items():
        with pytest.raises(run_training.UserError, match=message):
            new_run.check_sizes(parsed(f"--data={tmp_path}", "--config=config-f", argument).kwargs)
    new_run.check_sizes(parsed(f"--data={tmp_path}", "--config=config-f", "--resolution=20x12", "--base=10x6").kwargs)


def test_gpus_that_are_no_power_of_two(data):
    kwargs = parsed("--data=data/r256", "--cfg=auto", "--gpus=3").kwargs
    assert (kwargs.sched_args.minibatch_size_base, kwargs.sched_args.minibatch_gpu_base) == (48, 16)
    kwargs = parsed("--data=data/r128", "--cfg=auto", "--gpus=3").kwargs
    assert (kwargs.sched_args.minibatch_size_base, kwargs.sched_args.minibatch_gpu_base) == (60, 20)


def test_batch_is_divided_among_gpus(data):
    sched = parsed("--data=data/r256", "--cfg=paper256", "--gpus=8", "--batch=16").kwargs.sched_args
    assert (sched.minibatch_size_base, sched.minibatch_gpu_base) == (16, 2)


def test_precision(data):
    for config in ("auto", "stylegan2"):
        kwargs = parsed("--data=data/r256", f"--cfg={config}", "--precision=fp32").kwargs
        assert not {"num_fp16_res", "conv_clamp"} & {*kwargs.G_args, *kwargs.D_args}
    assert parsed("--data=data/r256", "--cfg=auto", "--precision=bf16").kwargs.G_args.fp16_dtype == "bfloat16"


def test_augmentation_of_stylegan2_configs(data):
    assert "augment_args" not in parsed("--data=data/r256", "--config=config-f").kwargs
    args = parsed(
        "--data=data/r256", "--config=config-f", "--aug=fixed", "--p=0.25", "--augpipe=blit"
    ).kwargs.augment_args
    assert args == {"tune_heuristic": None, "apply_args": AUGPIPE_SPECS["blit"], "initial_strength": 0.25}


def test_layout_of_grids(data):
    """A row for each class, as officially there, unless an options file says otherwise; at random elsewhere."""
    ada = ("--data=data/r256", "--cfg=auto")
    assert parsed(*ada, "--cond=true").kwargs.grid_args == {"size": "8k", "layout": "row_per_class"}
    assert parsed(*ada).kwargs.grid_args.layout == "random"
    assert parsed("--data=data/r256", "--config=config-f", "--cond=true").kwargs.grid_args.layout == "random"
    (data / "cond.yaml").write_text("dataset_args: {max_label_size: full}\n")
    assert parsed("--options=cond.yaml", *ada).kwargs.grid_args.layout == "row_per_class"
    (data / "grids.yaml").write_text("cond: true\ngrid_args: {layout: class4x4}\n")
    assert parsed("--options=grids.yaml", *ada).kwargs.grid_args.layout == "class4x4"


def test_options_file_sets_single_transforms(data):
    (data / "options.yaml").write_text("augment_args: {apply_args: {xflip: 1, cutout: 0.5}, tune_kimg: 50}\n")
    args = parsed("--options=options.yaml", "--data=data/r256", "--cfg=auto").kwargs.augment_args
    assert args.apply_args == {"xflip": 1, "cutout": 0.5} and args.tune_kimg == 50 and args.tune_heuristic == "rt"


def test_all_problems_at_once(data):
    found = problems("--data=data/r256", "--cfg=auto", "--aug=noaug", "--p=0.1", "--target=0.4", "--augpipe=bg")
    assert [line.split()[0] for line in found] == ["--p", "--target", "--augpipe"]
    assert problems("--data=data/r256", "--config=config-f", "--freezed=2", "--aug=fixed", "--resume-partial") == [
        "--aug=fixed requires specifying --p, such as --p=0.3",
        "--freezed: config-f has no layers that can be frozen; auto, stylegan2, paper256, paper512, paper1024, cifar, "
        "cifarbaseline have",
        "--resume-partial needs --resume=FILE, the networks to start from",
    ]


@pytest.mark.parametrize("value", ["512", "big", "[64]", "-8", "true"])
def test_resolutions_that_cannot_be(data, value):
    (data / "options.yaml").write_text(f"dataset_args: {{resolution: {value}}}\n")
    args = ("--options=options.yaml", "--data=data/r256", "--cfg=auto", "--data-dir=.")
    (line,) = problems(*args)
    assert line.startswith("--resolution=") and "expected 256, the resolution of the data set, or a lower" in line
    (data / "options.yaml").write_text("dataset_args: 3\n")
    assert problems("--options=options.yaml", "--data=data/r256", "--cfg=auto", "--data-dir=.")[0].startswith(
        "dataset_"
    )


def test_usage(capsys, data):
    assert usage_error(capsys, "--p=1.5") == "argument --p: expected a number from 0 to 1, got '1.5'"
    assert "did you mean" in usage_error(capsys, "--augpipe=bcg") or "bgc" in usage_error(capsys, "--augpipe=bcg")


def test_names_of_run_folders(data):
    args = ("--data=data/r256", "--cfg=auto", "--aug=fixed", "--p=0.30", "--augpipe=bg", "--freezed=4")
    assert parsed(*args).submit_config.run_desc == "stylegan2-r256-1gpu-auto-fixed-p0.3-bg-freezed4"


def test_going_on_refuses_another_augmentation(data):
    run_dir = make_run(data, 0, "--dataset=data/r32", "--data-dir=.", "--config=cifar", "--aug=fixed", "--p=0.3")
    assert run_training.parse([f"--resume={run_dir}", "--aug=fixed", "--p=0.3"])[0].run_dir.endswith("fixed-p0.3")
    for flag in ("--aug=ada", "--aug=noaug", "--p=0.4", "--augpipe=bg", "--freezed=3"):
        (line,) = problems(f"--resume={run_dir}", flag)
        assert line.startswith(flag.partition("=")[0] + ": cannot change from"), line


def test_the_newest_run_of_a_configuration(data):
    for number, flags in enumerate((["--aug=noaug"], []), start=10):
        make_run(data, number, "--dataset=data/r32", "--data-dir=.", "--config=stylegan2", *flags)
    run, _ = run_training.parse(["--resume=latest", "--config=stylegan2"])
    assert os.path.basename(run.run_dir) == "00011-stylegan2-r32-1gpu-stylegan2"
    assert np.isclose(run.kwargs.D_loss_args.gamma, 10)
