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
from streamer.labels import Label
from streamer.nn.checkpoint import save
from streamer.nn.definition import ContextInfo, Dims, ModelInfo, TagsInfo, TextInfo
from streamer.nn.heads import TimeLayerTransformer
from streamer.nn.whisper import Whisper, WhisperDims
from streamer.tagging.labels import by_name
from streamer.training.batches import BatchConfig, SpeechBatches
from streamer.training.corpus import Clip, Pack, read_manifest
from streamer.training.speech import SpeechConfig, SpeechModel, SpeechTrainer
from streamer.training.tags import (
    LABELS,
    TagConfig,
    choose_thresholds,
    cross_validate,
    extract,
    fit,
    make_windows,
)
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
    tag_rounds: int = 4
    """Random views of each recorded sound."""
    speech: SpeechConfig = field(default_factory=SpeechConfig)
    tags: TagConfig = field(default_factory=TagConfig)
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

    def tags(self, whisper: Whisper, progress: bool = True) -> tuple[TimeLayerTransformer, list[float], float]:
        """Train the sound head on the frozen encoder.

        Returns the head, a threshold for each of `tags.LABELS`, and the accuracy in per cent on ESC-10's
        five folds, where the head never saw the fold it is tested on and the encoder saw no sound labels.
        """
        speech, sounds = Pack(self.work / "speech"), Pack(self.work / "sounds")
        held = held_out_speakers(speech.clips)
        talkers = [i for i, clip in enumerate(speech.clips) if is_training(clip, held)]
        windows = list(make_windows(sounds, speech, talkers, self.config.tag_rounds, self.config.seed))
        features = extract(whisper, windows, progress=progress)
        test = {i for i, clip in enumerate(sounds.clips) if clip.group == "esc10"}
        folds = cross_validate(features, self.config.tags, test)
        thresholds = choose_thresholds(folds.scores, folds.targets)
        return fit(features, self.config.tags), thresholds, 100 * folds.accuracy

    def export(self, model: SpeechModel, target: Path, scores: dict[str, float]) -> None:
        """Train the sound head, quantise everything, and write a model that the daemon loads."""
        head, thresholds, accuracy = self.tags(model.whisper)
        info = ModelInfo(
            name=target.name,
            description="English words and everyday sounds in 25 MB, for contexts from 1 to 30 s",
            licence="Apache-2.0; encoder initialised from OpenAI's Whisper base (MIT)",
            provenance="see CARD.md",
            dims=Dims.of(model.whisper.dims),
            text=TextInfo(style="lower case, no punctuation, numbers as words", decoder="ctc"),
            context=ContextInfo(short=True),
            tags=TagsInfo(
                width=head.width,
                window=4.0,
                thresholds=dict(zip(LABELS, thresholds, strict=True)),
            ),
            scores={**scores, "esc10_accuracy": round(accuracy, 1)},
        )
        labels = [by_name(name) or Label(name, "") for name in LABELS]
        vocabulary = self.work / "vocab.tiktoken"
        save(target, info, model.whisper, vocabulary, tags=head, labels=labels, ctc=model.ctc)
