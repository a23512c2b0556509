"""Whole training iterations against the official optimizer and moving average (goldens/steps)."""

import golden
import lane
import numpy as np
import pytest
from test_loss import GoldenLabels, GoldenStream, one_hot

from dnnlib.tflib import Network
from training.loop.options import LoopOptions
from training.loop.step import Piece, TrainingStep

CASES = golden.index("steps", "index.json")


def _loss_args(args):
    return {"func_name": f"training.loss.{args['func']}"} | {key: args[key] for key in args if key != "func"}


class GoldenRun:
    """Networks and a training step that draw the numbers of the execution in progress."""

    def __init__(self, case):
        self.case = case
        sizes = {key: case[key] for key in ("resolution", "num_channels", "label_size")}
        G_kwargs = {**case["G_kwargs"], **lane.kwargs(case["G_func"], case["G_kwargs"])}
        D_kwargs = {**case["D_kwargs"], **lane.kwargs(case["D_func"])}
        self.nets = {
            "G": Network("G", func_name=case["G_func"], **sizes, **G_kwargs),
            "D": Network("D", func_name=case["D_func"], **sizes, **D_kwargs),
        }
        self.nets["Gs"] = Network("Gs", func_name=case["G_func"], **sizes, **G_kwargs)
        for name, net in self.nets.items():
            golden.set_variables(net.vars, case["salts"][name], case["lods"][0] or 0.0)
        self.dynamic_range = [-1, 1]  # reals of the goldens are in the networks' range already
        opt_args = {"beta1": 0.0, "beta2": 0.99, "epsilon": 1e-8}
        self.step = TrainingStep(
            **self.nets,
            training_set=self,
            options=LoopOptions(
                G_loss_args=_loss_args(case["G_loss"]),
                D_loss_args=_loss_args(case["D_loss"]),
                G_opt_args=opt_args,
                D_opt_args=opt_args,
                lazy_regularization=case["lazy"],
                G_reg_interval=case["G_reg_interval"],
                D_reg_interval=case["D_reg_interval"],
            ),
            make_stream=self.make_stream,
        )

    def make_stream(self, seed):
        seed, op = int(seed[0]), self.op
        first = 0
        if op == "G_reg":
            first = next(k for k, call in enumerate(self.case["random_calls"]) if "PathReg" in call["scope"])
        elif op.startswith("D"):
            first = self.case["random_calls_of_G_loss"]
        self.labels = GoldenLabels(seed + 60 + (op == "G_reg"), self.case["label_size"])
        return GoldenStream(seed, self.case["random_calls"], first)

    def get_random_labels_tf(self, n):
        return self.labels.get_random_labels_tf(n)

    def piece(self, seed):
        case = self.case
        n, size = case["minibatch_gpu"], case["resolution"]
        reals = golden.rnd(seed + 70, n, case["num_channels"], size, size)
        labels = one_hot(seed + 80, n, case["label_size"])
        return Piece(np.array([seed, 0]), np.array([seed, 0]), reals, labels)


@pytest.mark.gpu
@pytest.mark.parametrize("name", CASES)
def test_official_steps(name, eagerly):
    case = CASES[name]
    data = golden.arrays("steps", f"{name}.npz")
    steps = [[op for op in case["sequence"] if op["step"] == step] for step in range(3)]
    run = GoldenRun(case)
    for number, ops in enumerate(steps):
        index = 0
        while index < len(ops):
            op = ops[index]
            rounds = [op]
            while index + 1 < len(ops) and ops[index + 1]["op"] == op["op"] and "round" in op:
                index += 1
                rounds.append(ops[index])
            index += 1
            run.op = op["op"]
            if op["op"] == "reset_optimizer_state":
                run.step.reset_optimizers()
                continue
            if op["lod"] is not None:
                run.step.set_lod(op["lod"])
            if op["op"] == "Gs_update":
                minibatch = case["minibatch_gpu"] * case["multiplier"]
                run.step.update_average(0.5 ** (minibatch / (case["G_smoothing_kimg"] * 1000)))
                continue
            phase = {"G_train": "TrainG", "G_reg": "RegG", "D_train": "TrainD", "D_reg": "RegD"}[op["op"]]
            run.step.run(phase, [run.piece(of_round["seed"]) for of_round in rounds], op["lrate"])
        for label, net in run.nets.items():
            names = case["variables"]["G" if label == "Gs" else label]
            values = {key: net.get_var(key) for key in names}
            norms = np.array([np.linalg.norm(value.astype(np.float64)) for value in values.values()])
            golden.close(norms, data[f"step{number}/{label}/norm"], lane.steps(2e-4))
        if f"step{number}/pl_mean" in data:
            golden.close(run.step.pl_mean.numpy(), data[f"step{number}/pl_mean"], 1e-4)
        for key, value in data.items():
            if key.startswith(f"step{number}/") and "/full/" in key:
                where, variable = key.split("/full/")
                difference = run.nets[where.split("/")[1]].get_var(variable) - value
                assert np.max(np.abs(difference)) <= lane.steps(2e-4), (key, np.max(np.abs(difference)))
