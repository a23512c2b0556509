"""Functions are traced as often as they must be, and no more."""

import logging
import re
from collections import Counter

import numpy as np
import pytest
import tensorflow as tf
from small_trainings import OPTIONS
from test_training_loop import symbols, train  # noqa: F401, a fixture

from dnnlib.tflib import Network, convert_images_to_uint8
from generation.conventions import Rendering
from generation.image_generator import ImageGenerator


@pytest.fixture
def functions(monkeypatch):
    """All that is compiled by `tf.function` in the test."""
    created = []
    compile_function = tf.function

    def recording(*args, **kwargs):
        created.append(compile_function(*args, **kwargs))
        return created[-1]

    monkeypatch.setattr(tf, "function", recording)
    return created


def traced(folder):
    """How often the log of a training says that something was traced."""
    lines = re.findall(r"^Traced (.*) in \d+\.\ds\.$", (folder / "log.txt").read_text(), re.MULTILINE)
    return Counter(lines)


def counts(functions):
    return [function.experimental_get_tracing_count() for function in functions]


def start(folder, data, config, *args, **changes):
    """A training of 12 iterations, in which every regularizer is due several times; what it has traced."""
    short = {"total-kimg": 0.096, "G_reg_interval": 2, "D_reg_interval": 3, "minibatch_repeats": 2, "resolution": 8}
    return traced(train(folder, f"--dataset={data}", f"--config={config}", *args, **{**short, **changes}))


def test_training_at_one_resolution(tmp_path, symbols, functions, caplog, monkeypatch):  # noqa: F811
    monkeypatch.setattr(logging.getLogger("tensorflow"), "propagate", True)  # what TensorFlow warns of
    log = start(tmp_path, symbols, "config-f")
    assert log == dict.fromkeys(["TrainG", "RegG", "TrainD", "RegD", "moving average"], 1)
    assert len(functions) >= len(log) and set(counts(functions)) == {1}
    assert "retracing" not in caplog.text


def test_minibatches_in_rounds(tmp_path, symbols, functions):  # noqa: F811
    log = start(tmp_path, symbols, "config-f", "--minibatch-gpu=4")
    names = [f"{name} in 2 rounds" for name in ("TrainG", "RegG", "TrainD", "RegD")]
    names += [f"update of {name}" for name in ("TrainG", "RegG", "TrainD", "RegD")]
    assert log == dict.fromkeys([*names, "moving average"], 1)
    assert len(functions) >= len(log) and set(counts(functions)) == {1}


def test_growing(tmp_path, symbols, functions):  # noqa: F811
    """Each stage has functions of its own; what has nothing to do with images is traced once. RegG there is none."""
    sched = {**OPTIONS["sched_args"], "lod_initial_resolution": 4, "lod_training_kimg": 0.016}
    sched |= {name: {} for name in ("minibatch_size_dict", "minibatch_gpu_dict", "G_lrate_dict", "D_lrate_dict")}
    log = start(tmp_path, symbols, "config-c", sched_args={**sched, "lod_transition_kimg": 0.048}, D_reg_interval=1)
    stages = [f"{name} for lod {lod}" for name in ("TrainG", "TrainD", "RegD") for lod in ("1", "0.5", "0")]
    assert log == dict.fromkeys([*stages, "moving average"], 1)
    assert len(functions) >= len(log) and set(counts(functions)) == {1}


KWARGS = {"resolution": 8, "num_channels": 3, "fmap_base": 32, "fmap_max": 8, "latent_size": 6, "dlatent_size": 8}


def test_rendering(functions):
    """Once for each number of images at a time, those left over included; psi, seeds and noise do not matter."""
    Gs = Network("Gs", func_name="training.networks_stylegan2.G_main", mapping_fmaps=8, mapping_layers=2, **KWARGS)
    z = np.random.RandomState(0).randn(7, 6)
    transform = {"func": convert_images_to_uint8}
    for psi in (0.5, 0.7):
        images = Gs.run(z, None, minibatch_size=3, truncation_psi=psi, output_transform=transform)
    assert images.shape == (7, 3, 8, 8)
    Gs.run(z[1:], None, minibatch_size=3, truncation_psi=psi, output_transform=transform)
    assert counts(functions) == [2]

    generator = ImageGenerator(Gs, Rendering(truncation_psi=0.5))
    del functions[:]
    functions += [generator._render, generator._synthesize]
    for seeds in ([1, 2], [3, 4], [5], [6]):
        generator.from_seeds(seeds)
    w = generator.dlatents_from_latents(z)
    for noises in ((), [generator.own_noises] * 7):
        for batch in (slice(0, 3), slice(3, 6), slice(6, 7)):
            images = generator.from_dlatents(w[batch], noises[batch])
            assert images.shape == (batch.stop - batch.start, 8, 8, 3)
    assert counts(functions[:2]) == [2, 4]


def test_several_networks_are_not_one_that_is_traced_again(caplog, monkeypatch):
    """TensorFlow warns of what is traced five times in ten calls."""
    monkeypatch.setattr(logging.getLogger("tensorflow"), "propagate", True)
    for size in range(1, 8):
        kwargs = {**KWARGS, "mapping_fmaps": size, "mapping_layers": 1}
        Gs = Network("Gs", func_name="training.networks_stylegan2.G_main", **kwargs)
        Gs.run(np.zeros([1, 6]), None)
        Gs.run(np.zeros([1, 6]), None, truncation_psi=None)
        ImageGenerator(Gs).from_seeds([1])
    assert "retracing" not in caplog.text


def test_minibatches_come_in_order():
    """The result of each is fetched after the next has started."""
    Gs = Network("Gs", func_name="training.networks_stylegan2.G_mapping", mapping_fmaps=8, mapping_layers=2, **KWARGS)
    z = np.random.RandomState(0).randn(8, 6)
    whole = Gs.run(z, None)
    for minibatch_size in (1, 3, 4, 7, 8, 9):
        np.testing.assert_allclose(Gs.run(z, None, minibatch_size=minibatch_size), whole, rtol=1e-5, atol=1e-6)
