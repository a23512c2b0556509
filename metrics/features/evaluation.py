"""What the metrics of one network share: the generator, the data set, metric networks, images and their features."""

import gc
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from dnnlib.download import default_cache_dir
from dnnlib.errors import UserError
from dnnlib.pictures import WHITE
from dnnlib.tflib import network_report
from dnnlib.util import EasyDict
from training.run_folder.options_file import load_for_data

from .batches import BatchFunction, fill
from .feature_file import RowFile, file_label, in_cache, key_of
from .image_features import GeneratedImages, ImagePass, RealImages
from .samples import Samples


class Request(NamedTuple):
    """Features that a metric needs.

    images: 'generated'; 'real': of the data set in its order, again and again, mirrored as in training; 'each real':
    of the data set, each image once and not mirrored. network: official name of a metric network, or one itself.
    count: how many; of 'each real', how many at most (None: all). minibatch_per_gpu: images on a device at once.
    """

    images: str
    network: Any
    count: int | None
    minibatch_per_gpu: int


@dataclass
class Evaluating:
    """How metrics are computed, whatever the network.

    seed: of latents, labels and noise. num_gpus: that share the work. logical_cpus: rehearse that on parts of the CPU.
    minibatch_size: images per device at once, None: what the metric says. metric_networks: folder with files of metric
    networks, None: official URLs. cache_dir: None: the default. offline: no downloads. matte: red, green and blue of
    the colour that images with transparency are laid over, 0 to 255.
    """

    seed: int = 0
    num_gpus: int = 1
    logical_cpus: int | None = None
    minibatch_size: int | None = None
    metric_networks: str | None = None
    cache_dir: str | None = None
    offline: bool | None = None
    matte: Sequence[int] = WHITE
    _loaded: dict[str, Any] = field(default_factory=dict, repr=False)
    _spare: tuple[Any, dict[Any, BatchFunction]] | None = field(default=None, repr=False)

    def network(self, name: Any) -> Any:
        """A metric network by its official name, loaded once; anything but a name is returned as it is.

        Raises UserError if it cannot be had.
        """
        if not isinstance(name, str):
            missing = [field for field in ("name", "digest", "get_output_for") if not hasattr(name, field)]
            if missing:
                raise TypeError(f"{name!r} is no metric network: it has no {', '.join(missing)}")
            return name
        if name not in self._loaded:
            from metrics.nets import loading

            download = {"cache_dir": self.cache_dir, "offline": self.offline}
            self._loaded[name] = loading.load(name, self.metric_networks, **download)
        return self._loaded[name]

    def describe(self, names: Iterable[Any]) -> dict[str, dict[str, str]]:
        """Where metric networks came from, and their digests, by name."""
        networks = [self.network(name) for name in names]
        return {net.name: {"source": getattr(net, "source", ""), "digest": net.digest} for net in networks}

    @cached_property
    def devices(self) -> list[str]:
        """Names of the devices to compute on. With `logical_cpus`, ask before TensorFlow is used. Raises UserError."""
        from dnnlib.tflib.devices import device_names

        return device_names(self.num_gpus, self.logical_cpus)

    def take(self, Gs: Any) -> tuple[Any, dict[Any, BatchFunction]]:
        """A generator that computes what Gs does, and functions of it that are compiled, by what they do.

        It is the one that was given back last, with other weights, if the two differ in nothing else: at the snapshots
        of a training, nothing is compiled again.
        """
        spare, self._spare = self._spare, None
        if spare is None or _kind_of(spare[0]) != _kind_of(Gs):
            return Gs, {}
        spare[0].copy_vars_from(Gs)
        return spare

    def give_back(self, Gs: Any, functions: dict[Any, BatchFunction]) -> None:
        """Takes back a generator that nobody measures any more, with what has been compiled."""
        self._spare = Gs, functions

    @property
    def folder(self) -> Path:
        """Where features are kept."""
        return Path(os.path.expanduser(self.cache_dir or default_cache_dir())) / "metrics"


def _kind_of(net: Any) -> Any:
    """All of a network but the values of its variables."""
    return type(net.model), net.name, net.static_kwargs, net.build_kwargs, net.source_format


