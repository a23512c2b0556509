"""The training loop, with its official arguments: what `run_training.py` runs."""

import contextlib
import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import tensorflow as tf

import dnnlib
from dnnlib import EasyDict, tflib
from dnnlib.atomic import atomic_write
from dnnlib.errors import UserError
from dnnlib.tflib import autosummary, random_stream
from dnnlib.tflib.scope import VariableMismatchError, check_variables
from metrics import metric_base

from . import dataset, misc, snapshots, training_state
from .devices import Devices, find_devices, peak_gpu_memory
from .real_images import process_reals
from .reals_reader import RealsReader
from .schedule import training_schedule
from .tick_report import TickReport
from .training_step import PHASES, Piece, TrainingStep

__all__ = ["process_reals", "training_loop", "training_schedule"]

_PURPOSES = {name: index for index, name in enumerate((*PHASES, "reals", "weights"))}  # keys of random numbers
_BAD_UPDATES_IN_A_ROW = 20


def training_loop(
    G_args: Mapping[str, Any] = {},  # func_name and arguments of the generator
    D_args: Mapping[str, Any] = {},  # ... of the discriminator
    G_opt_args: Mapping[str, Any] = {},  # beta1, beta2, epsilon of the generator's optimizer
    D_opt_args: Mapping[str, Any] = {},
    G_loss_args: Mapping[str, Any] = {},  # func_name and arguments of the loss
    D_loss_args: Mapping[str, Any] = {},
    dataset_args: Mapping[str, Any] = {},  # of dataset.load_dataset
    sched_args: Mapping[str, Any] = {},  # of training_schedule
    grid_args: Mapping[str, Any] = {},  # size and layout of the image grids
    metric_arg_list: Sequence[Mapping[str, Any]] = (),  # metrics at network snapshots
    tf_config: Mapping[str, Any] = {},  # of tflib.init_tf
    data_dir: str | None = None,  # folder of data sets
    G_smoothing_kimg: float = 10.0,  # half-life of the running average of the generator's weights
    minibatch_repeats: int = 4,  # iterations from one look at the schedule to the next
    lazy_regularization: bool = True,  # regularizers as separate, rarer updates
    G_reg_interval: int = 4,  # iterations from one of the generator's to the next
    D_reg_interval: int = 16,
    reset_opt_for_new_lod: bool = True,  # forget moments when a new resolution starts or has faded in
    total_kimg: float = 25000,  # length of training, thousands of real images
    mirror_augment: bool = False,  # flip half of the real images
    drange_net: tuple[float, float] = (-1, 1),  # range of the networks' images
    image_snapshot_ticks: int | None = 50,  # ticks from one grid to the next; None: only at the end
    network_snapshot_ticks: int | None = 50,  # ticks from one pickle, and training state, to the next
    save_tf_graph: bool = False,  # no effect: there is no TensorFlow 1 graph
    save_weight_histograms: bool = False,  # no effect
    resume_pkl: str | None = None,  # networks to start from: path, URL or gdrive: name
    resume_kimg: float = 0.0,  # where in the schedule to start
    resume_time: float = 0.0,  # seconds that training has taken before
    resume_with_new_nets: bool = False,  # no effect: networks are always built, their weights compared and copied
    seed: int | None = None,  # of everything random; None: tf_config's rnd.np_random_seed, or 1000
    keep_snapshots: int | None = None,  # network snapshots to keep; None: all
    logical_cpus: int | None = None,  # devices to split the CPU into
    resume_run_dir: str | None = None,  # continue the run in this folder, which is the current one, exactly
) -> None:
    """Trains networks. Files go to the run folder (`dnnlib.make_run_dir_path`).

    Raises:
        UserError: options that do not fit the data, the machine or each other; gradients that stay infinite; a disk
            without room.
    """
    options = {key: value for key, value in locals().items() if key != "resume_run_dir"}
    num_gpus = dnnlib.submit_config.num_gpus if dnnlib.submit_config is not None else 1
    devices = find_devices(num_gpus, logical_cpus)
    run_dir = dnnlib.make_run_dir_path() if devices.is_chief else None
    saved = _saved_state(resume_run_dir)
    if saved is not None and run_dir is not None:
        saved.cut_logs(run_dir)
    if run_dir is not None and saved is None:
        _save_options(run_dir, options, num_gpus)
    print(f"Training on {devices.description}.")

    if seed is None:
        seed = tf_config.get("rnd.np_random_seed")
    seed = 1000 if seed is None else int(seed)
    tflib.init_tf({"rnd.np_random_seed": seed, **tf_config})
    training_set = dataset.load_dataset(data_dir=dnnlib.convert_path(data_dir or ""), verbose=True, **dataset_args)
    _report_ignored_labels(training_set)
    grid = snapshots.ImageGrid(training_set, _latent_size(G_args), drange_net, seed, **grid_args)
    if run_dir is not None and saved is None:
        grid.save_reals(dnnlib.make_run_dir_path("reals.png"))

    with devices.strategy.scope():
        networks = _build_networks(G_args, D_args, training_set, seed)
        G, D, Gs = networks
        if resume_pkl is not None and saved is None:
            _copy_weights(resume_pkl, networks)
        if saved is None:
            G.print_layers()
            D.print_layers()
        print("Building TensorFlow graph...")
        growing = sched_args.get("lod_initial_resolution") is not None
        step = TrainingStep(
            *networks,
            training_set,
            G_loss_args=dict(G_loss_args),
            D_loss_args=dict(D_loss_args),
            G_opt_args=dict(G_opt_args),
            D_opt_args=dict(D_opt_args),
            lazy_regularization=lazy_regularization,
            G_reg_interval=G_reg_interval,
            D_reg_interval=D_reg_interval,
            mirror_augment=mirror_augment,
            drange_net=drange_net,
            growing=growing,
        )
    run = _Run(
        run_dir=run_dir,
        devices=devices,
        networks=networks,
        step=step,
        training_set=training_set,
        grid=grid,
        seed=seed,
        sched_args=dict(sched_args),
        total_nimg=total_kimg * 1000,
        G_smoothing_kimg=G_smoothing_kimg,
        minibatch_repeats=minibatch_repeats,
        reset_opt_for_new_lod=reset_opt_for_new_lod,
        image_snapshot_ticks=image_snapshot_ticks,
        network_snapshot_ticks=network_snapshot_ticks,
        keep_snapshots=keep_snapshots,
        counters=Counters(cur_nimg=int(resume_kimg * 1000), total_sec=resume_time),
    )
    run.check_schedule()
    if saved is not None:
        run.restore(saved)
    print("Initializing logs...")
    run.metrics = metric_base.MetricGroup(metric_arg_list) if run_dir is not None else None
    run.metric_kwargs = {"data_dir": data_dir, "num_gpus": num_gpus, "tf_config": dict(tf_config)}
    try:
        run.train()
    except tf.errors.ResourceExhaustedError as error:
        raise UserError(
            f"out of memory with {run.sched.minibatch_gpu} samples at once; use a smaller --minibatch-gpu "
            f"(it must divide {run.sched.minibatch_size}), or a smaller --fmap-base: {error.message.splitlines()[0]}"
        ) from error
    finally:
        run.close()
        training_set.close()


