"""
Service times of a pipeline stage in ticks, with the noise of a world, by component and op by op.

Ops of a kind are alike in every layer, so the time of a step by component is a sum over kinds. Noise multiplies the
work of every op by a factor in units of 2^-16; the factors of a kind are summed first, then multiplied once, in
integers, and each component is rounded once. Op by op, the running sums are rounded instead, so that the ops of a
step add up to the same ticks. The closed form of a stage whose ranks meet at every collective is
sum over ops of launch + max(compute, fetch) + wait for the last rank + exchange.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import numpy as np

from simcluster.numerics.ticks import Ticks
from simcluster.stages.step_noise import ONE, ONE_BITS, StepNoise
from simcluster.trace.columns import COMPONENT, COMPONENTS
from simcluster.work.batch import Batch

_COMPUTE, _LAUNCH = COMPONENT["compute"], COMPONENT["launch_host"]
_EXCHANGE, _WAIT = COMPONENT["interconnect"], COMPONENT["wait_for_peers"]
_INTERFERENCE = COMPONENT["prefill_interference"]
_HALF = ONE // 2
_UNIT = np.eye(len(COMPONENTS), dtype=np.int64)
_NEVER_NOISY = (_EXCHANGE, _WAIT)
"""Components without noise, except for short exchanges."""
_MAX_PRODUCT = 2**62
"""Upper bound of ticks × factors, which must fit an int64."""


class OpTicks(NamedTuple):
    """Durations of a stage's ops in order, int64 ticks, shape (ops,) each."""

    launch: Ticks
    compute: Ticks
    fetch: Ticks
    wait: Ticks
    exchange: Ticks

    def total(self) -> int:
        """The closed form: launch + max(compute, fetch) + wait + exchange, over all ops."""
        return int((self.launch + np.maximum(self.compute, self.fetch) + self.wait + self.exchange).sum())


class OpRow(NamedTuple):
    """Durations of one op in ticks: integers, or arrays of shape (steps,) for successive steps."""

    launch: Any
    compute: Any
    fetch: Any
    wait: Any
    exchange: Any


NO_WORK = OpRow(0, 0, 0, 0, 0)


class Detail(NamedTuple):
    """A service, op by op."""

    ops: OpTicks
    components: Ticks
    """Ticks of each op by component, as a request with a prompt in the step sees it, shape (ops, components)."""
    decode_components: Ticks
    """Ticks as a decoding request sees them, without prompts' part; a row need not sum to the op's duration."""

    def starts(self) -> Ticks:
        """Start of each op, relative to the first, shape (ops,)."""
        ticks = self.components.sum(axis=1)
        starts: Ticks = ticks.cumsum() - ticks
        return starts


class Service:
    """The service of one step in a stage: its duration, by component, and on demand op by op."""

    __slots__ = ("_detail", "components", "decode_components", "occupied_ticks", "ticks")

    def __init__(
        self,
        ticks: int,
        components: list[int],
        decode_components: list[int],
        detail: Callable[[], Detail],
        occupied_ticks: int | None = None,
    ) -> None:
        self.ticks = ticks
        self.components = components
        """Ticks by component as a request with a prompt in the step sees it; sums to `ticks`."""
        self.decode_components = decode_components
        """Ticks by component as a decoding request sees it: prompts add prefill interference; sums to `ticks`."""
        self._detail = detail
        self.occupied_ticks = occupied_ticks
        """Time until the stage can take the next step; None if it is busy until this step leaves."""

    def detail(self) -> Detail:
        """The service op by op; the durations add up to `ticks`."""
        return self._detail()

    def ops(self) -> OpTicks:
        """Durations op by op; their closed form is `ticks`."""
        return self._detail().ops


def spliced(before: Service, after: Service, first_op: int) -> Service:
    """Join two services of one step: ops before `first_op` as in `before`, the others as in `after`."""
    old, new = before.detail(), after.detail()
    parts = [np.concatenate([o[:first_op], n[first_op:]]) for o, n in zip(old.ops, new.ops, strict=True)]
    components = np.concatenate([old.components[:first_op], new.components[first_op:]])
    decode = np.concatenate([old.decode_components[:first_op], new.decode_components[first_op:]])
    detail = Detail(OpTicks(*parts), components, decode)
    whole = components.sum(axis=0).tolist()
    ticks = sum(whole)
    seen = whole if np.array_equal(components, decode) else as_decoding(decode.sum(axis=0).tolist(), ticks)
    return Service(ticks, whole, seen, lambda: detail, after.occupied_ticks)


