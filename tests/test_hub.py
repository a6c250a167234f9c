import hashlib
import http.server
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from streamer import hub
from streamer.errors import ModelError
from streamer.nn.checkpoint import load
from streamer.nn.heads import TimeLayerTransformer
from streamer.nn.official import official_models

CONTENT = bytes(range(256)) * 4000
SHA = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `server.files`; the first `server.drops` transfers end after half of what is left."""

    def do_GET(self):
        server = self.server
        server.asked.append((self.path, self.headers.get("Range")))
        body = server.files.get(self.path.split("?")[0])
        if body is None:
            self.send_error(404)
            return
        if server.errors:
            self.send_error(server.errors.pop(0))
            return
        start = 0
        asked = self.headers.get("Range")
        if asked and server.ranges:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(body):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        rest = body[start:]
        if server.drops:
            server.drops -= 1
            rest = rest[: len(rest) // 2]
        self.wfile.write(rest)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.files, made.asked, made.errors, made.drops, made.ranges = {"/model.pt": CONTENT}, [], [], 0, True
    made.url = f"http://127.0.0.1:{made.server_port}"
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01}, name="http")
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def fetch(server, target, sha256=SHA, **options):
    return hub.download(f"{server.url}/model.pt", target, sha256=sha256, pause=0.01, **options)


def test_downloads_checks_and_reports(tmp_path, server):
    seen = []
    target = fetch(server, tmp_path / "deep" / "model.pt", progress=lambda *step: seen.append(step))
    assert target.read_bytes() == CONTENT
    assert list(target.parent.iterdir()) == [target]
    assert seen[-1] == ("model.pt", len(CONTENT), len(CONTENT))
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)
    fetch(server, target)
    assert len(server.asked) == 1, "what is there is not fetched again"


def test_an_interrupted_download_goes_on_where_it_stopped(tmp_path, server):
    server.drops = 1
    target = fetch(server, tmp_path / "model.pt")
    assert target.read_bytes() == CONTENT
    assert server.asked[1] == ("/model.pt", f"bytes={len(CONTENT) // 2}-")


def test_an_abandoned_download_goes_on_later(tmp_path, server):
    server.drops = 2
    with pytest.raises(ModelError, match=r"of 1024000 bytes. Run it again to go on"):
        fetch(server, tmp_path / "model.pt", attempts=2)
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt.part"]
    assert fetch(server, tmp_path / "model.pt").read_bytes() == CONTENT
    assert server.asked[-1][1] == f"bytes={len(CONTENT) * 3 // 4}-"


def test_a_server_without_ranges_starts_again(tmp_path, server):
    server.drops, server.ranges = 1, False
    assert fetch(server, tmp_path / "model.pt").read_bytes() == CONTENT


def test_a_part_that_was_whole_already_is_taken(tmp_path, server):
    (tmp_path / "model.pt.part").write_bytes(CONTENT)
    assert fetch(server, tmp_path / "model.pt").read_bytes() == CONTENT


def test_a_wrong_hash_leaves_nothing(tmp_path, server):
    with pytest.raises(ModelError, match=f"expected the sha256 {'0' * 64}, found {SHA}"):
        fetch(server, tmp_path / "model.pt", sha256="0" * 64)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_is_fetched_again(tmp_path, server):
    (tmp_path / "model.pt").write_bytes(b"half")
    assert fetch(server, tmp_path / "model.pt").read_bytes() == CONTENT


def test_without_a_hash_halves_are_never_joined(tmp_path, server):
    server.drops = 1
    (tmp_path / "model.pt.part").write_bytes(b"of another file")
    assert fetch(server, tmp_path / "model.pt", sha256=None).read_bytes() == CONTENT
    assert all(asked is None for _, asked in server.asked)


def test_a_missing_file_is_not_tried_again(tmp_path, server):
    with pytest.raises(ModelError, match=r"404 Not Found for .*/other.pt"):
        hub.download(f"{server.url}/other.pt", tmp_path / "other.pt", sha256=SHA)
    assert len(server.asked) == 1


def test_an_overloaded_server_is_tried_again(tmp_path, server):
    server.errors = [503, 429]
    assert fetch(server, tmp_path / "model.pt").read_bytes() == CONTENT


def test_nobody_there_says_so(tmp_path):
    with pytest.raises(ModelError, match=r"could not fetch model.pt: URLError"):
        hub.download("http://127.0.0.1:9/model.pt", tmp_path / "model.pt", sha256=SHA, attempts=1)


@pytest.fixture
def tiny(server, monkeypatch, tmp_path):
    """The official `tiny` as the local server has it, checkpoint and head."""
    from tests.nn.reference import NARROW, reference

    theirs = reference(NARROW, 0)
    torch.save({"dims": vars(theirs.dims), "model_state_dict": theirs.state_dict()}, tmp_path / "it")
    content = (tmp_path / "it").read_bytes()
    head = TimeLayerTransformer(4, 384, 527)
    torch.save({f"at_model.{name}": t for name, t in head.state_dict().items()}, tmp_path / "head")
    server.files |= {"/tiny.pt": content, "/head/tiny_ori.pth": (tmp_path / "head").read_bytes()}
    known = dict(official_models())
    known["tiny"] = replace(
        known["tiny"], url=f"{server.url}/tiny.pt", sha256=hashlib.sha256(content).hexdigest()
    )
    monkeypatch.setattr("streamer.nn.official.official_models", lambda: known)
    monkeypatch.setattr(hub, "_DROPBOX", f"{server.url}/")
    monkeypatch.setitem(hub.TAG_HEADS, "tiny_ori", "head")
    monkeypatch.setattr(hub, "PAUSE", 0.01)
    monkeypatch.setenv("STREAMER_MODELS", str(tmp_path / "models"))
    return known["tiny"]


def test_pull_fetches_checkpoint_and_head_and_lists_them(tiny, tmp_path, server):
    pulled = hub.pull("tiny")
    assert pulled.checkpoint == tmp_path / "models" / "tiny.pt"
    assert pulled.tags == tmp_path / "models" / "tiny_ori.pth"
    row = next(row for row in hub.list_models() if row["name"] == "tiny")
    assert (row["kind"], row["tags"]) == ("fetched", True)
    assert row["size"] == pulled.checkpoint.stat().st_size
    assert hub.info("tiny")["path"] == str(pulled.checkpoint)


def test_pull_without_a_head_is_still_a_model(tiny, server, monkeypatch):
    server.files["/head/tiny_ori.pth"] = b"<html>"
    pulled = hub.pull("tiny")
    assert pulled.tags is None
    assert "is not a tag head" in pulled.note
    assert not pulled.checkpoint.with_name("tiny_ori.pth").exists()
    monkeypatch.setitem(hub.TAG_HEADS, "tiny_ori", "gone")
    assert "404" in hub.pull("tiny").note


def test_what_is_known_of_a_heads_checksum_is_said(tiny, server):
    pulled = hub.pull("tiny")
    found = hashlib.sha256(server.files["/head/tiny_ori.pth"]).hexdigest()
    assert "published no checksum" in pulled.note
    assert found in pulled.note


def test_a_head_may_be_fetched_alone(tiny, tmp_path):
    described = hub.info("tiny_ori")
    assert (described["path"], described["sha256"]) == (None, "none is published")
    assert described["url"].endswith("/head/tiny_ori.pth?dl=1")
    pulled = hub.pull("tiny_ori")
    assert (pulled.checkpoint, pulled.tags) == (None, tmp_path / "models" / "tiny_ori.pth")
    row = next(row for row in hub.list_models() if row["name"] == "tiny_ori")
    assert (row["kind"], row["size"]) == ("head", pulled.tags.stat().st_size)
    described = hub.info("tiny_ori")
    assert described["path"] == str(pulled.tags)
    assert described["encoder"]["name"] == "tiny"
    assert described["head"]["window"] == 10.0


def test_unknown_names_are_told_the_nearest(tmp_path):
    with pytest.raises(ModelError, match="Did you mean 'tiny'"):
        hub.pull("tinny", directory=tmp_path)
    with pytest.raises(ModelError, match="Did you mean 'small_low'"):
        hub.pull("smal_low", directory=tmp_path)


def test_heads_are_those_of_official_checkpoints():
    files = {Path(model.file).stem for model in official_models().values()}
    assert {name.rsplit("_", 1)[0] for name in hub.TAG_HEADS} <= files
    assert all(name.endswith(("_ori", "_low")) for name in hub.TAG_HEADS)


def test_official_models_are_listed_and_described(tmp_path, monkeypatch):
    monkeypatch.setenv("STREAMER_MODELS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    rows = {row["name"]: row for row in hub.list_models()}
    assert rows["tiny"] == {"name": "tiny", "kind": "official", "size": None, "path": None, "tags": True}
    assert not rows["large-v3"]["tags"]
    assert "large" not in rows, "an alias is not another model"
    described = hub.info("large")
    assert described["sha256"] == official_models()["large-v3"].sha256
    with pytest.raises(ModelError, match="no model 'nonsense'"):
        hub.info("nonsense")


def test_own_models_are_described(tmp_path, monkeypatch):
    from tests.nn.test_checkpoint import write_own

    monkeypatch.setenv("STREAMER_MODELS", str(tmp_path))
    write_own(tmp_path / "small", licence="CC0", scores={"wer": 0.5})
    described = hub.info("small")
    assert (described["kind"], described["licence"], described["scores"]) == ("fetched", "CC0", {"wer": 0.5})
    assert described["head"]["labels"] == "labels.csv"
    assert load("small").name == "small"


def test_own_heads_are_listed_and_described(tmp_path, monkeypatch):
    from tests.nn.test_head_checkpoint import whisper, write_head

    monkeypatch.setenv("STREAMER_MODELS", str(tmp_path))
    write_head(tmp_path / "mine", whisper(), "wa-mlp")
    row = next(row for row in hub.list_models() if row["name"] == "mine")
    assert (row["kind"], row["tags"], row["path"]) == ("head", True, str(tmp_path / "mine"))
    described = hub.info("mine")
    assert (described["licence"], described["scores"]) == ("CC0", {"accuracy": 0.5})
    assert (described["head"]["head"], described["encoder"]["n_layer"]) == ("wa-mlp", 2)
