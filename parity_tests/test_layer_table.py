"""The live models match the published layer tables, in each framework: type, order, shapes, parameters."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portproof.frameworks import load_framework

TABLES = Path(__file__).parent / "tables"
LISTED = {"Conv2D", "ReLU", "MaxPool2D", "AvgPool2D", "Flatten", "Dropout", "Linear", "Inception"}


def walk(side: str, module: Any, shape: tuple[int, ...]) -> list[tuple[str, ...]]:
    """Run a module and list every layer in the order in which it finishes, as the table does."""
    framework = load_framework(side)
    rows: list[tuple[str, ...]] = []
    counts: dict[str, int] = {}
    numbers: dict[str, int] = {}

    def size(tensor: Any) -> str:
        return "x".join(map(str, tensor.shape))

    def hook(layer: Any, inputs: Any, output: Any) -> None:
        name = type(layer).__name__.replace("2d", "2D")
        if name in LISTED:
            counts[name] = counts.get(name, 0) + 1
            own = framework.own_tensors(layer).values()
            numbers["parameters"] = sum(int(np.prod(tensor.shape)) for tensor in own)
            rows.append((name, str(counts[name]), size(inputs[0]), size(output), str(numbers["parameters"])))

    for _, layer in framework.modules(module):
        register = layer.register_forward_hook if side == "torch" else layer.register_forward_post_hook
        register(hook)
    module.eval()
    with framework.no_grad():
        module(framework.to_tensor(np.zeros(shape, np.float32)))
    return rows


def table(name: str) -> list[tuple[str, ...]]:
    with (TABLES / name).open() as file:
        return [tuple(row) for row in csv.reader(file)][1:]


@pytest.mark.parametrize("side", ["torch", "paddle"])
def test_googlenet_matches_the_table_row_by_row(side: str) -> None:
    from importlib import import_module

    model = import_module(f"{side}_impl.googlenet").GoogLeNet()
    expected = table("googlenet_1000_at_224.csv")
    assert len(expected) == 154
    assert walk(side, model, (1, 3, 224, 224)) == expected


@pytest.mark.parametrize("side", ["torch", "paddle"])
def test_inception_matches_the_table_row_by_row(side: str) -> None:
    from importlib import import_module

    block = import_module(f"{side}_impl.googlenet").Inception(192, 64, (96, 128), (16, 32), 32)
    expected = table("inception_192_at_224.csv")
    assert len(expected) == 13
    found = [row for row in walk(side, block, (1, 192, 224, 224)) if row[0] != "Inception"]
    assert found == expected


@pytest.mark.parametrize("side", ["torch", "paddle"])
@pytest.mark.parametrize("size", [(208, 224), (224, 257), (32, 32)])
def test_an_image_that_the_heads_cannot_take_is_refused_with_the_sizes_that_work(
    side: str, size: tuple[int, int]
) -> None:
    from importlib import import_module

    framework = load_framework(side)
    model = import_module(f"{side}_impl.googlenet").GoogLeNet(num_classes=4)
    with pytest.raises(ValueError, match="209 to 256 pixels"):
        model(framework.to_tensor(np.zeros((1, 3, *size), np.float32)))


@pytest.mark.parametrize("side", ["torch", "paddle"])
@pytest.mark.parametrize("size", [(209, 256), (256, 209)])
def test_the_sizes_that_the_error_promises_work(side: str, size: tuple[int, int]) -> None:
    from importlib import import_module

    framework = load_framework(side)
    model = import_module(f"{side}_impl.googlenet").GoogLeNet(num_classes=4)
    model.eval()
    with framework.no_grad():
        outputs = model(framework.to_tensor(np.zeros((1, 3, *size), np.float32)))
    assert [tuple(output.shape) for output in outputs] == [(1, 4)] * 3
