"""The network that learns to write."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from streamer.errors import StreamerError
from streamer.nn.speech import unit_variance
from streamer.nn.speech_checkpoint import load_speech
from streamer.training.corpus import Clip, Pack
from streamer.training.ctc.fit import TENTH, CtcConfig, CtcModel, Example, collate, error_rates, make_model
from streamer.training.ctc.vocabulary import Vocabulary, build, take_over
from streamer.training.recordings import Utterance
from tests.tiny_speech import CLASSES, PIECES, save_speech
from tests.training.tones import tone, write_wav

pytestmark = pytest.mark.filterwarnings("ignore")

QUIET = CtcConfig(dropout=0.0, mask_time=0.0)


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> list[Example]:
    folder = tmp_path_factory.mktemp("tones")
    files = [write_wav(folder / f"{i}.wav", tone(300 + 500 * i, 0.5 + 0.13 * i)) for i in range(3)]
    pack = Pack(folder / "pack").extend([Clip(str(i), str(file), "") for i, file in enumerate(files)])
    texts = [(7, 5), (11,), (12, 12, 6)]
    return [Example(Utterance(str(i), "", "", "train", pack, i), ids) for i, ids in enumerate(texts)]


def model_of(folder: Path, config: CtcConfig = QUIET) -> tuple[CtcModel, Vocabulary]:
    loaded = load_speech(folder)
    vocabulary = take_over(folder, len(PIECES), "auto", folder / "copy")
    return make_model(folder, loaded, vocabulary, config), vocabulary


@pytest.mark.parametrize("family", CLASSES)
def test_the_loss_is_transformers_own_with_nothing_of_the_padding(
    tmp_path: Path, family: str, examples: list[Example]
) -> None:
    theirs = save_speech(tmp_path, family)
    model, _ = model_of(tmp_path)
    model.eval()
    batch = collate(examples)
    together = model(**batch)
    alone = []
    for example in examples:
        logits = theirs(torch.from_numpy(example.utterance.samples)[None]).logits
        scores = logits.log_softmax(-1).transpose(0, 1)
        ids = torch.tensor(example.ids)
        frames = torch.tensor([len(scores)])
        alone.append(F.ctc_loss(scores, ids[None], frames, torch.tensor([len(ids)]), 0))
        row = together["best"][len(alone) - 1]
        assert row[row >= 0].tolist() == logits[0].argmax(-1).tolist()
    torch.testing.assert_close(together["loss"], torch.stack(alone).mean(), rtol=1e-4, atol=1e-4)


def test_audio_is_normalised_as_the_checkpoint_says(tmp_path: Path, examples: list[Example]) -> None:
    theirs = save_speech(tmp_path, large=True)
    model, _ = model_of(tmp_path)
    one = collate(examples[:1])
    mine, _ = model.eval().log_probabilities(one["samples"], one["lengths"])
    samples = torch.from_numpy(unit_variance(examples[0].utterance.samples))[None]
    torch.testing.assert_close(mine, theirs(samples).logits.log_softmax(-1), rtol=1e-4, atol=1e-4)


def learns(model: CtcModel) -> set[str]:
    return {name for name, parameter in model.network.named_parameters() if parameter.requires_grad}


def test_what_is_told_to_learn_gets_gradients_and_nothing_else(
    tmp_path: Path, examples: list[Example]
) -> None:
    save_speech(tmp_path)
    for config, inside in (
        (replace(QUIET, unfreeze=0), {"lm_head."}),
        (replace(QUIET, unfreeze=1), {"lm_head.", "wav2vec2.encoder.layers.1."}),
        (QUIET, {"lm_head.", "wav2vec2.encoder.", "wav2vec2.feature_projection.", "wav2vec2.masked"}),
        (replace(QUIET, unfreeze=0, extractor=True), {"lm_head.", "wav2vec2.feature_extractor."}),
    ):
        model, _ = model_of(tmp_path, config)
        assert all(name.startswith(tuple(inside)) for name in learns(model))
        model.train()(**collate(examples))["loss"].backward()
        for name, parameter in model.network.named_parameters():
            wanted = name in learns(model) and "masked" not in name
            assert (
                parameter.grad is not None and bool(parameter.grad.any())
            ) == wanted or "k_proj.bias" in name


def test_clips_end_on_tenths_of_a_second_in_silence(examples: list[Example]) -> None:
    plain, whole = collate(examples), collate(examples, TENTH)
    assert (whole["lengths"] % TENTH == 0).all()
    assert ((whole["lengths"] - plain["lengths"]) < TENTH).all()
    for length, padded, before in zip(plain["lengths"], whole["samples"], plain["samples"], strict=True):
        assert torch.equal(padded[:length], before[:length])
        assert not padded[length:].any()
    again = collate(examples[:1], int(plain["lengths"][0]))
    assert torch.equal(again["samples"][0], plain["samples"][0, : plain["lengths"][0]])


def test_frames_are_masked_while_learning_only(tmp_path: Path, examples: list[Example]) -> None:
    save_speech(tmp_path, mask_time_prob=0.0)
    model, _ = model_of(tmp_path, replace(QUIET, mask_time=0.5))
    batch = collate(examples)
    model.eval()
    assert torch.equal(model(**batch)["loss"], model(**batch)["loss"])
    model.train()
    torch.manual_seed(0)
    assert not torch.equal(model(**batch)["loss"], model(**batch)["loss"])


def test_a_head_is_kept_with_its_letters_and_fresh_weights_are_others(tmp_path: Path) -> None:
    theirs = save_speech(tmp_path)
    kept, _ = model_of(tmp_path)
    assert torch.equal(kept.network.lm_head.weight, theirs.lm_head.weight)
    loaded = load_speech(tmp_path)
    built = make_model(tmp_path, loaded, build(["abc"], "auto", "", tmp_path / "new"), QUIET)
    assert built.network.lm_head.weight.shape[0] == 5 + 3
    weight = "wav2vec2.encoder.layers.0.attention.k_proj.weight"
    assert torch.equal(built.network.state_dict()[weight], theirs.state_dict()[weight])
    fresh, _ = model_of(tmp_path, replace(QUIET, fresh=True))
    assert not torch.equal(fresh.network.state_dict()[weight], theirs.state_dict()[weight])


def test_error_rates_are_of_all_words_together(tmp_path: Path) -> None:
    vocabulary = build(["ab"], "auto", "", tmp_path)
    a, b, space = (vocabulary.ids[piece] for piece in "ab ")
    truth = torch.tensor([[a, space, b], [b, -100, -100]])
    told = torch.tensor([[a, a, 0, space, b], [a, 0, 0, -100, -100]])
    found = error_rates(told.numpy(), truth.numpy(), vocabulary)
    assert found == pytest.approx({"wer": 100 / 3, "cer": 100 / 4})


@pytest.mark.parametrize(
    "wrong", [{"vocabulary": "mine"}, {"case": "Title"}, {"steps": 0}, {"unfreeze": -2}, {"held_out": 1.0}]
)
def test_settings_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(StreamerError, match="expected"):
        replace(QUIET, **wrong).checked()
