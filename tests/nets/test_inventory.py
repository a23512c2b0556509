"""Every official configuration builds with exactly the official variables, and prints the official table."""

import golden
import pytest

from dnnlib.tflib import Network, network_report

NETS = golden.index("inventory", "variables.json")["nets"]
TABLES = golden.index("inventory", "print_layers.json")


def described(var, name):
    return f"{name} {','.join(map(str, var.shape))} {'trained' if var.trainable else 'fixed'}"


def expected_variables(net):
    """The small set holds lines of text, the large one lists."""
    return [
        line
        if isinstance(line, str)
        else f"{line[0]} {','.join(map(str, line[1]))} {'trained' if line[3] else 'fixed'}"
        for line in net["variables"]
    ]


@pytest.mark.parametrize("name", NETS)
def test_variables(name):
    case = NETS[name]
    net = Network(name[0], func_name=case["func_name"], **case["static_kwargs"])
    assert [described(var, key) for key, var in net.vars.items()] == expected_variables(case)
    assert sum(var.shape.num_elements() for var in net.trainables.values()) == case["trainable_params"]
    assert net.model.count_params() == case["all_params"]
    assert net.input_names == case["input_names"]
    assert net.input_shapes == case["input_shapes"]
    assert net.output_names == case["output_names"]
    assert net.output_shapes == case["output_shapes"]


@pytest.mark.parametrize("name", [name for name in TABLES if "-256-" in name])
def test_print_layers(name, capsys):
    case = NETS[name]
    net = Network(name[0], func_name=case["func_name"], **case["static_kwargs"])
    net.print_layers()
    assert capsys.readouterr().out.strip() == TABLES[name].strip()
    short = network_report.format_layers(net, title="T", hide_layers_with_no_params=True)
    assert short.strip().startswith("T ")
    assert "labels_in" not in short


@pytest.mark.parametrize("resolution", [4, 8, 2048])
def test_other_resolutions(resolution):
    kwargs = {"resolution": resolution, "num_channels": 2, "fmap_base": 64, "fmap_max": 4}
    for architecture in ("orig", "skip", "resnet"):
        net = Network("G", func_name="training.networks_stylegan2.G_main", architecture=architecture, **kwargs)
        assert net.output_shape == [None, 2, resolution, resolution]
        D = Network("D", func_name="training.networks_stylegan2.D_stylegan2", architecture=architecture, **kwargs)
        if resolution <= 8:
            images = net.run(golden.rnd(1, 2, 512), None)
            assert images.shape == (2, 2, resolution, resolution)
            assert D.run(images, None).shape == (2, 1)
    for G, D in (
        ("networks_stylegan2.G_synthesis_stylegan_revised", "networks_stylegan2.D_stylegan"),
        ("networks_stylegan.G_synthesis", "networks_stylegan.D_basic"),
    ):
        synthesis = Network("S", func_name="training." + G, **kwargs)
        discriminator = Network("D", func_name="training." + D, **kwargs)
        if resolution <= 8:
            images = synthesis.run(golden.rnd(1, 2, *synthesis.input_shape[1:]))
            assert discriminator.run(images, None).shape == (2, 1)
