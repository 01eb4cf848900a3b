"""How long it takes to bring weights to engines: one tensor at a time against buckets, side by side.

    python benches/publish_speed.py [--engines 1] [--width 448] [--rounds 5] [--bucket-mib 16 512] [--json FILE]

Learner and engines are Ray actors in processes of their own, and hold the 339 tensors of Qwen2.5-7B with all widths
divided by 8 (`--width` is the hidden size). Engines load by copying into their parameters; what vLLM does in addition
when it loads is the same for every row and left out. `per tensor` is the loop of OpenRLHF's `broadcast_to_vllm`: for
each tensor a Ray call to every engine, a broadcast over gloo, and waiting for all calls. `ray objects` puts a bucket at a
time into Ray's object store. The other rows are what `publishing.transport` chooses, with all checks. `plain copy` copies
the same tensors once within the learner's process. Rows take turns; medians of all rounds are compared. `processor`
is the processor time of learner and engines together, which other programs on the machine change less.
"""

import argparse
import json
import os
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

import ray
import torch
import torch.distributed as dist

from thor_ray.weights import Delivery, NamedTensors, ParameterFacts, WeightReceiver, WeightSender, pack, plan_buckets

CPU = torch.device("cpu")

Times = dict[str, list[tuple[float, float]]]


@dataclass(frozen=True, slots=True)
class Row:
    """One way of publishing; ratios are of medians."""

    way: str
    seconds: float
    fastest: float
    slowest: float
    processor_seconds: float
    gib_per_second: float
    per_tensor_over_this: float
    this_over_plain_copy: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engines", type=int, default=1)
    parser.add_argument("--width", type=int, default=448, help="hidden size; Qwen2.5-7B has 3584")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bucket-mib", type=int, nargs="+", default=[16, 64, 512])
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    facts = qwen_shapes(options.width)
    nbytes = sum(each.nbytes for each in facts)
    with tempfile.TemporaryDirectory(prefix="pub-", dir="/tmp") as scratch:
        ray.init(
            address="local",
            num_cpus=options.engines + 2,
            include_dashboard=False,
            log_to_driver=False,
            _temp_dir=scratch,
        )
        try:
            times = measure(facts, options.engines, options.rounds, options.bucket_mib, Path(scratch) / "files")
        finally:
            ray.shutdown()
    print(
        f"{len(facts)} tensors, {nbytes / 2**20:.0f} MiB of bfloat16, {options.engines} engines, {options.rounds} rounds"
    )
    rows = [row(way, times, nbytes) for way in times]
    print(
        f"{'':28}{'median s':>10}{'fastest':>10}{'slowest':>10}{'processor':>11}{'GiB/s':>8}{'per tensor / this':>20}{'this / copy':>13}"
    )
    for each in rows:
        print(
            f"{each.way:28}{each.seconds:10.4f}{each.fastest:10.4f}{each.slowest:10.4f}{each.processor_seconds:11.4f}{each.gib_per_second:8.2f}"
            f"{each.per_tensor_over_this:20.2f}{each.this_over_plain_copy:13.2f}"
        )
    if options.json:
        options.json.write_text(json.dumps([asdict(each) for each in rows], indent=2), encoding="utf-8")


def qwen_shapes(width: int) -> list[ParameterFacts]:
    """The parameters of Qwen2.5-7B in checkpoint order, with all widths scaled alike."""
    scale = 3584 / width
    inner, vocabulary, keys = round(18944 / scale), round(152064 / scale), round(512 / scale)
    layer: dict[str, tuple[int, ...]] = {
        "self_attn.q_proj.weight": (width, width),
        "self_attn.q_proj.bias": (width,),
        "self_attn.k_proj.weight": (keys, width),
        "self_attn.k_proj.bias": (keys,),
        "self_attn.v_proj.weight": (keys, width),
        "self_attn.v_proj.bias": (keys,),
        "self_attn.o_proj.weight": (width, width),
        "mlp.gate_proj.weight": (inner, width),
        "mlp.up_proj.weight": (inner, width),
        "mlp.down_proj.weight": (width, inner),
        "input_layernorm.weight": (width,),
        "post_attention_layernorm.weight": (width,),
    }
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocabulary, width)}
    for index in range(28):
        shapes |= {f"model.layers.{index}.{name}": shape for name, shape in layer.items()}
    shapes |= {"model.norm.weight": (width,), "lm_head.weight": (vocabulary, width)}
    return [ParameterFacts(name, "bfloat16", shape) for name, shape in shapes.items()]


