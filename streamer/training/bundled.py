"""The recipe of the bundled model: Whisper-base's encoder for short contexts, a small decoder, a CTC branch.

Stages, each resumable: `pack` (decode recordings), `voices` (synthesise text), `tunes` (synthesise music),
`vocabulary`, `words` (a word model), `speech` (encoder, decoder and CTC together), `export` (sound head on
the frozen result, scores, quantisation).
"""

from __future__ import annotations

import logging
import math
import random
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from streamer.asr.tokenizer import Tokenizer
from streamer.errors import MissingExtraError, StreamerError
from streamer.labels import Label
from streamer.nn.checkpoint import locate, save
from streamer.nn.definition import ContextInfo, Dims, ModelInfo, TagsInfo, TextInfo
from streamer.nn.heads import Head
from streamer.nn.whisper import Whisper
from streamer.tagging.labels import by_name
from streamer.training import devices
from streamer.training.batches import SpeechBatches
from streamer.training.begin import adopt_vocabulary, fresh_model, read_beginning, read_teacher, speech_model
from streamer.training.config import BundledConfig
from streamer.training.corpus import Clip, Pack, read_manifest
from streamer.training.speech import CHECKPOINT, SpeechModel, SpeechTrainer, read_checkpoint
from streamer.training.tags.cache import FeatureCache
from streamer.training.tags.encoders import of_whisper
from streamer.training.tags.features import fill_cache, plan, read_features
from streamer.training.tags.folds import Job, choose_thresholds, cross_validate, run_fits
from streamer.training.tags.names import LABELS, SPEECH, label_of
from streamer.training.tags.readers import draw_folds
from streamer.training.tags.replay import FILE as REPLAY_FILE
from streamer.training.tags.replay import save_replay
from streamer.training.tags.windows import Packed, Planner, WindowConfig
from streamer.training.vocabulary import train_to_file

log = logging.getLogger(__name__)

VOCABULARY = "vocab.tiktoken"
WORDS = "words.safetensors"
REPLAY = 600
"""Windows that the sound head remembers, for labels that are added to it (`train tags --add`)."""
FOLDS = 5
SCENES = WindowConfig(background=0.5, talk=300, empty=60, made=6)
"""What the sound head sees for each round of views: half of the recordings somewhere in background."""


def held_out_speakers(clips: list[Clip], group: str = "librispeech-dev-clean") -> set[str]:
    """A tenth of a set's speakers, never trained on: every tenth in order of name."""
    return set(sorted({c.speaker for c in clips if c.group == group})[::10])


def is_training(clip: Clip, held: set[str]) -> bool:
    """Whether a clip of speech may be trained on: not of a test split, not of a held-out speaker."""
    return clip.split != "test" and clip.speaker not in held and bool(clip.text)


@dataclass(frozen=True, slots=True)
class Sounds:
    """A sound head, what its model's definition says of it, its labels, scores in per cent, its memory."""

    head: Head
    about: TagsInfo
    labels: tuple[Label, ...]
    scores: Mapping[str, float]
    replay: Path | None


