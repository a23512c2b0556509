"""Fréchet distance, precision and recall against closed forms; random features; the tool that draws them over time."""

import json

import numpy as np
import pytest
import scipy.linalg
import scipy.spatial

from dnnlib import EasyDict
from dnnlib.errors import UserError
from metrics.maths.frechet import feature_statistics, frechet_distance
from metrics.maths.neighbourhoods import precision_recall
from tools import training_curve
from tools.random_features import RandomFeatures


def normal(count, size, seed=0):
    return np.random.RandomState(seed).randn(count, size)


def covariance(size, seed):
    root = normal(size, size, seed)
    return root @ root.T


# ----------------------------------------------------------------------------
# Fréchet distance.


@pytest.mark.one_stack
def test_statistics():
    features = normal(50, 4)
    mu, sigma = feature_statistics(features.astype(np.float32))
    np.testing.assert_allclose(mu, features.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(sigma, np.cov(features, rowvar=False), atol=1e-6)
    with pytest.raises(ValueError, match="two samples"):
        feature_statistics(features[:1])
    with pytest.raises(ValueError, match="finite"):
        feature_statistics(np.full([3, 2], np.nan))


@pytest.mark.one_stack
def test_frechet_distance_of_independent_features():
    mu_a, mu_b = normal(2, 5)
    var_a, var_b = np.abs(normal(2, 5, seed=1))
    expected = np.sum((mu_a - mu_b) ** 2) + np.sum((np.sqrt(var_a) - np.sqrt(var_b)) ** 2)
    turn = np.linalg.qr(normal(5, 5, seed=2))[0]  # turning both changes nothing
    for rotation in (np.eye(5), turn):
        args = [(rotation @ mu, rotation @ np.diag(var) @ rotation.T) for mu, var in ((mu_a, var_a), (mu_b, var_b))]
        assert frechet_distance(*args[0], *args[1]) == pytest.approx(expected, rel=1e-10)


@pytest.mark.one_stack
def test_frechet_distance_with_a_general_matrix_root():
    a, b = covariance(8, 0), covariance(8, 1)
    expected = np.trace(a + b) - 2 * np.trace(scipy.linalg.sqrtm(a @ b).real)
    zero = np.zeros(8)
    assert frechet_distance(zero, a, zero, b) == pytest.approx(expected, rel=1e-8)
    assert frechet_distance(zero, b, zero, a) == pytest.approx(expected, rel=1e-8)
    assert frechet_distance(zero, a, zero, a) == pytest.approx(0, abs=1e-8)


@pytest.mark.one_stack
def test_frechet_distance_of_low_rank():
    few = normal(6, 64)  # covariance of rank 5
    stats = feature_statistics(few)
    assert frechet_distance(*stats, *stats) == pytest.approx(0, abs=1e-8)
    shifted = feature_statistics(few + 0.5)
    assert frechet_distance(*stats, *shifted) == pytest.approx(64 * 0.25, rel=1e-8)
    zero = np.zeros([64, 64])
    assert frechet_distance(stats[0], zero, *stats) == pytest.approx(np.trace(stats[1]), rel=1e-8)


@pytest.mark.one_stack
def test_frechet_distance_of_what_does_not_fit():
    with pytest.raises(ValueError, match="shapes"):
        frechet_distance(np.zeros(3), np.eye(3), np.zeros(4), np.eye(4))
    with pytest.raises(ValueError, match="finite"):
        frechet_distance(np.zeros(2), np.eye(2), np.zeros(2), np.full([2, 2], np.inf))


# ----------------------------------------------------------------------------
# Precision and recall.


@pytest.mark.one_stack
def test_precision_recall_on_a_line():
    real = np.array([[0.0], [1.0], [3.0], [10.0]])  # distances to the nearest: 1, 1, 2, 7
    fake = np.array([[-0.9], [4.9], [17.1], [30.0]])  # 5.8, 5.8, 12.2, 12.9
    assert precision_recall(real, fake, nhood_size=1) == (0.5, 1.0)
    assert precision_recall(real, fake + 1000, nhood_size=1) == (0.0, 0.0)
    assert precision_recall(real, real[::-1], nhood_size=1) == (1.0, 1.0)


@pytest.mark.one_stack
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("block_size", [2, 7, 1000])
def test_precision_recall_of_every_pair(block_size, dtype):
    real, fake = normal(60, 3).astype(dtype) + 100, (normal(40, 3, seed=1) * 0.8 + 101.2).astype(dtype)
    between = scipy.spatial.distance.cdist(real.astype(float), fake.astype(float))
    radius_real, radius_fake = (
        np.sort(scipy.spatial.distance.cdist(x.astype(float), x.astype(float)), axis=1)[:, 3] for x in (real, fake)
    )
    precision = (between <= radius_real[:, np.newaxis]).any(axis=0).mean()
    recall = (between <= radius_fake).any(axis=1).mean()
    blocks = {"row_batch_size": block_size, "col_batch_size": block_size}
    assert precision_recall(real, fake, **blocks) == pytest.approx((precision, recall))
    assert min(precision, recall) > 0 and max(precision, recall) < 1


@pytest.mark.one_stack
def test_equal_samples():
    real = np.repeat(normal(5, 16).astype(np.float32) * 100, 4, axis=0)  # each four times: all balls are points
    assert precision_recall(real, real[::-1]) == (1.0, 1.0)
    assert precision_recall(real, real + 1) == (0.0, 0.0)


@pytest.mark.one_stack
@pytest.mark.parametrize(
    ("real", "fake", "message"),
    [
        (normal(9, 2), normal(9, 3), "2 real features, 3"),
        (normal(9, 2), normal(3, 2), "needs more samples"),
        (normal(9, 2)[0], normal(9, 2), "N, F"),
        (normal(9, 2), normal(9, 2) * np.nan, "finite"),
    ],
)
def test_precision_recall_of_what_does_not_fit(real, fake, message):
    with pytest.raises(ValueError, match=message):
        precision_recall(real, fake)


# ----------------------------------------------------------------------------
# Random features.


def blobs(count, seed, size=16):
    """Discs of random colours, places and sizes, uint8 [N, 3, H, W]."""
    rnd = np.random.RandomState(seed)
    grid = np.mgrid[:size, :size][:, np.newaxis]
    centers = rnd.uniform(4, size - 4, [2, count, 1, 1])
    inside = np.hypot(*(grid - centers)) < rnd.uniform(2, 5, [count, 1, 1])
    colors = rnd.randint(0, 256, [2, count, 3, 1, 1])
    return np.where(inside[:, np.newaxis], *colors).astype(np.uint8)


@pytest.mark.one_stack
def test_random_features():
    images = blobs(300, 0)
    space = RandomFeatures()
    statistics = space.statistics(images)
    np.testing.assert_array_equal(statistics[250:], RandomFeatures().statistics(images[250:]))
    assert not np.array_equal(statistics, RandomFeatures(seed=1).statistics(images))
    space.fit(statistics, num_features=32)
    features = space.features(statistics)
    np.testing.assert_allclose(np.cov(features, rowvar=False), np.eye(32), atol=1e-3)

    def distance(others):
        return frechet_distance(
            *feature_statistics(features), *feature_statistics(space.features(space.statistics(others)))
        )

    others = blobs(300, 1)
    noisy = np.clip(others + np.random.RandomState(0).randn(*others.shape) * 40, 0, 255).astype(np.uint8)
    assert distance(noisy) > 3 * distance(others)
    assert distance(others[:20].repeat(15, axis=0)) > 3 * distance(others)


@pytest.mark.one_stack
def test_random_features_at_every_resolution():
    sizes = [RandomFeatures(1).statistics(np.zeros([2, 1, size, size], np.uint8)).shape[1] for size in (4, 8, 64, 256)]
    assert sizes == [64, 192, 960, 960]
    sizes = [RandomFeatures(1).statistics(np.zeros([2, 1, *size], np.uint8)).shape[1] for size in ((40, 24), (18, 32))]
    assert sizes == [704, 192]  # down to 5x3, to 9x16
    sprites = np.zeros([2, 4, 8, 8], np.uint8)
    sprites[0, :3] = 77
    assert (training_curve.opaque(sprites) == 255).all() and training_curve.opaque(sprites).shape == (2, 3, 8, 8)
    with pytest.raises(ValueError, match="uint8"):
        RandomFeatures(3).statistics(np.zeros([2, 1, 8, 8], np.uint8))
    with pytest.raises(ValueError, match="more images"):
        RandomFeatures().fit(np.zeros([64, 192]))


# ----------------------------------------------------------------------------
# The tool.


@pytest.fixture
def run_dir(tmp_path):
    """A run folder of two snapshots with labels, and an image folder with classes."""
    import PIL.Image

    from dnnlib.tflib import Network
    from training.misc import save_pkl
    from training.run_folder.options_file import save_training_options

    for number, image in enumerate(blobs(140, 0)):
        folder = tmp_path / "images" / f"class{number % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(image.transpose(1, 2, 0)).save(folder / f"{number}.png")
    run = tmp_path / "00000-blobs"
    run.mkdir()
    kwargs = EasyDict(
        G_args={},
        D_args={},
        dataset_args={"tfrecord_dir": "images", "max_label_size": "full"},
        sched_args={},
        tf_config={},
        data_dir=str(tmp_path),
        mirror_augment=True,
    )
    save_training_options(str(run), 1, kwargs)
    size = {"num_channels": 3, "resolution": 16, "label_size": 2, "fmap_base": 64, "fmap_max": 8}
    size |= {"latent_size": 8, "dlatent_size": 8, "mapping_fmaps": 8, "mapping_layers": 1}
    for kimg in (0, 20):
        Gs = Network("Gs", func_name="training.networks_stylegan2.G_main", **size)
        save_pkl((Gs, Gs, Gs), str(run / f"network-snapshot-{kimg:06d}.pkl"))
    return run


def test_training_curve(run_dir, tmp_path, monkeypatch):
    path = tmp_path / "curve.json"
    table = training_curve.measure_run(str(run_dir), path, num_images=70, seed=0)
    assert [row["kimg"] for row in table["rows"]] == [0, 20]
    assert all(row["frechet"] > table["floor"]["frechet"] for row in table["rows"])
    assert str(tmp_path) not in path.read_text()
    training_curve.plot(table, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert training_curve.markdown(table).splitlines()[2].startswith("| 0 |")

    # A lost row is measured again, to the same values; the others are kept, their files gone or not.
    path.write_text(json.dumps({**table, "rows": table["rows"][:1]}))
    (run_dir / "network-snapshot-000000.pkl").unlink()
    assert training_curve.measure_run(str(run_dir), path, num_images=70, seed=0) == table
    monkeypatch.setattr(training_curve, "Measurement", None)
    assert training_curve.measure_run(str(run_dir), path, num_images=70, seed=0) == table


def test_training_curve_of_what_does_not_fit(run_dir, tmp_path, capsys):
    path = tmp_path / "curve.json"
    with pytest.raises(UserError, match="--num-images=70 would work"):
        training_curve.measure_run(str(run_dir), path, num_images=71, seed=0)
    with pytest.raises(UserError, match="65 or more"):
        training_curve.measure_run(str(run_dir), path, num_images=64, seed=0)
    assert not path.exists()
    path.write_text("[]")
    with pytest.raises(UserError, match="not a table"):
        training_curve.measure_run(str(run_dir), path, num_images=70, seed=0)
    path.write_text(json.dumps({"settings": {"seed": 3}, "rows": []}))
    assert training_curve.known_rows(path, {"seed": 4}, {}) == []
    assert "measured anew" in capsys.readouterr().err
    for snapshot in run_dir.glob("*.pkl"):
        snapshot.unlink()
    with pytest.raises(UserError, match="no network-snapshot"):
        training_curve.measure_run(str(run_dir), path, num_images=70, seed=0)
