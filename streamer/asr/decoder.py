"""Decoding of one encoding, token by token over a cache, as `whisper.decode` without a beam."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from streamer.asr.attended import Follower
from streamer.asr.decode import Decoded, DecodeOptions
from streamer.asr.hotwords import TokenBias
from streamer.asr.rules import Rules, loop_start
from streamer.asr.tokenizer import Tokenizer
from streamer.errors import ModelError
from streamer.nn.whisper import DecoderCache, Whisper

SPARE_TOKENS = 8
"""Tokens allowed beyond the cap by duration, so that a very short utterance is not cut."""

SEED = 0
"""Of what is drawn above temperature 0: the same audio gives the same text."""

_DEFAULTS = DecodeOptions()


@torch.inference_mode()
def detect_language(
    model: Whisper, states: Tensor, tokenizer: Tokenizer, cache: DecoderCache | None = None
) -> dict[str, float]:
    """Probability of every language for an encoding (1, T, D), from one decoder step.

    A given cache must be empty, and is again afterwards. Raises ModelError for an English-only model.
    """
    if not tokenizer.is_multilingual:
        raise ModelError(
            "this model only knows English: set the language to 'en', or choose a multilingual model"
        )
    cache = cache or DecoderCache(model.decoder, states)
    logits, _ = model.decoder.step(torch.tensor([[tokenizer.sot]], device=states.device), cache)
    cache.truncate(0)
    probabilities = logits[0, 0, list(tokenizer.language_tokens)].softmax(-1).tolist()
    return dict(zip(tokenizer.languages, probabilities, strict=True))


@torch.inference_mode()
def decode(
    model: Whisper,
    states: Tensor,
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
    cache = DecoderCache(model.decoder, states)
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
    heads = torch.tensor(model.alignment_heads, device=states.device).T

    logits, weights = model.decoder.step(torch.tensor([given], device=states.device), cache)
    sot = len(before)
    rows = [weights[0, heads[0], heads[1], sot:]]
    no_speech = logits[0, sot].softmax(-1)[tokenizer.no_speech].item()
    first = len(given) - len(options.prefix)
    forced = logits[0, first - 1 : len(given) - 1].log_softmax(-1)
    logprobs = [forced[i, token].item() for i, token in enumerate(options.prefix)]

    follower = Follower(options.frontier) if options.frontier is not None else None
    if follower is not None:
        follower.begin(rows[0][:, :-1].cpu().numpy(), bool(options.prefix))
    chance = torch.Generator(states.device).manual_seed(SEED)
    sampled: list[int] = []
    attended: list[int] = []
    ended, cut, beyond, lost, end_logprob = False, None, None, False, 0.0
    complete = None if follower is None else False
    while len(sampled) < budget:
        if sampled:
            logits, weights = model.decoder.step(torch.tensor([sampled[-1:]], device=states.device), cache)
            rows.append(weights[0, heads[0], heads[1]])
        allowed = rules.apply(logits[0, -1], sampled)
        wanted = allowed if bias is None else bias.apply(allowed, [*options.prefix, *sampled])
        token = _choose(wanted, options.temperature, chance)
        logprob = (allowed[token] - allowed.logsumexp(0)).item()
        if token == tokenizer.eot:
            ended, end_logprob = True, logprob
            if follower is not None:
                complete = follower.choose(rows[-1][:, -1:].cpu().numpy())[1] == "too new"
            break
        if follower is not None:
            frame, verdict = follower.choose(rows[-1][:, -1:].cpu().numpy())
            if verdict == "too new":
                beyond = token
                break
            if verdict == "lost":
                lost, sampled, attended, logprobs = True, [], [], logprobs[: len(options.prefix)]
                break
            attended.append(frame)
        sampled.append(token)
        logprobs.append(logprob)
        if options.break_loops and (cut := _loop(tokenizer, options.prefix, sampled)) is not None:
            break

    kept = len(options.prefix) + len(sampled) if cut is None else cut
    tokens = (*options.prefix, *sampled)[:kept]
    n_sampled = kept - len(options.prefix)
    total = sum(logprobs[len(options.prefix) : kept]) + end_logprob
    attention = torch.cat(rows, dim=1)[:, : len(start) + kept]
    return Decoded(
        tokens=tokens,
        prefix_length=len(options.prefix),
        text=tokenizer.decode(tokens).strip(),
        logprobs=np.array(logprobs[:kept], np.float32),
        avg_logprob=total / (n_sampled + 1),
        no_speech_prob=no_speech,
        language=language,
        language_prob=certainty,
        attention=attention.cpu().numpy(),
        attention_start=len(start) - 1,
        reached_limit=not (ended or lost) and cut is None and beyond is None,
        broke_loop=cut is not None,
        attended=tuple(attended[:n_sampled]),
        beyond=beyond,
        complete=complete,
        lost=lost,
        temperature=options.temperature,
    )


def _choose(logits: Tensor, temperature: float, chance: torch.Generator) -> int:
    """The likeliest token, or above temperature 0 one that is drawn."""
    if temperature == 0:
        return int(logits.argmax())
    return int(torch.multinomial((logits.float() / temperature).softmax(-1), 1, generator=chance))


def _prompt(
    model: Whisper, tokenizer: Tokenizer, options: DecodeOptions, language: str
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What comes before `sot` (as much of the prompt as Whisper takes), and the sequence from `sot` on."""
    start = tokenizer.sot_sequence(language, options.task)
    if not options.timestamps:
        start = (*start, tokenizer.no_timestamps)
    if not options.prompt:
        return (), start
    room = model.dims.n_text_ctx // 2 - 1
    return (tokenizer.sot_prev, *options.prompt[-room:]), start


def _budget(model: Whisper, options: DecodeOptions, given: int) -> int:
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


def _loop(tokenizer: Tokenizer, prefix: tuple[int, ...], sampled: list[int]) -> int | None:
    """How many tokens to keep where the text has begun to repeat itself; never less than the prefix."""
    tokens = [*prefix, *sampled]
    places = [i for i, token in enumerate(tokens) if token < tokenizer.eot]
    cut = loop_start([tokens[i] for i in places])
    return None if cut is None else max(len(prefix), places[cut - 1] + 1)
