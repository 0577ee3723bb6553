"""Nobody is let in who should not be, and nothing a client sends is too much."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from minigpt2.server import guard

BODY = json.dumps({"model": "fox", "prompt": "a", "max_tokens": 2, "seed": 1})


def ask(served, path="/v1/completions", body=BODY, method=None, **headers):
    """Return status, headers and body; header names have _ for -."""
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
    connection.putrequest(method or ("POST" if body else "GET"), path, skip_host="Host" in headers)
    for name, value in headers.items():
        for one in value if isinstance(value, list) else [value]:
            connection.putheader(name.replace("_", "-"), one)
    if body:
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body.encode() if body else None)
    answer = connection.getresponse()
    told = answer.status, dict(answer.getheaders()), answer.read().decode()
    connection.close()
    return told


def raw(served, data, seconds=5.0):
    """Send bytes, return what comes back until the server closes."""
    with socket.create_connection(("127.0.0.1", served.port)) as connection:
        connection.settimeout(seconds)
        connection.sendall(data)
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
        return b"".join(parts)


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:{port}", "127.0.0.1:{port}", "[::1]:{port}", "[::1]", "LOCALHOST:1",
     "localhost.:{port}"],
)  # fmt: skip
def test_hosts_of_this_machine_are_ours(served, host):
    assert ask(served, Host=host.format(port=served.port))[0] == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:{port}", "127.0.0.1.evil.example", "localhost.evil.example",
     "10.0.0.7:{port}", "[::2]:{port}", "[::1", "[::1].evil.example", "::1",
     "127.0.0.1@evil.example",
     "evil.example@127.0.0.1", "localhost:{port}@evil.example", "localhost/x", "localhost:x", "",
     "localhost:999999", "[::1%25lo]:80", "127.1", "0x7f000001", "0"],
)  # fmt: skip
def test_a_name_turned_into_our_address_is_refused(served, host):
    """DNS rebinding: the browser is at our address, but asks for its own name."""
    status, headers, body = ask(served, Host=host.format(port=served.port))
    assert status == 403 and json.loads(body)["error"]["type"] == "permission_error"
    assert "content-security-policy" in headers


def test_two_hosts_are_none(served):
    request = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n"
    assert raw(served, request).startswith(b"HTTP/1.1 400")
    assert raw(served, b"GET /health HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 403")


@pytest.mark.parametrize(
    ("origin", "status"),
    [("http://127.0.0.1:{port}", 200), ("https://127.0.0.1:{port}", 200),
     ("http://evil.example", 403), ("null", 403), ("http://127.0.0.1:1", 403), ("", 403),
     ("http://localhost:{port}", 403), ("file://", 403), ("http://127.0.0.1:{port}.evil", 403),
     ("ftp://127.0.0.1:{port}", 403)],
)  # fmt: skip
def test_pages_of_other_sites_may_not_ask(served, origin, status):
    assert ask(served, Origin=origin.format(port=served.port))[0] == status


def test_other_names_and_addresses_are_ours_where_we_say_so(serving, models):
    models = {"fox": models["fox"]}
    with serving(models, hosts=["GPU.lan"], any_address=True) as running:
        for host, status in [("gpu.lan:80", 200), ("10.0.0.7", 200), ("[2001:db8::1]:80", 200),
                             ("evil.example", 403)]:  # fmt: skip
            assert ask(running, Host=host)[0] == status
        same = {"Host": "gpu.lan:80", "Origin": "http://gpu.lan:80"}
        assert ask(running, **same)[0] == 200


@pytest.fixture(scope="module")
def guarded(models):
    from tests.server.conftest import run_server

    with run_server({"fox": models["fox"]}, token="s3cret") as running:
        yield running


PATHS = ["/v1/completions", "/v1/chat/completions", "/tokenize", "/detokenize"]
READ = ["/v1/models", "/v1/models/fox", "/tokenizer_info", "/openapi.json", "/nothing", "/api/x"]


@pytest.mark.parametrize("path", PATHS + READ)
@pytest.mark.parametrize(
    "given", [None, "Bearer wrong", "Bearer s3cret ", "Bearer ", "s3cret", "Basic s3cret",
              "Bearer s3cretx", "bearer\xffs3cret"]
)  # fmt: skip
def test_without_the_token_nothing_is_told(guarded, path, given):
    headers = {} if given is None else {"Authorization": given}
    body = BODY if path in PATHS else None
    status, headers, text = ask(guarded, path, body, **headers)
    expected = 200 if given == "Bearer s3cret " and path == "/v1/completions" else 401
    if given == "Bearer s3cret ":  # HTTP takes blanks around a value away
        assert status != 401
        return
    assert status == expected and json.loads(text)["error"]["type"] == "authentication_error"
    assert headers["www-authenticate"] == "Bearer" and "s3cret" not in text
    assert json.loads(text)["error"]["code"] == "invalid_api_key"


def test_with_the_token_all_is_told_and_the_page_and_health_are_anyones(guarded):
    assert ask(guarded, Authorization="Bearer s3cret")[0] == 200
    assert ask(guarded, "/health", None)[0] == 200
    assert ask(guarded, "/", None)[0] == 200
    # Not in an address: it would stand in histories and logs.
    assert ask(guarded, "/v1/models?token=s3cret&api_key=s3cret", None)[0] == 401


def test_two_of_a_header_are_none(guarded):
    assert ask(guarded, Authorization=["Bearer s3cret", "Bearer x"])[0] == 401
    assert ask(guarded, Authorization="bearer s3cret")[0] == 200
    ours = f"http://127.0.0.1:{guarded.port}"
    both = [ours, "http://evil.example"]
    assert ask(guarded, Authorization="Bearer s3cret", Origin=both)[0] == 403


def test_a_body_for_what_takes_none_is_not_kept(guarded):
    head = b"POST /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n\r\n"
    assert raw(guarded, head).startswith(b"HTTP/1.1 401")


def test_the_token_is_compared_in_constant_time(guarded, monkeypatch):
    compared = []
    real = guard.hmac.compare_digest
    monkeypatch.setattr(
        guard.hmac, "compare_digest", lambda a, b: compared.append((a, b)) or real(a, b)
    )
    ask(guarded, Authorization="Bearer s3cres")
    assert compared == [(b"s3cres", b"s3cret")]


def test_every_answer_has_the_policy(served):
    for path, body in [
        ("/v1/completions", BODY),
        ("/", None),
        ("/nothing", None),
        ("/health", None),
    ]:
        _, headers, _ = ask(served, path, body)
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "script-src 'self'" in policy
        assert "unsafe" not in policy and headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in headers


def test_a_body_is_bounded(served):
    status, _, body = ask(served, body="x" * (guard.MOST_BYTES + 1))
    assert status == 413 and str(guard.MOST_BYTES) in body
    endless = b"".join(
        [b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
         *[b"%x\r\n%s\r\n" % (1 << 20, b"x" * (1 << 20))] * 9]
    )  # fmt: skip
    with contextlib.suppress(OSError):  # it hangs up while we still talk
        assert raw(served, endless).startswith(b"HTTP/1.1 413")
    assert ask(served)[0] == 200


def test_headers_are_bounded(served):
    long = b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 100_000
    assert raw(served, long).startswith(b"HTTP/1.1 400")
    for part in (b"X: " + b"x" * 17_000, b"X: y\r\n" * 4_000 + b"Y: z"):  # in one read
        whole = b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + part + b"\r\n\r\n"
        assert raw(served, whole).startswith(b"HTTP/1.1 431")
    many = b"GET /health HTTP/1.1\r\n" + b"X: y\r\n" * 10_000
    assert raw(served, many).startswith(b"HTTP/1.1 400")


def test_a_request_that_does_not_come_is_hung_up_on(served, monkeypatch):
    monkeypatch.setattr("minigpt2.server.listening.HEAD_SECONDS", 0.3)
    monkeypatch.setattr(guard, "BODY_SECONDS", 0.3)
    start = time.monotonic()
    assert raw(served, b"") == b""
    assert raw(served, b"GET / HTTP/1.1\r\nHo") == b""
    half = b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{"
    assert raw(served, half).startswith(b"HTTP/1.1 408")
    assert 0.9 <= time.monotonic() - start < 3
    with socket.create_connection(("127.0.0.1", served.port)) as slow:
        slow.settimeout(5)
        with pytest.raises(OSError):  # a byte now and then does not make it longer
            for _ in range(30):
                slow.sendall(b"X")
                time.sleep(0.05)
                slow.settimeout(0.001)
                try:
                    if slow.recv(1) == b"":
                        raise ConnectionError
                except TimeoutError:
                    continue


def test_a_second_request_that_does_not_come_is_hung_up_on(served, monkeypatch):
    monkeypatch.setattr("minigpt2.server.listening.HEAD_SECONDS", 0.3)
    start = time.monotonic()
    both = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nGET /hea"
    assert raw(served, both).startswith(b"HTTP/1.1 200")
    assert time.monotonic() - start < 3


@pytest.mark.parametrize(
    "path",
    ["/../../../etc/passwd", "/..%2f..%2f..%2fetc/passwd", "/%2e%2e/%2e%2e/app.py", "/../app.py",
     "/assets/../../app.py", "/assets/%2e%2e/%2e%2e/app.py", "//etc/passwd", "/assets//etc/passwd",
     "/%00", "/..\\..\\app.py", "/assets/..%5c..%5capp.py", "/./../guard.py", "/~root"],
)  # fmt: skip
def test_no_path_leads_out_of_the_page(served, path):
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    answer = raw(served, request.encode())
    assert answer.split(b" ", 2)[1] in (b"404", b"400", b"405"), answer[:100]
    assert b"import" not in answer and b"root:" not in answer


def test_other_methods_are_refused_and_upgrades_ignored(served):
    assert ask(served, "/v1/completions", None)[0] == 405
    assert ask(served, "/v1/models", body="{}")[0] == 405
    assert ask(served, method="TRACE", path="/v1/models", body=None)[0] == 405
    options = ask(served, method="OPTIONS", body=None, Origin="http://evil.example")
    assert options[0] == 403
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket"}
    assert ask(served, "/health", None, **upgrade)[0] == 200


def run(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "minigpt2", "serve", *arguments], capture_output=True, text=True,
        timeout=60, env={**os.environ, **environment},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [(["--host", "0.0.0.0"], 2, "needs a --token"), (["--host", "::"], 2, "needs a --token"),
     (["--host", "192.0.2.1"], 2, "needs a --token"),
     (["--host", "0.0.0.0", "--token", ""], 2, "needs a --token"),
     (["--token", "ü"], 2, "ASCII"), (["--token", " "], 2, "ASCII"),
     (["--port", "70000"], 2, "65535"),
     (["--max-concurrency", "0"], 2, "at least 1"), (["--queue", "-1"], 2, "at least 0"),
     (["--host", "192.0.2.1", "--token", "t"], 69, "cannot listen"),
     (["--host", "no.such.name.invalid", "--token", "t"], 69, "cannot listen"),
     (["nowhere"], 66, "nowhere"), (["--context-overflow", "maybe"], 2, "slide")],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_served_says_so(arguments, code, words, tmp_path):
    result = run(*arguments)
    assert result.returncode == code and words in result.stderr, result.stderr
    assert len([line for line in result.stderr.splitlines() if line.startswith("minigpt2:")]) == 1


def test_without_its_libraries_it_says_what_to_install():
    code = "import sys; sys.modules['uvicorn'] = None; from minigpt2.__main__ import main; main()"
    line = [sys.executable, "-c", code, "serve"]
    result = subprocess.run(line, capture_output=True, text=True)
    assert result.returncode == 69 and 'pip install "minigpt2[serve]"' in result.stderr


def test_a_port_in_use_and_a_broken_model_are_told(served, tmp_path):
    taken = run("--port", str(served.port))
    assert taken.returncode == 69 and f"port {served.port}" in taken.stderr
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text("{}", encoding="utf-8")
    result = run(str(broken), "--port", "0")
    assert result.returncode == 65 and "Traceback" not in result.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_answers_end_and_frees_the_port(number, tmp_path):
    command = [sys.executable, "-m", "minigpt2", "serve", "--port", "0", "--token", "hidden"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    lines = []
    while not (lines and "for clients" in lines[-1]):
        lines.append(process.stderr.readline())
        assert lines[-1], lines
    port = int(lines[-1].split("/v1")[0].rpartition(":")[2])
    assert "hidden" not in "".join(lines)
    wait_ready(port)
    body = json.dumps({"prompt": "ROMEO:", "max_tokens": 200, "stream": True, "ignore_eos": True})
    with socket.create_connection(("127.0.0.1", port)) as stream:
        stream.sendall(
            b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer hidden\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (len(body), body.encode())
        )
        got = stream.recv(4096)
        assert got.startswith(b"HTTP/1.1 200")
        process.send_signal(number)
        while part := stream.recv(65536):
            got += part
    assert got.count(b'"finish_reason":"length"') == 1 and b"[DONE]" in got
    with process:
        rest = process.stderr.read()
    assert process.returncode in (-number, 128 + number), rest
    assert "hidden" not in rest and "Traceback" not in rest, rest
    again = socket.socket()
    again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    again.bind(("127.0.0.1", port))
    again.close()


def wait_ready(port):
    for _ in range(500):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", "/health")
        status = connection.getresponse().status
        connection.close()
        if status == 200:
            return
        time.sleep(0.02)
    raise AssertionError("never ready")
