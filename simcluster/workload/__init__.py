"""Workloads: which requests come when, and how long they are."""

from simcluster.workload.materialise import Requests, materialise
from simcluster.workload.spec import WorkloadSpec

__all__ = ["Requests", "WorkloadSpec", "materialise"]
