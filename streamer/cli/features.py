"""``streamer features``: an encoder's hidden states for people who only want those."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streamer.cli.output import clean, json_option, note, table

if TYPE_CHECKING:
    from numpy.typing import NDArray

SUFFIXES = (".npz", ".safetensors")
ABOUT = "__about__"
"""The entry of an .npz file that says, in JSON, how the others were made."""


class _Pool(click.ParamType[Any]):
    """`none`, `mean` or a number of frames."""

    name = "none|mean|N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, int) or value in ("none", "mean"):
            return value
        if str(value).isdecimal() and int(value) > 0:
            return int(value)
        return self.fail(f"expected none, mean or a number of frames, found {value!r}", param, ctx)


@click.command(short_help="Write an encoder's hidden states of files.")
@click.argument("files", nargs=-1, required=True, metavar="FILE…")
@click.option("--encoder", "name", default="bundled", show_default=True, metavar="NAME|PATH")
@click.option("--layer", default="last", show_default=True, metavar="all|N|last", help="N counts from 1.")
@click.option("--pool", type=_Pool(), default="none", show_default=True, help="Mean over all, or N frames.")
@click.option("--out", required=True, metavar="X.npz|X.safetensors", help="The file to write.")
@json_option
def features(files: tuple[str, ...], name: str, layer: str, pool: Any, out: str, as_json: bool) -> None:
    """Write the hidden states of audio or video files, of any encoder: a Whisper's, wav2vec 2.0, HuBERT,
    WavLM, or wav2vec.

    One array a file, by the file's name: (frames, width), with --layer all (layers, frames, width), with
    --pool mean without frames. 50 frames a second, of wav2vec (z and c are its two layers) 100. Audio longer
    than 30 s is encoded in pieces of 30 s. A file that cannot be read does not stop the others; the status
    is then 1.
    """
    target = Path(out)
    if target.suffix not in SUFFIXES:
        raise click.BadParameter(
            f"expected a name ending in {' or '.join(SUFFIXES)}, found {out!r}", param_hint="--out"
        )
    if not target.resolve().parent.is_dir():
        raise click.BadParameter(f"expected a folder {target.parent}, found none", param_hint="--out")
    from rich.console import Console
    from rich.progress import track

    from streamer.audio.decode import decode_file
    from streamer.encoders import load_encoder, pooled
    from streamer.errors import SourceError

    encoder = load_encoder(name)
    number = encoder.layer(layer)
    arrays: dict[str, NDArray[Any]] = {}
    broken = 0
    console, silent = Console(stderr=True), not sys.stderr.isatty()
    for key, path in track(_keys(files).items(), "Encoding", console=console, disable=silent):
        try:
            samples = decode_file(path)
            if not len(samples):
                raise SourceError(f"{path}: expected audio, found none of any length")
        except SourceError as error:
            broken += 1
            note(f"Failed: {clean(error)}")
            continue
        found = pooled(encoder.layers(samples, number), pool)
        arrays[key] = found if number is None else found[0]
    about = {"encoder": encoder.name, "layer": layer, "pool": str(pool)}
    _write(target, arrays, about | {"frames_per_second": f"{encoder.frames_per_second:g}"})
    rows = ({"name": key, "shape": " × ".join(map(str, array.shape))} for key, array in arrays.items())
    table(rows, ("name", "shape"), as_json)
    if broken:
        note(f"{broken} of {len(files)} files failed.")
        sys.exit(1)


def _keys(files: tuple[str, ...]) -> dict[str, str]:
    """A name for each file's array: the file's own, or its path where two files have one name."""
    names = [Path(path).name for path in files]
    return {name if names.count(name) == 1 else path: path for name, path in zip(names, files, strict=True)}


def _write(target: Path, arrays: dict[str, NDArray[Any]], about: dict[str, str]) -> None:
    import numpy as np

    part = target.with_name(f".{target.name}.part{target.suffix}")
    try:
        if target.suffix == ".npz":
            with part.open("wb") as file:
                np.savez(file, **arrays, **{ABOUT: np.array(json.dumps(about))})  # type: ignore[arg-type]
        else:
            from safetensors.numpy import save_file

            save_file({key: np.ascontiguousarray(array) for key, array in arrays.items()}, part, about)
            part.chmod(0o644)  # safetensors writes for the owner alone
        part.replace(target)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise click.ClickException(f"cannot write {clean(target)}: {error.strerror or error}") from None
