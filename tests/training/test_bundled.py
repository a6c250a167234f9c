from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from streamer.asr.tokenizer import load_tokenizer
from streamer.errors import CheckpointError, StreamerError
from streamer.nn.checkpoint import load
from streamer.training.begin import read_teacher
from streamer.training.bundled import BundledRecipe, held_out_speakers, is_training
from streamer.training.config import load_config
from streamer.training.corpus import Clip, Pack
from streamer.training.tags.add import read_target
from streamer.training.tags.names import LABELS
from tests.training.corpora import CONFIG, write_data, write_teacher


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `data`, `teacher.safetensors` and a `work` folder that is packed."""
    root = tmp_path_factory.mktemp("recipe")
    write_data(root / "data")
    write_teacher(root / "teacher.safetensors")
    (root / "my.toml").write_text(CONFIG)
    recipe(root, root / "work").pack()
    return root


def recipe(root: Path, work: Path) -> BundledRecipe:
    config = load_config(root / "my.toml")
    return BundledRecipe(root / "data", work, root / "teacher.safetensors", config, progress=False)


@pytest.fixture
def made(packed: Path, tmp_path: Path) -> BundledRecipe:
    """A packed recipe with a work folder of its own."""
    shutil.copytree(packed / "work", tmp_path / "work")
    return recipe(packed, tmp_path / "work")


def test_every_tenth_speaker_is_held_out() -> None:
    clips = [Clip(f"{i}", "", "libri", speaker=f"p{i:02}", text="x") for i in range(25)]
    clips.append(Clip("other", "", "other", speaker="aa", text="x"))
    held = held_out_speakers(clips, "libri")
    assert held == {"p00", "p10", "p20"}
    assert not any(is_training(c, held) for c in clips if c.speaker in held)
    assert is_training(clips[1], held)
    assert not is_training(replace(clips[1], split="test"), held)
    assert not is_training(replace(clips[1], text=""), held)


def test_held_out_speakers_and_tests_are_never_in_a_batch(made: BundledRecipe) -> None:
    tokenizer = made.tokenizer()
    clips = Pack(made.work / "speech").clips
    held = {c.text for c in clips if c.speaker in ("p0", "p7")}  # the first speaker, and the test split
    assert len(held) == 2
    assert not held & {clips[i].text for i in made._training_clips(Pack(made.work / "speech"))}
    made.config = replace(made.config, batch=replace(made.config.batch, joined=0.0, wordless=0.0))
    batches = made.batches(tokenizer)
    said = {tokenizer.decode(p).strip() for step in range(12) for p in batches.batch(step).pieces}
    assert said
    assert not said & held
    assert said <= {c.text for c in clips}


def test_the_teachers_encoder_is_taken_over(made: BundledRecipe) -> None:
    teacher = read_teacher(made.teacher)
    model = made.new_model(made.tokenizer())
    for name, tensor in model.whisper.encoder.state_dict().items():
        torch.testing.assert_close(tensor, teacher[f"encoder.{name}"].float(), rtol=0, atol=0)
    assert model.whisper.dims.n_audio_layer == 1
    assert model.ctc.out.out_features == 1 + made.tokenizer().eot


def test_training_and_exporting_gives_a_model_that_loads(made: BundledRecipe, tmp_path: Path) -> None:
    trained = made.speech()
    again = made.trained()
    assert all(torch.equal(t, again.state_dict()[n]) for n, t in trained.state_dict().items())
    made.export(again, tmp_path / "mine", {"talk_test_wer": 50.0})
    loaded = load(tmp_path / "mine")
    assert loaded.name == "mine"
    assert loaded.short_context
    assert [label.name for label in loaded.labels] == list(LABELS)
    assert loaded.info.scores["talk_test_wer"] == 50.0
    assert 0 <= loaded.info.scores["sounds_accuracy"] <= 100
    assert len(loaded.thresholds) == len(LABELS)
    assert (replay := read_target(tmp_path / "mine").replay) is not None
    assert replay.targets.any()
    assert load_tokenizer(loaded.vocabulary).n_vocab == made.tokenizer().n_vocab
    mel = torch.randn(1, 80, 200)
    with torch.inference_mode():
        one, other = again.whisper.encode(mel).states, loaded.model.encode(mel, pooled=True)
        assert loaded.ctc is not None
        assert loaded.tags is not None
        assert loaded.ctc(other.states).shape == again.ctc(one).shape
        assert loaded.tags(other.layers).shape == (1, len(LABELS))
    assert torch.nn.functional.cosine_similarity(one, other.states, dim=-1).min() > 0.99


def test_training_goes_on_from_a_finished_model(made: BundledRecipe, packed: Path, tmp_path: Path) -> None:
    """With nothing but the model and data: no teacher, a fresh work folder."""
    shutil.rmtree(made.work / "sounds")
    made.export(made.new_model(made.tokenizer()).eval(), tmp_path / "first", {})
    config = replace(made.config, tts_sentences=0)
    work = tmp_path / "again"
    shutil.copytree(packed / "work" / "speech", work / "speech")
    again = BundledRecipe(packed / "data", work, Path("nowhere"), config, False, tmp_path / "first")
    began = again.new_model(again.tokenizer())
    first = load(tmp_path / "first")
    assert (work / "vocab.tiktoken").read_bytes() == (tmp_path / "first" / "vocab.tiktoken").read_bytes()
    assert all(
        torch.equal(t, began.whisper.state_dict()[name]) for name, t in first.model.state_dict().items()
    )
    trained = again.speech()
    assert not torch.equal(trained.ctc.out.weight, began.ctc.out.weight)
    again.export(again.trained(), tmp_path / "second", {})
    assert load(tmp_path / "second").ctc is not None
    again.config = replace(config, text_state=64)
    with pytest.raises(CheckpointError, match="text_state = 64, found 32"):
        again.new_model(again.tokenizer())


def test_where_only_the_decoder_learns_everything_else_stays(
    made: BundledRecipe, packed: Path, tmp_path: Path
) -> None:
    """Through the quantisation too: what was rounded once is not rounded again."""
    made.export(made.new_model(made.tokenizer()).eval(), tmp_path / "first", {})
    first = load(tmp_path / "first")
    config = replace(made.config, tts_sentences=0, speech=replace(made.config.speech, only_decoder=True))
    work = tmp_path / "again"
    shutil.copytree(packed / "work" / "speech", work / "speech")  # and no sounds
    again = BundledRecipe(packed / "data", work, Path("nowhere"), config, False, tmp_path / "first")
    again.speech()
    again.export(again.trained(), tmp_path / "second", {})
    second = load(tmp_path / "second")
    for one, other in (
        (first.model.encoder, second.model.encoder),
        (first.ctc, second.ctc),
        (first.tags, second.tags),
    ):
        assert isinstance(one, torch.nn.Module)
        assert isinstance(other, torch.nn.Module)
        for name, tensor in one.state_dict().items():
            torch.testing.assert_close(tensor, other.state_dict()[name], rtol=1e-5, atol=1e-7)
    assert (second.labels, second.thresholds) == (first.labels, first.thresholds)
    assert second.info.scores == first.info.scores
    assert (tmp_path / "second" / "replay.safetensors").read_bytes() == (
        tmp_path / "first" / "replay.safetensors"
    ).read_bytes()
    decoders = [m.model.decoder.state_dict() for m in (first, second)]
    assert not torch.equal(decoders[0]["token_embedding.weight"], decoders[1]["token_embedding.weight"])


def test_without_sounds_there_is_no_sound_head(made: BundledRecipe, tmp_path: Path) -> None:
    shutil.rmtree(made.work / "sounds")
    model = made.new_model(made.tokenizer()).eval()
    made.export(model, tmp_path / "words", {})
    loaded = load(tmp_path / "words")
    assert loaded.tags is None
    assert loaded.labels == ()
    assert loaded.ctc is not None


def test_scores_are_of_the_test_split_and_the_held_out(made: BundledRecipe) -> None:
    pytest.importorskip("jiwer")
    pytest.importorskip("whisper.normalizers")
    scores = made.scores(made.new_model(made.tokenizer()).eval())
    assert set(scores) == {
        "talk_test_wer",
        "talk_test_greedy_wer",
        "talk_test_decoder_wer",
        "talk_held_out_wer",
        "talk_held_out_greedy_wer",
        "talk_held_out_decoder_wer",
    }
    assert all(score >= 0 for score in scores.values())


def test_stages_out_of_order_say_what_comes_first(packed: Path, tmp_path: Path) -> None:
    empty = recipe(packed, tmp_path / "empty")
    with pytest.raises(StreamerError, match="run the stages pack and voices first"):
        empty.speech()
    shutil.copytree(packed / "work", tmp_path / "work")
    with pytest.raises(StreamerError, match=r"checkpoint\.pt.*run the stage speech first"):
        recipe(packed, tmp_path / "work").trained()


def test_missing_sentences_are_an_error_and_none_wanted_is_not(packed: Path, tmp_path: Path) -> None:
    one = recipe(packed, tmp_path)
    one.voices()
    assert not list(tmp_path.iterdir())
    one.config = replace(one.config, tts_sentences=2, sentences="nowhere.txt")
    with pytest.raises(StreamerError, match=r"nowhere\.txt.*tts_sentences = 0"):
        one.voices()


@pytest.mark.skipif(
    not (shutil.which("flite") and shutil.which("espeak-ng")), reason="needs the programs flite and espeak-ng"
)
def test_voices_are_packed_and_trained_on(made: BundledRecipe) -> None:
    made.config = replace(made.config, tts_sentences=2)
    made.voices()
    pack = Pack(made.work / "tts-pack")
    assert {clip.text for clip in pack.clips} == {
        "the quick brown fox is here",
        "it has been raining all day",
    }
    without = 6  # of eight clips, one is held out and one a test
    assert len(made.batches(made.tokenizer())) == without + 2


def test_without_the_packages_that_score_there_are_no_scores(
    made: BundledRecipe, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "jiwer", None)
    assert made.scores(made.new_model(made.tokenizer()).eval()) == {}
    assert "streamer[eval]" in caplog.text
