"""16-bit feature maps: where they are, how near float32 they stay, and that nothing overflows."""

from pathlib import Path

import golden
import numpy as np
import pytest
import tensorflow as tf
from training_commands import REQUIRED, kwargs_of, make_run, problems

import run_training
from dnnlib import util
from dnnlib.resolutions import resolution_of
from dnnlib.tflib import Network, random_stream
from dnnlib.tflib.checkpoints import network_files
from training import misc
from training.loss import D_logistic_r1, G_logistic_ns_pathreg
from training.nets import layers
from training.nets.mixed_precision import MixedPrecision, default_fp16_dtype
from training.run_folder.snapshots import ImageGrid

DEMO = str(Path(__file__).parent.parent.parent / "demo" / "symbols-32x32.pkl")
DTYPES = ("float16", "bfloat16")


def networks(**kwargs):
    common = {"num_channels": 3, "resolution": 32, "label_size": 0, "fmap_base": 256, "fmap_max": 16, **kwargs}
    sizes = {"latent_size": 16, "dlatent_size": 16, "mapping_fmaps": 16, "mapping_layers": 2}
    G = Network("G", func_name="training.networks_stylegan2.G_main", **sizes, **common)
    D = Network("D", func_name="training.networks_stylegan2.D_stylegan2", **common)
    for net in (G, D):
        golden.set_variables(net.vars, f"mixed.{net.name}:", 0.0)
    return G, D


@pytest.mark.parametrize(("num_fp16_res", "lowest"), [(0, 64), (1, 32), (2, 16), (4, 8), (9, 8)])
def test_the_highest_resolutions_are_in_16_bit(num_fp16_res, lowest):
    precision = MixedPrecision(num_fp16_res, None, "float16").check("G")
    types = {2**res: precision.dtype_at(res, resolution_of(32), "float32") for res in range(2, 6)}
    assert types == {size: "float16" if size >= lowest else "float32" for size in (4, 8, 16, 32)}


def test_description_and_default_type():
    assert default_fp16_dtype() == ("float16" if tf.config.get_visible_devices("GPU") else "bfloat16")
    assert MixedPrecision().describe(resolution_of(32)) == "float32"
    of_two = MixedPrecision(2, None, "float16")
    assert of_two.describe(resolution_of(32)).startswith("float16 from 16x16 to 32x32, float32 elsewhere")
    assert of_two.describe(resolution_of([40, 24])).startswith("float16 from 20x12 to 40x24, float32 elsewhere")


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"num_fp16_res": -1}, "num_fp16_res must be an integer of 0 or more, got -1"),
        ({"num_fp16_res": 1.5}, "num_fp16_res must be an integer"),
        ({"conv_clamp": 0}, "conv_clamp must be a number above 0, or None, got 0"),
        ({"fp16_dtype": "fp16"}, "fp16_dtype must be one of 'auto', 'float16', 'bfloat16', got 'fp16'"),
    ],
)
@pytest.mark.parametrize("func", ["G_main", "D_stylegan2"])
def test_bad_arguments(func, kwargs, message):
    with pytest.raises(ValueError, match=message):
        Network("N", func_name=f"training.networks_stylegan2.{func}", resolution=8, **kwargs)


# ----------------------------------------------------------------------------
# Results.


@pytest.mark.parametrize(("dtype", "rms", "largest"), [("float16", 2e-3, 4e-2), ("bfloat16", 1e-2, 0.15)])
def test_images_of_a_trained_network_stay_near_float32(dtype, rms, largest):
    Gs = network_files.load_pkl(DEMO)
    z = golden.rnd(3, 8, *Gs.input_shape[1:])
    for minibatch in (1, 4):  # modulated weights, and modulated feature maps
        run = {"randomize_noise": False, "minibatch_size": minibatch}
        images = Gs.run(z, None, **run)
        images16 = Gs.run(z, None, num_fp16_res=4, fp16_dtype=dtype, **run)
        assert images16.dtype == np.float32
        difference = images16 - images
        assert 0 < np.sqrt(np.mean(difference**2)) < rms
        assert np.max(np.abs(difference)) < largest


@pytest.mark.skipif(bool(tf.config.get_visible_devices("GPU")), reason="GPUs compute in 16 bit")
def test_run_without_a_gpu_is_in_32_bit_unless_asked():
    """`run` renders and scores; `get_output_for`, which training calls, computes as the network was built."""
    kwargs = {"num_fp16_res": 2, "conv_clamp": 256}
    of_16, of_32 = networks(**kwargs), networks(conv_clamp=256)
    z, w, images = golden.rnd(4, 2, 16), golden.rnd(5, 2, 8, 16), golden.rnd(6, 2, 3, 32, 32)
    fixed = {"randomize_noise": False}
    (G16, D16), (G32, D32) = of_16, of_32
    for a, b, inputs, given in [
        (G16, G32, z, fixed),
        (G16.components.synthesis, G32.components.synthesis, w, fixed),
        (D16, D32, images, {}),
    ]:
        expected = b.run(inputs, **given)
        np.testing.assert_array_equal(a.run(inputs, **given), expected)
        for asked in ({"num_fp16_res": 2}, {"num_fp16_res": 1}, {"fp16_dtype": "float16"}, {"fp16_dtype": "auto"}):
            assert np.abs(a.run(inputs, **given, **asked) - expected).max() > 0, asked
        built = a.run(inputs, **given, num_fp16_res=2)
        np.testing.assert_allclose(a.get_output_for(tf.constant(inputs), **given), built, atol=2e-2)
        assert np.abs(a.get_output_for(tf.constant(inputs), **given) - expected).max() > 0


