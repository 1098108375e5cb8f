"""Run the workload with sched-sim: Llama-2-70B on one device with the memory, bandwidth and FLOP/s of eight H100."""

from __future__ import annotations

from work import Clock, arrivals_s, given, report

clock = Clock()
from sched_sim.core.event_engine import Simulator  # noqa: E402
from sched_sim.core.request import Request  # noqa: E402
from sched_sim.hardware.presets import get_hardware_profile  # noqa: E402
from sched_sim.schedulers.factory import create_scheduler  # noqa: E402
from sched_sim.visualizer.exporter import export_metrics_json  # noqa: E402
from sched_sim.visualizer.perfetto import export_perfetto_trace  # noqa: E402

N_DEVICES = 8

work = given()
import_s = clock.lap_s()

h100 = get_hardware_profile("h100")
hardware = h100.model_copy(
    update={
        "name": f"{N_DEVICES} x {h100.name} as one",
        "vram_gb": N_DEVICES * h100.vram_gb,
        "memory_bandwidth_gb_s": N_DEVICES * h100.memory_bandwidth_gb_s,
        "fp16_tflops": N_DEVICES * h100.fp16_tflops,
        "model_name": "meta-llama/Llama-2-70b-hf",
        "parameter_count_billions": 69.0,
    }
)
# The limits of simcluster's scheduler, if this one has them.
scheduler = create_scheduler("chunked", hardware, token_budget=8192, max_batch_size=256)
simulator = Simulator(hardware, scheduler)
simulator.submit_workload(
    [
        Request(
            request_id=f"req_{i}",
            arrived_at=at_s,
            prompt_tokens=work.prompt_tokens,
            output_tokens=work.output_tokens,
        )
        for i, at_s in enumerate(arrivals_s(work))
    ]
)
metrics = simulator.run()
simulate_s = clock.lap_s()

export_metrics_json(metrics, work.folder / "metrics.json")
export_perfetto_trace(metrics, simulator.iteration_records, simulator.all_requests, work.folder / "trace.json")
write_s = clock.lap_s()

report(
    "sched-sim",
    output_tokens=sum(len(request.token_timestamps) for request in simulator.all_requests),
    laps_s=(import_s, simulate_s, write_s),
    events=simulator.event_counter,
    what="Llama-2-70B on one device of 8 H100's memory, bandwidth and FLOP/s; no tensor parallelism, no network, "
    "no noise; KV blocks; writes steps and requests (Perfetto trace)",
)
