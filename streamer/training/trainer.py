"""Hugging Face's Trainer as our commands use it: quiet, resumed where a kill left it, its curve kept."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from streamer.errors import MissingExtraError, StreamerError
from streamer.training.bars import progress

log = logging.getLogger(__name__)

_STATE, _CLAIM = "trainer_state.json", "training.json"


@dataclass(frozen=True, slots=True)
class Pace:
    """How long and how fast to learn.

    steps: of the optimiser. batch: items a step. rate: the highest, reached after `warmup` (share of the
    steps), then falling to 0 in a straight line. every: steps between two evaluations, after each of which
    all is saved.
    best: the metric to keep the best by, and whether more is better; None keeps the last.
    """

    steps: int
    batch: int
    rate: float
    warmup: float
    every: int
    seed: int
    bf16: bool = False
    weight_decay: float = 0.0
    best: tuple[str, bool] | None = None

    @classmethod
    def of(cls, config: Any, best: tuple[str, bool] | None = None) -> Pace:
        """What a training's settings say under the names of its fields, as far as they have them."""
        told = {one.name: getattr(config, one.name) for one in fields(cls) if hasattr(config, one.name)}
        return cls(**{**told, "best": best})


def run(
    model: torch.nn.Module,
    pace: Pace,
    work: Path,
    train: Any,
    choose: Any,
    collate: Callable[[Sequence[Any]], dict[str, torch.Tensor]],
    measure: Callable[[Any], dict[str, float]],
    *,
    report_to: Sequence[str] = (),
    callbacks: Sequence[Any] = (),
    label: str = "Training",
    labels: Sequence[str] = (),
) -> list[dict[str, float]]:
    """Train `model`, and leave in it the best weights (or the last, see `Pace`); its log is returned.

    Goes on where an earlier run in the folder `work` stopped, however it was stopped. The log has a row for
    each evaluation (`eval_…`) and for the losses between them (`loss`). Raises MissingExtraError without
    transformers and accelerate.
    """
    try:
        from transformers import PrinterCallback, Trainer, TrainingArguments, set_seed
    except ImportError as error:
        raise MissingExtraError("this training", "train") from error
    set_seed(pace.seed)
    every = min(pace.every, pace.steps)
    arguments = TrainingArguments(
        output_dir=str(work),
        max_steps=pace.steps,
        per_device_train_batch_size=pace.batch,
        per_device_eval_batch_size=pace.batch,
        learning_rate=pace.rate,
        lr_scheduler_type="linear",
        warmup_steps=round(pace.warmup * pace.steps),
        weight_decay=pace.weight_decay,
        eval_strategy="steps",
        eval_steps=every,
        save_strategy="steps",
        save_steps=every,
        logging_strategy="steps",
        logging_steps=every,
        save_total_limit=2,
        load_best_model_at_end=pace.best is not None,
        metric_for_best_model=pace.best[0] if pace.best else None,
        greater_is_better=pace.best[1] if pace.best else None,
        remove_unused_columns=False,
        label_names=list(labels),
        report_to=list(report_to),
        seed=pace.seed,
        bf16=pace.bf16,
        disable_tqdm=True,  # the bar is ours
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=False,
    )
    trainer = Trainer(
        model=model,
        args=arguments,
        data_collator=collate,
        train_dataset=train,
        eval_dataset=choose,
        compute_metrics=measure,
        callbacks=list(callbacks),
    )
    trainer.remove_callback(PrinterCallback)  # standard output is for results
    with progress(sys.stderr.isatty()) as bar:
        trainer.add_callback(_bar(bar, label, pace.steps))
        trainer.train(resume_from_checkpoint=last_whole(work))
    return [dict(row) for row in trainer.state.log_history]


def last_whole(work: Path) -> str | None:
    """The newest checkpoint that was written to its end: a kill can leave half of one behind."""
    if not work.is_dir():
        return None
    whole = []
    for state in work.glob(f"checkpoint-*/{_STATE}"):  # which the Trainer writes last
        try:
            whole.append((int(json.loads(state.read_text(encoding="utf-8"))["global_step"]), state.parent))
        except (ValueError, KeyError):
            continue
    return str(max(whole)[1]) if whole else None


def claim(work: Path, about: Mapping[str, Any]) -> None:
    """Write down what is trained in the folder `work`, so that no other training goes on with it.

    Raises StreamerError naming what differs from what was written there before.
    """
    path, told = work / _CLAIM, json.loads(json.dumps(about))
    if path.is_file():
        before = json.loads(path.read_text(encoding="utf-8"))
        differs = [name for name in {**before, **told} if before.get(name) != told.get(name)]
        if differs and last_whole(work) is not None:
            raise StreamerError(
                f"--work: expected the training that was begun in {work}, found another "
                f"{', '.join(differs)}. Delete that folder, or name another one"
            )
    work.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def evaluations(log: Sequence[Mapping[str, float]], *names: str) -> list[dict[str, float]]:
    """The rows of a log that are evaluations: `step` and the `names` asked for, without `eval_`."""
    rows = [row for row in log if f"eval_{names[0]}" in row]
    return [{"step": row["step"]} | {name: row[f"eval_{name}"] for name in names} for row in rows]


def _told(metrics: Mapping[str, float]) -> str:
    """An evaluation in a line, without how long it took."""
    named = {name.removeprefix("eval_"): value for name, value in metrics.items() if name.startswith("eval_")}
    shown = {name: value for name, value in named.items() if not name.endswith(("runtime", "_per_second"))}
    return ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in shown.items())


def _bar(bar: Any, label: str, steps: int) -> Any:
    """Moves our progress bar with the steps, has the last one evaluated, and logs each evaluation."""
    from transformers import TrainerCallback

    task = bar.add_task(label, total=steps)

    class Moves(TrainerCallback):
        def on_evaluate(self, args: Any, state: Any, control: Any, **more: Any) -> None:  # noqa: ARG002
            log.info("step %d of %d: %s", state.global_step, state.max_steps, _told(more["metrics"]))

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
            bar.update(task, completed=state.global_step)
            if state.global_step == state.max_steps:  # else the last steps are never judged
                control.should_evaluate = control.should_log = control.should_save = True

    return Moves()