@pytest.mark.skipif(bool(tf.config.get_visible_devices("GPU")), reason="GPUs compute in 16 bit")
def test_image_grids_are_those_in_32_bit(tmp_path, monkeypatch):
    grid_of = (2, 2), np.zeros([4, 3, 32, 32], np.uint8), np.zeros([4, 0])
    monkeypatch.setattr(misc, "setup_snapshot_image_grid", lambda *args, **kwargs: grid_of)
    pictures = []
    for kwargs in ({"num_fp16_res": 2}, {}):
        np.random.seed(1)
        grid = ImageGrid(util.EasyDict(dynamic_range=[0, 255]), 16, (-1, 1))
        grid.save_fakes(networks(conv_clamp=256, **kwargs)[0], str(tmp_path / "fakes.png"), 4)
        pictures.append((tmp_path / "fakes.png").read_bytes())
    assert pictures[0] == pictures[1]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("architecture", ["orig", "skip", "resnet"])
def test_gradients_of_losses_and_regularizers_stay_near_float32(dtype, architecture):
    losses, gradients = [], []
    for kwargs in ({}, {"num_fp16_res": 2, "conv_clamp": 256, "fp16_dtype": dtype}):
        G, D = networks(architecture=architecture, **kwargs)
        reals = tf.constant(golden.rnd(5, 4, 3, 32, 32))
        labels = tf.zeros([4, 0])
        step = util.EasyDict(label_size=0, get_random_labels_tf=lambda n: tf.zeros([n, 0]))
        for net, loss in (
            (G, lambda: G_logistic_ns_pathreg(G, D, None, step, 4, pl_mean=tf.Variable(0.0))),
            (D, lambda: D_logistic_r1(G, D, None, step, 4, reals, labels)),
        ):
            variables = list(net.trainables.values())
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(variables)
                with random_stream.using(random_stream.StatelessStream(random_stream.seed_of(7, 1))):
                    loss_value, reg = loss()
                total = tf.reduce_mean(loss_value) + tf.reduce_mean(reg)
            found = tape.gradient(total, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
            assert all(g.dtype == tf.float32 for g in found) and all(v.dtype == tf.float32 for v in variables)
            losses.append(float(total))
            gradients.append(np.concatenate([np.ravel(g) for g in found]))
    tolerance = {"float16": 0.02, "bfloat16": 0.1}[dtype]
    for i in (0, 1):
        assert losses[i + 2] != losses[i]
        assert abs(losses[i + 2] - losses[i]) < tolerance * max(1, abs(losses[i]))
        a, b = gradients[i], gradients[i + 2]
        assert np.isfinite(b).all()
        assert np.linalg.norm(a - b) < 3 * tolerance * np.linalg.norm(a)


@pytest.mark.parametrize("dtype", DTYPES)
def test_modulation_does_not_overflow(dtype):
    """Weights and styles of any scale: demodulation makes them the same, and so must 16 bit."""
    x, w, style = golden.rnd(1, 3, 8, 8, 64), golden.rnd(2, 3, 3, 64, 4), 1 + 0.3 * golden.rnd(3, 3, 64)

    def convolve(x, w, style):
        y, scale = layers.modulated_conv2d(x, w, tf.constant(style), demodulate=True)
        return (tf.cast(y, tf.float32) * scale[:, tf.newaxis, tf.newaxis]).numpy()

    expected = convolve(x, w, style)
    found = convolve(tf.cast(x, dtype), w * 1e5, style * 1e5)
    golden.close(found, expected, {"float16": 5e-3, "bfloat16": 5e-2}[dtype])


@pytest.mark.parametrize("dtype", ["float32", *DTYPES])
def test_clamp(dtype):
    """The image of 'orig' is one ToRGB; 256 changes nothing in a network whose feature maps are small."""
    kwargs = {"num_fp16_res": 0 if dtype == "float32" else 2, "fp16_dtype": "auto" if dtype == "float32" else dtype}
    z = golden.rnd(4, 2, 16)
    free, wide, narrow = (
        networks(architecture="orig", conv_clamp=clamp)[0].run(z, None, randomize_noise=False, **kwargs)
        for clamp in (None, 256, 0.25)
    )
    assert np.abs(free).max() > 0.5
    np.testing.assert_array_equal(free, wide)
    assert np.abs(narrow).max() == 0.25


# ----------------------------------------------------------------------------
# --precision.


@pytest.mark.parametrize(("precision", "dtype"), [("fp16", "float16"), ("bf16", "bfloat16")])
def test_precision_option(folder, precision, dtype):
    kwargs = kwargs_of(f"--precision={precision}")
    for args in (kwargs.G_args, kwargs.D_args):
        assert {key: args[key] for key in ("num_fp16_res", "conv_clamp", "fp16_dtype")} == {
            "num_fp16_res": 4,
            "conv_clamp": 256,
            "fp16_dtype": dtype,
        }


def test_fp32_leaves_no_trace(folder):
    assert kwargs_of("--precision=fp32") == kwargs_of()


def test_growing_configs_have_no_16_bit(folder):
    arguments = [arg for arg in REQUIRED if not arg.startswith("--config")]
    assert problems(*arguments, "--config=config-b", "--precision=bf16") == [
        "--precision: configs a to d are computed in fp32 only; 16 bit needs config-e, -f or one of StyleGAN2-ADA"
    ]


def test_a_run_keeps_its_precision(folder):
    run = make_run(folder, 0)
    run_training.parse([f"--resume={run}", "--precision=fp32"])  # what it has
    assert problems(f"--resume={run}", "--precision=bf16") == [
        "--precision: cannot change from num_fp16_res=0 to num_fp16_res=4 (bf16) in a run that goes on; "
        "start a new one from its network pickle"
    ]
