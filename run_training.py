"""Trains a network: makes a run folder with snapshots, pictures and logs, or goes on with one.

Examples:

  # The paper's FFHQ network
  python run_training.py --num-gpus=8 --data-dir=~/datasets --config=config-f --dataset=ffhq --mirror-augment=true

  # Your own images, small, on a CPU
  python run_training.py --dataset=my-images.zip --config=config-f --fmap-base=2048

  # A few hundred images: augmentation as in StyleGAN2-ADA, whose names of flags are understood, too
  python run_training.py --data=few-images.zip --cfg=auto --mirror=true

  # Go on with the newest run
  python run_training.py --resume=latest

  # On clusters that end jobs and start them again: the same command line each time
  python run_training.py --dataset=ffhq --config=config-f --run-name=faces --resume=auto
"""

import argparse
import math
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from dnnlib import command_line
from dnnlib.clusters import meeting, slurm
from dnnlib.errors import UserError, exits_on_user_error, lines_of
from dnnlib.flags import (
    BOOLEAN,
    ArgumentParser,
    add_version,
    colour,
    image_size,
    names,
    natural,
    number,
    official_spelling,
    positive,
    seed,
)
from training.augmentation.specs import AUGPIPE_SPECS
from training.data import find_dataset
from training.options import augmentation, new_run, resumed_run, yaml_file
from training.options.ada_configs import ADA_CONFIGS
from training.options.auto_run import AutoRun
from training.options.configs import CONFIGS_IN_SHORT
from training.options.loop_arguments import ARGUMENTS, no_such
from training.options.new_run import Run

ADA_SPELLINGS = {
    "--data": "--dataset",
    "--cfg": "--config",
    "--kimg": "--total-kimg",
    "--mirror": "--mirror-augment",
    "--res": "--resolution",
    "--gpus": "--num-gpus",
    "--batch": "--minibatch",
    "--outdir": "--result-dir",
}
"""Flags of the official StyleGAN2-ADA under another name here."""

# ----------------------------------------------------------------------------
# Kinds of arguments.


def _number(expected: str, least: float, most: float = sys.float_info.max) -> Callable[[str], int | float]:
    def parse(text: str) -> int | float:
        value = number(text, expected, least, most)
        return int(value) if value == int(value) else value

    return parse


_above_zero = _number("above 0", math.ulp(0.0))
_not_negative = _number("of 0 or more", 0)
_fraction = _number("from 0 to 1", 0, 1)

# ----------------------------------------------------------------------------
# The command line.


class _Parser(ArgumentParser):
    """Names the options file in errors of values that come from one."""

    reading = ""

    def error(self, message: str) -> NoReturn:
        super().error(message + self.reading)


