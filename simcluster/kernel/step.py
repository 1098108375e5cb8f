"""A step in the pipeline: the requests that it serves, and its time by component so far."""

from __future__ import annotations

from simcluster.kernel.request import Request
from simcluster.stages.timed import Service
from simcluster.trace.columns import COMPONENT, COMPONENTS
from simcluster.work.batch import Batch

_PREFILL = COMPONENT["prefill_interference"]
_PIPELINE = COMPONENT["pipeline_wait"]
_INTERCONNECT = COMPONENT["interconnect"]


class Prompts:
    """The prompts of a step that is being formed: their sums for the batch, and which of them it finishes."""

    __slots__ = ("chunked", "context", "finishing", "pairs", "tokens")

    def __init__(self) -> None:
        self.tokens = 0
        self.pairs = 0
        self.context = 0
        self.finishing: list[Request] = []
        """Requests whose prompt ends in this step."""
        self.chunked: list[Request] = []
        """Requests whose prompt continues in a later step."""

    def add(self, request: Request, n_tokens: int) -> None:
        """Count the latest `n_tokens` computed of a request, which belong to its prompt."""
        self.tokens += n_tokens
        self.pairs += n_tokens * (request.computed - n_tokens) + n_tokens * (n_tokens + 1) // 2
        self.context += request.computed
        (self.finishing if request.in_flight else self.chunked).append(request)
        request.chunks_under_way += not request.in_flight


class Step:
    """
    One pass of a batch through all stages.

    Time is kept twice, as component sums: as a request with a prompt in the step sees it (`for_prefill`), and as a
    decoding request sees it (`for_decode`), for which everything that prompts added is prefill interference.
    """

    __slots__ = (
        "batch", "chunked", "decoding", "entered", "finishing", "for_decode", "for_prefill", "has_prefill",
        "in_first_stage", "number",
    )  # fmt: skip

    def __init__(
        self,
        number: int,
        entered: int,
        batch: Batch,
        decoding: list[Request],
        finishing: list[Request],
        chunked: list[Request],
    ) -> None:
        self.number = number
        self.entered = entered
        """Tick at which it was formed and entered the first stage."""
        self.batch = batch
        self.has_prefill = batch.prefill_tokens > 0
        self.decoding = decoding
        """Requests that compute only their latest token and get the next one."""
        self.finishing = finishing
        """Requests whose prompt ends in this step and that get a token."""
        self.chunked = chunked
        """Requests whose prompt continues in a later step."""
        self.for_prefill = [0] * len(COMPONENTS)
        self.for_decode = [0] * len(COMPONENTS)
        self.in_first_stage: list[int] = []
        """Ticks by component until the first stage could take the next step, as a request with a prompt sees them."""

    def wait(self, ticks: int, *, behind_prefill: bool) -> None:
        """Charge a wait for a busy stage; `behind_prefill`: it was busy with a step that carried prompts."""
        self.for_prefill[_PIPELINE] += ticks
        self.for_decode[_PREFILL if behind_prefill else _PIPELINE] += ticks

    def serve(self, service: Service, n_stages: int = 1) -> None:
        """Charge the service of `n_stages` equal stages."""
        for index, ticks in enumerate(service.components):
            self.for_prefill[index] += n_stages * ticks
        for index, ticks in enumerate(service.decode_components):
            self.for_decode[index] += n_stages * ticks

    def travel(self, ticks: int) -> None:
        """Charge time on the wires between stages, or waiting for them."""
        self.for_prefill[_INTERCONNECT] += ticks
        self.for_decode[_INTERCONNECT] += ticks

    def add_exchange_delay(self, ticks: int) -> None:
        """Charge the extra time of its exchanges over that on idle links."""
        self.travel(ticks)

    def reset(self) -> None:
        """Set its time to zero, so that it can be charged anew."""
        self.for_prefill = [0] * len(COMPONENTS)
        self.for_decode = [0] * len(COMPONENTS)
