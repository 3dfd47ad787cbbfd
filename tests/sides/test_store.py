"""The store: what is whole is found, what is damaged or gone is as good as absent, and nothing in it is an error."""

import os
import threading
from pathlib import Path

import pytest

from portproof._errors import BadInput
from portproof.sides import _store
from portproof.sides._reads import FILE, Read
from portproof.sides._store import Answer, Store, limit_bytes, open_store, piece_of

CODE = [Read(FILE, "/model.py", "1")]


def kept(store: Store, folder: Path, content: str = "x" * 1000, key: str = "aa") -> None:
    """Keep an answer that wrote one file."""
    file = folder / f"{key}.safetensors"
    file.write_text(content)
    store.keep(key, CODE, Answer([1], {"out": [piece_of(file, "")]}, {"side": "torch"}), {"out": file})


def found(store: Store, folder: Path, key: str = "aa") -> str | None:
    """Return what the file of an answer holds that is taken from the store."""
    answer, out = store.find(key, lambda reads: reads == CODE), folder / "out" / "again"
    out.unlink(missing_ok=True)
    if answer is None or not store.lay_out(answer, {"out": out}):
        assert not out.exists()
        return None
    assert answer.result == [1]
    return out.read_text()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store", 10**6)
    store.make()
    return store


def test_an_answer_is_found_by_its_key_while_its_code_is_the_same(store: Store, tmp_path: Path) -> None:
    kept(store, tmp_path)
    assert found(store, tmp_path) == "x" * 1000
    assert found(store, tmp_path, "ab") is None
    assert store.find("aa", lambda _: False) is None


def test_code_that_was_seen_before_is_known_again(store: Store, tmp_path: Path) -> None:
    for code, result in (("1", "before"), ("2", "after")):
        store.keep("aa", [Read(FILE, "/model.py", code)], Answer(result, {}), {})
    for code, result in (("1", "before"), ("2", "after")):
        answer = store.find("aa", lambda reads, code=code: reads[0].digest == code)
        assert answer is not None
        assert answer.result == result


@pytest.mark.parametrize("part", ["files", "found", "code"])
@pytest.mark.parametrize("how", ["flipped", "cut", "emptied", "gone", "a folder"])
def test_what_is_damaged_is_absent_and_made_anew(store: Store, tmp_path: Path, part: str, how: str) -> None:
    kept(store, tmp_path)
    (file,) = [file for file in (store.root / part).rglob("*") if file.is_file()]
    content = file.read_bytes()
    file.unlink()
    if how == "a folder":
        file.mkdir()
    elif how != "gone":
        middle = len(content) // 2
        flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        file.write_bytes({"flipped": flipped, "cut": content[:-1], "emptied": b""}[how])
    assert found(store, tmp_path) is None
    if how != "a folder":
        kept(store, tmp_path)
        assert found(store, tmp_path) == "x" * 1000


def test_what_was_used_longest_ago_goes_first(store: Store, tmp_path: Path) -> None:
    for number in range(8):
        kept(store, tmp_path, str(number) * 20_000, f"a{number}")
        for file in store.root.rglob("*"):
            os.utime(file, (number, number)) if file.stat().st_mtime > 100 else None
    assert found(store, tmp_path, "a0") == "0" * 20_000  # and is used now
    store.trim(100_000)
    assert store.size() <= 80_000
    assert found(store, tmp_path, "a0") is not None
    assert found(store, tmp_path, "a1") is None
    assert found(store, tmp_path, "a7") is not None


def test_one_answer_does_not_take_the_whole_room(tmp_path: Path) -> None:
    store = Store(tmp_path / "store", 1000)
    kept(store, tmp_path)
    assert found(store, tmp_path) is None


def test_a_full_disk_is_a_note_and_leaves_nothing_half(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_store, "_copied", full)
    kept(store, tmp_path)
    kept(store, tmp_path, key="ab")
    assert store.problem == f"cannot write in '{store.root}' (No space left on device)"
    monkeypatch.undo()
    assert [file for file in store.root.rglob("*") if file.is_file()] == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_read_only_still_answers(store: Store, tmp_path: Path) -> None:
    kept(store, tmp_path)
    for folder in [store.root, *(path for path in store.root.rglob("*") if path.is_dir())]:
        folder.chmod(0o500)
    again = Store(store.root, 10**6)
    assert found(again, tmp_path) == "x" * 1000
    kept(again, tmp_path, key="ab")


def test_a_place_that_is_no_folder_is_a_note(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = Store(tmp_path / "file" / "store", 10**6)
    store.make()
    kept(store, tmp_path)
    assert found(store, tmp_path) is None
    assert "cannot make" in store.problem


def test_several_at_once_find_whole_answers_or_none(tmp_path: Path) -> None:
    contents = {f"a{number}": str(number) * 30_000 for number in range(6)}
    wrong: list[str | None] = []

    def run(me: int) -> None:
        store, folder = Store(tmp_path / "store", 200_000), tmp_path / str(me)
        folder.mkdir()
        for _ in range(15):
            for key, content in contents.items():
                got = found(store, folder, key)
                if got not in (None, content):
                    wrong.append(got)
                if got is None:
                    kept(store, folder, content, key)
            store.trim(100_000)

    threads = [threading.Thread(target=run, args=(me,)) for me in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_person_says_how_large_it_may_be(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PORTPROOF_CACHE", "off")
    assert open_store() is None
    monkeypatch.setenv("PORTPROOF_CACHE", "2GB")
    opened = open_store()
    assert opened is not None
    assert (opened.limit, opened.root.is_relative_to(tmp_path)) == (2 * 10**9, True)
    monkeypatch.setenv("PORTPROOF_CACHE", "much")
    with pytest.raises(BadInput, match="PORTPROOF_CACHE takes a size such as"):
        limit_bytes()


def test_nobody_else_may_look_into_it(store: Store) -> None:
    assert store.root.stat().st_mode & 0o077 == 0
