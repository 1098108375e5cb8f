"""Flows on links, event by event and by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import simpy

from simcluster.kernel import fabric as fabric_module
from simcluster.kernel.clock import NORMAL, after
from simcluster.kernel.fabric import Fabric, Flow
from simcluster.numerics.ticks import to_ticks
from simcluster.plans.replica_plan import FlowLoad

US = 10**6
"""Ticks of a microsecond."""

Log = list[tuple[str, int]]


class Scene:
    """A fabric, and a log of which flow ended when."""

    def __init__(self, *capacities: float) -> None:
        self.env = simpy.Environment(0)
        self.fabric = Fabric(self.env, capacities)
        self.log: Log = []
        self.flows: dict[str, Flow] = {}

    def at(self, tick: int, action: Callable[[], object]) -> None:
        """Schedule an action."""
        after(self.env, tick - int(self.env.now), NORMAL, lambda: (action(), None)[1])

    def start(self, name: str, alone_s: float, *links: int, began_tick: int | None = None) -> None:
        """Start a plain message now."""
        load = FlowLoad(alone_s, tuple((link, 1.0) for link in links))
        self.flows[name] = self.fabric.start(load, lambda: self.log.append((name, int(self.env.now))), began_tick)

    def run(self) -> Log:
        """Run until no event is left."""
        self.env.run()
        return self.log


@pytest.mark.parametrize("alone_s", [0.0, 1e-13, 0.5e-12, 1.5e-12, 1e-6 / 3, 0.1, 1234.56789])
def test_a_flow_alone(alone_s: float) -> None:
    """A flow that is alone lasts its nominal duration, rounded to ticks once, whenever it starts."""
    scene = Scene(3.0, 7.0)
    scene.at(11, lambda: scene.start("a", alone_s, 0, 1))
    assert [("a", 11 + to_ticks(alone_s))] == scene.run()
    assert 1.0 == scene.flows["a"].speed


def test_two_flows_overlap() -> None:
    """8 us and 3 us on one link, the second 2 us later: both at half speed until 8 us, then the first alone to 11."""
    scene = Scene(1e9)
    scene.start("a", 8e-6, 0)
    scene.at(2 * US, lambda: scene.start("b", 3e-6, 0))
    scene.at(5 * US, lambda: scene.log.append(("speed", int(10 * scene.flows["a"].speed))))
    assert [("speed", 5), ("b", 8 * US), ("a", 11 * US)] == scene.run()


def test_a_link_slows_and_recovers() -> None:
    """10 us, at half speed from 4 to 8 us, last 12; a flow on another link is not affected."""
    scene = Scene(2e9, 1e9, 1e9)
    scene.start("a", 10e-6, 0, 1)
    scene.start("b", 10e-6, 2)
    scene.at(4 * US, lambda: scene.fabric.set_capacity(1, 0.5e9))
    scene.at(8 * US, lambda: scene.fabric.set_capacity(1, 1e9))
    assert [("b", 10 * US), ("a", 12 * US)] == scene.run()
    assert 10 * US == scene.fabric.alone_ticks(FlowLoad(10e-6, ((0, 1.0), (1, 1.0))))


def test_a_link_that_slows_permanently() -> None:
    """8 us whose link falls to a quarter after 4 us last 20 us; the next flow lasts 4 times as long."""
    scene = Scene(1e9)
    scene.start("a", 8e-6, 0)
    scene.at(4 * US, lambda: scene.fabric.set_capacity(0, 0.25e9))
    scene.at(20 * US, lambda: scene.start("b", 1e-6, 0))
    assert [("a", 20 * US), ("b", 24 * US)] == scene.run()


def test_a_dead_link() -> None:
    """On a link without capacity a flow stalls, without a timer, until the capacity is restored."""
    scene = Scene(1e9)
    scene.start("a", 8e-6, 0)
    scene.at(3 * US, lambda: scene.fabric.set_capacity(0, 0.0))
    scene.at(9 * US, lambda: scene.log.append(("nothing yet", 9 * US)))
    assert [("nothing yet", 9 * US)] == scene.run()
    assert (0.0, None) == (scene.flows["a"].speed, scene.flows["a"].end_tick)
    scene.fabric.set_capacity(0, 1e9)
    assert ("a", 14 * US) == scene.run()[-1]


def test_cancel() -> None:
    """A cancelled flow frees its link and does not call `done`; cancelling again, or after the end, has no effect."""
    scene = Scene(1e9)
    scene.start("a", 8e-6, 0)
    scene.start("b", 8e-6, 0)
    scene.at(4 * US, lambda: scene.fabric.cancel(scene.flows["b"]))
    scene.at(5 * US, lambda: scene.fabric.cancel(scene.flows["b"]))
    scene.at(20 * US, lambda: scene.fabric.cancel(scene.flows["a"]))
    assert [("a", 10 * US)] == scene.run()


def test_cancel_at_the_end() -> None:
    """A flow cancelled at the tick at which it ends, by one that ended just before, does not call `done`."""
    scene = Scene(1e9, 1e9)
    scene.start("b", 5e-6, 1)
    load = FlowLoad(5e-6, ((0, 1.0),))
    scene.fabric.start(load, lambda: scene.fabric.cancel(scene.flows["a"]), began_tick=0)
    scene.start("a", 5e-6)
    assert [("b", 5 * US)] == scene.run()


def test_flows_that_end_together() -> None:
    """Flows of several components that end at one tick do so in the order of their starts, before later starts."""
    scene = Scene(1e9, 1e9, 1e9)
    scene.start("a", 2e-6, 0)
    scene.start("b", 6e-6, 1)
    scene.at(2 * US, lambda: scene.start("c", 4e-6, 2))
    scene.at(3 * US, lambda: scene.start("d", 3e-6, 0))
    assert [("a", 2 * US), ("b", 6 * US), ("c", 6 * US), ("d", 6 * US)] == scene.run()


def test_flows_that_end_together_after_a_change() -> None:
    """Flows end in the order of their starts also where the first was slowed and sped up again after the second."""
    scene = Scene(1e9, 1e9)
    scene.start("a", 10e-6, 0)
    scene.start("b", 12e-6, 1)
    scene.at(4 * US, lambda: scene.fabric.set_capacity(0, 0.5e9))
    scene.at(8 * US, lambda: scene.fabric.set_capacity(0, 1e9))
    assert [("a", 12 * US), ("b", 12 * US)] == scene.run()


def test_a_flow_that_starts_when_another_ends_does_not_share_with_it() -> None:
    """At the tick at which a flow ends its links are free, whichever event SimPy processes first."""
    scene = Scene(1e9)
    seen: list[bool] = []

    def at_the_end() -> None:
        seen.append(scene.fabric.idle([0]))
        scene.start("b", 5e-6, 0)

    scene.at(5 * US, at_the_end)
    scene.start("a", 5e-6 + 0.4e-12, 0)
    assert [("a", 5 * US), ("b", 10 * US)] == scene.run()
    assert [True] == seen


def test_a_change_at_the_end_comes_too_late() -> None:
    """A link that fails at the tick at which a flow ends does not stall the flow."""
    scene = Scene(1e9)
    scene.at(5 * US, lambda: scene.fabric.set_capacity(0, 0.0))
    scene.start("a", 5e-6, 0)
    assert [("a", 5 * US)] == scene.run()


def test_idle() -> None:
    """Links are idle when none of them carries a flow."""
    scene = Scene(1e9, 1e9, 1e9)
    scene.start("a", 1e-6, 0, 2)
    assert [False, True, False, True] == [scene.fabric.idle(links) for links in ([0], [1], [1, 2], [])]


def test_no_links() -> None:
    """A flow on no link lasts its time."""
    scene = Scene(1e9)
    scene.start("a", 1e-6)
    scene.start("b", 1e-6)
    assert [("a", US), ("b", US)] == scene.run()


def test_components_do_not_disturb_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flows that start and end on one link set no timer for, and solve no rates of, another component."""
    solved: list[int] = []
    timers: list[int] = []
    real_rates, real_after = fabric_module.rates, fabric_module.after
    monkeypatch.setattr(
        fabric_module, "rates", lambda flows, capacities: solved.append(len(flows)) or real_rates(flows, capacities)
    )
    monkeypatch.setattr(
        fabric_module,
        "after",
        lambda env, delay, *rest: timers.append(env.now + delay) or real_after(env, delay, *rest),
    )
    scene = Scene(1e9, 1e9)
    scene.start("a", 100e-6, 0)
    scene.start("b", 100e-6, 0)
    assert ([2], [100 * US, 200 * US]) == (solved, timers)
    since = scene.flows["a"].since_tick, scene.flows["a"].end_tick
    for number in range(10):
        scene.at(number * US + 1, lambda: scene.start("c", 0.5e-6, 1))
    scene.env.run(until=50 * US)
    assert [2] == solved
    assert 2 + 10 == len(timers)
    assert since == (scene.flows["a"].since_tick, scene.flows["a"].end_tick)


