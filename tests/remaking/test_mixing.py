"""Blends and averages of networks."""

import re
import sys

import golden
import numpy as np
import pytest

import pretrained_networks
import run_convert
from dnnlib.errors import UserError
from dnnlib.tflib import Network
from dnnlib.tflib.checkpoints import network_files
from remaking import averaging, blending, relatives

SIZES = {"resolution": 16, "fmap_base": 64, "fmap_max": 4}
MAPPING = {"latent_size": 6, "dlatent_size": 6, "mapping_fmaps": 6, "mapping_layers": 2}
KINDS = {
    "skip": ("training.networks_stylegan2.G_main", {"resolution": [12, 20]}),
    "resnet": ("training.networks_stylegan2.G_main", {"architecture": "resnet"}),
    "growing": ("training.networks_stylegan2.G_main", {"synthesis_func": "G_synthesis_stylegan_revised"}),
    "stylegan": ("training.networks_stylegan.G_style", {}),
    "ada": ("training.networks.G_main", {"label_size": 3, "architecture": "orig"}),
    "D": ("training.networks.D_main", {"label_size": 3}),
    "D-stylegan": ("training.networks_stylegan.D_basic", {}),
}


def build(kind, seed, lod=0, **kwargs):
    func_name, own = KINDS[kind]
    sizes = SIZES if kind.startswith("D") else {**SIZES, **MAPPING}
    net = Network("D" if kind.startswith("D") else "Gs", func_name=func_name, **{**sizes, **own, **kwargs})
    golden.set_variables(net.vars, f"{kind} {seed}")
    if "lod" in net.vars:
        net.set_var("lod", lod)
    return net


def values(net):
    return {name: net.get_var(name) for name in net.vars}


def blend(a, b, at, width=1):
    return blending.blended("a.pkl", {"Gs": a}, "b.pkl", {"Gs": b}, at, width)[0]["Gs"]


def levels_of(net):
    """Variables by the level in their names and shapes, found in another way than the blend does."""
    of = {}
    for name, variable in net.vars.items():
        parts = name.split("/")
        rgb = next((part.rpartition("_lod")[2] for part in parts if "RGB_lod" in part), None)
        block = next((part.partition("x")[0] for part in parts if re.fullmatch(r"(\d+)x\1", part)), None)
        if rgb is not None:
            of[name] = 4 - int(rgb)
        elif block is not None:
            of[name] = int(np.log2(int(block)))
        elif "noise" in parts[-1] and len(variable.shape) == 4:
            of[name] = round(np.log2(np.prod(variable.shape)) / 2)
    return of


@pytest.mark.parametrize(
    "kind", [kind if kind == "D" else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS]
)
def test_what_is_of_which(kind):
    """At both ends everything is of one network, bit for bit and at any width; between them each level is of one."""
    a, b = build(kind, 1), build(kind, 2)
    A, B, levels = values(a), values(b), levels_of(a)
    base, top = a.model.resolution.first_log2, a.model.resolution.log2
    for at in range(base, top + 2):
        at_end = at in (base, top + 1)
        for width in (1, 2, 9) if at_end else (1,):
            result = values(blend(a, b, str(2**at), width))
            for name, value in result.items():
                level = levels.get(name, -1 if at > base else base)
                np.testing.assert_array_equal(value, (B if level >= at else A)[name], f"{name} at {at}")


def test_widths():
    a, b = build("skip", 1), build("skip", 2)
    resolution = a.model.resolution
    assert list(blending.level_weights(resolution, "12x20", 1).values()) == [0, 0, 1]
    assert list(blending.level_weights(resolution, "6x10", 2).values()) == [0.25, 0.75, 1]
    result, lines = blending.blended("a.pkl", {"Gs": a}, "b.pkl", {"Gs": b, "G": b}, "6x10", 2)
    assert lines[0] == ("of b.pkl: 3x5 25%, 6x10 75%, 12x20 100%; mapping network and what is of no level are of a.pkl")
    assert lines[1].startswith("left out") and lines[1].endswith(": G")
    assert re.search(r"Gs: Warning: the mapping networks .* have a cosine of 0\.\d\d,", lines[2])
    name = "G_synthesis/8x8/Conv1/weight"
    expected = 0.25 * a.get_var(name).astype(np.float64) + 0.75 * b.get_var(name).astype(np.float64)
    np.testing.assert_allclose(result["Gs"].get_var(name), expected, rtol=1e-6)
    noise = "G_synthesis/noise1"  # of 6x10: of the nearer network, as means of noise are weaker
    np.testing.assert_array_equal(result["Gs"].get_var(noise), b.get_var(noise))
    same = blend(a, a.clone(), "6x10", 2)
    for key, value in values(a).items():
        np.testing.assert_array_equal(same.get_var(key), value, key)


def test_the_mapping_of_a_child():
    a = build("ada", 1)
    child = a.clone()
    for name, variable in child.components.mapping.trainables.items():
        variable.assign_add(0.1 * golden.rnd(1, *variable.shape).reshape(variable.shape), name)
    assert relatives.mapping_likeness(a, a) == pytest.approx(1)
    assert 0.9 < relatives.mapping_likeness(a, child) < 1
    assert not relatives.unlike("a", {"Gs": a}, "b", {"Gs": child})


