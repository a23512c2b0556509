"""A training in progress: iterations by the schedule, ticks, snapshots, signals, and its exact state."""

import contextlib
import os
import signal
import sys
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np

import dnnlib
from dnnlib import EasyDict
from dnnlib.clusters.watch import Watch
from dnnlib.errors import UserError
from dnnlib.resolutions import resolution_of
from dnnlib.tflib import autosummary, random_stream
from dnnlib.tflib.devices import Devices, peak_gpu_memory
from training import misc
from training.run_folder import snapshots, state
from training.run_folder.heartbeat import Heartbeat
from training.run_folder.options_file import TRAINING_STATE, foreign_code
from training.run_folder.report import TickReport

from . import endings, lost_workers, measuring, signals
from .counters import Counters
from .options import LoopOptions
from .reals import RealsReader
from .schedule import growing_from, minibatches, num_rounds, training_schedule
from .step import PHASES, Piece, TrainingStep

# What random numbers are for: part of the key of their stream.
PURPOSES = {name: index for index, name in enumerate((*PHASES, "reals", "weights"))}
_BAD_UPDATES_IN_A_ROW = 20


@dataclass
class TrainingRun:
    """A training in progress."""

    run_dir: str | None  # None: of a worker that writes no files
    devices: Devices
    networks: tuple[Any, Any, Any]
    step: TrainingStep
    training_set: Any
    grid: snapshots.ImageGrid
    seed: int
    options: LoopOptions
    contents: Any = None  # of the data set, a `training.data.contents.Contents`, if they are known
    watch: Watch = field(default_factory=Watch)  # over other workers
    metrics: Any = None
    metric_kwargs: Any = None
    heartbeat: Heartbeat = field(default_factory=lambda: Heartbeat(None, 0))
    resumed: bool = False

    def __post_init__(self) -> None:
        start_nimg = int(self.options.resume_kimg * 1000)
        self.counters = Counters(start_nimg, tick_start_nimg=start_nimg, total_sec=self.options.resume_time)
        self.total_nimg = self.options.total_kimg * 1000
        base = resolution_of(self.training_set.shape[1:], self.options.G_args.get("base"))
        self._sched_args = growing_from(self.options.sched_args, base.first_log2)
        of = self.devices
        self.reader = RealsReader(
            self.training_set, self.seed, of.worker, of.local_replicas, of.num_replicas, of.local_names
        )
        self.sched = self._schedule(self.counters.cur_nimg)
        self.report: TickReport | None = None
        self._results: list[Any] = []  # of phases, not looked at yet
        self._saved_nimg = 0  # of the state on the disk
        self._is_measuring = False  # also when a signal has ended that
        self._is_whole = True  # false within an iteration, when variables and counters do not belong together

    def _schedule(self, nimg: int) -> EasyDict:
        return training_schedule(cur_nimg=nimg, training_set=self.training_set, **self._sched_args)

    def check_schedule(self) -> None:
        """Raises UserError unless minibatches can be divided among devices at all resolutions."""
        num_replicas, full = self.devices.num_replicas, 1 << self.training_set.resolution_log2
        wrong = [
            f"{size} by {part} x {num_replicas}"
            for resolution, (size, part) in minibatches(self.options.sched_args).items()
            if resolution in (None, full) or (self.options.grows and resolution < full)
            if num_rounds(size, part, num_replicas) is None
        ]
        if wrong:
            raise UserError(
                "minibatch sizes (--minibatch) must be multiples of --minibatch-gpu times the number of devices: "
                f"cannot divide {', '.join(sorted({*wrong}))}"
            )

    # ------------------------------------------------------------------------
    # State.

    def restore(self, saved: state.SavedState) -> None:
        """Continues where a state was saved."""
        saved.restore(self.step.variables())
        names = {counter.name for counter in fields(Counters)}  # earlier versions had one more
        self.counters = c = Counters(**{name: value for name, value in saved.counters.items() if name in names})
        self.sched = self._schedule(c.sched_nimg if c.sched_nimg >= 0 else c.cur_nimg)
        self._saved_nimg = c.cur_nimg
        self.resumed = True

    def save_state(self) -> None:
        """Saves everything needed to continue. Nothing happens on workers other than the first. Raises OSError."""
        if self.run_dir is None:
            return
        self.report.count()
        state.save(self.run_dir, self.step.variables(), asdict(self.counters), self.contents)
        self._saved_nimg = self.counters.cur_nimg

    def _save_networks(self, name: str) -> None:
        """Writes a pickle. Raises UserError unless the disk has room for it and a state."""
        self.heartbeat.doing("saving networks")
        path = os.path.join(self.run_dir, name)
        self._check_room(path)
        misc.save_pkl(self.networks, path)

    def _check_room(self, path: str) -> None:
        pickle = sum(int(np.prod(var.shape)) * 4 for net in self.networks for var in net.vars.values())
        snapshots.check_room(path, pickle + state.size_of(self.step.variables()))

    # ------------------------------------------------------------------------
    # The loop.

    def train(self) -> None:
        """Trains to the end, or until a signal asks to stop.

        Whatever else ends it, but for errors of an iteration itself, the state is saved before, if it fits.
        """
        self.report = TickReport(self.run_dir, self.total_nimg, self.counters)
        self.step.say = self.report.say
        self.heartbeat.counters = self.counters
        self._trace_ahead()
        with signals.noted() as received:
            self.watch.signals = received
            self._first_snapshot()
            try:
                with lost_workers.explained(self.watch):
                    signum = self._train(received)
            except signals.StopAtOnce:
                raise
            except BaseException as error:
                if not self.watch.has_lost:  # of a minibatch that is not whole
                    self._save_last("Ended")
                self.reader.explain(error)
                raise
            if signum:
                self.watch.end_together()
                self._save_last("Stopped")
                if signum == signal.SIGINT:
                    raise KeyboardInterrupt
                sys.exit(128 + signum)

    def _trace_ahead(self) -> None:
        """Phases are traced while the first pictures and the first state are saved, and while others run first."""
        if self.counters.cur_nimg >= self.total_nimg:
            return
        size, part = self.sched.minibatch_size, self.sched.minibatch_gpu
        data = self.training_set
        rounds = num_rounds(size, part, self.devices.num_replicas)
        self.step.trace_ahead([part, *data.shape], data.dtype, data.label_size, rounds)

    def _train(self, received: list[int]) -> int:
        """Returns the signal that has ended it early, or 0."""
        c = self.counters
        while True:
            done = c.cur_nimg >= self.total_nimg and not c.repeat
            if self._tick_is_over(done):
                self._begin_tick()
            if c.tick_is_open:
                self._finish_tick(done)
            if c.tick_is_open and received:  # by its metrics, which are computed when the run goes on
                return received[0]
            if done:
                break
            c.done = False  # a finished run may be given more to do
            self.heartbeat.doing("training")
            self._group(received)
            if signum := self._agreed(received):
                return signum
        if not c.done:
            if self.run_dir is not None:
                self._save_networks("network-final.pkl")
                endings.save_card(self, "network-final.pkl")
            c.done = True
            self.save_state()
        return 0

    def _save_last(self, what: str) -> None:
        """Saves the state before training ends, and says how to go on. Raises no errors, as others wait to be told."""
        now = f"{what} at kimg {self.counters.cur_nimg / 1000:.1f}"
        self.heartbeat.doing("stopping")
        self.report.clear_live()
        if self.run_dir is None:
            print(f"{now}.")
            return
        resume = f"--resume={self.run_dir}" + " --options=FILE" * bool(foreign_code(vars(self.options)))
        goes_on = f"{resume} goes on from kimg {self._saved_nimg / 1000:.1f}"
        if not self._is_whole:
            print(f"{now}, within an iteration: {goes_on}.")
            return
        try:
            self._check_finite()
            if not self._is_measuring:  # else the state was saved before, when logs had none of their results
                self.save_state()
            print(f"{now}. To continue: {resume}")
        except Exception as error:
            why = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else error
            print(f"{now}. Its state could not be saved; {goes_on}. ({why})")

    def _first_snapshot(self) -> None:
        kimg = self.total_nimg / 1000
        if self.resumed and self.counters.cur_nimg >= self.total_nimg:
            print(f"The run is at kimg {self.counters.cur_nimg / 1000:.1f}: finished; --total-kimg=N goes on.\n")
            return
        if self.resumed:
            print(f"Continuing at kimg {self.counters.cur_nimg / 1000:.1f} of {kimg:g}...\n", flush=True)
            return
        if self.run_dir is not None:
            self._check_room(os.path.join(self.run_dir, TRAINING_STATE))
            self._save_fakes("fakes_init.png")
            self.save_state()
        print(f"Training for {kimg:.0f} kimg...\n", flush=True)

    def _group(self, received: list[int]) -> None:
        """Iterations between two looks at the schedule; fewer if a signal arrives."""
        c = self.counters
        if c.repeat == 0:
            c.sched_nimg = c.cur_nimg
        self.sched = sched = self._schedule(c.sched_nimg)
        if c.repeat == 0:
            moved = np.floor(sched.lod) != np.floor(c.prev_lod) or np.ceil(sched.lod) != np.ceil(c.prev_lod)
            if self.options.reset_opt_for_new_lod and moved:
                self.step.reset_optimizers()
            c.prev_lod = sched.lod
        self.step.set_lod(sched.lod)

        def is_stopping() -> bool:
            return bool(received) and self.devices.is_only_worker

        while c.repeat < self.options.minibatch_repeats and not is_stopping():
            sizes = sched.minibatch_size, sched.minibatch_gpu
            reals = self.reader.pieces(c.cur_nimg, *sizes, int(np.floor(sched.lod)), is_stopping)
            if reals is None:
                break
            self._is_whole = False
            self._results += self._iteration(sched, reals)
            c.cur_nimg += sched.minibatch_size
            c.iteration += 1
            c.repeat += 1
            self._is_whole = True
            self.report.live(sched.tick_kimg)
        c.repeat %= self.options.minibatch_repeats
        self._check_finite()

    def _agreed(self, received: list[int]) -> int:
        """The signal that ends the training, or 0: the largest that any worker has received."""
        signum = received[0] if received else 0
        return signum if self.devices.is_only_worker else self.step.largest(signum)

    def _iteration(self, sched: EasyDict, reals: list[tuple[int, Any, Any]]) -> list[Any]:
        c = self.counters
        lrates = {"G": sched.G_lrate, "D": sched.D_lrate}
        results = []
        for name in self.step.due(c.iteration):
            if name == "TrainD":
                self.step.update_average(self._average_beta(sched.minibatch_size))
            pieces = [Piece(self._key(name, n), self._key("reals", n), images, labels) for n, images, labels in reals]
            result = self.step.run(name, pieces, lrates[name[-1]])
            if result is not None:
                autosummary.add(result.stats)
                results.append(result)
        if self.step.augment is not None:
            self.step.augment.after_iteration(c.iteration, sched.minibatch_size)
        return results

    def _key(self, purpose: str, number: int) -> np.ndarray:
        """Of the random numbers of a piece in this iteration."""
        return random_stream.seed_of(self.seed, self.counters.iteration, PURPOSES[purpose], number)

    def _average_beta(self, minibatch_size: int) -> float:
        """What remains of the old values of Gs in one iteration."""
        half_life = self.options.G_smoothing_kimg * 1000.0
        if self.options.G_smoothing_rampup is not None:  # early weights should be forgotten soon
            half_life = min(half_life, self.counters.cur_nimg * self.options.G_smoothing_rampup)
        return 0.5 ** (minibatch_size / half_life) if half_life > 0 else 0.0

    def _check_finite(self) -> None:
        """Counts updates that were skipped; raises UserError after several in a row."""
        c = self.counters
        results, self._results = self._results, []
        for result in results:
            finite = bool(result.finite)
            autosummary.autosummary(f"{result.name}/learning_rate", result.learning_rate)
            autosummary.autosummary(f"{result.name}/overflow_frequency", float(not finite))
            bad = c.bad_updates[result.name] = 0 if finite else c.bad_updates.get(result.name, 0) + 1
            c.skipped += not finite
            if bad >= _BAD_UPDATES_IN_A_ROW:
                self._is_whole = False  # the state of better times is kept
                last = c.last_snapshot or "the one that the run started from"
                raise UserError(
                    f"{bad} updates in a row were skipped at kimg {c.cur_nimg / 1000:.1f}: the gradients of "
                    f"{result.name} are not finite; the last good snapshot is {last}. A lower learning rate or a "
                    "larger --gamma may help"
                )

    def _tick_is_over(self, done: bool) -> bool:
        c = self.counters
        if c.repeat or c.cur_nimg == c.tick_start_nimg:
            return False
        return done or c.cur_tick < 0 or c.cur_nimg >= c.tick_start_nimg + self.sched.tick_kimg * 1000

    def _begin_tick(self) -> None:
        c = self.counters
        c.cur_tick += 1
        tick_nimg, c.tick_start_nimg = c.cur_nimg - c.tick_start_nimg, c.cur_nimg
        c.tick_is_open = True
        augment = self.step.augment
        p = float(augment.p.numpy()) if augment is not None and augment.pipe is not None else None
        self.report.tick(tick_nimg, self.sched, peak_gpu_memory(), p)
        if c.skipped > c.skipped_before_tick:
            c.skipped_before_tick = c.skipped
            print(f"Updates skipped because of gradients that were not finite: {c.skipped} so far.")
        with contextlib.suppress(RuntimeError):
            dnnlib.RunContext.get().update(cur_epoch=c.cur_nimg // 1000, max_epoch=int(self.total_nimg / 1000))

    def _finish_tick(self, done: bool) -> None:
        """What a tick has to do, but for its line. A state that was saved on the way begins it anew."""
        c = self.counters
        name = f"{c.cur_nimg // 1000:06d}"
        if _is_due(c.cur_tick, self.options.image_snapshot_ticks, done):
            self._save_fakes(f"fakes{name}.png")
        snapshot = _is_due(c.cur_tick, self.options.network_snapshot_ticks, done)
        if snapshot and self.run_dir is not None:
            self._snapshot(f"network-snapshot-{name}.pkl")
            if self._is_measuring and self.devices.is_only_worker:  # others would wait
                return
            self._is_measuring = False
        if self.metrics is not None:
            self.metrics.update_autosummaries()
        self.report.finish_tick()
        c.tick_is_open = False
        if snapshot:
            self.save_state()

    def _save_fakes(self, name: str) -> None:
        if self.run_dir is None:
            return
        try:
            self.grid.save_fakes(self.networks[2], os.path.join(self.run_dir, name), self.sched.minibatch_gpu)
        except OSError as error:  # a full disk: training can do without
            print(f"{error.filename or name}: {error.strerror}; the picture is left out")

    def _snapshot(self, name: str) -> None:
        c = self.counters
        self._save_networks(name)
        if not any(c.bad_updates.values()):
            c.last_snapshot = name
        if self.options.keep_snapshots is not None:
            snapshots.remove_old(self.run_dir, self.options.keep_snapshots)
        if not self.metrics.metrics:
            return
        self.save_state()  # now, because metrics take long, and may take more memory than there is
        self.heartbeat.doing("computing metrics")
        self._is_measuring = True
        self._is_measuring = measuring.measure(self, name)

    def close(self) -> None:
        """Ends reading ahead and closes the logs."""
        self.reader.close()
        self.step.close()
        if self.report is not None:
            self.report.close()


def _is_due(tick: int, interval: int | None, done: bool) -> bool:
    return bool(interval) and (done or tick % interval == 0)
