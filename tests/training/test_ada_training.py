"""Trainings with the configurations of StyleGAN2-ADA, on 64 tiny symbols."""

import json
import re
import shutil

import golden
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from small_trainings import SMALL, differences, finish, options_file, start, states_of
from test_training_loop import symbols, train, wait_for  # noqa: F401, a fixture

import pretrained_networks
import run_training
from dnnlib.tflib import Network, autosummary, random_stream
from training import loss, misc
from training.augmentation.adaptive import AdaptiveAugment
from training.loop.step import TrainingStep
from training.options.augmentation import default_augment_args
from training.run_folder import state

AUTO = {
    "D_args": {**SMALL, "mbstd_group_size": 4},
    "minibatch_repeats": 1,
    "augment_args": {"tune_kimg": 0.1},
    "total-kimg": 0.16,
}


@pytest.fixture
def seen(monkeypatch):
    """What happens after each iteration: the weight of the old average, the number of scores, r_t, p."""
    records = []
    update, after = TrainingStep.update_average, AdaptiveAugment.after_iteration

    def update_average(self, beta):
        records.append({"beta": beta})
        update(self, beta)

    def after_iteration(self, iteration, minibatch_size):
        record = records[-1]
        record["count"] = float(self.variables()["augment/count"])
        record["r_t"] = after(self, iteration, minibatch_size)
        record["p"] = float(self.p)
        return record["r_t"]

    monkeypatch.setattr(TrainingStep, "update_average", update_average)
    monkeypatch.setattr(AdaptiveAugment, "after_iteration", after_iteration)
    return records


def stats_of(run_dir):
    return [json.loads(line) for line in (run_dir / "stats.jsonl").read_text().splitlines()]


def state_of(run_dir):
    return dict(np.load(run_dir / "training-state.npz"))


def go_on(run_dir, *args):
    run_training.parse([f"--resume={run_dir}", *args])[0].start()


@pytest.mark.one_stack
def test_auto(tmp_path, symbols, seen, monkeypatch):  # noqa: F811
    """In rounds; what is reported; r_t, p and the moving average; and a run that was stopped goes on exactly."""
    save, early = state.save, []

    def keep(run_dir, variables, counters, contents):
        save(run_dir, variables, counters, contents)
        if counters["cur_nimg"] == 88:
            early.append(shutil.copytree(run_dir, tmp_path / "early"))

    monkeypatch.setattr(state, "save", keep)
    args = (f"--dataset={symbols}", "--cfg=auto", "--precision=fp32", "--minibatch-gpu=4", "--mirror=1")
    run_dir = train(tmp_path, *args, **AUTO)
    kwargs = json.loads((run_dir / "training_options.json").read_text())
    assert kwargs["augment_args"]["tune_heuristic"] == "rt"

    ticks = [line for line in (run_dir / "log.txt").read_text().splitlines() if line.startswith("tick ")]
    stats = stats_of(run_dir)
    printed = [float(re.search(r" augment ([\d.]+) +eta ", line)[1]) for line in ticks]
    assert printed == [round(record["Progress/augment"], 3) for record in stats] and max(printed) > 0
    assert all(-1 <= record["Loss/signs/real"] <= 1 for record in stats)

    assert len(seen) == 20
    half_lives = [min(kwargs["G_smoothing_kimg"] * 1000, 8 * i * 0.05) for i in range(20)]
    assert [record["beta"] for record in seen] == [0.5 ** (8 / n) if n else 0 for n in half_lives]
    changes = [i for i, record in enumerate(seen) if record["r_t"] is not None]
    assert changes == [3, 7, 11, 15, 19]
    assert [seen[i]["count"] for i in changes] == [40, 32, 32, 32, 40]  # those of R1 as well
    p = 0.0
    for i in changes:
        p = max(p + np.sign(seen[i]["r_t"] - 0.6) * 8 * 4 / 100, 0)
        assert seen[i]["p"] == pytest.approx(p, abs=1e-6)

    saved = state_of(early[0])  # between two changes of p
    assert saved["variables/augment/count"] == 24
    go_on(early[0])
    a, b = state_of(run_dir), state_of(early[0])
    assert {"variables/augment/p", "variables/augment/signs", "variables/augment/count"} < a.keys() == b.keys()
    assert not [key for key in a if key != "meta" and "Timing" not in key and not np.array_equal(a[key], b[key])]
    assert [record["p"] for record in seen[11:20]] == [record["p"] for record in seen[20:]]


