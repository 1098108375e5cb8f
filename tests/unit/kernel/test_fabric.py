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


class Play:
    """A fabric, and a log of who ended when."""

    def __init__(self, *capacities: float) -> None:
        self.env = simpy.Environment(0)
        self.fabric = Fabric(self.env, capacities)
        self.log: Log = []
        self.flows: dict[str, Flow] = {}

    def at(self, tick: int, action: Callable[[], object]) -> None:
        """Do something later."""
        after(self.env, tick - int(self.env.now), NORMAL, lambda: (action(), None)[1])

    def start(self, name: str, alone_s: float, *links: int, began_tick: int | None = None) -> None:
        """Start a plain message now."""
        load = FlowLoad(alone_s, tuple((link, 1.0) for link in links))
        self.flows[name] = self.fabric.start(load, lambda: self.log.append((name, int(self.env.now))), began_tick)

    def run(self) -> Log:
        """To the end."""
        self.env.run()
        return self.log


@pytest.mark.parametrize("alone_s", [0.0, 1e-13, 0.5e-12, 1.5e-12, 1e-6 / 3, 0.1, 1234.56789])
def test_a_flow_alone(alone_s: float) -> None:
    """A flow that nobody meets lasts its time, rounded to ticks once, from whenever it starts."""
    play = Play(3.0, 7.0)
    play.at(11, lambda: play.start("a", alone_s, 0, 1))
    assert [("a", 11 + to_ticks(alone_s))] == play.run()
    assert 1.0 == play.flows["a"].speed


def test_two_flows_overlap() -> None:
    """8 us and 3 us on one link, the second 2 us later: both at half speed until 8 us, then the first alone to 11."""
    play = Play(1e9)
    play.start("a", 8e-6, 0)
    play.at(2 * US, lambda: play.start("b", 3e-6, 0))
    play.at(5 * US, lambda: play.log.append(("speed", int(10 * play.flows["a"].speed))))
    assert [("speed", 5), ("b", 8 * US), ("a", 11 * US)] == play.run()


def test_a_link_slows_and_recovers() -> None:
    """10 us, at half speed from 4 to 8 us, last 12; another link's flow does not notice."""
    play = Play(2e9, 1e9, 1e9)
    play.start("a", 10e-6, 0, 1)
    play.start("b", 10e-6, 2)
    play.at(4 * US, lambda: play.fabric.set_capacity(1, 0.5e9))
    play.at(8 * US, lambda: play.fabric.set_capacity(1, 1e9))
    assert [("b", 10 * US), ("a", 12 * US)] == play.run()
    assert 10 * US == play.fabric.alone_ticks(FlowLoad(10e-6, ((0, 1.0), (1, 1.0))))


def test_a_link_that_slows_for_good() -> None:
    """8 us whose link falls to a quarter after 4 us last 20 us; the next flow lasts 4 times as long."""
    play = Play(1e9)
    play.start("a", 8e-6, 0)
    play.at(4 * US, lambda: play.fabric.set_capacity(0, 0.25e9))
    play.at(20 * US, lambda: play.start("b", 1e-6, 0))
    assert [("a", 20 * US), ("b", 24 * US)] == play.run()


def test_a_dead_link() -> None:
    """On a link without capacity a flow stands still, without a timer, until the capacity is back."""
    play = Play(1e9)
    play.start("a", 8e-6, 0)
    play.at(3 * US, lambda: play.fabric.set_capacity(0, 0.0))
    play.at(9 * US, lambda: play.log.append(("nothing yet", 9 * US)))
    assert [("nothing yet", 9 * US)] == play.run()
    assert (0.0, None) == (play.flows["a"].speed, play.flows["a"].end_tick)
    play.fabric.set_capacity(0, 1e9)
    assert ("a", 14 * US) == play.run()[-1]


def test_cancel() -> None:
    """A cancelled flow leaves its link to the other and tells nobody; again, or after the end, nothing happens."""
    play = Play(1e9)
    play.start("a", 8e-6, 0)
    play.start("b", 8e-6, 0)
    play.at(4 * US, lambda: play.fabric.cancel(play.flows["b"]))
    play.at(5 * US, lambda: play.fabric.cancel(play.flows["b"]))
    play.at(20 * US, lambda: play.fabric.cancel(play.flows["a"]))
    assert [("a", 10 * US)] == play.run()


def test_cancel_at_the_end() -> None:
    """A flow cancelled at the tick at which it ends, by one that ended just before, tells nobody."""
    play = Play(1e9, 1e9)
    play.start("b", 5e-6, 1)
    load = FlowLoad(5e-6, ((0, 1.0),))
    play.fabric.start(load, lambda: play.fabric.cancel(play.flows["a"]), began_tick=0)
    play.start("a", 5e-6)
    assert [("b", 5 * US)] == play.run()


def test_flows_that_end_together() -> None:
    """Flows of several components that end at one tick do so in the order of their starts, before who starts then."""
    play = Play(1e9, 1e9, 1e9)
    play.start("a", 2e-6, 0)
    play.start("b", 6e-6, 1)
    play.at(2 * US, lambda: play.start("c", 4e-6, 2))
    play.at(3 * US, lambda: play.start("d", 3e-6, 0))
    assert [("a", 2 * US), ("b", 6 * US), ("c", 6 * US), ("d", 6 * US)] == play.run()


def test_flows_that_end_together_after_a_change() -> None:
    """Flows end in the order of their starts also where the first was slowed and set going again after the second."""
    play = Play(1e9, 1e9)
    play.start("a", 10e-6, 0)
    play.start("b", 12e-6, 1)
    play.at(4 * US, lambda: play.fabric.set_capacity(0, 0.5e9))
    play.at(8 * US, lambda: play.fabric.set_capacity(0, 1e9))
    assert [("a", 12 * US), ("b", 12 * US)] == play.run()


