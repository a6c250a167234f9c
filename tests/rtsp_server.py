#!/usr/bin/python3
"""A real RTSP server for tests: serves a 16-bit WAV file, looped, through GStreamer.

Run by the system's Python, where Debian's GObject bindings live, not by the tests' virtual environment:

    /usr/bin/python3 tests/rtsp_server.py FILE.wav [--port N] [--codec l16|opus|pcmu]
        [--path /audio] [--user NAME --password SECRET] [--video]

Prints `ready PORT` when clients may connect. Debian packages: python3-gi, gir1.2-gst-rtsp-server-1.0,
gstreamer1.0-plugins-base, gstreamer1.0-plugins-good.
"""

import argparse
import wave

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

PAYLOADERS = {
    "l16": "rtpL16pay name=pay0 pt=96",
    "opus": "audioresample ! audio/x-raw,rate=48000 ! opusenc ! rtpopuspay name=pay0 pt=96",
    "pcmu": "audioresample ! audio/x-raw,rate=8000,channels=1 ! mulawenc ! rtppcmupay name=pay0",
}
VIDEO = (
    "videotestsrc is-live=true ! video/x-raw,format=I420,width=64,height=48,framerate=5/1 "
    "! jpegenc ! rtpjpegpay name=pay1"
)
BLOCK = 0.02


class LoopedWav(GstRtspServer.RTSPMediaFactory):
    """Feeds the file's samples to every client through one shared pipeline, from its start."""

    def __init__(self, path, codec, video):
        super().__init__()
        with wave.open(path) as file:
            if file.getsampwidth() != 2:
                raise SystemExit(f"expected a 16-bit WAV file, found {8 * file.getsampwidth()} bits")
            self.rate, self.channels = file.getframerate(), file.getnchannels()
            self.data = file.readframes(file.getnframes())
        caps = f"audio/x-raw,format=S16LE,layout=interleaved,rate={self.rate},channels={self.channels}"
        self.set_launch(
            f"( appsrc name=source is-live=true format=time caps={caps} ! audioconvert ! {PAYLOADERS[codec]} "
            f"{VIDEO if video else ''} )"
        )
        self.set_shared(True)

    def prepare(self, media):
        """Called for each new pipeline. Not the virtual method `do_configure`: not every version calls it."""
        source = media.get_element().get_child_by_name("source")
        state = {"frame": 0}
        source.connect("need-data", self.need_data, state)

    def need_data(self, source, _length, state):
        """Push the next 20 ms; the sink's clock paces the calls."""
        width = 2 * self.channels
        frames = int(self.rate * BLOCK)
        total = len(self.data) // width
        begin = state["frame"] % total
        piece = self.data[begin * width : (begin + frames) * width]
        while len(piece) < frames * width:
            piece += self.data[: frames * width - len(piece)]
        buffer = Gst.Buffer.new_wrapped(piece)
        buffer.pts = state["frame"] * Gst.SECOND // self.rate
        buffer.duration = frames * Gst.SECOND // self.rate
        state["frame"] += frames
        source.emit("push-buffer", buffer)


def main():
    """Serve until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("file")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--codec", choices=sorted(PAYLOADERS), default="l16")
    parser.add_argument("--path", default="/audio")
    parser.add_argument("--user")
    parser.add_argument("--password")
    parser.add_argument("--video", action="store_true")
    arguments = parser.parse_args()
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(str(arguments.port))
    factory = LoopedWav(arguments.file, arguments.codec, arguments.video)
    factory.connect("media-configure", lambda _factory, media: factory.prepare(media))
    if arguments.user:
        auth = GstRtspServer.RTSPAuth()
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "user")
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(arguments.user, arguments.password), token)
        server.set_auth(auth)
        permissions = GstRtspServer.RTSPPermissions()
        permissions.add_permission_for_role("user", "media.factory.access", True)
        permissions.add_permission_for_role("user", "media.factory.construct", True)
        factory.set_permissions(permissions)
    server.get_mount_points().add_factory(arguments.path, factory)
    if server.attach(None) == 0:
        raise SystemExit(f"cannot listen on port {arguments.port}")
    print("ready", server.get_bound_port(), flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
