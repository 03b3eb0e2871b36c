"""How far a sweep is, read off its folder alone: by whoever asks, while it runs or after."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from sweeps.rundir import RunDir


class Standing(NamedTuple):
    """`state` is running, finished or not running; `pid` is that of the driver, None if none runs; `done` of `trials`
    have a result, and `outcomes` counts those that failed too; `misnamed` says why it cannot go on in this folder."""

    name: str
    state: str
    pid: int | None
    done: int
    trials: int
    outcomes: Counter[str]
    misnamed: str = ""

    @property
    def met(self) -> bool:
        """Whether its `search.until` has ended it: then more trials alone do not let it go on."""
        return self.state == "finished" and self.done < self.trials

    @classmethod
    def of(cls, run: RunDir) -> Standing:
        """How far the sweep of a folder is.

        Raises:
            ValueError: what is in it is damaged.
        """
        spec, driver = run.spec(), run.driver()
        outcomes = Counter(run.ledger.outcomes().values())
        done = outcomes.total() - outcomes["failed"]
        # it may have met its goal before
        ended = done >= spec.search.trials or run.state().get("status") == "FINISHED"
        state = "running" if driver else "finished" if ended else "not running"
        return cls(run.path.name, state, driver, done, spec.search.trials, outcomes, run.misnamed())

    def text(self, flag: str) -> str:
        """A line, and one more for a sweep that has not ended; `flag` is the --runs-dir option of that command."""
        counts = ", ".join(f"{n} {outcome}" for outcome, n in self.outcomes.most_common() if n)
        where = f" in process {self.pid}" if self.pid else ""
        line = f"{self.name}: {self.state}{where}, {self.done}/{self.trials} trials: {counts or 'nothing finished yet'}"
        if self.state != "not running":
            return f"{line}; its search.until has ended it" if self.met else line
        return f"{line}\n{self.misnamed or f'go on with: sweep resume {self.name}{flag}'}"


class Unknown(NamedTuple):
    """The standing of a sweep whose folder cannot be read."""

    name: str
    error: str

    def text(self, flag: str) -> str:
        del flag
        return f"{self.name}: {self.error}"


def look(run: RunDir) -> Standing | Unknown:
    """One of many sweeps, of which a damaged one should not hide the others."""
    try:
        return Standing.of(run)
    except ValueError as error:
        return Unknown(run.path.name, str(error))
