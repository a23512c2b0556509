"""Computes metrics of networks: the numbers of the paper's tables.

Examples:

  # FID of the paper's FFHQ network
  python run_metrics.py --network=gdrive:networks/stylegan2-ffhq-config-f.pkl --metrics=fid50k \\
    --data-dir=~/datasets --dataset=ffhq --mirror-augment=true

  # Several networks of your own training, and several metrics that share the generated images
  python run_metrics.py --network=results/00000-run/network-snapshot-*.pkl --metrics=fid50k,kid50k,pr50k3

  # What is in a file of a metric network, or of any network; nothing in it is executed
  python run_metrics.py inspect inception_v3_features.pkl
"""

import argparse
import glob
import os
import sys
import textwrap
from typing import Any

import dnnlib
import pretrained_networks
from dnnlib import command_line, flags
from dnnlib.commands import as_called
from dnnlib.errors import Problems, UserError, exits_on_user_error
from metrics.metric_defaults import metric_defaults, needs_reals, no_metric_networks, unknown_metrics
from training.data import find_dataset
from training.run_folder import options_file

_METRICS = "\n  ".join(["Metrics, explained in docs/metrics.md:", *textwrap.wrap(", ".join(metric_defaults), 90)])


def _parser() -> argparse.ArgumentParser:
    parser = flags.ArgumentParser(
        description=__doc__.split("\n", 1)[0],
        epilog=f"{_METRICS}\n{__doc__.split(chr(10), 1)[1]}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="%(prog)s --network=PKL [options]\n       %(prog)s inspect FILE [FILE ...]",
    )
    flags.add_version(parser)
    count = {"type": flags.positive, "metavar": "N"}

    group = parser.add_argument_group("what to compute")
    add = group.add_argument
    network_help = "name, URL or path of a network pickle; several with commas between, or by wildcards"
    add("--network", action="append", required=True, dest="network_pkl", help=network_help, metavar="PKL")
    metrics_help = "names with commas between (default: fid50k)"
    add("--metrics", type=flags.names, default=["fid50k"], help=metrics_help, metavar="LIST")
    dataset_help = "name of a data set in --data-dir, or path of one (default: that of the network's training)"
    add("--dataset", help=dataset_help)
    add(
        "--data-dir",
        help="root folder of data sets (default: datasets; without --dataset, as in training)",
        metavar="DIR",
    )
    mirror_help = "mirror real images at random (default: false; without --dataset, as in training)"
    add("--mirror-augment", **flags.BOOLEAN, help=mirror_help)
    command_line.add_reading_options(group, "upright; without --dataset, as in training")
    add("--num-images", **count, help="generated images or samples (default: as the name says: 50k is 50000)")
    add("--truncation-psi", type=flags.psi, help="truncate generated images (default: do not)", metavar="PSI")
    matte_help = "colour that images with transparency are laid over: white, black, #ff8000 (default: white)"
    add("--matte", type=flags.colour, default=(255, 255, 255), help=matte_help, metavar="COLOUR")
    add("--seed", type=flags.seed, default=0, help="of latents, labels and noise (default: %(default)s)")

    group = parser.add_argument_group("how to compute")
    add = group.add_argument
    add("--num-gpus", **count, default=1, help="GPUs to use; where there is none, 1 is the CPU (default: 1)")
    add("--minibatch-size", **count, help="images on each GPU at once (default: 8; for ppl and ls 4)")
    add("--logical-cpus", **count, help="rehearse --num-gpus on so many parts of the CPU")
    numerics_help = "compute like the official code where it is numerically weak (see docs/metrics.md)"
    add("--official-numerics", action="store_true", help=numerics_help)
    networks_help = "folder with files of metric networks (default: download the official ones)"
    add("--metric-networks", help=networks_help, metavar="DIR")

    command_line.add_allow_tf32(group)

    group = parser.add_argument_group("results and downloads")
    command_line.add_result_dir(group)
    json_help = "write the results there as JSON, too; - is stdout"
    group.add_argument("--json", dest="json_file", help=json_help, metavar="FILE")
    command_line.add_download_options(group)
    return parser


def _networks(given: list[str]) -> list[str]:
    """The networks that --network names, each once. Raises UserError for those that do not exist."""
    result, problems = [], Problems()
    for text in given:
        for name in [text] if os.path.exists(os.path.expanduser(text)) else text.split(","):
            found = sorted(glob.glob(os.path.expanduser(name))) if glob.has_magic(name) else [name]
            if not found:
                problems.messages.append(f"--network: {name}: there is no such file")
            for path in found:
                with problems.gather("--network"):
                    pretrained_networks.locate_networks(path)
            result += found
    problems.report()
    return list(dict.fromkeys(result))


