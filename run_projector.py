"""Finds the latent vectors of images: `project-generated-images`, `project-real-images`.

Examples:

  # Images that the network made itself
  python run_projector.py project-generated-images --network=gdrive:networks/stylegan2-car-config-f.pkl --seeds=0,1,5

  # Images of a data set
  python run_projector.py project-real-images --network=gdrive:networks/stylegan2-car-config-f.pkl \\
    --dataset=car --data-dir=~/datasets

  # Photos, four at once; vectors for run_generator.py, and videos
  python run_projector.py project-real-images --network=gdrive:networks/stylegan2-ffhq-config-f.pkl \\
    --images ~/people --minibatch-size=4 --save-vector --video
"""

import argparse
import itertools
import os
from typing import Any

import dnnlib
from dnnlib import command_line, flags
from dnnlib.errors import Problems, UserError
from generation import points, video
from metrics import metric_defaults
from metrics.nets import catalog
from projection import starts, state
from projection.commands import project_generated_images, project_real_images
from projection.sources import check_readable, find_images, open_dataset
from training.data import find_dataset
from training.data.image_files import Reading

FILES: dict[str, Any] = {"type": flags.split, "action": "extend", "nargs": "+", "metavar": "FILES"}
"""Arguments of `add_argument` for names of files, which become lists of lists."""
COMMANDS = {"project-generated-images": project_generated_images, "project-real-images": project_real_images}


