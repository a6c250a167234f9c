"""The models on this machine, what is in them, and fetching official ones.

A download goes into a `.part` file first, is checked, and then takes its name: there is never a half
checkpoint under a whole one's name, and an interrupted download goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import http.client
import logging
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamer.errors import CheckpointError, MissingExtraError, ModelError
from streamer.nn.official import TAG_HEADS, whisper_cache
from streamer.resources import heads, models, nearest, user_models_dir

log = logging.getLogger(__name__)

Progress = Callable[[str, int, int | None], None]
"""Called with the file's name, the bytes that are there, and how many there will be (None: unknown)."""

BLOCK = 1 << 18
TIMEOUT = 30.0
"""Seconds without a byte before a download counts as interrupted."""
ATTEMPTS = 4
"""Tries at one file before an interrupted download is left for another day."""
PAUSE = 2.0
"""Seconds before the first of them, twice as long before each further one."""

_DROPBOX = "https://www.dropbox.com/s/"
"""Where Whisper-AT's authors published their heads."""

NO_CHECKSUM = "none is published"


@dataclass(frozen=True, slots=True)
class Pulled:
    """What `pull` fetched: the checkpoint, the tag head, None for what was not; and what to know of it."""

    checkpoint: Path | None
    tags: Path | None
    note: str


def list_models() -> list[dict[str, Any]]:
    """Models on this machine, then the tag heads, then the official models that could be fetched.

    name, kind (`shipped`, `fetched`, `local`, `head`, `official`), size (bytes; None if not here), path, and
    tags (whether it hears sounds).
    """
    from streamer.nn.official import official_models

    rows = []
    found = models()
    for name, path in found.items():
        rows.append(_row(name, path))
    for name, path in heads().items():
        rows.append(_row(name, path) | {"kind": "head", "tags": True})
    try:
        official = official_models()
    except MissingExtraError:
        return rows
    fetched = {path.name for path in found.values()}
    for name, model in official.items():
        if model.file not in fetched and model.file == f"{name}.pt":
            rows.append(
                {"name": name, "kind": "official", "size": None, "path": None, "tags": bool(_heads(name))}
            )
    return rows


def info(name: str) -> dict[str, Any]:
    """What is known of a model or a tag head: that of the list, and its definition where it has one.

    Raises ModelError for a name that is neither here nor published.
    """
    from streamer.nn.checkpoint import locate
    from streamer.nn.definition import FILE, read_info
    from streamer.nn.official import find_official

    official = find_official(name)
    try:
        path = locate(name)
    except ModelError:
        if official is None:
            return _head_info(name)
        row: dict[str, Any] = {"name": name, "kind": "official", "size": None, "path": None}
        return row | {
            "tags": bool(_heads(Path(official.file).stem)),
            "url": official.url,
            "sha256": official.sha256,
        }
    row = _row(name, path)
    if path.is_dir() and (path / FILE).is_file():
        row |= read_info(path).model_dump(exclude_none=True, exclude={"tags"})
        row |= {"head": about.model_dump(exclude_none=True)} if (about := read_info(path).tags) else {}
    if official is not None:
        row |= {"url": official.url, "sha256": official.sha256}
    return row


def _head_info(name: str) -> dict[str, Any]:
    """What is known of a tag head. Raises the error for a model where it is none either."""
    from streamer.nn.checkpoint import locate
    from streamer.nn.head_checkpoint import load_head, locate_head

    published = {"url": _head_url(name), "sha256": NO_CHECKSUM} if name in TAG_HEADS else {}
    try:
        path = locate_head(name)
    except ModelError:
        if published:
            return {"name": name, "kind": "head", "size": None, "path": None, **published}
        locate(name)
        raise
    row = _row(name, path) | {"kind": "head", "tags": True} | published
    about = load_head(path).info.model_dump(exclude_none=True, exclude={"name"})
    return row | {"head": about.pop("tags"), **about}


def pull(
    name: str, *, progress: Progress | None = None, directory: Path | None = None, narrow: bool = False
) -> Pulled:
    """Fetch an official checkpoint, checked against its hash, and the Whisper-AT head for it if published.

    The name of a published head, such as `small_low`, fetches that alone. `narrow` takes the head of width
    512 where there is one. No hash is published for heads: they are checked by loading them, and the note
    says so. Without one, or where fetching it fails, the checkpoint alone is a whole model. Raises
    ModelError for an unknown name, a failed download or hash.
    """
    folder = directory or user_models_dir()
    if name in TAG_HEADS:
        head = _pull_head(name, folder, progress)
        return Pulled(None, head, _head_note(head))
    from streamer.nn.official import official_models

    known = official_models()
    if name not in known:
        hint = nearest(name, [*known, *TAG_HEADS])
        raise ModelError(f"no official Whisper is named '{name}': expected one of {', '.join(known)}.{hint}")
    official = known[name]
    checkpoint = download(official.url, folder / official.file, sha256=official.sha256, progress=progress)
    published = _heads(checkpoint.stem)
    if not published:
        return Pulled(
            checkpoint, None, f"Whisper-AT's authors published no tag head for {checkpoint.stem}: words only"
        )
    chosen = published[-1] if narrow else published[0]
    try:
        head = _pull_head(chosen, folder, progress)
    except ModelError as error:
        log.warning("%s", error)
        return Pulled(checkpoint, None, f"the tag head could not be fetched, words only for now: {error}")
    return Pulled(checkpoint, head, f"with {_head_note(head)}")


