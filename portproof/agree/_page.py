"""An agreement as one page that needs no network, with the images that are worth a look."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable

from portproof._errors import PortproofError
from portproof.agree._images import DataImage, read_bytes
from portproof.agree._print import agreeing, drop, rate
from portproof.agree._result import Agreement
from portproof.judge._floor import FLOOR_MULTIPLE
from portproof.judge._report import HOLDS
from portproof.ports._inputs import decode_photograph
from portproof.render._layout import rendered
from portproof.render._words import number

_SIDE = 128


def page(found: Agreement, images: Iterable[DataImage]) -> str:
    """Return the page.

    Args:
        found: the agreement.
        images: of the data set, in its order; those worth a look are read again.
    """
    wanted = {looked.number for runner in found.runners for looked in (*runner.worst, *runner.flips)}
    thumbnails = {number: thumbnail(picture) for number, picture in enumerate(images) if number in wanted}
    runners = sorted(found.runners, key=lambda runner: (runner.verdict in HOLDS, not runner.top1.flips))
    return rendered(
        "agree",
        found=found, runners=runners, headline=headline(found), thumbnails=thumbnails, number=number, rate=rate,
        agreeing=agreeing, drop=drop, multiple=f"{FLOOR_MULTIPLE:.0f}",
    )  # fmt: skip


def headline(found: Agreement) -> str:
    """Say in one line what a data set showed: who differs, who flips, or that nobody does."""
    images = f"{found.images:,} images"
    apart = [runner for runner in found.runners if runner.verdict == "divergent"]
    if apart:
        more = f" and {len(apart) - 1} more" if len(apart) > 1 else ""
        return f"{apart[0].title}{more} differ{'' if more else 's'} from {found.oracle} on {images}"
    flipping = max(found.runners, key=lambda runner: runner.top1.flips, default=None)
    if flipping is not None and flipping.top1.flips:
        return f"{flipping.title} flips {flipping.top1.flips:,} of {images}"
    highest = max((runner.top1.high for runner in found.runners), default=0.0)
    return f"No class flips on {images}: the rate is below {rate(highest)}"


def thumbnail(picture: DataImage) -> str:
    """Return a small picture as a data URI, "" where the image cannot be read any more."""
    from PIL import Image

    try:
        photograph = decode_photograph(io.BytesIO(read_bytes(picture)), picture.name)
    except PortproofError:
        return ""
    small = Image.fromarray(photograph)
    small.thumbnail((_SIDE, _SIDE))
    out = io.BytesIO()
    small.save(out, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()