def as_decoding(alone: list[int], ticks: int) -> list[int]:
    """
    Components of a mixed step as a decoding request sees them: time beyond decoding alone is prefill interference.

    Decoding alone may come out longer than the mixed step, by rounding, or because only its exchanges are short
    enough to be noisy; it is then cut to the duration of the step, compute first.

    Args:
        alone: components of the step with its decoding requests alone.
        ticks: duration of the mixed step.
    """
    seen = list(alone)
    seen[_INTERFERENCE] = 0
    more = ticks - sum(seen)
    if more < 0:
        for component in (_COMPUTE, *range(len(seen))):
            seen[component] -= min(seen[component], max(0, sum(seen) - ticks))
        more = ticks - sum(seen)
    seen[_INTERFERENCE] = more
    return seen


class Run(NamedTuple):
    """Successive decode steps of one batch in a stage."""

    ticks: Ticks
    """Duration of each step, shape (steps,)."""
    components: Ticks | list[int]
    """Ticks by component, shape (steps, components); or one list that holds for all steps."""
    growing: tuple[int, Ticks] | None = None
    """With one list: a component, and what each step adds to it, shape (steps,)."""


def _require_countable(most: int) -> None:
    """Require that ticks times factors fit an int64."""
    if most >= _MAX_PRODUCT:
        raise OverflowError("a step with noise that lasts minutes is more than ticks can count")


def _components_of_run(always: Ticks, charged: Sequence[tuple[int, Any]], n_steps: int) -> Ticks:
    """Add the charges of each step to the components that all steps share; shape (steps, components)."""
    components = np.empty((n_steps, len(always)), np.int64)
    components[:] = always
    for component, ticks in charged:
        components[:, component] += ticks
    return components


class StageModel(Protocol):
    """The service of steps at a stage; a pure function of step number, batch and time."""

    def service(self, step: int, batch: Batch, entered: int) -> Service:
        """Compute the service of a step that entered the pipeline at this tick."""


class RunModel(StageModel, Protocol):
    """A stage that also computes many decode steps at once."""

    def run(self, step: int, batch: Batch, n_steps: int, started: int) -> Run:
        """
        Compute successive decode steps of one batch, whose contexts grow by one token per request and step.

        Each step equals what `service` gives for it. Fewer than `n_steps` may be returned, at least one.
        """


class NominalStage(Protocol):
    """A stage without noise, as kinds of ops that are alike."""

    @property
    def kind_of_op(self) -> Sequence[int]:
        """Kind of every op of the stage, in order."""

    @property
    def fetch_components(self) -> Sequence[int]:
        """Component of a memory-bound op's fetch time, by kind."""

    def rows(self, tokens: Batch) -> Sequence[OpRow]:
        """Durations of each kind of op that depend on token counts only."""

    def context_rows(self, batch: Batch) -> Sequence[tuple[int, OpRow]]:
        """Durations that depend on contexts, to be added to `rows`: pairs of kind and durations."""

    def run_rows(self, batch: Batch, n_steps: int) -> Sequence[tuple[int, OpRow]]:
        """As `context_rows`, over successive decode steps of one batch; the shorter of compute and fetch may be 0."""


class _Fixed(NamedTuple):
    """The part of a step's duration that depends on token counts only."""

    components: list[int]
    """Ticks by component without noise."""
    row: Ticks
    """The same as an int64 array."""
    ticks: int
    """Their sum."""
    noisy: _Noisy | None
    """The same, split by how noise acts on it; None without noise."""


class _Noisy(NamedTuple):
    """The part of a step's duration that depends on token counts only, split by how noise acts on it."""

    factored: Ticks
    """Ticks that each noise factor multiplies, shape (factors, components); one op of each kind."""
    quiet: Ticks
    """Ticks of all ops that no factor multiplies, shape (components,)."""
    always: list[int]
    """The same as a list."""
    late: tuple[int, ...]
    """Component that each delay is added to, shape (delays,); -1 where the ranks do not meet."""
    most: int
    """Sum of `factored`."""
    routed: Ticks
    """Ticks that routing multiplies: compute or fetch of the experts of a layer, shape (components,)."""


