"""Workloads: arrival times and lengths of requests."""

from simcluster.workload.materialise import Requests, materialise
from simcluster.workload.spec import WorkloadSpec

__all__ = ["Requests", "WorkloadSpec", "materialise"]
