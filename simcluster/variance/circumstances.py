"""Who and what was there while a request was served: others, their prompts, its own, pauses, events; in words."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from simcluster.files.problems import InputError
from simcluster.results.read_run import RunFolder
from simcluster.variance.spells import Spell, all_spells

MOST_EVENTS = 2
"""That a cause names."""

_OTHER_WORDS = {
    "queue": "left out of steps between its tokens",
    "compute": "arithmetic of the larger batches that it was in",
    "weight_fetch": "weights read more slowly, or more experts of them",
    "kv_fetch": "the cached keys and values of its batches",
    "interconnect": "exchanges of the larger batches that it was in, or slower links",
    "wait_for_peers": "ranks that came late",
    "pipeline_wait": "stages busy with other steps",
    "launch_host": "host time of the steps that it was in",
    "stall": "stalls of its group",
}


class Circumstances:
    """
    A run, asked about single requests of it.

    Events, and pauses of hosts, are told only where the run has its scenario.
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
        self._spells: list[Spell] = []
        self._devices: list[frozenset[str]] = []
        self._pauses: list[tuple[list[int], list[int]]] = []
        try:
            scenario = run.scenario()
        except InputError:  # the explanation says why
            return
        planner = run.planner()
        self._spells = all_spells(planner, run.end_ticks)
        self._devices = [
            frozenset(name for stage in replica.stages for name in stage.devices) for replica in scenario.replicas
        ]
        for renewals in planner.pauses():
            renewals.reach(run.end_ticks)
            self._pauses.append((renewals.begins, renewals.ends))

    def of_first_token(self, request: int, component: str) -> str:
        """Why a component of its first token is long."""
        begin, end = int(self._arrived[request]), int(self._first[request])
        special: dict[str, Callable[[], str]] = {
            "queue": lambda: self._crowd(request),
            "prefill_interference": lambda: self._prompts_of_others(request, end),
            "stall": lambda: self._stalls(request, begin, end),
            "pipeline_wait": lambda: _OTHER_WORDS[component],
        }
        words = special[component]() if component in special else self._prompt(request, component)
        return self._joined(request, [words], begin, end)

    def of_gaps(self, request: int, component: str) -> str:
        """Why a component of its gaps is long."""
        begin, end = int(self._first[request]), int(self._last[request])
        special: dict[str, Callable[[], str]] = {
            "prefill_interference": lambda: self._prompts_of_others(request, end),
            "stall": lambda: self._stalls(request, begin, end),
        }
        words = special[component]() if component in special else _OTHER_WORDS[component]
        return self._joined(request, [words], begin, end)

    def of_length(self, request: int, n_tokens: int, mean: float) -> str:
        """It is long because it has many tokens."""
        words = [f"{n_tokens:,} tokens to make, {mean:,.0f} on average"]
        return self._joined(request, words, int(self._arrived[request]), int(self._last[request]))

    def _prompt(self, request: int, component: str) -> str:
        """The step that takes its prompt is long: by this one, or by others whose first token came with its own."""
        own, mean = int(self._prompts[request]), float(self._prompts[self._accepted].mean())
        together = self._beside(request) & (self._first == self._first[request])
        if together.any():
            number, tokens = together.sum() + 1, self._prompts[together].sum() + own
            return f"{number:,} prompts at once, {tokens:,} tokens, of which its own has {own:,}"
        if own > mean:
            return f"its own prompt of {own:,} tokens, {mean:,.0f} on average"
        return _OTHER_WORDS[component]

    def _crowd(self, request: int) -> str:
        """Requests that were there as it came, and what of their prompts was taken in before its own."""
        now, first = self._arrived[request], self._first[request]
        there = self._beside(request) & (self._arrived <= now) & ((self._last > now) | (self._last < 0))
        ahead = there & (self._first > now) & (self._first <= first)
        words = f"{there.sum():,} others there as it came"
        if not ahead.any():
            return words
        return f"{words}; prompts of {ahead.sum():,} of them, {self._prompts[ahead].sum():,} tokens, before its own"

    def _prompts_of_others(self, request: int, end: int) -> str:
        """Prompts that were taken in while it was served."""
        begin = self._scheduled[request]
        others = self._beside(request) & (self._first > begin) & (self._scheduled >= 0) & (self._scheduled < end)
        number, tokens = others.sum(), self._prompts[others].sum()
        return f"prompts of {number:,} other{'' if number == 1 else 's'} meanwhile, {tokens:,} tokens"

    def _stalls(self, request: int, begin: int, end: int) -> str:
        replica = int(self._replica[request])
        n_pauses = 0
        if replica < len(self._pauses):
            begins, ends = self._pauses[replica]
            n_pauses = bisect_right(begins, end) - bisect_right(ends, begin)
        if not n_pauses:
            return _OTHER_WORDS["stall"]
        return "a pause of its host" if n_pauses == 1 else f"{n_pauses:,} pauses of its host"

    def _beside(self, request: int) -> npt.NDArray[np.bool_]:
        """The other requests of its replica that were accepted."""
        others = self._accepted & (self._replica == self._replica[request])
        others[request] = False
        return np.asarray(others, dtype=bool)

    def _joined(self, request: int, words: list[str], begin: int, end: int) -> str:
        """With how often it was interrupted, and the events that its replica or a link met meanwhile."""
        words = [*words, *_often("preempted", int(self._preemptions[request]))]
        words += _often("started again after a failure", int(self._restarts[request]))
        replica = int(self._replica[request])
        devices = self._devices[replica] if 0 <= replica < len(self._devices) else frozenset()
        met = [
            spell.what
            for spell in self._spells
            if spell.begin < end and spell.end > begin and (spell.link or not devices.isdisjoint(spell.devices))
        ]
        if met:
            names = list(dict.fromkeys(met))
            more = f" and {len(names) - MOST_EVENTS:,} more" if len(names) > MOST_EVENTS else ""
            words.append(f"during {', '.join(names[:MOST_EVENTS])}{more}")
        return "; ".join(words)


def _often(what: str, times: int) -> list[str]:
    return [what if times == 1 else f"{what} {times:,} times"] if times > 0 else []