def _parser() -> argparse.ArgumentParser:
    parser = flags.ArgumentParser(
        description="Finds latent vectors and noise images from which a network makes given images.",
        epilog=__doc__.split("\n\n", 1)[1],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    flags.add_version(parser)
    subparsers = parser.add_subparsers(help="what to do", dest="command", metavar="COMMAND")

    generated = subparsers.add_parser("project-generated-images", help="project images that the network makes of seeds")
    _add_network(generated)
    add = generated.add_argument
    add("--seeds", type=flags.num_list, default=[0, 1, 2], help="list of random seeds: 1,2,7-9 (default: 0-2)")
    psi_help = "truncation of the images: 1 is none (default: %(default)s)"
    add("--truncation-psi", type=flags.psi, default=1.0, help=psi_help, metavar="PSI")
    _add_common(generated)

    real = subparsers.add_parser("project-real-images", help="project images of a data set, or image files")
    _add_network(real)
    add = real.add_argument
    add("--dataset", dest="dataset_name", help="name of a data set in --data-dir, or path of one")
    add("--data-dir", default="datasets", help="root folder of data sets (default: %(default)s)", metavar="DIR")
    images_help = (
        "image files in place of a data set: FILE,FOLDER,'*.jpg'; cut to the proportions of the network and resized"
    )
    add("--images", help=images_help, **FILES)
    convert_help = "convert images of other colours or depths, or with transparency (default: refuse them)"
    add("--convert", default=False, help=convert_help, **flags.BOOLEAN)
    command_line.add_reading_options(real, default="upright")
    count_help = "project only the first so many images (default: 3 of a data set, all of --images)"
    add("--num-images", type=flags.positive, help=count_help, metavar="N")
    _add_common(real)
    return parser


def _add_network(parser: argparse.ArgumentParser) -> None:
    network_help = "name, URL or path of the network pickle"
    parser.add_argument("--network", required=True, dest="network_pkl", help=network_help, metavar="PKL")


def _add_common(parser: argparse.ArgumentParser) -> None:
    shown = " (default: %(default)s)"
    group = parser.add_argument_group("how to project")
    add = group.add_argument
    add("--num-steps", type=flags.positive, default=1000, help="steps of the optimization" + shown, metavar="N")
    rate_help = "learning rate between its ramps" + shown
    add("--learning-rate", type=flags.non_negative, default=0.1, help=rate_help, metavar="RATE")
    noise_help = "weight of what keeps noise images from holding the picture" + shown
    kind = flags.non_negative
    add("--regularize-noise-weight", type=kind, default=1e5, help=noise_help, metavar="WEIGHT")
    w_plus_help = "a vector of its own for each layer: closer to the image, worse to edit"
    add("--w-plus", default=False, help=w_plus_help, **flags.BOOLEAN)
    command_line.add_label(group)
    initial_help = "start from what --save-vector saved: FILE.npz,FOLDER,'*.npz'; one for all images or one for each"
    add("--initial", default=[], help=initial_help, **FILES)
    add("--seed", type=flags.seed, default=0, help="of all random numbers" + shown)
    batch_help = "images projected at once, each as if alone" + shown
    add("--minibatch-size", type=flags.positive, default=1, help=batch_help, metavar="N")
    distance_help = "how images are compared: lpips, pixel, or a file with weights of LPIPS" + shown
    add("--distance", default="lpips", help=distance_help, metavar="NAME")
    networks_help = "folder with files of metric networks (default: download the official LPIPS)"
    add("--metric-networks", help=networks_help, metavar="DIR")

    command_line.add_allow_tf32(group)

    group = parser.add_argument_group("a network of one's own")
    add = group.add_argument
    tune_help = "then so many steps that tune a copy of the network to the images, network-tuned.pkl" + shown
    add("--tune", type=flags.natural, default=0, help=tune_help, metavar="N")
    rate_help = "learning rate of tuning at its highest (default: 0.004; with --tune-locality 0.001)"
    add("--tune-learning-rate", type=flags.non_negative, help=rate_help, metavar="RATE")
    pixel_help = "weight of the mean squared difference of pixels, beside the distance (default: 4)"
    add("--tune-pixel", type=flags.non_negative, help=pixel_help, metavar="WEIGHT")
    locality_help = "weight of what keeps other images as they were; 0 lets them change (default: 0)"
    add("--tune-locality", type=flags.non_negative, help=locality_help, metavar="WEIGHT")
    others_help = "other images that each step looks at for that (default: 16)"
    add("--tune-locality-images", type=flags.positive, help=others_help, metavar="N")
    w_help = "learning rate of W of each layer, which then moves along (default: 0; with --tune-locality 0.06)"
    add("--tune-w-rate", type=flags.non_negative, help=w_help, metavar="RATE")

    group = parser.add_argument_group("results and downloads")
    add = group.add_argument
    add("--num-snapshots", type=flags.natural, default=5, help="images saved on the way" + shown, metavar="N")
    vector_help = "save W and noise images for run_generator.py --dlatents, as .npz"
    add("--save-vector", default=False, help=vector_help, **flags.BOOLEAN)
    video_help = "save an mp4 of the optimization beside the target; needs: pip install imageio-ffmpeg"
    add("--video", default=False, help=video_help, **flags.BOOLEAN)
    command_line.add_result_dir(group)
    command_line.add_download_options(group)


def _check(command: str, kwargs: dict[str, Any], problems: Problems) -> None:
    """Finds files and folders, in place of their names, and gathers everything that is wrong."""
    with problems.gather("--network"):
        catalog.locate_generator(kwargs["network_pkl"])
    problems.messages += metric_defaults.no_metric_networks(kwargs["metric_networks"])
    if kwargs["metric_networks"] is not None:
        kwargs["metric_networks"] = os.path.expanduser(kwargs["metric_networks"])
    with problems.gather(f"--distance={kwargs['distance']}"):
        _check_distance(kwargs["distance"])
    problems.messages += _problems_of_tuning(kwargs)
    if kwargs["video"]:
        with problems.gather("--video"):
            video.check_ffmpeg()
    if command == "project-generated-images":
        origins = [f"seed {seed}" for seed in kwargs["seeds"]]
    else:
        origins = _find_images(kwargs, problems)
    with problems.gather("--initial"):
        kwargs["initial"] = _find_starts(kwargs, origins)
    if problems.messages and kwargs.get("images") and origins:
        # Without other problems, all that is wrong with images is told when the network is there to compare them with.
        with problems.gather("--images"):
            check_readable(origins, Reading(kwargs["exif"], kwargs["max_value"]))


def _problems_of_tuning(kwargs: dict[str, Any]) -> list[str]:
    """What is wrong with the options of --tune, of which those that are not given are taken away."""
    given = [name for name in kwargs if name.startswith("tune_") and kwargs[name] is not None]
    for name in [name for name in kwargs if name.startswith("tune_") and name not in given]:
        del kwargs[name]
    if given and not kwargs["tune"]:
        listed = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        return [f"{listed}: for tuning, which --tune=350 asks for"]
    if "tune_locality_images" in given and not kwargs.get("tune_locality"):
        return ["--tune-locality-images: for the locality term, which --tune-locality=WEIGHT asks for"]
    return []


def _check_distance(name: str) -> None:
    path = os.path.expanduser(name)
    if name not in ("lpips", "pixel") and not dnnlib.util.is_url(name) and not os.path.isfile(path):
        there, hint = "no such file", ""
        if os.path.isdir(path):
            there, hint = "is a folder", f"; --metric-networks={name} looks there for the files of lpips"
        raise UserError(f"{there}, expected lpips, pixel, or a file with weights of LPIPS{hint}")


def _find_images(kwargs: dict[str, Any], problems: Problems) -> list[str] | None:
    """Finds the data set or the image files. Returns where each image is from, as far as it is known which they are."""
    num_images, reading = kwargs["num_images"], Reading(kwargs["exif"], kwargs["max_value"])
    if (kwargs["dataset_name"] is None) == (kwargs["images"] is None):
        given = "neither" if kwargs["images"] is None else "both"
        problems.messages.append(f"expected --dataset (with --data-dir) or --images, got {given}")
    elif kwargs["images"] is not None:
        with problems.gather("--images"):
            kwargs["images"] = find_images(list(itertools.chain(*kwargs["images"])), reading)
            if len(kwargs["images"]) >= (num_images or 0):
                return kwargs["images"][:num_images]
            problems.messages.append(f"--num-images={num_images}: --images has {len(kwargs['images'])}")
    else:
        if kwargs["convert"]:
            problems.messages.append("--convert is for --images; data sets are used as they are")
        kwargs["data_dir"] = os.path.expanduser(kwargs["data_dir"])
        with problems.gather():
            kwargs["dataset_name"] = find_dataset.find_dataset(kwargs["dataset_name"], kwargs["data_dir"])[0]
            find_dataset.check_dataset(kwargs["data_dir"], kwargs["dataset_name"])
            if num_images is not None:
                open_dataset(kwargs["dataset_name"], kwargs["data_dir"], num_images, reading).close()
                return [f"{kwargs['dataset_name']} {index}" for index in range(num_images)]
    return None


def _find_starts(kwargs: dict[str, Any], origins: list[str] | None) -> list[str]:
    """Finds the files of --initial, and compares them with the images as far as that needs no network."""
    problems = Problems()
    paths: list[str] = []
    for name in itertools.chain(*kwargs["initial"]):
        with problems.gather():
            paths += points.find_files(name)
    with problems.gather():
        found = starts.load(paths, kwargs["w_plus"])
        all_known = paths and len({start.path for start in found}) == len(set(paths))
        if all_known and origins is not None and not problems.messages:
            starts.check_count(found, len(origins))
            paths = starts.by_images(found, origins) or paths
    problems.report()
    return paths


def main() -> None:
    """Parses the command line and submits the run."""
    command_line.submit_command(_parser(), "run_projector", COMMANDS, _check, state.unfinished)


if __name__ == "__main__":
    main()
