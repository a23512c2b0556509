"""The training loop, with its official arguments: what `run_training.py` runs."""

import contextlib
import inspect
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf

import dnnlib
import pretrained_networks
from dnnlib import tflib
from dnnlib.clusters import meeting, workers
from dnnlib.clusters.watch import Watch
from dnnlib.errors import UserError, is_out_of_memory, short
from dnnlib.pictures import WHITE
from dnnlib.resolutions import Size, resolution_of
from dnnlib.tflib import doctor, random_stream, settings
from dnnlib.tflib.devices import Devices, find_devices
from dnnlib.tflib.ops import implementation
from metrics import metric_base
from metrics.features.evaluation import Evaluating
from training.augmentation.adaptive import AdaptiveAugment
from training.data import dataset
from training.data.contents import Contents
from training.data.image_check import ImageCheck
from training.loop import lost_workers, transfer
from training.loop.options import LoopOptions
from training.loop.reals import process_reals
from training.loop.run import PURPOSES, TrainingRun
from training.loop.schedule import training_schedule
from training.loop.step import TrainingStep
from training.options.loop_arguments import differences, no_such
from training.run_folder import snapshots, state
from training.run_folder.heartbeat import Heartbeat
from training.run_folder.options_file import (
    TRAINING_STATE,
    foreign_code,
    load_training_options,
    save_training_options,
)

__all__ = ["process_reals", "training_loop", "training_schedule"]


def training_loop(*args: Any, **kwargs: Any) -> None:
    """Trains networks. The arguments are those of `LoopOptions`. Files go to the run folder (`make_run_dir_path`).

    Raises:
        UserError: arguments that do not exist, or do not fit the data, the machine or each other; gradients that stay
            infinite; a disk without room.
    """
    names = inspect.signature(LoopOptions).parameters
    unknown = [no_such("argument", name, names) for name in kwargs if name not in names]
    if unknown:
        raise UserError("\n".join(f"training_loop: {problem}" for problem in unknown))
    options = LoopOptions(*args, **kwargs)
    num_gpus = dnnlib.submit_config.num_gpus if dnnlib.submit_config is not None else 1
    has_run_dir = dnnlib.submit_config is None or dnnlib.submit_config.run_dir is not None
    if has_run_dir and options.resume_run_dir is None:  # from here on the run can go on, whenever it is stopped
        save_training_options(dnnlib.make_run_dir_path(), num_gpus, vars(options))
    cluster = workers.cluster()
    is_first = cluster is None or cluster.index == 0
    with Heartbeat(dnnlib.make_run_dir_path() if has_run_dir and is_first else None, options.total_kimg) as heartbeat:
        _check_functions(options)
        if foreign := sorted({str(value) for _, value in foreign_code(vars(options))}):
            again = "to go on with this run, --resume needs an --options=FILE that names them again"
            print(f"Not of this project: {', '.join(foreign)}; {again}.")
        watch = Watch() if cluster is None else meeting.meet(cluster, _of_all_workers(options, num_gpus))
        with watch, lost_workers.explained(watch):
            _train(options, num_gpus, has_run_dir, heartbeat, watch)


training_loop.__signature__ = inspect.signature(LoopOptions)  # for people who ask


def _train(options: LoopOptions, num_gpus: int, has_run_dir: bool, heartbeat: Heartbeat, watch: Watch) -> None:
    with watch.guarding():
        devices = find_devices(num_gpus, options.logical_cpus)
    settings.allow_remapping(False)
    run_dir = dnnlib.make_run_dir_path() if has_run_dir and devices.worker == 0 else None
    where = run_dir or options.resume_run_dir
    watch.advice = f"start all workers again with --resume=auto{f' or --resume={where}' * bool(where)}"
    saved = _saved_state(options.resume_run_dir)
    if saved is not None and run_dir is not None:
        saved.cut_logs(run_dir)
    if devices.worker == 0:
        print("\n".join(doctor.lines_for_log(run_dir or ".")))
    print(f"Training on {devices.description}.")
    settings.allow_tf32(options.allow_tf32)

    seed = options.tf_config.get("rnd.np_random_seed") if options.seed is None else options.seed
    seed = 1000 if seed is None else int(seed)
    loaded = None
    if options.resume_pkl is not None and saved is None:  # first: whoever has named a bad file should not wait
        print(f'Loading networks from "{options.resume_pkl}"...')
        loaded = pretrained_networks.read(options.resume_pkl)
    tflib.autosummary.restore({})
    tflib.init_tf({"rnd.np_random_seed": seed, **options.tf_config})
    data_dir = dnnlib.convert_path(options.data_dir or "")
    training_set = dataset.load_dataset(data_dir=data_dir, verbose=True, **options.dataset_args)
    contents, check = _look_at_data(training_set, devices)
    _check_labels(training_set, options.dataset_args)
    if saved is not None:
        _check_data(saved.contents, contents, options)
    if run_dir is not None:
        _save_options(run_dir, num_gpus, options, contents)
    latent_size = int(options.G_args.get("latent_size", 512))
    grid = snapshots.ImageGrid(training_set, latent_size, options.drange_net, seed, **options.grid_args)
    with _explained_memory(), devices.strategy.scope():
        networks = _build_networks(options, training_set, seed)
        if loaded is not None:
            for line in transfer.copy_weights(options.resume_pkl, loaded, networks, options.resume_partial):
                print(line)
            loaded = None  # it holds all arrays
        if saved is None:
            if run_dir is not None:  # the first of the results: a run that fails before has made no folder
                grid.save_reals(os.path.join(run_dir, "reals.png"))
            for net in networks[:2]:
                net.print_layers()
        augment = _make_augment(options.augment_args, training_set.shape)
        print("Building TensorFlow graph...")
        step = TrainingStep(*networks, training_set, options, augment)
    run = TrainingRun(run_dir, devices, networks, step, training_set, grid, seed, options, contents, watch)
    run.reader.check, run.heartbeat = check, heartbeat
    run.check_schedule()
    print("Initializing logs...")
    run.metrics = metric_base.MetricGroup(options.metric_arg_list) if run_dir is not None else None
    run.metric_kwargs = _metric_kwargs(options, num_gpus)
    try:
        with _explained_memory():
            if saved is not None:
                run.restore(saved)
                saved = None  # it holds all arrays
            run.train()
        watch.end_together()
    finally:
        run.close()
        training_set.close()


