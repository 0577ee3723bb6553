"""The laws of the page's sources, and its own tests, where there is Node to run them."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

WEB = Path(__file__).parent.parent.parent / "web"
SOURCES = sorted(p for p in (WEB / "src").rglob("*.*") if p.suffix in (".js", ".jsx", ".css"))
MARKUP = [WEB / "index.html", *(WEB / "public").iterdir()]


def lines_of(path):
    """Return the lines that hold code, as near as can be told without a parser."""
    text = path.read_text(encoding="utf-8")
    return [
        x for x in text.splitlines() if x.strip() and not x.strip().startswith(("//", "/*", "*"))
    ]


def test_the_page_stays_within_its_budget():
    assert len(SOURCES) > 10
    assert sum(len(lines_of(path)) for path in SOURCES) <= 2500
    for path in SOURCES:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 400, path


def test_the_page_keeps_to_its_policy():
    # What the policy of the server's answers would refuse, or what would go around it.
    banned = (
        r"innerHTML|insertAdjacent|document\.write|\beval\(|new Function|srcdoc|data:[\w+-]*[/,;]"
    )
    for path in SOURCES:
        code = "\n".join(lines_of(path))
        assert not re.search(banned, code), path
        assert not re.search(r"https?://|//[a-z]+\.", code), f"{path} names another server"
        assert 'style="' not in code, path
    for path in MARKUP:
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?:|data:|style|<script(?! type=\"module\" src)", text), path


def test_what_the_page_is_built_of_is_locked():
    package = json.loads((WEB / "package.json").read_text())
    lock = json.loads((WEB / "package-lock.json").read_text())
    wanted = {**package["dependencies"], **package["devDependencies"]}
    for name, version in wanted.items():
        assert re.fullmatch(r"\d+\.\d+\.\d+", version), f"{name}: an exact version"
        assert lock["packages"][f"node_modules/{name}"]["version"] == version
    for name, entry in lock["packages"].items():
        assert "resolved" not in entry, f"{name}: names the registry that it was locked from"
        assert not name or entry["integrity"].startswith("sha512-")


@pytest.mark.skipif(not shutil.which("node"), reason="Node is not on PATH")
def test_the_page_s_own_tests_pass():
    tests = sorted(map(str, (WEB / "test").glob("*.test.js")))
    done = subprocess.run(["node", "--test", *tests], capture_output=True, text=True, cwd=WEB)
    assert done.returncode == 0, done.stdout
