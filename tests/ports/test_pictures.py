"""Pictures from strangers: what they cost is bounded by what they are, not by what resizing them makes."""

import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from portproof import BadInput, Input, Port
from portproof.agree._decode import Pictures
from portproof.agree._images import Images
from portproof.ports._inputs import make_batch, preprocess
from tests.conftest import Run
from tests.test_hostile import bounded, png

PORT = Port("pictures", torch="x:y", inputs={"image": Input(("batch", 3, 32, 32))})


@pytest.mark.parametrize("shape", [(1, 1), (1, 60), (60, 1), (2, 3), (3, 300)])
def test_small_and_thin_pictures_make_rows(tmp_path: Path, shape: tuple[int, int]) -> None:
    Image.fromarray(np.full((*shape, 3), 128, np.uint8)).save(tmp_path / "a.png")
    rows = make_batch(PORT, images=tmp_path).arrays["image"]
    assert rows.shape[1:] == (3, 32, 32)
    assert np.isfinite(rows).all()


@pytest.mark.parametrize(("width", "height"), [(2, 20_000), (20_000, 2), (1, 101)])
def test_a_picture_that_resizing_blows_up_is_refused(tmp_path: Path, run: Run, width: int, height: int) -> None:
    file = tmp_path / "thin.png"
    file.write_bytes(png(width, height, zlib.compress(bytes((3 * width + 1) * height))))
    said = bounded(f"""
        from pathlib import Path
        from portproof.ports._inputs import preprocess, read_photograph
        preprocess(read_photograph(Path({str(file)!r})), 224, 224)
    """)
    assert "PortproofError BadInput" in said.stdout, said.stdout + said.stderr
    assert f"{width} x {height}" in said.stdout
    assert int(said.stdout.split("peak")[1]) < 300e6
    run("verify", "tests.small_ports:PICTURES", "--images", tmp_path).refused(2, f"{width} x {height}", "thin.png")
    (found,) = Images(str(tmp_path))
    pictures = Pictures(PORT)
    pictures.read(0, [found])
    (reason,) = pictures.decode(0, [found], tmp_path / "rows").unreadable.values()
    assert reason.startswith(f"has {width} x {height} pixels")


def test_what_it_would_be_resized_to_is_bounded_too(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"3429 x 342857 pixels"):
        preprocess(np.zeros((100, 1, 3), np.uint8), 3000, 3000)


def test_verify_holds_one_picture_at_a_time(tmp_path: Path) -> None:
    for number in range(8):
        (tmp_path / f"{number}.png").write_bytes(png(4000, 4000, zlib.compress(bytes(12_001 * 4000), 1)))
    said = bounded(f"""
        from pathlib import Path
        from portproof import Input, Port
        from portproof.ports._inputs import make_batch
        port = Port("pictures", torch="x:y", inputs={{"image": Input(("batch", 3, 32, 32))}})
        made = make_batch(port, images=Path({str(tmp_path)!r}))
        print(*made.families[:12], sep=chr(10))
    """)
    assert "photograph 7.png (centre)\nphotograph 0.png (mirrored)" in said.stdout, said.stdout + said.stderr
    assert int(said.stdout.split("peak")[1]) < 450e6


def test_the_largest_picture_costs_what_the_threat_model_says(tmp_path: Path) -> None:
    file = tmp_path / "large.png"
    file.write_bytes(png(10_000, 10_000, zlib.compress(bytes(30_001 * 10_000), 1)))
    said = bounded(f"""
        from pathlib import Path
        from portproof.ports._inputs import preprocess, read_photograph
        preprocess(read_photograph(Path({str(file)!r})), 224, 224)
    """)
    assert int(said.stdout.split("peak")[1]) < 1.1e9, said.stdout
