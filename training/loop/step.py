"""One iteration of training: the losses' gradients, lazily evaluated regularizers, and the moving average.

The same code runs on one device and on many. A minibatch is cut into pieces that one device computes at once; the
pieces are numbered, and replicas take them in turn, round by round. Random numbers belong to the piece and what is
averaged over pieces (W, path lengths) takes them in order, so that the division does not change the result.
"""

import contextlib
import contextvars
import functools
import gc
import inspect
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from dnnlib import util
from dnnlib.tflib import Network, autosummary, kept, random_stream, replicas
from dnnlib.tflib.devices import on_host
from dnnlib.tflib.ops import implementation
from dnnlib.tflib.optimizer import Optimizer
from training.nets.growing import known_lod

from .options import LoopOptions
from .reals import process_reals

PHASES = ("TrainG", "RegG", "TrainD", "RegD")
_FIRST = tf.VariableAggregation.ONLY_FIRST_REPLICA


_stream_of = functools.partial(random_stream.StatelessStream, on_host=True)


class Piece(NamedTuple):
    """What one device computes at once.

    seed: of its random numbers; reals_seed: of the mirroring of its real images; reals, labels: only for
    discriminators, uint8 `[N, C, H, W]` and float32 `[N, L]`.
    """

    seed: np.ndarray
    reals_seed: np.ndarray
    reals: Any
    labels: Any


