"""A sweep as it runs: a bar for the run that trains, a line a trial, the table at the end."""

from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from minigpt2.sweeps.outcome import Record, equals_of_the_best, results_table, shown
from minigpt2.sweeps.search import SweepEnded, SweepEvent, TrialBegun, TrialEnded
from minigpt2.sweeps.space import Dimension
from minigpt2.terminal.layouts import LiveView, command, filled
from minigpt2.training import Step

_ROWS_SHOWN = 20


class SweepView(LiveView):
    """Shows the events of a sweep: the process on standard error, its result on standard output."""

    def __init__(self) -> None:
        name, count = map(TextColumn, ("{task.description}", "{task.completed}/{task.total}"))
        super().__init__(name, BarColumn(), count, TimeRemainingColumn())
        self._task = self.add_task("", total=None)

    def show(self, event: SweepEvent) -> None:
        """Show one event; of the runs only how far they are."""
        if isinstance(event, TrialBegun):
            name = f"trial {event.number}/{event.trials}, seed {event.seed}"
            self.reset(self._task, description=name, total=None)
        elif isinstance(event, Step):
            self.update(self._task, completed=event.step, total=event.total_steps)
        elif isinstance(event, TrialEnded):
            self._show_trial(event.record, event.trials)
        elif isinstance(event, SweepEnded):
            self._show_end(event)

    def _show_trial(self, record: Record, trials: int) -> None:
        values = ", ".join(f"{k.split('.')[1]} {shown(v)}" for k, v in record["values"].items())
        result = record["state"] if record["loss"] is None else f"loss {record['loss']:.4f}"
        reason = f" ({record['reason']})" if "reason" in record else ""
        place = f"trial {record['trial']}/{trials}"
        self.say(f"{place}: {values}: {result}{reason}, {record['seconds']:.0f} s")

    def _show_end(self, event: SweepEnded) -> None:
        self.stop()
        if event.records:
            self._show_table(event)
        if event.interrupted:
            again = f"{command()} sweep --out {event.out_dir}"
            self.say(f"stopped after {len(event.records)} trials; go on with: {again}")
        else:
            equals, reach = equals_of_the_best(event.records) or (None, None)
            told = filled("swept", **vars(event), equals=equals, reach=reach, command=command())
            self.tell(told)

    def _show_table(self, event: SweepEnded) -> None:
        space = [Dimension(key) for key in event.records[0]["values"]]
        head, *rows = results_table(space, event.records)
        table = Table(*head, box=None)
        for row in rows[:_ROWS_SHOWN]:
            table.add_row(*row)
        self._out.print(table)
        if more := rows[_ROWS_SHOWN:]:
            self.tell(f"... {len(more)} more in {event.out_dir}/results.md")