@pytest.mark.one_stack
def test_cifar(tmp_path, symbols, seen):  # noqa: F811
    """With labels and a fixed p; no path lengths are regularized."""
    args = (f"--dataset={symbols}", "--cfg=cifar", "--aug=fixed", "--p=0.3", "--augpipe=color", "--cond")
    run_dir = train(tmp_path, *args, "--precision=fp32", **{"total-kimg": 0.016})
    assert run_dir.name.endswith("-cifar-fixed-p0.3-color")
    log = (run_dir / "log.txt").read_text()
    assert "Traced RegD" in log and "Traced TrainG" in log and "RegG" not in log
    assert "Label size    = 10" in log
    assert {record["p"] for record in seen} == {np.float32(0.3)} == {state_of(run_dir)["variables/augment/p"].item()}
    (record,) = {line.split("augment ")[1][:5] for line in log.splitlines() if line.startswith("tick ")}
    assert record == "0.300"
    (stats,) = [record for record in stats_of(run_dir) if record["Progress/tick"] == 0]
    assert not {tag for tag in stats if "pl_" in tag or "RegG" in tag} and "Loss/signs/real" in stats
    G, D, Gs = misc.load_pkl(str(run_dir / "network-final.pkl"))
    assert G.static_kwargs["style_mixing_prob"] is None and D.static_kwargs["architecture"] == "orig"
    assert Gs.run(np.ones([1, 8]), np.eye(10)[:1]).shape == (1, 3, 16, 16)


@pytest.mark.one_stack
def test_fine_tuning_of_a_pytorch_network(tmp_path, seen):
    """Of gray images, with some layers of D frozen. Neither p nor anything else of the earlier training goes on."""
    images = tmp_path / "gray"
    images.mkdir()
    for i in range(16):
        noise = np.random.RandomState(i).randint(256, size=[16, 16]).astype(np.uint8)
        PIL.Image.fromarray(noise, "L").save(images / f"{i}.png")
    pkl = golden.ADA_GOLDENS / "pt_pickles" / "r16-gray.pkl"
    G_args = {"latent_size": 16, "dlatent_size": 16, "mapping_fmaps": 16, "fmap_max": 16}
    changes = {"G_args": G_args, "D_args": {"fmap_max": 16}, "total-kimg": 0.032, "minibatch_repeats": 1}
    args = (f"--dataset={images}", "--cfg=auto", f"--resume={pkl}", "--freezed=3", "--precision=fp32")
    run_dir = train(tmp_path, *args, **changes)
    kwargs = json.loads((run_dir / "training_options.json").read_text())
    assert kwargs["augment_args"]["tune_kimg"] == 100 and kwargs["G_smoothing_rampup"] is None
    assert [record["beta"] for record in seen] == [0.5 ** (8 / (kwargs["G_smoothing_kimg"] * 1000))] * 4
    assert [record["p"] for record in seen[:3]] == [0, 0, 0]
    assert seen[3]["p"] == pytest.approx(8 * 4 / 100e3 if seen[3]["r_t"] > 0.6 else 0)

    before, after = pretrained_networks.load_networks(str(pkl)), misc.load_pkl(str(run_dir / "network-final.pkl"))
    assert before[1].augment_p == 0.25
    same = {name for name in after[1].vars if np.array_equal(*(nets[1].get_var(name) for nets in (before, after)))}
    frozen = {f"16x16/{layer}/{part}" for layer in ("FromRGB", "Conv0", "Conv1_down") for part in ("weight", "bias")}
    assert same == frozen
    assert after[1].static_kwargs["freeze_layers"] == 3
    for k in (0, 1):
        for name, variable in after[k].trainables.items():  # four steps, or five
            moved = np.abs(variable.numpy() - before[k].get_var(name)).max()
            assert moved < 0.02, name


