"""`minigpt2 sweep`: which values of which keys train best, as a table, a picture and a file."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from minigpt2.cli.options import StopRequest, dotted, with_config_flags
from minigpt2.cli.train import Sources, fitting_preset
from minigpt2.config import flatten
from minigpt2.errors import InputMissingError, UsageError
from minigpt2.settings import resolve
from minigpt2.sweeps.space import parse_space

_MOST = 100_000  # trials, or seeds a trial: nobody waits for more


def _sweep(
    input: str | None = None,
    *,
    search: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
    sampler: Literal["auto", "tpe", "random", "grid"] | None = None,
    trials: int | None = None,
    seeds: int | None = None,
    prune: bool | None = None,
    preset: str | None = None,
    config: Path | None = None,
    out: Path | None = None,
    **flags: str | None,
) -> int:
    """Train with many values of some keys and say which are best.

    A stopped or killed sweep goes on with: minigpt2 sweep --out DIR. Every option of `train` is
    one here, for all trials alike.

    Parameters
    ----------
    input
        Text file, folder, prepared data directory, data set name or URL.
    search
        KEY=a,b,c or KEY=log(low,high) or KEY=uniform(low,high), each in quotes:
        --search "training.learning-rate=log(1e-4,1e-2)" "model.n-layer=2,4"
    sampler
        grid tries every combination of lists (default where there are no ranges), tpe learns from
        the trials before (default otherwise), random does not.
    trials
        How many; default: 20, or all of a grid.
    seeds
        Runs a trial, with seeds from --training.seed up; default 1.
    prune
        Stop trials that are behind (successive halving): cheaper, less exact.
    preset
        Values to start from, as for `train`.
    config
        YAML file, as for `train`.
    out
        The sweep's directory; default: a new one under sweeps/.
    """
    for name, value in (("trials", trials), ("seeds", seeds)):
        if value is not None and not 1 <= value <= _MOST:
            raise UsageError(f"--{name} must be from 1 to {_MOST:,}, not {value}")
    space = tuple(search) if search else None
    told = {"space": space, "sampler": sampler, "trials": trials, "prune": prune}
    sources = Sources(preset, config, dotted(flags, input, None, None), "never")
    return _run(sources, {k: v for k, v in told.items() if v is not None}, seeds, out)


sweep = with_config_flags(_sweep)


def _run(sources: Sources, told: dict[str, Any], seeds: int | None, out: Path | None) -> int:
    """Import torch at last, search, and show it."""
    if out is not None and (out / "sweep.json").is_file():
        from minigpt2.sweeps import search as sweeps

        stored, search = sweeps.stored_search(out)
        # Options given anew count; the sweep holds them against what it was begun with.
        base = flatten(stored)
        config = resolve(sources.preset, sources.config, None, sources.flags, base).config
    elif out is not None and not told:
        raise InputMissingError(f"no sweep in {out}; a new one needs a text and --search")
    else:
        # Mistakes are told before torch is imported.
        parse_space(told.get("space", ()), told.get("sampler") == "grid")
        settings = sources.opened()
        from minigpt2.sweeps import search as sweeps

        config = sources.resolve(fitting_preset(settings.config.training.device)).config
        search, seeds = sweeps.Search(()), seeds or 1
    from minigpt2.terminal.sweeping import SweepView
    from minigpt2.training import new_run_dir

    if seeds is not None:
        first = config.training.seed
        told["seeds"] = tuple(range(first, first + seeds))
    search = replace(search, **told)
    out = out or new_run_dir(Path(config.data.input_file).stem or "sweep", Path("sweeps"))
    view = SweepView()
    with StopRequest() as request, view:
        event = None
        for event in sweeps.sweep(config, search, out, request.asked, view.say):
            view.show(event)
    if request.signal is not None:
        return 128 + request.signal
    return 0 if isinstance(event, sweeps.SweepEnded) and event.best else 1
