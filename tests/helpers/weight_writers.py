"""Writes the files that weights of metric networks come in: official pickles, frozen graphs, and both kinds of .pth.

Only tests need them. Everything is written without NVIDIA's code and without PyTorch; the files name the classes of
both, as the real ones do.
"""

import functools
import io
import pickle
import struct
import tarfile
import types
import zipfile
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

# ----------------------------------------------------------------------------
# Pickles that name classes which do not exist here.


@dataclass(frozen=True)
class _Name:
    module: str
    name: str


@functools.cache  # pickles write a second use of the same object as a reference
def Name(module, name):
    """A class or function, written by name only."""
    return _Name(module, name)


@dataclass
class Call:
    """An object that is made by a call: `func(*args)`, then its state is set."""

    func: _Name
    args: tuple
    state: object = None


@dataclass
class Instance:
    """An object of a class, with its state."""

    cls: _Name
    state: object


@dataclass
class Persistent:
    """An object outside of the pickle."""

    pid: tuple


class Pickler(pickle._Pickler):
    """Python's pickler, for the classes above, and with the names that NumPy 1 had."""

    dispatch = dict(pickle._Pickler.dispatch)

    def persistent_id(self, obj):
        return obj.pid if isinstance(obj, Persistent) else None

    def save_global(self, obj, name=None):
        if isinstance(obj, _Name):
            module, name = obj.module, obj.name
        else:
            module, name = obj.__module__.replace("numpy._core", "numpy.core"), name or obj.__qualname__
        if self.proto >= 4:
            self.save(module)
            self.save(name)
            self.write(pickle.STACK_GLOBAL)
        else:
            self.write(pickle.GLOBAL + f"{module}\n{name}\n".encode())
        self.memoize(obj)

    def _save_type(self, obj):
        self.save_global(obj)

    def save_set(self, obj):
        """As protocols 4 and 5 write them; before, as a call with the names of Python 3."""
        if self.proto >= 4:
            return super().save_set(obj)
        return self._build(obj, Name("builtins", "set"), (list(obj),), pickle.REDUCE, None)

    def _save_call(self, obj):
        self._build(obj, obj.func, obj.args, pickle.REDUCE, obj.state)

    def _save_instance(self, obj):
        self._build(obj, obj.cls, (), pickle.NEWOBJ, obj.state)

    def _build(self, obj, first, args, opcode, state):
        self.save(first)
        self.save(args)
        self.write(opcode)
        self.memoize(obj)
        if state is not None:
            self.save(state)
            self.write(pickle.BUILD)

    dispatch[_Name] = save_global
    dispatch[set] = save_set
    dispatch[type] = _save_type
    dispatch[types.FunctionType] = save_global
    dispatch[Call] = _save_call
    dispatch[Instance] = _save_instance


def dumps(obj, protocol=4):
    stream = io.BytesIO()
    Pickler(stream, protocol).dump(obj)
    return stream.getvalue()


# ----------------------------------------------------------------------------
# Official pickles.


def official_network(
    name, variables, func_name, source="", static_kwargs=None, version=4, module="dnnlib.tflib.network", components=None
):
    """A network for `dumps`. variables: dict, or list of pairs. components: dict of such networks."""
    pairs = [(key, np.asarray(value)) for key, value in dict(variables).items()]
    state = {
        "version": version,
        "name": name,
        "static_kwargs": dict(static_kwargs or {}),
        "components": dict(components or {}),
        "build_module_src": source,
        "build_func_name": func_name,
        "variables": [(key, value[()] if value.ndim == 0 else value) for key, value in pairs],
    }
    if version == 2:
        del state["components"]
    if version == 5:
        state.update(input_shapes=[[None, 3]], output_shapes=[[None]], input_names=["images_in"], output_names=["out"])
    return Instance(Name(module, "Network"), state)


