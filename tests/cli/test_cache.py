"""``portproof cache``: what is there, and how it is removed."""

from pathlib import Path

import pytest

from portproof.sides._reads import FILE, Read
from portproof.sides._store import Answer, open_store, piece_of
from tests.conftest import Run


def test_what_is_kept_is_said_and_removed(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PORTPROOF_CACHE", "2GB")
    assert "0.0 MB, at most 2 GB" in run("cache").out
    store, file = open_store(), tmp_path / "file"
    assert store is not None
    file.write_bytes(bytes(3_000_000))
    about = {"port": "tiny", "side": "torch", "task": "run"}
    for key in ("aa", "ab"):  # the same file of both counts once
        answer = Answer(1, {"out": [piece_of(file, "")]}, about)
        store.keep(key, [Read(FILE, "/a.py", key)], answer, {"out": file})
    assert "  tiny, torch: 2 answers, 3.0 MB" in run("cache").out
    assert "3.0 MB of" in run("cache", "clear").out
    assert "0.0 MB, at most 2 GB" in run("cache").out
    monkeypatch.setenv("PORTPROOF_CACHE", "off")
    assert ", off (" in run("cache").out
    run("cache", "clean").refused(2, "cache takes nothing, or clear")
    monkeypatch.setenv("PORTPROOF_CACHE", "big")
    run("cache").refused(2, "PORTPROOF_CACHE takes a size")