def test_a_bridge_joins_components_and_leaves_them_apart() -> None:
    """A flow over two links slows the flows of both while it lasts; then they recover their speed."""
    scene = Scene(1e9, 1e9)
    scene.start("a", 8e-6, 0)
    scene.start("b", 8e-6, 1)
    scene.at(2 * US, lambda: scene.start("bridge", 2e-6, 0, 1))
    scene.at(3 * US, lambda: scene.log.append(("together", scene.flows["a"].component is scene.flows["b"].component)))
    scene.at(7 * US, lambda: scene.log.append(("together", scene.flows["a"].component is scene.flows["b"].component)))
    assert [("together", 1), ("bridge", 6 * US), ("together", 0), ("a", 10 * US), ("b", 10 * US)] == scene.run()


@pytest.mark.parametrize("degraded", [False, True])
def test_a_flow_taken_over_on_its_way(degraded: bool) -> None:
    """Started retroactively when a second flow comes, it ends as if started at its beginning."""
    logs = []
    for late in (False, True):
        scene = Scene(3e9, 1.1e9)
        if degraded:
            scene.fabric.set_capacity(1, 0.7e9)
        scene.at(US + 1 if late else 100, lambda scene=scene: scene.start("a", 7.7e-6 / 3, 0, 1, began_tick=100))
        scene.at(US + 1, lambda scene=scene: scene.start("b", 1e-6 / 3, 1))
        scene.at(2 * US + 7, lambda scene=scene: scene.fabric.set_capacity(1, 0.9e9))
        logs.append(scene.run())
    assert logs[0] == logs[1]
    assert 2 == len(logs[0])


