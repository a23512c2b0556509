"""What benchmarks compare with is what networks compute."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import tensorflow as tf

from dnnlib.tflib import Network
from tools import bench
from tools.benchmarks import convolutions, table, training
from training.options.configs import config_kwargs

SIZES = {"resolution": 64, "num_channels": 3, "label_size": 0, "fmap_base": 256, "fmap_max": 16}


def networks(config, precision):
    """A synthesis network and a discriminator, with the shapes of their inputs."""
    args = config_kwargs(config)
    kwargs = {**SIZES, **table.PRECISIONS[precision]}
    G = Network("G", **{**args["G_args"], **kwargs}, dlatent_size=16, mapping_fmaps=16, latent_size=16)
    D = Network("D", **{**args["D_args"], **kwargs})
    synthesis = G.components.synthesis
    return {synthesis: [4, *synthesis.input_shape[1:]], D: [4, 3, 64, 64]}


def computed(net, shape):
    """The convolutions in the graph of a network: type, filter, height of the input (upsampling: output), counted."""
    with table.implementation("ref"):
        function = tf.function(lambda x: net.get_output_for(x), autograph=False).get_concrete_function(
            tf.TensorSpec(shape)
        )
    result = Counter()
    for op in function.graph.get_operations():
        if op.type == "Conv2D" and op.inputs[0].shape[-1] == op.inputs[1].shape[2] > 1:
            result[op.inputs[0].dtype.name, tuple(op.inputs[1].shape), op.inputs[0].shape[1]] += 1
        elif op.type == "Conv2DBackpropInput":
            result[op.outputs[0].dtype.name, tuple(op.inputs[1].shape), op.outputs[0].shape[1]] += 1
    return result


def bare(net, precision):
    """The same of what it is compared with."""
    result = Counter()
    for conv in convolutions.convolutions(net, precision):
        channels = (conv.fmaps, conv.in_fmaps) if conv.up else (conv.in_fmaps, conv.fmaps)
        result[conv.dtype, (conv.kernel, conv.kernel, *channels), conv.out_size if conv.up else conv.in_size] += 1
    return result


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("config", ["config-f", "config-e-Gresnet-Dskip"])
def test_convolutions_are_those_of_the_networks(config, precision):
    for net, shape in networks(config, precision).items():
        assert bare(net, precision) == computed(net, shape)


@pytest.mark.parametrize("up", [False, True])
def test_bare_gradients(up):
    conv = convolutions.Conv("G/8x8/Conv", 4 if up else 8, 3, 9 if up else 8, 5, 3, up, False, "float32")
    forward, by_input, by_weights = (call() for call in conv.calls(2))
    assert forward.shape == ([2, 9, 9, 5] if up else [2, 8, 8, 5])
    assert by_input.shape == ([2, 4, 4, 3] if up else [2, 8, 8, 3])
    assert by_weights.shape == ([3, 3, 5, 3] if up else [3, 3, 3, 5])


def test_every_phase_needs_convolutions():
    for net in networks("config-f", "fp32"):
        for conv in convolutions.convolutions(net):
            counts = training.counts(conv)
            assert set(counts) < set(training.FREQUENCY) and len(counts) == 3


def test_tables(capsys):
    place = "training", "training iteration", "config-f", 64, 8, "bf16", "cpu"
    results = [table.Figure("a", "1 s"), table.Row(*place, 4.0, 3.0), table.Row(*place, 0.02, None)]
    table.print_tables(results)
    lines = capsys.readouterr().out.strip().splitlines()
    command = "--only training --minibatch 8 --resolution 64 --config config-f --precision bf16 --impl cpu"
    assert lines[2] == (
        f"| training iteration | config-f | 64x64 | 8 | bf16 | cpu | 4.000 s | 500 | 3.000 s | 0.75 | `{command}` |"
    )
    assert "| 20 ms | 2.5 |  |  |" in lines[3]
    assert lines[-1] == "| a | 1 s |  |" and len(lines) == 8


def test_machine_and_arguments(monkeypatch, capsys):
    assert f"tensorflow {tf.__version__}" in table.describe_machine()
    assert table.implementations(["ref", "ref"]) == ["ref"]
    monkeypatch.setattr(sys, "argv", ["bench.py", "--precision=fp64"])
    with pytest.raises(SystemExit):
        bench.main()
    assert "expected some of fp32, fp16, bf16 with commas between, got 'fp64'" in capsys.readouterr().err


@pytest.mark.parametrize("tool", ["bench", "check_cuda_kernels", "gpu_report", "training_curve", "overfitting"])
def test_tools_start_as_scripts(tool):
    path = Path(bench.__file__).with_name(f"{tool}.py")
    assert "usage:" in subprocess.check_output([sys.executable, path, "--help"], text=True)


def test_augmentation_counts_what_training_needs():
    from tools.benchmarks.augmentation import pipeline_calls, seconds_per_iteration

    calls = pipeline_calls(2, 32)
    for call in calls.values():
        call()
    assert seconds_per_iteration({"forward": 1.0, "gradient": 10.0, "second gradient": 1600.0}) == 112
    assert set(calls) == {"forward", "gradient", "second gradient"}