# ----------------------------------------------------------------------------
# Setting up.


@contextlib.contextmanager
def _explained_memory() -> Iterator[None]:
    """Inside, running out of memory is a UserError that says what to lower."""
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        reason = error.message.splitlines()[0]
        if is_out_of_memory(error):
            reason = (
                "out of memory; use a smaller --minibatch-gpu, which does not change the result (it must divide "
                f"--minibatch), or a smaller --fmap-base: {reason}"
            )
        raise UserError(reason) from error


# What may differ between workers: where things are on a machine.
_OF_A_MACHINE = ("data_dir", "metric_networks", "resume_run_dir")


def _of_all_workers(options: LoopOptions, num_gpus: int) -> dict[str, Any]:
    """What must be the same for all workers of a training, as `training_options.json` has it."""
    shared = {"num_gpus": num_gpus, **vars(options)}
    goes_on = options.resume_run_dir and os.path.exists(os.path.join(options.resume_run_dir, TRAINING_STATE))
    shared["resume"] = os.path.basename(os.path.normpath(options.resume_run_dir)) if goes_on else None
    shared["dataset_args"] = args = dict(options.dataset_args)
    if "tfrecord_dir" in args:
        args["tfrecord_dir"] = os.path.basename(os.path.normpath(args["tfrecord_dir"]))
    return json.loads(json.dumps({k: v for k, v in shared.items() if k not in _OF_A_MACHINE}, default=str))


def _look_at_data(training_set: Any, devices: Devices) -> tuple[Contents | None, ImageCheck | None]:
    """What the data set holds, and on the first worker a check of its images, begun; None for other classes of sets."""
    if not isinstance(training_set, dataset.Dataset):
        return None, None
    print(training_set.describe())
    contents = training_set.contents()
    if devices.worker != 0:
        return contents, None
    check = training_set.image_check()
    check.ahead()
    return contents, check


def _metric_kwargs(options: LoopOptions, num_gpus: int) -> dict[str, Any]:
    """Arguments with which `MetricGroup.run` measures the snapshots of a training."""
    return {
        "data_dir": options.data_dir,
        "dataset_args": {**options.dataset_args, "shuffle_mb": 0},
        "mirror_augment": options.mirror_augment,
        "settings": Evaluating(
            num_gpus=num_gpus, metric_networks=options.metric_networks, matte=tuple(options.matte or WHITE)
        ),
        "tf_config": dict(options.tf_config),
    }


def _make_augment(augment_args: Mapping[str, Any] | None, shape: Sequence[int]) -> AdaptiveAugment | None:
    if augment_args is None:
        return None
    try:
        augment = AdaptiveAugment.of_options(**augment_args)
        if augment.pipe is not None:
            augment.pipe.check_images([None, *shape])
            if augment.pipe.moves:  # with margins that depend on random numbers
                implementation.refuse_xla("cannot compile augmentations that move images (--aug, --augpipe)")
    except (TypeError, ValueError) as error:
        raise UserError(f"augment_args: {error}") from error
    print(f"Augmentation: {augment.describe()}.")
    return augment


def _check_functions(options: LoopOptions) -> None:
    """Raises UserError for networks and losses that do not exist, and for arguments that a loss does not have."""
    problems = []
    for name in ("G_args", "D_args", "G_loss_args", "D_loss_args"):
        args = getattr(options, name)
        func = args.get("func_name")
        try:
            func = dnnlib.util.get_obj_by_name(func) if isinstance(func, str) else func
        except ImportError as error:
            problems.append(f"{name}: {args['func_name']} cannot be imported ({error}); PYTHONPATH names more folders")
            continue
        if "loss" not in name:
            if not str(getattr(func, "__module__", "")).startswith("training.networks"):
                print(f"{name}: {args['func_name']} is no official network: its pickles can be written, but not read.")
            continue
        known = inspect.signature(func).parameters
        unknown = sorted(set(args) - {"func_name", *known})
        if unknown and not any(p.kind is p.VAR_KEYWORD for p in known.values()):
            problems.append(f"{name}: {args['func_name']} has no {', '.join(unknown)}; it has {', '.join(known)}")
        if options.augment_args is not None and "augment" not in known:
            problems.append(f"{name}: {args['func_name']} does not take augment, which augment_args need")
    if problems:
        raise UserError("\n".join(problems))


