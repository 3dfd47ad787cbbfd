"""Puts the flagship's folders into the wheel as template data, for ``portproof init --from googlenet``.

They are never installed as packages of their own: names such as ``convert`` must not land in anyone's site-packages.
"""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent


def flagship() -> list[str]:
    """Return the files that make the flagship, as ``portproof init`` reads them too."""
    return (ROOT / "portproof" / "render" / "templates" / "googlenet" / "FILES").read_text(encoding="utf-8").split()


class BuildWithTemplates(build_py):
    """Copies the template's files beside those of the package."""

    def run(self) -> None:
        """Build, then copy."""
        super().run()
        if self.editable_mode:
            return
        for name in flagship():
            target = Path(self.build_lib, "portproof", "render", "templates", "googlenet", name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())


setup(cmdclass={"build_py": BuildWithTemplates})