def test_a_flow_taken_over_at_its_last_tick() -> None:
    """Started retroactively at the tick at which it ends, it ends there and shares no link."""
    scene = Scene(1e9)
    scene.at(5 * US, lambda: scene.start("b", 1e-6, 0))
    scene.at(5 * US, lambda: scene.start("a", 5e-6, 0, began_tick=0))
    assert [("a", 5 * US), ("b", 6 * US)] == scene.run()


def test_a_flow_that_was_not_alone_is_refused() -> None:
    """A retroactive start is refused if the flow was not alone, begins later, or is over; nothing changes."""
    scene = Scene(1e9)
    scene.start("a", 8e-6, 0)
    scene.env.run(until=2 * US)
    with pytest.raises(ValueError, match="alone on its links"):
        scene.start("b", 8e-6, 0, began_tick=US)
    with pytest.raises(ValueError, match="on its way"):
        scene.start("b", 1e-7, 0, began_tick=US)
    with pytest.raises(ValueError, match="on its way"):
        scene.start("b", 1e-7, 0, began_tick=3 * US)
    with pytest.raises(OverflowError, match="106 days"):
        scene.start("b", 1e8, 0)
    assert [("a", 8 * US)] == scene.run()


def test_invalid_capacities() -> None:
    """A link built without capacity, or set to a negative one, is refused with its number."""
    with pytest.raises(ValueError, match=r"link 1 is built with 0.0 bytes/s"):
        Scene(1e9, 0.0)
    with pytest.raises(ValueError, match=r"link 0 set to -1.0 bytes/s"):
        Scene(1e9).fabric.set_capacity(0, -1.0)


def test_very_slow_is_stalled() -> None:
    """A flow too slow to end within what a trace holds sets no timer; it ends once it is faster."""
    scene = Scene(1e9)
    scene.start("a", 1.0, 0)
    scene.fabric.set_capacity(0, 1e-3)
    scene.env.run(until=US)
    scene.fabric.set_capacity(0, 1e9)
    assert [("a", US + 10**12)] == scene.run()
