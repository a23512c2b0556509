"""How TensorFlow computes: float32 is IEEE float32 unless TensorFloat-32 is allowed, convolutions keep their layout."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf
from tensorflow.core.protobuf import rewriter_config_pb2
from tensorflow.python.eager import context

import run_convert
import run_generator
import run_metrics
import run_projector
import run_training
from dnnlib import tflib
from dnnlib.errors import UserError
from dnnlib.tflib import settings
from tools import virtual_gpu
from tools.benchmarks import training as training_benchmark
from training import training_loop
from training.options.configs import config_kwargs

ROOT = Path(__file__).parent.parent.parent
NETWORK = f"--network={ROOT / 'demo' / 'symbols-32x32.pkl'}"
LOADS_A_PICKLE = """
import json, os, numpy as np, pretrained_networks
Gs = pretrained_networks.load_networks("demo/symbols-32x32.pkl")[2]
import tensorflow as tf
from dnnlib import tflib
allowed = tf.config.experimental.tensor_float_32_execution_enabled
found = [allowed(), tf.config.optimizer.get_experimental_options()["layout_optimizer"]]
tf.config.experimental.enable_tensor_float_32_execution(True)
tf.config.optimizer.set_experimental_options({"layout_optimizer": True})
tflib.init_tf({"rnd.np_random_seed": 1})
import generation.commands, metrics.commands, projection.projector, training.training_loop
Gs.run(np.zeros([1, Gs.input_shape[1]]), None)
found += [allowed(), tf.config.optimizer.get_experimental_options()["layout_optimizer"]]
print(json.dumps(found))
"""


@pytest.fixture
def restored():
    """Leaves TensorFlow as it was."""
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    yield
    tf.config.experimental.enable_tensor_float_32_execution(before)
    settings.allow_remapping(True)


def test_a_program_that_loads_a_pickle_computes_as_the_scripts_do_and_may_choose_otherwise():
    done = subprocess.run([sys.executable, "-c", LOADS_A_PICKLE], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [False, False, True, True]


def test_tensorfloat_32_is_off_and_a_gpus_log_says_which(restored, monkeypatch, capsys):
    allowed = tf.config.experimental.tensor_float_32_execution_enabled
    assert not allowed()
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: [])
    settings.allow_tf32(True)
    assert allowed() and not settings.uses_tf32() and capsys.readouterr().out == ""  # of no GPU there is nothing to say
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: ["GPU"])
    settings.allow_tf32(None)
    assert settings.uses_tf32() and capsys.readouterr().out.startswith("TensorFloat-32 allowed: ")
    settings.allow_tf32(False)
    assert not allowed() and not settings.uses_tf32()
    assert capsys.readouterr().out.startswith("float32 is IEEE float32 ")


def test_passes_of_tensorflow(restored):
    """What is set arrives in the configuration that functions are optimized with."""

    def passes():
        rewriting = context.context().config.graph_options.rewrite_options
        return rewriting.layout_optimizer, rewriting.remapping

    on, off, default = (rewriter_config_pb2.RewriterConfig.Toggle.Value(name) for name in ("ON", "OFF", "DEFAULT"))
    assert passes()[0] == off and passes()[1] in (on, default)
    assert settings.allow_remapping(False) is True
    assert passes() == (off, off)
    with training_benchmark.as_in_training():
        assert settings.allow_remapping(False) is False
    assert settings.allow_remapping(True) is False
    assert passes() == (off, on)


@pytest.mark.parametrize(
    ("value", "expected"), [("", True), ("=true", True), ("=1", True), ("=0", False), (None, False)]
)
def test_every_script_has_the_flag(value, expected):
    flag = [] if value is None else [f"--allow-tf32{value}"]
    generator = run_generator._parser()
    commands = {
        "generate-images": ["--seeds=1"],
        "style-mixing-example": ["--row-seeds=1", "--col-seeds=2"],
        "interpolation-grid": ["--seeds=1-4"],
        "interpolate": ["--seeds=1-4"],
        "noise-figure": ["--seeds=1"],
        "truncation-figure": ["--seeds=1"],
    }
    assert {*commands, "view"} == set(run_generator.COMMANDS)
    found = [generator.parse_args([command, NETWORK, *args, *flag]) for command, args in commands.items()]
    found += [generator.parse_args(["view", "a.pkl", *flag])]
    found += [run_projector._parser().parse_args([command, NETWORK, *flag]) for command in run_projector.COMMANDS]
    found += [run_metrics._parser().parse_args([NETWORK, *flag]), run_convert._parser().parse_args(["a.pkl", *flag])]
    assert [args.allow_tf32 for args in found] == [expected] * len(found)
    args = run_training._parser().parse_args(["--dataset=cats", "--config=config-f", *flag])
    assert getattr(args, "allow_tf32", None) == (None if value is None else expected)


@pytest.mark.parametrize("allowed", [False, True])
def test_commands_apply_it_before_they_compute(monkeypatch, tmp_path, allowed):
    def apply(value):
        applied.append(value)
        raise UserError("stop here")

    applied = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(settings, "allow_tf32", apply)
    commands = {
        run_generator: ["generate-images", NETWORK, "--seeds=1"],
        run_metrics: [NETWORK, "--metrics=ppl2_wend"],
        run_projector: ["project-generated-images", NETWORK, "--distance=pixel"],
        run_convert: [NETWORK.removeprefix("--network="), "--output=a.pkl"],
    }
    for script, args in commands.items():
        monkeypatch.setattr(sys, "argv", [script.__name__, *args, f"--allow-tf32={allowed}"])
        with pytest.raises(SystemExit):
            script.main()
    with pytest.raises(UserError, match="stop here"):
        training_loop.training_loop(allow_tf32=allowed, **config_kwargs("config-f"))
    assert applied == [allowed] * 5


def test_no_convolution_is_transposed_on_a_gpu():
    """Of a generator and of its gradient, for a card that is only described; with TensorFlow's defaults all are."""
    kwargs = {"resolution": 16, "fmap_base": 64, "fmap_max": 8, "latent_size": 8, "dlatent_size": 8}
    net = tflib.Network("G", func_name="training.networks_stylegan2.G_main", mapping_fmaps=8, **kwargs)

    @tf.function(autograph=False)
    def gradient(latents):
        with tf.GradientTape() as tape:
            tape.watch(latents)
            images = net.get_output_for(latents, None, randomize_noise=False)
        return images, tape.gradient(images, latents)

    function = gradient.get_concrete_function(tf.TensorSpec([4, 8]))
    transposes = sum(node.op == "Transpose" for node in function.graph.as_graph_def().node)
    ours = tf.config.optimizer.get_experimental_options()["layout_optimizer"]
    for layout_optimizer, layout in (ours, b"NHWC"), (True, b"NCHW"):
        nodes = virtual_gpu.optimized(function, layout_optimizer=layout_optimizer).node
        layouts = [node.attr["data_format"].s for node in nodes if node.op.startswith("Conv2D")]
        assert len(layouts) > 10 and set(layouts) == {layout}
        assert (sum(node.op == "Transpose" for node in nodes) > transposes) is layout_optimizer
