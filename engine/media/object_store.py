"""Pictures in an object store, or anywhere else that fsspec reaches: s3://bucket/prefix and the like.

Who we are there comes from the store's own variables (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
AWS_ENDPOINT_URL for a server that is not Amazon's), never from the address.
"""

import contextlib
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from engine.errors import MediaError, SetupError
from engine.media.store import NAME, PURPOSE, name_of
from engine.vault import Vault

WHOLE = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "memory", "hf"})
MARKER = "pastiche-media"  # an empty object: it is there, so the store can be reached and written
_S3_CLIENT = {"connect_timeout": 5, "read_timeout": 30, "retries": {"max_attempts": 2}}  # seconds
S3: dict[str, Any] = {"config_kwargs": _S3_CLIENT, "use_listings_cache": False}


class RemoteStore:
    """Keep sealed objects `prefix/aa/aabbcc...`. An object appears whole or not at all: where a write
    could be seen half done, it is written aside and then renamed."""

    swept_at_start = False

    def __init__(self, url: str, vault: Vault) -> None:
        self._vault = vault
        self._files, root = _open(url)
        self._root = root.rstrip("/")
        protocols = self._files.protocol  # one, or several
        self._whole = bool(
            {protocols} & WHOLE if isinstance(protocols, str) else {*protocols} & WHOLE
        )

    def _path(self, name: str) -> str:
        return f"{self._root}/{name[:2]}/{name}"

    def put(self, data: bytes) -> str:
        name = name_of(data)
        path = self._path(name)
        with _translated("written"):
            if not self._files.exists(path):
                self._write(path, self._vault.seal_bytes(data, PURPOSE))
        return name

    def _write(self, path: str, sealed: bytes) -> None:
        if self._whole:
            self._files.pipe_file(path, sealed)
            return
        folder, _, name = path.rpartition("/")
        self._files.makedirs(folder, exist_ok=True)
        aside = f"{folder}/.{name}.{secrets.token_hex(4)}"
        try:
            self._files.pipe_file(aside, sealed)
            self._files.mv(aside, path)
        except BaseException:
            with contextlib.suppress(Exception):
                self._files.rm_file(aside)
            raise

    def get(self, name: str) -> bytes | None:
        with _translated("read"):
            try:
                sealed = self._files.cat_file(self._path(name))
            except FileNotFoundError:
                return None
        return self._vault.open_bytes(sealed, PURPOSE)

    def delete(self, name: str) -> None:
        path = self._path(name)
        with _translated("written"), contextlib.suppress(FileNotFoundError):
            if self._files.exists(path):
                self._files.rm_file(path)

    def names(self, older: float = 0.0) -> list[str]:
        """List them, with one request for each thousand pictures."""
        latest = time.time() - older
        with _translated("listed"):
            self._files.invalidate_cache()
            try:
                found: dict[str, dict[str, Any]] = self._files.find(self._root, detail=True)
            except FileNotFoundError:
                return []
        names = ((path.rpartition("/")[2], facts) for path, facts in found.items())
        return sorted(
            name
            for name, facts in names
            if NAME.fullmatch(name) and (not older or _changed(facts) < latest)
        )

    def check(self) -> None:
        marker = f"{self._root}/{MARKER}"
        with _translated("reached"):
            if not self._files.exists(marker):
                self._files.makedirs(self._root, exist_ok=True) if not self._whole else None
                self._files.pipe_file(marker, b"pictures of pastiche, sealed\n")


def _open(url: str) -> tuple[Any, str]:
    import fsspec

    scheme = url.partition("://")[0]
    options = S3 if scheme in ("s3", "s3a") else {}
    try:
        files, path = fsspec.core.url_to_fs(url, skip_instance_cache=True, **options)
    except ImportError as error:
        raise SetupError(
            f"PASTICHE_MEDIA_URL begins with {scheme}://, which needs a package that is not here "
            f"({error.name or error}). For S3: pip install -c constraints.txt -e '.[s3]'"
        ) from error
    except Exception as error:
        raise SetupError(
            f"PASTICHE_MEDIA_URL cannot be used ({type(error).__name__}). Write s3://bucket/prefix "
            "or another address that fsspec knows; without it, pictures lie in the data folder."
        ) from error
    if not path.strip("/"):
        raise SetupError("PASTICHE_MEDIA_URL names no bucket: write it as s3://bucket/prefix.")
    return files, path


def _changed(facts: dict[str, Any]) -> float:
    for name in ("LastModified", "mtime", "modified", "updated", "last_modified", "created"):
        match facts.get(name):
            case datetime() as told:
                return told.timestamp()
            case int() | float() as told:
                return float(told)
    return time.time()


@contextmanager
def _translated(done: str) -> Iterator[None]:
    """Turn whatever a file system raises into a MediaError that names its kind and no address."""
    try:
        yield
    except MediaError:
        raise
    except Exception as error:
        kind = type(error).__name__
        why = f"{kind}: {error.strerror}" if isinstance(error, OSError) and error.strerror else kind
        raise MediaError(
            f"The store of pictures cannot be {done} ({why}). Look whether it runs and lets us in."
        ) from error
