"""What all metrics have in common, and groups of metrics that run at the snapshots of a training.

A metric is a subclass of `MetricBase` whose `_evaluate` calls `_report_result`. Its module is imported when a group
that has it is made; one that is missing, or fails, is reported and leaves the others alone.
"""

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

import dnnlib
from dnnlib.errors import UserError
from dnnlib.files import append
from dnnlib.pictures import composited
from dnnlib.util import call_func_by_name, format_time
from metrics.features.evaluation import DataSource, Evaluating, Evaluation, Request, name_of

_NAME_WIDTH = 29  # of a network's name in result lines
_PROGRESS_SECONDS = 15.0
_OFFICIAL_CACHE = ".stylegan2-cache"
_OF_KERAS = "Exception encountered when calling"  # before the message itself


class Result(NamedTuple):
    """One number of a metric."""

    value: float
    suffix: str  # what follows the metric's name, e.g. '_precision'
    fmt: str  # for the result line, e.g. '%-10.4f'


@dataclass(eq=False, kw_only=True, init=False)
class MetricBase:
    """A metric of a network pickle. Subclasses implement `_evaluate`; those with arguments may be dataclasses.

    name: what it is called in results. official_numerics: compute as the official code does also where that is
    numerically weak; the metrics for which it makes a difference say what.
    """

    name: str
    official_numerics: bool = False
    _configured: ClassVar[DataSource] = DataSource()
    _configured_run_dir: ClassVar[str | None] = None

    def __init__(self, name: str, official_numerics: bool = False):
        self.name = name
        self.official_numerics = official_numerics
        self._reset()

    def __post_init__(self) -> None:
        self._reset()

    def configure(self, dataset_args: Mapping[str, Any] | None = None, run_dir: str | None = None) -> None:
        """Says what `run` takes where it is not told: scripts of StyleGAN2-ADA do so first.

        Args:
            dataset_args: as of `run`, or as there: `path` of a folder of tfrecords, `mirror_augment`.
            run_dir: as of `run`.
        """
        args = dict(dataset_args or {})
        mirror_augment = args.pop("mirror_augment", None)
        if "path" in args:
            args["tfrecord_dir"] = os.path.abspath(args.pop("path"))
        self._configured = DataSource(None, args or None, mirror_augment)
        self._configured_run_dir = run_dir

    def close(self) -> None:
        """Forgets the network, the data set and the results."""
        self._reset()

    def _reset(
        self,
        network_pkl: str | None = None,
        run_dir: str | None = None,
        data_dir: str | None = None,
        dataset_args: Mapping[str, Any] | None = None,
        mirror_augment: bool | None = None,
    ) -> None:
        self._network_pkl = network_pkl
        self._evaluation: Any = None
        self._data_source = DataSource(data_dir, dataset_args, mirror_augment).or_of_run(run_dir)
        self._data_dir, self._dataset_args, self._mirror_augment, _ = self._data_source
        self._dataset_obj: Any = None
        self._results: list[Result] = []
        self._eval_time = 0.0
        self._last_progress = time.monotonic()
        self._phase: tuple[str, float, int] | None = None  # status, time and count at its start

    def run(
        self,
        network_pkl: str | None,
        run_dir: str | None = None,
        data_dir: str | None = None,
        dataset_args: Mapping[str, Any] | None = None,
        mirror_augment: bool | None = None,
        num_gpus: int = 1,
        tf_config: Mapping[str, Any] | None = None,
        log_results: bool = True,
        Gs_kwargs: Mapping[str, Any] | None = None,
        settings: Evaluating | None = None,
        evaluation: Evaluation | None = None,
    ) -> None:
        """Computes the metric.

        Args:
            network_pkl: path, URL or official name; None for a metric of the data set alone.
            run_dir: folder of the training: the data set is that of its training_options.json, unless given here;
                results are added to `metric-<name>.txt` and `metric-<name>.jsonl` in it.
            data_dir: root folder of data sets.
            dataset_args: arguments of `training.dataset.load_dataset`.
            mirror_augment: whether the training mirrors its images.
            num_gpus: devices to use.
            tf_config: accepted for official callers; there are no sessions.
            log_results: print the result line, and add it to the files in run_dir.
            Gs_kwargs: arguments of the generator. None: `is_validation=True`, which truncates nothing.
            settings: seed, minibatch size, where metric networks are; None: `Evaluating(num_gpus=num_gpus)`.
            evaluation: what several metrics of one network share; None: one for this metric.

        Raises:
            UserError: a network or the data set cannot be read. Metrics raise other things, too.
        """
        run_dir = self._configured_run_dir if run_dir is None else run_dir
        dataset_args = self._configured.dataset_args if dataset_args is None else dataset_args
        mirror_augment = self._configured.mirror_augment if mirror_augment is None else mirror_augment
        self._reset(network_pkl, run_dir, data_dir, dataset_args, mirror_augment)
        start = time.monotonic()
        own = evaluation is None
        self._evaluation = evaluation or Evaluation.open(
            network_pkl, self._data_source, settings or Evaluating(num_gpus=num_gpus), Gs_kwargs
        )
        if own:
            self._evaluation.expect(self.requests())
        num_gpus, Gs_kwargs = self._evaluation.settings.num_gpus, self._evaluation.Gs_kwargs
        self._evaluate(self._evaluation.Gs, Gs_kwargs=dict(Gs_kwargs), num_gpus=num_gpus)
        self._eval_time = time.monotonic() - start
        if own:
            self._evaluation.finish()
        if log_results:
            line = self.get_result_str().strip()
            print(line)
            if run_dir is not None:
                try:
                    self._add_to_files(run_dir, line)
                except OSError as error:  # the value is known, and printed
                    print(f"{run_dir}: {self.name} could not be added to files: {error.strerror}", file=sys.stderr)

    def _add_to_files(self, run_dir: str, line: str) -> None:
        path = os.path.join(run_dir, f"metric-{self.name}")
        append(path + ".txt", f"{line}\n".encode("utf-8", "backslashreplace"))
        record = {
            "results": self.get_results(),
            "metric": self.name,
            "total_time": self._eval_time,
            "total_time_str": format_time(self._eval_time),
            "num_gpus": self._evaluation.settings.num_gpus,
            "seed": self._evaluation.settings.seed,
            "Gs_kwargs": self._evaluation.Gs_kwargs,
            "official_numerics": self.official_numerics,
            "mirror_augment": bool(self._mirror_augment),
            "network_pkl": self._network_pkl,
            "data_dir": self._data_dir,
            "dataset_args": self._dataset_args,
            "arguments": {key: value for key, value in vars(self).items() if key[0] != "_"},
            "metric_networks": self._evaluation.settings.describe(self.networks()),
            "minibatch_size": self._evaluation.settings.minibatch_size,
            "matte": self._evaluation.settings.matte,
            "timestamp": time.time(),
        }
        append(path + ".jsonl", f"{json.dumps(record, default=repr)}\n".encode())

    def get_result_str(self) -> str:
        """The result line: the network's name, the time that it took, names and values."""
        name = name_of(self._network_pkl)
        if len(name) > _NAME_WIDTH:
            name = "..." + name[3 - _NAME_WIDTH :]
        line = f"{name:<30} time {format_time(self._eval_time):<12}"
        return line + "".join(f" {self.name}{suffix} {fmt % value}" for value, suffix, fmt in self._results)

    def get_results(self) -> dict[str, float]:
        """The values by name: {'pr50k3_precision': ..., 'pr50k3_recall': ...}."""
        return {self.name + result.suffix: result.value for result in self._results}

    def update_autosummaries(self) -> None:
        """Hands the values to TensorBoard, as `Metrics/<name>`."""
        from dnnlib.tflib.autosummary import autosummary

        for name, value in self.get_results().items():
            autosummary(f"Metrics/{name}", value)

    # ----------------------------------------------------------------------------
    # For subclasses.

    def requests(self) -> list[Request]:
        """Features that `_evaluate` will ask for, so that several metrics share a pass over the images."""
        return []

    def networks(self) -> list[Any]:
        """Official names of the metric networks that `_evaluate` needs, or networks themselves."""
        return [request.network for request in self.requests()]

    def _evaluate(self, Gs: Any, Gs_kwargs: dict[str, Any], num_gpus: int) -> None:
        """Computes the metric of a generator (None: without network) and calls `_report_result`."""
        raise NotImplementedError

    def _features(self) -> list[np.ndarray]:
        """The features of each of `requests()`, float32 [count, columns]."""
        return [self._evaluation.features(request) for request in self.requests()]

    def _report_result(self, value: float, suffix: str = "", fmt: str = "%-10.4f") -> None:
        """Adds a number to the results. Raises UserError unless it is finite."""
        if not np.isfinite(value):
            raise UserError(f"{self.name}{suffix} is {value}; has the network diverged?")
        self._results.append(Result(float(value), suffix, fmt))

    def _report_progress(self, done: int, total: int, status: str = "") -> None:
        """Says on stderr how far the metric is, how fast, and how long it will take, now and then."""
        now = time.monotonic()
        if self._phase is None or self._phase[0] != status or done < self._phase[2]:
            self._phase = status, now, done
        if now - self._last_progress >= _PROGRESS_SECONDS:
            self._last_progress = now
            _, start, first = self._phase
            rate = (done - first) / max(now - start, 1e-9)
            ahead = f", {rate:.2f}/s, {format_time((total - done) / rate)} left" if rate else ""
            print(f"{self.name}: {done}/{total} {status}".rstrip() + ahead, file=sys.stderr)
            if dnnlib.RunContext.is_in_progress():
                dnnlib.RunContext.get().update()

    # ----------------------------------------------------------------------------
    # For metrics written for the official code.

    def _get_cache_file_for_reals(self, extension: str = "pkl", **kwargs: Any) -> str:
        """The official path for what is kept about real images, which `kwargs` changes. Its folder is made."""
        kwargs = {**self._dataset_args, **kwargs}
        arguments = {"metric_name": self.name, "mirror_augment": self._mirror_augment, **kwargs}
        digest = hashlib.md5(repr(sorted(arguments.items())).encode()).hexdigest()
        data = self._dataset_args.get("tfrecord_dir") or self._dataset_args.get("h5_file") or ""
        data = os.path.splitext(os.path.basename(data))[0]
        os.makedirs(_OFFICIAL_CACHE, exist_ok=True)
        return os.path.join(_OFFICIAL_CACHE, f"{digest}-{self.name}-{data}.{extension}")

    def _get_dataset_obj(self) -> Any:
        """The data set, opened at first use."""
        if self._dataset_obj is None:
            shared = self._evaluation is not None
            self._dataset_obj = self._evaluation.dataset if shared else self._data_source.open(False)
        return self._dataset_obj

    def _iterate_reals(self, minibatch_size: int) -> Iterator[np.ndarray]:
        """Images of the data set in their order, again and again: uint8 [N, C, H, W], C being 1 or 3."""
        from training import misc

        dataset = self._get_dataset_obj()
        while True:
            images, _labels = dataset.get_minibatch_np(minibatch_size)
            yield self._opaque(misc.apply_mirror_augment(images) if self._mirror_augment else images)

    def _iterate_fakes(self, Gs: Any, minibatch_size: int, num_gpus: int) -> Iterator[np.ndarray]:
        """Generated images, again and again, as `_iterate_reals`. Latents and labels are drawn from `np.random`."""
        from dnnlib import tflib

        transform = {"func": tflib.convert_images_to_uint8}
        kwargs = {"output_transform": transform, "is_validation": True, "num_gpus": num_gpus, "assume_frozen": True}
        tflib.kept.weights_changed()  # before the metric
        while True:
            latents = np.random.randn(minibatch_size, *Gs.input_shape[1:])
            labels = self._get_dataset_obj().get_random_labels_np(minibatch_size) if self._is_conditional() else None
            yield self._opaque(Gs.run(latents, labels, **kwargs))

    def _opaque(self, images: np.ndarray) -> np.ndarray:
        return composited(images, self._evaluation.settings.matte) if images.shape[1] == 4 else images

    def _is_conditional(self) -> bool:
        return self._evaluation is not None and self._evaluation.is_conditional

    def _get_random_labels_tf(self, minibatch_size: int) -> Any:
        """Labels [minibatch_size, label_size] of random images of the data set."""
        return self._get_dataset_obj().get_random_labels_tf(minibatch_size)


