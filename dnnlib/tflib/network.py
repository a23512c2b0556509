"""`Network`: the official StyleGAN2 network class, as a thin layer over a Keras model.

A network is found by the dotted name of its class (`func_name`), built with `static_kwargs`, and keeps everything the
official scripts use: `run`, `get_output_for`, `components`, `vars`, `clone`, pickling, and the rest. `Network.model` is
the Keras model itself.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from dnnlib import util
from dnnlib.errors import did_you_mean

from . import fork_pickles, global_names, kept, network_report, network_state, replicas
from .model_building import build_model, model_class_of, variable_shapes
from .network_run import NetworkRunner, frozen, known_arguments, with_plain_scalars, without_nothing
from .ops import variables
from .scope import GivenVariables, check_variables, tf_variables


class Network:
    """A network of the official code: `Network("G", func_name="training.networks_stylegan2.G_main", **kwargs)`.

    Attributes:
        name: name of the network, e.g. 'Gs'.
        model: the Keras model.
        static_kwargs: the arguments that the network was built with. `build_kwargs`: all of them, with what else a
            pickle's source declares.
        components: sub-networks by name (`mapping` and `synthesis` of a generator), themselves networks.
        vars: all variables (`tf.Variable`) by their official local name, in the official order. `own_vars`: those
            outside of the components. `trainables`: those that are trained.
        input_names, input_shapes, output_names, output_shapes: channels first, None for the minibatch axis.
            `input_shape`, `output_shape`: of the first. `num_inputs`, `num_outputs`: how many.
        source_format: 'pytorch' for networks that come from files of PyTorch, and their clones; else 'tensorflow'. The
            two have different customs of seeds and noise.
        augment_p: of a discriminator from a file of PyTorch, the probability of augmentation that it was last trained
            with; None where the file does not say.
    """

    source_format: str = "tensorflow"
    augment_p: float | None = None

    def __init__(self, name: str | None = None, func_name: Any = None, **static_kwargs: Any):
        """Builds a new network with random initial values.

        Args:
            name: name of the network; None is the name of the function.
            func_name: dotted name of a network class, or the class.
            static_kwargs: its arguments.

        Unknown arguments are ignored with a warning. Raises TypeError or ValueError for impossible ones.
        """
        model_class = model_class_of(func_name)
        name = model_class.__name__ if name is None else name
        static_kwargs = network_state.with_whole_counts(network_state.plain(static_kwargs))
        static_kwargs = known_arguments(name, model_class, static_kwargs)
        self._set(build_model(model_class, name, static_kwargs), static_kwargs, static_kwargs)
        global_names.register(self)

    def _set(
        self,
        model: Any,
        static_kwargs: dict[str, Any],
        build_kwargs: dict[str, Any],
        pickled: "network_state.NetworkState | None" = None,
    ) -> None:
        """Fills the fields from a model.

        build_kwargs: arguments to rebuild the model; more than static_kwargs where a pickle's source declares other
        defaults. pickled: the state that a pickle held, None for networks built here; it gives
        function name and source when the network is written again.
        """
        self.model = model
        self.name = model.name
        self.scope = model.name
        self.static_kwargs = util.EasyDict(static_kwargs)
        self.build_kwargs = dict(build_kwargs)
        self.pickled_state = None if pickled is None else pickled.without_variables()
        if pickled is not None:
            self.source_format, self.augment_p = pickled.source_format, pickled.augment_p
        self.vars = tf_variables(model.named_variables())
        self.own_vars = tf_variables(model.own_variables())
        self.trainables = OrderedDict((name, var) for name, var in self.vars.items() if var.trainable)
        self.var_global_to_local = OrderedDict((f"{self.name}/{name}", name) for name in self.vars)
        self.input_names, self.input_shapes = list(model.io_inputs), [list(s) for s in model.io_inputs.values()]
        self.output_names, self.output_shapes = list(model.io_outputs), [list(s) for s in model.io_outputs.values()]
        self.input_shape, self.output_shape = self.input_shapes[0], self.output_shapes[0]
        self.num_inputs, self.num_outputs = len(self.input_shapes), len(self.output_shapes)
        self._call_arguments = model.call_arguments()
        self._variants: dict[Any, Any] = {}
        self._runner = NetworkRunner(self)
        self.components = util.EasyDict()
        for key, component in model.components.items():
            net = object.__new__(Network)
            state = pickled.components.get(key) if pickled is not None else None
            kwargs = component.get_config()
            del kwargs["name"]
            net._set(component, kwargs if state is None else state.static_kwargs, kwargs, state)
            net.source_format = self.source_format
            self.components[key] = net

    # ------------------------------------------------------------------------
    # Running.

    def get_output_for(self, *in_expr: Any, return_as_list: bool = False, **dynamic_kwargs: Any) -> Any:
        """The outputs for tensors: differentiable, eager or inside a `tf.function`.

        Args:
            in_expr: the inputs in order; labels may be None or left out, which is all zeros.
            return_as_list: return a list even for a single output.
            dynamic_kwargs: any argument of the network, for this call only.
        """
        if not 1 <= len(in_expr) <= self.num_inputs or in_expr[0] is None:
            raise ValueError(f"{self.name}: expected inputs {', '.join(self.input_names)}, got {len(in_expr)}")
        call_kwargs, build_kwargs = self._split_kwargs(dynamic_kwargs)
        outputs = self._variant(build_kwargs)(*without_nothing(in_expr, self), **call_kwargs)
        if return_as_list:
            return list(outputs) if isinstance(outputs, (tuple, list)) else [outputs]
        return outputs

    def prepare(self, **dynamic_kwargs: Any) -> None:
        """Builds what `get_output_for` needs for these arguments, which it would do itself when it is called first."""
        self._variant(self._split_kwargs(dynamic_kwargs)[1])

    def run(self, *in_arrays: Any, **kwargs: Any) -> Any:
        """The outputs for NumPy arrays, as NumPy arrays, computed in minibatches. See `network_run`."""
        return self._runner.run(*in_arrays, **kwargs)

    def call_arguments(self) -> frozenset[str]:
        """Names of the arguments that each call of the model takes, besides its inputs."""
        return self._call_arguments

    def _split_kwargs(self, kwargs: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Divides arguments into those of the call and those that need a model built with them."""
        of_call = self.call_arguments()
        kwargs = known_arguments(self.name, type(self.model), kwargs)
        call_kwargs = with_plain_scalars({key: value for key, value in kwargs.items() if key in of_call})
        build_kwargs = network_state.plain({key: value for key, value in kwargs.items() if key not in of_call})
        return call_kwargs, self.model.effective_kwargs(build_kwargs) if build_kwargs else {}

    def _variant(self, build_kwargs: dict[str, Any]) -> Any:
        """The model with other arguments but the same variables."""
        if not build_kwargs:
            return self.model
        key = frozen(build_kwargs)
        if key not in self._variants:
            kwargs = {**self.build_kwargs, **build_kwargs}
            variables = self.model.named_variables()
            shapes = variable_shapes(type(self.model), kwargs)
            check_variables(f"{self.name} with {build_kwargs}", shapes, variables, all_used=False)
            self._variants[key] = build_model(type(self.model), self.name, kwargs, GivenVariables(variables))
        return self._variants[key]

    # ------------------------------------------------------------------------
    # Variables.

    def find_var(self, var_or_local_name: Any) -> Any:
        """The variable of a local name. A variable is returned as it is."""
        if not isinstance(var_or_local_name, str):
            return var_or_local_name
        if var_or_local_name not in self.vars:
            close = did_you_mean(var_or_local_name, self.vars)
            raise KeyError(f"{self.name} has no variable {var_or_local_name!r}{close}")
        return self.vars[var_or_local_name]

    def get_var_local_name(self, var_or_global_name: Any) -> str:
        """The local name of a variable, which is given itself or by its global name, such as 'Gs/dlatent_avg:0'."""
        if not isinstance(var_or_global_name, str):
            for name, variable in self.vars.items():
                if variable is var_or_global_name:
                    return name
            raise KeyError(f"{self.name} has no such variable: {var_or_global_name!r:.200}")
        name = var_or_global_name.removesuffix(":0")
        if name not in self.var_global_to_local:
            close = did_you_mean(name, self.var_global_to_local)
            raise KeyError(f"{self.name} has no variable with the global name {var_or_global_name!r}{close}")
        return self.var_global_to_local[name]

    def get_var(self, var_or_local_name: Any) -> np.ndarray:
        """The value of a variable."""
        return self.find_var(var_or_local_name).numpy()

    def set_var(self, var_or_local_name: Any, new_value: Any) -> None:
        """Gives a variable a new value."""
        variable = self.find_var(var_or_local_name)
        variable.assign(tf.cast(new_value, variable.dtype))
        kept.weights_changed()

    def copy_vars_from(self, src_net: "Network") -> None:
        """Copies the values of all variables that `src_net` has, too."""
        _copy(src_net.vars, self.vars)

    def copy_own_vars_from(self, src_net: "Network") -> None:
        """Like `copy_vars_from`, without the components."""
        _copy(src_net.own_vars, self.own_vars)

    def copy_trainables_from(self, src_net: "Network") -> None:
        """Like `copy_vars_from`, only what is trained."""
        _copy(src_net.trainables, self.trainables)

    def reset_vars(self) -> None:
        """Draws new initial values for all variables."""
        _copy(self._initial_values(), self.vars)

    def reset_own_vars(self) -> None:
        """Draws new initial values for the variables outside of the components."""
        _copy(self._initial_values(), self.own_vars)

    def reset_trainables(self) -> None:
        """Draws new initial values for what is trained."""
        _copy(self._initial_values(), self.trainables)

    def _initial_values(self) -> dict[str, Any]:
        """The variables of a new network like this one."""
        return build_model(type(self.model), self.name, self.build_kwargs).named_variables()

    # ------------------------------------------------------------------------
    # Other networks from this one.

    def clone(self, name: str | None = None, **new_static_kwargs: Any) -> "Network":
        """A network of its own with the same values; `new_static_kwargs` change or add arguments."""
        model_class = type(self.model)
        new_static_kwargs = known_arguments(self.name, model_class, network_state.plain(new_static_kwargs))
        build_kwargs = {**self.build_kwargs, **new_static_kwargs}
        if new_static_kwargs:
            model = build_model(model_class, name or self.name, build_kwargs)
            _copy(self.vars, tf_variables(model.named_variables()))
        else:
            values = {key: np.asarray(var.numpy()) for key, var in self.vars.items()}
            model = build_model(model_class, name or self.name, build_kwargs, GivenVariables(values))
        pickled = self.pickled_state
        if pickled is not None:
            pickled = pickled.with_kwargs(new_static_kwargs, model_class.declared_arguments())
        net = object.__new__(Network)
        net._set(model, {**self.static_kwargs, **new_static_kwargs}, build_kwargs, pickled)
        global_names.register(net)
        return self._descended(net)

    def __copy__(self) -> "Network":
        return self.clone()

    def __deepcopy__(self, memo: dict[int, Any]) -> "Network":
        memo[id(self)] = copy = self.clone()
        return copy

    def convert(self, new_func_name: Any, new_name: str | None = None, **new_static_kwargs: Any) -> "Network":
        """A network of another class with the same arguments, and the values of all variables of the same name."""
        net = Network(new_name or self.name, func_name=new_func_name, **{**self.static_kwargs, **new_static_kwargs})
        net.copy_vars_from(self)
        return self._descended(net)

    def _descended(self, net: "Network") -> "Network":
        """A network that was made from this one, with what is said about it besides its arguments and variables."""
        net.augment_p = self.augment_p
        for part in (net, *net.components.values()):
            part.source_format = self.source_format
        return net

    def setup_as_moving_average_of(
        self, src_net: "Network", beta: Any = 0.99, beta_nontrainable: Any = 0.0
    ) -> Callable[[], None]:
        """Returns a function (`tflib.run` calls it, too) that moves the variables towards those of `src_net`.

        beta: weight of the old value in each step, for what is trained; beta_nontrainable: for the rest. Numbers,
        tensors or variables.
        """

        common = [name for name in self.vars if name in src_net.vars]
        groups = [(beta, [name for name in common if name in self.trainables])]
        groups.append((beta_nontrainable, [name for name in common if name not in self.trainables]))

        def update() -> None:
            kept.weights_changed()
            for weight, names in groups:
                averages, values = ([replicas.copies(net.vars[name]) for name in names] for net in (self, src_net))
                weights = replicas.copies(weight)
                # On each device with its own copies, where there are several.
                for k, of_device in enumerate(zip(zip(*averages, strict=True), zip(*values, strict=True), strict=True)):
                    with tf.device(of_device[0][0].device):
                        variables.move_average(*of_device, weights[min(k, len(weights) - 1)])

        return update

    # ------------------------------------------------------------------------
    # Reports.

    def list_layers(self) -> list[tuple[str, list[int | None], list[Any]]]:
        """Layers in order: (name, output shape, trained variables)."""
        return [(name, shape, list(trained.values())) for name, shape, trained in network_report.list_layers(self)]

    def list_ops(self) -> list[str]:
        """Names of the layers: what there is in place of TensorFlow 1 graph nodes."""
        return [name for name, _shape, _vars in self.list_layers()]

    def print_layers(self, title: str | None = None, hide_layers_with_no_params: bool = False) -> None:
        """Prints the official table of layers, parameters, output and weight shapes."""
        print(network_report.format_layers(self, title, hide_layers_with_no_params))

    # ------------------------------------------------------------------------
    # Pickling.

    def __getstate__(self) -> dict[str, Any]:
        return network_state.to_dict(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        checked = network_state.from_dict(state)
        try:
            self._set_pickled(checked)
        except network_state.NetworkStateError:
            # Official pickles of metric networks name this class as well.
            metric_network = util.get_obj_by_name("metrics.nets.loading.of_state")(checked)
            if metric_network is None:
                raise
            self.__class__, self.__dict__ = type(metric_network), metric_network.__dict__

    @classmethod
    def from_state(cls, state: "network_state.NetworkState") -> "Network":
        """The network of a checked state.

        Every variable is compared at once. The Keras model is built when the network is first used, so that
        generating images with Gs does not wait for G and D.

        Raises:
            NetworkStateError, VariableMismatchError, TypeError, ValueError: a network that cannot be built.
        """
        net = object.__new__(cls)
        net._set_pickled(state)
        return net

    def _set_pickled(self, state: "network_state.NetworkState") -> None:
        state = fork_pickles.without_additions(state)
        plan = network_state.plan(state)
        model_class = model_class_of(plan.class_name)
        check_variables(f"network {state.name!r}", variable_shapes(model_class, plan.build_kwargs), plan.values)
        self.name = state.name
        self.source_format, self.augment_p = state.source_format, state.augment_p
        self._pending = state, plan
        global_names.register(self)
        if tf.distribute.has_strategy():  # variables belong to the strategy that is active now
            self._build_pending()

    def unbuilt(self) -> "tuple[network_state.NetworkState, network_state.BuildPlan] | None":
        """The state and plan of a network that was only read; None of one whose model is built."""
        return self.__dict__.get("_pending")

    def _build_pending(self) -> None:
        """Builds the model of a network that was only read. Safe in several threads, and when interrupted."""
        with _build_lock:
            pending = self.unbuilt()
            if pending is None:
                return
            state, plan = pending
            model_class = model_class_of(plan.class_name)
            model = build_model(model_class, self.name, plan.build_kwargs, GivenVariables(plan.values))
            self._set(model, state.static_kwargs, plan.build_kwargs, state)
            del self._pending

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # of Python's protocols, which do not concern the model
            raise AttributeError(name)
        self._build_pending()
        try:
            return self.__dict__[name]
        except KeyError:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}") from None

    def __repr__(self) -> str:
        return f"<Network {self.name}: {type(self.model).__name__}, {len(self.vars)} variables>"


_build_lock = threading.RLock()


def _copy(source: dict[str, Any], target: dict[str, Any]) -> None:
    shared = [name for name in target if name in source]
    wrong = [name for name in shared if tuple(target[name].shape) != tuple(source[name].shape)]
    if wrong:
        shapes = (f"  {name}: {list(source[name].shape)} -> {list(target[name].shape)}" for name in wrong)
        raise ValueError("Variables of different shapes cannot be copied:\n" + "\n".join(shapes))
    for name in shared:
        target[name].assign(tf.convert_to_tensor(source[name]))
    kept.weights_changed()
