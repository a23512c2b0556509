"""Running a network on NumPy arrays: minibatches, compiled functions, several GPUs."""

import functools
import itertools
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from dnnlib import util

from .fetching import Joined, fetched
from .kept import Kept
from .ops import implementation

_SMALL = 64 << 20  # bytes of inputs that are on a GPU at once


class NetworkRunner:
    """Compiles a network once per set of arguments and input shapes, and feeds it minibatches."""

    def __init__(self, net: Any):
        self.net = net
        self.functions: dict[Any, Any] = {}
        self.kept = Kept()

    def run(
        self,
        *in_arrays: Any,
        input_transform: dict[str, Any] | None = None,
        output_transform: dict[str, Any] | None = None,
        return_as_list: bool = False,
        print_progress: bool = False,
        minibatch_size: int | None = None,
        num_gpus: int = 1,
        assume_frozen: bool = False,
        **dynamic_kwargs: Any,
    ) -> Any:
        """Runs the network and returns NumPy arrays: one, or a tuple if there are several outputs.

        Args:
            in_arrays: the inputs in order, first axis N; labels may be None or left out, which is all zeros.
            input_transform: `dict(func=f, **kwargs)`: `f(*inputs, **kwargs)` makes the inputs of the network.
            output_transform: the same for the outputs, e.g. `dict(func=tflib.convert_images_to_uint8)`.
            return_as_list: return a list even for a single output.
            print_progress: print the number of items done.
            minibatch_size: items per call; None is all at once.
            num_gpus: GPUs that share each minibatch, which must be a multiple of it.
            assume_frozen: nothing but this library's functions changes the weights between this call and the last one
                with it; what follows from weights alone need not be computed again.
            dynamic_kwargs: arguments of the network, for this call only. Tensors and arrays among them are the same
                for all items. Without a GPU all is computed in 32 bit, unless `num_fp16_res` or `fp16_dtype` is given.
        """
        net = self.net
        if not 1 <= len(in_arrays) <= net.num_inputs or in_arrays[0] is None:
            raise ValueError(f"{net.name}.run: expected inputs {', '.join(net.input_names)}, got {len(in_arrays)}")
        arrays = [None if array is None else _numbers(array) for array in without_nothing(in_arrays, net)]
        if any(array is not None and array.ndim == 0 for array in arrays):
            raise ValueError(f"{net.name}.run: inputs must be arrays with a first axis N")
        num_items = len(arrays[0])
        for name, array in zip(net.input_names, arrays, strict=False):
            if array is not None and len(array) != num_items:
                raise ValueError(f"{net.name}.run: {name} has {len(array)} items, {net.input_names[0]} has {num_items}")
        if num_items == 0:
            raise ValueError(f"{net.name}.run: no items")
        minibatch_size = num_items if minibatch_size is None else minibatch_size
        if minibatch_size < 1:
            raise ValueError(f"{net.name}.run: minibatch_size must be 1 or more, got {minibatch_size}")
        check_gpus(num_gpus, min(minibatch_size, num_items))

        dynamic_kwargs = with_plain_scalars(known_arguments(net.name, type(net.model), dynamic_kwargs))
        dynamic_kwargs = {**net.model.rendering_kwargs(dynamic_kwargs), **dynamic_kwargs}
        fixed, fed = _split_fed(dynamic_kwargs, net)
        net.prepare(**fixed)
        function = self._function(fixed, input_transform, output_transform, num_gpus)
        self.kept.refresh(assume_frozen)
        joined = Joined(num_items, minibatch_size)

        def started() -> Iterator[list[tf.Tensor]]:
            for number, batch in enumerate(_batches(arrays, minibatch_size)):
                if print_progress:
                    print(f"\r{number * minibatch_size} / {num_items}", end="", flush=True)
                yield function(batch, fed)

        for _ in fetched(started(), joined.add):
            pass
        if print_progress:
            print(f"\r{num_items} / {num_items}")
        outputs = joined.arrays()
        if return_as_list:
            return outputs
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def _function(
        self, kwargs: dict, input_transform: dict | None, output_transform: dict | None, num_gpus: int
    ) -> Any:
        key = frozen((kwargs, input_transform, output_transform, num_gpus))
        if key not in self.functions:
            # partial: functions of the same code are one to TensorFlow, which warns that it is traced too often.
            settings = input_transform, output_transform, num_gpus
            self.functions[key] = implementation.function(functools.partial(self._outputs, kwargs, *settings))
        return self.functions[key]

    def _outputs(
        self, fixed: dict, input_transform: Any, output_transform: Any, num_gpus: int, batch: list, fed: dict
    ) -> list:
        kwargs = {**fixed, **fed}
        if input_transform is not None:  # it sees what the official networks are fed: zeros for missing labels
            num = tf.shape(batch[0])[0]
            pairs = itertools.zip_longest(batch, self.net.input_shapes)
            batch = [tf.zeros([num, *shape[1:]]) if x is None else x for x, shape in pairs]
        inputs = _transform(input_transform, batch)
        if num_gpus == 1:
            with self.kept.in_use():
                outputs = self.net.get_output_for(*inputs, return_as_list=True, **kwargs)
        else:
            split = [[None] * num_gpus if x is None else tf.split(x, num_gpus) for x in inputs]
            parts = []
            for gpu, gpu_inputs in enumerate(zip(*split, strict=True)):
                with tf.device(f"/GPU:{gpu}"):
                    parts.append(self.net.get_output_for(*gpu_inputs, return_as_list=True, **kwargs))
            outputs = [tf.concat(part, axis=0) for part in zip(*parts, strict=True)]
        return _transform(output_transform, outputs)


