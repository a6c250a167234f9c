"""What a pass of the engine costs, part by part, and what other programs take for the same utterance.

Everything of one context and number of threads is measured in turn: trust the ratios more than the
milliseconds, and on a busy machine the processor's time more than the clock's; of a GPU only the clock tells.
Token counts are forced where a decoder writes, so that random weights cost what trained ones do.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from streamer.asr.decode import DecodeOptions
from streamer.asr.tokenizer import Tokenizer, load_tokenizer
from streamer.asr.transcriber import make_transcriber
from streamer.audio.mel import log_mel
from streamer.backends.torch import CPU, WhisperNetwork, network_of
from streamer.engine import Engine, Request
from streamer.errors import ConfigError
from streamer.evaluation.head_cost import SIZES
from streamer.evaluation.peak import WORK, encoder_work, torch_product
from streamer.evaluation.turns import Taken, finisher, in_turn, ratio
from streamer.labels import Label
from streamer.nn.checkpoint import LoadedModel, load
from streamer.nn.definition import ContextInfo, Dims, ModelInfo, TagsInfo, Vocabulary
from streamer.nn.heads import TimeLayerTransformer
from streamer.nn.whisper import Whisper, WhisperDims
from streamer.passes import SHORTEST_VIEW
from streamer.timebase import FRAME, FULL_CONTEXT, SAMPLE_RATE, TOKEN

Samples = NDArray[np.float32]

OURS = "streamer"
FINAL = "end of speech to final"
PEAK = "matrix product"
"""The part whose operations a second are the most that a precision is capable of here."""
VOCABULARY = 51864
"""Tokens of the official English-only checkpoints."""

CLASSES, HEAD_WIDTH, WINDOW, HOP = 527, 128, 10, 2
"""Of the tag head that random weights get: AudioSet's classes; a window and a hop, in pooled tokens."""

TOKENS_PER_SECOND = 4
"""Of speech: how many a decoder writes where nobody says how many and there is no CTC branch to hear them."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure. contexts: seconds of speech.

    tokens: what decoders write; None for as many as the CTC branch hears, else for TOKENS_PER_SECOND.
    """

    precisions: Sequence[torch.dtype] = (torch.float32, torch.bfloat16)
    contexts: Sequence[float] = (5.0, 30.0)
    threads: Sequence[int] = (1,)
    tokens: int | None = None
    repeat: int = 10


@dataclass(frozen=True, slots=True)
class Run:
    """Something to be measured. context: seconds that the encoder sees. tags: whether they are in it.

    work: operations of its matrix products (see `evaluation.peak`), where its share of the peak is asked for.
    """

    who: str
    part: str
    precision: str
    context: float
    call: Callable[[], object]
    tokens: int | None = None
    tags: bool = False
    work: int | None = None


@dataclass(frozen=True, slots=True)
class Cost:
    """A row. speech: seconds said. ms: by the clock; cpu_ms: on a processor, all threads together.

    ratio, cpu_ratio: to the first row of the same speech and threads, medians over the rounds. peak_share:
    its operations in a second on a processor, of as many as a plain matrix product of its precision comes to
    there; None where nobody counted either, and for a GPU.
    """

    who: str
    part: str
    precision: str
    speech: float
    context: float
    threads: int
    tokens: int | None
    tags: bool
    ms: float
    cpu_ms: float
    ratio: float
    cpu_ratio: float
    peak_share: float | None = None


Maker = Callable[[Samples, int, int], Sequence[Run]]
"""Another program's runs for an utterance (n,), a number of tokens and of threads."""


def official(size: str) -> WhisperDims:
    """The sizes of an official English-only checkpoint."""
    layers, width, heads = SIZES[size]
    return WhisperDims(80, 1500, width, heads, layers, VOCABULARY, 448, width, heads, layers)


def random_model(dims: WhisperDims, name: str = "random") -> LoadedModel:
    """Random weights with a tag head. They may be given short contexts: their text is none anyway."""
    labels = tuple(Label(f"sound {i}", "") for i in range(CLASSES))
    info = ModelInfo(
        name=name,
        dims=Dims.of(dims),
        context=ContextInfo(short=True),
        tags=TagsInfo(width=HEAD_WIDTH),
    )
    return LoadedModel(
        name,
        info,
        Whisper(dims).eval(),
        Vocabulary("official", None, dims.n_vocab),
        TimeLayerTransformer(dims.n_audio_layer, dims.n_audio_state, CLASSES, HEAD_WIDTH).eval(),
        labels=labels,
        thresholds=(0.5,) * CLASSES,
    )


