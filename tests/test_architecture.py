"""The rule of the house: a file imports its own room and those named before it, never round; no room is a drawer."""

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
FLOORS = """
dnnlib  dnnlib.formats  dnnlib.tflib.ops  dnnlib.tflib  dnnlib.tflib.exports  dnnlib.tflib.checkpoints
dnnlib.command_line
pretrained_networks
training.data  training.nets  training.augmentation  training.loss  training.misc  training.run_folder  training.loop
metrics.maths  metrics.nets  metrics.features  metrics
training.options  training.training_loop  training
remaking  generation  directions  dataset_tools  projection  projector
run_training  run_generator  run_directions  run_projector  run_metrics  run_convert  dataset_tool  stylegan2
tools
"""
ROOMS = FLOORS.split()
PATHS = [
    path.relative_to(ROOT)
    for folder in sorted({room.partition(".")[0] for room in ROOMS})
    for path in [ROOT / f"{folder}.py", *(ROOT / folder).rglob("*.py")]
    if path.exists()
]
FILES = {".".join(path.with_suffix("").parts).removesuffix(".__init__"): path for path in PATHS}


def floor(module: str) -> int:
    """How high a module's room lies: the longest name of a room that begins the module's."""
    return ROOMS.index(max((room for room in ROOMS if f"{module}.".startswith(f"{room}.")), key=len))


def imports(module: str) -> Iterator[str]:
    """The modules of this project that a module imports, wherever in its text."""
    package = module.split(".") if FILES[module].name == "__init__.py" else module.split(".")[:-1]
    for node in ast.walk(ast.parse((ROOT / FILES[module]).read_text(encoding="utf-8"))):
        base = package[: len(package) + 1 - node.level] if getattr(node, "level", 0) else []
        for alias in node.names if isinstance(node, (ast.Import, ast.ImportFrom)) else ():
            name = ".".join([*base, *filter(None, [getattr(node, "module", None)]), alias.name])
            while name and name not in FILES:
                name = name.rpartition(".")[0]
            yield from {name} - {"", module}


def test_imports_go_down_and_never_round():
    graph = {module: set(imports(module)) for module in FILES}
    up = [f"{a} -> {b}" for a in graph for b in graph[a] if floor(b) > floor(a)]
    assert up == []
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError


def test_no_room_is_a_drawer():
    folders = [path.parent for path in (*PATHS, *(p.relative_to(ROOT) for p in (ROOT / "tests").rglob("*.py")))]
    assert max(map(folders.count, folders)) <= 20
