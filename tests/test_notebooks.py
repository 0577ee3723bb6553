"""The notebooks run, and what is committed of them is what their source says.

`python tests/test_notebooks.py [notebooks/NAME.py ...]` renders them anew.
"""

import os
import re
import sys
import tempfile
from pathlib import Path

import jupytext
import nbformat
import pytest
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "notebooks").glob("*.py"))
MOST_BYTES = 400_000  # a rendered notebook is text and small pictures


def executed(path, folder):
    """Convert a notebook and run it in `folder`; raises CellExecutionError where a cell fails.

    Beside the folder lies what lies beside notebooks/.
    """
    (folder.parent / "results").symlink_to(ROOT / "results", target_is_directory=True)
    notebook = jupytext.read(path)
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"  # jupytext draws them at random
        cell.metadata.pop("lines_to_next_cell", None)
    with tempfile.TemporaryDirectory() as sockets:
        manager = AsyncKernelManager(kernel_name="python3")
        if os.name != "nt":  # no ports, and paths as short as sockets need them
            manager.transport, manager.ip = "ipc", str(Path(sockets) / "k")
            manager.connection_file = str(Path(sockets) / "kernel.json")
        client = NotebookClient(
            notebook,
            km=manager,
            timeout=300,
            record_timing=False,
            resources={"metadata": {"path": str(folder)}},
        )
        client.execute(cleanup_kc=True)  # the manager is ours, the kernel is to end all the same
    del notebook.metadata["language_info"]  # says which Python ran it
    return notebook


def cells(notebook):
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def outputs(notebook):
    return [out for cell in notebook.cells for out in cell.get("outputs", [])]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_the_rendered_notebook_is_its_source_executed(path):
    rendered_path = path.with_suffix(".ipynb")
    rendered = nbformat.read(rendered_path, as_version=4)
    assert cells(rendered) == cells(jupytext.read(path))
    code = [cell for cell in rendered.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert rendered_path.stat().st_size < MOST_BYTES


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_the_rendered_notebook_names_no_machine_and_no_trouble(path):
    rendered = nbformat.read(path.with_suffix(".ipynb"), as_version=4)
    for output in outputs(rendered):
        assert output.output_type != "error" and output.get("name") != "stderr", output
    assert any("image/png" in output.get("data", {}) for output in outputs(rendered))
    for cell in rendered.cells:
        assert not cell.metadata, cell
    for output in outputs(rendered):
        output.get("data", {}).pop("image/png", None)  # its letters may spell anything
    text = nbformat.writes(rendered)
    assert not re.search(r"/(home|Users|root|tmp|var)/\w|[A-Z]:\\\\Users|site-packages", text)
    assert str(ROOT) not in text


@pytest.mark.slow
@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_every_notebook_runs(path, tmp_path):
    desk = tmp_path / "notebooks"
    desk.mkdir()
    fresh = executed(path, desk)
    assert cells(fresh) == cells(nbformat.read(path.with_suffix(".ipynb"), as_version=4))
    assert not [output for output in outputs(fresh) if output.get("name") == "stderr"]
    assert list(desk.iterdir()) == []  # what a notebook writes, it writes elsewhere


if __name__ == "__main__":
    for source in map(Path, sys.argv[1:] or SOURCES):
        with tempfile.TemporaryDirectory() as scratch:
            desk = Path(scratch) / "notebooks"
            desk.mkdir()
            nbformat.write(executed(source, desk), source.with_suffix(".ipynb"))