def _check(kwargs: dict[str, Any], submit_config: dnnlib.SubmitConfig) -> None:
    """Resolves names, and raises UserError with everything that is wrong."""
    problems = Problems()
    with problems.gather():
        submit_config.run_dir_root = command_line.check_result_dir(submit_config.run_dir_root)
    problems.messages += unknown_metrics(kwargs["metrics"], none=False)
    problems.messages += [] if kwargs["metrics"] else ["--metrics is empty"]
    problems.messages += no_metric_networks(kwargs["metric_networks"])
    with problems.gather():
        kwargs["network_pkl"] = _networks(kwargs["network_pkl"])
    with problems.gather("--json"):
        kwargs["json_file"] = _writable(kwargs["json_file"])
    if kwargs["data_dir"] is not None:
        kwargs["data_dir"] = os.path.expanduser(kwargs["data_dir"])
        if not os.path.isdir(kwargs["data_dir"]):
            problems.messages.append(f"--data-dir={kwargs['data_dir']}: there is no such folder")
    if kwargs["dataset"] is None:
        for network in kwargs["network_pkl"]:
            with problems.gather(f"--network={network}"):
                _check_dataset_of_training(network, kwargs["data_dir"], kwargs["metrics"])
    else:
        kwargs["data_dir"] = kwargs["data_dir"] or "datasets"
        kwargs["dataset"] = find_dataset.find_dataset(kwargs["dataset"], kwargs["data_dir"])[0]
        with problems.gather():
            find_dataset.check_dataset(kwargs["data_dir"], kwargs["dataset"])
    problems.report()


def _check_dataset_of_training(network: str, data_dir: str | None, metrics: list[str]) -> None:
    """Without --dataset: raises UserError if metrics need the data set that a network was trained with, and where it
    should be there is none."""
    options = options_file.options_beside(network)
    need = ", ".join(name for name in metrics if name in metric_defaults and needs_reals(name))
    if not need:
        return
    if options is None:
        raise UserError(
            f"{need}: needs a data set, and this network is not in the folder of a training; give --dataset"
        )
    path = os.path.join(data_dir or options.data_dir, options.dataset_args.tfrecord_dir)
    if not os.path.exists(path):
        instead = "--dataset" if data_dir else "--data-dir or --dataset"
        raise UserError(f"{need}: needs the data set of its training, and there is no {path}; give {instead}")
    find_dataset.check_kind(path)


def _writable(path: str | None) -> str | None:
    """The path of a file to write, absolute; None and '-' as they are. Raises UserError if it cannot be written."""
    if path in (None, "-"):
        return path
    path = os.path.abspath(os.path.expanduser(path))
    if os.path.isdir(path) or not os.access(os.path.dirname(path), os.W_OK | os.X_OK):
        raise UserError(f"{path} cannot be written")
    return path


def _inspect(files: list[str]) -> None:
    """Prints what files hold."""
    parser = flags.ArgumentParser(
        prog=as_called("run_metrics.py inspect"),
        description="Prints what is in a file of weights: pickles of networks, frozen graphs, .pth. Executes nothing.",
    )
    parser.add_argument("files", nargs="+", help="files", metavar="FILE")
    files = parser.parse_args(files).files
    command_line.import_tensorflow_quietly()
    from metrics.nets import inspection

    problems = Problems()
    for file in files:
        with problems.gather():
            print(inspection.describe(file))
    problems.report()


def run(*args: Any, **kwargs: Any) -> None:
    """`metrics.commands.run`, by its official name."""
    from metrics import commands

    commands.run(*args, **kwargs)


def main() -> None:
    """Parses the command line and submits the run."""
    args = flags.official_spelling(sys.argv[1:])
    with exits_on_user_error("--minibatch-size"):
        if args[:1] == ["inspect"]:
            _inspect(args[1:])
            return
        kwargs = vars(_parser().parse_args(args))
        submit_config = dnnlib.SubmitConfig()
        submit_config.run_dir_root = kwargs.pop("result_dir")
        submit_config.run_desc = "run-metrics"
        submit_config.num_gpus = kwargs.pop("num_gpus")
        _check(kwargs, submit_config)  # before waiting for TensorFlow
        command_line.import_tensorflow_quietly()
        from dnnlib.tflib.devices import check_devices

        check_devices(submit_config.num_gpus, kwargs["logical_cpus"])
        dnnlib.submit_run(submit_config, "metrics.commands.run", **kwargs)


if __name__ == "__main__":
    main()