def _parser() -> _Parser:
    parser = _Parser(
        description=__doc__.split("\n", 1)[0],
        epilog=__doc__.split("\n", 1)[1],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,  # which options are given matters
    )
    add_version(parser)
    count, boolean = {"type": positive}, BOOLEAN

    group = parser.add_argument_group("what to train")
    add = group.add_argument
    add("--dataset", help="name of a data set in --data-dir, or path of one: tfrecords, images, zip, lmdb")
    add("--data-dir", help="root folder of data sets (default: datasets)", metavar="DIR")
    config_help = f"{CONFIGS_IN_SHORT}; of StyleGAN2-ADA: {', '.join(ADA_CONFIGS)}"
    add("--config", help=config_help, metavar="CONFIG")
    kimg_help = "length in thousands of images (default: 25000; cifar: 100000)"
    add("--total-kimg", type=_above_zero, help=kimg_help, metavar="KIMG")
    add("--mirror-augment", **boolean, help="mirror images at random (default: false)")
    add("--cond", **boolean, help="train with the labels of the data set (default: false)")
    resolution_help = "train at a lower resolution than the data set's: 256, or height x width such as 320x192"
    add("--resolution", type=image_size, help=resolution_help, metavar="SIZE")
    base_help = "smallest feature maps, height x width; images are these times a power of two (default: of about 4x4)"
    add("--base", type=image_size, help=base_help, metavar="SIZE")
    command_line.add_reading_options(group)
    add("--gamma", type=_not_negative, help="weight of R1 regularization (default: 10, or the configuration's)")
    add("--seed", type=seed, help="of all random numbers (default: 1000)")

    add = parser.add_argument_group("augmentation of what the discriminator sees").add_argument
    aug_help = "noaug, ada: as much as its overfitting asks for, or fixed (default: ada for configs of StyleGAN2-ADA)"
    add("--aug", choices=augmentation.AUGMENTATIONS, help=aug_help)
    add("--p", type=_fraction, help="probability of transforms, with --aug=fixed", metavar="P")
    add("--target", type=_fraction, help="of the overfitting measure r_t, with --aug=ada (default: 0.6)", metavar="R")
    add("--augpipe", choices=tuple(AUGPIPE_SPECS), help="which transforms (default: bgc)")

    group = parser.add_argument_group("size and speed")
    add = group.add_argument
    gpus_help = "GPUs to use; where there is none, 1 is the CPU (default: 1)"
    add("--num-gpus", **count, help=gpus_help, metavar="N")
    add("--minibatch", **count, help="images per step (default: 32; config-a to -d: up to 256)", metavar="N")
    add("--minibatch-gpu", **count, help="images on a GPU at once (default: 4; config-a to -d: up to 32)", metavar="N")
    add("--fmap-base", **count, help="feature maps, for all layers (default: 8192; config-f: 16384)", metavar="N")
    add("--fmap-max", **count, help="feature maps of a layer at most (default: 512)", metavar="N")
    precision_help = "fp32, or fp16 or bf16: 16 bit in the 4 highest resolutions (default: fp32; StyleGAN2-ADA: fp16 "
    precision_help += "on GPUs, bf16 on CPUs)"
    add("--precision", choices=tuple(new_run.PRECISIONS), help=precision_help)
    command_line.add_allow_tf32(group, default=argparse.SUPPRESS)
    cluster_help = "several workers, one for each task that srun has started; --num-gpus is that of each"
    add("--cluster", choices=("slurm",), help=cluster_help)
    add("--logical-cpus", **count, help="rehearse --num-gpus on so many parts of the CPU", metavar="N")

    add = parser.add_argument_group("results").add_argument
    add("--result-dir", help="root folder of run folders (default: results)", metavar="DIR")
    name_help = "name of the run folder (default: a number, data set and configuration)"
    add("--run-name", help=name_help, metavar="NAME")
    metrics_help = "names with commas between, or none (default: fid50k)"
    add("--metrics", type=names, help=metrics_help, metavar="LIST")
    networks_help = "folder with files of the networks that metrics need (default: download them)"
    add("--metric-networks", help=networks_help, metavar="DIR")
    matte_help = "colour under transparency in metrics: white, black, #ff8000 (default: white)"
    add("--matte", type=colour, help=matte_help, metavar="COLOUR")
    add("--snap", **count, help="ticks between network snapshots (default: 10)", metavar="TICKS")
    add("--image-snap", **count, help="ticks between image snapshots (default: 10)", metavar="TICKS")
    add("--keep-snapshots", **count, help="newest network snapshots to keep (default: all)", metavar="N")

    add = parser.add_argument_group("starting").add_argument
    resume_help = "latest or a run folder: go on with it; auto: go on with the run of these options, or start it; "
    add("--resume", help=f"{resume_help}a file of networks: start from their weights")
    from_help = "with --resume=auto: file of networks from whose weights the run starts"
    add("--start-from", help=from_help, metavar="FILE")
    add("--resume-partial", **boolean, help="start from the weights that fit, if not all do (default: false)")
    changed_help = "go on with a run although its data set has changed (default: false)"
    add("--resume-changed-data", **boolean, help=changed_help)
    freezed_help = "do not train the first layers of the discriminator (default: 0)"
    add("--freezed", type=natural, help=freezed_help, metavar="LAYERS")
    add("--options", help="YAML file with any of these options, or arguments of training_loop", metavar="FILE")
    add("--dry-run", action="store_true", help="check and print the options as JSON, and stop")
    parser.accept(ADA_SPELLINGS)
    return parser


