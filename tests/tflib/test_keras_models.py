"""The models are ordinary Keras models."""

import golden
import numpy as np
import pytest
import tensorflow as tf

from dnnlib.tflib.scope import KERAS_3
from training import networks_stylegan, networks_stylegan2
from training.nets import stylegan2_ada

SIZES = {"resolution": 16, "num_channels": 3, "label_size": 3, "fmap_base": 64, "fmap_max": 8}
G_SIZES = {**SIZES, "latent_size": 8, "dlatent_size": 8, "mapping_fmaps": 8, "mapping_layers": 2}
MODELS = {
    "G_main": lambda: networks_stylegan2.G_main(randomize_noise=False, **G_SIZES),
    "G_main revised": lambda: networks_stylegan2.G_main(
        synthesis_func="G_synthesis_stylegan_revised", randomize_noise=False, **G_SIZES
    ),
    "G_style": lambda: networks_stylegan.G_style(randomize_noise=False, **G_SIZES),
    "G_main of ADA": lambda: stylegan2_ada.G_main(randomize_noise=False, **G_SIZES),
    "D_main": lambda: stylegan2_ada.D_main(mapping_layers=1, **SIZES),
    "D_stylegan2": lambda: networks_stylegan2.D_stylegan2(**SIZES),
    "D_stylegan": lambda: networks_stylegan2.D_stylegan(**SIZES),
    "D_basic": lambda: networks_stylegan.D_basic(**SIZES),
}


@pytest.fixture(params=MODELS)
def model(request):
    model = MODELS[request.param]()
    golden.set_variables(model.named_variables(), request.param)
    return model


@pytest.fixture
def inputs(model):
    data = [golden.rnd(i, 2, *shape[1:]) for i, shape in enumerate(model.io_inputs.values())]
    data[1] = np.eye(3, dtype=np.float32)[[0, 2]]
    return data


def test_configuration_and_weights(model, inputs, tmp_path):
    expected = model(*inputs).numpy()
    again = type(model).from_config(model.get_config())
    assert again.get_config() == model.get_config()
    again.set_weights(model.get_weights())
    golden.close(again(*inputs), expected, 1e-6)

    model.save_weights(tmp_path / "w.weights.h5")
    again = type(model).from_config(model.get_config())
    again.load_weights(tmp_path / "w.weights.h5")
    golden.close(again(*inputs), expected, 1e-6)

    model.save(tmp_path / "model.keras")
    golden.close(tf.keras.models.load_model(tmp_path / "model.keras")(*inputs), expected, 1e-6)

    path = tf.train.Checkpoint(model=model).write(str(tmp_path / "checkpoint"))
    again = type(model).from_config(model.get_config())
    tf.train.Checkpoint(model=again).read(path).assert_consumed()
    golden.close(again(*inputs), expected, 1e-6)


def test_summary_function_and_symbolic_call(model, inputs):
    lines = []
    model.summary(print_fn=lambda text, **_kwargs: lines.append(text))
    assert str(model.count_params()) in "\n".join(lines).replace(",", "")
    expected = model(*inputs).numpy()
    golden.close(tf.function(model)(*inputs), expected, 1e-5)
    symbolic = [tf.keras.Input(shape[1:]) for shape in model.io_inputs.values()]
    functional = tf.keras.Model(symbolic, model(*symbolic))
    golden.close(functional(inputs), expected, 1e-5)
    assert functional.output_shape == next(iter(model.io_outputs.values()))


def test_saved_model(model, inputs, tmp_path):
    expected = model(*inputs).numpy()
    model.export(str(tmp_path / "exported"))
    loaded = tf.saved_model.load(str(tmp_path / "exported"))
    golden.close(loaded.serve(*map(tf.constant, inputs)), expected, 1e-5)
    assert not any(b"Stylegan" in path.read_bytes() for path in (tmp_path / "exported").glob("*.pb"))  # runs anywhere


def test_saved_model_without_a_signature(model, inputs, tmp_path):
    expected = model(*inputs).numpy()
    tf.saved_model.save(model, str(tmp_path / "saved"))
    loaded = tf.saved_model.load(str(tmp_path / "saved"))
    serve = loaded.signatures["serving_default"]
    names = serve.structured_input_signature[1]
    by_size = {shape[1:]: x for shape, x in zip(model.io_inputs.values(), inputs, strict=True)}
    (output,) = serve(**{name: tf.constant(by_size[tuple(spec.shape[1:])]) for name, spec in names.items()}).values()
    golden.close(output, expected, 1e-5)
    if KERAS_3:  # Keras 2 saves the functions of all layers besides
        assert not any(b"Stylegan" in path.read_bytes() for path in (tmp_path / "saved").glob("*.pb"))


def test_inputs_as_a_list_or_dict(model, inputs):
    expected = model(*inputs).numpy()
    golden.close(model(inputs), expected, 1e-6)
    golden.close(model(dict(zip(model.io_inputs, inputs, strict=True))), expected, 1e-6)
    golden.close(model.predict(inputs, verbose=0), expected, 1e-5)
    with pytest.raises(ValueError, match="unknown inputs"):
        model({"z": inputs[0]})


def test_variables_know_their_official_names(model):
    for name, variable in model.named_variables().items():
        path = getattr(variable, "path", variable.name.split(":")[0])
        assert path == f"{model.name}/{name}"


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"resolution": 25}, "D: resolution: 25x25: height and width must be a small base.*nearest is 24x24"),
        ({"resolution": 2}, "power of two"),
        (
            {"resolution": [640, 384], "base": [4, 3]},
            "640x384 is not 4x3 times a power of two; 640x384 has the bases 5x3",
        ),
        ({"resolution": [16, 16, 3]}, r"expected the side of a square, or \[height, width\] in pixels"),
        ({"num_channels": 0}, "num_channels must be an integer of 1 or more"),
        ({"label_size": -1}, "label_size must be an integer of 0 or more"),
        ({"nonlinearity": "gelu"}, "nonlinearity must be one of"),
        ({"dtype": "int8"}, "dtype must be one of"),
        ({"mbstd_group": 4}, "did you mean mbstd_group_size"),
        ({"architecture": "dense"}, "architecture must be one of 'orig', 'skip', 'resnet', got 'dense'"),
    ],
)
def test_wrong_arguments(kwargs, message):
    with pytest.raises((ValueError, TypeError), match=message):
        networks_stylegan2.D_stylegan2(**{**SIZES, **kwargs})


def test_wrong_shapes():
    D = networks_stylegan2.D_stylegan2(**SIZES)
    with pytest.raises(ValueError, match="images must have shape"):
        D(np.zeros([1, 3, 8, 8], np.float32))
    S = networks_stylegan2.G_synthesis_stylegan2(resolution=8, dlatent_size=4, fmap_max=4)
    with pytest.raises(ValueError, match=r"dlatents must have shape \[N, 4, 4\]"):
        S(np.zeros([1, 5, 4], np.float32))
