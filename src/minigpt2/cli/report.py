"""`minigpt2 report`: a page of one or several runs."""

from pathlib import Path

from minigpt2.cli.options import say


def report(*runs: Path, out: Path | None = None) -> int:
    """Make a page of runs, index.html, and PNGs of its figures beside it.

    The page is one file without scripts, and asks nothing of the network. Runs that differ in
    their seed alone are one curve with a band.

    Parameters
    ----------
    runs
        Run directories; default: the newest under runs/.
    out
        The folder they are written to; default: report/ in the run, or here for several runs.
    """
    from minigpt2.checkpoints import newest_run
    from minigpt2.reports import write_report

    chosen = list(runs) or [newest_run(Path("runs"))]
    out_dir = out or (chosen[0] / "report" if len(chosen) == 1 else Path("report"))
    print(write_report(chosen, out_dir, say))
    return 0
