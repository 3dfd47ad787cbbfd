"""Break the lines that fixes of the CHANGELOG rest on, one after the other, and see that the test named for each fails.

``python -m tests.broken_lines``, from the project's folder. The lines are broken in a copy.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
_FOLDERS = ("portproof", "tests", "convert", "torch_impl", "paddle_impl", "parity_tests", "benchmarks", "docs")
_FILES = ("pyproject.toml", "conftest.py")


@dataclass(frozen=True)
class Break:
    """A line, and the test that guards it.

    Attributes:
        fix: what the CHANGELOG says of it, in short.
        file: below the project's folder.
        line: as it stands, once in the file; a part of it is enough.
        broken: what to put in its place.
        test: that must fail then, and pass before.
    """

    fix: str
    file: str
    line: str
    broken: str
    test: str

    def broken_in(self, folder: Path) -> str:
        """Return the file's text with the line broken.

        Raises:
            LookupError: the line is not there, or not only once.
        """
        text = (folder / self.file).read_text(encoding="utf-8")
        if text.count(self.line) != 1:
            how = "not found" if self.line not in text else f"found {text.count(self.line)} times"
            raise LookupError(
                f"line {how} in {self.file}: {self.line!r}. Say in tests/broken_lines.py where it is now."
            )
        return text.replace(self.line, self.broken)


BREAKS = (
    Break(
        "a floor is the smaller side's, so that a hidden cast cannot raise it",
        "portproof/judge/_floor.py",
        "(which(error.rms for error in counted) for which in (min, max))",
        "(which(error.rms for error in counted) for which in (max, max))",
        "tests/judge/test_judge.py::test_the_floor_is_the_smaller_side_s_so_that_a_hidden_cast_cannot_raise_it",
    ),
    Break(
        "where the order of adding decides, float64 shows it",
        "portproof/judge/_floor.py",
        "rms = max(rms, min(rounded, most))",
        "rms = max(rms, min(rounded, rms))",
        "tests/judge/test_judge.py::test_a_side_that_adds_in_a_worse_order_errs_farther_in_each_precision_and_is_right",
    ),
    Break(
        "a lower precision, which float64 knows nothing of, raises no floor",
        "portproof/judge/_floor.py",
        "most / FLOOR_MULTIPLE <= rounded <=",
        "rounded <=",
        "tests/judge/test_judge.py::test_a_side_that_adds_in_a_worse_order_errs_farther_in_each_precision_and_is_right",
    ),
    Break(
        "in bfloat16 and float16 a divergence begins at 8 floors, not 32",
        "portproof/judge/_floor.py",
        "LOWER_MULTIPLE = 8.0",
        "LOWER_MULTIPLE = 32.0",
        "tests/parity/test_precisions.py::test_a_module_that_computes_in_less_than_the_lower_precision_is_named",
    ),
    Break(
        "operands that commute may come in either order",
        "portproof/graphs/_match.py",
        '_COMMUTATIVE = {"Add", "Mul", "Max", "Min"}',
        '_COMMUTATIVE = {"Mul", "Max", "Min"}',
        "tests/graphs/test_match.py::test_the_order_of_operands_that_commute_is_no_difference",
    ),
    Break(
        "inputs are handed over in the port's order, not the alphabet's",
        "portproof/frameworks/_model.py",
        "{name: inputs[name] for name in self.port.inputs}",
        "{name: inputs[name] for name in sorted(self.port.inputs)}",
        "tests/test_api.py::test_inputs_go_in_in_the_port_s_order_through_every_runner_and_export",
    ),
    Break(
        "a buffer that one side has alone keeps the model's own value",
        "portproof/sides/_sides.py",
        'kept = "sensitising weights", list(self._own.get(side, {}))',
        'kept = "sensitising weights", []',
        "tests/parity/test_small_ports.py::test_a_buffer_that_one_side_has_alone_keeps_the_model_s_own_value",
    ),
    Break(
        "a changed model that is another function on the weights of before, and the other side's, gets its own",
        "portproof/parity/_earlier.py",
        "_is_same(now, load_file(self._outputs), floors)",
        "True",
        "tests/parity/test_earlier.py::test_another_function_that_both_are_is_judged_on_weights_of_its_own",
    ),
    Break(
        "what a model computes is told by a row that reaches far, too",
        "portproof/sides/_sensitise.py",
        "[0, int(np.argmax(reach))]",
        "[0, 0]",
        "tests/sides/test_sensitise.py::test_another_function_is_told_apart",
    ),
    Break(
        "how far float32 may go is computed where a side errs beyond the least that it is",
        "portproof/replay/_judge.py",
        "return sorted(beyond)",
        "return []",
        "tests/parity/test_small_ports.py::test_a_layer_whose_terms_cancel_errs_far_in_float32_and_is_right",
    ),
    Break(
        "a tensor of several names is one, and a file in which they differ is refused",
        "portproof/convert/_transfer.py",
        "if array.tobytes() != arrays[0].tobytes():",
        "if array.shape != arrays[0].shape:",
        "tests/convert/test_convert.py::test_a_tensor_of_several_names_and_one_of_another_shape_come_back_bit_for_bit",
    ),
    Break(
        "what runs out of memory is no verdict",
        "portproof/_errors.py",
        "said = isinstance(error, MemoryError) or _NO_MEMORY.search(str(error)) is not None",
        "said = isinstance(error, MemoryError)",
        "tests/test_survival.py::test_what_says_that_memory_ran_out_is_no_word_about_a_model",
    ),
    Break(
        "an ONNX graph is checked before it is run",
        "portproof/graphs/_interpret.py",
        "missing = _unmade(proto.graph, set())",
        "missing = None",
        "tests/test_hostile.py::test_a_cycle_is_no_graph",
    ),
    Break(
        "only JPEG, PNG, BMP and WebP are decoded, whatever a file is called",
        "portproof/ports/_inputs.py",
        "Image.open(source, formats=_FORMATS)",
        "Image.open(source)",
        "tests/test_hostile.py::test_an_image_of_another_kind_is_none",
    ),
    Break(
        "members of a .pt that are packed are refused before they are unpacked",
        "portproof/checkpoints/_zip.py",
        "if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:",
        "if info.flag_bits & 1:",
        "tests/checkpoints/test_checkpoints.py::test_an_archive_that_is_none_of_torch_s_is_refused",
    ),
    Break(
        "processes are compared by the 5% quantile of their samples, which a neighbour does not move",
        "portproof/bench/_stats.py",
        "return ordered[int(UNDISTURBED * len(ordered))]",
        "return ordered[len(ordered) // 2]",
        "tests/bench/test_bench_stats.py::test_what_is_compared_is_not_moved_by_a_neighbour",
    ),
    Break(
        "in a container the memory of a GPU's process is what the device holds beyond its idle state",
        "portproof/bench/_gpu.py",
        'own = after["used_mib"] - idle["used_mib"]',
        'own = after["used_mib"]',
        "tests/test_bench_gpu.py::test_memory_is_the_process_s_own_or_what_the_device_holds_beyond_its_idle_state",
    ),
)


def unguarded(told: Callable[[str], None]) -> list[str]:
    """Break each line; returns those that no test noticed, in words.

    Args:
        told: what was found, a line at a time.

    Raises:
        LookupError: a line has moved away.
        RuntimeError: a named test does not pass on the tree as it is.
    """
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name)
        for folder in _FOLDERS:
            shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
        for file in _FILES:
            shutil.copy(ROOT / file, copy / file)
        broken = {each: each.broken_in(copy) for each in BREAKS}
        before = _pytest(copy, *dict.fromkeys(each.test for each in BREAKS))
        if before.returncode != 0:
            raise RuntimeError(f"the tests do not pass on the tree as it is:\n{before.stdout[-4000:]}")
        found = []
        for each, text in broken.items():
            file = copy / each.file
            kept = file.read_text(encoding="utf-8")
            file.write_text(text, encoding="utf-8")
            failed = _pytest(copy, each.test).returncode == 1  # 2 and more: it did not come to the test
            file.write_text(kept, encoding="utf-8")
            told(f"{'noticed' if failed else 'NOT NOTICED'}: {each.fix} ({each.file})")
            if not failed:
                found.append(f"{each.fix}: with {each.broken!r} in {each.file}, {each.test} does not fail")
        return found


def _pytest(folder: Path, *tests: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment |= {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def main() -> int:
    """Say of each line whether its test noticed; returns the exit code."""
    return int(bool(unguarded(print)))


if __name__ == "__main__":
    raise SystemExit(main())
