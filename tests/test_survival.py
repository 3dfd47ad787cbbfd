"""A few cells of docs/survival.md in the fast suite; all of them slow, and by `make survive`."""

from pathlib import Path

import pytest

from portproof._errors import BadInput, OutOfMemory, Unavailable, environmental, require_memory
from portproof._machine import bound_memory, cgroup_memory
from portproof.sides._patience import PATIENCE_VARIABLE, patience_s
from tests.survival import COMMANDS, FAULTS, Harness

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Harness:
    return Harness(tmp_path_factory.mktemp("survival"), seed=1)


#: All cells are slow.
FEW = [("export", "disk full")]


@pytest.mark.parametrize(("command", "fault"), FEW)
def test_a_cell_holds(harness: Harness, command: str, fault: str) -> None:
    cell = harness.cell(COMMANDS[command], fault)
    assert not cell.wrong, cell


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("command", COMMANDS)
def test_every_cell_holds(harness: Harness, command: str, fault: str) -> None:
    cell = harness.cell(COMMANDS[command], fault)
    assert not cell.wrong, cell


def test_the_table_in_the_docs_has_every_cell_and_none_that_failed() -> None:
    text = (ROOT / "docs" / "survival.md").read_text()
    for command in COMMANDS:
        row = next(line for line in text.splitlines() if line.startswith(f"| `{command}`"))
        assert row.count("|") == len(FAULTS) + 2
    for fault in FAULTS:
        assert f"| {fault} |" in text
    assert "FAILED" not in text


def test_what_says_that_memory_ran_out_is_no_word_about_a_model() -> None:
    for said in (
        MemoryError("Unable to allocate 3 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:114] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("(ResourceExhausted) Fail to alloc memory of 1234 size"),
        RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
        Exception("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : std::bad_alloc"),
    ):
        with pytest.raises(OutOfMemory) as raised:
            require_memory(said)
        assert raised.value.exit_code == 4
    require_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))  # that is one
    assert isinstance(environmental(OSError(28, "No space left on device", "/x")), BadInput)
    assert environmental(ValueError("x")) is None
    assert issubclass(OutOfMemory, Unavailable)


def test_settings_of_the_machine_that_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("soon", "0", "-1", "inf", "nan"):
        monkeypatch.setenv(PATIENCE_VARIABLE, text)
        with pytest.raises(BadInput, match="number of seconds"):
            patience_s()
    monkeypatch.setenv("PORTPROOF_MEMORY", "much")
    with pytest.raises(BadInput, match="PORTPROOF_MEMORY takes a size"):
        bound_memory()


def test_the_memory_of_a_control_group(tmp_path: Path) -> None:
    assert cgroup_memory(tmp_path) is None
    (tmp_path / "memory.max").write_text("max\n")
    assert cgroup_memory(tmp_path) is None
    (tmp_path / "memory.max").write_text(f"{3 << 30}\n")
    assert cgroup_memory(tmp_path) == 3.0
