"""What a generator that is written as a program takes and gives: known without TensorFlow."""

from collections.abc import Iterable
from dataclasses import dataclass, fields

from dnnlib.errors import UserError

ENTRIES = ("z", "w", "mapping")
NOISE_MODES = ("const", "none", "inputs")
IMAGES = ("float-nchw", "uint8-nhwc")
WEIGHTS = ("float32", "float16", "int8")
OPSETS = range(13, 19)


@dataclass(frozen=True)
class ProgramOptions:
    """How a generator is written as a program.

    entry: z: z, label where there are labels, psi, cutoff -> image; w: w of each layer -> image; mapping: z, label,
        psi, cutoff -> w.
    noise_mode: const: the network's own noise images; none: no noise; inputs: noise images are inputs.
    image: float-nchw: `[N, C, H, W]` in [-1, 1]; uint8-nhwc: `[N, H, W, C]`, 0 to 255.
    weights: how they are stored. Everything is computed in float32.
    opset: of ONNX.
    """

    entry: str = "z"
    noise_mode: str = "const"
    image: str = "float-nchw"
    weights: str = "float32"
    opset: int = 17


DEFAULT = ProgramOptions()


def flag_of(option: str) -> str:
    """The flag of an option: '--noise-mode'."""
    return "--" + option.replace("_", "-")


def given(options: ProgramOptions) -> list[str]:
    """Names of the options that are not as they are by default."""
    return [field.name for field in fields(options) if getattr(options, field.name) != field.default]


def check(options: ProgramOptions, takes: Iterable[str], weights: Iterable[str], extension: str) -> None:
    """Checks options for a format, which ignores those that it does not take. Raises UserError with all problems.

    takes: names of the options that it takes. weights: how it can store them. extension: of its files.
    """
    takes, weights = list(takes), list(weights)
    problems = []
    if "weights" in takes and options.weights not in weights:
        problems.append(f"--weights={options.weights}: expected {' or '.join(weights)} for {extension}")
    elif "entry" in takes and options.entry == "mapping" and options.weights == "int8":
        problems.append("--weights=int8: with --entry=mapping nothing is int8; expected float32 or float16")
    if "entry" in takes and options.entry == "mapping":
        for name in ("noise_mode", "image"):
            if name in given(options):
                problems.append(f"{flag_of(name)}: with --entry=mapping there is no image; leave it out")
    if problems:
        raise UserError("\n".join(problems))
