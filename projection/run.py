"""A run of the projector: images one by one or several at once, then the network; and what is saved of them."""

import contextlib
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

import dnnlib
from dnnlib.errors import UserError
from dnnlib.pictures import save_image
from dnnlib.progress import Progress
from dnnlib.tflib import convert_images_to_uint8
from generation import vector_files
from generation.sheets import LabelledSheet
from generation.video import VideoWriter
from training.misc import save_image_grid, save_pkl

from . import starts
from .projector import Projector
from .schedule import snapshot_steps
from .state import Keeper
from .targets import Target
from .tuning import Tuner

TUNED = "network-tuned.pkl"
_FPS = 30
_MAX_FRAMES = 300  # of a video
_MIN_SIDE = 256  # pixels; smaller images are enlarged in videos
_LOGGED_STEPS = 100  # of each image, and of tuning; one in so many is in the log
_INTERVAL = 60.0  # seconds; so often, too, in long runs
_MOST_COLUMNS = 16  # of the picture of images before and after


class Run:
    """Projects images with a network, and tunes a copy of it; saves the results in the run folder.

    Args:
        Gs: the generator.
        proj: the `Projector`, without a network.
        targets: the images, see `targets`.
        initial: where each starts; none: at the mean of W.
        settings: `commands.Projecting`.
        facts: to keep with the vectors of each.
        keeper: keeps the state, and says where the run has been.
    """

    def __init__(
        self,
        Gs: Any,
        proj: Projector,
        targets: Sequence[Target],
        initial: Sequence[starts.Start],
        settings: Any,
        facts: Mapping[str, Any],
        keeper: Keeper,
    ):
        self._Gs = Gs
        self._proj = proj
        self._targets = targets
        self._initial = initial
        self._settings = settings
        self._facts = facts
        self._keeper = keeper
        if initial:
            proj.initial_noise_factor = 0.0  # it would lead away from what was found

    def _target(self, index: int) -> Target:
        target = self._targets[index]
        self._keeper.check_image(f"{target.name} ({target.source})", target.image)
        return target

    # ------------------------------------------------------------------------
    # Projecting.

    def project(self) -> None:
        """Projects all images, but for those that are done already."""
        num, size, steps = len(self._targets), self._settings.minibatch_size, self._proj.num_steps
        done, step = self._keeper.place.get("projected", 0), self._keeper.place.get("step", 0)
        if done >= num:
            return
        if done or step:
            print(f"Going on with image {done}/{num} at step {step} ...")
        progress = Progress(-(-num // size) * steps, "steps", _INTERVAL, initial=done // size * steps + step)
        prepared_for = 0
        for begin in range(done, num, size):
            batch = [self._target(idx) for idx in range(begin, min(begin + size, num))]
            initial = self._initial[begin : begin + len(batch)]
            paths = [start.path for start in initial] or [None] * len(batch)
            for target, path in zip(batch, paths, strict=True):
                print(f"Projecting {target.title} ..." + (f" from {path}" if path else ""))
            if len(batch) != prepared_for:
                self._proj.set_network(self._Gs, len(batch))
                prepared_for = len(batch)
            self._proj.start(np.concatenate([target.image for target in batch]), **starts.arguments(initial))
            if begin == done and step:
                self._proj.go_on(step, self._keeper.values)
            self._project_batch(begin, batch, progress)
            self._save_found(batch, [{**self._facts, "initial": path} for path in paths])
            self._keeper.save({"projected": begin + len(batch)}, {})
        progress.finish()

    def _project_batch(self, begin: int, batch: Sequence[Target], progress: Progress) -> None:
        """Makes the steps that are left for some images, and saves the images on the way."""
        proj, settings = self._proj, self._settings
        snapshots = set(snapshot_steps(proj.num_steps, settings.num_snapshots))
        for target in batch:
            save_image_grid(target.image, dnnlib.make_run_dir_path(f"{target.name}-target.png"), drange=(-1, 1))

        def state() -> tuple[dict[str, Any], Mapping[str, Any]]:
            if settings.video:  # which begins again
                return {"projected": begin}, {}
            return {"projected": begin, "step": proj.get_cur_step()}, proj.variables()

        with _videos(batch if settings.video else [], "projection") as add_frames:
            if settings.video:
                add_frames(proj.get_images())
            while proj.get_cur_step() < proj.num_steps:
                self._keeper.look(state)
                proj.step()
                step = proj.get_cur_step()
                has_frame = settings.video and _has_frame(step, proj.num_steps)
                images = proj.get_images() if step in snapshots or has_frame else None
                if step in snapshots:
                    for target, image in zip(batch, images, strict=True):
                        path = dnnlib.make_run_dir_path(f"{target.name}-step{step:04d}.png")
                        save_image_grid(image[np.newaxis], path, drange=(-1, 1))
                if has_frame:
                    add_frames(images)
                due = step % _LOGGED_STEPS == 0
                progress.update(1, lambda: _numbers(proj.get_distances(), proj.get_losses()), due)

    def _save_found(self, batch: Sequence[Target], facts: Sequence[dict[str, Any]]) -> None:
        """Says how near images have come, and saves their vectors. facts: to keep with those of each."""
        proj = self._proj
        for idx, target in enumerate(batch):
            distance, loss = float(proj.get_distances()[idx]), float(proj.get_losses()[idx])
            print(f"{target.name}: distance {distance:.5g}, loss {loss:.5g}", file=sys.stderr)
            if self._settings.save_vector or self._settings.tune:
                one = slice(idx, idx + 1)
                how = {**facts[idx], "target": target.source, "distance": distance, "loss": loss}
                noises = [noise[one] for noise in proj.get_noises()]
                vector_files.save(self._path_of_vector(target), proj.get_dlatents()[one], noises, how)

    def _path_of_vector(self, target: Target) -> str:
        return dnnlib.make_run_dir_path(f"{target.vector_name}.npz")

    # ------------------------------------------------------------------------
    # Tuning.

    def tune(self, **how: Any) -> None:
        """Tunes a copy of the network to what was found, and saves it. how: arguments of `Tuner`."""
        targets = [self._target(idx) for idx in range(len(self._targets))]
        found = [vector_files.load(self._path_of_vector(target), self._Gs) for target in targets]
        # A run that ended while it saved results may have replaced some of W.
        dlatents = self._keeper.values.get("found", np.concatenate([file.dlatents for file in found]))
        tuner = Tuner(self._Gs, self._proj.distance, minibatch_size=self._settings.minibatch_size, **how)
        step = self._keeper.place.get("tuned", 0)
        print(
            f"Tuning a copy of the network to {len(targets)} image{'s'[: len(targets) > 1]} ..."
            + f" from step {step}" * bool(step)
        )
        noises = [np.concatenate(layer) for layer in zip(*(file.noises for file in found), strict=True)]
        images = np.concatenate([target.image for target in targets])
        tuner.start(images, dlatents, noises)
        before = list(self._images(tuner))
        if step:
            tuner.go_on(step, self._keeper.values)
        else:
            self._keeper.save({"projected": len(targets)}, {"found": dlatents})
        self._make_steps(tuner, targets, dlatents)
        after = list(self._images(tuner))
        if not np.isfinite(after).all():
            raise UserError("the tuned network makes no images any more; a smaller --tune-learning-rate keeps them")
        save_pkl(tuner.network, dnnlib.make_run_dir_path(TUNED))
        for target, file, tuned, *pictures in zip(targets, found, tuner.get_dlatents(), before, after, strict=True):
            save_image_grid(
                pictures[1][np.newaxis], dnnlib.make_run_dir_path(f"{target.name}-tuned.png"), drange=(-1, 1)
            )
            errors = [_error(target.image, picture[np.newaxis]) for picture in pictures]
            way = "more" if errors[1] > errors[0] else "less"
            change = f" ({max(errors) / min(errors):.3g} times {way})" if min(errors) else ""
            print(
                f"{target.name}: mean squared error {errors[0]:.3g} before, {errors[1]:.3g} tuned{change}",
                file=sys.stderr,
            )
            settings = {
                **file.settings,
                "w_plus": self._proj.w_plus or tuner.dlatent_learning_rate > 0,
                "tuned": {
                    "network": TUNED,
                    **how,
                    "learning_rate": tuner.learning_rate,
                    "dlatent_learning_rate": tuner.dlatent_learning_rate,
                    "error_before": errors[0],
                    "error": errors[1],
                },
            }
            vector_files.save(file.path, tuned[np.newaxis], file.noises, settings)
        self._save_picture(targets, before, after)

    def _make_steps(self, tuner: Tuner, targets: Sequence[Target], found: np.ndarray) -> None:
        """Makes the steps that are left. found: W of each image, [N, layers, dlatent_size]."""
        video = self._settings.video

        def state() -> tuple[dict[str, Any], Mapping[str, Any]]:
            if video:  # which begins again
                return {"projected": len(targets)}, {"found": found}
            values = {"found": found, **tuner.variables()}
            return {"projected": len(targets), "tuned": tuner.get_cur_step()}, values

        progress = Progress(tuner.num_steps, "steps", _INTERVAL, initial=tuner.get_cur_step())
        with _videos(targets if video else [], "tuning") as add_frames:
            if video:
                add_frames(self._images(tuner))
            while tuner.get_cur_step() < tuner.num_steps:
                self._keeper.look(state)
                tuner.step()
                step = tuner.get_cur_step()
                if video and _has_frame(step, tuner.num_steps):
                    add_frames(self._images(tuner))
                progress.update(1, lambda: _tuning_numbers(tuner), step % _LOGGED_STEPS == 0)
        progress.finish()

    def _images(self, tuner: Tuner) -> Iterator[np.ndarray]:
        """What a tuner's network makes of all images now, [C, H, W] each."""
        num, size = len(self._targets), self._settings.minibatch_size
        for begin in range(0, num, size):
            yield from tuner.get_images(begin, min(begin + size, num))

    def _save_picture(
        self, targets: Sequence[Target], before: Sequence[np.ndarray], after: Sequence[np.ndarray]
    ) -> None:
        """The first images, as projected and as tuned, below each other."""
        rows = {"target": [target.image[0] for target in targets], "projected": before, "tuned": after}
        columns = [target.name for target in targets[:_MOST_COLUMNS]]
        sheet = LabelledSheet(targets[0].image.shape[2:], list(rows), columns)
        places = itertools.product(range(len(rows)), range(len(columns)))
        pixels = {(row, column): _pixels(list(rows.values())[row][column][np.newaxis]) for row, column in places}
        save_image(sheet.draw(pixels), dnnlib.make_run_dir_path("tuning.png"))


def _pixels(image: np.ndarray) -> np.ndarray:
    """An image [1, C, H, W] from -1 to 1 as uint8 [H, W, C]."""
    return convert_images_to_uint8(image, nchw_to_nhwc=True)[0].numpy()


def _error(target: np.ndarray, image: np.ndarray) -> float:
    """The mean squared difference of images [1, C, H, W] as they are saved, where black and white differ by 1."""
    both = (_pixels(image).astype(np.float64) for image in (target, image))
    return float(np.mean(np.square(np.subtract(*both))) / 255**2)


def _has_frame(step: int, num_steps: int) -> bool:
    """Whether videos have a frame after a step."""
    return step % -(-num_steps // _MAX_FRAMES) == 0 or step == num_steps


def _numbers(distances: np.ndarray, losses: np.ndarray) -> str:
    of = f" (means of {len(distances)})" if len(distances) > 1 else ""
    return f"distance {np.mean(distances):.5g}, loss {np.mean(losses):.5g}{of}"


def _tuning_numbers(tuner: Tuner) -> str:
    numbers = tuner.get_numbers()
    others = f", other images moved {numbers['others'] * 255:.3g} of 255" if tuner.locality_weight else ""
    return f"distance {numbers['distance']:.5g}, pixels {numbers['pixel']:.5g}{others}"


@contextlib.contextmanager
def _videos(targets: Sequence[Target], what: str) -> Iterator[Callable[[Iterable[np.ndarray]], None]]:
    """Videos of images beside their targets. Gives the function that adds images [N, C, H, W] to them."""
    with contextlib.ExitStack() as stack:
        writers = []
        for target in targets:
            path = dnnlib.make_run_dir_path(f"{target.name}-{what}.mp4")
            writers.append(stack.enter_context(VideoWriter(path, _FPS)))

        def add(images: Iterable[np.ndarray]) -> None:
            for writer, target, image in zip(writers, targets, images, strict=True):
                frame = _pixels(np.concatenate([target.image, image[np.newaxis]], axis=3))  # [H, 2 W, C]
                times = -(-_MIN_SIDE // min(target.image.shape[2:]))
                writer.add(frame.repeat(times, 0).repeat(times, 1))

        yield add
