"""Where the work happens: in the calling process, or on a Ray cluster. Both run the same `Chain`.

On Ray, what travels is part descriptors (path, digest), never audio. Consecutive stages with the same resources share one actor; a
change of resources starts a new operator of the same Ray Data pipeline, so that part 8 is decoded while part 7 is transcribed.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import tempfile
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from manifests.part import PartRef
from manifests.store import Store
from pipeline.contract import Resources, RowStage, SilverError, alone
from pipeline.metrics import Metrics
from pipeline.plan import Node, Todo
from pipeline.worker import Chain, Failed, Made, Step, from_wire, to_wire

T = TypeVar("T")
R = TypeVar("R")
CARRIED = ("SILVER_MODELS", "HF_HUB_OFFLINE")
JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Set by Ray in the entrypoint of a submitted job."""
Outcome = tuple[list[Made], Failed | None]
Report = Callable[[Made], None]


def steps_of(nodes: Sequence[Node]) -> list[Step]:
    """The part stages among nodes, as workers need them."""
    return [Step(node.stage, node.own, node.manifest.folder, node.older) for node in nodes if isinstance(node.stage, RowStage)]


class Executor(ABC):
    """Runs parts through a block of stages, and functions over items."""

    @abstractmethod
    def run_parts(self, store: Store, block: Sequence[Node], todo: Sequence[Todo], report: Report) -> Iterator[Outcome]:
        """Take every part through the stages it has left; outcomes as they finish. `report` is called after each stage of each part."""

    @abstractmethod
    def map(self, function: Callable[[T], R], items: Iterable[T], *, light: bool = False) -> Iterator[R]:
        """Run a function over items, results in order. `light`: it needs no model and no audio, see `Stage.light`."""

    @abstractmethod
    def together(self, function: Callable[[T], None], argument: T, workers: int | None) -> None:
        """Run a function as a group of workers that talk through `torch.distributed`; see `CorpusContext.together`."""


class InlineExecutor(Executor):
    """Everything in the calling process: for tests, the debugger, and work too small for Ray."""

    def run_parts(self, store: Store, block: Sequence[Node], todo: Sequence[Todo], report: Report) -> Iterator[Outcome]:
        """See Executor."""
        chain = Chain(store, steps_of(block), device="cpu", threads=os.cpu_count() or 1)
        for item in todo:
            yield chain.run(item.index, item.ref, item.start, report)

    def map(self, function: Callable[[T], R], items: Iterable[T], *, light: bool = False) -> Iterator[R]:
        """See Executor."""
        return map(function, items)

    def together(self, function: Callable[[T], None], argument: T, workers: int | None) -> None:
        """See Executor."""
        alone(function, argument, workers)


@dataclass(frozen=True)
class Group:
    """Consecutive stages that share one actor."""

    steps: list[Step]
    first: int  # position of its first step in the block
    resources: Resources  # with every value decided


