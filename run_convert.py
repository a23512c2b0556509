"""Converts networks between formats of checkpoints, downloads published ones, averages and blends them.

Examples:

  # The paper's FFHQ network as arrays and for Keras; what is written is read again and compared
  python run_convert.py --download=ffhq-config-f --output=ffhq.safetensors --output=ffhq.weights.h5

  # A network of the PyTorch version as a pickle of the TensorFlow version
  python run_convert.py network-snapshot-005000.pkl --output=converted.pkl

  # The generator as a SavedModel, a folder, which TensorFlow runs without this repository
  python run_convert.py results/00000-run/network-final.pkl --output=generator

  # The generator for programs that run ONNX: browsers, phones, game engines, C++
  python run_convert.py ffhq-config-f --output=ffhq.onnx --weights=float16 --image=uint8-nhwc

  # A page for browsers, a folder of static files: seeds, truncation, classes and style mixing, computed by the browser
  python run_convert.py ffhq-config-f --output=ffhq.web

  # For PyTorch tools that take checkpoints of rosinality/stylegan2-pytorch: pSp, e4e, StyleCLIP, StyleGAN-NADA
  python run_convert.py ffhq-config-f --output=ffhq.pt

  # The average of snapshots; low levels of one network with high levels of another that was trained from it
  python run_convert.py --average='results/00000-run/network-snapshot-*.pkl' --output=average.pkl
  python run_convert.py ffhq-config-f --blend=results/00001-run/network-final.pkl --blend-at=32 --output=blend.pkl

  # What can be downloaded; where one was downloaded to
  python run_convert.py --download=list
  python run_convert.py --download=ada-metfaces
"""

import argparse
import os
import sys
import textwrap
import time
from dataclasses import replace
from typing import Any

import pretrained_networks
from dnnlib import command_line, download, flags
from dnnlib.commands import as_called
from dnnlib.errors import Problems, UserError, exits_on_user_error
from dnnlib.formats import onnxruntime_web, program_options
from dnnlib.formats.checkpoint_formats import FORMATS, WEB, Output, check_output
from dnnlib.formats.program_options import ProgramOptions
from metrics.nets import catalog
from remaking import changes as remaking
from remaking.changes import NO_CHANGES, Changes

NETWORKS = ("G", "D", "Gs", "all")


def run(
    source: str | None,
    outputs: list[Output],
    cache_dir: str | None = None,
    offline: bool | None = None,
    allow_tf32: bool | None = None,
    changes: Changes = NO_CHANGES,
) -> None:
    """Reads networks, makes others of them if asked for, and writes and verifies each output.

    Args:
        source: name, URL or path of a checkpoint; None: `changes` say which.
        outputs: what to write.
        cache_dir, offline: of downloads.
        allow_tf32: whether networks may be compared in TensorFloat-32 on GPUs; None: as it is set.
        changes: what is made of the networks.

    Raises:
        UserError: with everything that could not be read, made, written or verified. The other outputs are there.
    """
    from dnnlib.tflib import settings
    from dnnlib.tflib.checkpoints.converter import Converter, describe, networks_of
    from remaking.making import make

    def read(name: str) -> dict[str, Any]:
        print(f"Reading {name}...")
        return networks_of(pretrained_networks.read(name, cache_dir, offline), name)

    settings.allow_tf32(allow_tf32)
    networks, done = make(source, changes, read)
    converter = Converter(networks)
    for line in (*done, *describe(networks)):
        print(f"  {line}")
    problems = Problems()
    for output in outputs:
        with problems.gather():
            start = time.monotonic()
            if output.format is WEB:
                output = replace(output, runtime=onnxruntime_web.fetch(cache_dir, offline))
            print(f"Writing {output.path} ({output.format.title})...")
            for line in converter.convert(output):
                print(as_called(f"  {line}"))
            print(f"  written and verified in {time.monotonic() - start:.1f}s")
    problems.report()


# ----------------------------------------------------------------------------
# The command line.


_FORMATS = "Formats by --format and extension, explained in docs/checkpoints.md:\n\n" + "\n".join(
    f"  {format_.name:13} {', '.join(name or 'none' for name in format_.extensions):20} {format_.title}"
    + ", a folder" * format_.is_folder
    for format_ in FORMATS.values()
)


def _parser() -> argparse.ArgumentParser:
    parser = flags.ArgumentParser(
        description=__doc__.split("\n", 1)[0],
        epilog=f"{_FORMATS}\n{__doc__.split(chr(10), 1)[1]}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="%(prog)s SOURCE --output=PATH [options]\n       %(prog)s --download=NAME [--output=PATH] [options]\n"
        "       %(prog)s --average=FILE --average=FILE --output=PATH [options]",
    )
    flags.add_version(parser)
    add = parser.add_argument
    add("source", nargs="?", help="name, URL or path of a checkpoint", metavar="SOURCE")
    add("others", nargs="*", help=argparse.SUPPRESS)  # which are refused, and what they are for is said
    add(
        "--download",
        help="a published network as the source; without --output it is only downloaded; 'list' shows them all",
        metavar="NAME",
    )
    add(
        "--output",
        action="append",
        default=[],
        help="file or folder to write, in the format that its extension tells; may be repeated",
        metavar="PATH",
    )
    add("--format", type=_format, help="format of a single --output (default: as its extension tells)", metavar="NAME")
    add(
        "--network",
        type=_network,
        help="network to write: G, D, Gs or all (default: all; Gs where the format holds one)",
        metavar="NETWORK",
    )
    command_line.add_allow_tf32(parser)
    add("--overwrite", action="store_true", help="replace outputs that exist")
    remaking.add_arguments(parser)
    _add_program_options(parser)
    command_line.add_download_options(parser)
    return parser