class Process:
    """A learner or an engine: parameters, and its half of each way."""

    def __init__(self, facts: Sequence[ParameterFacts], seed: int) -> None:
        torch.set_num_threads(1)
        torch.manual_seed(seed)
        self._parameters = {each.name: torch.randn(each.shape).to(torch.bfloat16) for each in facts}
        self._facts = list(facts)
        self._sender = WeightSender(0, CPU)
        self._receivers: dict[str, WeightReceiver] = {}
        self._senders: dict[str, WeightSender] = {}
        self._group: Any = None

    def processor_seconds(self) -> float:
        return time.process_time()

    def digest(self) -> float:
        return float(sum(each.double().sum() for each in self._parameters.values()))

    def join_group(self, port: int, rank: int, world: int) -> None:
        store = dist.TCPStore("127.0.0.1", port, is_master=rank == 0, wait_for_workers=False)  # type: ignore[attr-defined]
        self._group = dist.ProcessGroupGloo(store, rank, world, timedelta(seconds=60))

    def open_board(self) -> int:
        return self._sender.open_board()

    def copy(self) -> float:
        if not hasattr(self, "_copies"):
            self._copies = {name: torch.empty_like(each) for name, each in self._parameters.items()}
            self.copy()
        started = time.perf_counter()
        for name, each in self._parameters.items():
            self._copies[name].copy_(each)
        return time.perf_counter() - started

    def send_tensors(self, engines: Sequence[Any]) -> float:
        started = time.perf_counter()
        for name, tensor in self._parameters.items():
            calls = [engine.receive_tensor.remote(name, str(tensor.dtype), tensor.shape) for engine in engines]
            self._broadcast(tensor)
            ray.get(calls)
        return time.perf_counter() - started

    def receive_tensor(self, name: str, dtype: str, shape: Sequence[int]) -> None:
        weight = torch.empty(shape, dtype=getattr(torch, dtype.removeprefix("torch.")))
        self._broadcast(weight)
        self._parameters[name].copy_(weight)

    def send_objects(self, engines: Sequence[Any], bucket_bytes: int) -> float:
        started = time.perf_counter()
        calls = []
        for bucket in plan_buckets(self._facts, bucket_bytes):
            payload = torch.empty(bucket.nbytes, dtype=torch.uint8)
            pack(bucket, ((entry.name, self._parameters[entry.name]) for entry in bucket.tensors), payload)
            reference = ray.put(payload.numpy())
            calls += [engine.receive_object.remote(reference, bucket) for engine in engines]
        ray.get(calls)
        return time.perf_counter() - started

    def receive_object(self, payload: Any, bucket: Any) -> None:
        flat = torch.from_numpy(payload)
        for entry in bucket.tensors:
            raw = flat[entry.offset : entry.offset + entry.nbytes]
            self._parameters[entry.name].copy_(raw.view(torch.bfloat16).view(entry.shape))

    def send(self, delivery: Delivery) -> tuple[str, ...]:
        return self._sender_of(delivery).send(delivery, self._gathered(delivery))

    def receive(self, delivery: Delivery) -> tuple[str, ...]:
        receiver = self._receivers.setdefault(delivery.link, WeightReceiver(0, CPU))
        return receiver.receive(delivery, self._load)

    def _sender_of(self, delivery: Delivery) -> WeightSender:
        # One each, so that ways which take turns keep their links.
        return self._senders.setdefault(delivery.link, WeightSender(0, CPU))

    def _gathered(self, delivery: Delivery) -> Iterator[NamedTensors]:
        for bucket in delivery.buckets:
            yield ((entry.name, self._parameters[entry.name]) for entry in bucket.tensors)

    def _load(self, named: NamedTensors) -> None:
        for name, tensor in named:
            self._parameters[name].copy_(tensor)

    def _broadcast(self, tensor: torch.Tensor) -> None:
        options = dist.BroadcastOptions()
        options.rootRank = 0
        self._group.broadcast([tensor.view(-1).view(torch.uint8)], options).wait()


def measure(
    facts: Sequence[ParameterFacts], engines: int, rounds: int, bucket_mib: Sequence[int], directory: Path
) -> Times:
    """Seconds of each round, by the clock and of processors, by way. The first round of each is not counted: links are opened in it."""
    actor = ray.remote(num_cpus=1)(Process)
    learner = actor.remote(facts, 0)
    receivers = [actor.remote(facts, seed + 1) for seed in range(engines)]
    with socket.socket() as probe:
        probe.bind(("", 0))
        port = probe.getsockname()[1]
    ray.get([each.join_group.remote(port, rank, engines + 1) for rank, each in enumerate([learner, *receivers])])
    board = ray.get(learner.open_board.remote())
    deliveries = {}
    for transport in ("shared_memory", "gloo", "file"):
        for mib in bucket_mib:
            way = f"{transport}, {mib} MiB"
            deliveries[way] = Delivery(
                link=way.replace(" ", ""), number=0, transport=transport, address="127.0.0.1", port=board, version=0,
                buckets=plan_buckets(facts, mib * 2**20), engines=engines, timeout_seconds=60, directory=str(directory),
            )  # fmt: skip
    ways = ["plain copy", "per tensor", f"ray objects, {bucket_mib[0]} MiB", *deliveries]
    times: Times = {way: [] for way in ways}
    processes = [learner, *receivers]
    for number in range(rounds + 1):
        for way in ways:
            before = sum(ray.get([each.processor_seconds.remote() for each in processes]))
            started = time.perf_counter()
            if way == "plain copy":
                seconds = ray.get(learner.copy.remote())
            elif way == "per tensor":
                seconds = ray.get(learner.send_tensors.remote(receivers))
            elif way.startswith("ray objects"):
                seconds = ray.get(learner.send_objects.remote(receivers, bucket_mib[0] * 2**20))
            else:
                delivery = replace(deliveries[way], version=number, number=number)
                calls = [each.receive.remote(delivery.to_engine(at)) for at, each in enumerate(receivers)]
                answers = ray.get([learner.send.remote(delivery), *calls])
                seconds = time.perf_counter() - started
                assert all(answer == answers[0] for answer in answers), "the checksums differ"
            if number:
                after = sum(ray.get([each.processor_seconds.remote() for each in processes]))
                times[way].append((seconds, after - before))
    digests = ray.get([each.digest.remote() for each in processes])
    assert len(set(digests)) == 1, "the engines hold other weights than the learner"
    return times


def row(way: str, times: Times, nbytes: int) -> Row:
    seconds, processor = zip(*times[way], strict=True)
    mid = median(seconds)
    return Row(
        way=way,
        seconds=mid,
        fastest=min(seconds),
        slowest=max(seconds),
        processor_seconds=median(processor),
        gib_per_second=nbytes / 2**30 / mid,
        per_tensor_over_this=median(each for each, _ in times["per tensor"]) / mid,
        this_over_plain_copy=mid / median(each for each, _ in times["plain copy"]),
    )


if __name__ == "__main__":
    main()
