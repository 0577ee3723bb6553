"""The laws of the house, as tests: floors, cycles, budgets, cheap help, banned calls and names."""

import ast
import io
import re
import subprocess
import sys
import time
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src/minigpt2"
FILES = sorted(PACKAGE.rglob("*.py"))

# Who may import whom: only what stands further down in this list. `__main__` and the package's
# own lazy `__init__` stand above all.
FLOORS = [
    ["errors", "files", "config", "sampling", "concurrency", "text"],
    ["settings"],
    ["model"],
    ["tokenizers"],
    ["data"],
    ["checkpoints"],
    ["interop"],
    ["generation"],
    ["evaluation"],
    ["training"],
    ["insight"],
    ["reports"],
    ["sweeps"],
    ["terminal"],
    ["server"],
    ["cli"],
    ["__main__"],
]
CORE = ("model", "tokenizers", "training", "generation")


def module_of(path):
    return path.relative_to(PACKAGE).with_suffix("").parts


def room_of(path):
    parts = module_of(path)
    return parts[0] if parts[0] != "__init__" else "minigpt2"


def imported(path):
    """Yield every minigpt2 module a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("minigpt2."))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("minigpt2"):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                yield f"{node.module}.{alias.name}"


def test_imports_go_only_downwards():
    floor = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
    for path in FILES:
        room = room_of(path)
        if room == "minigpt2":
            continue
        assert room in floor, f"{path}: give the room {room} a floor"
        for name in imported(path):
            other = name.split(".")[1]
            if other in ("__version__",) or other == room:
                continue
            assert floor[other] < floor[room] or (floor[other] == floor[room] == 0), (
                f"{path} imports {name}, which is not below it"
            )


def test_no_two_modules_import_each_other():
    modules = {".".join(("minigpt2", *module_of(p))).removesuffix(".__init__"): p for p in FILES}
    edges = {}
    for name, path in modules.items():
        if name == "minigpt2":
            continue
        edges[name] = set()
        for target in imported(path):
            while target not in modules:
                target = target.rpartition(".")[0]
            # A package's front only repeats names; importing it from within would be a cycle.
            edges[name] |= {target} - {"minigpt2", name}
    done = set()

    def visit(name, trail):
        assert name not in trail, f"cycle: {' -> '.join([*trail, name])}"
        if name not in done:
            for target in edges[name]:
                visit(target, [*trail, name])
            done.add(name)

    for name in edges:
        visit(name, [])


def test_the_ground_floors_never_touch_torch():
    for path in FILES:
        if room_of(path) in (
            "errors",
            "files",
            "config",
            "sampling",
            "text",
            "settings",
            "cli",
            "minigpt2",
        ):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            for node in tree.body:  # at import, not inside functions
                names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                for name in names:
                    assert name.split(".")[0] not in ("torch", "numpy", "matplotlib"), path


def test_the_model_imports_torch_and_itself_alone():
    for path in (PACKAGE / "model").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            module = node.module if isinstance(node, ast.ImportFrom) else None
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            for name in [module] if module else names:
                allowed = ("torch", "math", "dataclasses", "functools", "fnmatch", "contextlib",
                           "typing", "collections.abc", "minigpt2.model")  # fmt: skip
                assert name.startswith(allowed), f"{path} imports {name}"


def code_lines(path):
    """Count lines that hold code: no comments, docstrings or blank lines."""
    source = path.read_text(encoding="utf-8")
    docstrings = set()
    for node in ast.walk(ast.parse(source)):
        kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        documented = isinstance(node, kinds)
        if documented and ast.get_docstring(node) is not None:
            text = node.body[0]
            docstrings |= set(range(text.lineno, text.end_lineno + 1))
    skip = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
            tokenize.ENDMARKER)  # fmt: skip
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in skip:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return len(lines - docstrings)


def test_the_code_stays_within_its_budgets():
    count = {path: code_lines(path) for path in FILES}
    core = sum(lines for path, lines in count.items() if room_of(path) in CORE)
    assert core <= 3500 and sum(count.values()) <= 10_000
    for path in FILES:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 400, path


def test_functions_stay_small():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                # The docstring of a command is its help, and is not counted.
                first = node.body[0].end_lineno if ast.get_docstring(node) else node.lineno
                assert node.end_lineno - first <= 60, f"{path}: {node.name}"


BANNED = {
    r"\bimport pickle|\b(numpy|np)\.load\(": "pickle is never read",
    r"\btorch\.load\((?!path, weights_only=True)": "only the restricted unpickler",
    r"\byaml\.(load|unsafe_load|full_load)\(": "yaml.safe_load",
    r"(?<![.\w])(eval|exec)\((?!\s*$)": "no code from data",
    r"trust_remote_code": "no foreign code",
    r"\bos\.fork\(|\bshell=True": "not portable",
    r"\.read_text\(\)|\.write_text\([^)]*\"\)|open\([^)]*\"[rwa]\"\)": "name the encoding",
    r"\bTODO\b|\bFIXME\b|\bXXX\b": "finish it",
}


@pytest.mark.parametrize("pattern", BANNED, ids=BANNED.values())
def test_banned_calls(pattern):
    for path in FILES:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if re.search(pattern, line) and not line.lstrip().startswith(("def ", "#", '"""')):
                pytest.fail(f"{path}:{number}: {BANNED[pattern]}: {line.strip()}")


def test_banned_names():
    for path in FILES:
        assert path.stem not in ("utils", "common", "helpers", "misc"), path
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                assert not re.search(r"Manager|Factory|Registry|Callback|Helper", node.name), path


HEAVY = ("torch", "numpy", "matplotlib", "safetensors", "prompt_toolkit")


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["train", "--help"], ["train", "--print-config"],
     ["train", "--model.n-head", "x"], ["generate", "--help"], ["eval", "--nonsense"],
     ["finetune", "--help"], ["finetune"], ["finetune", "gpt2", "x", "--training.lora-rank", "x"],
     ["export", "--help"], ["import", "--help"], ["sweep", "--help"],
     ["sweep", "--search", "model.n-layers=1,2"], ["sweep", "x", "--search", "model.n-layer=x"],
     ["report", "--help"]],
    ids=" ".join,
)  # fmt: skip
def test_help_and_mistakes_import_nothing_heavy(arguments):
    code = (
        "import sys; from minigpt2.__main__ import run; run(sys.argv[1:]);"
        f"print([m for m in {HEAVY} if m in sys.modules], file=sys.stderr)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    assert result.stderr.splitlines()[-1] == "[]"


def test_help_is_quick():
    """Under 0.3 s in the best of ten: whatever else the machine does can only make it slower."""
    line = [sys.executable, "-m", "minigpt2", "--help"]
    for _ in range(10):
        start = time.perf_counter()
        subprocess.run(line, capture_output=True, check=True)
        if time.perf_counter() - start < 0.3:
            return
    pytest.fail("--help never took less than 0.3 s")


def test_every_export_exists():
    import minigpt2

    for name in minigpt2.__all__:
        assert getattr(minigpt2, name) is not None
    assert set(minigpt2.__all__) == set(minigpt2._HOME)
    with pytest.raises(AttributeError, match="nothing"):
        _ = minigpt2.nothing


def test_nothing_names_a_place_of_one_machine():
    for path in [*FILES, *ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"/(home|Users|root)/\w|C:\\Users", text), path


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda p: p.stem)
def test_examples_are_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 30