def test_who_comes_when_another_ends_does_not_meet_it() -> None:
    """At the tick at which a flow ends its links are free, whichever event SimPy plays first."""
    play = Play(1e9)
    seen: list[bool] = []

    def at_the_end() -> None:
        seen.append(play.fabric.idle([0]))
        play.start("b", 5e-6, 0)

    play.at(5 * US, at_the_end)
    play.start("a", 5e-6 + 0.4e-12, 0)
    assert [("a", 5 * US), ("b", 10 * US)] == play.run()
    assert [True] == seen


def test_a_change_at_the_end_comes_too_late() -> None:
    """A link that dies at the tick at which a flow ends does not hold the flow."""
    play = Play(1e9)
    play.at(5 * US, lambda: play.fabric.set_capacity(0, 0.0))
    play.start("a", 5e-6, 0)
    assert [("a", 5 * US)] == play.run()


def test_idle() -> None:
    """Links are idle when none of them carries a flow."""
    play = Play(1e9, 1e9, 1e9)
    play.start("a", 1e-6, 0, 2)
    assert [False, True, False, True] == [play.fabric.idle(links) for links in ([0], [1], [1, 2], [])]


def test_no_links() -> None:
    """A flow on no link lasts its time."""
    play = Play(1e9)
    play.start("a", 1e-6)
    play.start("b", 1e-6)
    assert [("a", US), ("b", US)] == play.run()


def test_components_do_not_disturb_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flows that come and go on one link set no timer for, and solve nothing of, another component."""
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
    play = Play(1e9, 1e9)
    play.start("a", 100e-6, 0)
    play.start("b", 100e-6, 0)
    assert ([2], [100 * US, 200 * US]) == (solved, timers)
    since = play.flows["a"].since_tick, play.flows["a"].end_tick
    for number in range(10):
        play.at(number * US + 1, lambda: play.start("c", 0.5e-6, 1))
    play.env.run(until=50 * US)
    assert [2] == solved
    assert 2 + 10 == len(timers)
    assert since == (play.flows["a"].since_tick, play.flows["a"].end_tick)


def test_a_bridge_joins_components_and_leaves_them_apart() -> None:
    """A flow over two links slows the flows of both while it lasts; then they have their speed again."""
    play = Play(1e9, 1e9)
    play.start("a", 8e-6, 0)
    play.start("b", 8e-6, 1)
    play.at(2 * US, lambda: play.start("bridge", 2e-6, 0, 1))
    play.at(3 * US, lambda: play.log.append(("together", play.flows["a"].component is play.flows["b"].component)))
    play.at(7 * US, lambda: play.log.append(("together", play.flows["a"].component is play.flows["b"].component)))
    assert [("together", 1), ("bridge", 6 * US), ("together", 0), ("a", 10 * US), ("b", 10 * US)] == play.run()


@pytest.mark.parametrize("degraded", [False, True])
def test_a_flow_taken_over_on_its_way(degraded: bool) -> None:
    """Started when a second flow comes, as on its way since earlier, it ends as if started at its beginning."""
    logs = []
    for late in (False, True):
        play = Play(3e9, 1.1e9)
        if degraded:
            play.fabric.set_capacity(1, 0.7e9)
        play.at(US + 1 if late else 100, lambda play=play: play.start("a", 7.7e-6 / 3, 0, 1, began_tick=100))
        play.at(US + 1, lambda play=play: play.start("b", 1e-6 / 3, 1))
        play.at(2 * US + 7, lambda play=play: play.fabric.set_capacity(1, 0.9e9))
        logs.append(play.run())
    assert logs[0] == logs[1]
    assert 2 == len(logs[0])


def test_a_flow_taken_over_at_its_last_tick() -> None:
    """Taken over at the tick at which it ends, it ends there and meets nobody."""
    play = Play(1e9)
    play.at(5 * US, lambda: play.start("b", 1e-6, 0))
    play.at(5 * US, lambda: play.start("a", 5e-6, 0, began_tick=0))
    assert [("a", 5 * US), ("b", 6 * US)] == play.run()


def test_a_flow_that_was_not_alone_is_refused() -> None:
    """One cannot claim to have been alone where another was, nor to begin later, nor to be over; nothing changes."""
    play = Play(1e9)
    play.start("a", 8e-6, 0)
    play.env.run(until=2 * US)
    with pytest.raises(ValueError, match="alone on its links"):
        play.start("b", 8e-6, 0, began_tick=US)
    with pytest.raises(ValueError, match="on its way"):
        play.start("b", 1e-7, 0, began_tick=US)
    with pytest.raises(ValueError, match="on its way"):
        play.start("b", 1e-7, 0, began_tick=3 * US)
    with pytest.raises(OverflowError, match="106 days"):
        play.start("b", 1e8, 0)
    assert [("a", 8 * US)] == play.run()


def test_values_that_cannot_be() -> None:
    """A link built without capacity, and one set to less than none, are refused with their number."""
    with pytest.raises(ValueError, match=r"link 1 is built with 0.0 bytes/s"):
        Play(1e9, 0.0)
    with pytest.raises(ValueError, match=r"link 0 set to -1.0 bytes/s"):
        Play(1e9).fabric.set_capacity(0, -1.0)


def test_very_slow_is_standing_still() -> None:
    """A speed at which a flow would end after all that a trace holds sets no timer; the flow ends once it may."""
    play = Play(1e9)
    play.start("a", 1.0, 0)
    play.fabric.set_capacity(0, 1e-3)
    play.env.run(until=US)
    play.fabric.set_capacity(0, 1e9)
    assert [("a", US + 10**12)] == play.run()
