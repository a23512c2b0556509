"""Trainings that start from networks of another file: what is copied, and what is said about the rest."""

import golden
import numpy as np
import pytest

import pretrained_networks
from dnnlib.errors import UserError
from dnnlib.tflib import Network
from training import misc
from training.loop.transfer import copy_weights

SMALL = {"fmap_base": 64, "fmap_max": 8}
MAPPING = {"latent_size": 8, "dlatent_size": 8, "mapping_fmaps": 8, "mapping_layers": 2}
FUNCS = {
    "config-f": ("training.networks_stylegan2.G_main", "training.networks_stylegan2.D_stylegan2"),
    "ada": ("training.networks.G_main", "training.networks.D_main"),
    "config-a": ("training.networks_stylegan.G_style", "training.networks_stylegan.D_basic"),
}


def networks(kind, seed=None, G=None, D=None, **sizes):
    """(G, D, Gs). seed: of all variables; None: as built, and Gs as G."""
    sizes = {"resolution": 16, **SMALL, **sizes}
    G = Network("G", func_name=FUNCS[kind][0], **{**sizes, **MAPPING, **(G or {})})
    D = Network("D", func_name=FUNCS[kind][1], **{**sizes, **(D or {})})
    nets = (G, D, G.clone("Gs"))
    if seed is not None:
        for net in nets:
            golden.set_variables(net.vars, f"{seed}{net.name}")
    return nets


def values_of(nets):
    return [{name: net.get_var(name) for name in net.vars} for net in nets]


def assert_copied(nets, sources, names=None):
    """names: of the variables, by network; None: all but lod."""
    for k, (net, source) in enumerate(zip(nets, sources, strict=True)):
        for name in net.vars if names is None else names[k]:
            if name.split("/")[-1] != "lod":
                np.testing.assert_array_equal(net.get_var(name), source.get_var(name), name)


def refused(*args):
    with pytest.raises(UserError) as error:
        copy_weights(*args)
    return str(error.value).splitlines()


def of_pickle(tmp_path, content):
    """What a training reads of a file that holds this."""
    path = str(tmp_path / "some.pkl")
    misc.save_pkl(content, path)
    return path, pretrained_networks.read(path)


@pytest.mark.parametrize(("kind", "new_kind"), [("config-f", "ada"), ("ada", "config-f")])
def test_all_of_it(tmp_path, kind, new_kind):
    """W's average and the noise are no less part of a generator than its weights."""
    old, new = networks(kind, seed=1), networks(new_kind)
    lines = copy_weights(*of_pickle(tmp_path, old), new)
    assert_copied(new, old)
    assert {"dlatent_avg", "G_synthesis/noise3", "G_mapping/Dense1/bias"} < new[0].vars.keys()
    counts = [sum(not name.endswith("lod") for name in net.vars) for net in new]
    assert lines == [f"{name}: {n} of {n} variables fit" for name, n in zip(("G", "D", "Gs"), counts, strict=True)]
    z = golden.rnd(1, 2, 8)
    images = [net.run(z, None, randomize_noise=False, truncation_psi=1) for net in (old[2], new[2])]
    np.testing.assert_allclose(*images, atol=1e-5)


def test_another_resolution(tmp_path):
    old, new = networks("config-f", seed=1, resolution=32), networks("ada")
    before, loaded = values_of(new), of_pickle(tmp_path, old)
    head, *found, advice, rest = refused(*loaded, new)
    path = loaded[0]
    assert head == f"{path}: {len(found)} things do not fit:"
    assert found[0] == "G: images of shape [3, 32, 32] in the file, [3, 16, 16] here"
    for name, k in (("G", 0), ("D", 1)):  # one line for each variable, wherever it is missing
        here, there = (
            {key: list(var.shape) for key, var in nets[k].vars.items() if key.split("/")[-1] != "lod"}
            for nets in (new, old)
        )
        expected = {f"{name}: {key}: {here[key]} here, not in the file" for key in here.keys() - there.keys()}
        expected |= {f"{name}: {key}: {there[key]} in the file, not here" for key in there.keys() - here.keys()}
        differ = [key for key in here.keys() & there.keys() if here[key] != there[key]]
        expected |= {f"{name}: {key}: {here[key]} here, {there[key]} in the file" for key in differ}
        lines = [line for line in found if line.startswith(f"{name}: ") and " of shape " not in line]
        assert sorted(lines) == sorted(expected) and len(expected) >= 6
    assert "--fmap-base" in advice and rest.startswith("--resume-partial starts from what fits (G: ")
    for now, then in zip(values_of(new), before, strict=True):
        for name, value in then.items():
            np.testing.assert_array_equal(now[name], value)

    lines = copy_weights(*loaded, new, True)
    assert lines[3:] == found
    fit = [
        {key for key in net.vars if key in source.vars and tuple(net.vars[key].shape) == tuple(source.vars[key].shape)}
        for net, source in zip(new, old, strict=True)
    ]
    assert [int(line.split()[1]) for line in lines[:3]] == [len(names) for names in fit]
    assert_copied(new, old, fit)
    assert "16x16/FromRGB/weight" not in fit[1] and "G_synthesis/16x16/ToRGB/bias" in fit[0]
    for now, then, names in zip(values_of(new), before, fit, strict=True):
        for name in then.keys() - names:  # what is random stays, and is the same in G and Gs
            np.testing.assert_array_equal(now[name], then[name])


