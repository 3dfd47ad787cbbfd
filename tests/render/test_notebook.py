"""Progress in a notebook: lines that change in their place, and leave nothing behind."""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from portproof import verify
from portproof.render import _notebook
from portproof.render._notebook import Cell, display_here, watching_cell
from tests import small_ports


def test_a_cell_says_what_is_done_and_is_empty_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_notebook, "_EACH_S", 0.0)
    shown: list[str] = []

    def display(text: str) -> Any:
        shown.append(text)
        return shown.append

    with watching_cell(display) as cell:
        cell("torch", "replaying <modules>")
        cell("torch", None)
        cell("paddle", None)  # was idle
        cell("paddle", "exporting")
    assert "torch: replaying &lt;modules&gt;, 0 s" in shown[1]
    assert "1 steps done" in shown[-2]
    assert "paddle: exporting" in shown[-2]
    assert shown[-1] == ""


def test_it_does_not_change_more_often_than_an_eye_sees() -> None:
    shown: list[str] = []
    cell = Cell(lambda text: shown.append)
    for _ in range(1000):
        cell("torch", "replaying")
    assert len(shown) < 5


def test_a_report_in_a_notebook_shows_its_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jupyter's own package is not needed to be imported; where it runs this process, it is there."""
    assert display_here() is None
    texts: list[str] = []
    python: Any = ModuleType("IPython")
    python.get_ipython = lambda: SimpleNamespace(kernel=object())
    python.display = SimpleNamespace(
        HTML=lambda text: text,
        display=lambda text, display_id: texts.append(text) or SimpleNamespace(update=texts.append),
    )
    monkeypatch.setitem(sys.modules, "IPython", python)
    monkeypatch.setattr(_notebook, "_EACH_S", 0.0)
    assert verify(small_ports.MLP, quick=True, modules=False)
    assert any("torch: building the model" in text for text in texts)
    assert texts[-1] == ""


def test_a_port_shows_itself() -> None:
    text = str(small_ports.MLP)
    assert text.startswith("port mlp\n  paddle: ")
    assert "outputs: out" in text
    assert text.count("\n") == 4
    assert small_ports.MLP._repr_html_().startswith("<pre>port mlp\n")
