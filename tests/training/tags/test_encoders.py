from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from streamer.audio.mel import log_mel
from streamer.engine import Engine, Request
from streamer.nn.checkpoint import load
from streamer.timebase import TOKEN
from streamer.training.tags.encoders import FrozenEncoder, load_encoder, of_whisper
from tests.cli.tiny import make_model
from tests.tiny import tiny_model, tiny_tokenizer
from tests.training.corpora import noise, write_teacher


def windows(tokens: int = 6, count: int = 2) -> list[np.ndarray]:
    return [noise(tokens * TOKEN / 16000, seed)[: tokens * TOKEN] for seed in range(count)]


def test_features_are_every_layers_as_the_daemon_pools_them() -> None:
    """A head on them scores what the engine scores."""
    model = tiny_model()
    encoder = of_whisper(model.model, "tiny", short=True, precision="fp32")
    values = encoder.features(windows())
    assert values.shape == (2, 2, 6, 64)
    assert values.dtype == np.float16
    assert encoder.passes == 2
    engine = Engine(model, tiny_tokenizer())
    wanted = engine.run([Request(w, windows=((0, 6),)) for w in windows()])
    assert model.tags is not None
    got = model.tags(torch.from_numpy(values).float()).sigmoid()
    torch.testing.assert_close(
        got, torch.from_numpy(np.concatenate([r.scores for r in wanted])), atol=2e-3, rtol=0
    )


def test_a_window_between_two_contexts_is_padded_and_cut() -> None:
    encoder = of_whisper(tiny_model().model, "tiny", short=True, precision="fp32")
    (samples,) = windows(5, 1)
    padded = log_mel(np.pad(samples, (0, TOKEN)))
    wanted = encoder.module(torch.from_numpy(padded)[None], pooled=True).layers
    assert wanted is not None
    np.testing.assert_array_equal(encoder.features([samples]), wanted[:, :, :5].half().numpy())


def test_a_checkpoint_for_full_contexts_gets_30_seconds() -> None:
    encoder = of_whisper(tiny_model().model, "tiny", short=False, precision="fp32")
    (samples,) = windows(5, 1)
    padded = log_mel(np.pad(samples, (0, 75 * TOKEN - len(samples))))
    wanted = encoder.module(torch.from_numpy(padded)[None], pooled=True).layers
    assert wanted is not None
    np.testing.assert_array_equal(encoder.features([samples]), wanted[:, :, :5].half().numpy())


def test_a_measured_margin_is_behind_every_window(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "own")
    definition = folder / "model.toml"
    plain = load_encoder(folder, "fp32")
    definition.write_text(definition.read_text().replace("margin = 0.0", "margin = 0.8"))
    measured = load_encoder(folder, "fp32")
    (samples,) = windows(6, 1)
    padded = plain.features([np.pad(samples, (0, 2 * TOKEN))])[:, :, :6]
    np.testing.assert_array_equal(measured.features([samples]), padded)
    assert measured.identity != plain.identity


def test_identity_is_of_weights_precision_and_context() -> None:
    def of(seed: int = 0, short: bool = True, precision: str = "fp32") -> FrozenEncoder:
        return of_whisper(tiny_model(seed).model, "tiny", short, precision)

    assert of().identity == of().identity
    others = [of(seed=1), of(short=False), of(precision="bf16")]
    assert len({of().identity, *(one.identity for one in others)}) == 4
    nudged = tiny_model()
    with torch.no_grad():
        nudged.model.encoder.conv1.weight[0, 0, 0] += 1e-3
    assert of_whisper(nudged.model, "tiny", True, "fp32").identity != of().identity


def test_every_kind_of_model_and_a_bare_encoder(tmp_path: Path) -> None:
    own = make_model(tmp_path / "own")
    loaded = load_encoder(own, "fp32")
    assert loaded.info.name == "noise"
    assert loaded.short
    assert loaded.info.fingerprint

    model, official = tiny_model().model, tmp_path / "stock.pt"
    torch.save({"dims": asdict(model.dims), "model_state_dict": model.state_dict()}, official)
    stock = load_encoder(official, "fp32")
    assert not stock.short
    assert load_encoder(official, "fp32", context="short").short

    write_teacher(tmp_path / "whisper-x" / "encoder.fp16.safetensors")
    bare = load_encoder(tmp_path / "whisper-x" / "encoder.fp16.safetensors", "fp32")
    assert (bare.info.name, bare.info.n_layer, bare.info.n_state, bare.info.n_mels) == (
        "whisper-x",
        1,
        64,
        80,
    )
    assert bare.short
    assert bare.features(windows(4, 1)).shape == (1, 1, 4, 64)


def test_a_bare_encoder_is_the_model_it_was_taken_from(tmp_path: Path) -> None:
    model = load(make_model(tmp_path / "own")).model
    tensors = {f"encoder.{name}": t.contiguous() for name, t in model.encoder.state_dict().items()}
    save_file(tensors, tmp_path / "mine.safetensors")
    bare, whole = load_encoder(tmp_path / "mine.safetensors", "fp32"), load_encoder(tmp_path / "own", "fp32")
    assert bare.info.name == "mine"
    assert bare.info.fingerprint == whole.info.fingerprint
