"""What a data set holds, as far as a training depends on it: kept with its state, so that a change is noticed and told.

Images are known by checksums of their stored bytes, in the order in which they are numbered. Where the data set lies,
when its files were written and what they are called does not count: a copy is the same data set.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dnnlib.errors import counted, enumerated, listed, printable

_MAX_NAMES = 10  # of classes
_MAX_EXAMPLES = 3  # of images
_MAX_LINES = 20  # about what has changed


def describe(num_images: int, label_names: Sequence[str], has_classes: bool) -> str:
    """'300 images, 2 classes: cats, dogs'."""
    if not label_names:
        labels = "no labels"
    elif has_classes:
        names = enumerated(label_names, _MAX_NAMES)
        labels = f"{counted(len(label_names), 'class')}: {names}"
    else:
        labels = f"labels of {counted(len(label_names), 'number')}"
    return f"{counted(num_images, 'image')}, {labels}"


def describe_facts(facts: Any) -> str | None:
    """The same of what `Contents.facts` returned and a file has kept; None if it is something else."""
    facts = facts if isinstance(facts, Mapping) else {}
    count, names = facts.get("images"), facts.get("classes", facts.get("label_names"))
    if not isinstance(count, int) or not isinstance(names, list):
        return None
    return describe(count, [str(name) for name in names], "classes" in facts)


@dataclass(frozen=True, eq=False)
class Contents:
    """What `Dataset.contents` finds.

    images: checksums, uint64 [N], see `ImageSource.checksums`. labels: of those that are trained with, uint32 [N]: the
    number of the class, or a checksum. names: of the images; empty where they have none. shape: [C, H, W]. levels:
    log2 of the resolutions that are stored. label_names, has_classes: of all labels there are, trained with or not.
    label_size: columns that are trained with.
    """

    images: np.ndarray
    labels: np.ndarray
    names: Sequence[str]
    shape: tuple[int, ...]
    levels: tuple[int, ...]
    label_names: tuple[str, ...]
    has_classes: bool
    label_size: int

    def facts(self) -> dict[str, Any]:
        """What people may want to know, for JSON."""
        digest = hashlib.sha256(self.images.astype("<u8").tobytes() + self.labels.astype("<u4").tobytes())
        names = "classes" if self.has_classes else "label_names"
        return {
            "images": len(self.images),
            "shape": list(self.shape),
            names: list(self.label_names),
            "label_size": self.label_size,
            "levels": list(self.levels),
            "digest": digest.hexdigest(),
        }

    def arrays(self) -> dict[str, np.ndarray]:
        """The rest, by name: with `facts`, all that `restored` needs."""
        names = "\0".join(self.names).encode("utf-8", "surrogateescape")
        return {"images": self.images, "labels": self.labels, "names": np.frombuffer(names, np.uint8)}

    @classmethod
    def restored(cls, facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> "Contents":
        """What was kept. Raises KeyError, TypeError or ValueError if it is damaged."""
        names = arrays["names"].tobytes().decode("utf-8", "surrogateescape")
        found = cls(
            images=arrays["images"].astype(np.uint64, casting="safe"),
            labels=arrays["labels"].astype(np.uint32, casting="safe"),
            names=names.split("\0") if names else [],
            shape=tuple(map(int, facts["shape"])),
            levels=tuple(map(int, facts["levels"])),
            label_names=tuple(map(str, facts["classes"] if "classes" in facts else facts["label_names"])),
            has_classes="classes" in facts,
            label_size=int(facts["label_size"]),
        )
        count, classes = int(facts["images"]), found.label_size if found.numbers_classes else 1 << 32
        shapes = {found.images.shape, found.labels.shape, (len(found.names or found.images),)}
        if shapes != {(count,)} or found.labels.max(initial=0) >= classes:
            raise ValueError("its facts about the data set contradict each other")
        return found

    @property
    def numbers_classes(self) -> bool:
        """Whether `labels` are numbers of classes."""
        return self.has_classes and self.label_size == len(self.label_names)

    # ----------------------------------------------------------------------------
    # What has changed.

    def misfits(self, now: "Contents") -> list[str]:
        """Why networks that were trained with this do not fit what is there now."""
        problems = []
        if self.shape != now.shape:
            problems.append(f"images are of the shape {list(now.shape)} now, they were {list(self.shape)}")
        if self.label_size != now.label_size:
            is_now, was = (
                f"{of.label_size} columns ({enumerated(of._classes(), _MAX_NAMES) or 'none'})" for of in (now, self)
            )
            problems.append(f"labels have {is_now} now, they had {was}")
        return problems

    def changes(self, now: "Contents") -> list[str]:
        """What has changed as far as training notices it, in words; empty if nothing has."""
        lower = np.uint64(0 if self.levels == now.levels else 32)  # those of other resolutions cannot be compared
        old, new = (of.images >> lower for of in (self, now))
        same_images, same_classes = np.array_equal(old, new), self._classes() == now._classes()
        if same_images and same_classes and np.array_equal(self.labels, now.labels):
            return []
        pairs = list(_matched(old.tolist(), new.tolist()))
        gone, came = (
            sorted({*range(len(of))} - {*found}) for of, found in zip((old, new), _columns(pairs), strict=True)
        )
        lines = self._changed_images(now, gone, came) + self._changed_labels(now, pairs)
        if lines:
            return listed(lines, _MAX_LINES)
        if same_images:
            return ["classes have other names"]
        renamed = [
            f"{self.names[i]} -> {now.names[j]}" for i, j in pairs if self.names and self.names[i] != now.names[j]
        ]
        return [f"the same images in another order{_examples(renamed)}"]

    def _classes(self) -> tuple[str, ...]:
        """Names of the labels that are trained with."""
        return self.label_names[: self.label_size]

    def _changed_images(self, now: "Contents", gone: list[int], came: list[int]) -> list[str]:
        """gone: numbers of images that are not there now; came: of those that were not there before."""
        if not (self.names and now.names):
            changed = min(len(gone), len(came))
            lines = [f"{counted(changed, 'image')} replaced"] * bool(changed)
            lines += [f"{counted(len(gone) - changed, 'image')} removed"] * (len(gone) > changed)
            return lines + [f"{counted(len(came) - changed, 'image')} added"] * (len(came) > changed)
        old, new = ({of.names[i]: None for i in which} for of, which in ((self, gone), (now, came)))
        kinds = {
            "removed": [name for name in old if name not in new],
            "added": [name for name in new if name not in old],
            "replaced": [name for name in old if name in new],
        }
        return [f"{counted(len(names), 'image')} {kind}{_examples(names)}" for kind, names in kinds.items() if names]

    def _changed_labels(self, now: "Contents", pairs: list[tuple[int, int]]) -> list[str]:
        """pairs: numbers of the same image, then and now."""
        if not self.label_size:
            return []
        if not (self.numbers_classes and now.numbers_classes):
            changed = [now.names[j] if now.names else f"image {j}" for i, j in pairs if self.labels[i] != now.labels[j]]
            return [f"other labels of {counted(len(changed), 'image')}{_examples(changed)}"] * bool(changed)
        before, after = self._classes(), now._classes()
        moves = Counter((before[self.labels[i]], after[now.labels[j]]) for i, j in pairs)
        renamed = {a: b for a, b in moves if a not in after and b not in before}
        lost = [name for name in before if name not in after and name not in renamed]
        found = [name for name in after if name not in before and name not in renamed.values()]
        lines = []
        for names, what in (
            ([f"{a} -> {b}" for a, b in renamed.items()], "renamed"),
            (lost, "removed"),
            (found, "added"),
        ):
            if names:
                shown = enumerated(names, _MAX_NAMES)
                lines.append(f"{counted(len(names), 'class')} {what}: {shown}")
        for (a, b), count in moves.items():
            if a != b and renamed.get(a) != b:
                lines.append(f"{counted(count, 'image')} moved from class {printable(a)} to {printable(b)}")
        places = [(name, before.index(name), after.index(name)) for name in before if name in after]
        numbers = [f"{name} {i} -> {j}" for name, i, j in places if i != j]
        if numbers:
            lines.append(f"classes have other numbers: {enumerated(numbers, _MAX_NAMES)}")
        return lines


def _matched(old: Sequence[int], new: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Pairs of places with the same number, each place once; where a number occurs several times, in their order."""
    places = defaultdict(list)
    for j in reversed(range(len(new))):
        places[new[j]].append(j)
    for i, number in enumerate(old):
        if places.get(number):
            yield i, places[number].pop()


def _columns(pairs: list[tuple[int, int]]) -> tuple[Sequence[int], Sequence[int]]:
    return tuple(zip(*pairs, strict=True)) or ((), ())


def _examples(names: Sequence[str]) -> str:
    return f" ({enumerated(names, _MAX_EXAMPLES)})" if names else ""
