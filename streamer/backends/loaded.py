"""A checkpoint that torch has loaded, as ONNX Runtime needs it."""

from __future__ import annotations

from pathlib import Path

from streamer.backends.stored import StoredModel, Weights
from streamer.nn.checkpoint import LoadedModel
from streamer.nn.definition import FILE


def as_stored(model: LoadedModel, path: Path) -> tuple[StoredModel, Weights]:
    """What there is to know of a Whisper from `path`, and its tensors, which share the modules' memory.

    They will be rounded as `nn.quantise` does; those of a folder of ours are taken as they are stored.
    """
    info = model.info.model_copy(update={"alignment_heads": tuple(model.model.alignment_heads)})
    parts = {"": model.model, "tags.": model.tags, "ctc.": model.ctc}
    tensors = {
        f"{prefix}{name}": tensor.numpy()
        for prefix, part in parts.items()
        if part is not None
        for name, tensor in part.state_dict().items()
    }
    if (path / FILE).is_file():
        kept = Weights.of(path).tensors
        tensors |= {name: one for name, one in kept.items() if not name.startswith("tags.")}
    stored = StoredModel(path, info, model.vocabulary, model.labels, model.thresholds, model.words)
    return stored, Weights(tensors, path)
