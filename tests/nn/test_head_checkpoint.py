"""Heads in folders of their own come back, and only to the encoder that they were made for."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, get_args

import pytest
import torch
from torch import nn

from streamer.errors import CheckpointError, ModelError
from streamer.labels import Label
from streamer.nn import head_checkpoint
from streamer.nn.checkpoint import load, save
from streamer.nn.definition import Dims, EncoderInfo, HeadInfo, ModelInfo, TagsInfo
from streamer.nn.head_checkpoint import encoder_info, fingerprint, load_head, save_head
from streamer.nn.heads import HEADS, make_head
from streamer.nn.quantise import STORE, dequantise
from streamer.nn.whisper import Whisper
from tests.nn.test_checkpoint import OWN, RANKS, write_own

LABELS = (Label("Dog", "/m/0bt9lr"), Label("My doorbell"), Label("Siren", "/m/03kmc9"))
STORED: tuple[Literal["int8", "fp16", "fp32"], ...] = ("int8", "fp16", "fp32")


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMER_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def whisper(seed: int = 0) -> Whisper:
    torch.manual_seed(seed)
    return Whisper(OWN).eval()


def about(encoder: EncoderInfo, name: str = "mine", **tags: Any) -> HeadInfo:
    return HeadInfo(
        name=name,
        description="a head for tests",
        licence="CC0",
        data="nothing",
        encoder=encoder,
        tags=TagsInfo(**({"window": 3.2, "threshold": 0.4, "thresholds": {"Siren": 0.7}} | tags)),
        scores={"accuracy": 0.5},
    )


def write_head(folder: Path, model: Whisper, kind: str = "tl-tr", width: int | None = 16, **tags: Any) -> Any:
    torch.manual_seed(3)
    head = make_head(kind, OWN.n_audio_layer, OWN.n_audio_state, len(LABELS), width).eval()
    save_head(folder, about(encoder_info("small", model), **tags), head, LABELS, "fp32")
    return head


# ---------------------------------------------------------------- there and back


@pytest.mark.parametrize("precision", STORED)
@pytest.mark.parametrize("width", [None, 16])
@pytest.mark.parametrize("kind", HEADS)
def test_every_kind_comes_back(
    tmp_path: Path, kind: str, width: int | None, precision: Literal["int8", "fp16", "fp32"]
) -> None:
    torch.manual_seed(1)
    head = make_head(kind, 2, 32, len(LABELS), width).eval()
    encoder = EncoderInfo(name="small", n_layer=2, n_state=32, n_mels=80, fingerprint="sha256:00")
    written = save_head(tmp_path / "mine", about(encoder), head, LABELS, precision)
    found = load_head(tmp_path / "mine")
    assert found.info == written
    assert (written.tags.head, written.tags.width, written.tags.pool) == (kind, width, 20)
    assert found.labels == LABELS
    assert found.thresholds == (0.4, 0.4, 0.7)
    assert type(found.head) is type(head)
    assert not found.head.training
    layers = torch.randn(2, 2, 5, 32)
    tolerance = {"fp32": 0.0, "fp16": 1e-2, "int8": 0.2}[precision]
    with torch.inference_mode():
        assert (found.head(layers) - head(layers)).abs().max() <= tolerance


def test_the_definitions_kinds_are_those_there_are() -> None:
    assert set(get_args(TagsInfo.model_fields["head"].annotation)) == set(HEADS)


@pytest.mark.parametrize("kind", HEADS)
def test_a_models_own_head_is_described_by_the_same_table(tmp_path: Path, kind: str) -> None:
    from streamer.asr.bytepairs import write_ranks

    model, tags = whisper(), TagsInfo(window=3.2, thresholds={"Siren": 0.7})
    head = make_head(kind, OWN.n_audio_layer, OWN.n_audio_state, len(LABELS), 16).eval()
    write_ranks(tmp_path / "ranks", list(RANKS))
    info = ModelInfo(name="small", dims=Dims.of(OWN), tags=tags)
    save(tmp_path / "small", info, model, tmp_path / "ranks", tags=head, labels=LABELS, precision="fp32")
    save_head(
        tmp_path / "mine", about(encoder_info("small", model), thresholds=tags.thresholds), head, LABELS
    )
    combined, alone = load(tmp_path / "small"), load_head(tmp_path / "mine")
    assert combined.tags is not None
    assert combined.info.tags is not None
    assert combined.tags.kind == alone.head.kind == kind
    assert combined.info.tags.head == alone.info.tags.head
    layers = torch.randn(1, OWN.n_audio_layer, 4, OWN.n_audio_state)
    with torch.inference_mode():
        assert torch.allclose(combined.tags(layers), alone.head(layers), atol=1e-2)


# ---------------------------------------------------------------- which encoder


def test_a_fingerprint_survives_every_way_of_storing_the_weights() -> None:
    encoder = whisper().encoder
    with torch.no_grad():
        encoder.ln_post.bias[0] = 1e6  # more than float16 holds
        encoder.ln_post.bias[1] = 1e-9
    wanted = fingerprint(encoder)
    for store in STORE.values():
        stored = dequantise(store(encoder.state_dict()))
        again = whisper(1).encoder
        again.load_state_dict(stored)
        assert fingerprint(again) == wanted
    assert fingerprint(encoder.half()) == wanted
    with pytest.raises(ValueError, match="bfloat16"):
        fingerprint(encoder.bfloat16())


def test_other_weights_have_another_fingerprint() -> None:
    def trained(model: Whisper) -> str:
        with torch.no_grad():
            bias = model.encoder.get_parameter("blocks.1.mlp.2.bias")
            bias.add_(1e-3)
        return fingerprint(model.encoder)

    class Swapped(nn.Module):
        def __init__(self, encoder: nn.Module) -> None:
            super().__init__()
            self.other = encoder

    prints = [fingerprint(whisper(seed).encoder) for seed in (0, 1)]
    prints += [trained(whisper()), fingerprint(Swapped(whisper().encoder))]
    assert len(set(prints)) == 4
    assert fingerprint(whisper().encoder) == prints[0]


@pytest.mark.parametrize("precision", STORED)
def test_a_model_takes_a_head_that_was_made_for_it(tmp_path: Path, precision: str) -> None:
    """Trained on the float32 encoder, used with the one that ships."""
    (tmp_path / "models").mkdir()
    model, own, _ = write_own(tmp_path / "models" / "small", precision)
    head = write_head(tmp_path / "models" / "mine", model, "wa-tr")
    plain = load("small")
    assert plain.tags is not None
    assert plain.tags.kind == own.kind
    for name in ("mine", tmp_path / "models" / "mine"):
        loaded = load("small", tags=name)
        assert loaded.tags is not None
        assert loaded.tags.kind == "wa-tr"
        assert loaded.labels == LABELS
        assert loaded.thresholds == (0.4, 0.4, 0.7)
        assert loaded.window == 3.2
        assert loaded.ctc is not None
        layers = torch.randn(1, 2, 4, 32)
        with torch.inference_mode():
            assert torch.allclose(loaded.tags(layers), head(layers), atol=1e-5)


def test_another_encoder_is_refused(tmp_path: Path) -> None:
    write_own(tmp_path / "small")
    write_head(tmp_path / "other", whisper(5))
    with pytest.raises(CheckpointError, match=r"small \(2 layers of 32.*the same size with other weights"):
        load(tmp_path / "small", tags=tmp_path / "other")
    torch.manual_seed(0)
    large = make_head("last-mlp", 3, 32, 3)
    info = EncoderInfo(name="large", n_layer=3, n_state=32, n_mels=80)
    save_head(tmp_path / "large", about(info), large, LABELS)
    with pytest.raises(CheckpointError, match=r"large \(3 layers of 32, 80 mel bands\), found another size"):
        load(tmp_path / "small", tags=tmp_path / "large")
    small = make_head("last-mlp", 2, 32, 3)
    info = EncoderInfo(name="small", n_layer=2, n_state=32, n_mels=128)
    save_head(tmp_path / "mels", about(info), small, LABELS)
    with pytest.raises(CheckpointError, match="another size"):
        load(tmp_path / "small", tags=tmp_path / "mels")


def released(path: Path, n_class: int = 527) -> Path:
    head = make_head("tl-tr", OWN.n_audio_layer, OWN.n_audio_state, n_class)
    torch.save({f"at_model.{name}": tensor for name, tensor in head.state_dict().items()}, path)
    return path


def test_a_released_head_goes_by_its_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    head = released(tmp_path / "tiny_ori.pth")
    write_own(tmp_path / "small")
    with pytest.raises(CheckpointError, match=r"expected that of tiny .*that of small"):
        load(tmp_path / "small", tags=head)  # a model of ours was trained further
    stock = {"dims": asdict(OWN), "model_state_dict": whisper().state_dict()}
    torch.save(stock, tmp_path / "renamed.pt")
    with caplog.at_level(logging.WARNING):
        for name in ("tiny", "whisper-tiny", "openai/whisper-tiny"):
            # Official by its name alone: an official file has its official size.
            head_checkpoint.check_encoder(load_head(head, 2).info, name, Whisper(OWN), stock=True)
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        assert load(tmp_path / "renamed.pt", tags=head).labels[0].name == "Speech"
    assert "trained on the encoder of tiny" in caplog.text
    with pytest.raises(CheckpointError, match="other weights"):
        head_checkpoint.check_encoder(load_head(head, 2).info, "tiny.en", Whisper(OWN), stock=True)


def test_released_heads_are_found_where_they_are_fetched_to(tmp_path: Path) -> None:
    for folder in ("models", "cache/whisper"):
        (tmp_path / folder).mkdir(parents=True)
    path = released(tmp_path / "models" / "tiny_ori.pth")
    cached = released(tmp_path / "cache" / "whisper" / "base_ori.pth")
    for name, wanted in (("tiny_ori", path), ("tiny_ori.pth", path), (path, path), ("base_ori", cached)):
        assert head_checkpoint.locate_head(name) == wanted
    with pytest.raises(ModelError, match=r"no 'tiny_low'.*Did you mean 'tiny_ori'.*streamer models pull"):
        load_head("tiny_low")
    with pytest.raises(ModelError, match="is none"):
        load_head(tmp_path)


def test_released_classes_are_audiosets(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="expected AudioSet's 527 classes, found 12"):
        load_head(released(tmp_path / "x_ori.pth", 12), 2)


# ---------------------------------------------------------------- mistakes


def test_labels_that_audioset_has_not_are_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    head_checkpoint._warn.cache_clear()
    with caplog.at_level(logging.WARNING):
        write_head(tmp_path / "mine", whisper())
        load_head(tmp_path / "mine")
        load_head(tmp_path / "mine")
    assert [record.getMessage() for record in caplog.records] == [
        "Labels of mine that AudioSet has not, so that their events carry no id: My doorbell"
    ]


def test_what_does_not_belong_together_is_not_written(tmp_path: Path) -> None:
    head, encoder = make_head("wa-mlp", 2, 32, 3), EncoderInfo(name="x", n_layer=2, n_state=32)
    with pytest.raises(ModelError, match="expected 3 labels for the tag head, found 2"):
        save_head(tmp_path / "x", about(encoder), head, LABELS[:2])
    with pytest.raises(ModelError, match="reads 2 layers of 32, found x"):
        save_head(tmp_path / "x", about(encoder.model_copy(update={"n_layer": 4})), head, LABELS)
    with pytest.raises(CheckpointError, match=r"thresholds for labels .*Sirene"):
        save_head(tmp_path / "x", about(encoder, thresholds={"Sirene": 0.5}), head, LABELS)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('head = "tl-tr"', 'head = "wa-tr"', "unexpected layer_tr"),
        ("width = 16", "width = 8", "expected .*, found"),
        ("pool = 20", "pool = 40", "tags.pool: Input should be 20"),
        ('head = "tl-tr"', 'head = "tltr"', "tags.head"),
        ('licence = "CC0"', 'license = "CC0"', "license: Extra inputs"),
        ("Siren = 0.7", "Sirene = 0.7", "Sirene"),
        ("n_layer = 2", "n_layer = 2.5", "encoder.n_layer"),
        ("[encoder]", "[encoder", "cannot read the head definition"),
    ],
)
def test_mistakes_in_a_definition_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    write_head(tmp_path / "mine", whisper())
    path = tmp_path / "mine" / "head.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(CheckpointError, match=message) as caught:
        load_head(tmp_path / "mine")
    assert str(tmp_path / "mine") in str(caught.value)


def test_damaged_weights_are_named(tmp_path: Path) -> None:
    write_head(tmp_path / "mine", whisper())
    (tmp_path / "mine" / "head.safetensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=r"cannot read the weights .*head.safetensors"):
        load_head(tmp_path / "mine")