class MetricGroup:
    """Several metrics that run one after the other. What goes wrong in one of them is reported and does not raise.

    Args:
        metric_kwarg_list: one dict per metric: `func_name`, `name`, and its arguments.

    Attributes:
        metrics: those that can run in this version.
        failed: why metrics cannot run, or failed in the last run, by name.
    """

    def __init__(self, metric_kwarg_list: Iterable[Mapping[str, Any]]):
        self.metrics: list[MetricBase] = []
        self.failed: dict[str, str] = {}
        for kwargs in metric_kwarg_list:
            try:
                self.metrics.append(call_func_by_name(**kwargs))
            except (ImportError, AttributeError) as error:
                ours = str(kwargs.get("func_name")).startswith("metrics.")
                self.failed[str(kwargs.get("name"))] = "not available in this version" if ours else _reason(error)
            except Exception as error:
                self.failed[str(kwargs.get("name"))] = _reason(error)
        self._cannot_run = dict(self.failed)
        if self._cannot_run:
            reasons = ", ".join(f"{name} ({reason})" for name, reason in self._cannot_run.items())
            print(f"Metrics that cannot run: {reasons}. (--metrics=none asks for none.)")

    def run(
        self,
        network_pkl: str | None,
        run_dir: str | None = None,
        data_dir: str | None = None,
        dataset_args: Mapping[str, Any] | None = None,
        mirror_augment: bool | None = None,
        num_gpus: int = 1,
        tf_config: Mapping[str, Any] | None = None,
        log_results: bool = True,
        Gs_kwargs: Mapping[str, Any] | None = None,
        settings: Evaluating | None = None,
        of_training: str | None = None,
    ) -> None:
        """Runs every metric, with one pass over generated images for all of them.

        of_training: see `DataSource`. Other arguments as of `MetricBase.run`.
        """
        self.failed = {}
        for metric in self.metrics:
            metric.close()  # no results rather than old ones
        if self.metrics:
            try:
                data = DataSource(data_dir, dataset_args, mirror_augment, of_training).or_of_run(run_dir)
                settings = settings or Evaluating(num_gpus=num_gpus)
                evaluation = Evaluation.open(network_pkl, data, settings, Gs_kwargs)
                if evaluation.is_conditional:
                    evaluation.generator  # noqa: B018, finds out whether its labels are those of the data set
                self._run(evaluation, network_pkl, run_dir, *data[:3], log_results=log_results)
            except Exception as error:  # the network cannot be read: the same for all
                self._fail(self.metrics, error)
        self.failed |= self._cannot_run  # said when the group was made

    def _fail(self, metrics: Iterable[MetricBase], error: BaseException) -> None:
        names = [metric.name for metric in metrics]
        self.failed |= dict.fromkeys(names, _reason(error))
        print(f"metric{'s' if len(names) > 1 else ''} {', '.join(names)} failed: {_reason(error)}")

    def _run(self, evaluation: Evaluation, *args: Any, **kwargs: Any) -> None:
        for metric in self.metrics:
            try:  # before hours of work, and so that one pass over the images does for all metrics
                for network in metric.networks():
                    evaluation.settings.network(network)
                evaluation.expect(metric.requests())
            except Exception as error:
                self._fail([metric], error)
        for metric in self.metrics:
            if metric.name in self.failed:
                continue
            try:
                metric.run(*args, **kwargs, evaluation=evaluation)
            except (Exception, SystemExit) as error:
                metric.close()  # no results rather than some
                self._fail([metric], error)
        evaluation.finish()

    def get_result_str(self) -> str:
        """The result lines of the metrics that ran, joined."""
        return " ".join(metric.get_result_str() for metric in self.metrics if metric.name not in self.failed)

    def get_results(self) -> dict[str, float]:
        """The values of all metrics by name."""
        return {name: value for metric in self.metrics for name, value in metric.get_results().items()}

    def update_autosummaries(self) -> None:
        """Hands all values to TensorBoard."""
        for metric in self.metrics:
            metric.update_autosummaries()


def _reason(error: BaseException) -> str:
    """A message for users; of other errors the first line, with the kind of error unless that is clear."""
    if isinstance(error, UserError):
        return str(error)
    lines = [line for line in str(error).splitlines() if line.strip() and not line.startswith(_OF_KERAS)]
    text = (lines or [""])[0].strip()[:200]
    if isinstance(error, ImportError) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class DummyMetric(MetricBase):
    """Always 0: for tests, and for measuring what metrics cost besides themselves."""

    def _evaluate(self, Gs: Any, Gs_kwargs: dict[str, Any], num_gpus: int) -> None:
        self._report_result(0.0)