def _saved_state(resume_run_dir: str | None) -> state.SavedState | None:
    if resume_run_dir is None:
        return None
    newest, stopped = snapshots.newest(resume_run_dir), "stopped before its first state was saved"
    if os.path.exists(os.path.join(resume_run_dir, TRAINING_STATE)):
        try:
            return state.load(resume_run_dir)
        except state.DamagedStateError as error:
            if newest is not None:
                raise
            stopped = f"stopped before its first snapshot, and {error}"
    elif newest is not None:
        raise UserError(
            f"{resume_run_dir} has no {TRAINING_STATE}: the run cannot be continued. "
            f"Start a new one from its networks: --resume={newest}"
        )
    print(f"The run was {stopped}; it starts from the beginning.")
    state.remove_logs(resume_run_dir)
    return None


def _save_options(run_dir: str, num_gpus: int, options: LoopOptions, contents: Contents | None) -> None:
    """Writes `training_options.json`; of a run that goes on, prints what has changed in it."""
    then: tuple[int, Any] | None = None
    with contextlib.suppress(UserError):  # of a program that calls the loop with a data set of its own
        then = load_training_options(run_dir)
    save_training_options(run_dir, num_gpus, vars(options), contents and contents.facts())
    if then is not None:
        of_both = ({"num_gpus": number, **kwargs} for number, kwargs in (then, load_training_options(run_dir)))
        for name, old, new in differences(*of_both):
            print(f"{name}: {short(new)}, it was {short(old)}")


def _check_labels(training_set: Any, dataset_args: Mapping[str, Any]) -> None:
    stored = getattr(training_set, "stored_label_size", 0)
    if stored and not training_set.label_size:
        print(f"The data set has labels of size {stored}; training without them (--cond uses them).")
    if dataset_args.get("max_label_size") and not training_set.label_size:
        raise UserError(f"--cond: {dataset_args.get('tfrecord_dir')} has no labels; leave the option out")


def _check_data(then: Contents | None, now: Contents | None, options: LoopOptions) -> None:
    """Raises UserError if the data set is not the one that the run was trained with, unless that is allowed."""
    if then is None or now is None:
        print("The run's state does not tell what the data set was: whether it has changed since is not known.")
        return
    name = options.dataset_args.get("tfrecord_dir")
    misfits = then.misfits(now)
    changes = "\n".join(f"  {line}" for line in [*misfits, *then.changes(now)])
    if misfits:
        raise UserError(
            f"the data set {name} has changed since the run was stopped, and its networks do not fit:\n{changes}\n"
            "(--resume=FILE --resume-partial starts a new run from what fits of a network pickle)"
        )
    if changes and not options.resume_changed_data:
        raise UserError(
            f"the data set {name} has changed since the run was stopped:\n{changes}\n"
            "(--resume-changed-data goes on with it as it is now)"
        )
    if changes:
        print(f"The data set has changed since the run was stopped:\n{changes}")


def _without_usual_base(args: Mapping[str, Any], resolution: Size) -> dict[str, Any]:
    """Arguments of a network, with a base only where it is not the one that is found: others would not read pickles.

    Equal texts in them are one, as wherever they were read from: pickles hold what comes again as a reference.

    Raises UserError for a base that the images are no power of two of.
    """
    args = {sys.intern(key): sys.intern(value) if type(value) is str else value for key, value in args.items()}
    base = args.pop("base", None)
    try:
        if base is not None and resolution_of(resolution, base) != resolution_of(resolution):
            args["base"] = base
    except ValueError as error:
        raise UserError(f"--base: {error}") from error
    return args


def _build_networks(options: LoopOptions, training_set: Any, seed: int) -> tuple[Any, Any, Any]:
    print("Constructing networks...")
    sizes = {"num_channels": training_set.shape[0], "resolution": training_set.resolution}
    sizes["label_size"] = training_set.label_size
    G_args, D_args = (_without_usual_base(args, training_set.resolution) for args in (options.G_args, options.D_args))
    try:
        # The weights depend on the seed only, not on devices.
        with random_stream.using(random_stream.StatelessStream(random_stream.seed_of(seed, PURPOSES["weights"]))):
            G = tflib.Network("G", **sizes, **G_args)
            D = tflib.Network("D", **sizes, **D_args)
    except (TypeError, ValueError) as error:
        raise UserError(f"networks cannot be built: {error}") from error
    for name, model in (("G", G.components.synthesis.model), ("D", D.model)):
        precision = getattr(model, "precision", None)
        if precision is not None and precision.num_fp16_res:
            print(f"Precision of {name}: {precision.describe(model.resolution)}.")
    return G, D, G.clone("Gs")
