"""Resolve a scenario document: names become values, and all errors are reported at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path as FilePath
from typing import Any, TypeVar

from pydantic import ValidationError

from simcluster.catalog import entries
from simcluster.catalog.shapes import ModelShape
from simcluster.files import source
from simcluster.files.problems import Impossible, InputError, Problem
from simcluster.files.source import Document, Path, show_path
from simcluster.files.validation import validate
from simcluster.noise.read import read_noise
from simcluster.noise.sources import SOURCES, Noise
from simcluster.scenario.assumptions import assumptions
from simcluster.scenario.contradictions import contradictions, not_a_decoder
from simcluster.scenario.files import copied
from simcluster.scenario.layout import Written, devices_of, require_bounded
from simcluster.scenario.network import events, network, noise_events
from simcluster.scenario.pool import resolved_pool
from simcluster.scenario.requests import require_requests
from simcluster.scenario.resolved import Event, Scenario, files_sha256, workload_files
from simcluster.scenario.spec import MAX_EVENTS, ONE_POOL, EventSpec, ModelFile, NoiseOverride, ScenarioFile
from simcluster.topology.model import Topology
from simcluster.topology.read import from_document
from simcluster.topology.read import load as load_topology

T = TypeVar("T")


def _items(pools: Any) -> list[tuple[str, Any]]:
    """The pools of a document whose form may be wrong."""
    return list(pools.items()) if isinstance(pools, dict) else []


class Resolver:
    """Resolves one document and gathers problems; each part is resolved as far as what it needs is valid."""

    def __init__(self, document: Document, path: FilePath) -> None:
        self._document = document
        self._path = path
        self._problems: list[Problem] = []

    def scenario(self) -> Scenario:
        """
        The resolved scenario.

        Raises:
            Impossible: all is well-formed and known, but not together.
            InputError: with every fault of form and every unknown name.
        """
        self._problems += self._keys_given()
        topology = self._try(self._topology)
        try:
            file = validate(self._document, ScenarioFile)
        except InputError as error:
            self._problems += error.problems[: source.MAX_PROBLEMS + 1 - len(self._problems)]
            self._look_up_names(topology)
            raise InputError(self._problems) from None
        models = self._models(file)
        noise = self._try(lambda: self._noise(file.noise))
        workload = self._try(lambda: self._workload(file))
        stated: tuple[Event, ...] | None = None
        if topology is not None:
            stated = self._try(lambda: events(self._document, dict(enumerate(file.events)), topology))
        if self._problems or topology is None or noise is None or workload is None:
            raise InputError(self._problems)
        pools = self._written_pools(file, topology)
        try:
            scenario = self._built(file, pools, models, noise, workload, stated or ())
        except InputError as error:
            raise Impossible(error.problems) from None
        except ValidationError as error:  # values that are fine one by one and make something beyond all bounds
            raise Impossible(
                self._document.problem((), f"{show_path(fault['loc'])} of {fault['input']!s:.80}", fault["msg"])
                for fault in error.errors()
            ) from None
        problems = [
            self._document.problem(_as_written(path, pools), found, expected)
            for path, found, expected in contradictions(scenario)
        ]
        if problems:
            raise Impossible(problems)
        return scenario

    def _keys_given(self) -> Iterator[Problem]:
        """What is given twice or not at all: a deployment or pools, a router, and a model for every pool."""
        data = self._document.data
        if not isinstance(data, dict):
            return
        has_model = data.get("model") is not None
        if "pools" not in data:
            if "router" in data:
                expected = "expected it inside of 'deployment': at the top it is of 'pools'"
                yield self._document.problem(("router",), "a router without pools", expected)
            if not has_model:
                yield self._document.problem(("model",), "missing", "it must be given")
            return
        if "deployment" in data:
            found, expected = "a deployment next to pools", "expected one of 'deployment' and 'pools'"
            yield self._document.problem(("deployment",), found, expected)
        pools = data["pools"]
        for name, pool in pools.items() if isinstance(pools, dict) and not has_model else ():
            if not isinstance(pool, dict) or pool.get("model") is None:
                expected = "expected a model of the pool, or one at the top for all"
                yield self._document.problem(("pools", name, "model"), "missing", expected)

    def _try(self, part: Callable[[], T]) -> T | None:
        """The part, or None with its problems kept."""
        try:
            return part()
        except InputError as error:
            self._problems += error.problems
            return None

    def _fail(self, path: Path, found: str, expected: str) -> InputError:
        return InputError([self._document.problem(path, found, expected)])

    def _folder(self, path: Path) -> FilePath:
        """The folder that a file named at this path is relative to."""
        return self._document.folder(path)

    def _from_file(self, path: Path, read: Callable[[], T]) -> T:
        """What a file named at this path holds; one that cannot be read is a fault of the line that names it."""
        try:
            return read()
        except InputError as error:
            raise InputError(
                problem
                if problem.line or problem.path
                else self._document.problem(path, f"{problem.file}: {problem.found}", problem.expected)
                for problem in error.problems
            ) from None

    def _topology(self) -> Topology | None:
        data = self._document.data.get("topology") if isinstance(self._document.data, dict) else None
        if isinstance(data, dict):
            return from_document(self._document, ("topology",))
        if not isinstance(data, str):
            return None  # reported by validation
        try:
            return self._from_file(("topology",), lambda: load_topology(data, self._folder(("topology",))))
        except entries.UnknownName as error:
            raise self._fail(("topology",), error.found, error.expected) from None

    def _look_up_names(self, topology: Topology | None) -> None:
        """Report unknown names too when the form of the file is wrong, as far as they can be read."""
        data = self._document.data if isinstance(self._document.data, dict) else {}
        noise, pools = data.get("noise"), data.get("pools")
        for path, entry in (((), data), *((("pools", name), pool) for name, pool in _items(pools))):
            if isinstance(entry, dict) and isinstance(model := entry.get("model"), str):
                self._named_model(model, (*path, "model"))
        if isinstance(noise, str):
            self._try(lambda: self._noise(noise))
        if isinstance(entries := data.get("events"), list) and topology is not None:
            sound = {}
            for number, entry in enumerate(entries[:MAX_EVENTS]):
                with suppress(ValidationError):  # reported by validation
                    sound[number] = EventSpec.model_validate(entry)
            self._try(lambda: events(self._document, sound, topology))

    def _models(self, file: ScenarioFile) -> list[ModelShape]:
        """The model of every pool; problems of those that cannot be read are kept."""
        common = None if file.model is None else self._named_model(file.model, ("model",))
        found = [
            common if spec.model is None else self._named_model(spec.model, ("pools", name, "model"))
            for name, spec in file.pools.items()
        ]
        return [model for model in (found if file.pools else [common]) if model is not None]

    def _named_model(self, named: str | ModelFile, at: Path) -> ModelShape | None:
        return self._try(lambda: self._model(named, at))

    def _model(self, named: str | ModelFile, at: Path) -> ModelShape:
        if isinstance(named, ModelFile):
            from simcluster.catalog import hf_config

            config_at = (*at, "config")
            config = self._folder(config_at) / named.config
            shape = self._from_file(config_at, lambda: hf_config.read(config))
        else:
            try:
                shape = entries.model(named)
            except entries.UnknownName as error:
                raise self._fail(at, error.found, error.expected) from None
        for _, found, expected in not_a_decoder(shape):
            raise self._fail(at, found, expected)
        return shape

    def _noise(self, named: str | NoiseOverride) -> Noise:
        override = named if isinstance(named, NoiseOverride) else NoiseOverride(preset=named)
        at: Path = ("noise",) if isinstance(named, str) else ("noise", "preset")
        name = override.preset
        try:
            if name.endswith(".yaml"):
                file = self._folder(at) / name
                preset = self._from_file(at, lambda: read_noise(file.stem, source.read(file)))
            else:
                preset = _preset(name)
        except entries.UnknownName as error:
            raise self._fail(at, error.found, error.expected) from None
        self._require_changes(override, preset)
        return preset.changed(override.stated(), tuple(override.without))

    def _require_changes(self, override: NoiseOverride, preset: Noise) -> None:
        """Require that sources left out are in the preset and named once, and that stated ones have parameters."""
        problems: list[Problem] = []
        stated = override.stated()
        for source_name in SOURCES:
            if source_name in override.model_fields_set and source_name not in stated:
                expected = f"expected its parameters; to leave it out, write without: [{source_name}]"
                problems.append(self._document.problem(("noise", source_name), "nothing", expected))
        there = [row.source for row in preset.rows]
        for index, name in enumerate(override.without):
            if name in override.without[:index]:
                found, expected = f"'{name}' again", "expected each source once"
            elif name in stated:
                found, expected = f"'{name}', which is stated too", "expected it either stated or left out"
            elif name not in there:
                found = f"'{name}', which preset {override.preset} does not have"
                expected = f"expected some of {', '.join(there)}" if there else "remove it"
            else:
                continue
            problems.append(self._document.problem(("noise", "without", index), found, expected))
        if problems:
            raise InputError(problems)

    def _workload(self, file: ScenarioFile) -> dict[str, Any]:
        """The section as written, files by absolute path."""
        workload: dict[str, Any] = copied(self._document.data["workload"])
        for path in workload_files(workload):
            inner = workload if len(path) == 1 else workload[path[0]]
            found = (self._folder(("workload", *path)) / inner[path[-1]]).absolute()
            if not source.is_file(found):
                raise self._fail(("workload", *path), f"no file '{inner[path[-1]]}'", "expected a readable file")
            inner[path[-1]] = str(found)
        require_requests(self._document, workload, files_sha256(workload), file.seeds)
        return workload

    def _written_pools(self, file: ScenarioFile, topology: Topology) -> list[Written]:
        """The pools as the file has them; that of a deployment is the only one."""
        if not file.pools:
            at: Path = ("deployment",)
            return [Written(self._document, ONE_POOL, at, file.deployment, ("model",), topology)]
        found = []
        for name, spec in file.pools.items():
            at = ("pools", name)
            model_at: Path = ("model",) if spec.model is None else (*at, "model")
            found.append(Written(self._document, name, at, spec, model_at, topology))
        return found

    def _built(
        self, file: ScenarioFile, pools: list[Written], models: list[ModelShape], noise: Noise,
        workload: dict[str, Any], stated: tuple[Event, ...],
    ) -> Scenario:  # fmt: skip
        """The scenario, whether or not all of it can be together: `contradictions` says that."""
        topology, names = pools[0].topology, devices_of(pools)
        require_bounded(list(zip(pools, models, strict=True)))
        problems: list[Problem] = []
        built = []
        for written, model, devices in zip(pools, models, names, strict=True):
            try:
                built.append(resolved_pool(written, model, devices))
            except InputError as error:
                problems += error.problems
        if problems:
            raise InputError(problems)
        kinds = {name: pool.device.kind for pool in built for name in pool.devices}
        events = (*stated, *noise_events(noise, kinds, topology))
        replicas = [replica for pool in built for replica in pool.replicas]
        remarks = [
            assumptions(pool, written.spec, noise, len(pools) == 1)
            for pool, written in zip(built, pools, strict=True)
        ]
        return Scenario(
            name=self._path.stem,
            title=file.title or self._path.stem,
            seed=file.seed,
            source_seeds=file.source_seeds,
            fidelity=file.fidelity,
            topology=topology.name,
            router=file.router if file.pools else file.deployment.router,
            pools=tuple(built),
            events=events,
            network=network(topology, replicas, bool(events) or file.fidelity == "message"),
            workload=workload,
            workload_sha256=files_sha256(workload),
            noise=noise,
            limits_ms={name: limit_s * 1e3 for name, limit_s in file.slo if limit_s is not None},
            gates=tuple(file.gates),
            steady_state=file.steady_state,
            assumptions=tuple(dict.fromkeys(remark for of_pool in remarks for remark in of_pool)),
        )


def _as_written(path: Path, pools: Sequence[Written]) -> Path:
    """Where in a scenario file something stands that a resolved scenario has at this path."""
    match path:
        case ("events" | "source_seeds", *_):
            return path[:2]
        case ("workload" | "noise", *_):
            return path[:1]
        case ("pools", int(number), *inner):
            return pools[number].path_of(tuple(inner))
    return ("topology",)


@cache
def _preset(name: str) -> Noise:
    return read_noise(name)
