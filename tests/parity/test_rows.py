"""Rows are values: fewer of them are other files."""

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from portproof.parity._rows import Rows
from portproof.ports._inputs import Batch
from tests.small_ports import MLP


def rows_of(folder: Path, count: int = 16) -> Rows:
    x = np.arange(count * 8, dtype=np.float32).reshape(count, 8)
    return Rows.write(MLP, Batch({"x": x}, tuple(f"row {i}" for i in range(count))), folder, least=False)


def test_a_quick_run_judges_few_rows_and_makes_its_weights_on_all(tmp_path: Path) -> None:
    rows = rows_of(tmp_path)
    quick = rows.quick()
    assert quick.families == ("row 0", "row 4", "row 8", "row 12")
    assert len(load_file(quick.judged)["x"]) == 4
    assert (quick.all, quick.few) == (rows.all, rows.few)


def test_rows_that_are_left_out_leave_what_was_there_as_it_was(tmp_path: Path) -> None:
    rows = rows_of(tmp_path)
    fewer = rows.without([0, 3])
    assert fewer.left_out([0]).startswith("left out: row 1; ")
    assert len(fewer.families) == len(load_file(fewer.all)["x"]) == 14
    assert fewer.all == fewer.judged
    assert len(load_file(rows.all)["x"]) == 16
    assert not np.array_equal(load_file(rows.few)["x"], load_file(fewer.few)["x"])


def test_the_few_rows_of_outputs_are_those_that_are_replayed(tmp_path: Path) -> None:
    for rows in (rows_of(tmp_path), rows_of(tmp_path).without([1])):
        judged, few = (load_file(path)["x"] for path in (rows.judged, rows.few))
        file, outputs = rows.few_of({"y": judged * 2})
        assert file == rows.few
        np.testing.assert_array_equal(outputs["y"], few * 2)
        file, outputs = rows.few_of({"y": judged * 2, "whole": np.zeros(3)})
        assert file == rows.judged  # what has no rows was computed of all of them
        assert len(outputs["y"]) == len(judged)
