"""Make `.venv` with everything the project needs; standard library only, any system.

A torch that is installed already, in `.venv` or in the Python that runs this, and that satisfies
the range of pyproject.toml is used as it is. Otherwise pip takes the version in constraints.txt.
"""

import json
import re
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
_ASK = (
    "import importlib.metadata as m, json\n"
    "try: print(json.dumps(m.version('torch')))\n"
    "except m.PackageNotFoundError: print('null')"
)


def main() -> None:
    if sys.version_info < (3, 11):  # noqa: UP036 - an older Python gets a line, not a traceback
        sys.exit(f"minigpt2 needs Python 3.11 or newer; this is {sys.version.split()[0]}")
    if not python_path().exists():
        shared = satisfies(torch_version(Path(sys.executable)))
        print(f"making .venv{' over the installed torch' if shared else ''}", flush=True)
        venv.create(VENV, with_pip=True, system_site_packages=shared)
    constraints = ROOT / "constraints.txt"
    if satisfies(version := torch_version(python_path())):
        print(f"using the installed torch {version}", flush=True)
        lines = constraints.read_text(encoding="utf-8").splitlines(keepends=True)
        constraints = VENV / "constraints.txt"
        kept = [line for line in lines if not line.startswith("torch==")]
        constraints.write_text("".join(kept), encoding="utf-8", newline="\n")
    print("installing; the first time takes a few minutes", flush=True)
    pip = [str(python_path()), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    command = [*pip, "-c", str(constraints), "-e", f"{ROOT}[all,dev]"]
    sys.exit(subprocess.run(command, check=False).returncode)


def python_path() -> Path:
    folder = "Scripts/python.exe" if sys.platform == "win32" else "bin/python"
    return VENV / folder


def torch_version(python: Path) -> str | None:
    answer = subprocess.run([python, "-c", _ASK], capture_output=True, text=True, check=False)
    return json.loads(answer.stdout or "null")


def satisfies(version: str | None) -> bool:
    """Say whether a torch version satisfies the `torch>=X.Y` of pyproject.toml."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    wanted = re.search(r'"torch>=(\d+)\.(\d+)"', text)
    found = re.match(r"(\d+)\.(\d+)", version or "")
    if wanted is None or found is None:
        return False
    return [int(x) for x in found.groups()] >= [int(x) for x in wanted.groups()]


if __name__ == "__main__":
    main()