def _add_program_options(parser: argparse.ArgumentParser) -> None:
    default = program_options.DEFAULT
    title = "programs (ONNX, LiteRT, web pages)"
    add = parser.add_argument_group(title, "Options of generators that run elsewhere.").add_argument
    add(
        "--entry",
        choices=program_options.ENTRIES,
        default=default.entry,
        help="z: from z, label, psi and cutoff to the image; w: from W of each layer to the image; mapping: from z, "
        "label, psi and cutoff to W (default: %(default)s)",
    )
    add(
        "--noise-mode",
        choices=program_options.NOISE_MODES,
        default=default.noise_mode,
        help="const: the network's own noise images; none; inputs: noise images are inputs (default: %(default)s)",
    )
    add(
        "--image",
        choices=program_options.IMAGES,
        default=default.image,
        help="float-nchw: in [-1, 1]; uint8-nhwc: 0 to 255 (default: %(default)s)",
    )
    add(
        "--weights",
        choices=program_options.WEIGHTS,
        default=default.weights,
        help="how weights are stored, int8 in LiteRT models alone; everything is computed in float32 "
        "(default: %(default)s)",
    )
    add("--opset", type=_opset, default=default.opset, help="of ONNX: 13 to 18 (default: %(default)s)", metavar="N")


def _opset(text: str) -> int:
    opsets = program_options.OPSETS
    if text not in map(str, opsets):
        raise argparse.ArgumentTypeError(f"expected {opsets[0]} to {opsets[-1]}, got {text!r}")
    return int(text)


def _format(text: str) -> str:
    name = text.lower().lstrip(".")
    for format_ in FORMATS.values():
        if name == format_.name or f".{name}" in format_.extensions:
            return format_.name
    raise argparse.ArgumentTypeError(f"expected one of {', '.join(FORMATS)}, got {text!r}")


def _network(text: str) -> str:
    if text not in NETWORKS:
        hint = "; the file to convert is given without an option" if "." in text or ":" in text else ""
        raise argparse.ArgumentTypeError(f"expected one of {', '.join(NETWORKS)}, got {text!r}{hint}")
    return text


def _checked(args: argparse.Namespace) -> tuple[str | None, Changes, list[Output]]:
    """The source, what is made of it, and the outputs. Raises UserError with everything that is wrong."""
    problems = Problems()
    source, changes, outputs = args.source, NO_CHANGES, []
    options = ProgramOptions(args.entry, args.noise_mode, args.image, args.weights, args.opset)
    with problems.gather():
        sources = {"SOURCE": args.source, "--download": args.download, "--average": args.average or None}
        given = [name for name, value in sources.items() if value is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            raise UserError(f"expected one of SOURCE, the checkpoint to convert, --download and --average; got {found}")
        if args.download is not None:
            source = pretrained_networks.published_url(args.download)
        if source is not None:
            catalog.locate_generator(source)
        if args.download is None and not args.output and not args.others:
            raise UserError("--output is missing: what to write, such as --output=network.safetensors")
    with problems.gather():
        changes = remaking.checked(args)
    if args.download is not None and changes != NO_CHANGES and not args.output:
        problems.messages.append("--output is missing: what is made of the downloaded network is written there")
    if args.others:
        flags_ = " ".join(f"--output={name}" for name in args.others)
        problems.messages.append(f"expected one SOURCE, got {len(args.others)} more; what is written: {flags_}")
    if args.format is not None and len(args.output) != 1:
        problems.messages.append(f"--format is for a single --output, got {len(args.output)}")
    for path in args.output:
        with problems.gather("--output"):
            output = check_output(path, args.format, args.network, args.overwrite, options)
            if any(os.path.abspath(output.path) == os.path.abspath(other.path) for other in outputs):
                raise UserError(f"{path}: is given twice")
            outputs.append(output)
    problems.report()
    for name in program_options.given(options):
        if not any(name in output.format.options for output in outputs):
            can = ", ".join(format_.extensions[0] for format_ in FORMATS.values() if name in format_.options)
            problems.messages.append(f"{program_options.flag_of(name)}: is for --output=FILE of {can}; there is none")
    problems.report()
    return source, changes, outputs


def _print_published() -> None:
    """The names of published networks, and where they are."""
    for title, urls in pretrained_networks.published.items():
        print(f"{title}: {next(iter(urls.values())).rpartition('/')[0]}/")
        print(textwrap.fill("  ".join(urls), 100, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False))


def main() -> None:
    """Parses the command line and converts."""
    with exits_on_user_error():
        args = _parser().parse_args(flags.official_spelling(sys.argv[1:]))
        if args.download == "list":
            _print_published()
            return
        source, changes, outputs = _checked(args)  # before waiting for TensorFlow
        if not outputs:
            print(download.fetch(source, args.cache_dir, offline=args.offline))
            return
        command_line.import_tensorflow_quietly()
        try:
            run(source, outputs, args.cache_dir, args.offline, args.allow_tf32, changes)
        except MemoryError:
            raise UserError("out of memory: networks of this size need more") from None


if __name__ == "__main__":
    main()
