"""The maths of the metrics against float64 references and official results, with nothing but arrays.

The tests that are marked slow have the sizes of real metrics: 50,000 samples.
"""

import itertools
import time

import numpy as np
import pytest
import scipy.spatial.distance

from metrics.maths.frechet import feature_statistics, frechet_distance
from metrics.maths.inception_score import inception_score
from metrics.maths.kernel import kernel_distance
from metrics.maths.neighbourhoods import precision_recall, squared_distances_float16, squared_radii

pytestmark = pytest.mark.one_stack


def features(kind, count, size, seed, dtype=np.float32):
    """Random features [N, F]: independent, or correlated, sparse and of very different scales like real ones."""
    rnd = np.random.RandomState(seed)
    if kind == "random":
        return (rnd.standard_normal([count, size]) + 0.05 * seed).astype(dtype)
    mix = np.random.RandomState(99).standard_normal([32, size]) * np.exp(-6 * np.arange(size) / size)
    latent = rnd.standard_normal([count, 32]).astype(dtype) @ mix.astype(dtype)
    noise = rnd.standard_normal([count, size]).astype(dtype)
    return np.maximum(latent + noise * mix.std(axis=0).astype(dtype) + dtype(0.03 * seed), 0)


# ----------------------------------------------------------------------------
# Fréchet distance.


