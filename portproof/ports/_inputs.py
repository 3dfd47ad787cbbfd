"""What the models are run on: photographs and structured probes, made once in NumPy so that all see equal bytes."""

from __future__ import annotations

import importlib.util
import io
import math
import struct
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from portproof._errors import BadInput, one_line, require_packages
from portproof._numbers import Array
from portproof.ports._locate import resolve_callable
from portproof.ports._port import Input, Port

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
_FORMATS = ("JPEG", "PNG", "BMP", "WEBP")
#: An image of more pixels is refused before it is decoded, or resized to more; each takes ten bytes meanwhile.
MOST_PIXELS = 100_000_000
#: Nor may it be so many times as long as wide: resizing goes by the shorter side.
MOST_SLENDER = 100
#: Bytes of a file; a raw picture of a hundred million pixels has as many.
_LONGEST_FILE = 300 << 20

#: Rows of a check. A noise floor is pooled over at least 64 rows where a row is cheap, or over 16 whose outputs
#: have many elements: the error of a sum of few terms is heavy-tailed, that of a thousand logits is not.
MANY_ROWS, FEW_ROWS = 64, 16
_CHEAP_ELEMENTS = 16_384
_CALIBRATING = 20_240_229
#: What a row is that a person gave.
GIVEN = "given"


@dataclass(frozen=True)
class Batch:
    """Rows for every input of a port.

    Attributes:
        arrays: input name to array, floats in float32.
        families: what each row is, for instance ``"photograph china.jpg (centre)"``.
        notes: what a person should know about these inputs, for instance that no photographs were found.
    """

    arrays: dict[str, Array]
    families: tuple[str, ...]
    notes: tuple[str, ...] = ()


def make_batch(
    port: Port,
    *,
    seed: int = 0,
    images: Path | None = None,
    rows: int | None = None,
    given: Mapping[str, Array] | None = None,
) -> Batch:
    """Make the rows that a port is judged on, the same for the same arguments.

    Args:
        port: the port; each of its inputs gets the same number of rows.
        seed: of all draws.
        images: folder of photographs, for ports that take images. None: those of scikit-learn's package.
        rows: how many; the default is 64, or 16 where a row is large.
        given: input name to array, ``(n, …)`` where the input has rows: the first rows, or all where they are more.

    Raises:
        BadInput: the folder has no image, one cannot be read, or a ``preprocess`` is not found.
    """
    elements = sum(math.prod(declared.concrete(1)) for declared in port.inputs.values())
    first = max((given[name].shape[0] for name in given if port.inputs[name].has_rows), default=0) if given else 0
    rows = max(first, rows or (FEW_ROWS if elements > _CHEAP_ELEMENTS else MANY_ROWS))
    rng = np.random.default_rng(seed)
    arrays: dict[str, Array] = {}
    families: list[str] = []
    notes: list[str] = []
    require_images(port, images)
    for name, declared in port.inputs.items():
        if declared.is_image and declared.range is None and declared.values is None:
            photographs = _photographs(images)
            if not photographs:
                notes.append("no photographs: pip install 'portproof[images]', or give --images DIR")
            array, what = _image_rows(declared, photographs, rows, rng)
        elif declared.is_float:
            array, what = _float_rows(declared, rows, rng)
        else:
            array, what = _drawn_rows(declared, rows, rng)
        arrays[name] = array
        if given and name in given:
            arrays[name] = np.concatenate([given[name], array[first:]]) if declared.has_rows else given[name]
        families = families or what
    families[:first] = [GIVEN] * first
    return Batch(arrays, tuple(families[:rows]), tuple(notes))


def require_images(port: Port, folder: Path | None) -> None:
    """Raise :class:`BadInput` where a folder of photographs that a person gave is none, or the port takes no image."""
    if folder is None:
        return
    if not any(declared.is_image for declared in port.inputs.values()):
        raise BadInput(f"--images: port '{port.name}' takes no image, (batch, 3, H, W); leave the option out.")
    _photographs(folder)