def made_up_tokenizer(size: int = VOCABULARY) -> Tokenizer:
    """As many tokens, specials included: single bytes and pairs of them."""
    pieces = [bytes([i]) for i in range(256)] + [bytes([i, j]) for i in range(256) for j in range(256)]
    specials = Tokenizer.from_ranks({pieces[0]: 0}).n_vocab - 1
    return Tokenizer.from_ranks({piece: i for i, piece in enumerate(pieces[: size - specials])})


def own_engines(
    name: str, precisions: Sequence[torch.dtype], device: torch.device = CPU
) -> dict[torch.dtype, Engine]:
    """A model as it is, once for each precision. Raises ModelError."""
    return {dtype: _engine(load(name), dtype, device) for dtype in precisions}


def random_engines(
    size: str, precisions: Sequence[torch.dtype], device: torch.device = CPU
) -> dict[torch.dtype, Engine]:
    """Random weights of an official size, once for each precision."""
    dims, tokenizer = official(size), made_up_tokenizer()
    return {dtype: _engine(random_model(dims, size), dtype, device, tokenizer) for dtype in precisions}


def _engine(
    model: LoadedModel, dtype: torch.dtype, device: torch.device, tokenizer: Tokenizer | None = None
) -> Engine:
    network = network_of(model, dtype, device)
    return Engine(model, tokenizer or load_tokenizer(model.vocabulary), network=network)


def forced(tokenizer: Tokenizer, count: int) -> DecodeOptions:
    """Exactly `count` tokens, whatever the weights."""
    return DecodeOptions(
        max_tokens=count, suppress_tokens=(-1, tokenizer.eot), break_loops=False, max_initial_timestamp=None
    )


