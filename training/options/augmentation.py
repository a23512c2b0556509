"""The flags of discriminator augmentation: --aug, --p, --target, --augpipe."""

from typing import Any

from training.augmentation.specs import AUGPIPE_SPECS

AUGMENTATIONS = ("noaug", "ada", "fixed")
_DEFAULT_TARGET = 0.6
_DEFAULT_PIPE = "bgc"


def default_augment_args(aug: str) -> dict[str, Any]:
    """`augment_args` of `training_loop` for --aug alone."""
    if aug == "noaug":
        return {}
    target = {"tune_target": _DEFAULT_TARGET} if aug == "ada" else {}
    return {**aug_setting(aug)["augment_args"], **target, "apply_args": dict(AUGPIPE_SPECS[_DEFAULT_PIPE])}


def aug_setting(aug: str) -> dict[str, Any]:
    """What --aug decides, so that a run that goes on can tell whether it would change."""
    pipe = {"apply_args": {}} if aug == "noaug" else {}
    return {"augment_args": {"tune_heuristic": "rt" if aug == "ada" else None, **pipe}}


def problems_of_flags(flags: dict[str, Any], aug: str) -> list[str]:
    """What does not go together. aug: --aug, or what the configuration has."""
    problems = []
    if aug == "fixed" and "p" not in flags:
        problems.append("--aug=fixed requires specifying --p, such as --p=0.3")
    if aug != "fixed" and "p" in flags:
        problems.append(f"--p can only be specified with --aug=fixed; the augmentation is {aug}")
    if aug != "ada" and "target" in flags:
        problems.append(f"--target can only be specified with --aug=ada; the augmentation is {aug}")
    if aug == "noaug" and "augpipe" in flags:
        problems.append("--augpipe cannot be specified with --aug=noaug")
    return problems


def description(flags: dict[str, Any]) -> str:
    """What the flags add to the name of a run folder, as officially: '-fixed-p0.3-bgcf'."""
    parts = [flags["aug"]] if "aug" in flags else []
    parts += [f"{name}{flags[name]:g}" for name in ("p", "target") if name in flags]
    parts += [flags["augpipe"]] if "augpipe" in flags else []
    return "".join(f"-{part}" for part in parts)