class BundledRecipe:
    """The stages over a folder of data sets (`data`) and a folder to work in (`work`).

    Training begins from the encoder of `teacher`, or from the whole of `beginning`, a model of this recipe.
    """

    def __init__(
        self,
        data: Path,
        work: Path,
        teacher: Path,
        config: BundledConfig,
        progress: bool = True,
        beginning: Path | None = None,
    ) -> None:
        self.data, self.work, self.teacher, self.config = data, work, teacher, config
        self.progress, self.beginning = progress, beginning
        work.mkdir(parents=True, exist_ok=True)

    def pack(self) -> None:
        """Decode every recording of speech and sound once."""
        c = self.config
        speech = [clip for name in c.speech_sets for clip in self._manifest(name) if clip.text]
        sounds = [clip for name in c.sound_sets for clip in self._manifest(name)]
        Pack(self.work / "speech").extend(speech, self.progress)
        Pack(self.work / "sounds").extend(sounds, self.progress)

    def _manifest(self, name: str) -> list[Clip]:
        return read_manifest(self.data / name, name, self.config.letters)

    def voices(self) -> None:
        """Speak sentences nobody recorded."""
        from streamer.training.voices import synthesise

        if not self.config.tts_sentences:
            return
        source = self.data / self.config.sentences
        if not source.is_file():
            raise StreamerError(
                f"expected sentences to speak, one a line, in {source}, found no such file: "
                "add it, or set tts_sentences = 0"
            )
        lines = [line.strip() for line in source.read_text(encoding="utf-8").splitlines()]
        lines = [line for line in lines if not re.search(r"\d", line) and 15 < len(line) < 140]
        random.Random(self.config.seed).shuffle(lines)
        chosen = lines[: self.config.tts_sentences]
        clips = synthesise(chosen, self.work / "tts", self.config.seed, progress=self.progress)
        Pack(self.work / "tts-pack").extend(clips, self.progress)

    def tunes(self) -> None:
        """Play tunes nobody wrote."""
        from streamer.training.tunes import make_tunes

        if self.config.tunes:
            clips = make_tunes(self.config.tunes, self.work / "tunes", self.config.seed, self.progress)
            Pack(self.work / "tunes-pack").extend(clips, self.progress)

    def tokenizer(self) -> Tokenizer:
        """The vocabulary: of the model to begin from, else learnt from the training texts on first use."""
        path = self.work / VOCABULARY
        if self.beginning is not None:
            adopt_vocabulary(read_beginning(self.beginning), path)
        if not path.exists():
            clips = [*Pack(self.work / "speech").clips, *Pack(self.work / "tts-pack").clips]
            held = held_out_speakers(clips, self.config.held_out)
            texts = [c.text for c in clips if c.text and is_training(c, held)]
            if not texts:
                raise StreamerError(
                    f"expected packed speech with texts in {self.work}, found none: "
                    "run the stages pack and voices first"
                )
            scratch = path.with_suffix(".part")
            train_to_file(texts, self.config.vocabulary, scratch)
            scratch.replace(path)
        return Tokenizer.from_ranks_file(path)

    def words(self) -> int:
        """Learn the word model from texts and the transcripts that are trained on; returns its words."""
        from streamer.training.words import learn_words

        c = self.config
        if not c.words.texts:
            return 0
        speech = Pack(self.work / "speech")
        spoken = [speech.clips[i].text or "" for i in self._training_clips(speech)]
        return learn_words(
            {self.data / name: weight for name, weight in c.words.texts.items()},
            [(text, c.words.transcripts) for text in spoken],
            c.words.ngrams,
            self.work / WORDS,
            c.letters,
            self.progress,
        )

    def _word_model(self) -> Path | None:
        """Its file, learnt on first use; None where the recipe has none."""
        path = self.work / WORDS
        if self.config.words.texts and not path.exists():
            self.words()
        return path if self.config.words.texts else None

    def new_model(self, tokenizer: Tokenizer) -> SpeechModel:
        """The teacher's encoder under a fresh decoder and CTC branch, or the model to begin from."""
        c = self.config
        sizes = c.text_state, c.text_layer, c.text_head
        if self.beginning is not None:
            return speech_model(read_beginning(self.beginning), tokenizer, *sizes)
        return fresh_model(read_teacher(self.teacher), tokenizer, *sizes, c.seed)

    def batches(self, tokenizer: Tokenizer) -> SpeechBatches:
        """Weighted batches over everything that may be trained on."""
        speech, tts, sounds = (Pack(self.work / name) for name in ("speech", "tts-pack", "sounds"))
        allowed = self._training_clips(speech)
        sources = [
            (speech, [i for i in allowed if speech.clips[i].group == name], weight)
            for name, weight in self.config.speech_sets.items()
        ]
        sources.append((tts, list(range(len(tts))), self.config.tts_weight))
        noises = [sounds.audio(i) for i in range(len(sounds))]
        return SpeechBatches(sources, noises, tokenizer, self.config.batch, self.config.seed)

    def _training_clips(self, speech: Pack) -> list[int]:
        held = held_out_speakers(speech.clips, self.config.held_out)
        return [i for i, clip in enumerate(speech.clips) if is_training(clip, held)]

    def speech(self) -> SpeechModel:
        """Train (or go on training) encoder, decoder and CTC; returns the averaged model, on the CPU."""
        folder, c = self.work / "speech-run", self.config
        accelerator = devices.accelerator(folder, c.speech.trackers)
        with accelerator.main_process_first():  # it writes the vocabulary, the others read it
            tokenizer = self.tokenizer()
        model = self.new_model(tokenizer)
        trainer = SpeechTrainer(model, self.batches(tokenizer), c.speech, folder, accelerator)
        trainer.run(self.progress)
        model.load_state_dict(trainer.average)
        return model.cpu().eval()

    def trained(self) -> SpeechModel:
        """The averaged model of the last checkpoint, as far as it has come."""
        checkpoint = self.work / "speech-run" / CHECKPOINT
        if not checkpoint.exists():
            raise StreamerError(f"expected {checkpoint}, found no such file: run the stage speech first")
        model = self.new_model(self.tokenizer())
        saved = read_checkpoint(checkpoint, model)
        if saved["step"] < self.config.speech.steps:
            log.warning("the checkpoint is of step %d of %d", saved["step"], self.config.speech.steps)
        model.load_state_dict(saved["average"])
        return model.eval()

    def scores(self, model: SpeechModel) -> dict[str, float]:
        """Word error rates in per cent on the test split and the held-out speakers.

        `…_wer` is the CTC branch's, with the word model where there is one (then `…_greedy_wer` is without),
        `…_decoder_wer` the decoder's alone.

        Nothing, with a warning, where the packages that measure them are not installed.
        """
        from streamer.training.evaluate import word_error_rates

        pack, c = Pack(self.work / "speech"), self.config
        held = held_out_speakers(pack.clips, c.held_out)
        sets = {
            f"{c.test}_test": [
                i for i, x in enumerate(pack.clips) if x.group == c.test and x.split == "test" and x.text
            ],
            f"{c.held_out}_held_out": [i for i, x in enumerate(pack.clips) if x.speaker in held and x.text],
        }
        words = self._word_model()
        out = {}
        for name, clips in sets.items():
            if not clips:
                continue
            try:
                score = word_error_rates(model, self.tokenizer(), pack, clips, self.progress, words)
            except MissingExtraError as error:
                log.warning("no word error rates: %s", error)
                return {}
            key = name.replace("-", "_")
            out[f"{key}_wer"] = round(score.ctc if score.guided is None else score.guided, 1)
            if score.guided is not None:
                out[f"{key}_greedy_wer"] = round(score.ctc, 1)
            out[f"{key}_decoder_wer"] = round(score.attention, 1)
        return out

    def sounds(self, whisper: Whisper) -> Sounds | None:
        """The sound head that goes with the encoder.

        That of the model to begin from where the encoder is still that model's; else a new one. None without
        a single recording of a labelled sound.
        """
        if self.beginning is not None and self.config.speech.only_decoder:
            loaded = read_beginning(self.beginning)
            if loaded.tags is None:
                return None
            assert loaded.info.tags is not None
            replay = locate(self.beginning) / REPLAY_FILE
            kept = {name: score for name, score in loaded.info.scores.items() if name.endswith("_accuracy")}
            return Sounds(
                loaded.tags, loaded.info.tags, loaded.labels, kept, replay if replay.exists() else None
            )
        if not any(clip.labels for clip in Pack(self.work / "sounds").clips):
            return None
        head, thresholds, accuracy = self.tags(whisper)
        named = dict(zip(LABELS, thresholds, strict=True))
        labels = tuple(by_name(name) or Label(name, "") for name in LABELS)
        name = f"{self.config.sound_test}_accuracy".replace("-", "_")
        scores = {} if math.isnan(accuracy) else {name: round(accuracy, 1)}
        about = TagsInfo(width=head.width, window=4.0, thresholds=named)
        return Sounds(head, about, labels, scores, self.work / REPLAY_FILE)

    def tags(self, whisper: Whisper) -> tuple[Head, list[float], float]:
        """Train the sound head on the frozen encoder.

        Returns the head, a threshold for each of `tags.names.LABELS`, and the accuracy in per cent on the
        folds of the set `sound_test`, where the head never saw the fold it is tested on and the encoder saw
        no sound labels.
        """
        speech, sounds, tunes = (Pack(self.work / name) for name in ("speech", "sounds", "tunes-pack"))
        c = self.config
        clips = [replace(clip, labels=tuple(map(label_of, clip.labels))) for clip in sounds.clips]
        clips += tunes.clips
        # The test set keeps its folds. Another set's may hold all of a sound in one, which leaves nothing to
        # learn it from when its threshold is chosen.
        clips = [clip if clip.group == c.sound_test else replace(clip, fold=0) for clip in clips]
        clips = draw_folds(clips, FOLDS, c.seed)
        talk = [speech.clips[i] for i in self._training_clips(speech)]
        views = replace(SCENES, views=c.tag_rounds)
        windows, _ = plan(Planner(Packed(sounds, speech, tunes), clips, talk, views, c.seed))
        encoder = of_whisper(whisper, "bundled", short=True)
        shape = (encoder.info.n_layer, encoder.info.n_state)
        cache = FeatureCache(self.work / "features", encoder.identity, shape)
        fill_cache(encoder, windows, cache, progress=self.progress)
        features = read_features(cache, windows, LABELS)
        fits, job = self.work / "fits", Job("head", c.tags, frozenset())
        folds = cross_validate(features, c.tags, fits, torch.get_num_threads(), self.progress, [job])
        test = folds.clips.only([i for i, clip in enumerate(clips) if clip.group == c.sound_test])
        (fitted,) = run_fits(features, [job], fits, progress=self.progress)
        save_replay(self.work, fitted.head, features, REPLAY)
        thresholds = choose_thresholds(folds.scores, folds.targets, speech=LABELS.index(SPEECH))
        return fitted.head, thresholds, 100 * test.accuracy()

    def export(self, model: SpeechModel, target: Path, scores: dict[str, float]) -> None:
        """Train the sound head, quantise everything, and write a model that the daemon loads."""
        sounds = self.sounds(model.whisper)
        if sounds is not None:
            scores = {**scores, **sounds.scores}
        info = ModelInfo(
            name=target.name,
            description="English words and everyday sounds in 25 MB, for contexts from 1 to 30 s"
            if self.config.language == "en"
            else f"Words ({self.config.language}) for contexts from 1 to 30 s",
            licence="Apache-2.0; encoder initialised from OpenAI's Whisper base (MIT)",
            provenance="see CARD.md",
            languages=(self.config.language,),
            dims=Dims.of(model.whisper.dims),
            text=TextInfo(
                style="lower case, no punctuation, numbers as words",
                decoder=_better(scores),
                timestamps=self.config.batch.timestamps > 0,
            ),
            context=ContextInfo(short=True),
            tags=sounds.about if sounds is not None else None,
            scores=scores,
        )
        vocabulary = self.work / VOCABULARY
        save(
            target,
            info,
            model.whisper,
            vocabulary,
            tags=sounds.head if sounds is not None else None,
            labels=sounds.labels if sounds is not None else (),
            ctc=model.ctc,
            words=self._word_model(),
            precision="mixed",
        )
        if sounds is not None and sounds.replay is not None:
            shutil.copyfile(sounds.replay, target / REPLAY_FILE)


def _better(scores: Mapping[str, float]) -> Literal["attention", "ctc"]:
    """What writes the better text by the mean of all error rates; CTC where nothing was measured."""
    decoder = [score for name, score in scores.items() if name.endswith("_decoder_wer")]
    ctc = [scores[name.replace("_decoder_wer", "_wer")] for name in scores if name.endswith("_decoder_wer")]
    return "attention" if sum(decoder) < sum(ctc) else "ctc"
