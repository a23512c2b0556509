"""Runs `dataset_tool.py` and reads what it wrote, as TensorFlow does."""

import contextlib
import functools
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image

import dataset_tool

ROOT = Path(__file__).parent.parent.parent


def start(cwd, *args, shell_prefix="", env=None):
    """The tool in a process of its own."""
    command = [sys.executable, str(ROOT / "dataset_tool.py"), *map(str, args)]
    if shell_prefix:
        command = ["bash", "-c", f'{shell_prefix}; exec "$@"', "bash", *command]
    # Python ignores Ctrl-C if its parent does, as shells make their background jobs do.
    listen = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=cwd, env=env, preexec_fn=listen, **pipes)


def run(cwd, *args, **kwargs):
    """Runs the tool to the end: in this process, which is faster, unless there are keyword arguments for `start`."""
    if kwargs:
        process = start(cwd, *args, **kwargs)
        out, err = process.communicate(timeout=300)
        returncode = process.returncode
    else:
        returncode, out, err = run_here(cwd, args)
    assert "Traceback" not in err, err
    return subprocess.CompletedProcess(args, returncode, out, err)


def run_here(cwd, args):
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", newline="") for _ in range(2))
    returncode, argv, before = 0, sys.argv, os.getcwd()
    sys.argv = ["dataset_tool.py", *map(str, args)]
    os.chdir(cwd)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            dataset_tool.main()
    except SystemExit as stop:
        returncode = stop.code
    finally:
        os.chdir(before)
        sys.argv = argv
    texts = []
    for stream in (out, err):
        stream.flush()
        texts.append(stream.buffer.getvalue().decode())
    return returncode, *texts


def succeeds(cwd, *args, **kwargs):
    result = run(cwd, *args, **kwargs)
    assert result.returncode == 0, result.stderr
    return result


def fails(cwd, *args, **kwargs):
    """What a command that fails says; it leaves no file and no folder."""
    before = sorted(Path(cwd).rglob("*"))
    result = run(cwd, *args, **kwargs)
    assert result.returncode == 1
    assert sorted(Path(cwd).rglob("*")) == before
    return result.stderr


def parse(path):
    """Images of a tfrecord file as TensorFlow reads them, [N, C, H, W]."""
    import tensorflow as tf

    features = {"shape": tf.io.FixedLenFeature([3], tf.int64), "data": tf.io.FixedLenFeature([], tf.string)}
    images = []
    for record in tf.data.TFRecordDataset(str(path)):
        example = tf.io.parse_example(record, features)
        images.append(np.frombuffer(example["data"].numpy(), np.uint8).reshape(example["shape"].numpy()))
    return np.stack(images)


def dataset(folder):
    """All levels of a data set, by resolution, and its labels."""
    files = {path.name: path for path in Path(folder).iterdir() if not path.name.startswith(".")}
    labels = files.pop(f"{folder.name}-rxx.labels", None)
    levels = {}
    for name, path in files.items():
        images = parse(path)
        assert name == f"{folder.name}-r{images.shape[2].bit_length() - 1:02d}.tfrecords"
        levels[images.shape[2]] = images
    assert sorted(levels) == [2**level for level in range(2, max(levels).bit_length())]
    for size, images in levels.items():
        factor = max(levels) // size
        full = levels[max(levels)].astype(np.float64)
        means = full.reshape(*full.shape[:2], size, factor, size, factor).mean(axis=(3, 5))
        np.testing.assert_array_equal(images, np.rint(means).astype(np.uint8))
    return levels[max(levels)], None if labels is None else np.load(labels)


def shuffled(count):
    order = np.arange(count)
    np.random.RandomState(123).shuffle(order)
    return order


def random_images(count, *shape, seed=1):
    return np.random.RandomState(seed).randint(0, 256, [count, *shape], np.uint8)


def save_images(folder, images, names=None, **kwargs):
    folder.mkdir(parents=True, exist_ok=True)
    for idx, image in enumerate(images):
        PIL.Image.fromarray(image).save(folder / (names[idx] if names else f"{idx:04d}.png"), **kwargs)
