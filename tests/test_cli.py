"""The command line: exit codes, one line for a mistake, nothing half-written, and late imports."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.conftest import Run


def test_help_imports_no_framework_and_not_numpy() -> None:
    code = (
        "import sys; sys.argv = ['portproof', '--help']\n"
        "from portproof._cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'paddle', 'onnx', 'onnxruntime', 'numpy', 'rich'} & set(sys.modules)\n"
        "print(heavy, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "set()"
    assert "verify" in done.stdout


def test_importing_portproof_imports_no_framework() -> None:
    code = "import sys, portproof; print({'torch', 'paddle', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_verify_prints_a_table_and_exits_0(project: Path, run: Run) -> None:
    answer = run("verify", "--quick")
    assert answer.code == 0
    assert "verdict: equivalent" in answer.out
    assert max(map(len, answer.out.splitlines())) <= 100


def test_json_to_standard_output_is_all_there_is(project: Path, run: Run) -> None:
    answer = run("verify", "tiny", "--quick", "--json", "-")
    document = json.loads(answer.out)
    assert document["schema_version"] == 1
    assert document["port"] == "tiny"
    assert {"from", "to", "precision", "verdict", "worst"} <= set(document["hops"][0])
    assert {"tensor", "ratio", "max_abs", "max_rel", "max_ulp"} <= set(document["hops"][0]["worst"])


def test_a_divergence_exits_1_and_is_written_to_the_json_file(project: Path, run: Run) -> None:
    file = project / "tiny.py"
    file.write_text(
        file.read_text().replace("nn.ReLU(), nn.Linear(8, classes))", "nn.Tanh(), nn.Linear(8, classes))", 1)
    )
    answer = run("verify", "--quick", "--json", project / "out.json")
    assert answer.code == 1
    document = json.loads((project / "out.json").read_text())
    assert document["verdict"] == "divergent"
    assert [(c["module"], c["kind"], c["direction"]) for c in document["culprits"]] == [("1", "computes", "forward")]


def test_settings_reach_both_factories(project: Path, run: Run) -> None:
    assert run("verify", "--quick", "--set", "classes=8").code == 0
    run("verify", "--quick", "--set", "colour=8").refused(2, "factory", "colour")
    run("verify", "--quick", "--set", "classes").refused(2, "NAME=VALUE")


def test_an_unknown_port_lists_those_there_are(project: Path, run: Run) -> None:
    run("verify", "nothing").refused(2, "no port 'nothing'", "tiny")
    run("verify", "nowhere.py:PORT").refused(2, "no such file")
    run("verify", "tiny:NOTHING").refused(2, "has no 'NOTHING'")
    run("verify", "tiny.py:torch_model").refused(2, "expected a portproof.Port")


def test_a_port_file_is_named_by_path_and_needs_no_name_where_it_has_one_port(project: Path, run: Run) -> None:
    (project / "pyproject.toml").unlink()
    assert run("verify", "tiny.py", "--quick").code == 0
    assert run("verify", project / "tiny.py:TINY", "--quick").code == 0
    run("verify").refused(2, "no port given")


def test_a_port_file_with_a_syntax_error_names_the_line(project: Path, run: Run) -> None:
    (project / "bad.py").write_text("x = 1\ny = (\n")
    run("verify", "bad.py:PORT").refused(2, "SyntaxError at line 2", "bad.py")


def test_a_factory_that_raises_is_bad_input(project: Path, run: Run) -> None:
    file = project / "tiny.py"
    file.write_text(file.read_text().replace("from paddle import nn", "raise RuntimeError('no weights here')"))
    run("verify", "--quick").refused(2, "paddle factory of port 'tiny'", "no weights here")


def test_both_sides_raising_is_bad_input_and_not_a_verdict(project: Path, run: Run) -> None:
    file = project / "tiny.py"
    file.write_text(file.read_text().replace('("batch", 8)', '("batch", 7)'))
    run("verify", "--quick").refused(2, "torch model raised", "paddle model raised")


def test_one_module_is_judged_alone_in_the_sides_own_processes(project: Path, run: Run) -> None:
    file = project / "tiny.py"
    file.write_text(
        file.read_text().replace("nn.ReLU(), nn.Linear(8, classes))", "nn.Tanh(), nn.Linear(8, classes))", 1)
    )
    assert run("verify", "--quick", "--module", "2").code == 0
    assert run("verify", "--quick", "--module", "1").code == 1


def test_a_missing_module_suggests_the_near_ones(project: Path, run: Run) -> None:
    run("verify", "--quick", "--module", "9").refused(2, "no module '9'")


@pytest.mark.parametrize("folder", ["empty", "nowhere", "broken"])
def test_folders_without_a_readable_image(project: Path, run: Run, folder: str) -> None:
    file = project / "tiny.py"
    file.write_text(file.read_text().replace('("batch", 8)', '("batch", 3, 8, 8)'))
    if folder != "nowhere":
        (project / folder).mkdir()
    if folder == "broken":
        (project / folder / "a.jpg").write_bytes(b"\xff\xd8\xff\xe0 not a photograph")
    expected = {"empty": "no photograph", "nowhere": "is no folder", "broken": "cannot be read as an image"}
    run("verify", "--quick", "--images", folder).refused(2, expected[folder])


def test_images_for_a_port_that_takes_none(project: Path, run: Run) -> None:
    run("verify", "--quick", "--images", ".").refused(2, "takes no image")


def test_a_place_that_cannot_be_written_is_refused_before_any_work(project: Path, run: Run) -> None:
    run("verify", "--json", "nowhere/out.json").refused(2, "does not exist")
    run("export", "--from", "torch", "-o", "nowhere/m.onnx").refused(2, "does not exist")
    run("export", "--from", "torch", "-o", ".").refused(2, "it is a folder")
    run("bench", "run", "-o", "nowhere/b.json").refused(2, "does not exist")


def test_a_device_that_is_not_there_exits_4(project: Path, run: Run) -> None:
    import torch

    if torch.cuda.is_available():
        assert run("verify", "--quick", "--device", "cuda").code == 0
    else:
        run("verify", "--quick", "--device", "cuda").refused(4, "device cuda", "--device cpu")
    run("verify", "--quick", "--device", "tpu").refused(2, "cpu or cuda")


def test_an_interpreter_that_is_not_there_exits_4(project: Path, run: Run) -> None:
    with (project / "pyproject.toml").open("a") as file:
        file.write('[tool.portproof.python]\npaddle = "nowhere/bin/python"\n')
    run("verify", "--quick").refused(4, "paddle side's interpreter", "nowhere/bin/python")


def test_ports_and_doctor_answer(project: Path, run: Run) -> None:
    listed = run("ports")
    assert listed.code == 0
    assert "tiny" in listed.out
    assert "onnxruntime-paddle" in listed.out
    document = json.loads(run("doctor", "--json", "-").out)
    assert document["providers"]["CPUExecutionProvider"] == "loads"
    assert next(p for p in document["packages"] if p["name"] == "torch")["version"]


# Conversion ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def checkpoint(project: Path) -> Path:
    """A torch checkpoint of the small port, as safetensors."""
    rng = np.random.default_rng(3)
    shapes = {"0.weight": (8, 8), "0.bias": (8,), "2.weight": (3, 8), "2.bias": (3,)}
    tensors = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    tensors["0.bias"][:2] = np.array([0x80000000, 0x7FC12345], np.uint32).view(np.float32)  # -0 and a NaN's payload
    save_file(tensors, project / "torch.safetensors", {"portproof.side": "torch"})
    return project / "torch.safetensors"


def test_torch_to_paddle_to_torch_is_bit_exact_and_reproducible(checkpoint: Path, run: Run) -> None:
    for target in ("a.pdparams", "b.pdparams"):
        answer = run("convert", checkpoint, target)
        assert answer.code == 0, answer
    assert "2 copy, 2 transpose" in answer.out
    assert Path("a.pdparams").read_bytes() == Path("b.pdparams").read_bytes()
    assert run("convert", "a.pdparams", "back.pt").code == 0
    assert run("convert", "back.pt", "back.safetensors", "--to", "torch").code == 0
    before, after = load_file(checkpoint), load_file("back.safetensors")
    assert {n: a.tobytes() for n, a in before.items()} == {n: a.tobytes() for n, a in after.items()}


def test_each_framework_loads_what_was_converted(checkpoint: Path, run: Run) -> None:
    import paddle
    import torch

    from tests.small_ports import paddle_mlp

    run("convert", checkpoint, "a.pdparams")
    run("convert", "a.pdparams", "back.pt")
    expected = load_file(checkpoint)
    loaded = paddle.load("a.pdparams")
    np.testing.assert_array_equal(loaded["0.weight"].numpy(), expected["0.weight"].T)
    layer = paddle_mlp()
    assert layer.set_state_dict(loaded) == ([], [])
    state = torch.load("back.pt", weights_only=True)
    np.testing.assert_array_equal(state["2.weight"].numpy(), expected["2.weight"])


def test_frameworks_own_files_are_read(checkpoint: Path, run: Run) -> None:
    import paddle

    from tests.small_ports import paddle_mlp

    layer = paddle_mlp()
    paddle.save(layer.state_dict(), "own.pdparams")
    assert run("convert", "own.pdparams", "own.safetensors").code == 0
    np.testing.assert_array_equal(load_file("own.safetensors")["0.weight"], layer.state_dict()["0.weight"].numpy().T)


def test_a_dry_run_writes_nothing(checkpoint: Path, run: Run) -> None:
    answer = run("convert", checkpoint, "a.pdparams", "--dry-run")
    assert answer.code == 0
    assert not Path("a.pdparams").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop("0.bias"), ["'0.bias' [8] float32", "missing"]),
        (lambda t: t.update(extra=np.zeros(2, np.float32)), ["'extra' [2]", "not in the model"]),
        (lambda t: t.update({"2.bias": np.zeros(5, np.float32)}), ["'2.bias' is [3]", "[5] in the file"]),
        (lambda t: t.update({"2.bias": np.zeros(3)}), ["'2.bias' is float32", "float64 in the file"]),
    ],
)
def test_a_tensor_without_its_equal_is_named_and_the_old_file_kept(checkpoint: Path, run: Run, change, words) -> None:
    tensors = load_file(checkpoint)
    change(tensors)
    save_file(tensors, "changed.safetensors", {"portproof.side": "torch"})
    Path("out.pdparams").write_text("old")
    run("convert", "changed.safetensors", "out.pdparams").refused(2, *words)
    assert Path("out.pdparams").read_text() == "old"
    assert {p.name for p in Path().iterdir() if p.name.startswith(".out")} == set()
    run("verify", "--quick", "--weights", "changed.safetensors").refused(2, *words)


def test_another_class_count_is_named(checkpoint: Path, run: Run) -> None:
    run("convert", checkpoint, "a.pdparams", "--set", "classes=5").refused(2, "'2.weight' is [5, 8]", "[3, 8]")


def test_truncated_and_foreign_files(checkpoint: Path, run: Run) -> None:
    run("convert", checkpoint, "a.pdparams")
    run("convert", "a.pdparams", "a.pt")
    for name in ("a.pdparams", "a.pt", "torch.safetensors"):
        content = Path(name).read_bytes()
        cut = f"cut{Path(name).suffix}"
        Path(cut).write_bytes(content[: len(content) // 2])
        run("convert", cut, "out.safetensors").refused(2, cut)
        Path(cut).write_bytes(b"this is no checkpoint")
        run("convert", cut, "out.safetensors").refused(2, cut)
        run("verify", "--quick", "--weights", cut).refused(2, cut)
    run("convert", "none.pt", "out.safetensors").refused(2, "no such file")
    run("convert", "tiny.py", "out.safetensors").refused(2, "expected one of .pdparams")
    assert not Path("out.safetensors").exists()


def test_a_safetensors_file_that_does_not_say_whose_it_is_needs_from(checkpoint: Path, run: Run) -> None:
    save_file(load_file(checkpoint), "mute.safetensors")
    run("convert", "mute.safetensors", "a.pdparams").refused(2, "--from")
    assert run("convert", "mute.safetensors", "a.pdparams", "--from", "torch").code == 0
    run("convert", checkpoint, "a.pdparams", "--from", "paddle").refused(2, "--from says paddle")


def test_verify_judges_given_weights_beside_sensitised_ones(checkpoint: Path, run: Run) -> None:
    tensors = load_file(checkpoint)
    tensors["0.bias"][:2] = 0.5
    save_file(tensors, "finite.safetensors", {"portproof.side": "torch"})
    answer = run("verify", "--quick", "--weights", "finite.safetensors", "--json", "-")
    assert answer.code == 0, answer
    labels = {hop["weights"] for hop in json.loads(answer.out)["hops"]}
    assert labels == {"given (finite.safetensors)", "sensitised"}


def test_export_writes_the_port_s_interface(project: Path, run: Run) -> None:
    import onnx

    for side in ("torch", "paddle"):
        assert run("export", "--from", side, "-o", f"{side}.onnx").code == 0
        graph = onnx.load(f"{side}.onnx").graph
        assert [value.name for value in graph.input] == ["x"]
        assert [value.name for value in graph.output] == ["out"]
        assert [d.dim_param or d.dim_value for d in graph.input[0].type.tensor_type.shape.dim] == ["batch", 8]
        assert [d.dim_param or d.dim_value for d in graph.output[0].type.tensor_type.shape.dim] == ["batch", 3]
        assert "0.weight" in {initializer.name for initializer in graph.initializer}
