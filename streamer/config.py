"""The settings: one frozen model a section, unknown keys refused.

Durations are seconds unless the name says otherwise. This file only says what a setting is; where
its value comes from (preset, file, environment, flag) is `streamer.settings`'s business.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from streamer.timebase import SAMPLE_RATE, TOKEN


def _on_grid(seconds: float) -> bool:
    return abs(seconds * SAMPLE_RATE / TOKEN - round(seconds * SAMPLE_RATE / TOKEN)) < 1e-6


class Section(BaseModel):
    """Base of every section."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class ModelConfig(Section):
    """[model]: which checkpoint, and how it computes."""

    name: str = "bundled"
    """A name under `models/`, an official Whisper name, a Hugging Face id, or a path."""
    tags: str = ""
    """The head that hears sounds, by name or path (see `streamer models`); empty is the model's own."""
    emotion: str = ""
    """A head that judges how something was said, by name or path (`streamer train emotion`); empty: none."""
    device: Literal["cpu", "cuda", "mps"] = "cpu"
    """Where torch computes. A GPU has to be asked for."""
    precision: Literal["auto", "fp32", "fp16", "bf16"] = "auto"
    """auto: bf16 where the processor multiplies it in hardware (AMX, AVX-512 BF16), else fp32; on a GPU bf16
    where it has it, else fp16."""
    decoder: Literal["auto", "attention", "ctc"] = "auto"
    """What writes the text; auto: what the model's definition recommends."""
    words: str = "auto"
    """What helps the CTC branch: auto: the model's own, off, or a file from `streamer train words`."""
    silence: Literal["auto", "whole", "thinned"] = "auto"
    """What fills a window up to 30 s for a Whisper that knows nothing else: the whole silence, or few of its
    frames, which count for the others (see `streamer.nn.silence`). auto: thinned where that says the same,
    measured once for each model; torch, where it is to compute, hears all."""
    threads: Annotated[int, Field(ge=0)] = 0
    """Threads of each worker; 0 shares out what leaves one core for capture."""
    workers: Annotated[int, Field(ge=0)] = 1
    """Passes of different streams that run at once; 0 is one for each core but that one."""
    language: str = "en"
    """A Whisper language code, or `auto` to detect it for each utterance."""
    task: Literal["transcribe", "translate"] = "transcribe"


class EngineConfig(Section):
    """[engine]: what computes."""

    backend: Literal["auto", "torch", "onnx", "openvino"] = "auto"
    """torch runs every model. onnx (ONNX Runtime, in integers of 8 bits) runs any Whisper, and starts without
    torch. openvino (needs the extra of that name): the same, but OpenVINO computes the encoder, attention in
    bfloat16 where the processor multiplies that. auto: onnx where it is not much slower than torch and says
    the same, openvino where it is installed and quicker still, measured once for each model."""

    @property
    def fixed(self) -> Literal["torch", "onnx", "openvino"]:
        """What is set, and torch for auto: no figure of a model may depend on how quick a machine is."""
        return "torch" if self.backend == "auto" else self.backend


class VadConfig(Section):
    """[vad]: which frames count as speech."""

    engine: Literal["webrtc", "silero"] = "webrtc"
    aggressiveness: Annotated[int, Field(ge=0, le=3)] = 2
    """webrtc only: 0 lets most through, 3 least."""
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """silero only: probability from which a frame counts as speech."""


class SegmentConfig(Section):
    """[segment]: how frames become utterances."""

    pre_roll_ms: Annotated[int, Field(ge=0)] = 300
    """Audio kept before the first speech frame."""
    hangover_ms: Annotated[int, Field(ge=0)] = 400
    """Silence after which an utterance ends."""
    complete_ms: Annotated[int, Field(ge=0)] = 0
    """Silence after which it ends where what writes the text has come to its end; 0: that is not asked."""
    onset_ms: Annotated[int, Field(ge=10)] = 90
    """Speech needed within `onset_window_ms` before an utterance starts."""
    onset_window_ms: Annotated[int, Field(ge=10)] = 150
    longest: Annotated[float, Field(gt=1, le=30)] = 28.0
    """An utterance is cut here, at the quietest point of its last `cut_search` seconds."""
    cut_search: Annotated[float, Field(gt=0)] = 5.0

    @model_validator(mode="after")
    def _check(self) -> SegmentConfig:
        if self.cut_search >= self.longest:
            raise ValueError(f"cut_search ({self.cut_search}) must be below longest ({self.longest})")
        if self.complete_ms > self.hangover_ms:
            raise ValueError(
                f"complete_ms ({self.complete_ms}) must not exceed hangover_ms ({self.hangover_ms})"
            )
        if self.onset_ms > self.onset_window_ms:
            raise ValueError(
                f"onset_ms ({self.onset_ms}) must not exceed onset_window_ms ({self.onset_window_ms})"
            )
        return self


