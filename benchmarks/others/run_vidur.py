"""
Run the workload with vidur: Llama-2-70B on eight H100, with operator times computed here.

vidur downloads its tables of operator times from Hugging Face, and has none for this model. To avoid downloads, this
script supplies a table from a roofline: events, scheduler and metrics are those of vidur, the times are not. Time and
memory for fitting and loading its own tables are not included.
"""

from __future__ import annotations

import os
from typing import Any

from work import Clock, given, report

os.environ |= {"WANDB_MODE": "disabled", "HF_HUB_OFFLINE": "1"}
clock = Clock()
from vidur.config import SimulationConfig  # noqa: E402
from vidur.config.config import (  # noqa: E402
    CacheConfig,
    ClusterConfig,
    FixedRequestLengthGeneratorConfig,
    MetricsConfig,
    PoissonRequestIntervalGeneratorConfig,
    RandomForrestExecutionTimePredictorConfig,
    ReplicaConfig,
    SarathiSchedulerConfig,
    SyntheticRequestGeneratorConfig,
)
from vidur.events import BaseEvent  # noqa: E402
from vidur.execution_time_predictor.sklearn_execution_time_predictor import (  # noqa: E402
    SklearnExecutionTimePredictor,
)
from vidur.simulator import Simulator  # noqa: E402
from vidur.utils.random import set_seeds  # noqa: E402

N_DEVICES = 8
MAX_STEP_TOKENS = 8192
MAX_BATCH = 256
KV_GRAIN_TOKENS = 256
BYTES_PER_S, FLOP_PER_S = 3.35e12, 989e12  # NVIDIA H100 SXM data sheet, dense 16 bit
LAYER_PARAMETERS = 69e9 / 80
KV_BYTES_PER_TOKEN_AND_LAYER = 2 * 8 * 128 * 2  # keys and values of 8 heads of 128, 16 bit

OPERATORS = (
    *("attn_pre_proj", "attn_post_proj", "mlp_up_proj", "mlp_down_proj", "mlp_act", "attn_rope", "add"),
    *("attn_kv_cache_save", "input_layernorm", "post_attention_layernorm", "all_reduce"),
)

Table = dict[tuple[int, ...], float]


def layer_ms(n_tokens: int) -> float:
    """Roofline of a layer's weights on one of the devices."""
    share = LAYER_PARAMETERS / N_DEVICES
    return 1e3 * max(2 * share / BYTES_PER_S, 2 * share * n_tokens / FLOP_PER_S)


def operator_times_ms(max_context_tokens: int) -> dict[str, Table]:
    """Tables as vidur loads them: weights under one operator, reading the KV cache under another, the rest free."""
    free: Table = {(n,): 0.0 for n in range(1, MAX_STEP_TOKENS + 1)}
    contexts = range(KV_GRAIN_TOKENS, max_context_tokens + KV_GRAIN_TOKENS, KV_GRAIN_TOKENS)
    kv_ms_per_token = 1e3 * KV_BYTES_PER_TOKEN_AND_LAYER / N_DEVICES / BYTES_PER_S
    return {
        **dict.fromkeys(OPERATORS, free),
        "mlp_up_proj": {(n,): layer_ms(n) for n in range(1, MAX_STEP_TOKENS + 1)},
        "attn_decode": {(n, kv): n * kv * kv_ms_per_token for n in range(1, MAX_BATCH + 1) for kv in contexts},
        "attn_prefill": {(kv, n): 0.0 for kv in contexts for n in range(32, MAX_STEP_TOKENS + 1, 32)},
    }


class TimedSimulator(Simulator):
    """vidur's simulator, with a time mark before it writes."""

    def _write_output(self) -> None:
        global simulate_s
        simulate_s = clock.lap_s()
        super()._write_output()


def made_here(_predictor: Any) -> dict[str, Table]:
    """Replaces the download."""
    return operator_times_ms(work.prompt_tokens + work.output_tokens)


work = given()
import_s = clock.lap_s()

SklearnExecutionTimePredictor._load_predictions_from_hf = made_here
config = SimulationConfig(
    log_level="error",
    cluster_config=ClusterConfig(
        replica_config=ReplicaConfig(
            model_name="meta-llama/Llama-2-70b-hf", num_pipeline_stages=1, tensor_parallel_size=N_DEVICES
        ),
        cache_config=CacheConfig(),
        replica_scheduler_config=SarathiSchedulerConfig(batch_size_cap=MAX_BATCH, chunk_size=MAX_STEP_TOKENS),
    ),
    request_generator_config=SyntheticRequestGeneratorConfig(
        num_requests=work.requests,
        length_generator_config=FixedRequestLengthGeneratorConfig(
            prefill_tokens=work.prompt_tokens, decode_tokens=work.output_tokens
        ),
        interval_generator_config=PoissonRequestIntervalGeneratorConfig(qps=work.rate_req_per_s),
    ),
    execution_time_predictor_config=RandomForrestExecutionTimePredictorConfig(
        cache_dir=str(work.folder / "cache"), kv_cache_prediction_granularity=KV_GRAIN_TOKENS
    ),
    # Plots need a browser; all other default output is written.
    metrics_config=MetricsConfig(output_dir=str(work.folder), store_plots=False),
)
set_seeds(config.seed)
simulator = TimedSimulator(config)
requests = [event._request for _, event in simulator._event_queue]
simulator.run()
write_s = clock.lap_s()

report(
    "vidur",
    output_tokens=sum(request.num_processed_decode_tokens for request in requests),
    laps_s=(import_s, simulate_s, write_s),
    events=BaseEvent._id,
    what="Llama-2-70B, 8 x H100, TP8, operator times of a roofline made for this, as its own have to be downloaded; "
    "all-reduces at a fixed 20 us; no noise; KV blocks; writes steps (Chrome trace) and requests, plots off",
)
