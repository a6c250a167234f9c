from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from streamer.errors import ConfigError, StreamerError
from streamer.nn.whisper import Whisper, WhisperDims
from streamer.training.batches import IGNORE, Batch, BatchConfig, SpeechBatches
from streamer.training.corpus import Pack
from streamer.training.speech import SpeechConfig, SpeechModel, SpeechTrainer, text_loss
from tests.tiny import tiny_tokenizer
from tests.training.corpora import speech_pack

TOKENIZER = tiny_tokenizer()
CONFIG = SpeechConfig(steps=4, frozen_steps=2, warmup=2, save_every=2)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """What is summed in one order is the same to the bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    return speech_pack(tmp_path_factory.mktemp("speech"), 4)


def model(width: int = 64) -> SpeechModel:
    torch.manual_seed(0)
    whisper = Whisper(WhisperDims(80, 1500, width, 1, 1, TOKENIZER.n_vocab, 448, 32, 2, 1))
    torch.nn.init.normal_(whisper.decoder.token_embedding.weight, std=0.05)
    return SpeechModel(whisper, TOKENIZER.eot)


def trainer(
    pack: Pack, folder: Path, config: SpeechConfig = CONFIG, seconds: float = 2.0, wordless: float = 0.06
) -> SpeechTrainer:
    drawn = BatchConfig(seconds=seconds, wordless=wordless)
    noises = [np.ones(8000, np.float32) * 0.01]
    return SpeechTrainer(
        model(),
        SpeechBatches([(pack, list(range(len(pack))), 1.0)], noises, TOKENIZER, drawn),
        config,
        folder,
    )


class Killed(BaseException):
    pass


def kill_after(steps: int, one: SpeechTrainer) -> None:
    """Let `one` train, and die in the middle of the step after so many."""
    real = one._train_step

    def step(batch: Batch) -> tuple[float, float]:
        if one.step == steps:
            raise Killed
        return real(batch)

    one._train_step = step  # type: ignore[method-assign]
    with pytest.raises(Killed):
        one.run(progress=False)


def test_killed_and_resumed_is_bit_identical(pack: Pack, tmp_path: Path) -> None:
    whole = trainer(pack, tmp_path / "whole")
    whole.run(progress=False)
    for killed_at in (1, 3):  # before the first checkpoint, and after it
        folder = tmp_path / f"killed at {killed_at}"
        kill_after(killed_at, trainer(pack, folder))
        resumed = trainer(pack, folder)
        assert resumed.step == killed_at // 2 * 2
        resumed.run(progress=False)
        assert resumed.step == whole.step == 4
        for name, tensor in whole.model.state_dict().items():
            assert torch.equal(resumed.model.state_dict()[name], tensor), name
            assert torch.equal(resumed.average[name], whole.average[name]), name
        rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        assert [row["step"] for row in rows] == [1, 2, 3, 4]


def test_the_encoder_stays_frozen_at_first(pack: Pack, tmp_path: Path) -> None:
    def encoder(one: SpeechTrainer) -> dict[str, torch.Tensor]:
        return {n: t.clone() for n, t in one.model.whisper.encoder.state_dict().items()}

    one = trainer(pack, tmp_path / "a", replace(CONFIG, steps=2))
    before, decoder = encoder(one), one.model.whisper.decoder.token_embedding.weight.clone()
    one.run(progress=False)
    assert all(torch.equal(t, before[n]) for n, t in encoder(one).items())
    assert not torch.equal(one.model.whisper.decoder.token_embedding.weight, decoder)
    two = trainer(pack, tmp_path / "b", replace(CONFIG, steps=4, warmup=1))
    two.run(progress=False)
    moved = {n for n, t in encoder(two).items() if not torch.equal(t, before[n])}
    assert moved >= {n for n in before if n.endswith("weight")}


def test_frozen_layers_never_learn_and_cost_nothing(pack: Pack, tmp_path: Path) -> None:
    """They keep their weights, have no gradients and no optimiser state, and nothing is kept for them."""
    config = replace(CONFIG, frozen_steps=0, steps=2, warmup=1)

    def kept(one: SpeechTrainer) -> int:
        """Bytes that the encoder's forward keeps for the backward pass."""
        total = 0

        def count(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal total
            total += tensor.nbytes
            return tensor

        one._wrap()
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            one.model.whisper.encoder(torch.zeros(1, 80, 100))
        return total

    whole = trainer(pack, tmp_path / "whole", config)
    one = trainer(pack, tmp_path / "some", replace(config, frozen_layers=1))
    frozen = {n: p.clone() for n, p in one.model.whisper.encoder.named_parameters() if "ln_post" not in n}
    assert kept(one) < 0.1 * kept(whole)
    one.run(progress=False)
    parameters = dict(one.model.whisper.encoder.named_parameters())
    for name, before in frozen.items():
        assert torch.equal(parameters[name], before), name
        assert parameters[name] not in one.optimiser.state, name
    assert not torch.equal(parameters["ln_post.weight"], torch.ones_like(parameters["ln_post.weight"]))
    assert parameters["ln_post.weight"] in one.optimiser.state


def test_the_decoder_learns_alone(pack: Pack, tmp_path: Path) -> None:
    """What hangs on the encoder, CTC branch and heads, is as before; also after the last frozen step."""
    one = trainer(pack, tmp_path, replace(CONFIG, only_decoder=True))
    before = {name: value.clone() for name, value in one.model.state_dict().items()}
    one.run(progress=False)
    after = one.model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {f"whisper.decoder.{name}" for name, _ in one.model.whisper.decoder.named_parameters()}


def test_another_number_of_frozen_layers_is_no_resumption(pack: Pack, tmp_path: Path) -> None:
    trainer(pack, tmp_path, CONFIG).save()
    with pytest.raises(StreamerError, match=r"checkpoint\.pt.*frozen_layers = 1.*fresh work folder"):
        trainer(pack, tmp_path, replace(CONFIG, frozen_layers=1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frozen_layers": 2}, r"speech\.frozen_layers: expected 0 to 1, .*found 2"),
        ({"precision": "fp64"}, r"speech\.precision: expected bf16 or float32, found 'fp64'"),
    ],
)
def test_impossible_settings_are_refused(
    pack: Pack, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        trainer(pack, tmp_path, replace(CONFIG, **change))


def test_precision_is_of_the_computation(pack: Pack, tmp_path: Path) -> None:
    rows = []
    for precision in ("bf16", "float32"):
        one = trainer(pack, tmp_path / precision, replace(CONFIG, steps=1, precision=precision))
        one.run(progress=False)
        assert all(p.dtype == torch.float32 for p in one.model.parameters())
        rows.append(json.loads((tmp_path / precision / "log.jsonl").read_text()))
    assert rows[0]["attention"] != rows[1]["attention"]
    assert rows[0]["attention"] == pytest.approx(rows[1]["attention"], rel=0.02)


def test_training_lowers_both_losses(pack: Pack, tmp_path: Path) -> None:
    config = SpeechConfig(steps=30, frozen_steps=0, warmup=3, lr=3e-3, encoder_lr=1e-3, save_every=100)
    one = trainer(pack, tmp_path, config, wordless=0.0)
    one.run(progress=False)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    for loss in ("ctc", "attention"):
        assert np.mean([r[loss] for r in rows[-5:]]) < 0.75 * np.mean([r[loss] for r in rows[:3]])


def test_a_batch_without_any_words_trains(pack: Pack, tmp_path: Path) -> None:
    one = trainer(pack, tmp_path, replace(CONFIG, steps=1), wordless=1.0)
    one.run(progress=False)
    row = json.loads((tmp_path / "log.jsonl").read_text())
    assert np.isfinite(row["ctc"])
    assert 0 < row["attention"] < 20


def test_a_timestamp_is_the_better_the_nearer() -> None:
    """Other tokens have torch's own cross-entropy; of none at all there is none."""
    first = TOKENIZER.timestamp_begin
    targets = torch.tensor([65, IGNORE, first + 100])
    noise = torch.randn(3, TOKENIZER.n_vocab, generator=torch.Generator().manual_seed(0))
    plain = torch.nn.functional.cross_entropy(noise[:1], targets[:1], label_smoothing=0.1)
    torch.testing.assert_close(text_loss(noise[:2], targets[:2], 0.1), plain)

    def said(at: int) -> float:
        logits = torch.zeros(1, TOKENIZER.n_vocab)
        logits[0, first + at] = 5
        return float(text_loss(logits, targets[2:], 0.1))

    losses = [said(at) for at in (100, 102, 105, 109, 130)]
    assert losses == sorted(losses)
    assert said(95) == pytest.approx(said(105))
    for edge in (first, TOKENIZER.n_vocab - 1):
        assert text_loss(noise[:1], torch.tensor([edge]), 0.1).isfinite()


def test_padding_is_not_learnt(pack: Pack, tmp_path: Path) -> None:
    """The decoder's loss is that of the targets; what comes after the end does not count."""
    one = trainer(pack, tmp_path)
    batch = one.batches.batch(0)
    wider = Batch(
        batch.mel,
        np.pad(batch.tokens, ((0, 0), (0, 5)), constant_values=TOKENIZER.eot),
        np.pad(batch.targets, ((0, 0), (0, 5)), constant_values=-100),
        batch.pieces,
        batch.seconds,
    )
    with torch.no_grad():
        plain, padded = (one.model(b, 0.1) for b in (batch, wider))
    torch.testing.assert_close(plain, padded)


def test_rates_warm_up_and_fall(pack: Pack, tmp_path: Path) -> None:
    config = SpeechConfig(steps=100, frozen_steps=20, warmup=10)
    one = trainer(pack, tmp_path, config)
    rates = []
    for one.step in range(100):
        rates.append(one._rate())
    encoder, new = map(list, zip(*rates, strict=True))
    assert encoder[:20] == [0.0] * 20
    assert encoder[20] == pytest.approx(config.encoder_lr / 10)
    assert max(encoder) == pytest.approx(config.encoder_lr)
    assert max(new) == pytest.approx(config.lr)
    assert new[0] == pytest.approx(config.lr / 10)
    assert new[10:] == sorted(new[10:], reverse=True)
    assert new[-1] < 0.02 * config.lr


def test_a_checkpoint_of_another_model_is_refused(pack: Pack, tmp_path: Path) -> None:
    one = trainer(pack, tmp_path)
    one.save()
    with pytest.raises(StreamerError, match=r"(?s)checkpoint\.pt.*of this configuration.*fresh work folder"):
        SpeechTrainer(model(128), one.batches, CONFIG, tmp_path)
    (tmp_path / "checkpoint.pt").write_bytes(b"rubbish")
    with pytest.raises(StreamerError, match="fresh work folder"):
        trainer(pack, tmp_path)