class LiveConfig(Section):
    """[live]: captions while somebody speaks."""

    captions: bool = True
    """false: no words at all, sounds only."""
    partials: bool = True
    policy: Literal["alignatt", "agreement", "off"] = "alignatt"
    """How partial text becomes stable: by where it was heard, by what `agree` hypotheses in a row share, or
    only with the final."""
    margin: Annotated[float, Field(ge=0)] = 0.5
    """alignatt: what was heard so many seconds before the end of the audio, or later, is not stable yet."""
    patience: Annotated[float, Field(ge=0)] = 1.4
    """alignatt: where other readings are nearly as likely, a word waits so many seconds at most."""
    jump_back: Annotated[float, Field(gt=0)] = 4.0
    """alignatt: a decoder that attends to so many seconds before its last token has lost its place."""
    agree: Annotated[int, Field(ge=2)] = 2
    longest_lag: Annotated[float, Field(gt=0)] = 6.0
    """What was heard so many seconds ago becomes stable in any case."""
    tail: Annotated[float, Field(ge=0)] = 0.5
    """What was heard in the last so many seconds is not shown yet: it may be half a word."""
    step: float = 0.8
    """Seconds of new audio between two partials; a multiple of 0.4."""

    @model_validator(mode="after")
    def _check(self) -> LiveConfig:
        if self.step <= 0 or not _on_grid(self.step):
            raise ValueError(f"step must be a positive multiple of 0.4 s, found {self.step}")
        if self.longest_lag < self.margin:
            raise ValueError(f"longest_lag ({self.longest_lag}) must not be below margin ({self.margin})")
        return self


class GuardsConfig(Section):
    """[guards]: which texts are not believed (see `streamer.asr.guards`)."""

    enabled: bool = True
    """false: every text is shown."""
    no_speech: Annotated[float, Field(ge=0, le=1)] = 0.6
    """A decoder's text is suppressed where its no-speech probability is above this …"""
    logprob: float = -1.0
    """… and its mean log-probability below this."""
    confidence: Annotated[float, Field(ge=0, le=1)] = 0.3
    """Suppressed is what has a mean token probability below this."""
    compression: Annotated[float, Field(gt=1)] = 2.4
    """Suppressed is what compresses by more than this: it repeats itself."""
    explained: float = 0.9
    """Suppressed is what explains less than this of what a CTC branch heard (see `asr.evidence`)."""
    speech: Annotated[float, Field(ge=0, le=1)] = 0.85
    """Suppressed is what the tag head never took for speech with a score from this on …"""
    sound: Annotated[float, Field(ge=0, le=1)] = 0.05
    """… while it took it for something else with a score from this on."""
    gain: float = 12.0
    """A CTC branch's text that gains less than this over silence …"""
    speech_if_weak: Annotated[float, Field(ge=0, le=1)] = 0.94
    """… needs a score of speech from this on instead."""


class TextConfig(Section):
    """[text]: what is done to a text before anybody reads it (see `streamer.asr.edits`)."""

    replacements: dict[str, str] = {}
    """Phrases, whole words in any case, and what stands for each."""
    profanity: bool | list[str] = False
    """true: a built-in list of English words becomes a first letter and asterisks; or a list of one's own."""
    personal: bool = False
    """Card and telephone numbers and e-mail addresses, written or spoken in English, are masked."""
    hotwords: list[str] = []
    """Words and phrases that are expected: names and terms that a model would not think of."""
    hotword_boost: Annotated[float, Field(ge=0)] = 1.0
    """How much they are favoured: more finds more of them, also where they were not said; 0: not at all."""
    prompt: str = ""
    """What a decoder is told was said before: names, spelling, a style. A CTC branch takes no notice."""
    previous: bool = False
    """Whether a decoder is told the words before an utterance, until a pause or a text not believed."""
    temperatures: list[Annotated[float, Field(gt=0, le=2)]] = []
    """Temperatures at which a decoder tries a final again that repeats itself or is unlikely, one by one."""
    beam: Annotated[int, Field(ge=1, le=64)] = 1
    """Texts of a final that a decoder follows at once; 1: the likeliest token each time."""
    beam_patience: Annotated[float, Field(gt=0, le=10)] = 1.0
    """So many times `beam` texts have to be finished before the best is taken."""
    length_penalty: Annotated[float, Field(ge=0, le=1)] | None = None
    """How much length counts in choosing among them; unset: log-probabilities are divided by it."""
    pause: Annotated[float, Field(ge=0)] = 5.0
    """Seconds of silence after which an utterance no longer goes on with what was said before."""


PLAIN = TextConfig()
"""Texts as a model writes them."""


class LabelConfig(Section):
    """[sounds.labels."NAME"]: what differs for one label."""

    threshold: Annotated[float, Field(gt=0, lt=1)] | None = None
    cooldown: Annotated[float, Field(ge=0)] | None = None
    ignore: bool = False