def few_rows(batch: Batch, *, quick: bool = False) -> list[int]:
    """Choose the rows for the module-by-module replay: a photograph and a loud probe, more where rows are cheap.

    The loud probe reaches where clipping begins, which inputs of unit variance hardly do.
    """
    rows, loud = len(batch.families), loud_rows(batch.families)
    chosen = [0] if quick or rows == 1 else [0, (loud or [rows // 2])[0]]
    if rows >= MANY_ROWS:
        chosen = [*range(15), *(loud or [15])[:1]]
    return chosen


def loud_rows(families: Sequence[str]) -> list[int]:
    """Return the rows that reach where clipping begins."""
    return [row for row, family in enumerate(families) if "scaled by 8" in family]


def calibration_rows(port: Port, judged: Mapping[str, Array]) -> dict[str, Array]:
    """Return rows to read the ranges of activations from: drawn by another seed, none of them one that is judged.

    The loud ones are left out: a range that holds eight times what comes leaves three bits fewer for what does come.
    """
    batch = make_batch(port, seed=_CALIBRATING)
    named = [name for name, declared in port.inputs.items() if declared.has_rows]
    count = len(judged[named[0]]) if named and judged else 0
    known = {tuple(judged[name][row].tobytes() for name in named) for row in range(count)}
    loud = loud_rows(batch.families)
    kept = [
        row for row in range(len(batch.families))
        if row not in loud and tuple(batch.arrays[name][row].tobytes() for name in named) not in known
    ]  # fmt: skip
    return take_rows(port, batch.arrays, kept)


def take_rows(port: Port, arrays: dict[str, Array], rows: list[int]) -> dict[str, Array]:
    """Return some rows of every input that has rows."""
    return {name: array[rows] if port.inputs[name].has_rows else array for name, array in arrays.items()}


def _photographs(folder: Path | None) -> list[Path]:
    if folder is None:
        found = importlib.util.find_spec("sklearn")  # located, not imported
        if found is None or found.origin is None:
            return []
        return sorted(p for p in (Path(found.origin).parent / "datasets" / "images").glob("*.jpg"))
    if not folder.is_dir():
        raise BadInput(f"--images: '{folder}' is no folder; give one that holds photographs.")
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not files:
        raise BadInput(f"--images: no photograph ({', '.join(sorted(SUFFIXES))}) in '{folder}'.")
    return files


def read_photograph(path: Path) -> Array:
    """Decode a photograph; see :func:`decode_photograph`.

    From memory: of a file Pillow would ask for as many bytes as a piece of it says that it has.
    """
    try:
        size = path.stat().st_size
        if size > _LONGEST_FILE:
            raise BadInput(f"'{path}' has {size >> 20} MiB, at most {_LONGEST_FILE >> 20} are read as an image.")
        content = io.BytesIO(path.read_bytes())
    except OSError as error:
        raise BadInput(
            f"'{path}' cannot be read as an image ({one_line(error, 120)}); remove or replace it."
        ) from error
    return decode_photograph(content, str(path))


def decode_photograph(source: Path | BinaryIO, name: str) -> Array:
    """Decode a photograph to ``(H, W, 3)`` uint8.

    Only the formats of :data:`SUFFIXES` are tried, whatever the file is called: Pillow knows others that run programs.

    Args:
        source: a file, or its bytes as a stream.
        name: for messages.

    Raises:
        BadInput: Pillow cannot read the file, or the image has too many pixels.
        Unavailable: Pillow is not installed.
    """
    require_packages("reading photographs", "PIL")
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # ours is stricter
            with Image.open(source, formats=_FORMATS) as opened:
                width, height = opened.size
                if width * height > MOST_PIXELS or max(width, height) > MOST_SLENDER * min(width, height):
                    raise BadInput(
                        f"'{name}' has {width} x {height} pixels, more than {MOST_PIXELS // 10**6} million or than "
                        f"{MOST_SLENDER} times as long as wide; make it smaller or remove it."
                    )
                return np.asarray(opened if opened.mode == "RGB" else opened.convert("RGB"))
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError) as error:
        raise BadInput(
            f"'{name}' cannot be read as an image ({one_line(error, 120)}); remove or replace it."
        ) from error


def preprocess(photograph: Array, height: int, width: int) -> Array:
    """Resize, crop the centre and normalise one photograph as ImageNet classifiers take it.

    Args:
        photograph: ``(H, W, 3)`` uint8.
        height, width: of the result.

    Returns:
        ``(3, height, width)`` float32, zero mean and unit variance over ImageNet.

    Raises:
        BadInput: it would be resized to too many pixels.
    """
    from PIL import Image

    zoom = max(height / photograph.shape[0], width / photograph.shape[1]) * 8 / 7
    size = (max(width, round(photograph.shape[1] * zoom)), max(height, round(photograph.shape[0] * zoom)))
    if size[0] * size[1] > MOST_PIXELS:
        raise BadInput(
            f"a picture of {photograph.shape[1]} x {photograph.shape[0]} would be resized to {size[0]} x {size[1]} "
            f"pixels, more than {MOST_PIXELS // 10**6} million; cut it or remove it."
        )
    resized = photograph
    if size != photograph.shape[1::-1]:
        resized = np.asarray(Image.fromarray(photograph).resize(size, Image.Resampling.BILINEAR))
    top, left = (size[1] - height) // 2, (size[0] - width) // 2
    return normalised(resized[top : top + height, left : left + width])


def normalised(images: Array) -> Array:
    """Return ``(…, H, W, 3)`` uint8 as ``(…, 3, H, W)`` float32, with ImageNet's mean and variance taken out."""
    planes = np.ascontiguousarray(np.moveaxis(images, -1, -3)).astype(np.float32)  # planes first: three times as fast
    planes /= 255
    planes -= np.array(IMAGENET_MEAN, np.float32)[:, None, None]
    planes /= np.array(IMAGENET_STD, np.float32)[:, None, None]
    return planes


def preprocessing(declared: Input) -> Callable[[Array], Array]:
    """Return what makes one row of an image input of a photograph: the port's own, or :func:`preprocess`.

    Raises:
        BadInput: the port's own is not found.
    """
    _, _, height, width = declared.concrete(1)
    if declared.preprocess is None:
        return lambda photograph: preprocess(photograph, height, width)
    return resolve_callable(declared.preprocess, "preprocess")


def _crops(photograph: Array) -> Iterator[tuple[str, Array]]:
    """Yield views of one photograph, so that two photographs make many rows."""
    height, width = photograph.shape[:2]
    half = max(1, min(height, width) // 2)
    yield "centre", photograph
    yield "mirrored", photograph[:, ::-1]
    yield "upside down", photograph[::-1]
    yield "left detail", photograph[:half, :half]
    yield "right detail", photograph[height - half :, width - half :]


def _image_rows(
    declared: Input, photographs: list[Path], rows: int, rng: np.random.Generator
) -> tuple[Array, list[str]]:
    shape = declared.concrete(1)[1:]
    transform = preprocessing(declared)
    wanted = rows - rows // 2
    files = photographs[:wanted]
    views: dict[int, tuple[str, Array]] = {}
    for first, path in enumerate(files):  # one photograph is held at a time; first the whole ones, then their details
        places = range(first, wanted, len(files))
        for place, (view, picture) in zip(places, _crops(read_photograph(path)), strict=False):
            family, row = f"photograph {path.name} ({view})", transform(np.ascontiguousarray(picture))
            if row.shape != shape:
                raise BadInput(f"preprocess made shape {list(row.shape)} of {family}, the input takes {list(shape)}.")
            views[place] = family, row
    taken = [views[place] for place in sorted(views)]
    taken += _probes(shape, rows - len(taken), rng)
    return np.stack([row for _, row in taken]).astype(np.float32), [family for family, _ in taken]


def _probes(shape: tuple[int, ...], count: int, rng: np.random.Generator) -> list[tuple[str, Array]]:
    """Return images that photographs do not look like: edges, steps, saturation, single pixels, noise."""
    _, height, width = shape
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float32)
    across, down = xs / width * 4 - 2, ys / height * 4 - 2
    checks = np.where((xs // 8 + ys // 8) % 2 > 0, 2.0, -2.0)
    impulse = np.zeros((height, width))
    impulse[height // 3, width // 3] = 50.0
    structured: list[tuple[str, Array]] = [
        ("probe noise", rng.standard_normal(shape)),
        ("probe gradient", np.stack([across, down, -across])),
        ("probe checkerboard", np.stack([checks, -checks, checks.T if height == width else checks])),
        ("probe constant", np.broadcast_to(np.array([1.0, -0.5, 0.25])[:, None, None], shape)),
        ("probe impulse", np.stack([impulse, impulse, impulse])),
        ("probe noise, scaled by 8", rng.standard_normal(shape) * 8),
    ]
    while len(structured) < count:
        structured.append(("probe noise", rng.standard_normal(shape)))
    return structured[:count]


def _float_rows(declared: Input, rows: int, rng: np.random.Generator) -> tuple[Array, list[str]]:
    if declared.values is not None or declared.range is not None:
        return _drawn_rows(declared, rows, rng)
    shape = declared.concrete(rows)
    array = rng.standard_normal(shape)
    families = ["normal"] * rows
    if declared.has_rows and rows >= 4:
        array[-1], array[-2] = array[-1] * 8, np.abs(array[-2])
        families[-2:] = ["normal, absolute", "normal, scaled by 8"]
    return array.astype(np.float32), families


def _drawn_rows(declared: Input, rows: int, rng: np.random.Generator) -> tuple[Array, list[str]]:
    shape = declared.concrete(rows)
    if declared.values is not None:
        array = rng.choice(np.asarray(declared.values), size=shape)
        return _cast(declared, array), ["drawn from its values"] * rows
    if declared.dtype == "bool":
        return rng.integers(0, 2, size=shape).astype(bool), ["drawn"] * rows
    assert declared.range is not None
    low, high = declared.range
    drawn = (
        rng.uniform(low, high, size=shape)
        if declared.is_float
        else rng.integers(int(low), int(high), shape, endpoint=True)
    )
    return _cast(declared, drawn), [f"drawn from {low} to {high}"] * rows


def _cast(declared: Input, array: Array) -> Array:
    return array.astype(np.float32 if declared.is_float else declared.dtype)