def _read_options(parser: _Parser, path: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The flags and the arguments of `training_loop` in an options file."""
    known = {flag[2:] for flag in (*parser.flags(), *parser.spellings)} - {"help", "version", "options", "dry-run"}
    flags, settings, problems = [], {}, []
    for key, value in yaml_file.read_yaml(path).items():
        if (name := key.replace("_", "-")) in known:
            flags.append(f"--{name}={_as_argument(value)}")
        elif key in ARGUMENTS:
            settings[key] = value
        else:
            problems.append(f"{path}: {no_such('option', key, known | ARGUMENTS)}")
    if problems:
        raise UserError("\n".join(problems))
    parser.reading = f" (in {path})"
    of_file = vars(parser.parse_args(flags))
    parser.reading = ""
    return of_file, settings


def _as_argument(value: Any) -> str:
    if isinstance(value, list):
        is_size = all(isinstance(item, int) for item in value)
        return ("x" if is_size else ",").join(map(str, value))
    return "none" if value is None else str(value)


def parse(args: list[str]) -> tuple[Run, bool]:
    """The training that a command line asks for, and whether it only asks to see the options.

    Raises:
        UserError: all problems of its options, one per line.
        SystemExit: usage, as of argparse.
    """
    parser = _parser()
    flags = vars(parser.parse_args(official_spelling(args)))
    settings: dict[str, Any] = {}
    if "options" in flags:
        from_file, settings = _read_options(parser, flags.pop("options"))
        flags = {**from_file, **flags}
    dry_run = flags.pop("dry_run", False)
    task = slurm.join() if flags.pop("cluster", None) else None
    if flags.get("resume") == "noresume":  # official default of StyleGAN2-ADA
        del flags["resume"]
    is_auto = flags.get("resume") == "auto"
    if "start_from" in flags and not is_auto:
        parser.error("--start-from is for --resume=auto; without that it is --resume=FILE")
    if not is_auto and resumed_run.continues(flags):
        if "run_name" in flags:
            parser.error(f"--run-name is for new runs and --resume=auto, not for --resume={flags['resume']}")
        return _ready(resumed_run.old_run(flags, settings), task), dry_run
    missing = [f"--{name}" for name in ("dataset", "config") if name not in flags]
    if missing:
        reason = ""
        if is_auto:
            reason = " (--resume=auto may have to start the run)"
        elif "resume" in flags:
            resumed_run.check_pickle(flags)
            reason = f" (--resume={flags['resume']} is a network pickle, which starts a new run)"
        parser.error(f"the following arguments are required: {', '.join(missing)}{reason}")
    return _ready(AutoRun(flags, settings) if is_auto else new_run.new_run(flags, settings), task), dry_run


def _ready(run: Run, task: slurm.Task | None) -> Run:
    if task is not None:
        slurm.take_gpus(task, run.submit_config.num_gpus)
    for note in run.notes:
        print(note, file=sys.stderr)
    return run


def main() -> None:
    """Parses the command line and submits the run."""
    with exits_on_user_error("--minibatch-gpu"):
        try:
            run, dry_run = parse(sys.argv[1:])
        except UserError as error:
            for problem in lines_of(str(error)):
                print(f"Error: {problem}")  # on stdout, as officially
            sys.exit(1)
        if run.finished_kimg is not None and not dry_run:
            run.start()
            return
        find_dataset.check_dataset(run.kwargs.data_dir, run.kwargs.dataset_args.tfrecord_dir)
        new_run.check_sizes(run.kwargs)
        if dry_run:
            print(run.to_json())
            return
        with meeting.begun():
            command_line.import_tensorflow_quietly()
            from dnnlib.tflib.devices import check_devices

            check_devices(run.submit_config.num_gpus, run.kwargs.get("logical_cpus"))
            run.start()


if __name__ == "__main__":
    main()
