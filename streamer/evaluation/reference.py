"""openai-whisper on the same checkpoint and recordings: what the model's own authors' code makes of them."""

from __future__ import annotations

import zipfile
from pathlib import Path

from streamer.config import ModelConfig
from streamer.errors import ConfigError, MissingExtraError
from streamer.evaluation.asr import Reading, Samples
from streamer.nn.checkpoint import locate


def checkpoint_for(name: str) -> Path:
    """The file that openai-whisper can load for a model of ours. Raises ModelError, ConfigError."""
    path = locate(name)
    if not (path.is_file() and path.suffix == ".pt" and zipfile.is_zipfile(path)):
        raise ConfigError(
            f"openai-whisper reads its own checkpoints only (a .pt file), and '{name}' is {path}: compare "
            "with one that both can read, for example --model base.en after: streamer models pull base.en"
        )
    return path


class OpenAIWhisper:
    """A `Reader`: `whisper.transcribe` with its own defaults (full context, fallback temperatures)."""

    def __init__(self, config: ModelConfig) -> None:
        """Raises ConfigError for a model that openai-whisper cannot read, MissingExtraError without it."""
        path = checkpoint_for(config.name)
        try:
            import whisper
        except ImportError as error:
            raise MissingExtraError("a comparison with openai-whisper", "whisper") from error
        self._model = whisper.load_model(str(path), device="cpu")
        self._language = None if config.language == "auto" else config.language
        self._task = config.task
        self._passes = 0
        self._model.encoder.register_forward_hook(self._count)

    def _count(self, *_: object) -> None:
        self._passes += 1

    def __call__(self, path: Path, samples: Samples) -> Reading:  # noqa: ARG002  a Reader's arguments
        """What openai-whisper reads in `samples` (n,)."""
        before = self._passes
        result = self._model.transcribe(samples, language=self._language, task=self._task, fp16=False)
        return Reading(str(result["text"]).strip(), self._passes - before)
