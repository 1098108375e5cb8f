"""Run the workload with vllm-sr-sim: Llama-2-70B on one pool of one instance of eight H100."""

from __future__ import annotations

import json

from work import Clock, arrivals_s, given, report

clock = Clock()
from fleet_sim.core import Fleet, FleetConfig, PoolConfig, Request  # noqa: E402
from fleet_sim.gpu_profiles import ProfileBuilder, ServingConfig  # noqa: E402
from fleet_sim.hardware import H100_SXM  # noqa: E402
from fleet_sim.models import ModelSpec  # noqa: E402

LLAMA_2_70B = ModelSpec(
    name="llama-2-70b",
    n_layers=80,
    n_heads=64,
    n_kv_heads=8,
    hidden_size=8192,
    intermediate_size=28672,
    vocab_size=32000,
    max_position=4096,
)

work = given()
import_s = clock.lap_s()

profile = ProfileBuilder().build(hw=H100_SXM, model=LLAMA_2_70B, cfg=ServingConfig(tp=8, max_slots=256))
pool = PoolConfig(pool_id="only", gpu=profile, n_gpus=1, max_ctx=LLAMA_2_70B.max_position)
fleet = Fleet(FleetConfig(pools=[pool], router_type="LeastLoadedRouter"))
arrivals = [
    (at_s, Request(req_id=i, arrival_time=at_s, l_in=work.prompt_tokens, l_out=work.output_tokens))
    for i, at_s in enumerate(arrivals_s(work))
]
result = fleet.run(arrivals)
simulate_s = clock.lap_s()

rows = [(r.req_id, r.arrival_time, r.start_time, r.ttft, r.tpot, r.e2e_latency) for r in result.completed]
(work.folder / "requests.json").write_text(json.dumps({"summary": result.summary(), "requests": rows}))
write_s = clock.lap_s()

report(
    "vllm-sr-sim",
    output_tokens=sum(request.l_out for request in result.completed),
    laps_s=(import_s, simulate_s, write_s),
    events=len(arrivals) + len(result.completed),
    what="Llama-2-70B, H100, TP8; a request is one event whose length is set when it starts: no steps, no tokens, "
    "no effect of later requests; no network, no noise; KV blocks; writes a row per request",
)
