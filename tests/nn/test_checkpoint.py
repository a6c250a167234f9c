import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from streamer.asr.tokenizer import Tokenizer, load_tokenizer
from streamer.errors import CheckpointError, ModelError
from streamer.labels import Label
from streamer.nn.checkpoint import load, save
from streamer.nn.definition import ContextInfo, CtcInfo, Dims, ModelInfo, TagsInfo
from streamer.nn.head_checkpoint import fingerprint
from streamer.nn.heads import CtcHead, TimeLayerTransformer
from streamer.nn.official import official_models
from streamer.nn.whisper import Whisper, WhisperDims
from streamer.nn.whisper_at import load_whisper_at
from tests.nn.reference import NARROW, TINY, reference

RANKS = {bytes([value]): value for value in range(256)}
N_VOCAB = Tokenizer.from_ranks(RANKS).n_vocab
OWN = WhisperDims(80, 200, 32, 2, 2, N_VOCAB, 32, 48, 3, 2)
LABELS = (Label("Dog", "/m/0bt9lr"), Label("Rain, light"), Label("Siren", "/m/03kmc9"))


def mel(frames=80, n_mels=80):
    return torch.randn(1, n_mels, frames, generator=torch.Generator().manual_seed(0))


def write_own(folder: Path, precision="int8", **changes):
    from streamer.asr.bytepairs import write_ranks

    torch.manual_seed(0)
    model = Whisper(OWN, [(1, 0), (1, 2)]).eval()
    head = TimeLayerTransformer(2, 32, 3, 16).eval()
    ctc = CtcHead(32, 5).eval()
    write_ranks(folder.parent / "ranks", list(RANKS))
    info = ModelInfo(
        name="small",
        dims=Dims.of(OWN),
        context=ContextInfo(short=True),
        tags=TagsInfo(window=3.2, threshold=0.4, thresholds={"Siren": 0.7}),
        ctc=CtcInfo(tokens=1, late=2),
        **changes,
    )
    save(folder, info, model, folder.parent / "ranks", tags=head, labels=LABELS, ctc=ctc, precision=precision)
    return model, head, ctc


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 0.0), ("fp16", 2e-2), ("int8", 0.3)])
def test_own_models_come_back(tmp_path, precision, tolerance):
    model, head, ctc = write_own(tmp_path / "small", precision)
    loaded = load(tmp_path / "small")
    assert (loaded.name, loaded.short_context, loaded.window) == ("small", True, 3.2)
    assert loaded.labels == LABELS
    assert loaded.thresholds == (0.4, 0.4, 0.7)
    assert loaded.info.ctc == CtcInfo(tokens=5, late=2)
    assert loaded.model.alignment_heads == [(1, 0), (1, 2)]
    assert not loaded.model.training
    with torch.inference_mode():
        a, b = model.encode(mel(), pooled=True), loaded.model.encode(mel(), pooled=True)
        assert (a.states - b.states).abs().max() <= tolerance
        assert (head(a.layers) - loaded.tags(b.layers)).abs().max() <= tolerance
        assert (ctc(a.states) - loaded.ctc(b.states)).abs().max() <= tolerance
        tokens = torch.tensor([[1, 2, 3]])
        assert (
            model.decoder(tokens, a.states) - loaded.model.decoder(tokens, b.states)
        ).abs().max() <= tolerance
    tokenizer = load_tokenizer(loaded.vocabulary)
    assert tokenizer.n_vocab == OWN.n_vocab
    stored = load_file(tmp_path / "small" / "weights.safetensors")
    assert "encoder.positional_embedding" not in stored
    if precision == "int8":
        assert stored["encoder.blocks.0.mlp.0.weight"].dtype == torch.int8


def test_optional_parts_are_optional(tmp_path):
    from streamer.asr.bytepairs import write_ranks

    write_ranks(tmp_path / "ranks", list(RANKS))
    save(tmp_path / "plain", ModelInfo(name="plain", dims=Dims.of(OWN)), Whisper(OWN), tmp_path / "ranks")
    loaded = load(tmp_path / "plain")
    assert loaded.tags is None
    assert loaded.ctc is None
    assert loaded.labels == loaded.thresholds == ()
    assert loaded.window is None
    assert not loaded.short_context


