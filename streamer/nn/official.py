"""The official Whisper checkpoints, as the openai-whisper package lists them (extra `whisper`).

And the tag heads that were published for them.
"""

from __future__ import annotations

import ast
import base64
import gzip
import importlib.util
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from streamer.errors import MissingExtraError, ModelError

TAG_HEADS: dict[str, str] = {
    "tiny.en_ori": "atq9so6w0qug5ai",
    "tiny_ori": "cib4q4iz6g758l0",
    "base.en_ori": "qtzgsbuquoz0afn",
    "base_ori": "2odwh42u6e9ger7",
    "small.en_ori": "cyx50ycl1ul7lji",
    "small.en_low": "507o66zgl8v6ddd",
    "small_ori": "jftj9s0kr4ycvr1",
    "small_low": "a1x0416v58f7wrf",
    "medium.en_ori": "bbvylvmgns8ja4p",
    "medium.en_low": "2q5wprr8f9gti5t",
    "medium_ori": "65aabayr7o819az",
    "medium_low": "0mnfmcasram4n6o",
    "large-v1_ori": "b8x2en1fdzc8nhk",
    "large-v1_low": "5o79h70wyla8jlk",
    "large-v2_ori": "3zxpyvdrxy22eq7",
    "large-v2_low": "jw2rh4uylhqgn85",
}
"""The tag heads that Whisper-AT's authors published, by encoder and width (512: `_low`), with the part of
their address that differs. The list is their package's (whisper-at 0.5); no checksum is published."""


@dataclass(frozen=True, slots=True)
class OfficialModel:
    """One name: where its checkpoint is, what it hashes to, which heads follow the audio (packed)."""

    name: str
    url: str
    sha256: str
    heads: bytes

    @property
    def file(self) -> str:
        """File name of the checkpoint: aliases share one (`large` is `large-v3.pt`)."""
        return PurePosixPath(self.url).name

    def alignment_heads(self, n_layer: int, n_head: int) -> list[tuple[int, int]]:
        """(layer, head) pairs. Raises ModelError where the model has other sizes than the list is for."""
        flags = np.frombuffer(gzip.decompress(base64.b85decode(self.heads)), dtype=bool)
        if flags.size != n_layer * n_head:
            raise ModelError(
                f"expected {self.name} to have {flags.size} decoder heads, found {n_layer} layers of {n_head}"
            )
        return [(int(layer), int(head)) for layer, head in np.argwhere(flags.reshape(n_layer, n_head))]


@cache
def official_models() -> dict[str, OfficialModel]:
    """Every official name. Raises MissingExtraError without openai-whisper.

    Its tables are read from its source: importing the package compiles numba code, for seconds.
    """
    spec = importlib.util.find_spec("whisper")
    if spec is None or spec.origin is None:
        raise MissingExtraError("the list of official Whisper checkpoints", "whisper")
    source = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    urls: dict[str, str] = _literal(source, "_MODELS")
    heads: dict[str, bytes] = _literal(source, "_ALIGNMENT_HEADS")
    return {name: OfficialModel(name, url, url.split("/")[-2], heads[name]) for name, url in urls.items()}


def _literal(source: ast.Module, name: str) -> Any:
    for node in source.body:
        if (
            isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and node.targets[0].id == name
        ):
            return ast.literal_eval(node.value)
    raise ModelError(
        f"expected a table {name} in openai-whisper, found none: install the version in constraints.txt"
    )


def find_official(name: str) -> OfficialModel | None:
    """The official model of a name; None where there is none, or no list of them."""
    try:
        return official_models().get(name)
    except MissingExtraError:
        return None


def whisper_cache() -> Path:
    """Where openai-whisper keeps its downloads."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "whisper"
