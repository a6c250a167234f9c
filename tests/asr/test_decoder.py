import math
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from streamer.asr.attended import Frontier
from streamer.asr.decode import DecodeOptions
from streamer.asr.decoder import SPARE_TOKENS, decode, detect_language
from streamer.asr.rules import loop_start
from streamer.asr.tokenizer import Tokenizer, load_tokenizer
from streamer.errors import ModelError
from streamer.nn.checkpoint import load
from tests.nn.reference import NARROW, TINY, ours, reference
from tests.nn.test_checkpoint import write_own

whisper = pytest.importorskip("whisper")

WHISPER = DecodeOptions(break_loops=False, end_after_prefix=False, max_tokens=40)
PROMPT = (1212, 318, 257, 1332, 13)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def pairs():
    """(theirs, ours, tokenizer, an encoding) for English-only and multilingual vocabularies."""
    made = []
    for n_vocab, seed in ((51864, 2), (51864, 7), (51865, 0), (51866, 1)):
        theirs = reference({**NARROW, "n_vocab": n_vocab}, seed, end_bias=3)
        states = torch.randn(1500, 64, generator=torch.Generator().manual_seed(seed))
        made.append((theirs, ours(theirs), Tokenizer.official(n_vocab), states))
    return made


def check(pair, options, **theirs):
    reference_model, model, tokenizer, states = pair
    theirs = {"language": options.language, "without_timestamps": not options.timestamps} | theirs
    asked = whisper.DecodingOptions(fp16=False, sample_len=options.max_tokens, task=options.task, **theirs)
    expected = whisper.decode(reference_model, states, asked)
    found = decode(model, states[None], tokenizer, options)
    assert list(found.tokens[found.prefix_length :]) == expected.tokens
    assert found.avg_logprob == pytest.approx(expected.avg_logprob, abs=1e-4)
    assert found.no_speech_prob == pytest.approx(expected.no_speech_prob, rel=1e-3)
    assert found.text == tokenizer.decode([*options.prefix, *expected.tokens]).strip()
    return found


@pytest.mark.parametrize(
    "options",
    [
        WHISPER,
        replace(WHISPER, timestamps=True),
        replace(WHISPER, timestamps=True, max_initial_timestamp=None),
        replace(WHISPER, suppress_blank=False, suppress_tokens=()),
        replace(WHISPER, timestamps=True, suppress_tokens=(11, 13)),
    ],
    ids=["text", "timestamps", "any-start", "unsuppressed", "own-set"],
)
def test_equals_whisper(pairs, options):
    found = [
        check(
            pair,
            options,
            suppress_blank=options.suppress_blank,
            suppress_tokens=list(options.suppress_tokens),
            max_initial_timestamp=options.max_initial_timestamp,
        )
        for pair in pairs
    ]
    assert len({decoded.tokens for decoded in found}) == len(pairs), (
        "the checkpoints say the same: a weak test"
    )


@pytest.mark.parametrize("timestamps", [False, True])
def test_equals_whisper_with_prompt_and_prefix(pairs, timestamps):
    for pair in pairs:
        plain = decode(pair[1], pair[3][None], pair[2], replace(WHISPER, timestamps=timestamps))
        prefix = plain.tokens[:5]
        options = replace(WHISPER, timestamps=timestamps, prompt=PROMPT * 60, prefix=prefix)
        found = check(pair, options, prompt=list(PROMPT * 60), prefix=list(prefix))
        assert found.tokens[:5] == prefix


@pytest.mark.parametrize(
    ("options", "theirs"),
    [
        (replace(WHISPER, beam=5), {}),
        (replace(WHISPER, beam=3, patience=2.0, timestamps=True), {"patience": 2.0}),
        (replace(WHISPER, beam=4, length_penalty=0.6), {"length_penalty": 0.6}),
    ],
    ids=["beam", "patient, with timestamps", "length"],
)
def test_beam_search_equals_whisper(pairs, options, theirs):
    options = replace(options, max_tokens=20)
    others = 0
    for pair in pairs[1:3]:
        found = check(pair, options, beam_size=options.beam, **theirs)
        greedy = decode(pair[1], pair[3][None], pair[2], replace(options, beam=1))
        others += found.tokens != greedy.tokens
    assert others, "the beam finds what greedy decoding finds: a weak test"