_unknown_arguments: set[str] = set()  # of which users were warned


def warn_of_unknown_arguments(owner: str, unknown: Mapping[str, str]) -> None:
    """Warns once of each argument that a network does not know. unknown: what may have been meant, by name."""
    for name, close in unknown.items():
        if name not in _unknown_arguments:
            _unknown_arguments.add(name)
            warnings.warn(f"{owner}: unknown argument {name!r} is ignored{close}", stacklevel=5)


def known_arguments(owner: str, model_class: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments that networks of a class take, when they are built or called.

    The official networks ignore others; so do these, with a warning.
    """
    ignored = model_class.ignored_arguments(kwargs)
    warn_of_unknown_arguments(owner, ignored)
    return {name: value for name, value in kwargs.items() if name not in ignored}


def _numbers(array: Any) -> np.ndarray:
    """An array of numbers; those in texts and among Python's objects become float32, as TensorFlow 1 fed them."""
    array = np.asarray(array)
    return array.astype(np.float32) if array.dtype.kind in "OSU" and array.ndim else array


def _batches(arrays: list[np.ndarray | None], minibatch_size: int) -> Iterable[list[tf.Tensor | None]]:
    """Tensors of each minibatch.

    What goes to a GPU waits for all that it was given before, so what is small goes before anything is computed.
    """
    num_items = len(next(array for array in arrays if array is not None))
    batches = (
        [None if array is None else tf.constant(array[begin : begin + minibatch_size]) for array in arrays]
        for begin in range(0, num_items, minibatch_size)
    )
    return list(batches) if sum(array.nbytes for array in arrays if array is not None) <= _SMALL else batches


def without_nothing(inputs: Sequence[Any], net: Any) -> list[Any]:
    """Inputs of a network with None in place of labels that are none.

    Those are lists of None, and for a network without labels whatever is empty: `[]`, zeros `[1, 0]` or `[N, 0]`.
    """
    shapes = net.input_shapes[1 : len(inputs)]
    return [*inputs[:1], *(None if _is_none(x, shape) else x for x, shape in zip(inputs[1:], shapes, strict=True))]


def _is_none(labels: Any, shape: Sequence[int | None]) -> bool:
    items = labels.tolist() if isinstance(labels, np.ndarray) and labels.dtype == object else labels
    if items is None or (isinstance(items, (list, tuple)) and items and all(item is None for item in items)):
        return True
    sizes = labels.shape if hasattr(labels, "shape") else np.shape(labels)
    return 0 in shape and 0 in tuple(sizes)


def with_plain_scalars(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments with Python's numbers in place of NumPy's, and of arrays [] of one number."""
    arrays = (np.generic, np.ndarray)
    return {key: x.item() if isinstance(x, arrays) and x.ndim == 0 else x for key, x in kwargs.items()}


def _split_fed(kwargs: dict[str, Any], net: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Divides arguments into those compiled in and those fed, so that another psi needs no new compilation."""
    fed = {}
    for key in kwargs.keys() & net.call_arguments():
        value = kwargs[key]
        if isinstance(value, (int, float)) and value not in (0, 1):  # bools are 0 and 1
            fed[key] = tf.constant(value, tf.float32)
        elif isinstance(value, (np.ndarray, list)):
            fed[key] = tf.nest.map_structure(tf.constant, value)
        elif tf.is_tensor(value):
            fed[key] = value
    return {key: value for key, value in kwargs.items() if key not in fed}, fed


def _transform(transform: dict[str, Any] | None, tensors: list) -> list:
    if transform is None:
        return tensors
    kwargs = dict(transform)
    func = kwargs.pop("func")
    func = util.get_obj_by_name(func) if isinstance(func, str) else func
    result = func(*tensors, **kwargs)
    return list(result) if isinstance(result, (list, tuple)) else [result]


def frozen(value: Any) -> Any:
    """A hashable stand-in for arguments, equal where they are: containers and arrays by content, others as they are."""
    if isinstance(value, dict):
        return "dict", *((key, frozen(value[key])) for key in sorted(value))
    if isinstance(value, (list, tuple)):
        return "list", *map(frozen, value)
    if isinstance(value, (np.ndarray, np.generic)):
        return "array", value.shape, value.dtype.str, value.tobytes()
    return (type(value), value) if isinstance(value, (bool, int, float, str, type(None))) else _ById(value)


class _ById:
    """An object that is equal to itself only, and stays alive as long as its key."""

    def __init__(self, value: Any):
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ById) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


def check_gpus(num_gpus: int, minibatch_size: int) -> None:
    """Raises ValueError unless there are so many GPUs, among which a minibatch can be divided."""
    if num_gpus == 1:
        return
    implementation.check_one_device(num_gpus)
    available = len(tf.config.list_logical_devices("GPU"))
    if not 1 <= num_gpus <= available:
        raise ValueError(f"num_gpus={num_gpus}: this machine has {available} GPUs for TensorFlow")
    if minibatch_size % num_gpus:
        raise ValueError(f"minibatch size {minibatch_size} must be a multiple of num_gpus={num_gpus}")