def windows(samples: int) -> tuple[tuple[int, int], ...]:
    """The tag windows of an utterance that nothing was heard of before: one each hop."""
    ends = range(HOP, samples // TOKEN + 1, HOP)
    return tuple((max(0, end - WINDOW), end) for end in ends if end >= SHORTEST_VIEW)


def own_runs(engine: Engine, samples: Samples, tokens: int | None) -> list[Run]:
    """The whole first, then its parts: features, encoder, tags, and each way to text that the model has.

    tokens: see Plan; what the whole writes is in its run.
    """
    model, tokenizer = engine.model, engine.tokenizer
    if not isinstance(model, LoadedModel):
        raise ConfigError(f"expected a Whisper to measure the parts of, found {engine.model.name}")
    dtype, device, seconds = model.model.dtype, _device(engine), len(samples) / SAMPLE_RATE
    count = tokens or max(1, round(TOKENS_PER_SECOND * seconds))
    heard = DecodeOptions(duration=seconds)
    listens = model.ctc is not None and model.info.text.decoder == "ctc"
    seen = windows(len(samples)) if model.tags is not None else ()
    request = Request(samples, heard if listens else forced(tokenizer, count), windows=seen)
    decoded = engine.run([request])[0].decoded
    assert decoded is not None
    if listens:
        count = tokens or max(1, len(decoded.tokens))
    length = engine.context(len(samples))
    padded = np.pad(samples, (0, length - len(samples)))
    mel = torch.from_numpy(log_mel(padded, model.model.dims.n_mels))[None].to(device)
    whole = Run(
        OURS,
        FINAL,
        _name(dtype, device),
        length / SAMPLE_RATE,
        lambda: engine.run([request]),
        len(decoded.tokens),
        bool(seen),
    )
    parts: dict[str, tuple[Callable[[], object], int | None]] = {
        "features": (lambda: log_mel(padded, model.model.dims.n_mels), None),
        "encoder": (lambda: model.model.encode(mel, bool(seen)), None),
    }
    encoding = model.model.encode(mel, bool(seen))
    if (head := model.tags) is not None and encoding.layers is not None:
        layers = encoding.layers
        parts["tags"] = (lambda: [head(layers[:, :, first:last]) for first, last in seen], None)
    for part, decoder, words in _ways(model):
        reader = make_transcriber(model, WhisperNetwork(model, dtype, device), tokenizer, decoder, words)
        how = heard if decoder == "ctc" else forced(tokenizer, count)
        read = partial(reader.read, encoding.states, how, len(samples) // FRAME, ())
        parts[part] = (read, len(read().decoded.tokens))
    work = {"encoder": encoder_work(model.model.dims, length // FRAME), PEAK: WORK}
    if device == CPU:
        parts[PEAK] = (torch_product(dtype), None)
    return [
        whole,
        *(
            replace(whole, part=p, call=c, tokens=n, tags=p == "tags", work=work.get(p))
            for p, (c, n) in parts.items()
        ),
    ]


def _ways(model: LoadedModel) -> Iterator[tuple[str, str, str]]:
    """Ways to text: what to call it, `decoder` and `words` of the settings."""
    if model.ctc is not None:
        yield "text: CTC, greedy", "ctc", "off"
        if model.words is not None:
            yield "text: CTC and word model", "ctc", "auto"
    yield "text: decoder", "attention", "off"


def _name(dtype: torch.dtype, device: torch.device) -> str:
    name = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}[dtype]
    return name if device == CPU else f"{name}, {device.type}"


def _device(engine: Engine) -> torch.device:
    assert isinstance(engine.model, LoadedModel)
    return engine.model.model.decoder.positional_embedding.device


@torch.inference_mode()
def measure(
    plan: Plan,
    found: dict[torch.dtype, Engine],
    speech: Samples,
    peers: Sequence[Maker] = (),
    progress: Callable[[], None] = lambda: None,
    first: Maker | None = None,
) -> Iterator[Cost]:
    """Every row; of each context and number of threads the first is our whole: `first`'s, else torch's.

    Of torch's precisions, the last one comes first.

    speech: samples (n,), repeated as often as a context needs. torch's number of threads is put back.
    """
    before = torch.get_num_threads()
    finish = finisher(next((_device(engine) for engine in found.values()), CPU))
    try:
        for threads in plan.threads:
            torch.set_num_threads(threads)
            for seconds in plan.contexts:
                samples = np.resize(speech, min(round(seconds * SAMPLE_RATE), FULL_CONTEXT))
                runs = _runs(plan, found, samples, threads, peers, first)
                taken = in_turn([run.call for run in runs], plan.repeat, progress, finish)
                yield from _rows(runs, taken, seconds, threads)
    finally:
        torch.set_num_threads(before)


def _runs(
    plan: Plan,
    found: dict[torch.dtype, Engine],
    samples: Samples,
    threads: int,
    peers: Sequence[Maker],
    first: Maker | None,
) -> list[Run]:
    """Everything to be measured of an utterance. All write as many tokens as our whole in torch."""
    runs = [run for dtype in reversed(list(found)) for run in own_runs(found[dtype], samples, plan.tokens)]
    count = plan.tokens or max(1, runs[0].tokens or 0)
    before = first(samples, count, threads) if first is not None else []
    return [*before, *runs, *(run for peer in peers for run in peer(samples, count, threads))]


def _rows(runs: Sequence[Run], taken: Sequence[Taken], seconds: float, threads: int) -> Iterator[Cost]:
    """Of one context and number of threads."""
    peaks = {_kind(run): mine for run, mine in zip(runs, taken, strict=True) if run.part == PEAK}
    for run, mine in zip(runs, taken, strict=True):
        peak = peaks.get(_kind(run))
        yield Cost(
            run.who,
            run.part,
            run.precision,
            seconds,
            run.context,
            threads,
            run.tokens,
            run.tags,
            statistics.median(mine.wall),
            statistics.median(mine.cpu),
            ratio(mine.wall, taken[0].wall),
            ratio(mine.cpu, taken[0].cpu),
            run.work / WORK / ratio(mine.cpu, peak.cpu) if run.work and peak else None,
        )


def _kind(run: Run) -> str:
    """Its precision, whoever computes in it."""
    return run.precision.split(",")[0]
