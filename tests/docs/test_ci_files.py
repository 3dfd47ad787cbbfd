"""The action, the hook, the snippets and the Dockerfile: they say what can be typed, and the action's scripts run."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import PORT_FILE
from tests.docs.blocks import ROOT, blocks_of
from tests.docs.commands import check

ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
STEPS: dict[str, dict[str, Any]] = {step.get("name", step.get("uses")): step for step in ACTION["runs"]["steps"]}
SCRIPTS = {name: step["run"] for name, step in STEPS.items() if "run" in step}
#: Of the page, by the file that each is.
SNIPPETS = {
    block.title: yaml.safe_load(block.body) for block in blocks_of(Path("docs/ci.md")) if block.language == "yaml"
}


def test_the_action_is_composite_and_uses_what_it_declares() -> None:
    assert ACTION["runs"]["using"] == "composite"
    text = (ROOT / "action.yml").read_text(encoding="utf-8")
    assert set(re.findall(r"inputs\.([\w-]+)", text)) == set(ACTION["inputs"])
    assert all(given["description"] and "default" in given for given in ACTION["inputs"].values())
    for name, step in STEPS.items():
        assert ("run" in step) != ("uses" in step), name
        assert "shell" in step if "run" in step else re.fullmatch(r"[\w./-]+@v\d+", step["uses"]), name
    (output,) = ACTION["outputs"].values()
    identity, said = re.findall(r"steps\.(\w+)\.outputs\.(\w+)", output["value"])[0]
    (judge,) = (step for step in STEPS.values() if step.get("id") == identity)
    assert f'"{said}=' in judge["run"]


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_of_the_action_can_be_typed(name: str) -> None:
    """What people give comes by the environment, so that nothing in it becomes a command."""
    script = SCRIPTS[name]
    assert "${{" not in script
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    given = set(STEPS[name].get("env", {})) | {
        "RUNNER_TEMP",
        "GITHUB_OUTPUT",
        "GITHUB_STEP_SUMMARY",
        "GITHUB_REPOSITORY",
    }
    made = set(re.findall(r"(\w+)\+?=\(?", script)) | set(re.findall(r"(?:for|-a) (\w+)", script))
    assert set(re.findall(r"\$\{?#?(\w+)", script)) <= given | made
    for line in script.splitlines():
        if line.strip().startswith(("portproof ", "uv ", "python ")):
            check(shlex.split(line))
    check(["pytest", script])


@pytest.mark.slow
def test_the_action_judges_and_posts(tmp_path: Path) -> None:
    (tmp_path / "tiny.py").write_text(PORT_FILE)
    (tmp_path / "pyproject.toml").write_text('[tool.portproof]\nports = ["tiny:TINY"]\n')
    (tmp_path / "test_tiny.py").write_text(
        'import pytest\n\n@pytest.mark.portproof("tiny:TINY", quick=True)\ndef test_tiny(portproof):\n'
        "    portproof.holds()\n"
    )
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    files = {name: str(tmp_path / name) for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    environment = os.environ | files | {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": f"{ROOT}:{tmp_path}",
        "VIRTUAL_ENV": sys.prefix, "RUNNER_TEMP": str(tmp_path), "TESTS": "test_tiny.py -q", "REQUIRE": "torch,paddle",
    }  # fmt: skip

    def run(name: str) -> int:
        script = SCRIPTS[name].replace("python -m pytest", f"{shlex.quote(sys.executable)} -m pytest")
        return subprocess.run(["bash", "-eo", "pipefail", "-c", script], cwd=tmp_path, env=environment).returncode

    assert run("Judge") == 0
    assert run("Post the summary") == 0
    assert "equivalent" in (tmp_path / "GITHUB_STEP_SUMMARY").read_text()
    assert f"pages={tmp_path}/portproof-pages" in (tmp_path / "GITHUB_OUTPUT").read_text()
    (tmp_path / "tiny.py").write_text(PORT_FILE.replace("nn.ReLU()", "nn.Tanh()", 1))
    assert run("Judge") == 1
    assert run("Post the summary") == 0
    assert "divergent" in (tmp_path / "GITHUB_STEP_SUMMARY").read_text()


def test_the_snippets_use_what_there_is() -> None:
    steps = SNIPPETS[".github/workflows/ports.yml"]["jobs"]["ports"]["steps"]
    (ours,) = (step for step in steps if "portproof" in step["uses"])
    assert set(ours["with"]) <= set(ACTION["inputs"])
    page = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"^\| `([\w-]+)` \| (?:`(.*?)`)? *\|", page, re.MULTILINE))
    assert told == {name: given["default"] for name, given in ACTION["inputs"].items()}
    job = SNIPPETS[".gitlab-ci.yml"]["ports"]
    for line in job["before_script"] + job["script"]:
        check(shlex.split(line))
    assert job["artifacts"]["reports"]["junit"].startswith(job["artifacts"]["paths"][0])


def test_the_hook_is_a_command() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    named = SNIPPETS[".pre-commit-config.yaml"]["repos"][0]["hooks"]
    assert {hook["id"] for hook in named} == {hook["id"] for hook in hooks}
    for hook, use in zip(hooks, named, strict=True):
        check([*shlex.split(hook["entry"]), *use["args"]])
        assert hook["pass_filenames"] is False
        assert hook["name"]


def instructions(text: str) -> list[tuple[str, str, str]]:
    """Return a Dockerfile's instructions: the word, what it says on one line, and the comment above."""
    found, comment = [], ""
    for line in text.replace("\\\n", " ").splitlines():
        if line.startswith("#"):
            comment = line
        elif line.strip():
            word, _, rest = line.partition(" ")
            found.append((word.upper(), " ".join(rest.split()), comment))
            comment = ""
    return found