class DataSource(NamedTuple):
    """Where the real images are: the arguments of `training.dataset.load_dataset`, and whether they are mirrored.

    mirror_augment: as in training; None: not known. of_training: what the network was trained with, as
    `Dataset.describe` says it; None: not known.
    """

    data_dir: str | None = None
    dataset_args: Mapping[str, Any] | None = None
    mirror_augment: bool | None = None
    of_training: str | None = None

    def or_of_run(self, run_dir: str | None) -> "DataSource":
        """The same with what it lacks from the options of a training, if there is one. Raises UserError."""
        data_dir, dataset_args, mirror_augment, _ = self
        if run_dir is not None and (dataset_args is None or mirror_augment is None):
            options = load_for_data(run_dir)
            data_dir = options.data_dir if data_dir is None else data_dir
            dataset_args = {**options.dataset_args, "shuffle_mb": 0} if dataset_args is None else dataset_args
            mirror_augment = bool(options.get("mirror_augment")) if mirror_augment is None else mirror_augment
        return DataSource(data_dir, EasyDict(dataset_args or {}), mirror_augment, self.of_training)

    def open(self, with_labels: bool) -> Any:
        """Opens the data set. with_labels: with all labels, unless the arguments say how many. Raises UserError."""
        from training.data import dataset

        if not self.dataset_args:
            raise UserError("needs a data set; give --dataset")
        in_order, labels = {"shuffle_mb": 0}, {"max_label_size": "full"} if with_labels else {}
        args = {**labels, **self.dataset_args, **in_order}
        args.pop("max_images", None)  # of a training: it is measured against all images, as officially
        found = dataset.load_dataset(data_dir=self.data_dir, **args)
        if isinstance(found, dataset.Dataset):
            differs = self.of_training not in (None, found.describe())
            trained = f"; the network was trained with {self.of_training}" if differs else ""
            print(f"Real images: {found.describe()}{trained}.", file=sys.stderr)
        return found


