"""
The clock in ticks, and the order of events at the same tick.

Work ends and tokens are emitted first (SimPy's normal priority), then devices and links change, then requests arrive,
then steps are formed. Ties are thus broken by the kind of event, not by when it was scheduled, so every fidelity
breaks them alike.
"""

from __future__ import annotations

from collections.abc import Callable

import simpy
from simpy.events import EventPriority

from simcluster.numerics.ticks import MAX_TICK

NORMAL = EventPriority(1)
CHANGE = EventPriority(2)
ARRIVE = EventPriority(3)
DECIDE = EventPriority(4)


def after(env: simpy.Environment, delay_ticks: int, priority: EventPriority, action: Callable[[], None]) -> None:
    """
    Call `action` once, `delay_ticks` from now; `priority` orders it among the events of that tick.

    Raises:
        OverflowError: the time is past 106 days, the most that a trace can hold.
    """
    if not 0 <= delay_ticks <= MAX_TICK - env.now:
        raise OverflowError("simulated time passes 106 days, the most that a trace can hold")
    event = simpy.Event(env)
    event._ok = True
    event._value = None
    event.callbacks = [lambda _: action()]
    env.schedule(event, priority, delay_ticks)


def now(env: simpy.Environment) -> int:
    """The current tick; an integer, since every delay is."""
    return env.now  # type: ignore[return-value]
