"""The store: results of work units and the files that workers need, each under a hash of what it was made from."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from portproof._disk import atomic_path, hash_json
from portproof._errors import BadInput, one_line

_DIGEST = 64


def default_store() -> str:
    """Return the folder that results are kept in where none is named."""
    return str(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "portproof" / "agree")


class Store:
    """A folder, here or behind any URL that fsspec knows.

    An entry is its content behind the content's own hash: one that was damaged or cut short is as good as absent, and
    is made again. Locally, an entry appears whole or not at all.

    Args:
        url: a folder, or an fsspec URL (``s3://bucket/agree``).

    Raises:
        BadInput: there can be no folder there.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            import fsspec

            self._files, self._root = fsspec.core.url_to_fs(url)
            self._files.makedirs(self._root, exist_ok=True)
        except (OSError, ValueError, ImportError) as error:
            raise BadInput(
                f"--store: '{url}' is no folder that can be written ({one_line(error, 120)}); name another."
            ) from error
        self._local = self._files.protocol == "file" or "file" in self._files.protocol
        #: Entries that were found damaged.
        self.damaged: list[str] = []

    def _path(self, kind: str, key: str) -> str:
        return f"{self._root}/{kind}/{key[:2]}/{key}"

    def get(self, kind: str, key: str) -> bytes | None:
        """Return an entry, None where there is none that is whole."""
        path = self._path(kind, key)
        try:
            found: bytes = self._files.cat_file(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise BadInput(
                f"'{path}' cannot be read ({one_line(error, 120)}); see to it, or name another --store."
            ) from error
        content = found[_DIGEST:]
        if hashlib.sha256(content).hexdigest().encode() != found[:_DIGEST]:
            self.damaged.append(path)
            return None
        return content

    def put(self, kind: str, key: str, content: bytes) -> None:
        """Keep an entry.

        Raises:
            BadInput: it cannot be written, for instance because the disk is full.
        """
        path = self._path(kind, key)
        whole = hashlib.sha256(content).hexdigest().encode() + content
        try:
            self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
            if self._local:
                with atomic_path(path) as temporary:
                    temporary.write_bytes(whole)
            else:
                self._files.pipe_file(path, whole)
        except OSError as error:
            raise BadInput(
                f"'{path}' cannot be written ({error.strerror or one_line(error, 120)}); make room, or name another."
            ) from error

    def keep(self, content: bytes) -> str:
        """Keep a file's content for the workers; returns its hash."""
        key = hashlib.sha256(content).hexdigest()
        if self.get("files", key) is None:
            self.put("files", key, content)
        return key

    def remembered(
        self, made_from: Mapping[str, Any], make: Callable[[], Any], files: Callable[[Any], Iterable[str]]
    ) -> Any:
        """Return a JSON document that is made once: what was kept under the hash of what it is made from, or new.

        Args:
            made_from: all that it depends on.
            make: it; must be JSON.
            files: the kept files that it names; it is made again where one of them is gone.
        """
        key = hash_json(made_from)
        kept = self.get("prepared", key)
        if kept is not None:
            document = json.loads(kept)
            if all(self.get("files", file) is not None for file in files(document)):
                return document
        made = json.dumps(make()).encode()
        self.put("prepared", key, made)
        return json.loads(made)

    def fetch(self, key: str, target: Path) -> Path:
        """Return a kept file as a file of this machine, fetched if it is not there yet.

        Raises:
            BadInput: the store has it not; it may be a folder that this machine does not see.
        """
        if not target.is_file():
            content = self.get("files", key)
            if content is None or hashlib.sha256(content).hexdigest() != key:
                raise BadInput(
                    f"'{self.url}' has no file {key[:12]}… ({target.name}) for this worker; name a --store that every "
                    "worker sees."
                )
            target.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(target) as temporary:
                temporary.write_bytes(content)
        return target
