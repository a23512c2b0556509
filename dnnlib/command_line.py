"""What the scripts share: options, submitting the function of a command, TensorFlow without its notes."""

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .errors import Problems, UserError, exits_on_user_error
from .files import check_can_be_made
from .flags import BOOLEAN, above_zero, class_idx, image_format, label_vector, official_spelling
from .streams import hidden_notes


def check_result_dir(path: str) -> str:
    """The folder --result-dir, `~` expanded. Raises UserError unless folders can be made in it."""
    path = os.path.expanduser(path)
    if not path:
        raise UserError("--result-dir is empty, expected a folder")
    check_can_be_made(f"--result-dir={path}", os.path.abspath(path))
    return path


def add_result_dir(parser: Any) -> None:
    """The official --result-dir, of a parser or a group of its arguments."""
    parser.add_argument(
        "--result-dir", default="results", help="root folder of run folders (default: %(default)s)", metavar="DIR"
    )


def add_label(parser: Any) -> None:
    """--class-idx and --label, one of them, of a parser or a group of its arguments."""
    add = parser.add_mutually_exclusive_group().add_argument
    class_help = "class of a conditional network; PyTorch networks need it (default: no label)"
    add("--class-idx", type=class_idx, help=class_help, metavar="CLASS")
    label_help = "label vector of a network that was trained with such: numbers with commas between"
    add("--label", type=label_vector, help=label_help, metavar="NUMBERS")


def add_image_format(parser: Any, of: str) -> None:
    """Adds --format. of: what is saved in it."""
    format_help = f"file format of {of}: png, jpg or webp (default: %(default)s)"
    parser.add_argument(
        "--format", type=image_format, default="png", dest="image_format", help=format_help, metavar="FORMAT"
    )


def add_allow_tf32(parser: Any, default: Any = False) -> None:
    """The official --allow-tf32, of a parser or a group of its arguments, see `dnnlib.tflib.settings`."""
    tf32_help = "compute float32 in TensorFloat-32 on GPUs: faster, less exact (default: false)"
    parser.add_argument("--allow-tf32", default=default, help=tf32_help, **BOOLEAN)


def add_download_options(parser: Any) -> None:
    """--cache-dir and --offline, of a parser or a group of its arguments."""
    parser.add_argument(
        "--cache-dir", help="folder for downloads (default: $STYLEGAN2_CACHE_DIR or .stylegan2-cache)", metavar="DIR"
    )
    parser.add_argument(
        "--offline", action="store_true", default=None, help="fail instead of downloading (default: $STYLEGAN2_OFFLINE)"
    )


def add_reading_options(parser: Any, unless_given: str = "upright", **exif: Any) -> None:
    """--exif and --max-value, see `training.data.image_files.Reading`, of a parser or a group of its arguments.

    unless_given: what --exif is then, in words. exif: arguments of `add_argument` for it.
    """
    exif_help = f"turn images upright by their EXIF orientation, or ignore it (default: {unless_given})"
    parser.add_argument("--exif", choices=("upright", "ignore"), help=exif_help, **exif)
    white_help = "what is white in images of more than 8 bits per channel, such as 4095 for 12 bits"
    parser.add_argument("--max-value", type=above_zero, help=white_help, metavar="N")


def submit_command(
    parser: argparse.ArgumentParser,
    module: str,
    commands: Mapping[str, Callable[..., None]],
    check: Callable[[str, dict[str, Any], Problems], None],
    unfinished: Callable[[str, str, dict[str, Any]], str | None] | None = None,
) -> None:
    """The main function of a script with sub-commands: parses the command line and submits the run.

    parser: puts the sub-command into `command`. module: of the functions. check: takes a sub-command and the arguments
    of its function, in which it resolves names, and gathers problems; called before TensorFlow is imported. unfinished:
    takes the folder of runs, a sub-command and the arguments of its function, and returns the run folder in which it is
    to go on, or None: in a new one.
    """
    import dnnlib

    with exits_on_user_error("--minibatch-size"):
        kwargs = vars(parser.parse_args(official_spelling(sys.argv[1:])))
        command = kwargs.pop("command")
        if command is None:
            print("Error: missing subcommand.  Re-run with --help for usage.")
            sys.exit(1)
        submit_config = dnnlib.SubmitConfig()
        submit_config.run_desc = command
        problems = Problems()
        with problems.gather():
            submit_config.run_dir_root = check_result_dir(kwargs.pop("result_dir"))
        check(command, kwargs, problems)
        problems.report()
        run_dir = unfinished(submit_config.run_dir_root, command, kwargs) if unfinished else None
        import_tensorflow_quietly()
        function = f"{module}.{commands[command].__name__}"
        if run_dir is None:
            dnnlib.submit_run(submit_config, function, **kwargs)
        else:
            dnnlib.submission.submit.resume_run(run_dir, function, **kwargs)


@contextlib.contextmanager
def left_out(*names: str) -> Iterator[None]:
    """Inside, packages are as if they were not installed, unless they are imported already.

    Keras imports some where it finds them, for wrappers that nobody needs here: a quarter of the time to start.
    """
    names = tuple(name for name in names if name not in sys.modules)
    sys.modules.update(dict.fromkeys(names))
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]


def import_tensorflow_quietly() -> None:
    """Imports TensorFlow without the notes that it writes to stderr at start-up; they are shown if that fails.

    TF_CPP_MIN_LOG_LEVEL=0 shows them in any case. Raises UserError for a STYLEGAN2_OPS that cannot be.
    """
    of_cluster = bool(os.environ.get("TF_CONFIG"))  # several screens about a worker that is gone
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3" if of_cluster else "2")
    with hidden_notes(), left_out("sklearn", "matplotlib"):
        import tensorflow as tf

        tf.config.list_physical_devices()
    from dnnlib.tflib.ops.implementation import check_environment

    check_environment()
