"""The parts of the report, most important first: what runs, in which environment, and how long it may take."""

from dataclasses import dataclass, field
from typing import Any

_REPORT = "tools.report"
_NARROW = {"fmap_base": 512, "fmap_max": 32}  # arguments of networks that a CPU computes in a moment


@dataclass(frozen=True)
class Part:
    """A function that yields records, in a process of its own.

    function: below tools.report. kwargs: its arguments; small: others where there is no GPU. limit: seconds that it may
    take; needs: seconds below which it is not begun. env: variables of its process. in_small: whether `--small` has it.
    """

    name: str
    title: str
    function: str
    kwargs: dict[str, Any] = field(default_factory=dict)
    small: dict[str, Any] = field(default_factory=dict)
    limit: float = 60
    needs: float = 15
    env: dict[str, str] = field(default_factory=dict)
    in_small: bool = False

    def call(self, small: bool, goldens: str | None) -> tuple[str, dict[str, Any]]:
        """The function's whole name and its arguments. goldens: the folder of the large set."""
        kwargs = {**self.kwargs, **(self.small if small else {})}
        if goldens and self.function.startswith("checking."):
            kwargs = {**kwargs, "folder": goldens}
        return f"{_REPORT}.{self.function}", kwargs


_SMALL_NETWORK = {"resolution": 32, "network_kwargs": _NARROW, "budget": 0.5}
_SMALL_GENERATING = {"minibatches": [1, 2], **_SMALL_NETWORK}
_SMALL_TRAINING = {"minibatch": 4, **_SMALL_NETWORK}
_SMALL_START = {
    **{"resolution": 32, "minibatch": 4, "precision": "fp32", "limit": 80},
    "tick_kimg": 0.008,
    "flags": ["--fmap-base=512", "--fmap-max=32"],
}
_KERNELS = {"seconds": 130, "flags": ["--seconds=45"]}
_SMALL_PROJECTOR = {"resolution": 32, "together": [1], **_NARROW}


def _generate(name: str, what: str, precision: str, minibatches: list[int], **options: Any) -> Part:
    kwargs = {"precision": precision, "minibatches": minibatches, **options.pop("kwargs", {})}
    title = f"generating 1024x1024: {what}"
    return Part(name, title, "generating.images", kwargs, _SMALL_GENERATING, **{"limit": 60, "needs": 25, **options})


def _train(name: str, resolution: int, precision: str, minibatch: int, **options: Any) -> Part:
    kwargs = {"precision": precision, "minibatch": minibatch, "resolution": resolution, **options.pop("kwargs", {})}
    shown = "TensorFloat-32" if kwargs.get("tf32") else precision
    shown += " by XLA" if options.get("env", {}).get("STYLEGAN2_OPS") == "xla" else ""
    title = f"training {resolution}x{resolution}, minibatch {minibatch}, {shown}: phases, s/kimg"
    return Part(name, title, "training.phases", kwargs, _SMALL_TRAINING, **{"limit": 110, "needs": 30, **options})


def _memory(function: str, resolution: int, precision: str, minibatches: list[int], config: str = "config-f") -> Part:
    kwargs = {"precision": precision, "minibatches": minibatches, "config": config, "resolution": resolution}
    small = {"resolution": 32, "minibatches": [4, 8] if function == "training" else [1, 2], **_NARROW}
    name = f"memory-{function}-{config[-1]}-{resolution}-{precision}"
    title = f"memory of {function}, {config} {resolution}x{resolution}, {precision}: what fits into which card"
    env = {"TF_CUDNN_USE_AUTOTUNE": "0"}  # which would try algorithms for each minibatch
    in_small = name == "memory-generating-f-1024-fp16"
    return Part(name, title, f"memory.{function}", kwargs, small, 70, 20, env, in_small)


def _check(name: str, groups: list[str], limit: float, small: int, in_small: bool = False) -> Part:
    title = f"golden data of the official code: {', '.join(groups)}"
    kwargs, few = {"groups": groups, "seconds": limit - 20}, {"at_most": small}
    return Part(name, title, "checking.goldens", kwargs, few, limit, 15, in_small=in_small)


