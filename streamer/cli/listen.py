"""``streamer listen``: a terminal client of a running daemon."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from streamer.audio.redact import redact
from streamer.cli.output import json_option, note
from streamer.errors import ConfigError, StreamerError

if TYPE_CHECKING:
    from streamer.cli.screen import Screen

DEFAULT_URL = "ws://127.0.0.1:8765/ws"

RETRY_FIRST = 0.5
"""Seconds before the first attempt to reconnect; doubles up to RETRY_LONGEST."""

RETRY_LONGEST = 10.0

TOKEN_VARIABLE = "STREAMER_SERVER__TOKEN"


def websocket_url(text: str) -> str:
    """The websocket's address from what people paste: `host:port`, the dashboard's address, or itself."""
    from urllib.parse import urlsplit, urlunsplit

    try:
        parts = urlsplit(text if "://" in text else f"ws://{text}")
        _ = parts.port  # raises where it is no number
    except ValueError:
        parts = urlsplit("")
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    if scheme not in ("ws", "wss") or not parts.hostname:
        raise ConfigError(
            f"expected an address such as {DEFAULT_URL} or http://HOST:PORT/, found {redact(text)!r}"
        )
    path = parts.path if parts.path not in ("", "/") else "/ws"
    return urlunsplit((scheme, parts.netloc, path, parts.query, ""))


class Listener:
    """Follows one daemon across reconnections: each asks for what came after the last event seen."""

    def __init__(
        self,
        url: str,
        token: str,
        screen: Screen | None,
        streams: list[str] | None = None,
        types: list[str] | None = None,
        since: int | None = None,
    ) -> None:
        self._url = url
        self._shown = redact(url)  # the dashboard's address may carry the token
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._screen = screen
        self._streams = streams
        self._types = types
        self._instance = ""
        self._last_seq = since

    async def run(self) -> None:
        """Until cancelled. StreamerError where trying again cannot help, or the very first attempt fails."""
        import asyncio

        from websockets.asyncio.client import connect
        from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

        delay, connected = RETRY_FIRST, False
        while True:
            try:
                async with connect(
                    self._url, additional_headers=self._headers, compression=None, max_size=None
                ) as socket:
                    connected = True
                    await socket.send(self._subscription())
                    async for message in socket:
                        delay = RETRY_FIRST
                        self._take(message if isinstance(message, str) else message.decode())
                why = "the daemon closed the connection"
            except ConnectionClosed as closed:
                why = str(closed)
            except InvalidStatus as refused:
                why = f"HTTP status {refused.response.status_code}"
                if refused.response.status_code in (401, 403):
                    raise StreamerError(
                        f"{self._shown} refuses this client ({why}): give the daemon's token with --token "
                        f"or the variable {TOKEN_VARIABLE}"
                    ) from None
                if refused.response.status_code == 404:
                    raise StreamerError(f"there is no websocket at {self._shown}; expected …/ws") from None
            except (OSError, InvalidHandshake) as failed:
                why = str(failed) or type(failed).__name__
            if not connected:
                raise StreamerError(
                    f"no daemon answers at {self._shown} ({why}). Start one: streamer run, or streamer demo"
                )
            self._say(f"{why}; trying again in {delay:g} s")
            await asyncio.sleep(delay)
            delay = min(2 * delay, RETRY_LONGEST)

    def _subscription(self) -> str:
        wanted = {
            "streams": self._streams,
            "types": self._types,
            "since": self._last_seq,
            "instance": self._instance or None,
        }
        given = {key: value for key, value in wanted.items() if value is not None}
        return json.dumps({"type": "subscribe", **given})

    def _take(self, text: str) -> None:
        event: dict[str, Any] = json.loads(text)
        if event.get("type") == "hello":
            instance = event.get("instance", "")
            if self._last_seq is None:
                self._last_seq = int(event["last_seq"])
            elif self._instance and instance != self._instance:
                self._last_seq = 0  # numbers of the daemon's earlier life mean nothing now
            self._instance = instance
        elif event.get("seq"):
            self._last_seq = int(event["seq"])
        if self._screen is None:
            sys.stdout.write(text + "\n")
            sys.stdout.flush()
        elif event.get("type") == "hello":
            streams = ", ".join(event["streams"]) or "none"
            self._say(f"connected to {self._shown}: model {event['model']}, streams: {streams}")
        else:
            self._screen.show(event)

    def _say(self, text: str) -> None:
        if self._screen is not None:
            self._screen.say(text)
        else:
            note(text)


@click.command(short_help="Follow a running daemon in the terminal.")
@click.argument("url", default=DEFAULT_URL, required=False)
@click.option("--token", envvar=TOKEN_VARIABLE, default="", help=f"The daemon's token [{TOKEN_VARIABLE}].")
@click.option("--stream", "streams", multiple=True, metavar="NAME", help="Only these streams.")
@click.option("--type", "types", multiple=True, metavar="TYPE", help="Only these types of events.")
@click.option("--since", type=click.IntRange(0), help="First what came after this sequence number.")
@json_option
def listen(
    url: str, token: str, streams: tuple[str, ...], types: tuple[str, ...], since: int | None, as_json: bool
) -> None:
    """Follow a running daemon: live captions, sounds and states.

    URL is ws://127.0.0.1:8765/ws unless given; the dashboard's address will do. Reconnects by itself and
    catches up on what it missed. `--json` prints every event as the daemon sent it.
    """
    import asyncio

    from streamer.cli.screen import Screen

    screen = None if as_json else Screen(sys.stdout)
    listener = Listener(websocket_url(url), token, screen, list(streams) or None, list(types) or None, since)
    try:
        asyncio.run(listener.run())
    except KeyboardInterrupt:
        pass  # how one stops it
    finally:
        if screen is not None:
            screen.close()