def test_noaug_watches_and_changes_nothing():
    sizes = {"resolution": 16, "fmap_base": 64, "fmap_max": 8}
    G = Network("G", func_name="training.networks.G_main", latent_size=8, dlatent_size=8, mapping_layers=1, **sizes)
    D = Network("D", func_name="training.networks.D_main", **sizes)
    reals = tf.constant(golden.rnd(1, 4, 3, 16, 16))

    class NoLabels:
        def get_random_labels_tf(self, n):
            return tf.zeros([n, 0])

    def values(augment):
        stream = random_stream.StatelessStream([1, 2])
        kwargs = {"G": G, "D": D, "opt": None, "training_set": NoLabels(), "minibatch_size": 4, "augment": augment}
        with random_stream.using(stream), autosummary.collected() as stats:
            results = loss.D_logistic_r1(**kwargs, reals=reals, labels=tf.zeros([4, 0]))
        return [result.numpy() for result in results], stats, stream.draws

    none = AdaptiveAugment.of_options(**default_augment_args("noaug"))
    (with_none, stats, draws), (without, stats_without, draws_without) = values(none), values(None)
    assert all(np.array_equal(a, b) for a, b in zip(with_none, without, strict=True))
    assert draws == draws_without
    assert stats.keys() - stats_without.keys() == {"Loss/signs/real"} and stats["Loss/signs/real"][0] == 4
    assert none.after_iteration(3, 4) is None and float(none.p) == 0
    fixed = AdaptiveAugment.of_options(**default_augment_args("fixed"), initial_strength=1)
    assert not np.array_equal(values(fixed)[0][0], without[0])


# ----------------------------------------------------------------------------
# Trainings in processes of their own.

COMMAND = ("--cfg=auto", "--precision=fp32")


@pytest.mark.slow
@pytest.mark.parametrize("signal", ["SIGKILL", "SIGTERM"])
def test_continuing_is_exact(tmp_path, symbols, signal):  # noqa: F811
    import signal as signals

    changes = {**AUTO, "total-kimg": 0.6, "minibatch-gpu": 4, "snap": 1, "minibatch_repeats": 3}
    args = [f"--options={options_file(tmp_path, **changes)}", f"--dataset={symbols}", *COMMAND]
    finish(start(tmp_path, *args, "--result-dir=whole"))
    parts = start(tmp_path, *args, "--result-dir=parts")
    wait_for(parts, tmp_path, "tick", lines=4)
    parts.send_signal(getattr(signals, signal))
    output = parts.communicate()[0]
    assert parts.returncode == {"SIGKILL": -9, "SIGTERM": 143}[signal], output
    finish(start(tmp_path, "--resume=latest", "--result-dir=parts"))
    a, b = states_of(tmp_path / "whole", tmp_path / "parts")
    assert a.keys() == b.keys() and "variables/augment/signs" in a
    assert not [key for key in a if key != "meta" and "Timing" not in key and not np.array_equal(a[key], b[key])]


@pytest.mark.slow
def test_replicas_train_alike(tmp_path, symbols):  # noqa: F811
    """p is the same, and so are the weights, but for noise that Adam makes larger."""
    changes = {**AUTO, "total-kimg": 0.064, "minibatch-gpu": 4}
    args = [f"--options={options_file(tmp_path, **changes)}", f"--dataset={symbols}", *COMMAND]
    finish(start(tmp_path, *args, "--result-dir=one"))
    finish(start(tmp_path, *args, "--result-dir=two", "--num-gpus=2", "--logical-cpus=2"))
    one, two = states_of(tmp_path / "one", tmp_path / "two")
    assert one["variables/augment/p"] == two["variables/augment/p"] > 0
    weights = {key: value for key, value in differences(one, two).items() if "_opt/" not in key}
    assert max(weights.values()) < 2e-3