def reference_frechet(a, b):
    """From the data, not from covariances: the root's trace is that of the singular values of A B^T, [N, M]."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    apart = np.sum((a.mean(axis=0) - b.mean(axis=0)) ** 2)
    a, b = ((x - x.mean(axis=0)) / np.sqrt(len(x) - 1) for x in (a, b))
    a, b = (np.linalg.qr(x, mode="r") if len(x) > x.shape[1] else x for x in (a, b))  # R^T R is x^T x
    return apart + np.sum(a * a) + np.sum(b * b) - 2 * np.linalg.svd(a @ b.T, compute_uv=False).sum()


@pytest.mark.parametrize("kind", ["random", "correlated"])
@pytest.mark.parametrize(("num_a", "num_b"), [(1500, 900), (90, 700), (60, 50), (2, 3)])
def test_frechet_distance(kind, num_a, num_b):
    a, b = features(kind, num_a, 200, 1), features(kind, num_b, 200, 2)
    distance = frechet_distance(*feature_statistics(a), *feature_statistics(b))
    assert distance == pytest.approx(reference_frechet(a, b), rel=1e-7)
    assert frechet_distance(*feature_statistics(b), *feature_statistics(a)) == pytest.approx(distance, rel=1e-9)


def test_statistics_in_blocks():
    data = features("correlated", 10000, 30, 1) + 1000
    expected = data.astype(np.float64).mean(axis=0), np.cov(data.astype(np.float64), rowvar=False)
    mean, covariance = feature_statistics(data)
    np.testing.assert_allclose(mean, expected[0], rtol=1e-12)
    np.testing.assert_allclose(covariance, expected[1], rtol=1e-9, atol=1e-9 * np.abs(expected[1]).max())
    with pytest.raises(ValueError, match="two samples"):
        feature_statistics(data[:1])


@pytest.mark.parametrize("official_numerics", [False, True])
def test_official_frechet_distance(metric_goldens, official_numerics):
    results, arrays = metric_goldens
    for case in ("fid/0", "fid/1", "fid/2"):
        stats = (feature_statistics(arrays[f"{case}/{name}"]) for name in ("real", "fake"))
        distance = frechet_distance(*itertools.chain(*stats), official_numerics=official_numerics)
        assert distance == pytest.approx(results[case]["result"][""][0], rel=1e-4)


# ----------------------------------------------------------------------------
# Kernel distance.


def reference_kernel_distance(real, fake, num_subsets, size, rnd):
    values = []
    for _ in range(num_subsets):
        y = fake[rnd.permutation(len(fake))[:size]].astype(np.float64)
        x = real[rnd.permutation(len(real))[:size]].astype(np.float64)

        def kernel(a, b):
            return (np.einsum("nf,mf->nm", a, b) / x.shape[1] + 1) ** 3

        off = ~np.eye(len(x), dtype=bool)
        values.append(kernel(x, x)[off].mean() + kernel(y, y)[off].mean() - 2 * kernel(x, y).mean())
    return np.mean(values)


@pytest.mark.parametrize("kind", ["random", "correlated"])
@pytest.mark.parametrize("shift", [0, 1])
def test_kernel_distance(kind, shift):
    real, fake = features(kind, 400, 30, 1), features(kind, 300, 30, 1 + shift)
    expected = reference_kernel_distance(real, fake, 7, 60, np.random.RandomState(5))
    assert kernel_distance(real, fake, 7, 60, seed=5) == pytest.approx(expected, rel=1e-9)
    np.random.seed(5)
    assert kernel_distance(real, fake, 7, 60) == pytest.approx(expected, rel=1e-9)
    expected = reference_kernel_distance(real, fake, 2, 300, np.random.RandomState(6))
    assert kernel_distance(real, fake, 2, seed=6) == pytest.approx(expected, rel=1e-9)


def test_kernel_distance_of_what_does_not_fit():
    with pytest.raises(ValueError, match="2 real features, 3"):
        kernel_distance(np.zeros([9, 2]), np.zeros([9, 3]))
    with pytest.raises(ValueError, match="two samples"):
        kernel_distance(np.zeros([9, 2]), np.zeros([1, 2]))
    with pytest.raises(ValueError, match="finite"):
        kernel_distance(np.zeros([9, 2]), np.full([9, 2], np.inf))


# ----------------------------------------------------------------------------
# Inception score.


def reference_inception_score(probabilities, num_splits):
    scores = []
    count = len(probabilities)
    for index in range(num_splits):
        part = probabilities[index * count // num_splits : (index + 1) * count // num_splits].astype(np.longdouble)
        mean = part.mean(axis=0)
        terms = np.where(part > 0, part * (np.log(np.where(part > 0, part, 1)) - np.log(mean + (mean == 0))), 0)
        scores.append(np.exp(terms.sum(axis=1).mean()))
    return float(np.mean(scores)), float(np.std(scores))


@pytest.mark.parametrize("sharpness", [0.1, 1, 30, 200])
def test_inception_score(sharpness):
    logits = sharpness * np.random.RandomState(0).randn(203, 40)
    probabilities = np.exp(logits - logits.max(axis=1, keepdims=True)).astype(np.float32)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    assert (probabilities == 0).any() == (sharpness > 20)
    expected = reference_inception_score(probabilities, 7)
    assert inception_score(probabilities, 7) == pytest.approx(expected, rel=1e-7)


def test_inception_score_of_extremes():
    assert inception_score(np.eye(10), 1) == pytest.approx((10, 0))
    assert inception_score(np.full([10, 4], 0.25), 5) == pytest.approx((1, 0))
    assert inception_score(np.eye(3)[[0, 0, 0]], 3) == pytest.approx((1, 0))
    for array, splits, message in (
        (np.eye(3)[0], 1, r"\[N, K\]"),
        (np.eye(3), 4, "as many samples"),
        (-np.eye(3), 1, "not negative"),
        (np.eye(3) * np.nan, 1, "finite"),
    ):
        with pytest.raises(ValueError, match=message):
            inception_score(array, splits)


def test_official_inception_score(metric_goldens):
    results, arrays = metric_goldens
    for case in ("is/0", "is/1"):
        score = inception_score(arrays[f"{case}/probs"], results[case]["num_splits"])
        expected = [results[case]["result"][name][0] for name in ("_mean", "_std")]
        assert score == pytest.approx(expected, rel=1e-4)


# ----------------------------------------------------------------------------
# Precision and recall.


def reference_precision_recall(real, fake, nhood_size):
    """Every distance from differences in float64."""
    real, fake = real.astype(np.float64), fake.astype(np.float64)
    radii = [np.sort(scipy.spatial.distance.cdist(x, x), axis=1)[:, nhood_size] for x in (real, fake)]
    between = scipy.spatial.distance.cdist(real, fake)
    return (between <= radii[0][:, np.newaxis]).any(axis=0).mean(), (between <= radii[1]).any(axis=1).mean()


def clusters(count, seed, spread):
    """Points that lie close together, compared with how far they are from the center."""
    centers = np.random.RandomState(7).randn(5, 64) * 10
    rnd = np.random.RandomState(seed)
    return (centers[rnd.randint(5, size=count)] + spread * rnd.randn(count, 64)).astype(np.float32)


POINTS = {
    "random": lambda count, seed: features("random", count, 64, seed),
    "correlated": lambda count, seed: features("correlated", count, 64, seed),
    "float64": lambda count, seed: features("random", count, 64, seed, np.float64),
    "far away": lambda count, seed: features("random", count, 64, seed) + 1000,
    "tiny": lambda count, seed: features("random", count, 64, seed) * np.float32(1e-12),
    "tiniest": lambda count, seed: features("random", count, 64, seed, np.float64) * 1e-24,
    "huge": lambda count, seed: features("random", count, 64, seed) * np.float32(1e16),
    "line": lambda count, seed: features("random", count, 1, seed),
    "too large for float32 squares": lambda count, seed: features("random", count, 64, seed) * np.float32(1e20),
    "repeated": lambda count, seed: np.resize(features("random", 60, 64, seed), [count, 64]),
    "partly repeated": lambda count, seed: features("random", count, 64, seed)[np.arange(count) ** 2 % (count // 2)],
}


@pytest.mark.parametrize("kind", POINTS)
@pytest.mark.parametrize("nhood_size", [1, 3, 5])
def test_precision_recall(kind, nhood_size):
    real, fake = POINTS[kind](300, 1), POINTS[kind](210, 2)
    expected = reference_precision_recall(real, fake, nhood_size)
    assert precision_recall(real, fake, nhood_size) == expected
    assert precision_recall(real, fake, nhood_size, row_batch_size=64, col_batch_size=150) == expected
    assert precision_recall(fake, real, nhood_size, row_batch_size=400, col_batch_size=41) == expected[::-1]
    assert precision_recall(real, real[::-1].copy(), nhood_size) == (1, 1)


def test_what_float32_does_not_tell():
    tight = clusters(300, 1, 1e-4), clusters(210, 2, 1e-4)
    assert precision_recall(*tight) == (1, 1)  # the distances count as 0
    near = clusters(300, 1, 0.1), clusters(210, 2, 0.1)
    ties = [np.random.RandomState(seed).randint(3, size=[300, 5]).astype(np.float32) for seed in (1, 2)]
    for nhood_size in (1, 3, 5):
        for sets, tolerance in ((near, 0.01), (ties, 0.05)):
            expected = reference_precision_recall(*sets, nhood_size)
            assert precision_recall(*sets, nhood_size) == pytest.approx(expected, abs=tolerance)


def test_precision_recall_of_one_image():
    real, same = features("random", 50, 64, 1), np.ones([40, 64], np.float32)
    assert precision_recall(real, same) == reference_precision_recall(real, same, 3)
    assert precision_recall(same, same) == (1, 1)
    assert precision_recall(same, same + 1) == (0, 0)


def test_precision_recall_of_a_collapsed_generator_takes_no_longer():
    """Its images are so near to each other that no distance tells one pair from another."""
    real, varied = features("random", 700, 512, 1), features("random", 700, 512, 2)
    collapsed = np.repeat(varied[:2], 350, axis=0) * (1 + 1e-4 * features("random", 700, 512, 3))

    def seconds(fake):
        start = time.process_time()  # of all threads, whatever else the machine does
        precision_recall(real, fake)
        return time.process_time() - start

    assert min(seconds(collapsed) for _ in range(3)) < 2 * min(seconds(varied) for _ in range(3)) + 0.02


def test_precision_recall_reports_progress():
    reports = []
    data = features("random", 50, 4, 1)
    precision_recall(data, data + 1, row_batch_size=20, col_batch_size=25, progress=lambda *args: reports.append(args))
    assert reports == [(done, 18) for done in range(1, 19)]  # 6 + 6 of three by three, 3 x 2 of both


@pytest.mark.parametrize("official_numerics", [False, True])
def test_official_precision_recall(metric_goldens, official_numerics):
    results, arrays = metric_goldens
    for case in ("pr/0", "pr/1", "pr/2"):
        info = results[case]
        real, fake = arrays[f"{case}/real"], arrays[f"{case}/fake"]
        precisions, recalls = info["knn_precision_multi"], info["knn_recall_multi"]
        for nhood_size, *expected in zip(info["precision_nhoods"], precisions, recalls, strict=True):
            args = (nhood_size, info["row_batch_size"], info["col_batch_size"])
            found = precision_recall(real, fake, *args, official_numerics=official_numerics)
            assert found == pytest.approx(expected, abs=2.01 / len(real))
        if official_numerics:
            for points, name in ((real, "D_ref"), (fake, "D_eval")):
                block = slice(0, len(points)), slice(0, len(points)), squared_distances_float16(points, points)
                radii = squared_radii(len(points), info["nhood_size"], [block], both_ways=False)
                np.testing.assert_allclose(radii, arrays[f"{case}/{name}"][:, 0], rtol=1e-2)


def test_official_precision_recall_overflows():
    data = np.random.RandomState(0).randn(50, 64) * 40  # squared lengths of 100,000
    with pytest.raises(ValueError, match="float16"):
        precision_recall(data, data, official_numerics=True)
    assert precision_recall(data, data) == (1, 1)


# ----------------------------------------------------------------------------
# Real sizes.


def timed(function, *args, **kwargs):
    start = time.time()
    result = function(*args, **kwargs)
    return result, time.time() - start


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["random", "correlated"])
@pytest.mark.parametrize("num_fakes", [50000, 1500])
def test_distances_of_50k(kind, num_fakes, capsys):
    real, fake = features(kind, 50000, 2048, 1), features(kind, num_fakes, 2048, 2)

    def frechet():
        return frechet_distance(*feature_statistics(real), *feature_statistics(fake))

    found, seconds = timed(frechet)
    expected = reference_frechet(real, fake)
    kernel, kernel_seconds = timed(kernel_distance, real, fake, seed=0)
    kernel_expected = reference_kernel_distance(real, fake, 100, 1000, np.random.RandomState(0))
    with capsys.disabled():
        print(f"\n{kind}, 50000 and {num_fakes} samples:")
        print(f"Fréchet {found:.9g} in {seconds:.1f}s, off by {found / expected - 1:.1e}")
        print(f"kernel {kernel:.9g} in {kernel_seconds:.1f}s, off by {kernel / kernel_expected - 1:.1e}")
    assert found == pytest.approx(expected, rel=1e-6)
    assert kernel == pytest.approx(kernel_expected, rel=1e-6)


def blocks_of_distances(a, b, size=500):
    """Squared distances [N, M] in float64, some rows at a time. Accurate to 1e-13: fine where nothing is equal."""
    a, b = (x - a.mean(axis=0, dtype=np.float64) for x in (a, b))
    squares = np.sum(b * b, axis=1)
    for start in range(0, len(a), size):
        rows = a[start : start + size]
        yield start, np.sum(rows * rows, axis=1)[:, np.newaxis] + squares - 2 * rows @ b.T


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["random", "correlated"])
def test_precision_recall_of_50k(kind, capsys):
    real, fake = features(kind, 50000, 2048, 1), features(kind, 50000, 2048, 2)
    found, seconds = timed(precision_recall, real, fake)
    start = time.time()
    for x, y in ((real, real), (fake, fake), (real, fake)):
        for rows in np.split(x, 5):
            for columns in np.split(y, 5):
                np.matmul(rows, columns.T)
    bare = time.time() - start
    with capsys.disabled():
        print(f"\n{kind}: {found} in {seconds:.0f}s, three bare float32 products {bare:.0f}s")
    radii = [
        np.concatenate([np.partition(block, 3, axis=1)[:, 3].copy() for _, block in blocks_of_distances(x, x)])
        for x in (real, fake)
    ]
    inside_fake, real_inside = np.zeros(50000, bool), []
    for first, block in blocks_of_distances(real, fake):
        inside_fake |= (block <= radii[0][first : first + len(block), np.newaxis]).any(axis=0)
        real_inside.append((block <= radii[1]).any(axis=1))
    assert found == pytest.approx((inside_fake.mean(), np.concatenate(real_inside).mean()), abs=2e-4)


@pytest.mark.slow
def test_inception_score_of_50k():
    logits = 3 * np.random.RandomState(0).standard_normal([50000, 1008]).astype(np.float32)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert inception_score(probabilities) == pytest.approx(reference_inception_score(probabilities, 10), rel=1e-6)