def test_other_feature_maps():
    head, *found, _, _ = refused("some.pkl", networks("ada", fmap_max=6), networks("ada"))
    assert "G: G_synthesis/4x4/Conv/weight: [3, 3, 8, 8] here, [3, 3, 6, 6] in the file" in found
    assert head.startswith("some.pkl: 47 things do not fit") and found[-1] == "... and 17 more"


def test_a_generator_alone(tmp_path):
    Gs, new = networks("ada", seed=1)[2], networks("ada")
    D_before = values_of(new)[1]
    path, loaded = of_pickle(tmp_path, Gs)
    assert refused(path, loaded, new)[1:-2] == [f"D: not in {path}"]
    lines = copy_weights(path, loaded, new, True)
    assert lines[-1] == f"D: not in {path}"
    assert_copied((new[0], new[2]), (Gs, Gs))
    for name, value in values_of(new)[1].items():
        np.testing.assert_array_equal(value, D_before[name])
    # As other formats give it.
    assert copy_weights("some.pt", (Gs, None, Gs), new, True)[-1] == "D: not in some.pt"


def test_a_discriminator_alone():
    D, new = networks("ada", seed=1)[1], networks("ada")
    assert refused("some.pkl", D, new)[1:-2] == ["G: not in some.pkl", "Gs: not in some.pkl"]
    copy_weights("some.pkl", D, new, True)
    assert_copied(new[1:2], [D])


@pytest.mark.parametrize("kind", ["config-f", "ada"])
def test_from_no_labels_to_labels(kind):
    old, new = networks(kind, seed=1), networks("ada", label_size=5)
    found = refused("some.pkl", old, new)[1:-2]
    for name in ("G", "D"):
        assert f"{name}: labels of shape [0] in the file, [5] here" in found
    assert "G: G_mapping/Dense0/weight: [16, 8] here, [8, 8] in the file" in found
    assert "G: G_mapping/LabelEmbed/weight: [5, 8] here, not in the file" in found
    assert "D: Output/weight: [8, 8] here, [8, 1] in the file" in found
    copy_weights("some.pkl", old, new, True)
    synthesis = [name for name in new[0].vars if name.startswith("G_synthesis/")]
    assert_copied(new, old, [synthesis, ["4x4/Conv/weight"], synthesis])


def test_from_labels_to_none():
    old, new = networks("ada", seed=1, label_size=5), networks("ada")
    assert "D: LabelEmbed/weight: [5, 8] in the file, not here" in refused("some.pkl", old, new)
    copy_weights("some.pkl", old, new, True)
    assert_copied(new, old, [["dlatent_avg"], ["16x16/FromRGB/weight"], ["dlatent_avg"]])


def test_from_a_square_network_to_other_proportions(tmp_path):
    """4x4 to 5x3: a row more at the top, a column less on the right, at all levels."""
    old, new = networks("config-f", seed=1), networks("ada", resolution=[20, 12])
    fresh = values_of(new)
    lines = copy_weights(*of_pickle(tmp_path, old), new)
    assert lines[3:] == [
        "G: noise images in other proportions, cut or with new noise around them",
        "G: constant 4x4 to 5x3, cut or continued as at its edges",
        "D: rows of 4x4/Dense0/weight 4x4 to 5x3, cut or continued with zeros",
    ]
    assert all(int(line.split()[1]) == int(line.split()[3]) for line in lines[:3])
    for k in (0, 2):
        const, given = (nets[k].get_var("G_synthesis/4x4/Const/const") for nets in (new, old))
        np.testing.assert_array_equal(const, given[:, :, [0, 0, 1, 2, 3], :3])
        for idx, times in enumerate((1, 2, 2, 4, 4)):
            noise, given = (nets[k].get_var(f"G_synthesis/noise{idx}") for nets in (new, old))
            np.testing.assert_array_equal(noise[:, :, times:], given[..., : 3 * times])
            np.testing.assert_array_equal(noise[:, :, :times], fresh[k][f"G_synthesis/noise{idx}"][:, :, :times])
    # The layer sees the same in what both have, and nothing in what is new.
    maps = golden.rnd(1, 2, 8, 5, 3)
    both = np.pad(maps[:, :, 1:], [(0, 0), (0, 0), (0, 0), (0, 1)])
    seen = [getattr(nets[1].model, "4x4").Dense0(x.reshape(2, -1)) for nets, x in ((new, maps), (old, both))]
    np.testing.assert_allclose(*seen, atol=1e-5)
    again = networks("ada", resolution=[20, 12], seed=2)
    assert len(copy_weights("some.pkl", new, again)) == 3
    assert_copied(again, new)