@dataclass
class Evaluation:
    """One network beside one data set.

    Args:
        name: of the network, for file names.
        Gs: the network; None: only the data set is looked at.
        Gs_kwargs: its arguments.
        open_dataset: opens the data set, with labels or without; called when it is needed.
        mirror_augment: whether the training mirrors its images.
        settings: how to compute.
        functions: those of Gs that are compiled, by what they do.
    """

    name: str
    Gs: Any
    Gs_kwargs: Mapping[str, Any]
    open_dataset: Callable[[bool], Any]
    mirror_augment: bool
    settings: Evaluating
    functions: dict[Any, BatchFunction] = field(default_factory=dict)
    _passes: dict[str, ImagePass] = field(default_factory=dict)
    _expected: list[Request] = field(default_factory=list)
    _row_files: list[RowFile] = field(default_factory=list)

    @classmethod
    def open(
        cls,
        network_pkl: str | None,
        data: DataSource,
        settings: Evaluating,
        Gs_kwargs: Mapping[str, Any] | None = None,
    ) -> "Evaluation":
        """Loads a network. Raises UserError, also for one with NaN or infinity in it.

        Args:
            network_pkl: path, URL or official name; None: only the data set is looked at.
            data: the data set, which is opened when it is needed.
            settings: how to compute.
            Gs_kwargs: arguments of the network; None: `is_validation=True`, which truncates nothing.
        """
        Gs, functions = None, {}
        if network_pkl is not None:
            import pretrained_networks

            download = settings.cache_dir, settings.offline
            Gs = pretrained_networks.load_generator(network_pkl, *download, anew=True)  # own metrics may change it
        kwargs = {"is_validation": True} if Gs_kwargs is None else Gs_kwargs
        if Gs is not None:
            if found := network_report.describe_not_finite({Gs.name: Gs}):
                raise UserError(f"{network_pkl}: {found}; there is nothing to measure")
            kwargs = {**Gs.model.rendering_kwargs(kwargs), **kwargs}
            Gs, functions = settings.take(Gs)
            gc.collect()  # networks refer to themselves, and Python looks for such things when it likes
        return cls(name_of(network_pkl), Gs, kwargs, data.open, bool(data.mirror_augment), settings, functions)

    @property
    def is_conditional(self) -> bool:
        """Whether the network takes labels."""
        return self.Gs is not None and self.Gs.num_inputs > 1 and bool(self.Gs.input_shapes[1][1])

    @cached_property
    def dataset(self) -> Any:
        """The data set, with labels if the network takes them. Raises UserError."""
        return self.open_dataset(self.is_conditional)

    @cached_property
    def generator(self) -> Samples:
        """The network with its random inputs. Raises UserError if its labels are not those of the data set."""
        labels = np.zeros([1, 0], np.float32)
        if self.is_conditional:
            labels, size = self.dataset._np_labels, self.Gs.input_shapes[1][1]
            if labels.shape[1] != size:
                raise UserError(
                    f"{self.name} takes labels of {size} columns, the data set has {labels.shape[1] or 'none'}; "
                    "metrics of a conditional network need the data set it was trained with"
                )
        return Samples(self.name, self.Gs, self.Gs_kwargs, labels, self.settings.seed, self.settings.devices)

    # ----------------------------------------------------------------------------
    # Features.

    def expect(self, requests: Iterable[Request]) -> None:
        """Announces what metrics will ask for, so that one pass over the images does for all of them.

        Raises UserError if that needs a data set and there is none.
        """
        requests = list(requests)
        if any(request.images != "generated" for request in requests):
            self.dataset  # noqa: B018, opened now
        self._expected += requests

    def features(self, request: Request) -> np.ndarray:
        """The features of a request, float32 [count, columns]. Raises UserError."""
        network = self.settings.network(request.network)
        for other in self._expected:
            if self._stream(other) == self._stream(request):
                self._pass(other).expect(self.settings.network(other.network), self._count(other))
        features = self._pass(request).features(network, self._count(request))
        if request.images == "real" and len(features) < request.count:
            print(f"The data set has {len(features)} images, fewer than {request.count}: they are counted again.")
            features = features[np.arange(request.count) % len(features)]
        return features

    def _stream(self, request: Request) -> str:
        if request.images == "generated":
            return "generated"
        assert request.images in ("real", "each real"), request
        return "mirrored reals" if request.images == "real" and self.mirror_augment else "reals"

    def _count(self, request: Request) -> int:
        """How many images to look at. Those that come again would have the same features, unless mirrored."""
        if self._stream(request) != "reals":
            return request.count
        return min(request.count or self.dataset.num_images, self.dataset.num_images)

    def _pass(self, request: Request) -> ImagePass:
        stream = self._stream(request)
        if stream not in self._passes:
            per_device = self.settings.minibatch_size or request.minibatch_per_gpu
            if stream == "generated":
                folder, functions = self.settings.folder, self.functions
                self._passes[stream] = GeneratedImages(
                    folder, self.generator, per_device, functions, self.settings.matte
                )
            else:
                name = os.path.basename(getattr(self.dataset, "tfrecord_dir", "") or type(self.dataset).__name__)
                images = self.dataset, name, stream == "mirrored reals"
                devices, matte = self.settings.devices, self.settings.matte
                self._passes[stream] = RealImages(self.settings.folder, *images, devices, per_device, matte)
        return self._passes[stream]

    def rows(
        self,
        label: str,
        columns: int,
        total: int,
        function: Callable[..., list[tf.Tensor]],
        inputs: Callable[[int, int], Sequence[np.ndarray]],
        minibatch_per_gpu: int,
        unit: str,
        facts: Mapping[str, Any],
    ) -> np.ndarray:
        """Rows float32 [total, columns] about samples of the generator, computed by parts and kept until `finish`.

        Args:
            label: what they are, for the name of the file.
            columns, total: shape.
            function: tensors [n, ...] -> list of one tensor [n, columns].
            inputs: (number of the first, how many) -> arrays [n, ...] for it.
            minibatch_per_gpu: rows on a device at once.
            unit: what a row stands for, in progress lines.
            facts: what the rows depend on besides the samples and the matte, in JSON.
        """
        generator = self.generator
        per_device = self.settings.minibatch_size or minibatch_per_gpu
        facts = {**facts, "label": label, "columns": columns}
        if generator.Gs.output_shape[1] == 4:  # other images do not depend on it, and what was kept of them is found
            facts["matte"] = list(self.settings.matte)
        key = key_of({**facts, "arguments": generator.facts["arguments"], "minibatch": per_device})
        if key not in self.functions:
            self.functions[key] = BatchFunction(function, generator.devices, per_device, generator.seed)
        batches = self.functions[key]

        def compute(_names: list[str], begin: int, count: int) -> list[np.ndarray]:
            return batches(begin, *inputs(begin, count))

        key = key_of({**generator.facts, **facts})
        with in_cache(self.settings.folder, key, label):
            file = RowFile(self.settings.folder / f"{file_label(self.name)}-{label}-{key}.rows", columns)
            self._row_files.append(file)
            try:
                fill({label: file}, {label: total}, batches.batch_size, compute, unit)
                return file.read(total)
            finally:
                file.close()

    def finish(self) -> None:
        """Deletes what was kept about the generator, which is not used any more. Features of real images stay."""
        for image_pass in self._passes.values():
            if isinstance(image_pass, GeneratedImages):
                image_pass.remove()
        for file in self._row_files:
            file.remove()
        if self.Gs is not None:
            self.settings.give_back(self.Gs, self.functions)


def name_of(network_pkl: str | None) -> str:
    """The name of a network's file without its ending, for result lines and file names."""
    return "None" if network_pkl is None else os.path.splitext(os.path.basename(network_pkl))[0]
