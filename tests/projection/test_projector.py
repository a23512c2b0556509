"""`projector.Projector` against the official one (goldens/projector), and what it finds."""

import golden
import lane
import numpy as np
import pytest
import tensorflow as tf

from dnnlib.errors import UserError
from dnnlib.tflib import Network, random_stream
from metrics.nets.images import prepare_images
from metrics.nets.lpips import LPIPS
from metrics.nets.metric_network import MetricNetwork
from projection import distances, projector, schedule
from projection import noise as noise_images

CASES = golden.index("projector", "projector.json")
ARRAYS = golden.arrays("projector", "projector.npz")
SIZES = {"fmap_base": 512, "fmap_max": 32, "latent_size": 32, "dlatent_size": 32, "mapping_fmaps": 32}
NETWORKS = {
    "cfgf-r64": {"resolution": 64},
    "cfgd-r32": {"resolution": 32, "synthesis_func": "G_synthesis_stylegan_revised"},
}


class ToyDistance:
    """What stands in for LPIPS in the goldens."""

    def get_output_for(self, a, b):
        weights = tf.reshape(tf.constant([1, 0.5, 2.0]), [1, 3, 1, 1])
        return tf.reduce_mean(tf.square((a - b) / 255) * weights, axis=[1, 2, 3])


class GoldenStream:
    """The random numbers of the goldens: noise images first, the noise on W last."""

    def __init__(self, first, num_noises):
        self.first, self.num_noises, self.calls = first, num_noises, 0

    def normal(self, shape, dtype):
        call = self.num_noises if len(shape) == 3 else self.calls
        self.calls += 1
        return tf.constant(golden.rnd(self.first + call, *map(int, shape)), dtype)


def official_network(case):
    func, kwargs = "training.networks_stylegan2.G_main", NETWORKS[case]
    net = Network("Gs", func_name=func, **kwargs, **SIZES, **lane.kwargs(func, kwargs))
    golden.set_variables(net.vars, f"{case}.Gs:")
    return net


@pytest.mark.gpu
@pytest.mark.parametrize("case", NETWORKS)
def test_official_projector(case):
    facts = CASES[case]
    data = {key.removeprefix(f"{case}/"): value for key, value in ARRAYS.items() if key.startswith(case)}
    num_noises = len(facts["noise_vars"])
    proj = projector.Projector()
    proj.distance = ToyDistance()
    proj.num_steps = facts["num_steps"]
    proj.make_stream = lambda seed: GoldenStream(facts["seed"], num_noises)
    assert proj.dlatent_avg_samples == facts["dlatent_avg_samples"] and proj.get_cur_step() == -1
    proj.set_network(official_network(case))
    golden.close(proj._dlatent_avg, data["dlatent_avg"], 1e-5)
    assert proj._dlatent_std == pytest.approx(facts["dlatent_std"], rel=lane.values(1e-6))

    proj.start(data["target"])
    assert proj.get_cur_step() == 0
    for idx, noise in enumerate(proj.get_noises()):
        np.testing.assert_array_equal(noise, data[f"noise_after_start/noise{idx}"])
    gradients, distance, loss = proj._gradients(tf.constant([0, 0]), tf.constant(0.0), proj._prepared)
    assert distance.numpy() == pytest.approx(facts["start_dist"], rel=lane.values(1e-4))
    assert loss.numpy() == pytest.approx(facts["start_loss"], rel=lane.values(1e-4))
    for name, gradient in zip(["dlatents", *(f"noise{idx}" for idx in range(num_noises))], gradients, strict=True):
        expected = data[f"grad/{name}"]
        assert np.linalg.norm(gradient - expected) <= lane.gradients(1e-3) * np.linalg.norm(expected) + 1e-6
    noises = [tf.constant(noise) for noise in proj.get_noises()]
    assert noise_images.regularization(noises).numpy() == pytest.approx(facts["start_noise_reg"], rel=lane.values(1e-5))
    noises = [noise_images.normalized(noise) for noise in noises]
    for idx, noise in enumerate(noises):
        golden.close(noise, data[f"noise_normalized/noise{idx}"], 1e-5)
    assert noise_images.regularization(noises).numpy() == pytest.approx(
        facts["normalized_noise_reg"], rel=lane.values(1e-5)
    )

    for number, (_noise_strength, _lrate, distance, loss) in enumerate(facts["trace"], 1):
        proj.step()
        assert proj.get_cur_step() == number
        np.testing.assert_allclose(proj.get_distances(), [distance], rtol=lane.gradients(1e-4))
        np.testing.assert_allclose(proj.get_losses(), [loss], rtol=lane.gradients(1e-4))
    golden.close(proj.get_dlatents(), data["dlatents_after"], lane.steps(1e-4))
    golden.close(proj.get_images(), data["images_after"], lane.steps(1e-4))
    for idx, noise in enumerate(proj.get_noises()):
        golden.close(noise, data[f"noise_after/noise{idx}"], lane.steps(1e-4))