def test_beam_search_equals_whisper_with_prompt_and_prefix(pairs):
    pair = pairs[1]
    prefix = decode(pair[1], pair[3][None], pair[2], WHISPER).tokens[:5]
    options = replace(WHISPER, beam=3, prompt=PROMPT, prefix=prefix, max_tokens=20)
    found = check(pair, options, prompt=list(PROMPT), prefix=list(prefix), beam_size=3)
    assert found.tokens[:5] == prefix


def test_a_beams_text_tells_what_forcing_it_tells(pairs):
    """Rows of the cache follow their texts: probabilities and attention are those of one text alone."""
    for _, model, tokenizer, states in pairs[1:3]:
        found = decode(model, states[None], tokenizer, DecodeOptions(beam=4, max_tokens=20))
        forced = decode(model, states[None], tokenizer, DecodeOptions(prefix=found.tokens, max_tokens=20))
        shared = found.attention.shape[1]
        assert shared >= found.attention_start + len(found.tokens)
        assert found.attention == pytest.approx(forced.attention[:, :shared], abs=1e-4)
        # Suppression changes the distribution of what is sampled, not of what is given.
        assert found.logprobs[1:] == pytest.approx(forced.logprobs[1 : len(found.tokens)], abs=0.05)


def test_no_beam_where_audio_goes_on_or_tokens_are_drawn(pairs):
    _, model, tokenizer, states = pairs[1]
    for options in (DecodeOptions(frontier=Frontier(1500, 0, 1500)), DecodeOptions(temperature=1.0)):
        one, wide = (
            decode(model, states[None], tokenizer, replace(options, beam=n, max_tokens=8)) for n in (1, 4)
        )
        assert one.tokens == wide.tokens


def test_a_loop_in_a_beam_is_left(pairs):
    """Biased so that one token is far likelier than all others, always."""
    _, model, tokenizer, states = pairs[1]

    class Always:
        def apply(self, logits, tokens):
            wanted = logits.copy()
            wanted[2000] += 20
            return wanted

    options = DecodeOptions(beam=2, max_tokens=40, suppress_tokens=())
    found = decode(model, states[None], tokenizer, options, Always())
    assert 2000 in found.tokens
    assert loop_start(list(found.tokens)) is None
    looped = decode(model, states[None], tokenizer, replace(options, break_loops=False), Always())
    assert loop_start(list(looped.tokens)) is not None


def test_equals_whisper_in_other_languages(pairs):
    for pair in pairs[2:]:
        check(pair, replace(WHISPER, language="de", task="translate"))


def test_detects_the_language_whisper_detects(pairs):
    for pair in pairs[2:]:
        reference_model, model, tokenizer, states = pair
        found = check(pair, replace(WHISPER, language=None, prompt=PROMPT), prompt=list(PROMPT))
        theirs = whisper.tokenizer.get_tokenizer(True, num_languages=len(tokenizer.languages), language="en")
        _, expected = reference_model.detect_language(states, theirs)
        assert found.language == max(expected, key=expected.get)
        probabilities = detect_language(model, states[None], tokenizer)
        assert probabilities == pytest.approx(expected, abs=1e-6)
        assert found.language_prob == pytest.approx(max(expected.values()), abs=1e-6)


def test_equals_whisper_at_full_tiny_size():
    theirs = reference(TINY, 3, end_bias=2)
    generator = torch.Generator().manual_seed(1)
    mel = torch.randn(1, 80, 3000, generator=generator)
    model, tokenizer = ours(theirs), Tokenizer.official(51865)
    with torch.inference_mode():
        states = model.encode(mel).states
    expected = whisper.decode(
        theirs,
        mel[0],
        whisper.DecodingOptions(fp16=False, language="en", sample_len=30, without_timestamps=True),
    )
    found = decode(model, states, tokenizer, replace(WHISPER, max_tokens=30))
    assert list(found.tokens) == expected.tokens
    assert found.avg_logprob == pytest.approx(expected.avg_logprob, abs=1e-4)


