"""What went on while a request was served, in words: other requests, prompts, pauses of its host, events."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from simcluster.files.problems import InputError
from simcluster.results.read_run import RunFolder
from simcluster.variance.event_intervals import EventInterval, event_intervals

MAX_EVENTS = 2
"""Events that a cause names; others are counted."""

_OTHER_WORDS = {
    "queue": "not scheduled in steps between its tokens",
    "compute": "arithmetic of larger batches",
    "weight_fetch": "weights read more slowly, or more experts of them",
    "kv_fetch": "cached keys and values of its batches",
    "interconnect": "exchanges of larger batches, or slower links",
    "wait_for_peers": "ranks that were late",
    "pipeline_wait": "stages busy with other steps",
    "launch_host": "host time of its steps",
    "stall": "stalls of its group of ranks",
}


class Circumstances:
    """
    Explains single requests of a run.

    Events, and pauses of hosts, are named only where the run's scenario can be read.
    """

    def __init__(self, run: RunFolder) -> None:
        columns = run.requests
        self._arrived, self._scheduled, self._first, self._last, self._prompts, self._replica = (
            np.asarray(columns[f"{name}"], np.int64)
            for name in (
                "arrived_at_ticks", "scheduled_at_ticks", "first_token_at_ticks", "last_token_at_ticks",
                "prompt_tokens", "replica",
            )
        )  # fmt: skip
        self._preemptions, self._restarts = columns["preemptions"], columns["restarts"]
        self._accepted = np.array([status != "failed" for status in columns["status"]], dtype=bool)
        self._intervals: list[EventInterval] = []
        self._devices: list[frozenset[str]] = []
        self._pauses: list[tuple[list[int], list[int]]] = []
        """Begins and ends by replica."""
        try:
            scenario = run.scenario()
        except InputError:  # the notes of the explanation give the reason
            return
        planner = run.planner()
        self._intervals = event_intervals(planner, run.end_ticks)
        self._devices = [
            frozenset(name for stage in replica.stages for name in stage.devices) for replica in scenario.replicas
        ]
        for renewals in planner.pauses():
            if renewals is not None:
                renewals.reach(run.end_ticks)
            self._pauses.append(([], []) if renewals is None else (renewals.begins, renewals.ends))

    def of_first_token(self, request: int, component: str) -> str:
        """Why a component of the first token of a request is long."""
        begin, end = int(self._arrived[request]), int(self._first[request])
        special: dict[str, Callable[[], str]] = {
            "queue": lambda: self._requests_before(request),
            "prefill_interference": lambda: self._prompts_of_others(request, end),
            "stall": lambda: self._stalls(request, begin, end),
            "pipeline_wait": lambda: _OTHER_WORDS[component],
        }
        words = special[component]() if component in special else self._prompt(request, component)
        return self._joined(request, [words], begin, end)

    def of_gaps(self, request: int, component: str) -> str:
        """Why a component of the gaps of a request is long."""
        begin, end = int(self._first[request]), int(self._last[request])
        special: dict[str, Callable[[], str]] = {
            "prefill_interference": lambda: self._prompts_of_others(request, end),
            "stall": lambda: self._stalls(request, begin, end),
        }
        words = special[component]() if component in special else _OTHER_WORDS[component]
        return self._joined(request, [words], begin, end)

    def of_length(self, request: int, n_tokens: int, mean: float) -> str:
        """The number of tokens of a request and the mean number."""
        words = [f"{n_tokens:,} output tokens, {mean:,.0f} on average"]
        return self._joined(request, words, int(self._arrived[request]), int(self._last[request]))

    def _prompt(self, request: int, component: str) -> str:
        """Why the step of its prompt is long: by its own prompt, or by others prefilled in the same step."""
        own, mean = int(self._prompts[request]), float(self._prompts[self._accepted].mean())
        together = self._others(request) & (self._first == self._first[request])
        if together.any():
            number, tokens = together.sum() + 1, self._prompts[together].sum() + own
            return f"{number:,} prompts in one step, {tokens:,} tokens, of which its own has {own:,}"
        if own > mean:
            return f"its own prompt of {own:,} tokens, {mean:,.0f} on average"
        return _OTHER_WORDS[component]

    def _requests_before(self, request: int) -> str:
        """How many requests were waiting or running when it arrived, and their prompts that were prefilled first."""
        now, first = self._arrived[request], self._first[request]
        present = self._others(request) & (self._arrived <= now) & ((self._last > now) | (self._last < 0))
        ahead = present & (self._first > now) & (self._first <= first)
        words = f"{_count(present.sum(), 'other request')} on arrival"
        if not ahead.any():
            return words
        n_tokens = self._prompts[ahead].sum()
        return f"{words}; prompts of {ahead.sum():,} of them, {n_tokens:,} tokens, before its own"

    def _prompts_of_others(self, request: int, end: int) -> str:
        """Prompts that were prefilled while it was served."""
        begin = self._scheduled[request]
        others = self._others(request) & (self._first > begin) & (self._scheduled >= 0) & (self._scheduled < end)
        return f"{_count(others.sum(), 'other prompt')} meanwhile, {self._prompts[others].sum():,} tokens"

    def _stalls(self, request: int, begin: int, end: int) -> str:
        replica = int(self._replica[request])
        n_pauses = 0
        if replica < len(self._pauses):
            begins, ends = self._pauses[replica]
            n_pauses = bisect_right(begins, end) - bisect_right(ends, begin)
        if not n_pauses:
            return _OTHER_WORDS["stall"]
        return "a pause of its host" if n_pauses == 1 else f"{n_pauses:,} pauses of its host"

    def _others(self, request: int) -> npt.NDArray[np.bool_]:
        """The other requests of its replica that were accepted."""
        others = self._accepted & (self._replica == self._replica[request])
        others[request] = False
        return np.asarray(others, dtype=bool)

    def _joined(self, request: int, words: list[str], begin: int, end: int) -> str:
        """The words with the interruptions of the request, and the events of its replica or of links in that time."""
        words = [*words, *_often("preempted", int(self._preemptions[request]))]
        words += _often("restarted after a failure", int(self._restarts[request]))
        replica = int(self._replica[request])
        devices = self._devices[replica] if 0 <= replica < len(self._devices) else frozenset()
        labels = dict.fromkeys(
            one.label
            for one in self._intervals
            if one.begin < end and one.end > begin and (one.link or not devices.isdisjoint(one.devices))
        )
        if labels:
            more = f" and {len(labels) - MAX_EVENTS:,} more" if len(labels) > MAX_EVENTS else ""
            words.append(f"during {', '.join([*labels][:MAX_EVENTS])}{more}")
        return "; ".join(words)


def _often(what: str, times: int) -> list[str]:
    return [what if times == 1 else f"{what} {times:,} times"] if times > 0 else []


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
