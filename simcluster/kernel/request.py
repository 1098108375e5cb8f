"""The state of a request in a replica: tokens, KV blocks, and its time by component."""

from __future__ import annotations

from simcluster.numerics.ticks import TICKS_PER_S
from simcluster.policies.views import RequestView
from simcluster.trace.columns import COMPONENT, COMPONENTS

_QUEUE, _STALL = COMPONENT["queue"], COMPONENT["stall"]
_INTERCONNECT = COMPONENT["interconnect"]


class Request:
    """
    The state of a request; policies do not see `output_tokens`, its true output length.

    Its time is split into components as it passes: all time until `accounted` is charged, and `time_before_step`
    holds what was charged between its latest token and the step that makes the next one (None for nothing).
    """

    __slots__ = (
        "accounted", "arrived", "blocks", "chunks_under_way", "computed", "first_token", "generated", "in_flight",
        "last_token", "number", "output_tokens", "preemptions", "prompt_tokens", "queued", "replica", "restarts",
        "returning", "scheduled", "seen_from", "time_before_step",
    )  # fmt: skip

    def __init__(self, number: int, arrived: int, prompt_tokens: int, output_tokens: int) -> None:
        self.number = number
        self.arrived = arrived
        self.prompt_tokens = prompt_tokens
        self.output_tokens = output_tokens
        self.generated = 0
        self.computed = 0
        """Tokens in the KV cache, including those of steps under way."""
        self.blocks = 0
        self.in_flight = False
        """Whether a step under way makes its next token, so that it cannot be scheduled."""
        self.chunks_under_way = 0
        """Chunks of its prompt in the pipeline that make no token."""
        self.queued = True
        """Whether it waits for admission, so that time until its next step is charged as queueing."""
        self.seen_from = 0
        """Number of the first step that can admit it while others run."""
        self.returning = 0
        """Ticks that its latest token takes back to the first stage."""
        self.accounted = arrived
        self.time_before_step: list[int] | None = None
        self.preemptions = 0
        self.restarts = 0
        """Number of replica failures that it went through."""
        self.replica = -1
        self.scheduled = -1
        self.first_token = -1
        self.last_token = -1

    def view(self) -> RequestView:
        """View of the request for a scheduler."""
        prompt_tokens, generated, computed = self.prompt_tokens, self.generated, self.computed
        pending = prompt_tokens + generated - computed
        arrived_s = self.arrived / TICKS_PER_S
        return RequestView(self.number, pending, computed, self.blocks, prompt_tokens, generated, arrived_s)

    @property
    def only_decodes(self) -> bool:
        """Whether its latest token is the only one that is not in the KV cache."""
        return self.generated > 0 and self.computed + 1 == self.prompt_tokens + self.generated

    def account_wait(self, until: int, waited_as: int) -> None:
        """Charge the time until its step starts: the return of its latest token, then waiting."""
        if self.scheduled < 0:
            self.scheduled = until
        if until != self.accounted:
            self.add_time(_INTERCONNECT, self.returning)
            self.add_time(_QUEUE if self.queued else waited_as, until - self.accounted - self.returning)
        self.returning = 0
        self.queued = False
        self.accounted = until

    def lose(self, tick: int) -> None:
        """Drop all state but the tokens, since the replica failed; time since `accounted` is charged as stall."""
        self.computed = self.blocks = self.returning = 0
        self.in_flight = False
        self.queued = True
        if tick != self.accounted:
            self.add_time(_STALL, tick - self.accounted)
        self.accounted = tick

    def gather(self, components: list[int], tick: int) -> None:
        """Charge a chunk of its prompt, which ended at this tick, with these components."""
        for component, ticks in enumerate(components):
            self.add_time(component, ticks)
        self.accounted = tick

    def add_time(self, component: int, ticks: int) -> None:
        """Charge ticks to a component, before the step that makes its next token."""
        if self.time_before_step is None:
            self.time_before_step = [0] * len(COMPONENTS)
        self.time_before_step[component] += ticks

    def emit(self, tick: int) -> None:
        """Emit its next token at this tick."""
        self.generated += 1
        self.time_before_step = None
        self.accounted = self.last_token = tick
        if self.first_token < 0:
            self.first_token = tick
