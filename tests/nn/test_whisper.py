import pytest
import torch

from streamer.nn.whisper import DecoderCache, Whisper, WhisperDims, pool_frames, sinusoids
from streamer.timebase import POOL
from tests.nn.reference import BASE, NARROW, TINY, ours, reference


@pytest.mark.parametrize(("dims", "seed"), [(TINY, 0), (BASE, 1)], ids=["tiny", "base"])
def test_encoder_equals_whispers_and_pools_on_the_way(dims, seed):
    theirs = reference({**dims, "n_text_layer": 1, "n_vocab": 51864}, seed)
    model = ours(theirs)
    mel = torch.randn(1, 80, 3000, generator=torch.Generator().manual_seed(seed))
    full: list[torch.Tensor] = []
    hooks = [
        block.register_forward_hook(lambda _m, _i, out: full.append(out)) for block in theirs.encoder.blocks
    ]
    with torch.inference_mode():
        expected = theirs.encoder(mel)
        found = model.encode(mel, pooled=True)
    for hook in hooks:
        hook.remove()
    assert (found.states - expected).abs().max() <= 1e-5
    assert found.layers.shape == (1, dims["n_audio_layer"], 75, dims["n_audio_state"])
    afterwards = torch.stack([pool_frames(layer) for layer in full], dim=1)
    assert (found.layers - afterwards).abs().max() <= 1e-4 * afterwards.abs().max()


@pytest.fixture(scope="module")
def narrow():
    return reference({**NARROW, "n_vocab": 51864}, 0)


def test_pooling_in_the_forward_equals_pooling_afterwards(narrow):
    model = ours(narrow)
    full = []
    hooks = [
        block.register_forward_hook(lambda _m, _i, out: full.append(out)) for block in model.encoder.blocks
    ]
    with torch.inference_mode():
        found = model.encode(torch.randn(2, 80, 250), pooled=True)
    for hook in hooks:
        hook.remove()
    afterwards = torch.stack([layer[:, :120].reshape(2, 6, POOL, 64).mean(2) for layer in full], dim=1)
    assert torch.equal(found.layers, afterwards)
    assert model.encode(torch.randn(1, 80, 40)).layers is None


def test_pooling_keeps_every_item_and_drops_the_incomplete_run():
    x = torch.arange(2 * 45 * 3, dtype=torch.float32).reshape(2, 45, 3)
    pooled = pool_frames(x)
    assert pooled.shape == (2, 2, 3)
    assert torch.equal(pooled[1, 1], x[1, 20:40].mean(0))


def test_sinusoids_are_whispers():
    model_module = pytest.importorskip("whisper.model")
    for length, width in ((1500, 384), (1500, 512), (100, 64)):
        assert torch.equal(sinusoids(length, width), model_module.sinusoids(length, width))


def test_a_batch_is_its_items(narrow):
    model = ours(narrow)
    mel = torch.randn(3, 80, 160)
    with torch.inference_mode():
        together = model.encode(mel, pooled=True)
        alone = [model.encode(mel[i : i + 1], pooled=True) for i in range(3)]
    assert torch.allclose(together.states, torch.cat([a.states for a in alone]), atol=1e-5)
    assert torch.allclose(together.layers, torch.cat([a.layers for a in alone]), atol=1e-5)


def test_too_long_a_context_is_refused(narrow):
    with pytest.raises(ValueError, match="at most 3000 mel frames, found 3002"):
        ours(narrow).encode(torch.zeros(1, 80, 3002))


def test_steps_equal_teacher_forcing_and_truncation_forgets():
    dims = WhisperDims(80, 100, 64, 2, 1, 200, 32, 48, 3, 3)
    torch.manual_seed(0)
    model = Whisper(dims).eval()
    states, tokens = torch.randn(2, 40, 64), torch.randint(0, 200, (2, 20))
    with torch.inference_mode():
        whole = model.decoder(tokens, states)
        cache = DecoderCache(model.decoder, states)
        pieces = [model.decoder.step(tokens[:, a:b], cache)[0] for a, b in ((0, 5), (5, 6), (6, 20))]
        assert torch.allclose(torch.cat(pieces, 1), whole, atol=1e-4)
        cache.truncate(7)
        again, weights = model.decoder.step(tokens[:, 7:9], cache)
    assert torch.allclose(again, whole[:, 7:9], atol=1e-4)
    assert weights.shape == (2, 3, 3, 2, 40)
    assert torch.allclose(weights.sum(-1), torch.ones(2, 3, 3, 2))
