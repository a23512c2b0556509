"""The training loop, with its official arguments: what `run_training.py` runs."""

import contextlib
import inspect
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf

import dnnlib
import pretrained_networks
from dnnlib import tflib
from dnnlib.errors import UserError
from dnnlib.tflib import random_stream
from dnnlib.tflib.devices import find_devices
from metrics import metric_base
from metrics.features.evaluation import Evaluating
from training.augmentation.adaptive import AdaptiveAugment
from training.data import dataset
from training.loop import transfer
from training.loop.reals import process_reals
from training.loop.run import PURPOSES, Counters, TrainingRun
from training.loop.schedule import training_schedule
from training.loop.step import TrainingStep
from training.run_folder import snapshots, state
from training.run_folder.options_file import save_training_options

__all__ = ["process_reals", "training_loop", "training_schedule"]


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
    augment_args: Mapping[str, Any] | None = None,  # of AdaptiveAugment.of_options; None: nothing to do with it
    G_smoothing_kimg: float = 10.0,  # half-life of the running average of the generator's weights
    G_smoothing_rampup: float | None = None,  # which is at most this part of the images shown so far; None: full
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
    resume_partial: bool = False,  # start from what fits in resume_pkl, if not everything does
    resume_with_new_nets: bool = False,  # no effect: networks are always built, their weights compared and copied
    seed: int | None = None,  # of everything random; None: tf_config's rnd.np_random_seed, or 1000
    keep_snapshots: int | None = None,  # network snapshots to keep; None: all
    logical_cpus: int | None = None,  # devices to split the CPU into
    metric_networks: str | None = None,  # folder with files of metric networks; None: they are downloaded
    resume_run_dir: str | None = None,  # continue the run in this folder, which is the current one, exactly
) -> None:
    """Trains networks. Files go to the run folder (`dnnlib.make_run_dir_path`).

    Raises:
        UserError: options that do not fit the data, the machine or each other; gradients that stay infinite; a disk
            without room.
    """
    options = {key: value for key, value in locals().items() if key != "resume_run_dir"}
    num_gpus = dnnlib.submit_config.num_gpus if dnnlib.submit_config is not None else 1
    has_run_dir = dnnlib.submit_config is None or dnnlib.submit_config.run_dir is not None
    if has_run_dir and resume_run_dir is None:  # from here on the run can go on, whenever it is stopped
        save_training_options(dnnlib.make_run_dir_path(), num_gpus, options)
    _check_losses(augment_args is not None, G_loss_args=G_loss_args, D_loss_args=D_loss_args)
    devices = find_devices(num_gpus, logical_cpus)
    # It fails on graphs of gradients, with a message for each, and leaves them as fast without.
    tf.config.optimizer.set_experimental_options({"remapping": False})
    run_dir = dnnlib.make_run_dir_path() if has_run_dir and devices.is_chief else None
    saved = _saved_state(resume_run_dir)
    if saved is not None and run_dir is not None:
        saved.cut_logs(run_dir)
    if run_dir is not None and resume_run_dir is not None:  # with what has changed
        save_training_options(run_dir, num_gpus, options)
    print(f"Training on {devices.description}.")

    if seed is None:
        seed = tf_config.get("rnd.np_random_seed")
    seed = 1000 if seed is None else int(seed)
    loaded = None
    if resume_pkl is not None and saved is None:  # first: whoever has named a bad file should not wait
        print(f'Loading networks from "{resume_pkl}"...')
        loaded = pretrained_networks.read(resume_pkl)
    tflib.autosummary.restore({})
    tflib.init_tf({"rnd.np_random_seed": seed, **tf_config})
    training_set = dataset.load_dataset(data_dir=dnnlib.convert_path(data_dir or ""), verbose=True, **dataset_args)
    _check_labels(training_set, dataset_args)
    grid = snapshots.ImageGrid(training_set, _latent_size(G_args), drange_net, seed, **grid_args)
    with _explained_memory(), devices.strategy.scope():
        networks = _build_networks(G_args, D_args, training_set, seed)
        G, D, Gs = networks
        if loaded is not None:
            for line in transfer.copy_weights(resume_pkl, loaded, networks, resume_partial):
                print(line)
            loaded = None  # it holds all arrays
        if saved is None:
            if run_dir is not None:  # the first of the results: a run that fails before has made no folder
                grid.save_reals(os.path.join(run_dir, "reals.png"))
            G.print_layers()
            D.print_layers()
        augment = _make_augment(augment_args, training_set.shape)
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
            augment=augment,
        )
    run = TrainingRun(
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
        G_smoothing_rampup=G_smoothing_rampup,
        minibatch_repeats=minibatch_repeats,
        reset_opt_for_new_lod=reset_opt_for_new_lod,
        image_snapshot_ticks=image_snapshot_ticks,
        network_snapshot_ticks=network_snapshot_ticks,
        keep_snapshots=keep_snapshots,
        counters=Counters(
            cur_nimg=int(resume_kimg * 1000), tick_start_nimg=int(resume_kimg * 1000), total_sec=resume_time
        ),
    )
    run.check_schedule()
    print("Initializing logs...")
    run.metrics = metric_base.MetricGroup(metric_arg_list) if run_dir is not None else None
    settings = Evaluating(num_gpus=num_gpus, metric_networks=metric_networks)
    run.metric_kwargs = {"data_dir": data_dir, "settings": settings, "tf_config": dict(tf_config)}
    try:
        with _explained_memory():
            if saved is not None:
                run.restore(saved)
                saved = None  # it holds all arrays
            run.train()
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
        raise UserError(
            "out of memory; use a smaller --minibatch-gpu, which does not change the result (it must divide "
            f"--minibatch), or a smaller --fmap-base: {error.message.splitlines()[0]}"
        ) from error


