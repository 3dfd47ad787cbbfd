"""Make ``docs/found.svg``, ``docs/report.png`` and ``docs/verify.svg`` from today's output: ``make pictures``.

``found.svg`` is what ``portproof verify --quick`` says of GoogLeNet with two branches exchanged, ``report.png`` the
page of the same run in Chromium, ``verify.svg`` what ``make verify`` says of the right one. Each picture carries its
text, by which ``tests/docs/test_pictures.py`` and ``parity_tests/test_googlenet_picture.py`` tell that one is stale.
"""

from __future__ import annotations

import html
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

DOCS = Path(__file__).parent
ROOT = DOCS.parent
FOUND, REPORT, VERIFY = (DOCS / name for name in ("found.svg", "report.png", "verify.svg"))
#: The line of ``torch_impl/googlenet.py`` that is broken, and how.
SLIP = ("self.p3(x), self.p4(x)]", "self.p4(x), self.p3(x)]")
#: Words of a page that its picture carries: somewhat more than it shows.
_KEPT = 200


def break_googlenet(folder: Path) -> None:
    """Write GoogLeNet with two branches exchanged on the torch side as a project of its own."""
    for name in ("torch_impl", "paddle_impl", "convert"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "pyproject.toml").write_text('[tool.portproof]\nports = ["convert.googlenet:GOOGLENET"]\n')
    model = folder / "torch_impl" / "googlenet.py"
    source = model.read_text()
    assert SLIP[0] in source
    model.write_text(source.replace(*SLIP))


def words(text: str) -> list[str]:
    """Return what a command or a page said, without what differs from machine to machine: numbers, versions, times."""
    from portproof._machine import processor

    text = " ".join(text.replace("identical", "equivalent").split())
    text = re.sub(r"(?<=farthest healthy one is )'[^']*'", "", text)
    text = re.sub(r"made with .*?(?=exit code|verdict:)", "", text)
    text = text.replace(processor(), "")
    return re.sub(r"[-+.e\d]*\d[-+.e\d]*", "", text).split()


def text_of_svg(path: Path) -> str:
    """Return what stands in a picture of a terminal, but for its title."""
    found = re.findall(r"<text[^>]*>(.*?)</text>", path.read_text(encoding="utf-8"), re.DOTALL)
    return html.unescape(" ".join(found[1:]))


def text_of_page(page: str) -> str:
    """Return what a page says."""
    body = re.sub(r"<(style|script)\b.*?</\1>", " ", page, flags=re.DOTALL)
    return html.unescape(re.sub(r"<[^>]+>", " ", body[body.index("<body") :]))


def words_of_page(page: str) -> list[str]:
    """Return the first words of a page, as its picture carries them."""
    return words(text_of_page(page))[:_KEPT]


def words_of_png(path: Path) -> list[str]:
    """Return the words that a page's picture carries."""
    from PIL import Image

    with Image.open(path) as picture:
        return str(picture.info.get("portproof", "")).split()


def _run(*arguments: str, folder: Path = ROOT) -> str:
    """Run the command line as in a terminal of a hundred columns, and return what it printed, colours included."""
    colours = {"FORCE_COLOR": "1", "TERM": "xterm-256color", "COLORTERM": "truecolor", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "portproof", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=os.environ | colours, capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert done.returncode in (0, 1), done
    return done.stdout


def _draw(said: str, title: str, target: Path) -> None:
    from rich.console import Console
    from rich.text import Text

    options = {"force_terminal": True, "color_system": "truecolor", "highlight": False}
    console = Console(record=True, width=100, file=io.StringIO(), **options)
    console.print(Text.from_ansi(said))
    drawn = console.export_svg(title=title, unique_id=target.stem)
    offline = re.sub(r"@font-face \{.*?\}", "", drawn, flags=re.DOTALL)  # rich would fetch its font from the network
    target.write_text(re.sub(r"<!--.*?-->", "", offline, flags=re.DOTALL), encoding="utf-8")


def _photograph(page: Path, target: Path) -> None:
    from PIL import Image, PngImagePlugin

    browser = next((found for name in ("chromium", "google-chrome") if (found := shutil.which(name))), None)
    if browser is None:
        raise SystemExit("pictures: expected Chromium to photograph the page, found none: apt-get install chromium")
    shot = page.with_suffix(".png")
    subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1100,1250",
         f"--screenshot={shot}", page.as_uri()],
        stderr=subprocess.DEVNULL, check=True,
    )  # fmt: skip
    kept = PngImagePlugin.PngInfo()
    kept.add_text("portproof", " ".join(words_of_page(page.read_text(encoding="utf-8"))), zip=True)
    with Image.open(shot) as picture:
        picture.convert("RGB").quantize(128).save(target, pnginfo=kept, optimize=True)


def main() -> None:
    """Make the three."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        break_googlenet(folder)
        said = _run("verify", "--quick", "--report", "report.html", folder=folder)
        _draw(said, "portproof verify --quick", FOUND)
        _photograph(folder / "report.html", REPORT)
    _draw(_run("verify", "googlenet"), "make verify", VERIFY)


if __name__ == "__main__":
    main()
