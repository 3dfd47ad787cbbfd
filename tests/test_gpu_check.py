"""The GPU check rehearsed on a CPU: every bit comes back, a broken step does not end it, no GPU is no number."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from benchmarks.gpu_check import _bundle, _check, _pieces, _rows, _steps
from benchmarks.gpu_check.__main__ import main
from portproof import BadInput
from portproof.bench._prepare import prepare
from portproof.ports._locate import find_port
from portproof.runners import find_runner
from portproof.sides._session import Sessions

PORTS = ("convert.zoo:LENET", "convert.zoo_beyond:BERT")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "bundle.zip"
    _bundle.write_bundle(path, PORTS, lambda _: None)
    return path


def test_a_bundle_gives_back_every_bit_of_weights_exports_inputs_and_runs(bundle: Path, tmp_path: Path) -> None:
    import onnx
    from onnx import numpy_helper

    _bundle.unpack(bundle, tmp_path / "kits")
    kit = _bundle.kits(tmp_path / "kits")[PORTS[0]]
    folder = tmp_path / "again"
    folder.mkdir()
    with Sessions(find_port(PORTS[0])) as sessions:
        exports = [find_runner(f"onnxruntime-{side}") for side in ("torch", "paddle")]
        again = prepare(sessions, folder, exports)
        # One file a run: with one thread as with two the weights are those of the seed, but for rounding.
        theirs = load_file(kit.prepared.weights["torch"])
    assert theirs.keys() == load_file(again.weights["torch"]).keys()
    assert kit.prepared.floors.keys() == again.floors.keys()
    for name, array in again.rows.items():
        assert array.tobytes() == kit.prepared.rows[name].tobytes()
    for side in ("torch", "paddle"):
        path, other = kit.prepared.artefacts["onnx", side], again.artefacts["onnx", side]
        assert isinstance(path, Path)
        assert isinstance(other, Path)
        mine, proto = onnx.load(path), onnx.load(other)
        assert [node.op_type for node in mine.graph.node] == [node.op_type for node in proto.graph.node]
        held = {tensor.name: numpy_helper.to_array(tensor) for tensor in mine.graph.initializer}
        own = {_bundle._hash(array) for array in theirs.values()} | {_bundle._hash(a.T) for a in theirs.values()}
        assert all(_bundle._hash(array) in own for array in held.values() if array.nbytes >= 1024)


def test_a_tensor_is_kept_as_a_draw_and_its_divisors_or_as_it_is(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    base = _bundle._base({"draw": "0:a.weight"}, (8, 64, 3, 3), {})
    divided = _bundle._divided(base, rng.uniform(0.1, 9, 8))
    folded = _bundle._divided(divided.astype(np.float64), -1 / rng.uniform(0.1, 9, 8))
    other = divided.copy()
    other[3, 2, 1, 0] = np.nextafter(other[3, 2, 1, 0], np.float32(9))  # one bit of one element
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        store = _bundle._Store(archive)
        kept = [store.put(array, {"draw": "0:a.weight"}) for array in (divided, other)]
        kept.append(store.put(folded, {"of": "a.weight"}, {"a.weight": divided}))
        assert [("divisors" in ref, "blob" in ref) for ref in kept] == [(True, False), (False, True), (True, False)]
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        for array, ref in zip((divided, other, folded), kept, strict=True):
            assert _bundle._take(ref, archive, {"a.weight": divided}).tobytes() == array.tobytes()
        with pytest.raises(BadInput, match=r"comes out otherwise with NumPy"):
            _bundle._take({**kept[0], "draw": "1:a.weight"}, archive)


@pytest.mark.slow
def test_a_rehearsal_takes_every_step_that_is_not_cuda_s_own(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    code = main(["run", str(bundle), "--device", "cpu", "-o", str(out), "--budget", "600"])
    document = json.loads((out / "gpu-check.json").read_text())
    assert code == 0, document["steps"]
    assert document["device"] == "cpu"
    assert [step["name"] for step in document["steps"]] != []
    assert {step["name"]: step["state"] for step in document["steps"]} == dict.fromkeys(_steps.STEPS, "done")
    rows = {(row["port"], row["what"], row["setting"]): row for row in document["rows"]}
    assert {row["expected"] for row in rows.values()} == {"holds", "not told", "told", "any"}
    assert all(row["as_expected"] for row in rows.values())
    for precision in ("float64", "float32", "bfloat16", "float16"):
        assert {("lenet", "torch eager", precision), ("bert", "torch eager", precision)} <= rows.keys()
    assert ("bert", "ONNX Runtime, Paddle export", "float32") in rows
    assert rows["lenet", "Deferred", "a clock that does not wait"]["note"].startswith("clock refuted")
    for boundary in ("host", "device"):
        timed = document["documents"][f"latency, {boundary} to {boundary}"]["rows"]
        assert {(row["runner"], row["batch"]) for row in timed if row["processes"]} >= {("torch-eager", 1)}
    page = (out / "gpu-check.md").read_text()
    assert "a rehearsal, no measurement of a GPU" in page
    assert page in capsys.readouterr().out


def test_a_machine_without_cuda_gives_exit_code_4_and_no_number(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    if not torch.cuda.is_available():
        assert main(["run", str(bundle), "-o", str(tmp_path / "out")]) == 4
        said = capsys.readouterr()
        assert said.err.splitlines()[-1].startswith("error: device cuda: this torch build")
        assert said.out == ""
        assert not (tmp_path / "out").exists()


def test_a_step_that_breaks_or_hangs_is_a_row_with_its_reason_and_the_others_go_on(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys, time\n"
        "if len(sys.argv) > 1 and sys.argv[0] == '-m' and 'misconfigured' in sys.orig_argv:\n"
        "    raise SystemExit('the step broke')\n"
        "if 'parity, ONNX Runtime' in sys.orig_argv:\n"
        "    time.sleep(600)\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    monkeypatch.setitem(_check.LIMITS, "parity, ONNX Runtime", 6.0)
    steps = ("parity, ONNX Runtime", "misconfigured", "misconfigured, provider", "parity, torch")
    found = _check.Check(_check.Plan(bundle, "cpu", tmp_path / "out", 600, steps), lambda _: None).run()
    states = {step.name: (step.state, step.note) for step in found.steps}
    assert states["parity, ONNX Runtime"] == ("cut off", "it took more than 6 s")
    assert states["misconfigured"] == ("failed", "SystemExit: the step broke")
    assert states["misconfigured, provider"][0] == states["parity, torch"][0] == "done"
    assert found.exit_code == 4
    page = (tmp_path / "out" / "gpu-check.md").read_text()
    assert "| misconfigured | failed |" in page
    assert "the step broke" in page
    assert "2 of 4 steps did not end by themselves" in page


def test_steps_for_which_no_time_is_left_are_named(bundle: Path, tmp_path: Path) -> None:
    plan = _check.Plan(bundle, "cpu", tmp_path / "out", 1e-3, ("doctor", "latency"))
    found = _check.Check(plan, lambda _: None).run()
    assert [(step.name, step.state) for step in found.steps] == [("doctor", "left out"), ("latency", "left out")]
    assert found.exit_code == 4


def test_the_processes_of_a_step_find_a_checkout_that_is_not_installed() -> None:
    code = "import importlib.util as u; print(u.find_spec('portproof').origin)"  # -S: without what is installed
    found = subprocess.run(
        [sys.executable, "-S", "-P", "-c", code], env=_check._environment(), capture_output=True, text=True, check=True
    )
    assert Path(found.stdout.strip()).parents[1] == Path(_check.__file__).parents[2]


def test_a_row_is_as_expected_only_where_what_is_wrong_was_seen() -> None:
    def row(expected: str, verdict: str) -> bool:
        return _rows.Row("parity", "p", "r", "s", expected, verdict).as_expected  # type: ignore[arg-type]

    assert all(row("holds", verdict) for verdict in ("identical", "equivalent", "accepted"))
    assert not any(row("holds", verdict) for verdict in ("divergent", "inconclusive", "unavailable", "failed"))
    assert all(row("told", verdict) for verdict in ("divergent", "refused"))
    assert not any(row("told", verdict) for verdict in ("equivalent", "inconclusive", "accepted", "failed"))
    assert not row("any", "failed")
    assert all(row("not told", verdict) for verdict in ("identical", "equivalent", "inconclusive"))
    assert not any(row("not told", verdict) for verdict in ("divergent", "failed"))


def test_an_accepted_deviation_is_no_surprise_in_float64(bundle: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    from portproof import Accepted

    _bundle.unpack(bundle, tmp_path / "kits")
    kit = _bundle.kits(tmp_path / "kits")[PORTS[0]]
    kept = replace(kit.located.port, accepted={"fc.0": Accepted(1e-8, "float32 inside")})
    kit = replace(kit, located=replace(kit.located, port=kept))
    asking = _steps.Asking({"kept": kit}, "cpu", 60)
    found = {precision: _steps._parity(asking, kit, "torch-eager", precision) for precision in ("float64", "float32")}
    assert (found["float64"].expected, found["float64"].note) == ("any", "accepted deviations of fc.0")
    assert found["float32"].expected == "holds"


def test_mistakes_are_one_line(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(*arguments: object) -> str:
        capsys.readouterr()
        assert main([*map(str, arguments)]) == 2
        said = capsys.readouterr()
        assert said.out == ""
        return said.err.splitlines()[-1]

    (tmp_path / "text.zip").write_text("no zip")
    cpu = ("--device", "cpu", "-o", tmp_path / "out")
    assert "make one with" in refused("run", tmp_path / "none.zip", *cpu)
    assert "no bundle, or damaged" in refused("run", tmp_path / "text.zip", *cpu)
    assert "there are 'doctor'" in refused("run", bundle, "--steps", "nothing", *cpu)
    assert "is a file" in refused("run", bundle, "--device", "cpu", "-o", tmp_path / "text.zip")
    assert "takes seconds" in refused("run", bundle, "--budget", "-1", *cpu)
    assert "no port" in refused("bundle", "--ports", "nothing", "-o", tmp_path / "b.zip")
    assert "is no wheel" in refused("cut", tmp_path / "text.zip", "-o", tmp_path / "pieces")
    assert "no sound pieces.json" in refused("join", tmp_path / "none", "-o", tmp_path / "site")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["text.zip"]


def test_a_wheel_goes_through_in_pieces_and_a_damaged_piece_is_refused(tmp_path: Path) -> None:
    wheel = tmp_path / "thing-1.0-py3-none-any.whl"
    data = np.random.default_rng(0).bytes(300_000)
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("thing/__init__.py", "VALUE = 7\n")
        archive.writestr("thing/lib.so", data)
    pieces = _pieces.cut(wheel, tmp_path / "pieces", 100_000)
    assert len(pieces) == 4
    assert max(path.stat().st_size for path in pieces) <= 100_000
    assert _pieces.join(tmp_path / "pieces", tmp_path / "site") == wheel.name
    assert (tmp_path / "site/thing/lib.so").read_bytes() == data
    said = subprocess.run(
        [sys.executable, "-c", "import thing; print(thing.VALUE)"],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert said.stdout == "7\n"
    pieces[1].write_bytes(pieces[1].read_bytes()[:-1] + b"x")
    with pytest.raises(BadInput, match="the hash is another"):
        _pieces.join(tmp_path / "pieces", tmp_path / "damaged")
    pieces[1].unlink()
    with pytest.raises(BadInput, match="1 of 4 pieces are missing"):
        _pieces.join(tmp_path / "pieces", tmp_path / "damaged")
    assert not (tmp_path / "damaged").exists()