class TrainingStep:
    """The computations of training. Create it inside the strategy's scope.

    Args:
        G, D, Gs: the networks.
        training_set: gives random labels and the range of its images.
        options: those of the losses, the optimizers and `process_reals`, and how often regularizers are evaluated.
        augment: an `AdaptiveAugment` of what D sees; None: it sees images as they are.
        make_stream: random numbers for a seed, which the host has.

    Attributes:
        say: called with a line for the log each time a function has been traced.
    """

    def __init__(
        self,
        G: Network,
        D: Network,
        Gs: Network,
        training_set: Any,
        options: LoopOptions,
        augment: Any = None,
        make_stream: Callable[[Any], random_stream.Stream] = _stream_of,
    ):
        self.G, self.D, self.Gs = G, D, Gs
        self.training_set = training_set
        self.options = options
        self.lazy = options.lazy_regularization
        self.intervals = {"RegG": options.G_reg_interval, "RegD": options.D_reg_interval}
        self.augment = augment
        self.make_stream = make_stream
        self.strategy = tf.distribute.get_strategy()
        self.num_replicas = self.strategy.num_replicas_in_sync
        self.local_replicas = 1 if self.num_replicas == 1 else len(self.strategy.extended.worker_devices)
        self.lod = tf.Variable(0.0, trainable=False, name="lod", aggregation=_FIRST)
        self.pl_mean = tf.Variable(0.0, trainable=False, name="pl_mean", aggregation=_FIRST)
        self.Gs_beta = 0.0  # the weight of Gs' old values in the last iteration
        self.lrate_ratios = {"G": 1.0, "D": 1.0}
        self.optimizers = {
            "G": self._optimizer("G", G, dict(options.G_opt_args), options.G_reg_interval),
            "D": self._optimizer("D", D, dict(options.D_opt_args), options.D_reg_interval),
        }
        self.phases = dict.fromkeys(PHASES if self.lazy else ("TrainG", "TrainD"))  # an ordered set
        self._sums: dict[str, list[tf.Variable]] = {}  # of gradients, over the rounds of an iteration
        self._functions: dict[str | tuple[str, int], Callable] = {}  # by name, those of one stage with their rounds
        self.say: Callable[[str], None] = functools.partial(print, flush=True)
        self._have_run: set[tuple[str, int]] = set()  # of `_functions`
        self._tracing: threading.Thread | None = None
        self._closed = False
        self._stage = 0.0
        self._lod: float | None = None  # the one set last

    def _optimizer(self, name: str, net: Network, kwargs: dict[str, Any], interval: int) -> Optimizer:
        if self.lazy:  # so that n + 1 updates have the effect of n without a regularizer of their own (section 3.1)
            ratio = interval / (interval + 1)
            self.lrate_ratios[name] = ratio
            kwargs |= {beta: kwargs[beta] ** ratio for beta in ("beta1", "beta2") if beta in kwargs}
        return Optimizer(f"Train{name}", net.trainables, **kwargs)

    def variables(self) -> dict[str, Any]:
        """Everything that must survive a restart, by name."""
        result = {"pl_mean": self.pl_mean}
        for label, net in (("G", self.G), ("D", self.D), ("Gs", self.Gs)):
            result |= {f"{label}/{key}": var for key, var in net.vars.items()}
        for label, optimizer in self.optimizers.items():
            result |= {f"{label}_opt/{key}": var for key, var in optimizer.variables().items()}
        return result | (self.augment.variables() if self.augment is not None else {})

    def reset_optimizers(self) -> None:
        """Forgets the moments of both optimizers."""
        for optimizer in self.optimizers.values():
            optimizer.reset_optimizer_state()

    def set_lod(self, lod: float) -> None:
        """Sets the level of detail of the networks being trained."""
        if lod == self._lod:  # nothing to tell a GPU, which would first do all that it was given
            return
        self._lod = lod
        self.lod.assign(lod)
        stage = lod if lod == math.floor(lod) else math.floor(lod) + 0.5
        if stage != self._stage:
            self._stage = stage
            # Graphs are made for one stage, and training does not return to an earlier one.
            self._functions = {key: function for key, function in self._functions.items() if isinstance(key, str)}
            self._have_run.clear()
            gc.collect()  # they refer to themselves, and Python looks for such things when it likes
        for net in (self.G, self.D):
            for name, variable in net.vars.items():
                if name.split("/")[-1] == "lod":
                    variable.assign(lod)

    def due(self, iteration: int) -> list[str]:
        """The phases of an iteration, in order."""
        return [name for name in tuple(self.phases) if iteration % self.intervals.get(name, 1) == 0]

    def largest(self, number: int) -> int:
        """The largest of a number that each worker has."""

        def of_replica(value: tf.Tensor) -> tf.Tensor:
            return tf.reduce_max(tf.stack(replicas.gather(value)))

        step = self._function("largest of all workers", lambda: lambda value: self._run(of_replica, value))
        return int(self._local(step(tf.constant(number, tf.int32))))

    def update_average(self, beta: float) -> None:
        """Moves Gs towards G; `beta` is the weight of its old values."""
        self.Gs_beta = beta
        kept.weights_changed()
        update = self._function(
            "moving average", lambda: lambda beta: self.Gs.setup_as_moving_average_of(self.G, beta=beta)()
        )
        update(on_host(beta, np.float32))

    # ------------------------------------------------------------------------
    # A phase.

    def run(self, name: str, pieces: Sequence[Piece], learning_rate: float) -> "PhaseResult | None":
        """Computes one phase of an iteration and updates its network.

        pieces: those of this worker's replicas, round by round. None is returned if the loss has no regularizer.
        """
        if name not in self.phases:
            return None
        kept.weights_changed()
        learning_rate *= self.lrate_ratios[name[-1]]
        lrate = on_host(learning_rate, np.float32)
        local = self.local_replicas
        rounds = [self._distribute(pieces[i : i + local]) for i in range(0, len(pieces), local)]
        number, stats = len(rounds), {}
        if number > 1 and name[-1] not in self._sums:
            variables = self.optimizers[name[-1]].trainables.values()
            with self.strategy.scope():
                self._sums[name[-1]] = [tf.Variable(tf.zeros(var.shape), trainable=False) for var in variables]
        compute = self._phase_function(name, number)
        for piece in rounds:
            of_round, finite = self._noting_first_run((name, number), compute, lrate, *piece)
            of_round = {key: self._local(value) for key, value in of_round.items()}
            stats = {key: stats[key] + of_round[key] for key in stats} or of_round
        if name not in self.phases:  # found out while the function was traced
            return None
        if number > 1:
            finite = self._function(f"update of {name}", lambda: functools.partial(self._update, name))(lrate)
        return PhaseResult(name, learning_rate, stats, self._local(finite))

    def trace_ahead(self, shape: Sequence[int], dtype: str, num_labels: int, rounds: int) -> None:
        """Begins to trace the phases in a thread, while the caller does other things; what goes wrong will again.

        Not for several devices, nor for networks that grow, whose functions are those of one stage.

        Args:
            shape: of the real images that a device computes at once, `[N, C, H, W]`.
            dtype: of them.
            num_labels: size of a label.
            rounds: of an iteration.
        """
        if self.num_replicas > 1 or self.options.grows or rounds > 1:
            return
        seed = tf.TensorSpec([2], tf.int64)
        reals, labels = tf.TensorSpec(shape, dtype), tf.TensorSpec([shape[0], num_labels], tf.float32)
        functions = [self._phase_function(name, rounds) for name in self.phases]  # made here, by one thread

        def trace() -> None:
            for function in functions:
                if not self._closed:
                    with contextlib.suppress(Exception):
                        function.get_concrete_function(tf.TensorSpec([], tf.float32), seed, seed, reals, labels)

        self._tracing = threading.Thread(target=contextvars.copy_context().run, args=(trace,), name="tracing")
        self._tracing.start()

    def close(self) -> None:
        """Ends tracing."""
        self._closed = True
        if self._tracing is not None:
            self._tracing.join()

    def _phase_function(self, name: str, rounds: int) -> Callable:
        return self._function((name, rounds), lambda: functools.partial(self._round, name, rounds))

    def _value(self, name: str, stream: Any, reals: Any, labels: Any, size: int) -> tf.Tensor | None:
        """The loss, the regularizer times its interval, or the sum of both: one number per sample."""
        which = name[-1]
        kwargs = dict(self.options.G_loss_args if which == "G" else self.options.D_loss_args)
        func = util.get_obj_by_name(kwargs.pop("func_name"))
        known = inspect.signature(func).parameters
        kwargs |= {"G": self.G, "D": self.D, "opt": self.optimizers[which], "training_set": self.training_set}
        if "pl_mean" in known:
            kwargs["pl_mean"] = self.pl_mean
        if self.augment is not None:
            kwargs["augment"] = self.augment
        parts = "both" if not self.lazy else "reg" if name.startswith("Reg") else "loss"
        if "parts" in known:  # functions with the official signature compute both
            kwargs["parts"] = parts
        if which == "D":
            kwargs |= {"reals": reals, "labels": labels}
        with random_stream.using(stream), known_lod(self._stage):
            loss, reg = func(minibatch_size=size, **kwargs)
        if parts == "reg":
            return None if reg is None else tf.reshape(reg, [-1]) * self.intervals[name]
        loss = tf.reshape(loss, [-1])  # [N]
        # The regularizer may have fewer samples (pl_minibatch_shrink); officially they broadcast, and only means count.
        return loss if parts == "loss" or reg is None else loss + tf.reduce_mean(reg)

    def _gradients(
        self, name: str, rounds: int, seeds: Any, reals_seeds: Any, reals: Any, labels: Any
    ) -> tuple[list[tf.Tensor] | None, dict[str, tf.Tensor]]:
        """This replica's share of the gradients, and its statistics."""
        size = reals.shape[0]
        reals = self._process(reals_seeds, reals) if name.endswith("D") else None
        variables = list(self.optimizers[name[-1]].trainables.values())
        with autosummary.collected() as stats, tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            value = self._value(name, self.make_stream(seeds), reals, labels, size)
            if value is None:
                return None, {}
            mean = tf.reduce_mean(value) * (1 / (self.num_replicas * rounds))
        gradients = tape.gradient(mean, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
        summed = replicas.sum_over(list(stats.values()))
        return gradients, dict(zip(stats, summed, strict=True))

    def _process(self, seeds: Any, reals: tf.Tensor) -> tf.Tensor:
        lod = tf.convert_to_tensor(self.lod) if self.options.grows else 0
        with random_stream.using(self.make_stream(seeds)):
            dranges = self.training_set.dynamic_range, self.options.drange_net
            reals, _ = process_reals(reals, None, lod, self.options.mirror_augment, *dranges)
        return tf.ensure_shape(reals, [None, *self.D.input_shape[1:]])

    def _round(self, name: str, rounds: int, lrate: tf.Tensor, *piece: Any) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """One round, which updates the network if it is the only one; of several, each adds to sums of gradients."""

        def of_replica(*piece: Any):
            gradients, stats = self._gradients(name, rounds, *piece)
            if gradients is None:
                self.phases.pop(name, None)
            elif rounds == 1:
                return stats, self.optimizers[name[-1]].apply(gradients, lrate)
            else:
                for total, gradient in zip(self._sums[name[-1]], gradients, strict=True):
                    tf.raw_ops.AssignAddVariableOp(resource=total.handle, value=gradient)
            return stats, tf.constant(True)

        return self._run(of_replica, *piece)

    def _update(self, name: str, lrate: Any):
        def of_replica():
            totals = self._sums[name[-1]]
            gradients = [tf.raw_ops.ReadVariableOp(resource=total.handle, dtype=tf.float32) for total in totals]
            finite = self.optimizers[name[-1]].apply(gradients, lrate)
            with tf.control_dependencies([finite]):
                for total, gradient in zip(totals, gradients, strict=True):
                    tf.raw_ops.AssignVariableOp(resource=total.handle, value=tf.zeros_like(gradient))
            return finite

        return self._run(of_replica)

    # ------------------------------------------------------------------------
    # Devices.

    def _run(self, of_replica: Callable, *args: Any) -> Any:
        return of_replica(*args) if self.num_replicas == 1 else self.strategy.run(of_replica, args)

    def _function(self, key: str | tuple[str, int], make: Callable[[], Callable]) -> Callable:
        """A compiled function, which says how long its tracing took.

        key: its name; (phase, rounds) of a function that is made for one stage.
        """
        if key not in self._functions:  # partial: functions of the same code are one to TensorFlow, traced too often
            self._functions[key] = implementation.function(functools.partial(self._traced, key, make()))
        return self._functions[key]

    def _traced(self, key: str | tuple[str, int], function: Callable, *args: Any) -> Any:
        start = time.perf_counter()
        result = function(*args)
        if isinstance(key, str) or key[0] in self.phases:
            self.say(f"Traced {self._title(key)} in {time.perf_counter() - start:.1f}s.")
        return result

    def _noting_first_run(self, key: tuple[str, int], function: Callable, *args: Any) -> Any:
        """Calls a function; the first time it says how long that took, which may be long."""
        if key in self._have_run:
            return function(*args)
        start = time.perf_counter()
        result = function(*args)
        self._have_run.add(key)
        if key[0] in self.phases:
            self.say(
                f"First run of {self._title(key)}, with TensorFlow's preparations: {time.perf_counter() - start:.1f}s."
            )
        return result

    def _title(self, key: str | tuple[str, int]) -> str:
        if isinstance(key, str):
            return key
        name, rounds = key
        return f"{name}{f' in {rounds} rounds' * (rounds > 1)}{f' for lod {self._stage:g}' * self.options.grows}"

    def _distribute(self, pieces: Sequence[Piece]) -> tuple[Any, Any, Any, Any]:
        """One piece for each replica of this worker."""

        def value(piece: Piece, field: str) -> tf.Tensor:
            value = getattr(piece, field)
            return on_host(value) if field.endswith("seed") else tf.convert_to_tensor(value)

        if self.num_replicas == 1:
            return tuple(value(pieces[0], field) for field in Piece._fields)
        return tuple(
            self.strategy.experimental_distribute_values_from_function(
                lambda ctx, field=field: value(pieces[ctx.replica_id_in_sync_group % len(pieces)], field)
            )
            for field in Piece._fields
        )

    def _local(self, value: Any) -> tf.Tensor:
        return self.strategy.experimental_local_results(value)[0]


@dataclass
class PhaseResult:
    """What a phase tells: the learning rate, statistics for `autosummary.add`, and whether the update was made."""

    name: str
    learning_rate: float
    stats: dict[str, tf.Tensor]
    finite: Any
