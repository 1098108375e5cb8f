"""Run the workload with kavier: the times of Llama-2-70B requests on one H100, each by itself."""

from __future__ import annotations

from work import Clock, given, report

clock = Clock()
import pandas  # noqa: E402, F401
import pyarrow.parquet  # noqa: E402, F401
from kavier.sdk.inference.facade import export_opendc, run_inference  # noqa: E402

work = given()
import_s = clock.lap_s()

result = run_inference(
    {
        "model": "llama2-70b",
        "gpu": "H100-SXM",
        "num_requests": work.requests,
        "input_tokens": work.prompt_tokens,
        "output_tokens": work.output_tokens,
        "kv_cache": True,
        "prefix_policy": "none",
        "prefix_min_tokens": 1024,
    }
)
simulate_s = clock.lap_s()

export_opendc(result, work.folder / "opendc")
write_s = clock.lap_s()

report(
    "kavier",
    output_tokens=result["total_tokens"] - work.requests * work.prompt_tokens,
    laps_s=(import_s, simulate_s, write_s),
    events=None,
    what="Llama-2-70B on one H100, whose memory is not checked; two formulas and a GPU use every 0.1 s per request: "
    "no arrivals, no queue, no batch, no tensor parallelism, no network, no noise; writes a row per request",
)
