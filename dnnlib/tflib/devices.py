"""Which devices train: one, several of this machine, or those of several machines.

`TF_CONFIG`, TensorFlow's description of a cluster, makes this process one of several workers. Without it the GPUs of
this machine are used, or its CPU; `logical_cpus` splits the CPU into several devices, to rehearse several GPUs.
"""

import contextlib
import os
import platform
import signal
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from dnnlib.clusters import workers
from dnnlib.errors import UserError, counted

from .ops import implementation


@dataclass(frozen=True)
class Devices:
    """What trains.

    strategy: of `tf.distribute`; description: for people; num_replicas: of all workers; local_replicas: of this one;
    worker: number of this worker. Worker 0 writes all files. local_names: the devices of this worker, one per replica.
    """

    strategy: Any
    description: str
    num_replicas: int
    local_replicas: int
    worker: int
    local_names: tuple[str, ...] = ("/CPU:0",)

    @property
    def is_only_worker(self) -> bool:
        """Whether all replicas are of this process."""
        return self.num_replicas == self.local_replicas


def find_devices(num_gpus: int = 1, logical_cpus: int | None = None) -> Devices:
    """Chooses devices and the strategy for them.

    Must come before anything else uses TensorFlow if `logical_cpus` is given, or `TF_CONFIG` is set.

    Raises:
        UserError: not so many devices, or a damaged TF_CONFIG.
    """
    _split_cpu(logical_cpus)
    for gpu in tf.config.list_physical_devices("GPU"):
        with contextlib.suppress(RuntimeError):  # in use already, with the settings it has
            tf.config.experimental.set_memory_growth(gpu, True)
    if (cluster := workers.cluster()) is not None:
        return _multi_worker(num_gpus, cluster)
    names = device_names(num_gpus, logical_cpus)
    kind = "GPU" if "GPU" in names[0] else "CPU"
    if len(names) == 1:
        return Devices(tf.distribute.get_strategy(), f"1 {kind}", 1, 1, 0, (names[0],))
    strategy = tf.distribute.MirroredStrategy(names, cross_device_ops=_cross_device_ops(kind))
    kind = f"{len(names)} {kind}s" if kind == "GPU" else f"{len(names)} logical CPUs"
    return Devices(strategy, kind, len(names), len(names), 0, tuple(names))


def _cross_device_ops(kind: str) -> tf.distribute.CrossDeviceOps | None:
    """How devices of this machine add up what each of them has; None: as TensorFlow chooses.

    What TensorFlow chooses keeps 1.5 to 3 kB of host memory for each collective that was ever executed, 10 GB in a long
    training. The others keep nothing. On CPUs it takes ten times as long, too; on GPUs NCCL does the work either way.
    """
    if kind == "CPU":
        return tf.distribute.ReductionToOneDevice()
    whole = len(tf.config.list_physical_devices("GPU")) == len(tf.config.list_logical_devices("GPU"))
    return tf.distribute.NcclAllReduce() if whole and os.name == "posix" else None  # NCCL knows whole GPUs only


def device_names(num_gpus: int = 1, logical_cpus: int | None = None) -> list[str]:
    """The devices to compute on: GPUs, or the CPU where there is none, or so many parts of it.

    Must come before anything else uses TensorFlow if `logical_cpus` is given. Raises UserError.
    """
    _split_cpu(logical_cpus)
    gpus = [] if logical_cpus else tf.config.list_logical_devices("GPU")
    names = [device.name for device in gpus or tf.config.list_logical_devices("CPU")]
    check_devices(num_gpus, len(names), len(gpus))
    return names[:num_gpus]


def check_devices(num_gpus: int, logical_cpus: int | None = None, gpus_found: int | None = None) -> None:
    """Raises UserError unless there are devices for a training.

    Args:
        num_gpus: what --num-gpus asks for.
        logical_cpus: parts of the CPU that play GPUs, for rehearsals (--logical-cpus).
        gpus_found: how many GPUs TensorFlow sees; None: they are counted. Without any, one device is the CPU.
    """
    implementation.check_one_device(num_gpus)
    if gpus_found is None:
        gpus_found = len(tf.config.list_physical_devices("GPU"))
    if num_gpus <= (logical_cpus or max(gpus_found, 1)):
        return
    found = counted(gpus_found, "GPU") if gpus_found else "no GPU"
    instead = f"--num-gpus={gpus_found}" if gpus_found else "--num-gpus=1, which uses the CPU,"
    raise UserError(
        f"--num-gpus={num_gpus}: TensorFlow finds {found} on this machine. Use {instead} "
        f"or --logical-cpus={num_gpus} to rehearse on parts of the CPU"
    )


def on_host(value: Any, dtype: Any = None) -> tf.Tensor:
    """A tensor in the memory of the host: unlike a copy to a GPU, it waits for nothing that the GPU was given."""
    with tf.device("/CPU:0"):
        return tf.convert_to_tensor(np.asarray(value, dtype))


def _split_cpu(number: int | None) -> None:
    if not number or number == 1:
        return
    cpu = tf.config.list_physical_devices("CPU")[0]
    try:
        current = tf.config.get_logical_device_configuration(cpu)
        if current is None or len(current) < number:
            tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * number)
    except RuntimeError as error:
        raise UserError(f"--logical-cpus={number}: too late, TensorFlow is in use already") from error


def _multi_worker(num_gpus: int, cluster: workers.Cluster) -> Devices:
    handler = signal.getsignal(signal.SIGTERM)
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    with contextlib.suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGTERM, handler or signal.SIG_DFL)  # TensorFlow takes it for itself, and does nothing
    replicas = strategy.num_replicas_in_sync
    local = replicas // len(cluster.workers)
    if local != num_gpus:
        raise UserError(f"--num-gpus={num_gpus}: this worker has {local} device(s), and all of them train")
    description = f"{len(cluster.workers)} workers with {local} device(s) each"
    return Devices(strategy, description, replicas, local, cluster.index, tuple(strategy.extended.worker_devices))


def hardware(devices: Devices) -> str:
    """What trains, for people: '2 GPUs (NVIDIA A100-SXM4-40GB)', or the processor and how many of its CPUs are used."""
    names = set()
    for gpu in tf.config.list_physical_devices("GPU") if "GPU" in devices.local_names[0] else ():
        names.add(tf.config.experimental.get_device_details(gpu).get("device_name", "of unknown make"))
    if not names:
        facts = {}
        with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
            facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in file)}
        usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        model = facts.get("model name", platform.processor() or platform.machine())
        names = {f"{model}, {counted(usable, 'core')}"}
    return f"{devices.description} ({', '.join(sorted(names))})"


def peak_gpu_memory() -> float:
    """Largest memory that TensorFlow has used on a GPU so far, GB; 0 without GPUs."""
    gpus = tf.config.list_logical_devices("GPU")
    peaks = [tf.config.experimental.get_memory_info(gpu.name.split("device:")[-1])["peak"] for gpu in gpus]
    return max(peaks, default=0) / 2**30