class TimedStage:
    """
    A stage with its costs and its noise.

    Args:
        nominal: durations without noise.
        noise: noise of this stage's devices, or None.
    """

    def __init__(self, nominal: NominalStage, noise: StepNoise | None = None) -> None:
        self._nominal = nominal
        self._noise = noise
        self._fetch = list(nominal.fetch_components)
        self._counts = np.bincount(np.asarray(nominal.kind_of_op, np.intp), minlength=len(self._fetch)).tolist()
        self._fixed = lru_cache(maxsize=8192)(self._of_tokens)

    def service(self, step: int, batch: Batch, entered: int) -> Service:
        """Compute the service of a step; it does not depend on `entered`."""
        components = self._components(step, batch)
        ticks = sum(components)
        decode_components = components
        if batch.prefill_tokens and batch.decode_tokens:
            decode_components = as_decoding(self._components(step, batch.decode_only()), ticks)
        return Service(ticks, components, decode_components, lambda: self._detail(step, batch))

    def run(self, step: int, batch: Batch, n_steps: int, started: int) -> Run:
        """Compute successive decode steps of one batch; they do not depend on `started`."""
        if self._noise is not None:
            components = self.components(step, batch, n_steps)
            return Run(components.sum(axis=1), components)
        fixed, charged = self._fixed_of(batch), self._charged_in_run(batch, n_steps)
        if len(charged) == 1 and type(charged[0][1]) is not int:
            return Run(charged[0][1] + fixed.ticks, fixed.components, charged[0])
        components = _components_of_run(fixed.row, charged, n_steps)
        return Run(components.sum(axis=1), components)

    def components(self, step: int, batch: Batch, n_steps: int) -> Ticks:
        """Components of successive decode steps of one batch, shape (steps, components); a fresh array."""
        fixed = self._fixed_of(batch)
        if fixed.noisy is not None:
            return self._noisy_run(fixed.noisy, batch, step, n_steps)
        return _components_of_run(fixed.row, self._charged_in_run(batch, n_steps), n_steps)

    def _fixed_of(self, batch: Batch) -> _Fixed:
        return self._fixed(batch.decode_tokens, batch.prefill_tokens, batch.outputs, batch.sequences)

    def _charged_in_run(self, batch: Batch, n_steps: int) -> list[tuple[int, Any]]:
        """List (component, ticks) that depend on contexts in successive decode steps, without noise."""
        rows = self._nominal.run_rows(batch, n_steps)
        return [
            (where, self._counts[kind] * ticks) for kind, row in rows for where, ticks in self._charged(kind, row)
        ]

    def _components(self, step: int, batch: Batch) -> list[int]:
        """Ticks of a step by component, with noise."""
        fixed = self._fixed_of(batch)
        if fixed.noisy is not None:
            return self._noisy_step(fixed.noisy, batch, step)
        components = list(fixed.components)
        for kind, row in self._nominal.context_rows(batch):
            self._add(components, kind, row)
        return components

    def _add(self, components: list[int], kind: int, row: OpRow) -> None:
        """Add all ops of a kind, without noise; compute and fetch overlap, so the longer is charged."""
        count = self._counts[kind]
        launch, compute, fetch, wait, exchange = row
        components[_LAUNCH] += count * launch
        if fetch > compute:
            components[self._fetch[kind]] += count * fetch
        else:
            components[_COMPUTE] += count * compute
        components[_EXCHANGE] += count * exchange
        components[_WAIT] += count * wait

    def _charged(self, kind: int, row: OpRow) -> list[tuple[int, Any]]:
        """List (component, ticks) of one op; compute and fetch overlap, so the longer is charged."""
        launch, compute, fetch, wait, exchange = row
        parts: list[tuple[int, Any]] = []
        if type(compute) is int and type(fetch) is int:
            if compute or fetch:
                parts.append((self._fetch[kind], fetch) if fetch > compute else (_COMPUTE, compute))
        elif type(compute) is int and not compute:
            parts.append((self._fetch[kind], fetch))
        elif type(fetch) is int and not fetch:
            parts.append((_COMPUTE, compute))
        else:
            fetches = fetch > compute
            parts += [(self._fetch[kind], np.where(fetches, fetch, 0)), (_COMPUTE, np.where(fetches, 0, compute))]
        for component, ticks in ((_LAUNCH, launch), (_EXCHANGE, exchange), (_WAIT, wait)):
            if type(ticks) is not int or ticks:
                parts.append((component, ticks))
        return parts

    def _of_tokens(self, decode_tokens: int, prefill_tokens: int, outputs: int, sequences: int) -> _Fixed:
        """
        Compute everything that does not depend on contexts.

        Raises:
            OverflowError: a component does not fit an int64.
        """
        rows = self._nominal.rows(Batch(decode_tokens, 0, prefill_tokens, 0, 0, outputs, sequences))
        components = [0] * len(COMPONENTS)  # Python integers, which do not wrap around
        for kind, row in enumerate(rows):
            if row is not NO_WORK:
                self._add(components, kind, row)
        noisy = None if self._noise is None else self._split_by_noise(rows, self._noise)
        return _Fixed(components, np.array(components, np.int64), sum(components), noisy)

    def _split_by_noise(self, rows: Sequence[OpRow], noise: StepNoise) -> _Noisy:
        """Separate the ticks that noise multiplies from those that it leaves alone."""
        n_kinds, small = len(rows), noise.small
        noisy = [[0] * len(COMPONENTS) for _ in range(2 * n_kinds if small else n_kinds)]
        quiet = [0] * len(COMPONENTS)
        late = [-1] * (3 * n_kinds if small else 2 * n_kinds)
        most = 0
        for kind, row in enumerate(rows):
            for component, ticks in self._charged(kind, row):
                if component == _EXCHANGE and small and ticks <= small.up_to:
                    noisy[n_kinds + kind][_EXCHANGE] = ticks
                    late[2 * n_kinds + kind] = _EXCHANGE
                elif component in (_EXCHANGE, _WAIT):
                    quiet[component] += self._counts[kind] * ticks
                    continue
                else:
                    noisy[kind][component] += ticks
                most += ticks
            if row.exchange:
                late[kind], late[kind + n_kinds] = _LAUNCH, _WAIT
        factored, alone = np.array(noisy, np.int64), np.array(quiet, np.int64)
        routed = np.zeros_like(alone)
        if noise.routing:
            routed = factored[noise.routing.kind].copy()
            routed[_LAUNCH] = 0
        return _Noisy(factored, alone, quiet, tuple(late), most, routed)

    def _noisy_run(self, fixed: _Noisy, batch: Batch, step: int, n_steps: int) -> Ticks:
        """Components of successive steps with their noise, shape (steps, components)."""
        assert self._noise is not None
        factors, greatest = self._noise.factors(step, n_steps)
        components: Ticks = factors @ fixed.factored
        if self._noise.routing is not None and batch.tokens > 1:
            longer = self._noise.routed(step, n_steps, batch).sum(axis=1)
            components += np.multiply.outer(longer, fixed.routed)
            greatest += max(0, int(longer.max()))
        quiet: Any = fixed.quiet
        most = fixed.most
        for kind, row in self._nominal.run_rows(batch, n_steps):
            for component, ticks in self._charged(kind, row):
                if component in _NEVER_NOISY:
                    quiet = quiet + np.multiply.outer(self._counts[kind] * ticks, _UNIT[component])
                else:
                    components[:, component] += factors[:, kind] * ticks
                    most += ticks if isinstance(ticks, int) else int(ticks[-1])  # contexts only grow
            if fixed.late[kind] < 0 and (not isinstance(row.exchange, int) or row.exchange):
                meets = np.reshape(row.exchange, (-1, 1)) > 0
                quiet = quiet + meets * self._noise.delays(step, n_steps, self._late_at(kind))
        _require_countable(most * greatest)
        components += _HALF
        components >>= ONE_BITS
        components += quiet
        components += self._noise.delays(step, n_steps, fixed.late)
        return components

    def _noisy_step(self, fixed: _Noisy, batch: Batch, step: int) -> list[int]:
        """Components of one step with its noise; equals `_noisy_run`, but scalars are faster for one step."""
        assert self._noise is not None
        factors, greatest, delays = self._noise.step(step, fixed.late)
        summed = factors @ fixed.factored
        if self._noise.routing is not None and batch.tokens > 1:
            longer = int(self._noise.routed(step, 1, batch).sum())
            summed += longer * fixed.routed
            greatest += max(0, longer)
        noisy = summed.tolist()
        quiet = list(delays)
        most = fixed.most
        for kind, row in self._nominal.context_rows(batch):
            for component, ticks in self._charged(kind, row):
                if component in _NEVER_NOISY:
                    quiet[component] += self._counts[kind] * ticks
                else:
                    noisy[component] += int(factors[kind]) * ticks
                    most += ticks
            if fixed.late[kind] < 0 and row.exchange:
                *_, delays = self._noise.step(step, self._late_at(kind))
                quiet = [*map(operator.add, quiet, delays)]
        _require_countable(most * greatest)
        return [
            ((ticks + _HALF) >> ONE_BITS) + late + always
            for ticks, late, always in zip(noisy, quiet, fixed.always, strict=True)
        ]

    def _late_at(self, kind: int) -> tuple[int, ...]:
        """Component that each delay is added to if only ops of this kind end in a collective."""
        late = [-1] * (2 * len(self._counts))
        late[kind], late[kind + len(self._counts)] = _LAUNCH, _WAIT
        return tuple(late)

    def _detail(self, step: int, batch: Batch) -> Detail:
        """The service op by op."""
        ops, components = self._ops(step, batch)
        if not (batch.prefill_tokens and batch.decode_tokens):
            return Detail(ops, components, components)
        return Detail(ops, components, self._ops(step, batch.decode_only())[1])

    def _ops(self, step: int, batch: Batch) -> tuple[OpTicks, Ticks]:
        """Durations of the ops and their components: differences of rounded running sums."""
        rows = list(self._nominal.rows(batch.without_contexts()))
        always = [row.exchange for row in rows]
        for kind, row in self._nominal.context_rows(batch):
            rows[kind] = OpRow(*map(operator.add, rows[kind], row))
        kinds = np.asarray(self._nominal.kind_of_op, np.intp)
        launch, compute, fetch, wait, exchange = np.array(rows, np.int64)[kinds].T  # (ops,) each
        meets = exchange > 0
        factors: Any = ONE
        own: Any = 0
        waited: Any = 0
        if self._noise is not None:
            factors, own, waited, exchanged, delay = self._noise.ops(step)  # (ops,) each
            if self._noise.small is not None:
                quiet = np.array(always, np.int64)[kinds]
                is_short = (quiet > 0) & (quiet <= self._noise.small.up_to)
                noisy = np.cumsum(np.where(is_short, quiet * exchanged, 0)) + _HALF
                exchange = exchange + np.where(is_short, delay - quiet, 0) + np.diff(noisy >> ONE_BITS, prepend=0)
        busy = np.maximum(compute, fetch)
        charged = np.where(fetch > compute, np.array(self._fetch)[kinds], _COMPUTE)
        places = np.arange(len(kinds))
        shares = np.zeros((len(kinds), len(COMPONENTS)), np.int64)
        shares[places, charged] = busy
        shares[:, _LAUNCH] += launch
        if self._noise is not None:
            shares *= factors[:, None]
            if self._noise.routing is not None and batch.tokens > 1:
                routed = list(self._noise.routing.ops)
                shares[routed, charged[routed]] += busy[routed] * self._noise.routed(step, 1, batch)[0]
            shares = np.diff((np.cumsum(shares, axis=0) + _HALF) >> ONE_BITS, axis=0, prepend=0)
        busy = shares[places, charged]
        shorter = np.minimum((np.minimum(compute, fetch) * factors + _HALF) >> ONE_BITS, busy)
        launch = shares[:, _LAUNCH] + own * meets
        wait = wait + waited * meets
        shares[:, _LAUNCH] = launch
        shares[:, _WAIT] = wait
        shares[:, _EXCHANGE] = exchange
        fetches = fetch > compute
        ops = OpTicks(launch, np.where(fetches, shorter, busy), np.where(fetches, busy, shorter), wait, exchange)
        return ops, shares