def test_the_end_of_the_context_is_whispers(pairs):
    theirs = reference({**NARROW, "n_vocab": 51864, "n_text_ctx": 24}, 5)
    pair = (theirs, ours(theirs), pairs[0][2], pairs[0][3])
    found = check(pair, replace(WHISPER, max_tokens=40))
    assert found.reached_limit
    with pytest.raises(ModelError, match="shorten the prompt"):
        decode(pair[1], pair[3][None], pair[2], replace(WHISPER, prefix=(5,) * 24))


def test_a_prefix_continues_as_if_it_had_been_sampled(pairs):
    for _, model, tokenizer, states in pairs:
        whole = decode(model, states[None], tokenizer, DecodeOptions(max_tokens=12, break_loops=False))
        for length in (len(whole.tokens) // 2, len(whole.tokens)):
            options = DecodeOptions(
                max_tokens=12 - length + 1, prefix=whole.tokens[:length], break_loops=False
            )
            again = decode(model, states[None], tokenizer, options)
            shared = min(len(again.tokens), len(whole.tokens))
            assert again.tokens[:shared] == whole.tokens[:shared]
            # Suppression changes the distribution of what is sampled, not of what is given.
            assert again.logprobs[length:shared] == pytest.approx(whole.logprobs[length:shared], abs=1e-3)
            assert again.attention[:, :shared] == pytest.approx(whole.attention[:, :shared], abs=1e-4)


def test_attention_has_a_row_for_each_choice(pairs):
    for _, model, tokenizer, states in pairs:
        found = decode(model, states[None], tokenizer, DecodeOptions(max_tokens=40, prompt=PROMPT))
        heads, rows, frames = found.attention.shape
        assert (heads, frames) == (len(model.alignment_heads), 1500)
        ended = not found.reached_limit
        assert rows == found.attention_start + len(found.tokens) + int(ended)
        assert np.allclose(found.attention.sum(-1), 1, atol=1e-4)
        assert found.logprobs.shape == found.token_probs.shape == (len(found.tokens),)


def test_short_contexts_decode_as_whisper_given_the_same_states(pairs):
    """whisper.decode takes an encoding of the model's own context: a model whose context is short."""
    theirs = reference({**NARROW, "n_vocab": 51864, "n_audio_ctx": 120}, 9, end_bias=3)
    states = torch.randn(120, 64, generator=torch.Generator().manual_seed(9))
    check((theirs, ours(theirs), pairs[0][2], states), WHISPER)


def test_duration_caps_the_tokens(pairs):
    _, _, tokenizer, states = pairs[0]
    endless = ours(reference({**NARROW, "n_vocab": 51864}, 1, end_bias=-50))
    options = DecodeOptions(duration=1.0, break_loops=False)
    found = decode(endless, states[None], tokenizer, options)
    assert len(found.tokens) == 22 + SPARE_TOKENS
    assert found.reached_limit
    longer = decode(endless, states[None], tokenizer, replace(options, prefix=found.tokens))
    assert len(longer.tokens) == len(found.tokens) + SPARE_TOKENS


def stuck(tokenizer):
    """A model that repeats what it said last: the output layer is the embedding, and nothing else speaks."""
    theirs = reference({**NARROW, "n_vocab": 51864}, 4)
    with torch.no_grad():
        for parameter in theirs.decoder.blocks.parameters():
            parameter.zero_()
        theirs.decoder.positional_embedding.zero_()
    return ours(theirs)


def test_loops_are_cut_and_only_when_asked(pairs):
    tokenizer, states = pairs[0][2], pairs[0][3]
    model = stuck(tokenizer)
    options = DecodeOptions(max_tokens=40, prefix=(1000, 2000))
    free = decode(model, states[None], tokenizer, replace(options, break_loops=False))
    assert free.tokens == (1000, *[2000] * 41)
    found = decode(model, states[None], tokenizer, options)
    assert found.broke_loop
    assert not found.reached_limit
    assert found.tokens == (1000, 2000)
    assert len(found.logprobs) == 2
    assert found.attention.shape[1] == found.attention_start + 3
    assert math.isfinite(found.avg_logprob)
    stable = (1000, *[2000] * 12)
    assert decode(model, states[None], tokenizer, replace(options, prefix=stable)).tokens == stable


def test_wrong_vocabulary_is_named(pairs):
    with pytest.raises(ModelError, match="expected a vocabulary of 51864 tokens, found 51865"):
        decode(pairs[0][1], pairs[0][3][None], pairs[2][2])


def test_english_only_cannot_detect(pairs):
    with pytest.raises(ModelError, match="only knows English"):
        detect_language(pairs[0][1], pairs[0][3][None], pairs[0][2])
    assert (
        decode(pairs[0][1], pairs[0][3][None], pairs[0][2], replace(WHISPER, language=None)).language == "en"
    )


def with_our_vocabulary(monkeypatch, tokenizer):
    theirs = whisper.tokenizer.Tokenizer(encoding=tokenizer.encoding, num_languages=0)
    monkeypatch.setattr(whisper.decoding, "get_tokenizer", lambda *args, **kwargs: theirs)


def check_own(loaded, monkeypatch):
    """A model of ours says what openai-whisper would with its weights, narrower text sides included."""
    tokenizer = load_tokenizer(loaded.vocabulary)
    with_our_vocabulary(monkeypatch, tokenizer)
    dims = loaded.model.dims
    theirs = whisper.model.Whisper(whisper.model.ModelDimensions(**asdict(dims)))
    if dims.n_audio_state != dims.n_text_state:
        for block in theirs.decoder.blocks:
            block.cross_attn.key = whisper.model.Linear(dims.n_audio_state, dims.n_text_state, bias=False)
            block.cross_attn.value = whisper.model.Linear(dims.n_audio_state, dims.n_text_state)
    theirs.load_state_dict(loaded.model.state_dict())
    theirs.eval()
    mel = torch.randn(1, dims.n_mels, 2 * dims.n_audio_ctx, generator=torch.Generator().manual_seed(0))
    for scale in (0.0, 1.0):
        with torch.inference_mode():
            states = loaded.model.encode(mel * scale).states
            assert torch.allclose(states, theirs.encoder(mel * scale), atol=1e-4)
        for timestamps in (False, True):
            options = replace(WHISPER, max_tokens=12, timestamps=timestamps, max_initial_timestamp=None)
            check((theirs, loaded.model, tokenizer, states[0]), options, max_initial_timestamp=None)


def test_own_models_equal_whisper(tmp_path, monkeypatch):
    write_own(tmp_path / "small")
    check_own(load(tmp_path / "small"), monkeypatch)


def test_bundled_model_equals_whisper(monkeypatch):
    directory = Path(__file__).parents[2] / "models" / "bundled"
    if not (directory / "model.toml").exists():
        pytest.skip("the bundled model is not there yet")
    check_own(load(directory), monkeypatch)


def test_the_end_of_a_text_tells_whether_it_attended_to_the_end_of_the_audio(pairs):
    ended = 0
    for _, model, tokenizer, states in pairs:
        whole = decode(model, states[None], tokenizer, DecodeOptions(max_tokens=40))
        assert whole.complete is None
        if whole.reached_limit or whole.broke_loop or not whole.tokens:
            continue
        ended += 1
        for margin in (0, 1500):
            frontier = Frontier(frames=1500, margin=margin, jump_back=1500)
            options = DecodeOptions(prefix=whole.tokens, max_tokens=40, frontier=frontier)
            found = decode(model, states[None], tokenizer, options)
            assert found.tokens == whole.tokens
            assert found.complete is (margin == 1500)
    assert ended