def _head_note(head: Path) -> str:
    """What is known of a head that was fetched."""
    return (
        f"Whisper-AT's head {head.name}. Its authors published no checksum: it loads, "
        f"and its sha256 is {_hash(head)}"
    )


def download(
    url: str,
    target: Path,
    *,
    sha256: str | None = None,
    progress: Progress | None = None,
    timeout: float = TIMEOUT,
    attempts: int = ATTEMPTS,
    pause: float = PAUSE,
) -> Path:
    """Fetch `url` to `target`, unless it is there with the right hash already.

    Without a hash a file that is there is kept, and an interrupted download starts anew: nothing
    would show that two halves do not belong together. Raises ModelError where it cannot be had, with
    what to do; what was fetched so far stays beside the target as `.part` if it can go on.
    """
    if target.exists():
        if sha256 is None or _hash(target) == sha256:
            return target
        log.warning("%s is there, but not with the published hash: fetching it again", target)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    if sha256 is None:
        part.unlink(missing_ok=True)
    for attempt in range(attempts):
        if attempt:
            time.sleep(pause * 2 ** (attempt - 1))
        try:
            _fetch(url, part, target.name, progress, timeout)
            break
        except _TransferError as error:
            log.warning("%s: %s", target.name, error)
            if sha256 is None:
                part.unlink(missing_ok=True)
            if attempt == attempts - 1:
                raise ModelError(f"could not fetch {target.name}: {error}. Run it again to go on") from error
    if sha256 is not None and (found := _hash(part)) != sha256:
        part.unlink()
        raise ModelError(
            f"{target.name}: expected the sha256 {sha256}, found {found}; what was fetched is deleted. "
            "Run it again; if it happens twice, something between here and the server changes the file"
        )
    part.replace(target)
    return target


class _TransferError(Exception):
    """A transfer that a later attempt may complete."""


def _fetch(url: str, part: Path, name: str, progress: Progress | None, timeout: float) -> None:
    """One attempt: append to the part file what is missing of it."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "streamer", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            resumed = response.status == http.HTTPStatus.PARTIAL_CONTENT
            if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
                part.unlink()
                raise _TransferError("the server sent another part than was asked for")
            have = have if resumed else 0
            length = response.headers.get("Content-Length")
            total = have + int(length) if length is not None else None
            _room_for(part.parent, (total or 0) - have)
            with part.open("ab" if resumed else "wb") as file:
                while block := response.read(BLOCK):
                    file.write(block)
                    have += len(block)
                    if progress is not None:
                        progress(name, have, total)
            if total is not None and have != total:
                raise _TransferError(f"the connection ended after {have} of {total} bytes")
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            # Nothing is missing, or the part is longer than the file: the hash will tell which.
            return
        if (
            error.code >= http.HTTPStatus.INTERNAL_SERVER_ERROR
            or error.code == http.HTTPStatus.TOO_MANY_REQUESTS
        ):
            raise _TransferError(f"the server answered {error.code} {error.reason}") from error
        raise ModelError(
            f"could not fetch {name}: the server answered {error.code} {error.reason} for {url}. "
            "The address may have changed: get the file another way and put it into the models folder"
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise _TransferError(f"{type(error).__name__}: {error}") from error


def _pull_head(chosen: str, folder: Path, progress: Progress | None) -> Path:
    from streamer.nn.whisper_at import load_whisper_at

    target = download(_head_url(chosen), folder / f"{chosen}.pth", progress=progress)
    try:
        load_whisper_at(target)
    except CheckpointError as error:
        target.unlink()
        raise ModelError(f"what was fetched as {target.name} is not a tag head: {error}") from error
    return target


def _head_url(name: str) -> str:
    return f"{_DROPBOX}{TAG_HEADS[name]}/{name}.pth?dl=1"


def _heads(stem: str) -> list[str]:
    """Published heads of a checkpoint by its file's stem, the full one first."""
    return [name for name in (f"{stem}_ori", f"{stem}_low") if name in TAG_HEADS]


def _row(name: str, path: Path) -> dict[str, Any]:
    shipped = path in models().values() and not path.is_relative_to(user_models_dir())
    fetched = path.is_relative_to(user_models_dir()) or path.is_relative_to(whisper_cache())
    kind = "shipped" if shipped else "fetched" if fetched else "local"
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    size = sum(file.stat().st_size for file in files)
    return {
        "name": name,
        "kind": kind,
        "size": size,
        "path": str(path),
        "tags": _hears(path),
    }


def _hears(path: Path) -> bool:
    """Whether a model has a tag head: in its folder, or released and beside its file."""
    if path.is_dir():
        return (path / "labels.csv").is_file()
    return any(path.with_name(f"{path.stem}{suffix}.pth").is_file() for suffix in ("_ori", "_low"))


def _room_for(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if size > free:
        raise ModelError(
            f"expected {size:,} bytes of room in {folder}, found {free:,}: make room, or set STREAMER_MODELS"
        )


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
