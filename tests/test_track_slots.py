"""Tags land where the sound was, wherever a pass begins and however long a window is.

With an encoder whose every frame hears only the audio around it, what a window says can be computed from
one pass over the whole stream. The slot that a track gives a window must be where that fits best.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from streamer.audio.mel import log_mel
from streamer.config import Config
from streamer.engine import Engine
from streamer.events import SoundTags
from streamer.labels import Label
from streamer.nn.checkpoint import LoadedModel
from streamer.nn.definition import TagsInfo
from streamer.nn.heads import make_head
from streamer.nn.whisper import Block
from streamer.passes import Kind, Pass
from streamer.timebase import FRAME, SAMPLE_RATE, TOKEN, to_samples
from streamer.track import Track
from tests.tiny import tiny_model, tiny_tokenizer

LENGTH = 20.0
CLASSES = 24
WINDOWS = (0.8, 1.2, 2.0, 4.0, 4.4, 8.8, 10.0)


def short_sighted() -> LoadedModel:
    """A model whose blocks pass on what the convolutions made, and a head that averages it."""
    model = tiny_model()
    encoder = model.model.encoder
    with torch.no_grad():
        encoder.positional_embedding.zero_()
        for block in encoder.blocks:
            assert isinstance(block, Block)
            for name in ("attn.out", "mlp.2"):
                block.get_parameter(f"{name}.weight").zero_()
                block.get_parameter(f"{name}.bias").zero_()
    head = make_head("last-mlp", 2, 64, CLASSES).eval()
    torch.nn.init.normal_(head.get_parameter("mlp_layer.1.weight"), std=0.5)
    labels = tuple(Label(f"sound {i}") for i in range(CLASSES))
    info = model.info.model_copy(update={"tags": TagsInfo(head="last-mlp")})
    return replace(model, info=info, tags=head, labels=labels, thresholds=(0.5,) * CLASSES)


def changing() -> np.ndarray:
    """Another quiet tone every 200 ms over one that sets the loudness of every pass."""
    rng, time_ = np.random.default_rng(0), np.arange(to_samples(LENGTH)) / SAMPLE_RATE
    pitch = np.repeat(rng.uniform(300, 7000, round(LENGTH / 0.2)), to_samples(0.2))
    return (0.5 * np.sin(2 * np.pi * 150 * time_) + 0.1 * np.sin(2 * np.pi * pitch * time_)).astype(
        np.float32
    )


MODEL = short_sighted()
TOKENIZER = tiny_tokenizer()
ENGINE = Engine(MODEL, TOKENIZER)
AUDIO = changing()


@torch.inference_mode()
def whole_stream() -> Tensor:
    """What the encoder's blocks pass on of every frame, (T, D)."""
    encoder = MODEL.model.encoder
    x = F.gelu(encoder.conv1(torch.from_numpy(log_mel(AUDIO))[None]))
    return F.gelu(encoder.conv2(x))[0].T


@torch.inference_mode()
def heard(start: int, end: int) -> Tensor:
    """Scores of samples [start, end)."""
    assert MODEL.tags is not None
    mean = FRAMES[start // FRAME : end // FRAME].mean(0)
    logits: Tensor = MODEL.tags(mean[None, None, None].expand(1, 2, 1, -1))
    return logits[0].sigmoid()


FRAMES = whole_stream()


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_window_is_where_its_sound_is(data: st.DataObject) -> None:
    window = data.draw(st.sampled_from(WINDOWS))
    hop = data.draw(st.sampled_from([h for h in (0.4, 0.8, 2.0) if h <= window]))
    config = Config.model_validate({"sounds": {"window": window, "hop": hop}})
    kind = data.draw(st.sampled_from([Kind.AMBIENT, Kind.FINAL, Kind.PARTIAL]))
    frames = data.draw(st.integers(60, 600))
    start = FRAME * data.draw(st.integers(100, 1000 - frames - 50))
    end = start + FRAME * frames
    track = Track("s", config, MODEL, TOKENIZER)
    p = Pass("s", kind, start, end, AUDIO[start:end], time.monotonic(), 1 if kind < Kind.AMBIENT else 0)
    # What came before is done: only the slots of this pass are due.
    track._heard = start
    request = track.request(p)
    if request is None:
        assert frames * FRAME < 2 * TOKEN + to_samples(hop)
        return
    (result,) = ENGINE.run([request])
    events = track.events(p, request, result)
    slots = [(to_samples(e.start), to_samples(e.end)) for e in events if isinstance(e, SoundTags)]
    for (first, last), scores in zip(slots, result.scores, strict=True):
        assert start <= first < last <= end
        assert (last - first) % TOKEN == 0
        assert last - first <= to_samples(window)
        shifts = [token * TOKEN for token in range(-3, 4)]
        off = [float((heard(first + s, last + s) - torch.from_numpy(scores)).abs().mean()) for s in shifts]
        assert shifts[int(np.argmin(off))] == 0, (first, last, off)
