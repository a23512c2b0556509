"""The training configurations of the paper, config-a to config-f, as one table."""

from typing import Any, NamedTuple

from dnnlib.util import EasyDict
from training.loop.schedule import MINIBATCH_GPU, MINIBATCH_SIZE


class _Config(NamedTuple):
    """One row of the table: what differs between the configurations."""

    G: str  # network function, below `training.`
    D: str  # network function, below `training.`
    G_loss: str  # loss function, below `training.loss.`
    gamma: float  # weight of R1 regularization
    fmap_base: int | None  # feature maps of both networks; None: the default of the network functions
    growing: bool  # progressive growing, with its schedule of learning rates and minibatches
    lazy: bool = True  # lazy regularization
    synthesis: str | None = None  # synthesis_func of G
    G_architecture: str | None = None
    D_architecture: str | None = None


_G_STYLE, _D_BASIC = "networks_stylegan.G_style", "networks_stylegan.D_basic"
_MAIN = "networks_stylegan2.G_main"
_D_STYLEGAN, _D_STYLEGAN2 = "networks_stylegan2.D_stylegan", "networks_stylegan2.D_stylegan2"
_REVISED = "G_synthesis_stylegan_revised"
_TABLE = {
    # Baseline StyleGAN.
    "config-a": _Config(_G_STYLE, _D_BASIC, "G_logistic_ns", 10, None, True, False),
    # + weight demodulation.
    "config-b": _Config(_MAIN, _D_STYLEGAN, "G_logistic_ns", 10, 8192, True, False, _REVISED),
    # + lazy regularization.
    "config-c": _Config(_MAIN, _D_STYLEGAN, "G_logistic_ns", 10, 8192, True, True, _REVISED),
    # + path length regularization.
    "config-d": _Config(_MAIN, _D_STYLEGAN, "G_logistic_ns_pathreg", 10, 8192, True, True, _REVISED),
    # + no growing, new architectures of G and D.
    "config-e": _Config(_MAIN, _D_STYLEGAN2, "G_logistic_ns_pathreg", 100, 8192, False),
    # + large networks: StyleGAN2.
    "config-f": _Config(_MAIN, _D_STYLEGAN2, "G_logistic_ns_pathreg", 10, None, False),
}
_ARCHITECTURES = ("orig", "resnet", "skip")
_ANY = f"{{{','.join(_ARCHITECTURES)}}}"
CONFIGS_IN_SHORT = f"config-a to config-f, config-e-G{_ANY}-D{_ANY}"
_TABLE |= {
    f"config-e-G{G}-D{D}": _TABLE["config-e"]._replace(G_architecture=G, D_architecture=D)
    for G in _ARCHITECTURES
    for D in _ARCHITECTURES
}
CONFIGS = tuple(_TABLE)
"""The names of the configurations, in the order of the paper's tables."""
_GROWING_LRATE = {128: 0.0015, 256: 0.002, 512: 0.003, 1024: 0.003}
_MINIBATCH = {"minibatch_size_base": MINIBATCH_SIZE, "minibatch_gpu_base": MINIBATCH_GPU}
_GROWING_SCHEDULE = {
    "lod_initial_resolution": 8,
    "G_lrate_base": 0.001,
    "D_lrate_base": 0.001,
    "G_lrate_dict": _GROWING_LRATE,
    "D_lrate_dict": _GROWING_LRATE,
    **_MINIBATCH,
    "minibatch_size_dict": {8: 256, 16: 128, 32: 64, 64: 32},
    "minibatch_gpu_dict": {8: 32, 16: 16, 32: 8, 64: 4},
}
_FIXED_SCHEDULE = {"G_lrate_base": 0.002, "D_lrate_base": 0.002, **_MINIBATCH}


def config_kwargs(name: str) -> EasyDict:
    """The arguments of `training_loop` in which configurations differ. Raises KeyError for an unknown name."""
    row = _TABLE[name]
    schedule = _GROWING_SCHEDULE if row.growing else _FIXED_SCHEDULE
    kwargs = EasyDict(
        G_args=_given(
            func_name=f"training.{row.G}",
            fmap_base=row.fmap_base,
            synthesis_func=row.synthesis,
            architecture=row.G_architecture,
        ),
        D_args=_given(func_name=f"training.{row.D}", fmap_base=row.fmap_base, architecture=row.D_architecture),
        G_opt_args=EasyDict(beta1=0.0, beta2=0.99, epsilon=1e-8),
        D_opt_args=EasyDict(beta1=0.0, beta2=0.99, epsilon=1e-8),
        G_loss_args=EasyDict(func_name=f"training.loss.{row.G_loss}"),
        D_loss_args=EasyDict(func_name="training.loss.D_logistic_r1", gamma=row.gamma),
        sched_args=EasyDict((key, dict(v) if isinstance(v, dict) else v) for key, v in schedule.items()),
    )
    if not row.lazy:
        kwargs.lazy_regularization = False
    return kwargs


def _given(**kwargs: Any) -> EasyDict:
    return EasyDict((key, value) for key, value in kwargs.items() if value is not None)
