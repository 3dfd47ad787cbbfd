"""Where images come from: folders, lists and tar shards, here or behind any URL that fsspec knows."""

from __future__ import annotations

import csv
import functools
import io
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Final, Protocol

import numpy as np

from portproof._disk import beneath
from portproof._errors import BadInput, one_line
from portproof.ports._inputs import SUFFIXES

_LISTS, _SHARD = {".txt", ".lst"}, ".tar"
#: A tar header says how long it is. One that says more is not read: names are short.
_LONGEST_HEADER = 2**20
_LONGEST_LABEL = 32
#: Images that a quantiser reads ranges from.
_CALIBRATING = 32
#: Bytes of a picture in a shard; a raw one of a hundred million pixels has as many.
_LONGEST_IMAGE = 300 << 20


@dataclass(frozen=True)
class DataImage:
    """One image and where its bytes are.

    Attributes:
        name: below the folder, in the list, or ``shard.tar/key.jpg``: text, never a path to write to.
        where: what a person named; it says which file system.
        file: path in it of the file that holds the bytes; a whole image, or a shard.
        offset, size: of the bytes in the file; ``size`` is None for a whole file.
        weight: bytes, for the progress bar.
        label: index of its class, None where it is not known.
    """

    name: str
    where: str
    file: str
    offset: int = 0
    size: int | None = None
    weight: int = 0
    label: int | None = None


