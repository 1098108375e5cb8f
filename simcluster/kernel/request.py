"""A request on its way through a replica."""

from __future__ import annotations

from simcluster.policies.schedulers import Seen
from simcluster.trace.columns import COMPONENT, COMPONENTS

_QUEUE, _STALL = COMPONENT["queue"], COMPONENT["stall"]
_INTERCONNECT = COMPONENT["interconnect"]


class Request:
    """
    What the kernel keeps of a request; its true output length is known to the kernel only.

    Its time is split into components as it passes: `accounted` is until when, `head_start` what was gathered since
    its last token before the step that makes the next one, None if nothing.
    """

    __slots__ = (
        "accounted", "arrived", "blocks", "chunks_under_way", "computed", "first_token", "generated",
        "head_start", "in_flight", "last_token", "number", "output_tokens", "preemptions", "prompt_tokens",
        "queued", "replica", "restarts", "returning", "scheduled", "seen_from",
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
        self.head_start: list[int] | None = None
        self.preemptions = 0
        self.restarts = 0
        """How often its replica failed while it was there."""
        self.replica = -1
        self.scheduled = -1
        self.first_token = -1
        self.last_token = -1

    def seen(self) -> Seen:
        """The request as a scheduler may see it."""
        pending = self.prompt_tokens + self.generated - self.computed
        return Seen(self.number, pending, self.computed, self.blocks)

    @property
    def only_decodes(self) -> bool:
        """Its KV cache lacks its last token only."""
        return self.generated > 0 and self.computed + 1 == self.prompt_tokens + self.generated

    def account_wait(self, until: int, waited_as: int) -> None:
        """Split the time until its step starts: the way back of its last token, then waiting."""
        if self.scheduled < 0:
            self.scheduled = until
        if until != self.accounted:
            self.add_head_start(_INTERCONNECT, self.returning)
            self.add_head_start(_QUEUE if self.queued else waited_as, until - self.accounted - self.returning)
        self.returning = 0
        self.queued = False
        self.accounted = until

    def lose(self, tick: int) -> None:
        """The replica that computes it fails: all but its tokens is lost, and so is the time since its step began."""
        self.computed = self.blocks = self.returning = 0
        self.in_flight = False
        self.queued = True
        if tick != self.accounted:
            self.add_head_start(_STALL, tick - self.accounted)
        self.accounted = tick

    def gather(self, components: list[int], tick: int) -> None:
        """A chunk of its prompt took these components, until this tick."""
        for component, ticks in enumerate(components):
            self.add_head_start(component, ticks)
        self.accounted = tick

    def add_head_start(self, component: int, ticks: int) -> None:
        """Time before the step that makes its next token."""
        if self.head_start is None:
            self.head_start = [0] * len(COMPONENTS)
        self.head_start[component] += ticks

    def emit(self, tick: int) -> None:
        """It gets a token now."""
        self.generated += 1
        self.head_start = None
        self.accounted = self.last_token = tick
        if self.first_token < 0:
            self.first_token = tick
