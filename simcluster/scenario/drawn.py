"""Which sources of random numbers a scenario draws from, and which devices have streams of their own."""

from __future__ import annotations

from simcluster.noise.experts import varies
from simcluster.noise.sources import Source
from simcluster.scenario.resolved import Scenario
from simcluster.scenario.spec import DRAWN, OF_DEVICES

_SPREAD: dict[Source, tuple[str, ...]] = {
    "op_jitter": ("cv",),
    "arrival_skew": ("mean_s",),
    "small_messages": ("sigma", "shoulder", "tail"),
    "device_spread": ("compute", "memory", "outliers"),
    "drift": ("compute", "memory"),
    "clock_excursions": ("every_s",),
    "rare_stalls": ("every_s",),
    "host_pauses": ("every_s",),
}
"""Parameters of which one must be positive for a source to draw anything that matters."""
OF_COLLECTIVES = ("arrival_skew", "small_messages")
"""Sources that draw for ranks which meet, and nothing for a rank alone."""
_OF_GROUPS = ("op_jitter", "small_messages", "moe_routing", "rare_stalls")


def drawn_sources(scenario: Scenario) -> list[str]:
    """Which of `spec.DRAWN` a scenario draws from, in their order."""
    spec, kind = scenario.requests_spec(), scenario.device.kind
    drawn = {
        "arrivals": spec.arrivals is not None and spec.arrivals.kind in ("poisson", "gamma"),
        "prompt_tokens": spec.prompt_tokens is not None and spec.prompt_tokens.kind != "fixed",
        "output_tokens": spec.output_tokens is not None and spec.output_tokens.kind != "fixed",
        "spread": spec.spread_quantised,
    }
    for event in scenario.events:
        drawn[event.noise or "events"] = drawn.get(event.noise or "events", False) or event.mtbf_s is not None
    several = len(scenario.replicas[0].stages[0].devices) > 1
    for source, parameters in _SPREAD.items():
        values = scenario.noise.values(source, kind) or {}
        matters = any(values.get(name, 0) > 0 for name in parameters)
        drawn[source] = matters and (several or source not in OF_COLLECTIVES)
    is_routed = varies(scenario.model, scenario.wafer is not None, scenario.weight_stream is not None)
    drawn["moe_routing"] = is_routed and scenario.noise.values("moe_routing", kind) is not None
    return [source for source in DRAWN if drawn.get(source)]


def devices_drawn(scenario: Scenario, source: str) -> list[str]:
    """Devices with a stream of this source: all, or the first of each stage or replica where they share one."""
    if source not in OF_DEVICES:
        return []
    laid = [stage for replica in scenario.replicas for stage in replica.stages]
    stages = [stage.devices for stage in laid if source != "moe_routing" or "moe" in stage.layers.kinds]
    if source == "host_pauses":
        return [replica.stages[0].devices[0] for replica in scenario.replicas]
    return [name for devices in stages for name in (devices[:1] if source in _OF_GROUPS else devices)]
