"""ResNet-18 as a port: Paddle's own (``paddle.vision``) beside the PyTorch one here. It has BatchNorm and shortcuts."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from portproof import Input, Port
from portproof.faults import Kind, Site, everywhere


@contextmanager
def _without_shortcut(sites: Sequence[Site], rng: Any) -> Iterator[None]:
    """Leave the shortcut of a residual block out. The blocks of both sides have the same parts."""
    (site,) = sites
    block = site.module

    def forward(_: Any, x: Any) -> Any:
        return block.relu(block.bn2(block.conv2(block.relu(block.bn1(block.conv1(x))))))

    with site.forward_replaced(forward):
        yield


#: A fault that only this kind of network can have, beside the catalogue's.
FAULTS = (Kind("shortcut dropped", everywhere(lambda site: hasattr(site.module, "bn2")), _without_shortcut),)

RESNET18 = Port(
    name="resnet18",
    paddle="paddle.vision.models:resnet18",
    torch="torch_impl.resnet:ResNet18",
    inputs={"image": Input(shape=("batch", 3, 224, 224))},
    outputs=("logits",),
    faults=FAULTS,
)