PARTS = [
    Part("ops", "custom ops: compiled, loaded, chosen", "others.ops", limit=150, needs=10, in_small=True),
    _generate("generate-fp16", "fp16", "fp16", [8, 1]),
    _generate("generate-fp32", "fp32", "fp32", [8, 1], in_small=True),
    _train("train-256-fp16", 256, "fp16", 32),
    Part("first-tick", "first tick of run_training.py, fp16", "starting.first_tick", {}, _SMALL_START, 170, 45),
    Part("check-pixels", "official pixels", "checking.pixels", limit=40, in_small=True),
    _check("check-networks", ["networks"], 60, 1),
    _train("train-1024-fp16", 1024, "fp16", 4),
    _generate("generate-tf32", "TensorFloat-32", "fp32", [8, 1], limit=40, kwargs={"tf32": True}),
    Part(
        "profile-generate",
        "where the time goes: generating, fp16",
        "profiling.generating",
        {"precision": "fp16", "minibatches": [1, 8]},
        {"precision": "fp32", "minibatches": [1], "resolution": 32, "network_kwargs": _NARROW},
        limit=60,
        needs=25,
        in_small=True,
    ),
    Part(
        "profile-train",
        "where the time goes: TrainG, RegG 256x256, fp16",
        "profiling.training",
        {"precision": "fp16", "minibatch": 32, "phases": ["TrainG", "RegG"]},
        {"precision": "fp32", "minibatch": 4, "phases": ["TrainG"], "resolution": 32, "network_kwargs": _NARROW},
        limit=90,
        needs=35,
    ),
    _check("check-training", ["losses", "steps", "augmentation"], 90, 1, in_small=True),
    _check("check-ops", ["ops"], 60, 2),
    _check("check-pickles", ["pickles", "projector", "metrics"], 60, 1),
    Part(
        "variants",
        "generating fp16: auto, ref, layout optimizer on; in turns",
        "generating.comparison",
        {"precision": "fp16", "minibatches": [1, 8]},
        {"precision": "fp32", "minibatches": [1], "resolution": 32, "network_kwargs": _NARROW, "budget": 0.5},
        limit=120,
        needs=40,
    ),
    Part("kernels", "kernels: bandwidth", "others.kernels", _KERNELS, {"cases": [[1, 8, 16]], "repeats": 2}, 160, 40),
    _generate("generate-fp16-more", "fp16 by minibatch", "fp16", [32, 4, 16]),
    _generate("generate-fp16-calls", "fp16, ways to call", "fp16", [1, 8], kwargs={"ways": True}),
    _generate("generate-fp32-more", "fp32 by minibatch", "fp32", [32, 4, 16]),
    _generate("generate-bf16", "bf16", "bf16", [8, 1], limit=40),
    _generate("generate-fp16-xla", "fp16 by XLA", "fp16", [8, 1], limit=150, env={"STYLEGAN2_OPS": "xla"}),
    *(
        _generate(f"generate-fp16-{name}", f"fp16, {variable}={value}", "fp16", [8, 1], limit=50, env={variable: value})
        for name, variable, value in (
            ("private-threads", "TF_GPU_THREAD_MODE", "gpu_private"),
            ("no-autotune", "TF_CUDNN_USE_AUTOTUNE", "0"),
            ("async-memory", "TF_GPU_ALLOCATOR", "cuda_malloc_async"),
            ("ref", "STYLEGAN2_OPS", "ref"),
        )
    ),
    _train("train-256-fp16-xla", 256, "fp16", 32, env={"STYLEGAN2_OPS": "xla"}, limit=170),
    _train("train-256-fp32", 256, "fp32", 32),
    _train("train-256-tf32", 256, "fp32", 32, kwargs={"tf32": True}),
    _train("train-1024-fp32", 1024, "fp32", 4),
    Part("first-image", "first image of run_generator.py", "starting.first_image", {}, {"resolution": 32}, 120, 40),
    Part("metrics", "metric networks", "others.metric_networks", {}, {"minibatch": 1}, 60, 20),
    Part("projector", "steps of the projector", "others.projector", {}, _SMALL_PROJECTOR, 60, 25),
    _memory("training", 256, "fp16", [8, 16]),
    _memory("training", 1024, "fp16", [4, 8]),
    _memory("generating", 1024, "fp16", [4, 16]),
    _memory("generating", 1024, "fp32", [4, 16]),
    _memory("training", 256, "fp32", [4, 8]),
    _memory("training", 1024, "fp32", [4, 8]),
    _memory("training", 512, "fp16", [4, 8]),
    _memory("training", 512, "fp32", [4, 8]),
    *(_memory("training", resolution, "fp16", [4, 8], "config-e") for resolution in (256, 512, 1024)),
]  # fmt: skip
