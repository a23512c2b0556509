"""The model card of a run, `network-final.md`: what the network beside it is, in a page to read and publish."""

import contextlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dnnlib.commands import as_called
from dnnlib.errors import counted, printable
from dnnlib.files import atomic_write
from dnnlib.util import format_time
from training.data.contents import describe_facts

_PIXELS = {1: "grayscale", 3: "RGB", 4: "RGB with transparency"}
_LARGEST_PICTURE = 1024, 2048  # height and width, pixels
_MOST_IMAGES = 8, 16  # rows and columns


def sample_size(image: Sequence[int], grid: Sequence[int]) -> tuple[int, int]:
    """How many rows and columns of a grid the card's picture shows.

    image: height and width of an image. grid: rows and columns of the grid.
    """
    sizes = zip(image, grid, _LARGEST_PICTURE, _MOST_IMAGES, strict=True)
    rows, columns = (min(there, most, max(largest // side, 1)) for side, there, largest, most in sizes)
    return rows, columns


def save(run_dir: str, network: str, **facts: Any) -> None:
    """Writes the card of a network of a run, `NAME.md` beside `NAME.pkl`. Raises OSError.

    Args:
        run_dir: the run folder.
        network: name of the pickle.
        facts: as of `text`.
    """
    path = os.path.join(run_dir, network.removesuffix(".pkl") + ".md")
    with atomic_write(path) as file:
        file.write(text(network, metrics=metrics_of(run_dir), **facts).encode("utf-8", "backslashreplace"))


def text(
    network: str,
    options: Any,
    shape: Sequence[int],
    nimg: int,
    seconds: float,
    hardware: str,
    parameters: int,
    software: str,
    data: Mapping[str, Any] | None = None,
    label_size: int = 0,
    augmentation: str | None = None,
    metrics: Mapping[str, tuple[float, str]] | None = None,
) -> str:
    """The card, in Markdown. No folder of the machine is named in it.

    Args:
        network: name of the pickle; the picture is beside it.
        options: the training's, `training.loop.options.LoopOptions`.
        shape: of the images, [C, H, W].
        nimg: real images shown.
        seconds: that it took.
        hardware: that it ran on last.
        parameters: trained numbers of the generator.
        software: names and versions.
        data: facts about the data set, see `Contents.facts`; None: not known.
        label_size: columns of labels that the network takes.
        augmentation: of what the discriminator saw; None: none.
        metrics: values, and the pickle that they are of, by name.
    """
    channels, height, width = shape
    size = f"{height}x{width} pixels" + " (height x width)" * (height != width)
    pixels = _PIXELS.get(channels, counted(channels, "channel"))
    dataset = _base(options.dataset_args.get("tfrecord_dir") or options.dataset_args.get("class_name") or "?")
    lines = [
        f"# {_plain(dataset)}, {height}x{width}",
        "",
        f"A {_family(options)} generator of images of {size}, {pixels}, trained on {_code(dataset)}. "
        f"{_code(network)} has G, D, and Gs, the moving average of G, whose images these are:",
        "",
        f"![Images of the network, not selected]({network.removesuffix('.pkl')}.png)",
        "",
        "*Random latents without truncation, not selected.*",
        *_table("Data", _about_data(dataset, data, label_size, options)),
        *_table("Training", _about_training(options, nimg, seconds, hardware, parameters, software, augmentation)),
        "",
        "All options are in `training_options.json` of the run.",
        *_about_metrics(metrics or {}, [str(args.get("name")) for args in options.metric_arg_list], network),
        *_about_use(network, shape, label_size, "classes" in (data or {})),
        "",
        "## What its publisher adds",
        "",
        "The licence; where the images come from, and what they may be used for; what the network is meant for, and "
        "what it is not.",
    ]
    return "\n".join(lines) + "\n"


def _family(options: Any) -> str:
    module = str(options.G_args.get("func_name")).rpartition(".")[0]
    known = {"training.networks_stylegan": "StyleGAN", "training.networks": "StyleGAN2-ADA"}
    return known.get(module, "StyleGAN2")


def _about_data(
    dataset: str, data: Mapping[str, Any] | None, label_size: int, options: Any
) -> Iterator[tuple[str, str]]:
    yield "data set", _code(dataset)
    yield "content", _plain(describe_facts(data) or "not known")
    if label_size:
        yield "labels", f"the network takes {counted(label_size, 'column')} of them"
    elif data and (data.get("classes") or data.get("label_names")):
        yield "labels", "not trained with"
    if options.mirror_augment:
        yield "mirrored", "half of the images shown, at random"


def _about_training(
    options: Any,
    nimg: int,
    seconds: float,
    hardware: str,
    parameters: int,
    software: str,
    augmentation: str | None,
) -> Iterator[tuple[str, str]]:
    yield "configuration", _code(options.config) if options.config else "none by name"
    if options.resume_pkl:
        part = ", as far as it fits" if options.resume_partial else ""
        yield "started from", _code(_origin(options.resume_pkl)) + part
    yield "real images shown", f"{nimg / 1000:g} thousand"
    yield "time", f"{format_time(seconds)}, at the end on {_plain(hardware)}"
    yield "generator", f"{parameters:,} parameters"
    minibatch = options.sched_args.get("minibatch_size_base")
    if minibatch:
        yield "minibatch", f"{minibatch} images"
    if "gamma" in options.D_loss_args:
        yield "R1 gamma", f"{options.D_loss_args['gamma']:g}"
    if augmentation:
        yield "augmentation", _plain(augmentation)
    if options.D_args.get("freeze_layers"):
        yield "not trained", f"the first {counted(options.D_args['freeze_layers'], 'layer')} of D"
    if options.G_args.get("num_fp16_res"):
        yield "precision", f"16 bit in the {counted(options.G_args['num_fp16_res'], 'highest resolution')}"
    yield "software", _plain(software)


def _about_metrics(metrics: Mapping[str, tuple[float, str]], asked: Sequence[str], network: str) -> list[str]:
    failed = [name for name in asked if not any(found.startswith(name) for found in metrics)]
    compute = as_called(f"python run_metrics.py --network={network} --metrics=fid50k")
    lines = ["", "## Numbers", ""]
    if metrics:
        lines += ["| metric | value | of |", "|---|---|---|"]
        lines += [f"| {_plain(name)} | {value:.4g} | {_code(of)} |" for name, (value, of) in metrics.items()]
        lines += [""] if failed else []
    if failed:
        lines.append(f"Asked for, but not computed (`log.txt` of the run says why): {_plain(', '.join(failed))}.")
    if not metrics and not failed:
        lines.append(f"No metrics were computed. {_code(compute)} does it.")
    return lines


def _about_use(network: str, shape: Sequence[int], label_size: int, has_classes: bool) -> list[str]:
    flag = argument = ""
    if label_size and has_classes:
        flag, argument = " --class-idx=0", ", class_idx=0"
    elif label_size:
        flag, argument = f" --label={','.join(['0'] * label_size)}", f", label=[0] * {label_size}"
    generate = f"python run_generator.py generate-images --network={network} --seeds=0-23{flag} --truncation-psi=0.7"
    height, width = shape[1:]
    return [
        *("", "## Use", "", "```", as_called(generate), "```", "", "```python"),
        "import generation, pretrained_networks",
        "",
        f'Gs = pretrained_networks.load("{network}")',
        f"images = generation.images(Gs, seeds=[1, 2], truncation_psi=0.7{argument})"
        f"  # uint8 [2, {height}, {width}, {shape[0]}]",
        "```",
    ]


def metrics_of(run_dir: str) -> dict[str, tuple[float, str]]:
    """The last value of each metric that a run has computed, and the name of the pickle that it is of."""
    found: dict[str, tuple[float, str]] = {}
    for path in sorted(Path(run_dir).glob("metric-*.jsonl")):
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError, IndexError):  # of whatever program
            record = json.loads(lines[-1])
            of = _base(str(record["network_pkl"]))
            found |= {str(name): (float(value), of) for name, value in record["results"].items()}
    return found


# ----------------------------------------------------------------------------
# Texts of whatever origin, in Markdown.


def _table(title: str, rows: Iterator[tuple[str, str]]) -> list[str]:
    return ["", f"## {title}", "", "| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]


def _plain(value: str) -> str:
    """Text in which nothing is Markdown or HTML."""
    return re.sub(r"([\\`*_\[\]<>|#!])", r"\\\1", printable(value, 2000))


def _code(value: str) -> str:
    """Text as code, also within a table."""
    return f"`{printable(str(value), 300).replace('`', chr(39)).replace('|', '/')}`"


def _base(path: str) -> str:
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1]


def _origin(name: str) -> str:
    """Where networks come from, without folders of this machine, or what an address keeps secret."""
    if "://" in name or name.startswith("gdrive:"):
        return re.sub(r"[?#].*|(?<=://)[^/]*@", "", name)
    of_run = re.search(r"[^/\\]+[/\\]network-[^/\\]+$", name)
    return of_run[0] if of_run else _base(name)
