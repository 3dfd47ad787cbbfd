"""The command line: exit codes, one line for a mistake, nothing half-written, and late imports."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from tests.conftest import Run


def test_help_imports_no_framework_and_not_numpy() -> None:
    code = (
        "import sys; sys.argv = ['portproof', '--help']\n"
        "from portproof.cli._app import main\n"
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


@pytest.mark.processes
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


@pytest.mark.processes
def test_a_factory_that_raises_is_bad_input(project: Path, run: Run) -> None:
    file = project / "tiny.py"
    file.write_text(file.read_text().replace("from paddle import nn", "raise RuntimeError('no weights here')"))
    run("verify", "--quick").refused(2, "paddle factory of port 'tiny'", "no weights here")


def test_both_sides_raising_is_bad_input_and_not_a_verdict(project: Path, run: Run) -> None:
    file = project / "tiny.py"
    file.write_text(file.read_text().replace('("batch", 8)', '("batch", 7)'))
    run("verify", "--quick").refused(2, "torch model raised", "paddle model raised")


@pytest.mark.processes
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
    answer = run("verify", "--quick")
    named, refused = answer.err.splitlines()
    assert answer.code == 4
    assert f"the paddle side runs in {project}/nowhere/bin/python, as" in named
    assert "the paddle side's interpreter" in refused


def test_ports_and_doctor_answer(project: Path, run: Run) -> None:
    listed = run("ports")
    assert listed.code == 0
    assert "tiny" in listed.out
    assert "onnxruntime-paddle" in listed.out
    document = json.loads(run("doctor", "--json", "-").out)
    assert document["providers"]["CPUExecutionProvider"] == "loads"
    assert next(p for p in document["packages"] if p["name"] == "torch")["version"]


# Given weights and exports ------------------------------------------------------------------------------------------


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
