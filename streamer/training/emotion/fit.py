"""Fine-tuning of an encoder of the wav2vec 2.0 family to judge emotion, by Hugging Face's Trainer."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from streamer.errors import MissingExtraError
from streamer.nn.emotion import PooledHead
from streamer.nn.speech import SpeechEncoder
from streamer.nn.speech_checkpoint import load_speech
from streamer.training.emotion.config import EmotionConfig
from streamer.training.emotion.measures import measure

Samples = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Example:
    """Samples (n,) at 16 kHz and the number of their label."""

    samples: Samples
    label: int


class EmotionModel(nn.Module):
    """An encoder of which the last layers may learn, and a head in soxan's layout."""

    def __init__(self, encoder: SpeechEncoder, n_label: int, config: EmotionConfig) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = PooledHead(encoder.n_state, n_label, config.pooling)
        self.dropout = nn.Dropout(config.dropout)
        layers = list(encoder.body.encoder.layers)
        for layer in layers[max(0, len(layers) - config.unfreeze) :] if config.unfreeze else ():
            layer.requires_grad_(True)

    def train(self, mode: bool = True) -> EmotionModel:
        """The encoder stays as it is in use: its layers must not be dropped."""
        super().train(mode)
        self.encoder.eval()
        return self

    def forward(self, samples: Tensor, lengths: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        """Padded samples (B, n) with their lengths (B,) -> logits (B, labels), with labels the loss too."""
        clips = [row[:n].cpu().numpy() for row, n in zip(samples, lengths.tolist(), strict=True)]
        frames = self.encoder(clips)
        frames.states = self.dropout(frames.states)
        logits = self.head(frames)
        if labels is None:
            return {"logits": logits}
        return {"loss": F.cross_entropy(logits, labels), "logits": logits}


def collate(examples: Sequence[Example]) -> dict[str, Tensor]:
    """A batch, padded to its own longest clip."""
    return {
        "samples": pad_sequence([torch.from_numpy(e.samples) for e in examples], batch_first=True),
        "lengths": torch.tensor([len(e.samples) for e in examples]),
        "labels": torch.tensor([e.label for e in examples]),
    }


def fit(
    checkpoint: Path,
    train: Sequence[Example],
    choose: Sequence[Example],
    n_label: int,
    config: EmotionConfig,
    work: Path,
    report_to: Sequence[str] = (),
) -> tuple[EmotionModel, Any]:
    """Train on `train` and keep the epoch with the best unweighted average recall on `choose`.

    Goes on where an earlier run in the folder `work` stopped. Returns the model, and the Trainer that
    predicts with it. Raises MissingExtraError without transformers and accelerate.
    """
    try:
        from transformers import Trainer, TrainingArguments, set_seed, trainer_utils
    except ImportError as error:
        raise MissingExtraError("training emotion", "train") from error
    set_seed(config.seed)
    model = EmotionModel(load_speech(checkpoint).encoder, n_label, config)
    arguments = TrainingArguments(
        output_dir=str(work),
        num_train_epochs=config.epochs,
        per_device_train_batch_size=config.batch,
        per_device_eval_batch_size=config.batch,
        learning_rate=config.rate,
        eval_strategy="epoch",
        save_strategy="epoch",
        logging_strategy="epoch",
        save_total_limit=1,
        load_best_model_at_end=True,
        metric_for_best_model="uar",
        greater_is_better=True,
        remove_unused_columns=False,
        label_names=["labels"],
        report_to=list(report_to),
        seed=config.seed,
        disable_tqdm=not sys.stderr.isatty(),
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=False,
    )

    def told(prediction: Any) -> dict[str, float]:
        found = measure(prediction.label_ids, prediction.predictions.argmax(-1), n_label)
        return {"accuracy": found.accuracy, "uar": found.uar, "f1": found.f1}

    trainer = Trainer(
        model=model,
        args=arguments,
        data_collator=collate,
        train_dataset=list(train),
        eval_dataset=list(choose),
        compute_metrics=told,
    )
    _quiet(trainer)
    helpers: Any = trainer_utils
    last = helpers.get_last_checkpoint(str(work)) if work.is_dir() else None
    trainer.train(resume_from_checkpoint=last)
    return model.eval(), trainer


def predict(trainer: Any, examples: Sequence[Example]) -> list[int]:
    """The label of each."""
    told: list[int] = trainer.predict(list(examples)).predictions.argmax(-1).tolist()
    return told


def _quiet(trainer: Any) -> None:
    """Standard output is for results: the Trainer prints its logs there where it has no bar."""
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)