class RayExecutor(Executor):
    """Ray Data over part descriptors. Connects, or starts a cluster on this machine, when the first work comes."""

    def __init__(self, address: str | None = None) -> None:
        self._address = address
        self._mine = False
        self.connected = False

    def connect(self) -> None:
        """Connect once.

        Raises:
            SilverError: no cluster answers at the address.
        """
        # The core worker warns on every Ray Data actor, whose arguments are always in the object store.
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        import ray

        self.connected = True
        if ray.is_initialized():
            return
        address = self._address or os.environ.get("RAY_ADDRESS")
        quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False, "configure_logging": False}
        try:
            if address:
                # Workers of a cluster that runs already look for models where this process does. A job brings its own environment.
                carried = {name: os.environ[name] for name in CARRIED if name in os.environ}
                environment = {"env_vars": carried} if carried and JOB not in os.environ else None
                ray.init(address=address, runtime_env=environment, **quiet)
            else:
                ray.init(address="local", include_dashboard=False, **quiet)
                self._mine = True
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise SilverError(f"no Ray cluster at {address or 'this machine'}: {error}") from error
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)

    def close(self) -> None:
        """Stop the cluster if this executor started it."""
        if self._mine:
            import ray

            ray.shutdown()

    def run_parts(self, store: Store, block: Sequence[Node], todo: Sequence[Todo], report: Report) -> Iterator[Outcome]:
        """See Executor."""
        import ray

        self.connect()
        groups = make_groups(block, ray.cluster_resources())
        mailbox = ray.remote(num_cpus=0, max_restarts=-1)(_Mailbox).remote()
        descriptors = [
            {"part": json.dumps({"index": item.index, "ref": item.ref.to_json(), "start": item.start, "made": [], "failed": None})}
            for item in todo
        ]
        blocks = len(todo) if not all(node.stage.light for node in block) else min(len(todo), 64)
        dataset = ray.data.from_items(descriptors, override_num_blocks=blocks)
        for group in groups:
            resources = group.resources
            workers = min(resources.workers or 1, len(todo))
            named = type("+".join(step.stage.name for step in group.steps), (_Worker,), {})  # so that Ray's dashboard says what it is
            dataset = dataset.map_batches(
                named,
                fn_constructor_args=(store, group.steps, group.first, mailbox, math.ceil(resources.num_cpus or 1)),
                batch_size=1,
                # One part at a time: a queue before one actor would leave the others idle, and parts are minutes long.
                compute=ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=1),
                num_cpus=resources.num_cpus,
                num_gpus=resources.num_gpus,
            )
        with _forwarding(mailbox, report):
            for row in dataset.iter_rows():
                value = json.loads(row["part"])
                made = [result for result in map(from_wire, value["made"]) if isinstance(result, Made)]
                failed = from_wire(value["failed"]) if value["failed"] else None
                yield made, failed if isinstance(failed, Failed) else None

    def map(self, function: Callable[[T], R], items: Iterable[T], *, light: bool = False) -> Iterator[R]:
        """See Executor. A bounded number of tasks is in flight."""
        import ray

        self.connect()
        task = ray.remote(num_cpus=1)(_call)
        window = 2 * int(ray.cluster_resources().get("CPU", 1))
        pending: deque[Any] = deque()
        try:
            for item in items:
                pending.append(task.remote(function, item))
                if len(pending) >= window:
                    yield ray.get(pending.popleft())
            while pending:
                yield ray.get(pending.popleft())
        except ray.exceptions.RayTaskError as error:
            raise error.cause from error  # the function's own error, as it would be inline

    def together(self, function: Callable[[T], None], argument: T, workers: int | None) -> None:
        """See Executor. By Ray Train; what it would store for us is in the corpus root already, so its own folder is a temporary one."""
        import ray
        from ray.train import RunConfig, ScalingConfig
        from ray.train.torch import TorchTrainer

        self.connect()
        cluster = ray.cluster_resources()
        gpus = int(cluster.get("GPU", 0))
        count = workers or max(1, gpus)
        cpus = max(1, int(cluster.get("CPU", 1)) // count)
        with tempfile.TemporaryDirectory(prefix="silver-train-") as folder:
            trainer = TorchTrainer(
                _together,
                train_loop_config={"function": function, "argument": argument, "threads": cpus},
                scaling_config=ScalingConfig(num_workers=count, use_gpu=gpus > 0, resources_per_worker={"CPU": cpus, "GPU": int(gpus > 0)}),
                run_config=RunConfig(storage_path=folder, name="train"),
            )
            try:
                trainer.fit()
            except Exception as error:
                raise _cause(error) from error


class LazyExecutor(Executor):
    """Ray, unless what is to do is too little to start it for: a moved threshold takes seconds, not the seconds of a cluster's start."""

    FEW = 500  # parts of stages that need neither model nor audio

    def __init__(self, address: str | None = None) -> None:
        self.ray = RayExecutor(address)
        self._inline = InlineExecutor()
        self._small = False

    def run_parts(self, store: Store, block: Sequence[Node], todo: Sequence[Todo], report: Report) -> Iterator[Outcome]:
        """See Executor."""
        started = {item.start for item in todo}
        left = block[min(started) :] if started else []
        # Where Ray runs already there is nothing to save, and DuckDB aborts in the driver of a Ray job once the core worker is loaded.
        self._small = len(todo) <= self.FEW and all(node.stage.light for node in left) and not self.ray.connected
        return (self._inline if self._small else self.ray).run_parts(store, block, todo, report)

    def map(self, function: Callable[[T], R], items: Iterable[T], *, light: bool = False) -> Iterator[R]:
        """See Executor."""
        work = list(items)
        small = len(work) <= (self.FEW if light else 2) and not self.ray.connected
        return (self._inline if small else self.ray).map(function, work)

    def together(self, function: Callable[[T], None], argument: T, workers: int | None) -> None:
        """See Executor."""
        self.ray.together(function, argument, workers)


def _call(function: Callable[[T], R], item: T) -> R:
    """What a Ray task of `map` runs: Ray itself takes plain functions only."""
    return function(item)


def _together(config: dict[str, Any]) -> None:
    """What each of the workers of `together` runs."""
    import torch

    torch.set_num_threads(config["threads"])
    config["function"](config["argument"])


def _cause(error: BaseException) -> BaseException:
    """The function's own error, which Ray Train wraps; or the error itself."""
    for wrapped in getattr(error, "worker_failures", {}).values():
        return _cause(wrapped)
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, SilverError) else error