def _make_augment(augment_args: Mapping[str, Any] | None, shape: Sequence[int]) -> AdaptiveAugment | None:
    if augment_args is None:
        return None
    try:
        augment = AdaptiveAugment.of_options(**augment_args)
        if augment.pipe is not None:
            augment.pipe.check_images([None, *shape])
    except (TypeError, ValueError) as error:
        raise UserError(f"augment_args: {error}") from error
    print(f"Augmentation: {augment.describe()}.")
    return augment


def _check_losses(augments: bool, **all_args: Mapping[str, Any]) -> None:
    """Raises UserError for arguments that a loss does not have."""
    problems = []
    for name, args in all_args.items():
        known = inspect.signature(dnnlib.util.get_obj_by_name(args["func_name"])).parameters
        unknown = sorted(set(args) - {"func_name", *known})
        if unknown and not any(p.kind is p.VAR_KEYWORD for p in known.values()):
            problems.append(f"{name}: {args['func_name']} has no {', '.join(unknown)}; it has {', '.join(known)}")
        if augments and "augment" not in known:
            problems.append(f"{name}: {args['func_name']} does not take augment, which augment_args need")
    if problems:
        raise UserError("\n".join(problems))


def _saved_state(resume_run_dir: str | None) -> state.SavedState | None:
    if resume_run_dir is None:
        return None
    if os.path.exists(state.path_in(resume_run_dir)):
        return state.load(resume_run_dir)
    newest = snapshots.newest(resume_run_dir)
    if newest is not None:
        raise UserError(
            f"{resume_run_dir} has no {state.FILE_NAME}: the run cannot be continued. "
            f"Start a new one from its networks: --resume={newest}"
        )
    print("The run was stopped before its first state was saved; it starts from the beginning.")
    state.remove_logs(resume_run_dir)
    return None


def _check_labels(training_set: Any, dataset_args: Mapping[str, Any]) -> None:
    stored = getattr(training_set, "stored_label_size", 0)
    if stored and not training_set.label_size:
        print(f"The data set has labels of size {stored}; training without them (--cond uses them).")
    if dataset_args.get("max_label_size") and not training_set.label_size:
        raise UserError(f"--cond: {dataset_args.get('tfrecord_dir')} has no labels; leave the option out")


def _latent_size(G_args: Mapping[str, Any]) -> int:
    return int(G_args.get("latent_size", 512))


def _build_networks(G_args: Mapping, D_args: Mapping, training_set: Any, seed: int) -> tuple[Any, Any, Any]:
    print("Constructing networks...")
    sizes = {"num_channels": training_set.shape[0], "resolution": training_set.shape[1]}
    sizes["label_size"] = training_set.label_size
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
            print(f"Precision of {name}: {precision.describe(model.resolution_log2)}.")
    return G, D, G.clone("Gs")
