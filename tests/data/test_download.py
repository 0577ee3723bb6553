"""Data sets from elsewhere: fetched once, resumed, verified; without a network, one line."""

import hashlib
import http.server
import re
import threading

import pytest

from minigpt2.data import Recipe, prepare
from minigpt2.data.sources import DATASETS, fetch
from minigpt2.errors import DataError, InputMissingError, UnavailableError
from minigpt2.files import cache_dir

CONTENT = "".join(f"line {number}\n" for number in range(50_000)).encode()
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Flaky(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT, with ranges; hangs up half-way as often as the server's `failures` say."""

    def do_GET(self):
        wanted = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(wanted[1]) if wanted else 0
        self.server.starts.append(start)
        if self.path != "/text.txt":
            self.send_error(404)
            return
        rest = CONTENT[start:]
        if not rest:
            self.send_error(416)
            return
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(rest)))
        if wanted:
            span = f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"
            self.send_header("Content-Range", span)
        self.end_headers()
        if self.server.failures:
            self.server.failures -= 1
            rest = rest[: len(rest) // 2]
        self.wfile.write(rest)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    for name in (
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "http_proxy",
        "https_proxy",
        "all_proxy",
    ):
        monkeypatch.delenv(name, raising=False)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Flaky) as running:
        running.starts, running.failures = [], 0
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        running.url = f"http://127.0.0.1:{running.server_port}/text.txt"
        yield running
        running.shutdown()
        thread.join()


def test_a_file_is_fetched_once_and_prepared(server, tmp_path):
    said = []
    for name in ("a", "b"):
        data = prepare(
            [f"{server.url}#sha256={DIGEST}"], tmp_path / name, Recipe("byte"), say=said.append
        )
        assert len(data.all) == len(CONTENT)
    assert server.starts == [0] and said == [f"fetching {server.url}"]


def test_a_download_that_broke_off_goes_on(server, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1 << 14)
    server.failures = 1
    [path] = fetch(server.url, server.url, print)
    assert path.read_bytes() == CONTENT
    assert server.starts[0] == 0 and server.starts[1] > 0


def test_what_an_earlier_call_left_is_taken_up(server):
    [path] = fetch(server.url, server.url, print)
    part = path.with_name(path.name + ".incomplete")
    part.write_bytes(CONTENT[:1234])
    path.unlink()
    fetch(server.url, server.url, print)
    assert path.read_bytes() == CONTENT and server.starts[-1] == 1234


def test_a_whole_file_that_was_not_renamed_is_fetched_anew(server):
    [path] = fetch(server.url, server.url, print)
    path.rename(path.with_name(path.name + ".incomplete"))
    assert fetch(server.url, server.url, print) == [path]
    assert path.read_bytes() == CONTENT and server.starts[-2:] == [len(CONTENT), 0]


def test_another_content_than_promised_is_refused(server):
    with pytest.raises(DataError, match=r"has SHA-256 .*, not 0000; remove it and fetch it again"):
        fetch("x", f"{server.url}#sha256=0000", print)


def test_what_is_not_there_is_told(server):
    with pytest.raises(InputMissingError, match=r"cannot be fetched \(.*404.*\); place a copy of"):
        fetch("x", server.url.replace("text", "none"), print)


def test_a_copy_placed_by_hand_is_used_and_verified():
    folder = cache_dir() / "datasets" / "tinyshakespeare"
    folder.mkdir(parents=True)
    (folder / "input.txt").write_text("another text")
    with pytest.raises(DataError, match="has SHA-256"):
        fetch("tinyshakespeare", DATASETS["tinyshakespeare"], print)
    crawl = cache_dir() / "datasets" / "fineweb-edu-10bt" / "sample"
    crawl.mkdir(parents=True)
    (crawl / "000.parquet").write_bytes(b"x")
    assert fetch("fineweb-edu-10bt", DATASETS["fineweb-edu-10bt"], print) == [crawl / "000.parquet"]


@pytest.mark.parametrize("name", DATASETS)
def test_without_a_network_one_line_says_what_to_place_where(name, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputMissingError) as caught:
        prepare([name], tmp_path / "d", Recipe("byte"))
    line = str(caught.value)
    assert "cannot be fetched" in line and "\n" not in line
    assert re.search(rf"place .* at {re.escape(str(cache_dir()))}.*{name}", line)


def test_without_the_extra_one_line_names_it(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.setitem(sys.modules, "huggingface_hub.file_download", None)
    for name in DATASETS:
        with pytest.raises(UnavailableError, match=r'pip install "minigpt2\[hub\]"'):
            prepare([name], tmp_path / "d", Recipe("byte"))
