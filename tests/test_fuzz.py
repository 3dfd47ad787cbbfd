"""Documents of every kind that a command takes, damaged: each is used or refused, in bounded time and memory."""

import contextlib
import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from portproof import BadInput
from portproof._disk import as_kind, parse_json
from portproof._errors import Unavailable
from tests.fuzz import KINDS, run
from tests.fuzz_checkpoints import READERS
from tests.fuzz_documents import DOCUMENTS, SLOW, _places

_JSON = ("bench", "report", "history", "costs", "capture", "training-state", "faults")


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_damaged_documents_are_used_or_refused_and_nothing_else(tmp_path: Path, kind: str) -> None:
    found = run(kind, 500, tmp_path, seed=0)
    assert found.failures == []
    assert found.refused > 50
    assert found.read > 5


@pytest.mark.slow
@pytest.mark.parametrize("kind", DOCUMENTS)
def test_a_hundred_thousand_damaged_documents(tmp_path: Path, kind: str) -> None:
    assert run(kind, 10_000 if kind in SLOW else 100_000, tmp_path, seed=1).failures == []


def test_make_fuzz_has_every_kind() -> None:
    assert set(KINDS) == {*READERS, *DOCUMENTS}
    assert "python -m tests.fuzz 100000" in (Path(__file__).parents[1] / "Makefile").read_text()


#: Any JSON, and what Python takes for JSON although it is none.
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize("kind", _JSON)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_value_in_any_place_is_used_or_refused(tmp_path: Path, kind: str, data: st.DataObject) -> None:
    document = DOCUMENTS[kind]
    made: Any = copy.deepcopy(data.draw(st.sampled_from(document.seeds(tmp_path))))
    holder, key = data.draw(st.sampled_from(list(_places(made))))
    holder[key] = data.draw(_VALUES)
    path = tmp_path / ("manifest.json" if kind == "capture" else f"x{document.suffix}")
    path.write_bytes(document.encode(made))
    with contextlib.suppress(BadInput, Unavailable):
        document.use(path, 1)


@given(_VALUES)
def test_a_document_has_no_number_that_is_none(value: Any) -> None:
    text = json.dumps(value)
    try:
        read = parse_json(text)
    except ValueError:
        assert any(word in text for word in ("NaN", "Infinity")) or any(len(part) > 40 for part in text.split())
    else:
        assert read == value
        json.dumps(read, allow_nan=False)


#: What a review found `bench validate` to accept and its readers to crash on, and its kin: a place and a value.
_ACCEPTED = {
    "an unknown side": (("rows", 0, "side"), "jax"),
    "no environment": (("environment",), {}),
    "packages that are none": (("environment", "packages"), ["torch"]),
    "a sample of 0": (("rows", 0, "processes", 0, "samples_ms", 0), 0),
    "a sample that is no number": (("rows", 0, "processes", 0, "samples_ms", 0), float("nan")),
    "an infinite sample": (("rows", 0, "processes", 0, "samples_ms", 0), float("inf")),
    "no samples": (("rows", 0, "processes", 0, "samples_ms"), []),
    "no time spent": (("seconds",), {}),
    "negative seconds": (("rows", 0, "processes", 0, "build_s"), -1),
    "an unheard verdict": (("rows", 0, "verdict"), "maybe"),
    "no batches": (("suite", "batches"), []),
    "a peak of 0": (("marks", 0, "gflops"), 0),
    "evidence of another kind": (("rows", 0, "processes", 0, "evidence"), {"cpu_nodes": [1]}),
    "a GPU of another kind": (("rows", 0, "processes", 0, "gpu"), {"after": [1]}),
}


@pytest.mark.parametrize("what", _ACCEPTED)
def test_what_a_reader_would_crash_on_is_refused(tmp_path: Path, what: str) -> None:
    (place, value), document = _ACCEPTED[what], DOCUMENTS["bench"]
    made = document.seeds(tmp_path)[0]
    holder = made
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = value
    path = tmp_path / "x.json"
    path.write_bytes(document.encode(made))
    with pytest.raises(BadInput, match=r"damaged|positive"):
        document.use(path, 0)


@pytest.mark.parametrize("title", ["$\\frac{$", "\ud800", "$x", "\\", "^_{"])
def test_a_title_is_text_in_every_reader(tmp_path: Path, title: str) -> None:
    made = DOCUMENTS["bench"].seeds(tmp_path)[0]
    for row in made["rows"]:
        row["title"] = title
    path = tmp_path / "x.json"
    path.write_bytes(DOCUMENTS["bench"].encode(made))
    DOCUMENTS["bench"].use(path, 0)


def test_a_kind_says_where_it_is_missed() -> None:
    with pytest.raises(ValueError, match=r"1\.x: input should be a valid integer"):
        as_kind(dict[str, dict[str, int]], {"1": {"x": "y"}})
