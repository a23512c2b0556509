"""Arguments that files can have: those that networks cannot be built with, or give NaN with, are refused by name."""

import pytest

from dnnlib.tflib.model_building import variable_shapes

SIZES = {"resolution": 8, "num_channels": 1, "fmap_base": 16, "fmap_max": 4, "label_size": 2}
G = {**SIZES, "latent_size": 8, "dlatent_size": 8, "mapping_layers": 2, "mapping_fmaps": 8}
GENERATORS = ("networks_stylegan.G_style", "networks_stylegan2.G_main", "networks.G_main")
DISCRIMINATORS = ("networks_stylegan.D_basic", "networks_stylegan2.D_stylegan2", "networks.D_main")
NO_FLAGS = ("abc", 2, -1, 0.5, [], {"a": 1})
NO_FILTERS = ("abc", 2.5, [], [0, 0, 0], [[1, 2], [3, 4]], ["x"], {"a": 1}, [1e308, 1], [float("nan")], [1] * 33)
NO_NUMBERS = ("abc", 1e308, -1e308, float("nan"), float("inf"), 10**30, [1], "\x1b[2J" * 1000)

CASES = [
    *((name, "truncation_psi", NO_NUMBERS) for name in GENERATORS),
    *((name, "truncation_psi_val", NO_NUMBERS) for name in GENERATORS),
    *((name, "truncation_cutoff", ("abc", float("nan"), [1])) for name in GENERATORS),
    *((name, "dlatent_avg_beta", (*NO_NUMBERS, 2, -1)) for name in GENERATORS),
    *((name, "mapping_lrmul", (*NO_NUMBERS, 0, 1e-30)) for name in GENERATORS),
    *((name, "dlatent_broadcast", (None, "x", 0, 2, [6])) for name in GENERATORS),
    *((name, "normalize_latents", NO_FLAGS) for name in GENERATORS),
    *((name, "randomize_noise", NO_FLAGS) for name in GENERATORS),
    *((name, "is_validation", NO_FLAGS) for name in GENERATORS),
    *((name, "use_noise", NO_FLAGS) for name in ("networks_stylegan.G_style", "networks.G_main")),
    *((GENERATORS[0], name, NO_FLAGS) for name in ("use_styles", "const_input_layer", "use_wscale", "use_pixel_norm")),
    *((name, "blur_filter", NO_FILTERS) for name in ("networks_stylegan.G_style", "networks_stylegan.D_basic")),
    *((name, "resample_kernel", NO_FILTERS) for name in (*GENERATORS[1:], *DISCRIMINATORS[1:])),
    *((name, "mbstd_group_size", ("abc", -1, 2.5, [4])) for name in DISCRIMINATORS),
    ("networks.D_main", "mapping_lrmul", NO_NUMBERS),
    ("networks.D_main", "pytorch_details", NO_FLAGS),
]


@pytest.mark.parametrize(("name", "argument", "values"), CASES, ids=lambda x: x if isinstance(x, str) else "")
def test_what_cannot_be(name, argument, values):
    sizes = G if name in GENERATORS else SIZES
    for value in values:
        with pytest.raises(ValueError, match=f"{argument} must be") as error:
            variable_shapes(f"training.{name}", {**sizes, argument: value})
        assert str(error.value).isprintable() and len(str(error.value)) < 300


@pytest.mark.parametrize("name", GENERATORS)
def test_what_can_be(name):
    for arguments in (
        {"truncation_psi": None, "dlatent_avg_beta": None, "truncation_cutoff": 3.5},
        {"truncation_psi": -1, "mapping_lrmul": 0.01, "dlatent_broadcast": 4, "randomize_noise": 0},
    ):
        assert variable_shapes(f"training.{name}", {**G, **arguments})


@pytest.mark.parametrize("name", GENERATORS)
def test_w_of_no_layers_is_z(name):
    arguments = {**G, "label_size": 0, "mapping_layers": 0, "latent_size": 8, "dlatent_size": 8}
    assert variable_shapes(f"training.{name}", arguments)
    with pytest.raises(ValueError, match="mapping_layers=0 makes W of 8 numbers, dlatent_size=9"):
        variable_shapes(f"training.{name}", {**arguments, "dlatent_size": 9})


@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_standard_deviations_are_of_equal_parts(name):
    with pytest.raises(ValueError, match="mbstd_num_features must divide the feature maps, 4, got 3"):
        variable_shapes(f"training.{name}", {**SIZES, "mbstd_num_features": 3})
    assert variable_shapes(f"training.{name}", {**SIZES, "mbstd_num_features": 3, "mbstd_group_size": 1})
