"""Decoding of one encoding, token by token over a cache, as `whisper.decode`.

In numpy, whoever computes the network: what is chosen costs little, and most daemons need no torch for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from streamer.asr.attended import Follower
from streamer.asr.beam import Beam, Choice
from streamer.asr.decode import Decoded, DecodeOptions
from streamer.asr.hotwords import TokenBias
from streamer.asr.rules import FORBIDDEN, Rules, log_softmax, loop_start
from streamer.asr.tokenizer import Tokenizer
from streamer.errors import ModelError

SPARE_TOKENS = 8
"""Tokens allowed beyond the cap by duration, so that a very short utterance is not cut."""

SEED = 0
"""Of what is drawn above temperature 0: the same audio gives the same text."""

_DEFAULTS = DecodeOptions()

Floats = NDArray[np.float32]


class Sizes(Protocol):
    """What a decoder is made for."""

    @property
    def n_vocab(self) -> int:
        """Tokens that there are."""

    @property
    def n_text_ctx(self) -> int:
        """Tokens that it can look back on."""


class Cache(Protocol):
    """What a decoder keeps of one encoding and the tokens so far. See `nn.whisper.DecoderCache`."""

    def truncate(self, length: int) -> None:
        """Forget every token from position `length` on."""

    def rearrange(self, rows: Sequence[int]) -> None:
        """Go on with these rows of tokens, in this order."""


class Writer(Protocol):
    """A decoder: `nn.whisper.Whisper`, or what computes as it does."""

    @property
    def dims(self) -> Sizes:
        """Its sizes."""

    @property
    def alignment_heads(self) -> Sequence[tuple[int, int]]:
        """(layer, head) pairs whose cross-attention follows the audio."""

    def listen(self, states: Any) -> Any:
        """A `Cache` for an encoding (1, T, D), as its network gives it."""

    def step(self, tokens: NDArray[np.int64], cache: Any) -> tuple[Floats, Floats]:
        """Logits (rows, n, n_vocab) after tokens (rows, n); attention (rows, layers, heads, n, T)."""


def detect_language(
    model: Writer, states: Any, tokenizer: Tokenizer, cache: Cache | None = None
) -> dict[str, float]:
    """Probability of every language for an encoding (1, T, D), from one decoder step.

    A given cache must be empty, and is again afterwards. Raises ModelError for an English-only model.
    """
    if not tokenizer.is_multilingual:
        raise ModelError(
            "this model only knows English: set the language to 'en', or choose a multilingual model"
        )
    cache = cache or model.listen(states)
    logits, _ = model.step(np.array([[tokenizer.sot]]), cache)
    cache.truncate(0)
    probabilities = np.exp(log_softmax(logits[0, 0, list(tokenizer.language_tokens)])).tolist()
    return dict(zip(tokenizer.languages, probabilities, strict=True))


def decode(
    model: Writer,
    states: Any,
    tokenizer: Tokenizer,
    options: DecodeOptions = _DEFAULTS,
    bias: TokenBias | None = None,
) -> Decoded:
    """Decode an encoding (1, T, n_audio_state). `bias` has a say in what is chosen, not in its probability.

    Raises ModelError for a vocabulary of another size than the model's, a language or task it has
    not, or a prefix without room for a single token after it.
    """
    if tokenizer.n_vocab != model.dims.n_vocab:
        raise ModelError(f"expected a vocabulary of {model.dims.n_vocab} tokens, found {tokenizer.n_vocab}")
    cache = model.listen(states)
    language, certainty = options.language or "en", 1.0
    if options.language is None and tokenizer.is_multilingual:
        languages = detect_language(model, states, tokenizer, cache)
        language = max(languages, key=languages.__getitem__)
        certainty = languages[language]

    before, start = _prompt(model, tokenizer, options, language)
    given = [*before, *start, *options.prefix]
    budget = _budget(model, options, len(given))
    rules = Rules(
        tokenizer,
        suppress_blank=options.suppress_blank and not (options.prefix and options.end_after_prefix),
        suppress_tokens=options.suppress_tokens,
        timestamps=options.timestamps,
        latest_start=options.max_initial_timestamp or None,
    )
    heads = np.array(model.alignment_heads).T

    logits, weights = model.step(np.array([given]), cache)
    sot = len(before)
    first = len(given) - len(options.prefix)
    no_speech = float(np.exp(log_softmax(logits[0, sot])[tokenizer.no_speech]))
    forced = logits[0, first - 1 : len(given) - 1]
    known = [float(log_softmax(row)[token]) for row, token in zip(forced, options.prefix, strict=True)]
    begun = _Begun(
        model,
        tokenizer,
        options,
        rules,
        bias,
        cache,
        heads,
        budget,
        logits[:, -1],
        weights[0, heads[0], heads[1], sot:],
    )
    one_by_one = options.beam <= 1 or options.temperature > 0 or options.frontier is not None
    found = _follow(begun) if one_by_one else _search(begun)

    tokens = (*options.prefix, *found.tokens)
    attention = np.concatenate([begun.attention, *found.attention], axis=1)[:, : len(start) + len(tokens)]
    return Decoded(
        tokens=tokens,
        prefix_length=len(options.prefix),
        text=tokenizer.decode(tokens).strip(),
        logprobs=np.array([*known, *found.logprobs], np.float32),
        avg_logprob=(sum(found.logprobs) + (found.end or 0.0)) / (len(found.tokens) + 1),
        no_speech_prob=no_speech,
        language=language,
        language_prob=certainty,
        attention=attention,
        attention_start=len(start) - 1,
        reached_limit=found.end is None and not (found.lost or found.looped) and found.beyond is None,
        broke_loop=found.looped,
        attended=tuple(found.attended),
        beyond=found.beyond,
        complete=found.complete,
        lost=found.lost,
        temperature=options.temperature,
    )


@dataclass(frozen=True, slots=True)
class _Begun:
    """A decoding after what was given.

    logits: (1, n_vocab), of the first token to sample. attention: (alignment heads, rows from `sot` on, T).
    heads: (2, alignment heads), the layer and the head of each.
    """

    model: Writer
    tokenizer: Tokenizer
    options: DecodeOptions
    rules: Rules
    bias: TokenBias | None
    cache: Cache
    heads: NDArray[np.int64]
    budget: int
    logits: Floats
    attention: Floats

    def step(self, tokens: Sequence[int]) -> tuple[Floats, Floats]:
        """One token more in each row: logits (rows, n_vocab), attention (rows, alignment heads, 1, T)."""
        logits, weights = self.model.step(np.array(tokens)[:, None], self.cache)
        return logits[:, -1], weights[:, self.heads[0], self.heads[1]]

    def allowed(self, logits: Floats, sampled: Sequence[int]) -> tuple[Floats, Floats]:
        """Logits (n_vocab,) by the rules, and as what is expected would have them."""
        allowed = self.rules.apply(logits, list(sampled))
        if self.bias is None:
            return allowed, allowed
        return allowed, self.bias.apply(allowed, [*self.options.prefix, *sampled])

    def loop(self, sampled: Sequence[int]) -> int | None:
        """How many sampled tokens to keep where the text has begun to repeat itself."""
        if not self.options.break_loops:
            return None
        cut = _loop(self.tokenizer, self.options.prefix, sampled)
        return None if cut is None else cut - len(self.options.prefix)


@dataclass(slots=True)
class _Sampled:
    """What was sampled.

    attention: of the positions behind the given ones, each (alignment heads, 1, T). end: log-probability of
    the end of the text, if it was chosen. looped: `broke_loop`; it and the rest as in `Decoded`.
    """

    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    attention: list[Floats] = field(default_factory=list)
    end: float | None = None
    looped: bool = False
    attended: list[int] = field(default_factory=list)
    beyond: int | None = None
    complete: bool | None = None
    lost: bool = False

    def cut(self, kept: int) -> None:
        """Only so many tokens."""
        del self.tokens[kept:], self.logprobs[kept:], self.attended[kept:]
        self.looped = True


def _follow(begun: _Begun) -> _Sampled:
    """One token after the other, each for good; no further than the frontier."""
    options, end = begun.options, begun.tokenizer.eot
    found, follower = _Sampled(), None
    if options.frontier is not None:
        follower = Follower(options.frontier)
        follower.begin(begun.attention[:, :-1], bool(options.prefix))
        found.complete = False
    chance = np.random.default_rng(SEED)
    logits, attention = begun.logits, begun.attention
    while len(found.tokens) < begun.budget:
        if found.tokens:
            logits, weights = begun.step(found.tokens[-1:])
            attention = weights[0]
            found.attention.append(attention)
        allowed, wanted = begun.allowed(logits[0], found.tokens)
        token = _choose(wanted, options.temperature, chance)
        logprob = float(log_softmax(allowed)[token])
        frame, verdict = -1, ""
        if follower is not None:
            frame, verdict = follower.choose(attention[:, -1:])
        if token == end:
            found.end = logprob
            found.complete = verdict == "too new" if follower is not None else None
            break
        if verdict == "too new":
            found.beyond = token
            break
        if verdict == "lost":
            return _Sampled(lost=True, complete=False)
        if follower is not None:
            found.attended.append(frame)
        found.tokens.append(token)
        found.logprobs.append(logprob)
        if (kept := begun.loop(found.tokens)) is not None:
            found.cut(kept)
            break
    return found


def _search(begun: _Begun) -> _Sampled:
    """The best of several texts that are followed at once, each a row of the cache."""
    options, end = begun.options, begun.tokenizer.eot
    beam = Beam(
        options.beam,
        end,
        options.patience,
        options.length_penalty,
        lambda tokens: begun.loop(tokens) is not None,
    )
    logits, steps = begun.logits, [begun.attention[None, :, -1:]]
    for sampled in range(begun.budget):
        if sampled:
            logits, weights = begun.step([text.tokens[-1] for text in beam.live])
            steps.append(weights)
        choices = [_choices(begun, row, text.tokens) for row, text in zip(logits, beam.live, strict=True)]
        rows = beam.grow(choices)
        if beam.done:
            break
        begun.cache.rearrange(rows)
    best = beam.best()
    attention = [step[row] for step, row in zip(steps, best.rows, strict=False)][1:]
    found = _Sampled(list(best.tokens), list(best.logprobs), attention, best.end)
    if (kept := begun.loop(best.tokens)) is not None:
        found.cut(kept)
    return found


def _choices(begun: _Begun, logits: Floats, sampled: Sequence[int]) -> list[Choice]:
    """What a text may go on with: the best by what is expected."""
    allowed, wanted = begun.allowed(logits, sampled)
    scores, logprobs = log_softmax(wanted), log_softmax(allowed)
    best = []
    for _ in range(begun.options.beam + 1):  # a few times the largest is quicker than any sorting
        token = int(scores.argmax())
        best.append(Choice(token, float(scores[token]), float(logprobs[token])))
        scores[token] = FORBIDDEN
    return best


def _choose(logits: Floats, temperature: float, chance: np.random.Generator) -> int:
    """The likeliest token, or above temperature 0 one that is drawn."""
    if temperature == 0:
        return int(logits.argmax())
    shares = np.cumsum(np.exp(log_softmax(logits / temperature)), dtype=np.float64)
    return int(np.searchsorted(shares, chance.random() * shares[-1], side="right"))


def _prompt(
    model: Writer, tokenizer: Tokenizer, options: DecodeOptions, language: str
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What comes before `sot` (as much of the prompt as Whisper takes), and the sequence from `sot` on."""
    start = tokenizer.sot_sequence(language, options.task)
    if not options.timestamps:
        start = (*start, tokenizer.no_timestamps)
    if not options.prompt:
        return (), start
    room = model.dims.n_text_ctx // 2 - 1
    return (tokenizer.sot_prev, *options.prompt[-room:]), start


def _budget(model: Writer, options: DecodeOptions, given: int) -> int:
    """How many tokens may be sampled after `given` ones."""
    n_ctx = model.dims.n_text_ctx
    # The last token needs no position of its own: nothing is predicted from it.
    room = n_ctx + 1 - given
    if room < 1:
        raise ModelError(
            f"expected room for a token after the prompt and prefix in a text context of {n_ctx}, "
            f"found {given} tokens already: shorten the prompt"
        )
    budget = min(room, options.max_tokens or n_ctx // 2)
    if options.duration is not None:
        cap = math.ceil(options.duration * options.tokens_per_second) + SPARE_TOKENS
        # What the prefix already says counts against the same audio.
        budget = min(budget, max(SPARE_TOKENS, cap - len(options.prefix)))
    return budget


def _loop(tokenizer: Tokenizer, prefix: Sequence[int], sampled: Sequence[int]) -> int | None:
    """How many tokens to keep where the text has begun to repeat itself; never less than the prefix."""
    tokens = [*prefix, *sampled]
    places = [i for i, token in enumerate(tokens) if token < tokenizer.eot]
    cut = loop_start([tokens[i] for i in places])
    return None if cut is None else max(len(prefix), places[cut - 1] + 1)
