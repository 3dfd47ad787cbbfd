"""Make ``docs/verify.svg``: the output of ``portproof verify``, as a picture. Run from the repository's root."""

import re
from pathlib import Path

from rich.console import Console

from portproof import find_port, verify
from portproof.render._terminal import print_report


def main() -> None:
    """Judge GoogLeNet and draw what a terminal would show."""
    console = Console(
        record=True, width=100, highlight=False, markup=False, force_terminal=True, color_system="truecolor"
    )
    print_report(verify(find_port("convert.googlenet:GOOGLENET")), console)
    drawn = console.export_svg(title="make verify")
    offline = re.sub(r"@font-face \{.*?\}", "", drawn, flags=re.DOTALL)  # rich would fetch its font from the network
    Path("docs/verify.svg").write_text(re.sub(r"<!--.*?-->", "", offline, flags=re.DOTALL))


if __name__ == "__main__":
    main()
