"""Hub names, through the real huggingface_hub, against a server of our own on loopback."""

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from urllib.parse import unquote, urlsplit

import pytest

from minigpt2 import save_pretrained
from minigpt2.errors import InputMissingError, UnavailableError
from minigpt2.interop.opening import RELEASED, fetch_model, hub_address

COMMIT = "c0ffee" * 6 + "c0ff"


class Hub(http.server.BaseHTTPRequestHandler):
    """The few answers of the hub that a download asks for."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body):
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append(f"{self.command} {path}")
        repository = self.server.repository
        if path.startswith(f"/api/models/{repository}/tree/"):
            listed = [
                {"type": "file", "oid": "0", "size": len(content), "path": name}
                for name, content in self.server.files.items()
            ]
            return self.send(200, json.dumps(listed).encode(), body)
        if path.startswith(f"/api/models/{repository}/revision/"):
            siblings = [{"rfilename": name} for name in self.server.files]
            tree = {"id": repository, "sha": COMMIT, "siblings": siblings, "private": False}
            return self.send(200, json.dumps(tree).encode(), body)
        for name, content in self.server.files.items():
            if path.startswith(f"/{repository}/resolve/") and path.endswith("/" + name):
                return self.send(200, content, body)
        return self.send(404, b'{"error": "Repository not found"}', body, "RepoNotFound")

    def send(self, code, content, body, fault=None):
        self.send_response(code)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        if fault:
            self.send_header("X-Error-Code", fault)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def hub(tiny, tokenizer, tmp_path):
    """A hub that has one model, under the name of the released gpt2."""
    save_pretrained(tiny, tokenizer, tmp_path / "m")
    wanted = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        server.repository, server.asked = RELEASED["gpt2"], []
        server.files = {name: (tmp_path / "m" / name).read_bytes() for name in wanted}
        server.files["pytorch_model.bin"] = b"a pickle nobody asked for"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def command(hub, *arguments, **environment):
    """Run minigpt2 as its users do, with this hub for the real one."""
    kept = {k: v for k, v in os.environ.items() if "proxy" not in k.lower()}
    port = hub.server_address[1]
    settings = {**kept, "HF_ENDPOINT": f"http://127.0.0.1:{port}", **environment}
    return subprocess.run(
        [sys.executable, "-m", "minigpt2", *arguments],
        capture_output=True, text=True, encoding="utf-8", env=settings, timeout=120, check=False,
    )  # fmt: skip


GENERATE = ("generate", "gpt2", "--prompt", "fox", "--max-new-tokens", "3")


def test_a_name_is_fetched_once_then_found_without_the_network(hub, tmp_path):
    home = {"HF_HOME": str(tmp_path / "hf")}
    first = command(hub, *GENERATE, **home)
    assert first.returncode == 0 and first.stdout.startswith("fox"), (first.stderr, hub.asked)
    assert "openai-community/gpt2 on the Hugging Face hub" in first.stderr
    assert not any("pytorch_model" in line for line in hub.asked)
    assert (tmp_path / "hf/hub/models--openai-community--gpt2").is_dir()
    hub.asked.clear()
    again = command(hub, *GENERATE, **home, HF_HUB_OFFLINE="1")
    assert again.stdout == first.stdout and not hub.asked
    cache = tmp_path / "hf/hub"  # as the library named it before the models moved
    (cache / "models--openai-community--gpt2").rename(cache / "models--gpt2")
    old = command(hub, *GENERATE, **home, HF_HUB_OFFLINE="1")
    assert old.stdout == first.stdout, old.stderr


def test_without_network_or_cache_one_line_says_what_to_place(hub, tmp_path):
    home = {"HF_HOME": str(tmp_path / "hf")}
    result = command(hub, *GENERATE, **home, HF_HUB_OFFLINE="1")
    assert result.returncode == 66
    [line] = [text for text in result.stderr.splitlines() if text.startswith("minigpt2:")]
    assert (
        "place config.json, model.safetensors and tokenizer.json of openai-community/gpt2" in line
    )
    unknown = command(hub, "generate", "nobody/nothing", **home)
    assert unknown.returncode == 66 and "nobody/nothing cannot be fetched" in unknown.stderr
    assert "Traceback" not in result.stderr + unknown.stderr


def test_what_is_a_hub_name():
    assert hub_address("gpt2-xl") == ("openai-community/gpt2-xl", None)
    assert hub_address("gpt2@607a30d") == ("openai-community/gpt2", "607a30d")
    for name in ("novel", "a/b/c", "../x", "/abs", "a/..", ".hidden/x", "", "a b/c"):
        assert hub_address(name) is None, name


def test_without_the_library_the_line_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UnavailableError, match=r'pip install "minigpt2\[hub\]"'):
        fetch_model("gpt2", print)


def test_offline_in_this_process_is_input_missing(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputMissingError, match=r"place config\.json"):
        fetch_model("gpt2-medium", lambda line: None)