class SoundsConfig(Section):
    """[sounds]: what is heard."""

    enabled: bool = True
    hop: float = 0.8
    """Seconds between two ambient passes; a multiple of 0.4."""
    window: float = 4.0
    """Seconds that one tag window sees; a multiple of 0.4."""
    steady: Annotated[float, Field(ge=0, le=20)] = 0.0
    """Seconds between two ambient passes at most (and `window` at most) where the sound does not change: the
    hops between are taken to have been as before. 0: one every hop."""
    top_k: Annotated[int, Field(ge=1)] = 5
    threshold: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Score from which a sound counts, for every label; unset: the model's own per-label thresholds."""
    confirm: Annotated[int, Field(ge=1)] = 2
    """Windows in a row above the threshold before a sound is reported."""
    hold: Annotated[float, Field(ge=0)] = 1.6
    """Seconds below the threshold before a sound has stopped."""
    merge: Annotated[float, Field(ge=0)] = 1.0
    """The same sound within this many seconds of its end goes on instead of starting anew."""
    cooldown: Annotated[float, Field(ge=0)] = 0.0
    """Seconds after a sound's end in which the same label is not reported again."""
    silence_db: float = -60.0
    """A hop whose every 100 ms stay below this level needs no ambient pass."""
    speech: bool = False
    """Whether people talking are reported as a sound too; the words tell of them anyway."""
    labels: dict[str, LabelConfig] = {}

    @model_validator(mode="after")
    def _check(self) -> SoundsConfig:
        for name in ("hop", "window"):
            value = getattr(self, name)
            if value <= 0 or not _on_grid(value):
                raise ValueError(f"{name} must be a positive multiple of 0.4 s, found {value}")
        if self.window < 0.8:
            raise ValueError(f"window must be at least 0.8 s for a head to judge, found {self.window}")
        if self.window > 30:
            raise ValueError(f"window must not exceed the encoder's 30 s, found {self.window}")
        if self.hop > self.window:
            raise ValueError(
                f"hop ({self.hop}) must not exceed window ({self.window}): nobody would hear what is between"
            )
        return self


class SourceConfig(Section):
    """[source]: how sources of audio are opened and kept alive."""

    open_timeout: Annotated[float, Field(gt=0)] = 10.0
    read_timeout: Annotated[float, Field(gt=0)] = 10.0
    retry_first: Annotated[float, Field(gt=0)] = 5.0
    """Backoff: retry_first · 2^n seconds up to retry_longest, with retry_jitter."""
    retry_longest: Annotated[float, Field(gt=0)] = 120.0
    retry_jitter: Annotated[float, Field(ge=0, lt=1)] = 0.2
    retry_reset: Annotated[float, Field(gt=0)] = 30.0
    """Good data for this long resets the backoff."""
    breaker_failures: Annotated[int, Field(ge=1)] = 5
    """This many failures within breaker_window wait retry_longest at once."""
    breaker_window: Annotated[float, Field(gt=0)] = 60.0
    stall: Annotated[float, Field(gt=0)] = 30.0
    """No sample for this long: stalled, and reopened. A half-open connection never errors by itself."""
    silence_warning: Annotated[float, Field(gt=0)] = 30.0
    """A live source that delivers only digital silence for this long is reported."""


class StreamConfig(Section):
    """[[streams]]: one source."""

    source: str
    name: str = ""
    model: str = ""
    """Another model than `model.name`, for this stream alone; it then needs a name."""

    @model_validator(mode="after")
    def _check(self) -> StreamConfig:
        if self.model and not self.name:
            raise ValueError(f"a stream with a model of its own ({self.model}) needs a name")
        return self


class ServerConfig(Section):
    """[server]: where clients connect."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8765
    """0 takes any free port and prints it."""
    token: str = ""
    """Required on any address but loopback."""
    client_queue: Annotated[int, Field(ge=16)] = 256
    """Events that may wait for one client."""
    history: Annotated[int, Field(ge=0)] = 5000
    """Events kept for clients that come back with `since`."""
    max_clients: Annotated[int, Field(ge=1)] = 2000
    allow_push: bool = True
    """Whether clients may open streams of their own and send audio."""
    max_pushed_streams: Annotated[int, Field(ge=0)] = 16


class LimitsConfig(Section):
    """[limits]: the bounds of the audio buffers."""

    ring: Annotated[float, Field(ge=1)] = 30.0
    """Seconds of audio between a source and the segmenter."""
    backlog: Annotated[float, Field(ge=30)] = 120.0
    """Seconds of utterances of one stream that may wait for their final before the ring has to wait too."""


class LogConfig(Section):
    """[log]: what goes to standard error."""

    format: Literal["text", "json"] = "text"
    level: Literal["debug", "info", "warning", "error"] = "info"


class Config(Section):
    """Everything."""

    model: ModelConfig = ModelConfig()
    engine: EngineConfig = EngineConfig()
    vad: VadConfig = VadConfig()
    segment: SegmentConfig = SegmentConfig()
    live: LiveConfig = LiveConfig()
    guards: GuardsConfig = GuardsConfig()
    text: TextConfig = TextConfig()
    sounds: SoundsConfig = SoundsConfig()
    source: SourceConfig = SourceConfig()
    server: ServerConfig = ServerConfig()
    limits: LimitsConfig = LimitsConfig()
    log: LogConfig = LogConfig()
    streams: list[StreamConfig] = []