# ----------------------------------------------------------------------------
# Setting up.


def _saved_state(resume_run_dir: str | None) -> training_state.SavedState | None:
    if resume_run_dir is None:
        return None
    if not os.path.exists(training_state.path_in(resume_run_dir)):
        print("The run was stopped before its first state was saved; it starts from the beginning.")
        return None
    return training_state.load(resume_run_dir)


def _save_options(run_dir: str, options: Mapping[str, Any], num_gpus: int) -> None:
    name = f"{training_loop.__module__}.{training_loop.__name__}"
    text = json.dumps({"run_func_name": name, "num_gpus": num_gpus, **options}, indent=2, default=list)
    with atomic_write(os.path.join(run_dir, "training_options.json")) as file:
        file.write(text.encode() + b"\n")


def _report_ignored_labels(training_set: Any) -> None:
    stored = getattr(training_set, "stored_label_size", 0)
    if stored and not training_set.label_size:
        print(f"The data set has labels of size {stored}; training without them (--cond uses them).")


def _latent_size(G_args: Mapping[str, Any]) -> int:
    return int(G_args.get("latent_size", 512))


def _build_networks(G_args: Mapping, D_args: Mapping, training_set: Any, seed: int) -> tuple[Any, Any, Any]:
    print("Constructing networks...")
    sizes = {"num_channels": training_set.shape[0], "resolution": training_set.shape[1]}
    sizes["label_size"] = training_set.label_size
    try:
        # The weights depend on the seed only, not on devices.
        with random_stream.using(random_stream.StatelessStream(random_stream.seed_of(seed, _PURPOSES["weights"]))):
            G = tflib.Network("G", **sizes, **G_args)
            D = tflib.Network("D", **sizes, **D_args)
    except (TypeError, ValueError) as error:
        raise UserError(f"networks cannot be built: {error}") from error
    return G, D, G.clone("Gs")