def write_official_pickle(
    path,
    name,
    variables,
    func_name,
    source="",
    static_kwargs=None,
    version=4,
    module="dnnlib.tflib.network",
    components=None,
    protocol=4,
):
    """A pickle of one network, as the official code writes it (StyleGAN: version 3, StyleGAN2: 4, ADA: 5).

    ProGAN: version 2, module 'tfutil', protocol 2.
    """
    net = official_network(name, variables, func_name, source, static_kwargs, version, module, components)
    _write(path, dumps(net, protocol))


# ----------------------------------------------------------------------------
# Frozen graphs.


def frozen_graph(arrays, others=(), producer=8):
    """A GraphDef of 2015: a Const for each array (kept as bytes), and `others`: NodeDefs or (name, op, inputs)."""
    import tensorflow as tf

    graph = tf.compat.v1.GraphDef()
    graph.versions.producer = producer
    for name, value in dict(arrays).items():
        node = graph.node.add(name=name, op="Const")
        value = np.asarray(value)
        node.attr["dtype"].type = tf.dtypes.as_dtype(value.dtype).as_datatype_enum
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
    for item in others:
        if isinstance(item, tuple):
            graph.node.add(name=item[0], op=item[1], input=item[2])
        else:
            graph.node.add().CopyFrom(item)
    return graph.SerializeToString()


def write_frozen_graph(path, arrays, others=(), producer=8):
    _write(path, frozen_graph(arrays, others, producer))


