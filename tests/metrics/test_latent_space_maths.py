"""Separability and path lengths against references and the official code. NumPy only."""

import numpy as np
import pytest
import sklearn.svm

from metrics.maths.path_length import path_length_score, without_outliers
from metrics.maths.separability import (
    conditional_entropy,
    entropy,
    fit_plane,
    mutual_information,
    prob_normalize,
    separability,
)

pytestmark = pytest.mark.one_stack


# ----------------------------------------------------------------------------
# Separability.


def test_official_entropies(metric_goldens):
    for case in metric_goldens[0]["ls_entropy"]:
        p = case["p"]
        np.testing.assert_allclose(prob_normalize(p), case["prob_normalize"], rtol=1e-6)
        assert mutual_information(p) == pytest.approx(case["mutual_information"], abs=1e-6)
        assert entropy(p) == pytest.approx(case["entropy"], abs=1e-6)
        assert conditional_entropy(p) == pytest.approx(case["conditional_entropy"], abs=1e-6)
    with pytest.raises(ValueError, match="expected a table"):
        prob_normalize(np.zeros([2, 2]))


def softmax_of(logits):
    pairs = np.stack([logits, -logits], axis=1)
    exps = np.exp(pairs - pairs.max(axis=1, keepdims=True))
    return (exps / exps.sum(axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("official_numerics", [False, True])
def test_official_separability(metric_goldens, official_numerics):
    results, arrays = metric_goldens
    z = arrays["ls/latents"]
    images = z + 1.5 * np.sin(3 * z)
    predictions = [softmax_of(images @ np.float32(weights)) for weights in ([1, 0.5, -0.2], [0.3, -1, 2])]
    reports = []
    np.random.seed(5)
    found = separability(
        {"z": z, "w": z + 1},
        predictions,
        num_keep=120,
        official_numerics=official_numerics,
        progress=lambda *args: reports.append(args),
    )
    for name, result in found.items():
        assert result.score == pytest.approx(results["ls"]["result"][f"_{name}"][0], rel=0.02)
        assert result.score == pytest.approx(2 ** sum(result.entropies))
    assert reports == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_separability_keeps_the_confident():
    z = np.random.RandomState(0).randn(400, 3)
    logits = z[:, 0].copy()
    logits[np.abs(logits) < 0.5] *= -1  # wrong where they are unsure
    kept = int((np.abs(logits) >= 0.5).sum())
    assert separability({"z": z}, [softmax_of(logits)], num_keep=kept)["z"].score == pytest.approx(1)
    assert separability({"z": z}, [softmax_of(logits)], num_keep=400)["z"].score > 1.3
    assert separability({"z": z}, [softmax_of(np.abs(z[:, 0]))])["z"] == (1, [0])  # one class only


@pytest.mark.parametrize(
    ("latents", "predictions", "message"),
    [
        (np.zeros([5, 2]), np.zeros([4, 2]), "same samples"),
        (np.zeros([5, 2]), np.zeros([5, 3]), "predictions"),
        (np.zeros([5]), np.zeros([5, 2]), "latents z"),
        (np.full([5, 2], np.nan), np.zeros([5, 2]), "finite"),
    ],
)
def test_separability_of_what_does_not_fit(latents, predictions, message):
    with pytest.raises(ValueError, match=message):
        separability({"z": latents}, [predictions])


@pytest.mark.parametrize(("count", "size"), [(600, 20), (40, 60)])
@pytest.mark.parametrize("noise", [0, 1])
def test_fit_plane(count, size, noise):
    """The optimum of LinearSVC: no other plane, its own included, has a lower objective, and the gradient is 0."""
    rnd = np.random.RandomState(0)
    samples = (rnd.randn(count, size) @ np.diag(np.geomspace(1, 0.01, size)) + 0.3).astype(np.float32)
    targets = (samples @ rnd.randn(size) + 0.2 * noise * rnd.randn(count) > 0.5).astype(int)
    samples64, signs = samples.astype(np.float64), 2 * targets - 1

    def objective(plane):
        return plane @ plane / 2 + np.sum(np.maximum(0, 1 - signs * (samples64 @ plane[:-1] + plane[-1])) ** 2)

    machine = fit_plane(samples, targets)
    plane = np.append(machine.coef_[0], machine.intercept_)
    hinges = np.maximum(0, 1 - signs * (samples64 @ plane[:-1] + plane[-1]))
    pulls = np.append((hinges * signs) @ samples64, np.sum(hinges * signs))
    np.testing.assert_allclose(plane, 2 * pulls, atol=1e-5 * np.abs(plane).max())
    svm = sklearn.svm.LinearSVC(dual=False, tol=1e-10, max_iter=100000).fit(samples64, targets)
    theirs = np.append(svm.coef_[0], svm.intercept_)
    assert objective(plane) == pytest.approx(objective(theirs), rel=1e-7)
    assert objective(plane) <= objective(theirs) * (1 + 1e-10)
    np.testing.assert_allclose(plane, theirs, atol=1e-4 * np.abs(theirs).max())
    assert np.mean(machine.predict(samples) == svm.predict(samples64)) > 0.995
    assert np.mean(machine.predict(samples) == targets) > 0.8


# ----------------------------------------------------------------------------
# Path lengths.


def test_official_path_lengths(metric_goldens):
    results, arrays = metric_goldens
    distances, expected = arrays["ppl_filter/d"], results["ppl_filter"]
    kept = without_outliers(distances)
    assert (kept.min(), kept.max(), kept.size) == pytest.approx((expected["lo"], expected["hi"], expected["n"]))
    assert path_length_score(distances) == pytest.approx(expected["mean"], rel=1e-6)
    for number in range(5):
        score = path_length_score(arrays[f"ppl/{number}/distances"])
        assert score == pytest.approx(results[f"ppl/{number}"]["result"][""][0], rel=1e-6)
    for bad in ([], [1, np.nan]):
        with pytest.raises(ValueError, match="finite"):
            path_length_score(bad)