@pytest.mark.one_stack
def test_official_schedule():
    steps = [step / 1000 for step in range(1000)]
    rates = [schedule.learning_rate(t, 0.1, 0.25, 0.05) for t in steps]
    np.testing.assert_array_equal(rates, ARRAYS["schedule/learning_rate"])
    std = CASES["cfgf-r64"]["dlatent_std"]
    strengths = np.asarray([schedule.noise_strength(t, std * 0.05, 0.75) for t in steps]) / std
    np.testing.assert_array_equal(strengths, ARRAYS["schedule/noise_strength_over_dlatent_std"])
    for case, num_steps in (("cfgf-r64", 1000), ("cfgd-r32", 20)):
        facts = CASES[case]
        for number, (strength, rate, *_) in enumerate(facts["trace"]):
            t = number / num_steps
            assert schedule.noise_strength(t, facts["dlatent_std"] * 0.05, 0.75) == strength
            assert schedule.learning_rate(t, 0.1, 0.25, 0.05) == rate
    for arguments, expected in CASES["snapshot_steps"].items():
        assert schedule.snapshot_steps(*map(int, arguments.split(","))) == expected
    assert schedule.snapshot_steps(2, 5) == [1, 2] and schedule.snapshot_steps(7, 0) == []
    assert schedule.noise_strength(0.0, 1.0, 0.0) == 0 and schedule.learning_rate(0.9, 0.1, 0.0, 0.0) == 0.1


def plain_regularization(noise):
    """As the paper has it, for one noise image [H, W]."""
    total, v = 0.0, noise.astype(np.float64)
    while True:
        total += np.mean(v * np.roll(v, 1, 1)) ** 2 + np.mean(v * np.roll(v, 1, 0)) ** 2
        if v.shape[0] <= 8:
            return total
        v = (v[::2, ::2] + v[1::2, ::2] + v[::2, 1::2] + v[1::2, 1::2]) / 4


def test_noise_regularization_of_several_images():
    shapes = [(3, 1, 4, 4), (3, 1, 8, 8), (3, 1, 8, 8), (3, 1, 64, 64), (3, 1, 64, 64)]
    noises = [golden.rnd(idx, *shape) + np.float32(0.3) for idx, shape in enumerate(shapes)]
    expected = [sum(plain_regularization(noise[i, 0]) for noise in noises) for i in range(3)]
    np.testing.assert_allclose(noise_images.regularization([tf.constant(n) for n in noises]), expected, rtol=1e-4)
    for noise in noises:
        result = noise_images.normalized(tf.constant(noise)).numpy()
        np.testing.assert_allclose(result.mean(axis=(1, 2, 3)), 0, atol=1e-5)
        np.testing.assert_allclose(result.std(axis=(1, 2, 3)), 1, rtol=1e-5)
    np.testing.assert_array_equal(noise_images.normalized(tf.zeros([1, 1, 4, 4])), np.zeros([1, 1, 4, 4]))