def write_frozen_graph_tgz(path, arrays, others=(), member="classify_image_graph_def.pb"):
    """The archive the graph comes in, with other files beside it."""
    with tarfile.open(path, "w:gz") as archive:
        for name, data in ((member, frozen_graph(arrays, others)), ("LICENSE", b"text"), ("cropped_panda.jpg", b"x")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


# ----------------------------------------------------------------------------
# Files of torch.save.

_STORAGE_NAMES = {"f4": "Float", "f8": "Double", "f2": "Half", "i8": "Long", "i4": "Int", "i2": "Short", "i1": "Char"}
_STORAGE_NAMES |= {"u1": "Byte", "b1": "Bool"}
MAGIC = 0x1950A86A20F9469CFC6C


@dataclass(eq=False)
class Storage:
    """The data of tensors: a 1-D array. kind: name of its type, if not that of the array ('BFloat16')."""

    data: np.ndarray
    kind: str | None = None

    @property
    def type(self):
        return Name("torch", (self.kind or _STORAGE_NAMES[self.data.dtype.str[1:]]) + "Storage")


@dataclass(eq=False)
class Tensor:
    """A strided view. rebuild: 'v2', 'v1' (PyTorch 0.1 to 0.3)."""

    storage: Storage
    offset: int
    size: tuple
    stride: tuple
    rebuild: str = "v2"


@dataclass(eq=False)
class Parameter:
    """A tensor that is trained. old: as PyTorch 0.1 wrote it."""

    data: Tensor | np.ndarray
    old: bool = False


class _TorchObjects:
    """Turns arrays, tensors and parameters of an object into what `Pickler` writes."""

    def __init__(self, legacy, inside=False):
        self.legacy = legacy
        self.inside = inside  # storages are inside of the pickle
        self.storages = []

    def convert(self, obj):
        if isinstance(obj, (np.ndarray, np.generic)):
            value = np.ascontiguousarray(obj).reshape(np.shape(obj))
            strides = tuple(n // value.itemsize for n in value.strides)
            return self.convert(Tensor(Storage(value.reshape(-1)), 0, value.shape, strides))
        if isinstance(obj, Tensor):
            args = (self._storage(obj.storage), obj.offset, obj.size, obj.stride)
            if obj.rebuild == "v1":
                return Call(Name("torch._utils", "_rebuild_tensor"), args)
            return Call(Name("torch._utils", "_rebuild_tensor_v2"), (*args, False, OrderedDict()))
        if isinstance(obj, Parameter):
            data = self.convert(obj.data)
            if obj.old:
                return Call(Name("torch.nn.parameter", "Parameter"), (data,), (True, False, OrderedDict()))
            return Call(Name("torch._utils", "_rebuild_parameter"), (data, True, OrderedDict()))
        if isinstance(obj, OrderedDict):
            converted = OrderedDict((key, self.convert(value)) for key, value in obj.items())
            converted.__dict__.update(obj.__dict__)  # the versions of modules
            return converted
        if isinstance(obj, dict):
            return {key: self.convert(value) for key, value in obj.items()}
        if isinstance(obj, (list, tuple)):
            return type(obj)(self.convert(value) for value in obj)
        if isinstance(obj, Call):
            return Call(obj.func, self.convert(obj.args), obj.state)
        return obj

    def _storage(self, storage):
        if storage not in self.storages:
            self.storages.append(storage)
        if self.inside:
            return Call(Name("torch.storage", "_load_from_bytes"), (storage_bytes(storage),))
        index = self.storages.index(storage)
        pid = ("storage", storage.type, self.key(index), "cpu", len(storage.data))
        return Persistent((*pid, None) if self.legacy else pid)

    def key(self, index):
        return str(94000000000000 + 64 * index) if self.legacy else str(index)


def _state_dict(obj):
    """A state dict as modules give it: ordered, with the versions of its modules as an attribute."""
    if type(obj) is not dict or not all(isinstance(value, (np.ndarray, Tensor, Parameter)) for value in obj.values()):
        return obj
    result = OrderedDict(obj)
    result._metadata = OrderedDict({"": {"version": 1}})
    return result


_SYSTEM = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}


def storage_bytes(storage):
    """A storage alone, as it is inside of other pickles."""
    pid = ("storage", storage.type, "94000000000000", "cpu", len(storage.data), None)
    parts = [dumps(part, 2) for part in (MAGIC, 1001, _SYSTEM, Persistent(pid), [pid[2]])]
    return b"".join([*parts, struct.pack("<q", len(storage.data)), storage.data.tobytes()])


def pickle_of_modules(obj, protocol=3):
    """A plain pickle with tensors in it, as NVIDIA's repositories write them."""
    return dumps(_TorchObjects(legacy=True, inside=True).convert(obj), protocol)


def pth_legacy(obj, protocol=2):
    objects = _TorchObjects(legacy=True)
    converted = objects.convert(_state_dict(obj))
    keys = sorted(objects.key(index) for index in range(len(objects.storages)))
    parts = [dumps(part, protocol) for part in (MAGIC, 1001, _SYSTEM, converted, keys)]
    by_key = {objects.key(index): storage for index, storage in enumerate(objects.storages)}
    for key in keys:
        parts += [struct.pack("<q", len(by_key[key].data)), by_key[key].data.tobytes()]
    return b"".join(parts)


def pth_zip(obj, folder="archive", protocol=2, big_endian=False, others=()):
    """others: pairs of a name and the bytes of further members."""
    objects = _TorchObjects(legacy=False)
    members = [("data.pkl", dumps(objects.convert(_state_dict(obj)), protocol))]
    members.append(("byteorder", b"big" if big_endian else b"little"))
    for index, storage in enumerate(objects.storages):
        data = storage.data.byteswap() if big_endian else storage.data
        members.append((f"data/{objects.key(index)}", data.tobytes()))
    members += [("version", b"3\n"), *others]
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members:
            info = zipfile.ZipInfo(f"{folder}/{name}")
            begin = stream.tell() + 30 + len(info.filename) + 4
            padding = -begin % 64  # PyTorch aligns data so that it can be mapped
            info.extra = b"FB" + struct.pack("<H", padding) + b"Z" * padding
            archive.writestr(info, data)
    return stream.getvalue()


def write_pth_legacy(path, state_dict, protocol=2):
    """As torch.save wrote until PyTorch 1.5. Values: arrays, `Tensor`, `Parameter`, or any nesting of them."""
    _write(path, pth_legacy(state_dict, protocol))


def write_pth_zip(path, state_dict, protocol=2, **kwargs):
    """As torch.save writes since PyTorch 1.6. See `write_pth_legacy`, `pth_zip`."""
    _write(path, pth_zip(state_dict, protocol=protocol, **kwargs))


def _write(path, data):
    with open(path, "wb") as file:
        file.write(data)
