"""The arguments of `training_loop`, in one object: the only place where their names, kinds and defaults stand.

The command line checks options against it before TensorFlow is imported; the loop, its steps and its run hold it whole.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


def _empty() -> Any:
    return field(default_factory=dict)


def _of_a_flag(default: Any) -> Any:
    """An argument that a flag of `run_training.py` decides, so that options files set it by the flag's name."""
    return field(default=default, metadata={"flag": True})


@dataclass(frozen=True)
class LoopOptions:
    """What a training is: the official arguments in their order, with ours among them."""

    G_args: Mapping[str, Any] = _empty()  # func_name and arguments of the generator
    D_args: Mapping[str, Any] = _empty()  # ... of the discriminator
    G_opt_args: Mapping[str, Any] = _empty()  # beta1, beta2, epsilon of the generator's optimizer
    D_opt_args: Mapping[str, Any] = _empty()
    G_loss_args: Mapping[str, Any] = _empty()  # func_name and arguments of the loss
    D_loss_args: Mapping[str, Any] = _empty()
    dataset_args: Mapping[str, Any] = _empty()  # of dataset.load_dataset
    sched_args: Mapping[str, Any] = _empty()  # of training_schedule
    grid_args: Mapping[str, Any] = _empty()  # size and layout of the image grids
    metric_arg_list: Sequence[Mapping[str, Any]] = ()  # metrics at network snapshots
    tf_config: Mapping[str, Any] = _empty()  # of tflib.init_tf
    data_dir: str | None = _of_a_flag(None)  # folder of data sets
    augment_args: Mapping[str, Any] | None = None  # of AdaptiveAugment.of_options; None: nothing to do with it
    G_smoothing_kimg: float = 10.0  # half-life of the running average of the generator's weights
    G_smoothing_rampup: float | None = None  # which is at most this part of the images shown so far; None: full
    minibatch_repeats: int = 4  # iterations from one look at the schedule to the next
    lazy_regularization: bool = True  # regularizers as separate, rarer updates
    G_reg_interval: int = 4  # iterations from one of the generator's to the next
    D_reg_interval: int = 16
    reset_opt_for_new_lod: bool = True  # forget moments when a new resolution starts or has faded in
    total_kimg: float = _of_a_flag(25000)  # length of training, thousands of real images
    mirror_augment: bool = _of_a_flag(False)  # flip half of the real images
    drange_net: tuple[float, float] = (-1, 1)  # range of the networks' images
    image_snapshot_ticks: int | None = 50  # ticks from one grid to the next; None: only at the end
    network_snapshot_ticks: int | None = 50  # ticks from one pickle, and training state, to the next
    save_tf_graph: bool = False  # no effect: there is no TensorFlow 1 graph
    save_weight_histograms: bool = False  # no effect
    resume_pkl: str | None = _of_a_flag(None)  # networks to start from: path, URL or gdrive: name
    resume_kimg: float = 0.0  # where in the schedule to start
    resume_time: float = 0.0  # seconds that training has taken before
    resume_partial: bool = _of_a_flag(False)  # start from what fits in resume_pkl, if not everything does
    resume_with_new_nets: bool = False  # no effect: networks are always built, their weights compared and copied
    seed: int | None = _of_a_flag(None)  # of everything random; None: tf_config's rnd.np_random_seed, or 1000
    keep_snapshots: int | None = _of_a_flag(None)  # network snapshots to keep; None: all
    logical_cpus: int | None = _of_a_flag(None)  # devices to split the CPU into
    metric_networks: str | None = _of_a_flag(None)  # folder with files of metric networks; None: they are downloaded
    matte: Sequence[int] | None = _of_a_flag(None)  # red, green, blue under transparency in metrics; None: white
    config: str | None = _of_a_flag(None)  # name of the configuration, for people and for --resume; no effect
    resume_run_dir: str | None = _of_a_flag(None)  # continue the run in this folder, which is the current one, exactly
    resume_changed_data: bool = _of_a_flag(False)  # ... even if the data set has changed since
    allow_tf32: bool = _of_a_flag(False)  # compute float32 in TensorFloat-32 on GPUs that can

    @property
    def grows(self) -> bool:
        """Whether training starts at a low resolution, and the level of detail changes."""
        return self.sched_args.get("lod_initial_resolution") is not None