def test_noise_regularization_of_images_that_are_not_square():
    """Like the squares of as many pixels: 40x24 is halved once, to 20x12, and then to 10x6."""
    noises = [golden.rnd(idx, 2, 1, 10 << idx, 6 << idx) for idx in range(3)]
    expected = np.zeros(2)
    for idx, noise in enumerate(noises):
        for _ in range(idx + 1):
            expected += sum(np.mean(noise * np.roll(noise, 1, axis), axis=(1, 2, 3)) ** 2 for axis in (2, 3))
            noise = noise.reshape(2, 1, noise.shape[2] // 2, 2, noise.shape[3] // 2, 2).mean(axis=(3, 5))
    found = noise_images.regularization([tf.constant(noise) for noise in noises])
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    transposed = [tf.constant(noise.transpose(0, 1, 3, 2)) for noise in noises]
    np.testing.assert_allclose(noise_images.regularization(transposed), found, rtol=1e-5)


def small_network(**kwargs):
    tf.random.set_seed(0)
    sizes = {"fmap_base": 64, "fmap_max": 8, "latent_size": 8, "dlatent_size": 8, "mapping_fmaps": 8}
    return Network("Gs", func_name="training.networks_stylegan2.G_main", mapping_layers=2, **sizes, **kwargs)


def test_transparent_targets():
    """Colours that cannot be seen have no influence; alpha is found."""
    Gs = small_network(resolution=16, num_channels=4)
    targets = golden.rnd(0, 2, 4, 16, 16).clip(-1, 1)
    targets[:, 3] = np.where(targets[:, 3] < 0, -1, 1)
    hidden = np.where(targets[:, 3:] < 0, golden.rnd(1, 2, 4, 16, 16), targets)
    hidden[:, 3] = targets[:, 3]
    results, distances_ = [], []
    for images in (targets, hidden):
        proj = demo_projector(Gs, 2, 30)
        results.append(proj.run(images))
        distances_.append(proj.get_distances())
    np.testing.assert_array_equal(results[0].dlatents, results[1].dlatents)
    np.testing.assert_array_equal(results[0].images, results[1].images)
    opacity = [((x[:, 3:] + 1) / 2).clip(0, 1) for x in (results[0].images, targets)]
    colours = [(x[:, :3] + 1) / 2 for x in (results[0].images, targets)]
    over = [[c * a + matte * (1 - a) for c, a in zip(colours, opacity, strict=True)] for matte in (0, 1)]
    exact = np.mean([np.mean((a - b) ** 2, axis=(1, 2, 3)) for a, b in over], axis=0)
    np.testing.assert_allclose(distances_[0], exact, rtol=0.2)  # the last step was before the last update
    own = proj.run(Gs.get_output_for(golden.rnd(3, 2, 8), None, truncation_psi=1.0, noise=None).numpy())
    assert own.images.shape == (2, 4, 16, 16)


# ----------------------------------------------------------------------------
# Several images, and what is found. The demo network.


@pytest.fixture(scope="module")
def demo():
    import pretrained_networks

    return pretrained_networks.load_networks("demo/symbols-32x32.pkl")[2]


def demo_images(Gs, seeds):
    """Images of seeds as `run_generator.py` makes them."""
    images = []
    for seed in seeds:
        rnd = np.random.RandomState(seed)
        z = rnd.randn(1, *Gs.input_shape[1:])
        shapes = [var.shape for name, var in Gs.components.synthesis.vars.items() if name.startswith("noise")]
        noise = [rnd.randn(*shape).astype(np.float32) for shape in shapes]
        images.append(Gs.get_output_for(z.astype(np.float32), None, truncation_psi=1.0, noise=noise).numpy())
    return np.concatenate(images)


def demo_projector(Gs, minibatch_size, num_steps, **attributes):
    proj = projector.Projector()
    proj.distance = distances.PixelDistance()
    proj.num_steps = num_steps
    proj.dlatent_avg_samples = 300
    proj.clone_net = False
    for name, value in attributes.items():
        setattr(proj, name, value)
    proj.set_network(Gs, minibatch_size)
    return proj


def mean_squared(a, b):
    return np.mean(np.square(a - b), axis=(1, 2, 3))


@pytest.mark.parametrize(
    ("num_steps", "least"), [(100, 8), pytest.param(1000, 100, marks=pytest.mark.slow)], ids=["100", "default"]
)
def test_images_are_found_again(demo, num_steps, least):
    """How many times the error is below that of the mean image: measured were 20 after 100 steps, 580 after all."""
    targets = demo_images(demo, range(8))
    proj = demo_projector(demo, 8, num_steps)
    before = {name: var.numpy() for name, var in demo.vars.items()}
    result = proj.run(targets)
    mean = np.tile(proj._dlatent_avg, [1, proj._num_layers, 1])
    mean = demo.components.synthesis.get_output_for(mean, randomize_noise=False).numpy()
    assert np.median(mean_squared(mean, targets) / mean_squared(result.images, targets)) > least
    assert proj.get_cur_step() == num_steps
    proj.step()  # nothing is left to do
    assert proj.get_cur_step() == num_steps
    for name, var in demo.vars.items():
        np.testing.assert_array_equal(var, before[name])
    remade = demo.components.synthesis.get_output_for(result.dlatents, noise=result.noises)
    np.testing.assert_allclose(remade, result.images, atol=1e-4)


@pytest.mark.parametrize("w_plus", [False, True])
def test_each_as_if_alone(demo, w_plus):
    targets = demo_images(demo, range(3))
    together = demo_projector(demo, 3, 12, w_plus=w_plus, seed=5)
    results = together.run(targets)
    alone = demo_projector(demo, 1, 12, w_plus=w_plus, seed=5)
    for idx in range(3):
        result = alone.run(targets[idx : idx + 1])
        np.testing.assert_allclose(results.dlatents[idx], result.dlatents[0], atol=2e-4)
        np.testing.assert_allclose(results.images[idx], result.images[0], atol=5e-4)
        for noise, noises in zip(result.noises, results.noises, strict=True):
            np.testing.assert_allclose(noises[idx], noise[0], atol=1e-4)
        np.testing.assert_allclose(together.get_distances()[idx], alone.get_distances()[0], rtol=1e-3)
    assert alone._compiled.keys() == {"prepare", "step", "images"}
    per_layer = np.ptp(results.dlatents, axis=1).max()
    assert per_layer > 0.01 if w_plus else per_layer == 0
    alone.seed = 6
    other = alone.run(targets[2:])
    assert np.abs(other.dlatents - result.dlatents).max() > 1e-3


def test_compiled_once(demo, caplog):
    traced = []

    class Counted(projector.Projector):
        def _make_step(self, *args):
            traced.append(self)
            return super()._make_step(*args)

    counted = Counted()
    counted.distance, counted.num_steps, counted.dlatent_avg_samples, counted.clone_net = "pixel", 3, 100, False
    targets = demo_images(demo, range(2))
    counted.set_network(demo)
    for idx in range(2):
        counted.run(targets[idx : idx + 1])
    assert traced == [counted]
    for _ in range(6):  # TensorFlow warns after 5
        proj = demo_projector(demo, 1, 3)
        for idx in range(2):
            proj.start(targets[idx : idx + 1])
            proj.get_images()
    assert "retracing" not in caplog.text


def test_continuing(demo):
    targets = demo_images(demo, range(2))
    first = demo_projector(demo, 2, 40)
    found = first.run(targets)
    again = demo_projector(demo, 2, 40, initial_noise_factor=0)
    again.start(targets, found.dlatents, found.noises)
    np.testing.assert_allclose(again.get_images(), found.images, atol=1e-4)
    while again.get_cur_step() < 40:
        again.step()
    assert (mean_squared(again.get_images(), targets) < mean_squared(found.images, targets)).all()
    single = demo_projector(demo, 1, 40, w_plus=True)
    single.start(targets[:1], found.dlatents[:1])
    np.testing.assert_array_equal(single.get_dlatents(), found.dlatents[:1])


def test_wrong_arguments(demo):
    proj = demo_projector(demo, 2, 10)
    targets = demo_images(demo, range(2))
    with pytest.raises(ValueError, match="start comes first"):
        proj.step()
    for images in (targets[:1], targets[:, :1], targets[:, :, :16, :16], targets[:, :, :, :16], targets[0]):
        with pytest.raises(ValueError, match=r"expected target images of shape \[2, 3, 32, 32\]"):
            proj.start(images)
    with pytest.raises(ValueError, match="not finite"):
        proj.start(targets * np.nan)
    varied = golden.rnd(0, 2, *demo.components.synthesis.input_shape[1:])
    with pytest.raises(ValueError, match="dlatents to start from"):  # needs w_plus
        proj.start(targets, varied)
    with pytest.raises(ValueError, match="noise images"):
        proj.start(targets, None, [varied])
    with pytest.raises(ValueError, match="not a generator"):
        proj.set_network(demo.components.mapping)
    with pytest.raises(ValueError, match="set_network comes first"):
        projector.Projector().start(targets)
    for distance in ("pixels", "", None, 3, distances.PixelDistance, "demo"):
        proj.distance = distance
        with pytest.raises(ValueError, match="distance: expected 'lpips', 'pixel', the path of a file"):
            proj.set_network(demo)
    large = np.repeat(np.repeat(targets, 2, 2), 2, 3)
    proj.start(large)
    np.testing.assert_allclose(proj._prepared[0], prepare_images(tf.constant(targets)), atol=1e-3)


def test_arguments():
    proj = projector.Projector(num_steps=3, initial_learning_rate=0.2, initial_noise_factor=0.1, vgg16_pkl="vgg.pkl")
    assert (proj.num_steps, proj.initial_learning_rate, proj.initial_noise_factor) == (3, 0.2, 0.1)
    assert proj.distance == "vgg.pkl" and projector.Projector().distance == "lpips"
    with pytest.raises(TypeError, match="num_stepz"):
        projector.Projector(num_stepz=3)


def test_without_weights(demo, tmp_path, monkeypatch):
    monkeypatch.setenv("STYLEGAN2_OFFLINE", "1")
    monkeypatch.setenv("STYLEGAN2_CACHE_DIR", str(tmp_path))
    proj = projector.Projector()
    with pytest.raises(UserError) as error:
        proj.set_network(demo)
    assert "Projector.distance = 'pixel' compares pixels" in str(error.value)
    assert "Projector.distance = projection.distances.load('lpips', DIR)" in str(error.value)
    assert "--distance" not in str(error.value) and "--metric-networks" not in str(error.value)
    (tmp_path / "text.pkl").write_text("no weights")
    proj.distance = str(tmp_path / "text.pkl")
    with pytest.raises(UserError, match="text.pkl"):
        proj.set_network(demo)


def test_lpips_looks_at_targets_once():
    rng = np.random.default_rng(0)
    weights = {name: rng.random(shape, np.float32) / 50 for name, shape in LPIPS.weight_shapes().items()}
    kwargs = {"source": "", "trunk_digest": "", "output_shape": [None], "input_shapes": [[None, 3, None, None]] * 2}
    network = MetricNetwork("lpips", LPIPS.with_weights(weights), **kwargs)
    images, targets = (tf.constant(rng.random([2, 3, 32, 32], np.float32) * 255) for _ in range(2))
    distance = distances.TargetDistance(network)
    prepared = distance.prepare(targets)
    assert len(prepared) == 5
    expected = network.get_output_for(images, targets)
    np.testing.assert_allclose(distance.between(images, prepared), expected, rtol=1e-5)
    pixel = distances.PixelDistance().get_output_for(images, targets)
    np.testing.assert_allclose(pixel, np.mean(((images - targets) / 255) ** 2, axis=(1, 2, 3)), rtol=1e-5)


def test_random_numbers_of_steps_differ():
    keys = [random_stream.seed_of(0, step, 7) for step in range(3)]
    draws = [random_stream.StatelessStream(key).normal([4], tf.float32).numpy() for key in keys]
    assert len({tuple(draw) for draw in draws}) == 3