@pytest.mark.parametrize(
    ("kind", "old_channels", "channels", "sizes"),
    [
        ("config-f", 3, 4, {}),
        ("config-f", 1, 3, {"resolution": [8, 24]}),
        ("ada", 1, 4, {"resolution": [12, 8]}),
        ("ada", 3, 4, {"architecture": "skip"}),
        ("config-a", 3, 4, {}),
    ],
)
def test_to_more_channels(kind, old_channels, channels, sizes):
    """Images are the same and opaque, and so are scores, whatever the other channels come to be."""
    old, new = (networks(kind, k, num_channels=number, **sizes) for k, number in enumerate((old_channels, channels)))
    lines = copy_weights("some.pkl", old, new)
    names = {1: "gray", 3: "RGB", 4: "RGBA"}
    change = f"{names[old_channels]} to {names[channels]}"
    opaque = ", opaque" if channels == 4 else ""
    assert lines[3:] == [
        f"G: ToRGB {change}, with the same images{opaque}",
        f"D: FromRGB {change}, with the same scores",
    ]
    z = golden.rnd(1, 2, 8)
    given, images = (nets[2].run(z, None, randomize_noise=False, truncation_psi=1) for nets in (old, new))
    colours = np.broadcast_to(given, (2, 3, *given.shape[2:]))
    np.testing.assert_allclose(images[:, :3], colours, atol=1e-5)
    np.testing.assert_array_equal(images[:, 3:], np.ones_like(images[:, 3:]))
    np.testing.assert_allclose(new[1].run(images, None), old[1].run(given, None), atol=1e-5)


def test_to_fewer_channels():
    found = refused("some.pkl", networks("ada", num_channels=4), networks("ada"))[1:-2]
    assert found[0] == "G: images of shape [4, 16, 16] in the file, [3, 16, 16] here"
    assert "D: 16x16/FromRGB/weight: [1, 1, 3, 8] here, [1, 1, 4, 8] in the file" in found


def test_layers_of_other_levels_are_others():
    """A base of 9x16 is of level 4: what begins with 4x4 has something in common, but not its smallest layers."""
    old, new = networks("ada", seed=1, resolution=64), networks("ada", resolution=[36, 64])
    found = refused("some.pkl", old, new)[1:-2]
    assert found[:2] == [
        "G: images of shape [3, 64, 64] in the file, [3, 36, 64] here",
        "G: begins with 9x16 (level 4) here, with 4x4 (level 2) in the file; what begins like that is 32x64, base 2x4",
    ]
    lines = copy_weights("some.pkl", old, new, True)
    assert not any("cut or" in line for line in lines)
    upper = [f"G_synthesis/{side}x{side}/Conv1/weight" for side in (32, 64)]
    assert_copied(new, old, [upper, ["32x32/Conv0/weight"], upper])


def test_level_of_detail():
    """The first picture of a training is made as the file says, such as one of `run_convert.py --resolution`."""
    (old, *_), (new, *_) = networks("config-a"), networks("config-a")
    old.set_var("lod", 1)
    lines = copy_weights("some.pkl", old, (new,) * 3, True)
    assert new.get_var("lod") == 1 and not any("lod:" in line for line in lines)


def test_nothing_fits():
    old = Network("mapping", func_name="training.networks.G_mapping", **MAPPING)
    new = networks("ada")
    for partial in (False, True):
        (line,) = refused("some.pkl", old, new, partial)
        assert line.startswith("some.pkl: not a single variable fits the networks to train. What decides shapes:")


def test_two_networks():
    G, D, _ = networks("ada")
    (line,) = refused("some.pkl", (G, D), (G, D, G))
    assert line == "some.pkl: holds 2 networks, expected (G, D, Gs) or a single one"


def test_of_pytorch():
    """Networks of PyTorch are networks like others."""
    loaded = pretrained_networks.read(str(golden.ADA_GOLDENS / "pt_pickles" / "r16-gray.pkl"))
    sizes = {"resolution": 16, "num_channels": 1, "fmap_base": 8192, "fmap_max": 16}
    G = Network("G", func_name=FUNCS["ada"][0], **{**MAPPING, "latent_size": 16, "dlatent_size": 16}, **sizes)
    new = (G, Network("D", func_name=FUNCS["ada"][1], **sizes), G.clone("Gs"))
    assert refused("some.pkl", loaded, new)[1] == "G: G_mapping/Dense0/weight: [16, 8] here, [16, 16] in the file"
    G = Network("G", func_name=FUNCS["ada"][0], latent_size=16, dlatent_size=16, mapping_layers=2, **sizes)
    new = (G, new[1], G.clone("Gs"))
    assert len(copy_weights("some.pkl", loaded, new)) == 3
    assert_copied(new, loaded)
