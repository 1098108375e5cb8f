"""Lanes of devices and links: the steps of each stage of each replica, and the traffic on its links."""

from __future__ import annotations

from collections.abc import Iterable

from simcluster.kernel.watch import Served
from simcluster.scenario.resolved import Scenario
from simcluster.timeline.chrome import Events, Lane
from simcluster.timeline.parts import cause, in_us, parts_of
from simcluster.trace.columns import COMPONENT

FIRST_GROUP = 10
"""First group of the replicas; each has two, for devices and for links."""
_LANES_PER_STAGE = 1024
"""Lanes of links per stage: one for exchanges, the others for transfers to the next stage."""
_EXCHANGE = (COMPONENT["wait_for_peers"], COMPONENT["interconnect"])


class Replicas:
    """Adds the lanes of devices and links and their slices."""

    def __init__(self, scenario: Scenario, events: Events) -> None:
        self._scenario = scenario
        self._events = events
        self.wires: dict[tuple[int, int, int], tuple[Lane, int]] = {}
        """The lane and start of each transfer, by replica, stage and step."""
        self._named: set[Lane] = set()
        for number, replica in enumerate(scenario.replicas):
            events.name_group(_devices(number), f"replica {number}: devices")
            for stage, held in enumerate(replica.stages):
                where = f", stage {stage}" if len(replica.stages) > 1 else ""
                for rank, device in enumerate(held.devices):
                    events.name_lane(self.lane(number, stage, rank), f"{device}{where}")
            if len(replica.stages) > 1 or len(replica.stages[0].devices) > 1:
                events.name_group(_links(number), f"replica {number}: links")

    def lane(self, replica: int, stage: int, rank: int = 0) -> Lane:
        """The lane of a device."""
        return Lane(_devices(replica), stage * len(self._scenario.replicas[replica].stages[0].devices) + rank + 1)

    def add(self, served: Served) -> None:
        """Add a step on all devices of a stage with its parts, and its exchanges on the links."""
        stage = self._scenario.replicas[served.replica].stages[served.stage]
        parts = parts_of(served.parts)
        args = {"step": served.step, "cause": cause(parts), "requests": served.batch.sequences, **in_us(parts)}
        for rank in range(len(stage.devices)):
            lane = self.lane(served.replica, served.stage, rank)
            self._events.slice(lane, _named(served), served.began, served.ended, args)
            at = served.began
            for name, ticks in parts.items():
                end = min(at + ticks, served.ended)
                self._events.slice(lane, name, at, end, {})
                at = end
        exchange_ticks = sum(max(served.parts[place], 0) for place in _EXCHANGE)
        if len(stage.devices) > 1 and exchange_ticks:
            lane = self._exchange_lane(served.replica, served.stage)
            began = max(served.ended - exchange_ticks, served.began)
            args = {
                "step": served.step,
                "note": "sum over the step's exchanges",
                **in_us(parts_of(served.parts, _EXCHANGE)),
            }
            self._events.slice(lane, "exchanges", began, served.ended, args)

    def _exchange_lane(self, replica: int, stage: int) -> Lane:
        lane = Lane(_links(replica), stage * _LANES_PER_STAGE + 1)
        pool, held = self._scenario.placed_replicas[replica]
        group, devices = pool.group, held.stages[stage].devices
        fabrics = [fabric.name for fabric in (group.inside, group.across) if fabric is not None] if group else []
        self._name_once(lane, f"{' and '.join(fabrics)} among {devices[0]} … {devices[-1]}")
        return lane

    def _name_once(self, lane: Lane, name: str) -> None:
        if lane not in self._named:
            self._named.add(lane)
            self._events.name_lane(lane, name)

    def add_wires(self, served: Iterable[Served]) -> None:
        """Add transfers between stages; those that overlap get separate lanes."""
        left: dict[tuple[int, int, int], int] = {}
        free_at: dict[tuple[int, int], list[int]] = {}
        for one in sorted(served, key=lambda one: (one.replica, one.step, one.stage)):
            began = left.get((one.replica, one.stage - 1, one.step))
            left[one.replica, one.stage, one.step] = one.ended
            if began is None:
                continue
            before = one.stage - 1
            place = _free_place(free_at.setdefault((one.replica, before), []), began, one.arrived)
            lane = Lane(_links(one.replica), before * _LANES_PER_STAGE + 2 + place)
            stages = self._scenario.replicas[one.replica].stages
            hop = stages[before].next_hop
            self._name_once(lane, f"{stages[before].devices[0]} → {stages[one.stage].devices[0]}")
            args = {"step": one.step, "tokens": one.batch.tokens, "over": " → ".join(hop.nodes) if hop else ""}
            self._events.slice(lane, "transfer", began, one.arrived, args)
            self.wires[one.replica, before, one.step] = lane, began


def _devices(replica: int) -> int:
    return FIRST_GROUP + 2 * replica


def _links(replica: int) -> int:
    return FIRST_GROUP + 2 * replica + 1


def _free_place(free_at: list[int], began: int, ended: int) -> int:
    """The first lane that is free at that time, or a new one, up to a limit."""
    for place, free in enumerate(free_at):
        if free <= began:
            free_at[place] = ended
            return place
    free_at.append(ended)
    return len(free_at) - 1


def _named(served: Served) -> str:
    """A short description of a step."""
    prompts = f"prefill {served.batch.prefill_tokens} tokens" if served.batch.prefill_tokens else ""
    decodes = f"decode × {len(served.decoding)}" if served.decoding else ""
    return " + ".join(filter(None, [prompts, decodes]))