class Images:
    """The images of a data set, always in the same order.

    Args:
        where: a folder of images or of tar shards, a tar shard or a pattern of them (``val-*.tar``), or a text file
            with the path of an image or of a shard in each line. Folders are searched to the bottom.
        count: images to draw; None, or more than there are, for all.
        seed: of the draw.
        calibrates: set some images apart to calibrate on, at most a tenth of all: of those that are not drawn, if there
            are enough.

    Attributes:
        total: bytes of all images, for the progress bar.
        drawn_from: images that there are, where not all are taken; else None.
        apart: those that are set apart, and not yielded.

    Raises:
        BadInput: nothing is there.
    """

    def __init__(self, where: str, count: int | None = None, seed: int = 0, *, calibrates: bool = False) -> None:
        self.where = where
        try:
            self._system, root = system_of(where)
            self._files = dict(self._found(root.rstrip("/") or "/"))
        except (OSError, ValueError, ImportError) as error:
            raise BadInput(f"--images: '{where}' cannot be read ({one_line(error, 120)}).") from error
        self.total = sum(self._files.values())
        self.drawn_from: int | None = None
        self.apart: tuple[DataImage, ...] = ()
        self._drawn: frozenset[int] | None = None
        if count is not None or calibrates:
            self._draw(count, seed, calibrates)

    def _draw(self, count: int | None, seed: int, calibrates: bool) -> None:
        pictures = list(self._all())
        numbers = np.arange(len(pictures))
        drawn = numbers
        if count is not None and count < len(numbers):
            drawn = np.random.default_rng(seed).choice(len(numbers), count, replace=False)
        if calibrates:
            order = np.random.default_rng([seed, 1]).permutation(len(numbers))
            order = np.concatenate([order[~np.isin(order, drawn)], order[np.isin(order, drawn)]])
            apart = order[: min(_CALIBRATING, len(order) // 10)]
            drawn = drawn[~np.isin(drawn, apart)]
            self.apart = tuple(pictures[number] for number in sorted(apart.tolist()))
        if len(drawn) < len(pictures):
            self._drawn, self.drawn_from = frozenset(drawn.tolist()), len(pictures)
            self.total = sum(pictures[number].weight for number in self._drawn)

    def names(self) -> list[str]:
        """Return the names of all files, whether they are drawn or not."""
        return [self._name(file) for file in self._files]

    def _found(self, root: str) -> Iterator[tuple[str, int]]:
        """Yield files with their sizes, in order."""
        wanted = {*SUFFIXES, _SHARD}
        if any(letter in root for letter in "*?[") and not self._system.exists(root):
            found = self._system.glob(root, detail=True)
            listed = [(path, int(about["size"])) for path, about in sorted(found.items()) if about["type"] == "file"]
            base = None
        elif self._system.isdir(root):
            found = self._system.find(root, detail=True)
            listed = [(path, int(about["size"])) for path, about in sorted(found.items())]
            base = root
        elif not self._system.exists(root):
            raise BadInput(f"--images: '{self.where}' is not there; give a folder, a list (.txt) or tar shards.")
        elif PurePosixPath(root).suffix.lower() in _LISTS:
            listed, base = self._listed(root), root.rpartition("/")[0]
        else:
            listed, base = [(root, int(self._system.size(root)))], None
        self._base = base
        chosen = [(path, size) for path, size in listed if PurePosixPath(path).suffix.lower() in wanted]
        if not chosen:
            kinds = ", ".join((*sorted(SUFFIXES), _SHARD))
            raise BadInput(f"--images: no image or shard ({kinds}) in '{self.where}'.")
        yield from chosen

    def _listed(self, path: str) -> list[tuple[str, int]]:
        try:
            text = self._system.cat_file(path).decode("utf-8")
        except UnicodeDecodeError as error:
            raise BadInput(f"--images: the list '{self.where}' is not UTF-8 text.") from error
        base, found = path.rpartition("/")[0], []
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip():
                continue
            file = line.strip() if line.startswith("/") or "://" in line else f"{base}/{line.strip()}"
            file = self._system._strip_protocol(file)
            if not self._is_beneath(base, file):
                raise BadInput(
                    f"--images: line {number} of '{self.where}' names '{line.strip()[:200]}', which is no file of the "
                    "list's folder; put the list where the images are."
                )
            found.append((file, int(self._system.size(file))))
        return found

    def _is_beneath(self, folder: str, file: str) -> bool:
        """Whether a file is there and lies below a folder; no stranger's list names others."""
        from fsspec.implementations.local import LocalFileSystem

        if isinstance(self._system, LocalFileSystem):
            try:
                beneath(Path(folder, "list"), file)
            except BadInput:
                return False
            return True
        inside = file.startswith(f"{folder}/") and ".." not in file.split("/")
        return inside and bool(self._system.exists(file))

    def _name(self, file: str) -> str:
        return PurePosixPath(file).name if self._base is None else file.removeprefix(self._base).lstrip("/")

    def __iter__(self) -> Iterator[DataImage]:
        return (picture for number, picture in enumerate(self._all()) if self._drawn is None or number in self._drawn)

    def _all(self) -> Iterator[DataImage]:
        for file, size in self._files.items():
            name = self._name(file)
            if PurePosixPath(file).suffix.lower() == _SHARD:
                yield from self._shard(file, name)
            else:
                yield DataImage(name, self.where, file, weight=size)

    def _shard(self, file: str, title: str) -> Iterator[DataImage]:
        """Yield the samples of a shard, WebDataset's way: members of one stem are one sample, its class in ``.cls``."""
        waiting: DataImage | None = None
        stem, label, members = "", None, 0
        try:
            with (
                self._system.open(file, "rb") as opened,
                tarfile.open(fileobj=_Bounded(opened, file), mode="r:") as tar,
            ):
                for member in tar:
                    if tar.offset <= member.offset or member.size < 0:
                        raise tarfile.ReadError("a member that ends before it begins")
                    if not member.isreg():
                        continue
                    members += 1
                    folder, _, base = member.name.rpartition("/")
                    key, _, suffix = base.partition(".")
                    key = f"{folder}/{key}"
                    if key != stem:
                        if waiting is not None:
                            yield replace(waiting, label=label)
                        waiting, stem, label = None, key, None
                    if f".{suffix.rpartition('.')[2].lower()}" in SUFFIXES and waiting is None:
                        place = f"{title}/{member.name.lstrip('/')}"
                        waiting = DataImage(place, self.where, file, member.offset_data, member.size, member.size)
                    elif suffix == "cls" and member.size <= _LONGEST_LABEL:
                        label = _whole(
                            self._system.cat_file(file, member.offset_data, member.offset_data + member.size)
                        )
                opened.seek(tar.offset)
                if opened.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):  # tarfile itself takes any end for one
                    raise tarfile.ReadError("it was cut off")
        except (tarfile.TarError, EOFError, OSError, ValueError, OverflowError) as error:
            raise BadInput(
                f"--images: '{file}' is no whole tar file ({one_line(error, 100)}, after {members} members)."
            ) from error
        if waiting is not None:
            yield replace(waiting, label=label)


class _Bounded(io.RawIOBase):
    """A file whose reader cannot be made to hold more than a header of it."""

    def __init__(self, file: Any, name: str) -> None:
        self._file, self._name = file, name

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _LONGEST_HEADER:
            raise BadInput(f"--images: '{self._name}' has a header of {size} bytes; make the shard again.")
        found: bytes = self._file.read(size)
        return found

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def seekable(self) -> bool:
        return True


def _whole(text: bytes) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


@functools.lru_cache
def system_of(where: str) -> tuple[Any, str]:
    """Return the file system that a person named, and the path in it."""
    import fsspec

    found: tuple[Any, str] = fsspec.core.url_to_fs(where)
    return found


def read_bytes(picture: DataImage) -> bytes:
    """Read an image's bytes.

    Raises:
        BadInput: the file is gone or cannot be read.
    """
    if picture.size is not None and picture.size > _LONGEST_IMAGE:
        most = f"at most {_LONGEST_IMAGE >> 20} MiB are read"
        raise BadInput(f"'{picture.name}' has {picture.size} bytes in its shard; {most}.")
    try:
        system, _ = system_of(picture.where)  # a file's name is no URL: what it says is not followed
        end = None if picture.size is None else picture.offset + picture.size
        found: bytes = system.cat_file(picture.file, picture.offset if end is not None else None, end)
    except OSError as error:
        raise BadInput(f"'{picture.name}' cannot be read ({one_line(error, 120)}); was it moved?") from error
    return found


#: In place of a file of labels: an image's class is the folder that it lies in.
FOLDERS: Final = "folders"


class Labelled(Protocol):
    """What knows the classes of images."""

    def of(self, picture: DataImage) -> DataImage:
        """Return a picture with its label, where it has one."""

    def require(self, images: Images, classes: int) -> None:
        """Raise :class:`BadInput` where the labels are not of these images, or not of so many classes."""


def labels_of(labels: Path | str | None, images: Images) -> Labelled | None:
    """Return the labels that were asked for: a file's, or for ``"folders"`` those that the folders say."""
    if labels is None:
        return None
    return FolderLabels.of_names(images) if labels == FOLDERS else Labels.read(Path(labels))


@dataclass(frozen=True)
class FolderLabels:
    """Classes by folder, in the order of their names, as ``portproof train --data FOLDER`` counts them.

    Attributes:
        classes: folder to index.
    """

    classes: Mapping[str, int]

    @classmethod
    def of_names(cls, images: Images) -> FolderLabels:
        """Read the folders of a data set.

        Raises:
            BadInput: an image lies in none, or there are fewer than two.
        """
        names = images.names()
        loose = next((name for name in names if "/" not in name), None)
        if loose is not None:
            raise BadInput(f"--labels folders: '{loose}' lies in no folder of '{images.where}'; give a folder a class.")
        classes = sorted({name.partition("/")[0] for name in names})
        if len(classes) < 2:
            raise BadInput(f"--labels folders: '{images.where}' has one folder, '{classes[0]}'; give a folder a class.")
        return cls({name: index for index, name in enumerate(classes)})

    def of(self, picture: DataImage) -> DataImage:
        """Return a picture with the index of its folder."""
        return replace(picture, label=self.classes[picture.name.partition("/")[0]])

    def require(self, images: Images, classes: int) -> None:
        """See that there is a folder for every class: with fewer, nobody knows which."""
        if len(self.classes) != classes:
            raise BadInput(
                f"--labels folders: '{images.where}' has {len(self.classes)} folders, the output {classes} classes; "
                "name the classes in a file of NAME,INDEX."
            )


@dataclass(frozen=True)
class Labels:
    """Classes by the name of the image.

    Attributes:
        table: name to index.
        file: that they were read from.
    """

    table: Mapping[str, int]
    file: Path

    @classmethod
    def read(cls, file: Path) -> Labels:
        """Read lines of ``name,label`` or ``name label``, the label an index.

        Raises:
            BadInput: it cannot be read, or a line is something else; names the line.
        """
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(f"--labels: '{file}' cannot be read ({one_line(error, 120)}).") from error
        table: dict[str, int] = {}
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip():
                continue
            cells = next(csv.reader([line])) if "," in line else line.rsplit(maxsplit=1)
            if len(cells) != 2 or not cells[1].strip().isdecimal():
                if number == 1 and len(cells) == 2:
                    continue  # a heading
                raise BadInput(f"--labels: line {number} of '{file}' must be NAME,INDEX, found '{line[:80]}'.")
            name, label = cells[0].strip(), int(cells[1])
            if table.setdefault(name, label) != label:
                raise BadInput(f"--labels: '{name}' has two labels in '{file}', {table[name]} and {label}.")
        if not table:
            raise BadInput(f"--labels: '{file}' is empty.")
        return cls(table, file)

    def of(self, picture: DataImage) -> DataImage:
        """Return a picture with its label: by its whole name, or by its file name alone."""
        found = self.table.get(picture.name, self.table.get(PurePosixPath(picture.name).name))
        return picture if found is None else replace(picture, label=found)

    def require(self, images: Images, classes: int) -> None:
        """See that the file names any of the images, and no class that there is not."""
        name, label = max(self.table.items(), key=lambda item: item[1])
        if label >= classes:
            raise BadInput(
                f"--labels: '{name}' is class {label} in '{self.file}', the output's are 0 to {classes - 1}; count "
                "from 0."
            )
        if not any(self.of(picture).label is not None for picture in images):
            raise BadInput(
                f"--labels: no image has a label; '{self.file}' begins with '{next(iter(self.table))}', "
                f"the images with '{next(iter(images)).name}'."
            )