def _copy_weights(resume_pkl: str, networks: tuple[Any, ...]) -> None:
    """Starts from the weights of a pickle. Raises UserError with every variable that does not fit."""
    print(f'Loading networks from "{resume_pkl}"...')
    loaded = misc.load_pkl(resume_pkl)
    if not isinstance(loaded, tuple) or len(loaded) != 3:
        raise UserError(f"{resume_pkl}: expected a pickle of (G, D, Gs)")
    problems = []
    for net, source in zip(networks, loaded, strict=True):
        try:
            shapes = {name: tuple(var.shape) for name, var in net.vars.items()}
            check_variables(f"{net.name} of {resume_pkl}", shapes, source.vars)
        except VariableMismatchError as error:
            problems.append(str(error))
    if problems:
        raise UserError("\n".join(problems) + "\nChoose --config, --fmap-base, --cond and --resolution to match.")
    for net, source in zip(networks, loaded, strict=True):
        net.copy_vars_from(source)


# ----------------------------------------------------------------------------
# Running.


@dataclass
class Counters:
    """Where a training is."""

    cur_nimg: int = 0  # real images shown
    iteration: int = 0  # counts for the regularization intervals
    repeat: int = 0  # iterations since the schedule was looked at
    sched_nimg: int = -1  # images shown when it was
    prev_lod: float = -1.0
    cur_tick: int = -1
    tick_start_nimg: int = 0
    maintenance_sec: float = 0.0
    sec_per_kimg: float = 0.0
    bad_updates: int = 0  # in a row
    skipped: int = 0  # updates skipped so far
    total_sec: float = 0.0  # spent so far
    done: bool = False