def lint(text: str) -> list[str]:
    """Return which of hadolint's rules a Dockerfile breaks; those that a small image can."""
    found, stages, user = [], set(), "root"
    for word, rest, comment in instructions(text):
        broken = []
        if word == "FROM":
            image, _, stage = rest.partition(" AS ")
            if image not in stages:
                broken += ["DL3006"] * (":" not in image) + ["DL3007"] * image.endswith(":latest")
            stages.add(stage)
            user = "root"
        elif word == "USER":
            user = rest
        elif word == "WORKDIR" and not rest.startswith("/"):
            broken += ["DL3000"]
        elif word == "ADD":
            broken += ["DL3020"]
        elif word == "MAINTAINER":
            broken += ["DL4000"]
        elif word in ("CMD", "ENTRYPOINT") and not rest.startswith("["):
            broken += ["DL3025"]
        elif word == "COPY" and "--from=" in rest and rest.split("--from=")[1].split()[0] not in stages:
            broken += ["DL3022"]
        elif word == "RUN":
            broken += ["DL3004"] * ("sudo" in rest) + ["DL3005"] * ("apt-get upgrade" in rest)
            broken += ["DL4006"] * (re.search(r"[^|]\|[^|]", rest) is not None)
            for part in rest.split("&&"):
                if "apt-get install" in part:
                    names = part.partition("install ")[2].split()
                    broken += ["DL3014"] * ("-y" not in names)
                    broken += ["DL3015"] * ("--no-install-recommends" not in names)
                    broken += ["DL3008"] * any("=" not in name for name in names if not name.startswith("-"))
                    broken += ["DL3009"] * ("rm -rf /var/lib/apt/lists" not in rest)
                if re.search(r"\bpip3? install", part) and "uv pip" not in part:
                    names = part.partition("install ")[2].split()
                    broken += ["DL3042"] * ("--no-cache-dir" not in names)
                    broken += ["DL3013"] * any("==" not in name for name in names if not name.startswith("-"))
        ignored = comment.partition("hadolint ignore=")[2]
        found += [f"{rule}: {word} {rest}" for rule in broken if rule not in ignored]
    return found + ["DL3002: the last USER is root"] * (user in ("root", "0"))


def test_the_dockerfile_breaks_no_rule_and_copies_what_is_there() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert lint(text) == []
    assert "NOT BUILT" in text
    sent = set(re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(encoding="utf-8"), re.MULTILINE))
    for word, rest, _ in instructions(text):
        if word == "COPY" and "--from" not in rest:
            for name in rest.split()[:-1]:
                assert (ROOT / name).exists(), name
                assert name in sent, f".dockerignore keeps {name} from the build"
        if word == "RUN" and "uv pip install" in rest:
            check(["uv", rest.replace(".[", "portproof[")])


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("FROM python", "DL3006"), ("FROM python:latest", "DL3007"), ("RUN apt-get install -y libgomp1", "DL3015"),
        ("RUN apt-get install --no-install-recommends libgomp1", "DL3014"), ("RUN pip install torch", "DL3013"),
        ("RUN curl x | sh", "DL4006"), ("USER root", "DL3002"), ("WORKDIR work", "DL3000"), ("CMD portproof", "DL3025"),
        ("COPY --from=nobody /a /b", "DL3022"),
    ],
)  # fmt: skip
def test_the_lint_sees(line: str, rule: str) -> None:
    assert rule in {found.partition(":")[0] for found in lint(f"FROM python:3.11 AS a\nUSER me\n{line}\n")}
