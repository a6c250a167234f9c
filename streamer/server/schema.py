"""The JSON Schema of everything that crosses /ws, generated from the models.

`python -m streamer.server.schema > docs/events.schema.json` brings the committed file up to date.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from pydantic import TypeAdapter

from streamer.events import AnyEvent
from streamer.server.messages import ClientMessage


def schema() -> dict[str, Any]:
    """One event validates against the schema itself, one client message against `#/$defs/ClientMessage`."""
    events: TypeAdapter[Any] = TypeAdapter(AnyEvent)
    messages: TypeAdapter[Any] = TypeAdapter(ClientMessage)
    found, shared = TypeAdapter.json_schemas(
        [("Event", "serialization", events), ("ClientMessage", "validation", messages)],
        ref_template="#/$defs/{model}",
    )
    definitions = dict(shared["$defs"])
    definitions["ClientMessage"] = found["ClientMessage", "validation"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "streamer events",
        "description": "One text message from the daemon on /ws. Client messages: #/$defs/ClientMessage.",
        **found["Event", "serialization"],
        "$defs": dict(sorted(definitions.items())),
    }


def text() -> str:
    """The committed file's content."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())
