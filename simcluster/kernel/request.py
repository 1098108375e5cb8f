"""A request on its way through a replica: what it has, where it is, and where its time went."""

from __future__ import annotations

from simcluster.numerics.ticks import TICKS_PER_S
from simcluster.policies.views import RequestView
from simcluster.trace.columns import COMPONENT, COMPONENTS

_QUEUE, _STALL = COMPONENT["queue"], COMPONENT["stall"]
_INTERCONNECT = COMPONENT["interconnect"]


class Request:
    """
    The state of a request; its true output length is known to the kernel only.

    Its time is split into components as it passes: `accounted` is until when, `time_before_step` what was gathered
    since its last token before the step that makes the next one, None if nothing.
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
        """Tokens in the KV cache, those of steps under way included."""
        self.blocks = 0
        self.in_flight = False
        """Its next token is being made by a step under way, so that it cannot be scheduled."""
        self.chunks_under_way = 0
        """Chunks of its prompt that are in the pipeline and make no token."""
        self.queued = True
        """It waits for admission, so that time until its next step is queueing."""
        self.seen_from = 0
        """The number of the first step that can admit it while others run."""
        self.returning = 0
        """Ticks that its last token takes back to the first stage."""
        self.accounted = arrived
        self.time_before_step: list[int] | None = None
        self.preemptions = 0
        self.restarts = 0
        """Failures of its replica while it was there."""
        self.replica = -1
        self.scheduled = -1
        self.first_token = -1
        self.last_token = -1

    def view(self) -> RequestView:
        """The request as a scheduler sees it."""
        prompt_tokens, generated, computed = self.prompt_tokens, self.generated, self.computed
        pending = prompt_tokens + generated - computed
        arrived_s = self.arrived / TICKS_PER_S
        return RequestView(self.number, pending, computed, self.blocks, prompt_tokens, generated, arrived_s)

    @property
    def only_decodes(self) -> bool:
        """Whether its KV cache lacks its last token only."""
        return self.generated > 0 and self.computed + 1 == self.prompt_tokens + self.generated

    def account_wait(self, until: int, waited_as: int) -> None:
        """Split the time until its step starts: the way back of its last token, then waiting."""
        if self.scheduled < 0:
            self.scheduled = until
        if until != self.accounted:
            self.add_time(_INTERCONNECT, self.returning)
            self.add_time(_QUEUE if self.queued else waited_as, until - self.accounted - self.returning)
        self.returning = 0
        self.queued = False
        self.accounted = until

    def lose(self, tick: int) -> None:
        """Lose all but its tokens, as its replica fails; the time since its step began is stall."""
        self.computed = self.blocks = self.returning = 0
        self.in_flight = False
        self.queued = True
        if tick != self.accounted:
            self.add_time(_STALL, tick - self.accounted)
        self.accounted = tick

    def gather(self, components: list[int], tick: int) -> None:
        """Account for a chunk of its prompt that took these components, until this tick."""
        for component, ticks in enumerate(components):
            self.add_time(component, ticks)
        self.accounted = tick

    def add_time(self, component: int, ticks: int) -> None:
        """Add to the time before the step that makes its next token."""
        if self.time_before_step is None:
            self.time_before_step = [0] * len(COMPONENTS)
        self.time_before_step[component] += ticks

    def emit(self, tick: int) -> None:
        """Give it a token now."""
        self.generated += 1
        self.time_before_step = None
        self.accounted = self.last_token = tick
        if self.first_token < 0:
            self.first_token = tick
