"""The recipe of the bundled model: Whisper-base's encoder refitted to short contexts, a small decoder, a CTC branch.

Stages, each resumable: `pack` (decode recordings), `voices` (synthesise text), `vocabulary`, `speech`
(encoder, decoder and CTC together), `tags` (sound head on the frozen result), `export`.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file

from streamer.asr.tokenizer import Tokenizer
from streamer.errors import StreamerError
from streamer.nn.whisper import Whisper, WhisperDims
from streamer.training.batches import BatchConfig, SpeechBatches
from streamer.training.corpus import Clip, Pack, read_manifest
from streamer.training.speech import SpeechConfig, SpeechModel, SpeechTrainer
from streamer.training.vocabulary import train_to_file

SPEECH_SETS = {
    "an4": 1.5,
    "librispeech-dev-clean": 2.0,
    "librispeech-train-clean-100": 2.0,
    "speechocean762": 0.7,
    "philipp-ljtext": 1.0,
}
"""Sets of recorded speech and how often each second of them is drawn."""

TTS_WEIGHT = 0.6
SOUND_SETS = ("esc10", "esc50-part", "noise")


@dataclass(frozen=True, slots=True)
class BundledConfig:
    """Sizes and shares of the recipe."""

    vocabulary: int = 1000
    text_state: int = 256
    text_layer: int = 2
    text_head: int = 4
    tts_sentences: int = 5000
    seed: int = 0
    speech: SpeechConfig = field(default_factory=SpeechConfig)
    batch: BatchConfig = field(default_factory=BatchConfig)


def held_out_speakers(clips: list[Clip]) -> set[str]:
    """A tenth of the LibriSpeech dev-clean speakers, never trained on: every tenth in order of name."""
    return set(sorted({c.speaker for c in clips if c.group == "librispeech-dev-clean"})[::10])


def is_training(clip: Clip, held: set[str]) -> bool:
    """Whether a clip of speech may be trained on: not of a test split, not of a held-out speaker."""
    return clip.split != "test" and clip.speaker not in held and bool(clip.text)


class BundledRecipe:
    """The stages over a folder of data sets (`data`) and a folder to work in (`work`)."""

    def __init__(self, data: Path, work: Path, teacher: Path, config: BundledConfig) -> None:
        self.data, self.work, self.teacher, self.config = data, work, teacher, config
        work.mkdir(parents=True, exist_ok=True)

    def pack(self) -> None:
        """Decode every recording of speech and sound once."""
        speech = [c for name in SPEECH_SETS for c in read_manifest(self.data / name, name) if c.text]
        Pack(self.work / "speech").extend(speech)
        sounds = [c for name in SOUND_SETS for c in read_manifest(self.data / name, name)]
        Pack(self.work / "sounds").extend(sounds)

    def voices(self) -> None:
        """Speak sentences nobody recorded."""
        from streamer.training.voices import synthesise

        source = self.data / "sentences-lj.txt"
        lines = [line.strip() for line in source.read_text(encoding="utf-8").splitlines()]
        lines = [line for line in lines if not re.search(r"\d", line) and 15 < len(line) < 140]
        random.Random(self.config.seed).shuffle(lines)
        clips = synthesise(lines[: self.config.tts_sentences], self.work / "tts", self.config.seed)
        Pack(self.work / "tts-pack").extend(clips)

    def tokenizer(self) -> Tokenizer:
        """The vocabulary, learnt from the training texts on first use."""
        path = self.work / "vocab.tiktoken"
        if not path.exists():
            clips = [*Pack(self.work / "speech").clips, *Pack(self.work / "tts-pack").clips]
            held = held_out_speakers(clips)
            texts = [c.text for c in clips if c.text and is_training(c, held)]
            if not texts:
                raise StreamerError("expected packed speech with texts, found none: run the stages pack and voices first")
            train_to_file(texts, self.config.vocabulary, path)
        return Tokenizer.from_ranks_file(path)

    def new_model(self, tokenizer: Tokenizer) -> SpeechModel:
        """The teacher's encoder under a fresh decoder and CTC branch."""
        teacher = load_file(self.teacher)
        width = teacher["encoder.conv1.weight"].shape[0]
        layers = 1 + max(int(k.split(".")[2]) for k in teacher if k.startswith("encoder.blocks."))
        c = self.config
        dims = WhisperDims(
            n_mels=teacher["encoder.conv1.weight"].shape[1],
            n_audio_ctx=1500,
            n_audio_state=width,
            n_audio_head=width // 64,
            n_audio_layer=layers,
            n_vocab=tokenizer.n_vocab,
            n_text_ctx=448,
            n_text_state=c.text_state,
            n_text_head=c.text_head,
            n_text_layer=c.text_layer,
        )
        torch.manual_seed(c.seed)
        whisper = Whisper(dims)
        torch.nn.init.normal_(whisper.decoder.token_embedding.weight, std=0.05)
        weights = {k.removeprefix("encoder."): v.float() for k, v in teacher.items() if k.startswith("encoder.")}
        whisper.encoder.load_state_dict(weights)
        return SpeechModel(whisper, tokenizer.eot)

    def batches(self, tokenizer: Tokenizer) -> SpeechBatches:
        """Weighted batches over everything that may be trained on."""
        speech, tts, sounds = (Pack(self.work / name) for name in ("speech", "tts-pack", "sounds"))
        held = held_out_speakers(speech.clips)
        sources = [
            (
                speech,
                [i for i, c in enumerate(speech.clips) if c.group == name and is_training(c, held)],
                weight,
            )
            for name, weight in SPEECH_SETS.items()
        ]
        sources.append((tts, list(range(len(tts))), TTS_WEIGHT))
        noises = [sounds.audio(i) for i in range(len(sounds))]
        return SpeechBatches(sources, noises, tokenizer, self.config.batch, self.config.seed)

    def speech(self) -> SpeechModel:
        """Train (or go on training) encoder, decoder and CTC; returns the averaged model."""
        tokenizer = self.tokenizer()
        model = self.new_model(tokenizer)
        trainer = SpeechTrainer(model, self.batches(tokenizer), self.config.speech, self.work / "speech-run")
        trainer.run()
        model.load_state_dict(trainer.average)
        return model.eval()