def make_groups(block: Sequence[Node], cluster: dict[str, float]) -> list[Group]:
    """Consecutive stages with the same resources share an actor; every value that the recipe leaves open is decided from the cluster.

    >>> make_groups([], {"CPU": 2.0})
    []
    """
    cpus, gpus = cluster.get("CPU", 1.0), cluster.get("GPU", 0.0)
    wanted = [_wanted(node, gpus) for node in block]
    runs: list[tuple[int, list[Node], Resources]] = []
    for position, (node, resources) in enumerate(zip(block, wanted, strict=True)):
        if runs and runs[-1][2] == resources:
            runs[-1][1].append(node)
        else:
            runs.append((position, [node], resources))
    on_cpu = sum(1 for _, _, resources in runs if not resources.num_gpus) or 1
    groups = []
    for position, nodes, resources in runs:
        num_gpus = resources.num_gpus or 0.0
        if num_gpus > gpus:
            raise SilverError(
                f"{nodes[0].name} wants {num_gpus:g} GPU a worker, and the cluster has {gpus:g}; set {nodes[0].name}.resources.num_gpus"
            )
        # Each operator gets its share of the CPUs: with fewer CPUs than operators, a fraction, so that none waits for another to end.
        num_cpus = resources.num_cpus if resources.num_cpus is not None else (0.0 if num_gpus else min(1.0, cpus / on_cpu))
        if num_cpus > cpus:
            raise SilverError(
                f"{nodes[0].name} wants {num_cpus:g} CPUs a worker, and the cluster has {cpus:g}; set {nodes[0].name}.resources.num_cpus"
            )
        fit = gpus / num_gpus if num_gpus else cpus / on_cpu / num_cpus
        workers = resources.workers or max(1, int(fit + 1e-6))
        groups.append(Group(steps_of(nodes), position, Resources.model_construct(num_cpus=num_cpus, num_gpus=num_gpus, workers=workers)))
    return groups


def _wanted(node: Node, gpus: float) -> Resources:
    resources = node.spec.resources
    if resources.num_gpus is None and node.stage.accelerated and gpus:
        return resources.model_copy(update={"num_gpus": 1.0})
    return resources


class _Worker:
    """A Ray Data actor around a chain."""

    def __init__(self, store: Store, steps: list[Step], first: int, mailbox: Any, threads: int) -> None:
        import ray

        device = "cuda" if ray.get_gpu_ids() else "cpu"
        self.chain, self.first, self.mailbox = Chain(store, steps, device, max(1, threads)), first, mailbox
        self.metrics = Metrics(store.root.rstrip("/").rpartition("/")[2])

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        value = json.loads(str(batch["part"][0]))
        start = value["start"] - self.first
        if value["failed"] is None and start < len(self.chain.steps):
            ref = PartRef.from_json(value["ref"])
            made, failed = self.chain.run(value["index"], ref, max(0, start), self._made)
            value["made"] += [to_wire(result) for result in made]
            value["failed"] = to_wire(failed) if failed else None
            value["ref"] = made[-1].ref.to_json() if made else value["ref"]
        return {"part": [json.dumps(value)]}

    def _made(self, made: Made) -> None:
        self.metrics.made(made)
        self.mailbox.put.options(name=f"{made.stage} part {made.ref.key}").remote(to_wire(made))


class _Mailbox:
    """An actor in which workers leave what they finished, for the progress display; what counts comes back through Ray Data."""

    def __init__(self) -> None:
        self.letters: list[dict[str, Any]] = []

    def put(self, letter: dict[str, Any]) -> None:
        self.letters.append(letter)

    def take(self) -> list[dict[str, Any]]:
        letters, self.letters = self.letters, []
        return letters


@contextlib.contextmanager
def _forwarding(mailbox: Any, report: Report) -> Iterator[None]:
    import ray

    over = threading.Event()

    def deliver() -> None:
        for letter in ray.get(mailbox.take.remote()):
            result = from_wire(letter)
            if isinstance(result, Made):
                report(result)

    def forward() -> None:
        while not over.wait(0.5):
            with contextlib.suppress(ray.exceptions.RayError):  # the display may lag; the work goes on
                deliver()

    thread = threading.Thread(target=forward, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        with contextlib.suppress(ray.exceptions.RayError):
            deliver()
        ray.kill(mailbox)
