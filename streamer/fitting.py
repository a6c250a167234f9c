"""What the settings ask for, and what a model can do of it."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from streamer.config import PLAIN, Config
from streamer.engine import Engine
from streamer.errors import ConfigError
from streamer.tagging.detector import validate_labels

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Fitted:
    """An engine, and the settings as its model can follow them."""

    engine: Engine
    config: Config

    @classmethod
    def of(cls, config: Config, engine: Engine) -> Fitted:
        """See `fitting`."""
        return cls(engine, fitting(config, engine))


def languages(engine: Engine) -> list[str]:
    """Codes of the languages that an engine's model writes."""
    return list(engine.tokenizer.languages) or list(engine.model.info.languages)


def fitting(config: Config, engine: Engine) -> Config:
    """The settings as this model can follow them.

    Raises ConfigError for what it cannot do at all: better now than at the first utterance, or never.
    """
    model = engine.model
    if config.sounds.enabled and model.tags is None:
        log.warning("The model %s has no tag head: words only, no sounds", model.name)
        config = config.model_copy(update={"sounds": config.sounds.model_copy(update={"enabled": False})})
    if config.sounds.enabled:
        validate_labels(config.sounds, model.labels)
        if model.window is not None and model.window > 2 * config.sounds.window:
            log.warning(
                "The tag head of %s was trained to judge %g s at once and is given %g s: set sounds.window",
                model.name,
                model.window,
                config.sounds.window,
            )
    if not engine.writes:
        log.warning("The model %s writes no words", model.name)
        config = config.model_copy(update={"live": config.live.model_copy(update={"partials": False})})
    if not config.live.captions:
        if not config.sounds.enabled:
            raise ConfigError(
                f"nothing to do: live.captions is false, and sounds are off or {model.name} has no tag head. "
                "Switch one of them on, or choose a model that hears sounds"
            )
        return config
    heeded = ("prompt", "previous", "temperatures", "beam")
    asked = [name for name in heeded if getattr(config.text, name) != getattr(PLAIN, name)]
    if asked and not engine.decodes:
        log.warning("text.%s: the CTC branch of %s takes no notice of it", ", text.".join(asked), model.name)
    language, task = config.model.language, config.model.task
    known = languages(engine)
    if language not in ("auto", *known):
        raise ConfigError(
            f"model.language is {language!r}, but {model.name} knows {', '.join(known)} only: "
            "choose one of these, 'auto', or another model"
        )
    if task == "translate" and not engine.tokenizer.is_multilingual:
        raise ConfigError(f"model.task is 'translate', but {model.name} is not multilingual: choose another")
    return config