def edit(path: Path, change):
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("encoder.conv1.bias"), r"missing encoder.conv1.bias \(32,\)"),
        (lambda t: t.update({"encoder.extra": torch.ones(2)}), r"unexpected encoder.extra \(2,\)"),
        (
            lambda t: t.update({"encoder.ln_post.bias": torch.ones(5)}),
            r"expected encoder.ln_post.bias as \(32,\), found \(5,\)",
        ),
        (lambda t: t.pop("tags.mlp_layer.1.bias"), r"missing mlp_layer.1.bias \(3,\)"),
        (
            lambda t: t.pop("encoder.conv1.weight.scale"),
            "expected 32 scales for encoder.conv1.weight, found none",
        ),
    ],
)
def test_weights_that_do_not_fit_are_named(tmp_path, change, message):
    write_own(tmp_path / "small")
    edit(tmp_path / "small" / "weights.safetensors", change)
    with pytest.raises(CheckpointError, match=message):
        load(tmp_path / "small")


def test_other_mistakes_in_own_models(tmp_path):
    write_own(tmp_path / "small")
    definition = tmp_path / "small" / "model.toml"
    text = definition.read_text()
    definition.write_text(text.replace("Siren", "Sirene"))
    with pytest.raises(CheckpointError, match="Sirene"):
        load(tmp_path / "small")
    definition.write_text(text.replace("[ctc]\ntokens = 5\nlate = 2\n", ""))
    with pytest.raises(CheckpointError, match=r"no \[ctc\]"):
        load(tmp_path / "small")
    (tmp_path / "small" / "weights.safetensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="cannot read the weights"):
        load(tmp_path / "small")


def test_labels_and_head_must_belong_together(tmp_path):
    info = ModelInfo(name="x", dims=Dims.of(OWN))
    with pytest.raises(ModelError, match="expected 3 labels for the tag head, found 0"):
        save(tmp_path / "x", info, Whisper(OWN), tmp_path / "ranks", tags=TimeLayerTransformer(2, 32, 3))


def save_openai(path, model):
    torch.save({"dims": vars(model.dims), "model_state_dict": model.state_dict()}, path)


@pytest.fixture(scope="module")
def narrow():
    return reference({**NARROW, "n_vocab": 51864}, 0)


def test_openai_checkpoints_load_as_they_are(tmp_path, narrow):
    save_openai(tmp_path / "mine.pt", narrow.half())
    narrow.float()
    loaded = load(tmp_path / "mine.pt")
    assert loaded.name == "mine"
    assert not loaded.short_context
    assert loaded.model.dtype == torch.float32
    assert loaded.model.alignment_heads == [(1, 0), (1, 1)]
    assert load_tokenizer(loaded.vocabulary).eot == 50256
    with torch.inference_mode():
        found = loaded.model.encode(mel(3000)).states
        assert torch.allclose(found, narrow.encoder(mel(3000)), atol=2e-2)


def test_official_names_bring_their_alignment_heads(tmp_path):
    whisper = pytest.importorskip("whisper")
    for name, official in official_models().items():
        assert whisper._MODELS[name] == official.url
    theirs = reference(TINY, 0)
    theirs.set_alignment_heads(whisper._ALIGNMENT_HEADS["tiny"])
    save_openai(tmp_path / "tiny.pt", theirs)
    loaded = load(tmp_path / "tiny.pt")
    assert loaded.model.alignment_heads == [
        tuple(pair) for pair in theirs.alignment_heads.indices().T.tolist()
    ]


def test_a_name_that_is_not_here_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("STREAMER_MODELS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(ModelError, match="streamer models pull large-v3"):
        load("large-v3")
    with pytest.raises(ModelError, match="no model 'nonsense'"):
        load("nonsense")


def test_official_names_are_found_where_whisper_keeps_them(tmp_path, monkeypatch):
    monkeypatch.setenv("STREAMER_MODELS", str(tmp_path / "none"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "whisper").mkdir()
    save_openai(
        tmp_path / "whisper" / "tiny.en.pt", reference({**TINY, "n_vocab": 51864, "n_audio_ctx": 10}, 0)
    )
    assert load("tiny.en").name == "tiny.en"


def test_other_files_are_not_checkpoints(tmp_path):
    torch.save({"dims": {"n_mels": 80}, "model_state_dict": {}}, tmp_path / "a.pt")
    torch.save([1, 2], tmp_path / "b.pt")
    torch.save({"dims": NARROW, "model_state_dict": {}}, tmp_path / "c.pt")
    (tmp_path / "d.pt").write_bytes(b"text")
    for name in "abcd":
        with pytest.raises(CheckpointError, match="openai-whisper checkpoint"):
            load(tmp_path / f"{name}.pt")


def released(n_layer, n_state, width=None):
    """A head under the released names, as the authors' package saves it."""
    torch.manual_seed(1)
    head = TimeLayerTransformer(n_layer, n_state, 527, width).eval()
    return head, {f"at_model.{name}": tensor for name, tensor in head.state_dict().items()}


def test_a_released_head_beside_a_checkpoint_comes_along(tmp_path, narrow):
    save_openai(tmp_path / "mine.pt", narrow)
    torch.save(released(2, 64)[1], tmp_path / "mine_ori.pth")
    loaded = load(tmp_path / "mine.pt")
    assert len(loaded.labels) == len(loaded.thresholds) == 527
    assert loaded.labels[0].name == "Speech"
    assert loaded.window == 10.0
    with torch.inference_mode():
        layers = loaded.model.encode(mel(3000), pooled=True).layers
        assert loaded.tags(layers).shape == (1, 527)
    torch.save(released(2, 32)[1], tmp_path / "mine_ori.pth")
    with pytest.raises(CheckpointError, match=r"expected that of mine \(2 layers of 32\), found"):
        load(tmp_path / "mine.pt")
    with pytest.raises(CheckpointError, match="at_model"):
        load_whisper_at(tmp_path / "mine.pt")


@pytest.fixture(scope="module")
def transformers_model():
    transformers = pytest.importorskip("transformers")
    config = transformers.WhisperConfig(
        vocab_size=51865,
        num_mel_bins=80,
        d_model=32,
        encoder_layers=2,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=128,
        decoder_ffn_dim=128,
        max_source_positions=60,
        max_target_positions=40,
    )
    torch.manual_seed(0)
    model = transformers.WhisperForConditionalGeneration(config).eval()
    model.generation_config.alignment_heads = [[0, 1]]
    return model


@pytest.mark.parametrize("layout", ["safetensors", "bin", "shards", "bare"])
def test_hugging_face_directories_load(tmp_path, transformers_model, layout):
    theirs = transformers_model
    if layout == "shards":
        theirs.save_pretrained(tmp_path, max_shard_size="1MB")
        assert list(tmp_path.glob("*.index.json"))
    else:
        theirs.save_pretrained(tmp_path)
    single = tmp_path / "model.safetensors"
    if layout == "bin":
        torch.save(load_file(single), tmp_path / "pytorch_model.bin")
        single.unlink()
    if layout == "bare":
        save_file({name.removeprefix("model."): t for name, t in load_file(single).items()}, single)
    loaded = load(tmp_path)
    assert loaded.model.alignment_heads == [(0, 1)]
    assert loaded.vocabulary.kind == "hugging-face"
    tokens = torch.tensor([[50258, 50259, 50359, 400, 500]])
    with torch.inference_mode():
        expected = theirs.model.encoder(mel(120)).last_hidden_state
        found = loaded.model.encode(mel(120)).states
        assert torch.allclose(found, expected, atol=1e-5)
        logits = theirs(input_features=mel(120), decoder_input_ids=tokens).logits
        assert torch.allclose(loaded.model.decoder(tokens, found), logits, atol=1e-4)


def test_models_from_the_hub_keep_their_id(tmp_path, transformers_model):
    copy = tmp_path / "models--openai--whisper-tiny" / "snapshots" / "0123abc"
    transformers_model.save_pretrained(copy)
    assert load(copy).name == "openai/whisper-tiny"
    transformers_model.save_pretrained(tmp_path / "mine")
    assert load(tmp_path / "mine").name == "mine"


def test_hugging_face_mistakes_are_named(tmp_path, transformers_model):
    transformers_model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "bert"}))
    with pytest.raises(CheckpointError, match="expected model_type 'whisper', found 'bert'"):
        load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config | {"encoder_ffn_dim": 77}))
    with pytest.raises(CheckpointError, match="expected encoder_ffn_dim 128, found 77"):
        load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config | {"encoder_layers": 3}))
    with pytest.raises(CheckpointError, match=r"missing encoder.blocks.2.*belongs to its tensors"):
        load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="found neither"):
        load(tmp_path)


def test_ids_on_the_hub_fail_clearly_offline(tmp_path, monkeypatch):
    huggingface_hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError, match="somebody/whisper-none"):
        load("somebody/whisper-none")


def test_dims_round_trip():
    assert asdict(Dims.of(OWN).whisper()) == asdict(OWN)


def test_short_contexts_that_another_encoder_earned_are_refused(tmp_path):
    model, _, _ = write_own(tmp_path / "small", "fp16")
    path = tmp_path / "small" / "model.toml"
    plain = path.read_text()
    told = plain.replace("margin = 0.0", "margin = 0.8")
    path.write_text(told.replace('encoder = ""', f'encoder = "{fingerprint(model.encoder)}"'))
    assert load(tmp_path / "small").info.context.margin == 0.8
    path.write_text(told.replace('encoder = ""', f'encoder = "{fingerprint(Whisper(OWN).encoder)}"'))
    with pytest.raises(CheckpointError, match="measured with another encoder"):
        load(tmp_path / "small")