@dataclass
class _Run:
    """A training in progress."""

    run_dir: str | None
    devices: Devices
    networks: tuple[Any, Any, Any]
    step: TrainingStep
    training_set: Any
    grid: snapshots.ImageGrid
    seed: int
    sched_args: dict[str, Any]
    total_nimg: float
    G_smoothing_kimg: float
    minibatch_repeats: int
    reset_opt_for_new_lod: bool
    image_snapshot_ticks: int | None
    network_snapshot_ticks: int | None
    keep_snapshots: int | None
    counters: Counters
    metrics: Any = None
    metric_kwargs: Any = None
    resumed: bool = False
    last_snapshot: str | None = None

    def __post_init__(self) -> None:
        self.reader = RealsReader(
            self.training_set,
            self.seed,
            self.devices.worker,
            self.devices.local_replicas,
            self.devices.num_replicas,
        )
        self.sched = self._schedule(self.counters.cur_nimg)
        self.report: TickReport | None = None

    def _schedule(self, nimg: int) -> EasyDict:
        return training_schedule(cur_nimg=nimg, training_set=self.training_set, **self.sched_args)

    def check_schedule(self) -> None:
        """Raises UserError unless minibatches can be divided among devices at all resolutions."""
        base = self.sched_args
        sizes = {(self.sched.minibatch_size, self.sched.minibatch_gpu)}
        for resolution in {*base.get("minibatch_size_dict", {}), *base.get("minibatch_gpu_dict", {})}:
            if resolution <= self.training_set.resolution and base.get("lod_initial_resolution") is not None:
                size = base.get("minibatch_size_dict", {}).get(resolution, base.get("minibatch_size_base", 32))
                gpu = base.get("minibatch_gpu_dict", {}).get(resolution, base.get("minibatch_gpu_base", 4))
                sizes.add((size, gpu))
        wrong = [f"{m} by {g} x {self.devices.num_replicas}" for m, g in sizes if m % (g * self.devices.num_replicas)]
        if wrong:
            raise UserError(
                "minibatch sizes (--minibatch) must be multiples of --minibatch-gpu times the number of devices: "
                f"cannot divide {', '.join(sorted(wrong))}"
            )

    # ------------------------------------------------------------------------
    # State.

    def restore(self, saved: training_state.SavedState) -> None:
        """Continues where a state was saved."""
        saved.restore(self.step.variables())
        self.counters = Counters(**saved.counters)
        self.resumed = True

    def save_state(self) -> None:
        """Saves everything needed to continue. Nothing happens on workers other than the first."""
        if self.run_dir is None:
            return
        self.counters.total_sec = self.report.total_sec
        self.counters.maintenance_sec = self.report.maintenance_sec
        self.counters.sec_per_kimg = self.report.sec_per_kimg or 0.0
        snapshots.check_room(self.run_dir, training_state.size_of(self.step.variables()))
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        training_state.save(self.run_dir, self.step.variables(), asdict(self.counters))

    # ------------------------------------------------------------------------
    # The loop.

    def train(self) -> None:
        """Trains to the end, or until a signal asks to stop."""
        c = self.counters
        self.report = TickReport(self.run_dir, self.total_nimg, c.total_sec)
        self.report.maintenance_sec = c.maintenance_sec
        self.report.sec_per_kimg = c.sec_per_kimg or None
        self._first_snapshot()
        with _signals() as received:
            while c.cur_nimg < self.total_nimg or c.repeat:
                self._group(received)
                if received:
                    self._stop(received[0])
                if c.cur_nimg >= self.total_nimg or self._tick_is_over():
                    self._tick(done=c.cur_nimg >= self.total_nimg)
        if self.run_dir is not None and not c.done:
            c.done = True
            misc.save_pkl(self.networks, os.path.join(self.run_dir, "network-final.pkl"))
            self.save_state()

    def _first_snapshot(self) -> None:
        kimg = self.total_nimg / 1000
        if self.resumed:
            print(f"Continuing at kimg {self.counters.cur_nimg / 1000:.1f} of {kimg:g}...\n", flush=True)
            return
        if self.run_dir is not None:
            networks = sum(int(np.prod(var.shape)) * 4 for net in self.networks for var in net.vars.values())
            snapshots.check_room(self.run_dir, training_state.size_of(self.step.variables()) * 2 + networks * 2)
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
            if self.reset_opt_for_new_lod and moved:
                self.step.reset_optimizers()
            c.prev_lod = sched.lod
        self.step.set_lod(sched.lod)
        results = []
        while c.repeat < self.minibatch_repeats and not received:
            results += self._iteration(sched)
            c.cur_nimg += sched.minibatch_size
            c.iteration += 1
            c.repeat += 1
            self.report.live(c.cur_nimg, c.tick_start_nimg, sched.tick_kimg)
        c.repeat %= self.minibatch_repeats
        self._check_finite(results)

    def _iteration(self, sched: EasyDict) -> list[Any]:
        c = self.counters
        beta = 0.0
        if self.G_smoothing_kimg > 0:
            beta = 0.5 ** (sched.minibatch_size / (self.G_smoothing_kimg * 1000.0))
        lod = int(np.floor(sched.lod))
        reals = self.reader.pieces(c.cur_nimg, sched.minibatch_size, sched.minibatch_gpu, lod)
        lrates = {"G": sched.G_lrate, "D": sched.D_lrate}
        results = []
        due = self.step.due(c.iteration)
        for name in due:
            if name == "TrainD":
                self.step.update_average(beta)
            pieces = [
                Piece(
                    random_stream.seed_of(self.seed, c.iteration, _PURPOSES[name], number),
                    random_stream.seed_of(self.seed, c.iteration, _PURPOSES["reals"], number),
                    images,
                    labels,
                )
                for number, images, labels in reals
            ]
            result = self.step.run(name, pieces, lrates[name[-1]])
            if result is not None:
                autosummary.add(result.stats)
                results.append(result)
        return results

    def _check_finite(self, results: list[Any]) -> None:
        """Counts updates that were skipped; raises UserError after several in a row."""
        c = self.counters
        for result in results:
            finite = bool(self.step._local(result.finite))
            autosummary.autosummary(f"{result.name}/learning_rate", result.learning_rate)
            autosummary.autosummary(f"{result.name}/overflow_frequency", float(not finite))
            c.bad_updates = 0 if finite else c.bad_updates + 1
            c.skipped += not finite
            if c.bad_updates >= _BAD_UPDATES_IN_A_ROW:
                last = self.last_snapshot or "the one that the run started from"
                raise UserError(
                    f"{c.bad_updates} updates in a row were skipped at kimg {c.cur_nimg / 1000:.1f}: the gradients of "
                    f"{result.name} are not finite; the last good snapshot is {last}. A lower learning rate or a "
                    "larger --gamma may help"
                )

    def _tick_is_over(self) -> bool:
        c = self.counters
        if c.repeat:
            return False
        return c.cur_tick < 0 or c.cur_nimg >= c.tick_start_nimg + self.sched.tick_kimg * 1000

    def _tick(self, done: bool) -> None:
        c = self.counters
        c.cur_tick += 1
        tick_nimg, c.tick_start_nimg = c.cur_nimg - c.tick_start_nimg, c.cur_nimg
        self.report.tick(c.cur_tick, c.cur_nimg, tick_nimg, self.sched, peak_gpu_memory())
        if c.skipped:
            print(f"Updates skipped because of gradients that were not finite: {c.skipped} so far.")
        with contextlib.suppress(RuntimeError):
            dnnlib.RunContext.get().update(cur_epoch=c.cur_nimg // 1000, max_epoch=int(self.total_nimg / 1000))
        name = f"{c.cur_nimg // 1000:06d}"
        if _is_due(c.cur_tick, self.image_snapshot_ticks, done):
            self._save_fakes(f"fakes{name}.png")
        snapshot = _is_due(c.cur_tick, self.network_snapshot_ticks, done)
        if snapshot:
            self._save_networks(f"network-snapshot-{name}.pkl")
        if self.metrics is not None:
            self.metrics.update_autosummaries()
        self.report.finish_tick(c.cur_nimg)
        if snapshot:
            self.save_state()

    def _save_fakes(self, name: str) -> None:
        if self.run_dir is not None:
            self.grid.save_fakes(self.networks[2], os.path.join(self.run_dir, name), self.sched.minibatch_gpu)

    def _save_networks(self, name: str) -> None:
        if self.run_dir is None:
            return
        path = os.path.join(self.run_dir, name)
        misc.save_pkl(self.networks, path)
        self.last_snapshot = path
        if self.keep_snapshots is not None:
            snapshots.remove_old(self.run_dir, self.keep_snapshots)
        self.metrics.run(path, run_dir=self.run_dir, **self.metric_kwargs)

    def _stop(self, signum: int) -> None:
        self.report.clear_live()
        self.save_state()
        print(f"Stopped at kimg {self.counters.cur_nimg / 1000:.1f}. To continue: --resume={self.run_dir}")
        if signum == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(128 + signum)

    def close(self) -> None:
        """Ends reading ahead and closes the logs."""
        self.reader.close()
        if self.report is not None:
            self.report.close()


def _is_due(tick: int, interval: int | None, done: bool) -> bool:
    return done or (interval is not None and interval > 0 and tick % interval == 0)


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """Inside, SIGINT and SIGTERM are noted in the list that this context gives; a second one stops at once."""
    received: list[int] = []
    previous = {}

    def note(signum: int, _frame: Any) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(signum)
        sys.__stderr__.write("\nStopping after this iteration; once more to stop at once.\n")

    try:
        for signum in (signal.SIGINT, signal.SIGTERM):
            previous[signum] = signal.signal(signum, note)
    except ValueError:  # not in the main thread
        pass
    try:
        yield received
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)