def test_unrelated_networks():
    """All that differs, at once."""
    other = build("ada", 2, resolution=32, label_size=5, architecture="skip", resample_kernel=None, fmap_max=3)
    with pytest.raises(UserError) as error:
        blend(build("ada", 1), other, "8")
    message = str(error.value)
    assert message.startswith("b.pkl: its networks cannot be mixed with those of a.pkl.")
    for line in (
        "Gs: images: 3 channels of 16x16, 3 channels of 32x32",
        "Gs: labels: 3, 5",
        "Gs: architecture: 'orig', 'skip'",
        "Gs: resample_kernel: [1, 3, 3, 1], None",
        "Gs: 24 variables of the second alone: G_synthesis/noise5, G_synthesis/noise6, ",
        "Gs: G_synthesis/4x4/Const/const: [1, 4, 4, 4], [1, 3, 4, 4]",
    ):
        assert f"\n  {line}" in message, message
    with pytest.raises(UserError, match="kind: networks.G_main, networks_stylegan2.G_main"):
        blend(build("ada", 1, label_size=0), build("skip", 1), "8")
    with pytest.raises(UserError, match=r"level of detail \(of growing networks\): 0, 1"):
        blend(build("growing", 1), build("growing", 2, lod=1), "8")
    with pytest.raises(UserError, match=r"b.pkl: has D, and a.pkl Gs: nothing to mix"):
        blending.blended("a.pkl", {"Gs": other}, "b.pkl", {"D": build("D", 1)}, "8", 1)
    with pytest.raises(UserError, match="--blend-at=12: expected a level of the networks, 4x4, 8x8, 16x16, or 32x32"):
        blend(build("ada", 1), build("ada", 2), "12")


def test_averages():
    """As NumPy's, of all variables."""
    files = {f"snapshot-{seed}.pkl": {"Gs": build("ada", seed), "D": build("D", seed)} for seed in range(3)}
    weights = [1, 0.25, 2]
    average, lines = averaging.averaged(list(zip(files, weights, strict=True)), files.__getitem__)
    assert lines[0] == "weights: snapshot-0.pkl 1, snapshot-1.pkl 0.25, snapshot-2.pkl 2"
    for role, net in average.items():
        for name, value in values(net).items():
            stack = [nets[role].get_var(name).astype(np.float64) for nets in files.values()]
            expected = np.average(stack, axis=0, weights=weights)
            np.testing.assert_array_equal(value, expected.astype(np.float32), name)


@pytest.mark.slow
def test_average_by_command(tmp_path, monkeypatch, capsys):
    """It takes patterns and weights, and writes the same bytes each time."""
    monkeypatch.chdir(tmp_path)
    nets = [build("ada", seed) for seed in range(3)]
    for seed, net in enumerate(nets):
        network_files.save_pkl((None, build("D", seed), net) if seed else net, f"snapshot-{seed}.pkl")
    args = ["--average=snapshot-[02].pkl", "--average=snapshot-1.pkl=0.25"]
    for output in ("one.pkl", "two.pkl"):
        monkeypatch.setattr(sys, "argv", ["run_convert.py", *args, f"--output={output}"])
        run_convert.main()
    assert "weights: snapshot-0.pkl 1, snapshot-2.pkl 1, snapshot-1.pkl 0.25" in capsys.readouterr().out
    assert (tmp_path / "one.pkl").read_bytes() == (tmp_path / "two.pkl").read_bytes()
    net = pretrained_networks.load_generator("one.pkl")
    stack = [net.get_var("dlatent_avg") for net in nets]
    np.testing.assert_allclose(net.get_var("dlatent_avg"), np.average(stack, axis=0, weights=[1, 0.25, 1]), rtol=1e-5)


def test_command_lines(tmp_path, monkeypatch, capsys):
    """All that is wrong is said at once, before TensorFlow is waited for."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.pkl").write_bytes(b"\x80\x04")
    for args, messages in (
        (["a.pkl", "--blend=b.pkl"], ["--blend: b.pkl: no such file (did you mean a.pkl?)", "--blend-at is missing"]),
        (["a.pkl", "--blend-at=8", "--blend-width=2"], ["--blend-at is for --blend=FILE", "--blend-width is for"]),
        (["--average=a.pkl"], ["--average: expected two files or more, got a.pkl alone"]),
        (["--average=a.pkl=0", "--average=a.pkl=1e308"], ["from 1e-6 to 1e6 as WEIGHT", "got '0'", "got '1e308'"]),
        (
            ["--average=a.pkl=nan", "--average=x*.pkl"],
            ["WEIGHT of FILE=WEIGHT, got 'nan'", "x*.pkl: there is no such file"],
        ),
        (["a.pkl", "--average=a.pkl", "--blend=b.pkl"], ["got SOURCE and --average", "b.pkl: no such file"]),
    ):
        monkeypatch.setattr(sys, "argv", ["run_convert.py", *args, "--output=c.pkl"])
        with pytest.raises(SystemExit) as error:
            run_convert.main()
        said = capsys.readouterr().err
        assert error.value.code == 1 and all(message in said for message in messages), said
    for arg in ("--blend-width=0.5", "--blend-at=1x2x3"):
        monkeypatch.setattr(sys, "argv", ["run_convert.py", "a.pkl", arg, "--output=c.pkl"])
        with pytest.raises(SystemExit) as error:
            run_convert.main()
        assert error.value.code == 2 and "expected" in capsys.readouterr().err
