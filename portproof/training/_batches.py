"""Batches: which images, cut how. Drawn in NumPy from a seed and the step alone, so that both sides see equal bytes.

Nothing is remembered from one step to the next, so a training that is resumed at a step draws what it would have drawn.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from portproof._errors import BadInput
from portproof._numbers import Array
from portproof.ports._inputs import normalised
from portproof.ports._port import Port
from portproof.training._data import DataPart, DataSet

#: What is cut out of an image: this share of the largest box of the input's shape, as ImageNet classifiers are tested.
BOX = 7 / 8
#: In training, the box's size is drawn from BOX times 1 ± ZOOM, and its place from ± SHIFT of the image's size.
ZOOM, SHIFT = 0.12, 0.06

#: First words of the seeds, so that no two uses share their numbers.
ORDER, CUT, DROPOUT = 1, 2, 3


@dataclass(frozen=True)
class TrainBatch:
    """What one step learns from.

    Attributes:
        image: ``(N, 3, H, W)`` float32, normalised by ImageNet's statistics.
        labels: ``(N,)`` int64.
        checksum: of both, to show that two trainings saw the same bytes.
    """

    image: Array
    labels: Array
    checksum: int


def image_size(port: Port) -> tuple[int, int]:
    """Return the height and width that a port's models take.

    Raises:
        BadInput: the port takes something else than one image.
    """
    declared = list(port.inputs.values())
    if len(declared) != 1 or not declared[0].is_image:
        raise BadInput(f"port '{port.name}' takes no image, (batch, 3, H, W); `portproof train` trains classifiers.")
    _, _, height, width = declared[0].concrete(1)
    return height, width


class Batches:
    """The batches of a training.

    Args:
        data: what is learned from.
        size: height and width of an image.
        count: images a batch.
        seed: of the order and the cuts.
        augment: whether images are cut at random.
        mirror: whether they are also mirrored at random. A 2 is no 2 then.
    """

    def __init__(
        self, data: DataSet, size: tuple[int, int], count: int, seed: int, *, augment: bool = True, mirror: bool = False
    ) -> None:
        if count > len(data.train):
            raise BadInput(f"--batch is {count}, more than the {len(data.train)} images that '{data.name}' trains on.")
        self.data, self.size, self.count, self.seed = data, size, count, seed
        self.augment, self.mirror = augment, mirror
        self._order: tuple[int, Array] | None = None

    def at(self, step: int) -> TrainBatch:
        """Return the batch of a step: the next of an endless row of shuffled data sets, one after the other."""
        total = len(self.data.train)
        rows, labels = [], []
        for place in range(step * self.count, (step + 1) * self.count):
            index = int(self._shuffled(place // total)[place % total])
            rng = np.random.default_rng([CUT, self.seed, place]) if self.augment else None
            rows.append(cut(self.data.train.image(index), self.size, rng, mirror=self.mirror))
            labels.append(self.data.train.labels[index])
        image, label = normalised(np.stack(rows)), np.array(labels, np.int64)
        return TrainBatch(image, label, zlib.crc32(label.tobytes(), zlib.crc32(image.tobytes())))

    def _shuffled(self, epoch: int) -> Array:
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, np.random.default_rng([ORDER, self.seed, epoch]).permutation(len(self.data.train))
        return self._order[1]

    def from_step(self, step: int) -> Iterator[TrainBatch]:
        """Yield the batches from a step on, each made while the one before is learned from."""
        with ThreadPoolExecutor(1) as pool:
            coming = pool.submit(self.at, step)
            while True:
                batch = coming.result()
                step += 1
                coming = pool.submit(self.at, step)
                yield batch


def test_batches(part: DataPart, size: tuple[int, int], count: int) -> Iterator[tuple[Array, Array]]:
    """Yield images and labels of a part, in order and cut alike."""
    for begin in range(0, len(part), count):
        chosen = range(begin, min(begin + count, len(part)))
        yield normalised(np.stack([cut(part.image(i), size, None) for i in chosen])), part.labels[begin : begin + count]


def cut(image: Array, size: tuple[int, int], rng: np.random.Generator | None, *, mirror: bool = False) -> Array:
    """Cut a box out of an image and resize it.

    Args:
        image: ``(H, W, 3)`` uint8.
        size: height and width of the result.
        rng: draws the box's size and place; None takes the middle.
        mirror: whether it may also be mirrored.

    Returns:
        ``(height, width, 3)`` uint8.
    """
    from PIL import Image

    height, width = image.shape[:2]
    whole = min(height / size[0], width / size[1])
    share, down, across = BOX, 0.0, 0.0
    if rng is not None:
        share = BOX * rng.uniform(1 - ZOOM, 1 + ZOOM)
        down, across = rng.uniform(-SHIFT, SHIFT, 2)
    tall, wide = whole * size[0] * share, whole * size[1] * share
    top = min(max((height - tall) / 2 + down * height, 0.0), height - tall)
    left = min(max((width - wide) / 2 + across * width, 0.0), width - wide)
    box = (left, top, left + wide, top + tall)
    resized = np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BICUBIC, box=box))
    return resized[:, ::-1] if mirror and rng is not None and rng.integers(2) else resized
