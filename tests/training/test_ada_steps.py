"""Iterations of training against those of PyTorch (goldens/ada/loop): updates, averages, r_t and p."""

import golden
import lane
import numpy as np
import pytest
import tensorflow as tf
import torch_golden

from dnnlib import EasyDict
from dnnlib.tflib import Network
from training.augmentation.adaptive import AdaptiveAugment
from training.augmentation.pipeline import AugmentPipe
from training.loop.counters import Counters
from training.loop.options import LoopOptions
from training.loop.run import TrainingRun
from training.loop.step import TrainingStep

FOLDER = golden.ADA_GOLDENS / "loop"
CASES = golden.read_index(FOLDER / "index.json")
PHASES = ("Gmain", "Greg", "Dmain", "Dreg")


class GoldenRun(TrainingRun):
    """A training with the networks and options of a case; it is its own data set, and reads its images to itself."""

    def __init__(self, case, data):
        self.case, self.data, options = case, data, case["kw"]
        self.dynamic_range = [0, 255]
        sizes = {"resolution": case["R"], "num_channels": case["C"], "label_size": case["L"]}
        mixing = case["loss"].get("style_mixing_prob", 0.9)
        G_kwargs = {"latent_size": 16, "dlatent_size": 16, "mapping_layers": 2, "style_mixing_prob": mixing}
        D_kwargs = {"mbstd_group_size": 4, "mapping_layers": 8, "mapping_lrmul": 0.01}
        maps = {"fmap_base": 64, "fmap_max": 12}
        G = Network("G", func_name="training.networks.G_main", **sizes, **maps, **G_kwargs)
        D = Network("D", func_name="training.networks.D_main", **sizes, **maps, **D_kwargs)
        for name, net in (("G", G), ("D", D)):
            torch_golden.set_variables(net, case["salts"][name])
        self.networks = G, D, G.clone("Gs")
        if case["aug"]:
            target, kimg, interval = (options[f"ada_{name}"] for name in ("target", "kimg", "interval"))
            augment = AdaptiveAugment(
                AugmentPipe.of_spec(case["aug"]), options["augment_p"], target=target, kimg=kimg, interval=interval
            )
        else:
            augment = None
        # PyTorch adds epsilon, 1e-8, to another root than TensorFlow, of gradients that are summed over rounds. This is
        # the same for the first updates; larger ones hold weights back whose gradient is as small as that.
        opt_args = {"beta1": 0.0, "beta2": 0.99, "epsilon": 7e-10}
        D_loss = {"gamma": case["loss"]["r1_gamma"], "random_fake_labels": True}
        self.options = LoopOptions(
            G_loss_args={"func_name": "training.loss.G_logistic_ns_pathreg"},
            D_loss_args={"func_name": "training.loss.D_logistic_r1", **D_loss},
            G_opt_args=opt_args,
            D_opt_args=opt_args,
            G_reg_interval=options.get("G_reg_interval", 4),
            D_reg_interval=options.get("D_reg_interval", 16),
            G_smoothing_kimg=options["ema_kimg"],
            G_smoothing_rampup=options["ema_rampup"],
        )
        self.step = TrainingStep(*self.networks, self, self.options, augment, make_stream=lambda seed: self.draws)
        self.counters, self.seed, self.reader = Counters(), 0, self
        self.sched = EasyDict(minibatch_size=case["batch"], minibatch_gpu=case["bgpu"], lod=0.0)
        self.sched.G_lrate = self.sched.D_lrate = case["lr"]

    def rounds(self, array):
        return [array[i : i + self.case["bgpu"]] for i in range(0, len(array), self.case["bgpu"])]

    def pieces(self):
        images, labels = (self.rounds(self.data[f"iter{self.counters.iteration}/real_{kind}"]) for kind in ("img", "c"))
        return list(zip(range(len(images)), images, labels, strict=True))

    def get_random_labels_tf(self, n):
        return tf.constant(self.labels.pop(0)[:n])

    def iterate(self):
        """One iteration with the random numbers that it had."""
        k = self.counters.iteration
        facts = self.case["iterations"][k]
        runs = [PHASES.index(phase) for phase in facts["phases_run"] if phase != "Dreg"]
        z, c = (
            [part for phase in runs for part in self.rounds(self.data[f"iter{k}/gen_{kind}"][phase])] for kind in "zc"
        )
        first = facts["first_draw"] + 1  # after that of all latents
        calls = self.case["calls"][first : facts["last_draw"]]
        self.draws, self.labels = torch_golden.Draws(self.case["seed"] + first, calls, z), c
        self._iteration(self.sched, self.pieces())
        assert not (self.draws.queue or self.draws.cutoffs or self.labels)
        self.counters.iteration += 1
        self.counters.cur_nimg += self.sched.minibatch_size


@pytest.mark.gpu
@pytest.mark.parametrize("name", CASES)
def test_official_loop(name, eagerly):
    lane.only_float32()
    case, data = CASES[name], golden.arrays(str(FOLDER), f"{name}.npz")
    run = GoldenRun(case, data)
    G, D, Gs = run.networks
    for phase, optimizer in case["opt"].items():
        which = phase[0]
        assert run.step.lrate_ratios[which] * case["lr"] == pytest.approx(optimizer["lr"])
    # There, the networks are listed before training, with latents of zeros, which W's average follows.
    G.run(np.zeros([4, 16]), np.zeros([4, case["L"]]), is_training=True, style_mixing_prob=None)
    for k, facts in enumerate(case["iterations"]):
        run.iterate()
        assert float(run.step.Gs_beta) == pytest.approx(facts["ema_beta"], rel=1e-6)
        assert float(run.step.pl_mean) == pytest.approx(facts["pl_mean"], rel=lane.gradients(1e-4))
        if facts["p_after"] is not None:
            assert float(run.step.augment.p) == pytest.approx(facts["p_after"], abs=1e-6)
        for label, net in (("G", G), ("D", D), ("G_ema", Gs)):
            check_variables(net, case["variables"][label], data, f"iter{k}/{label}/")


def check_variables(net, torch_names, data, prefix):
    stored = torch_golden.stored(net)
    ours = {stored[name].name: name for name in net.vars}
    assert sorted(ours) == sorted(torch_names)
    for i, torch_name in enumerate(torch_names):
        if prefix.endswith("G_ema/") and torch_name == "mapping.w_avg":
            continue  # there the average comes after the update of D, which moves W's average as well
        of = stored[ours[torch_name]]
        value = net.get_var(ours[torch_name]).astype(np.float64) + of.offset
        norm = data[f"{prefix}norm"][i]
        along = torch_golden.as_ours(of, golden.seeded("proj:" + torch_name, of.shape), value.shape)
        assert abs(np.linalg.norm(value) - norm) <= lane.steps(1e-4) * norm, (prefix, torch_name)
        assert abs(np.sum(value * along) - data[f"{prefix}proj"][i]) <= lane.steps(1e-4) * norm, (prefix, torch_name)
        full = data.get(f"{prefix}full/{torch_name}")
        if full is not None:
            difference = value - torch_golden.as_ours(of, full, value.shape)
            assert np.sqrt(np.mean(np.square(difference))) <= lane.steps(5e-5), (prefix, torch_name)
            assert np.max(np.abs(difference)) <= lane.steps(5e-4), (prefix, torch_name)  # Adam makes noise larger
