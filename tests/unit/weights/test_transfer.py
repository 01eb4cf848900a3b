"""The whole sequence over every link that runs without a GPU: both halves for real, in threads of one process."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import torch

from thor_ray import weights
from thor_ray.weights import (
    Delivery,
    NamedTensors,
    ParameterFacts,
    TransferHangError,
    Transport,
    WeightReceiver,
    WeightSender,
    WeightTransferError,
    board,
    call_off,
    plan_buckets,
)
from thor_ray.weights.board import open_store

CPU = torch.device("cpu")
TRANSPORTS: list[Transport] = ["shared_memory", "gloo", "file"]
SHAPES = {f"layer.{index}.weight": (index + 1, 50) for index in range(7)}
BUCKETS = plan_buckets([ParameterFacts(name, "float32", shape) for name, shape in SHAPES.items()], bucket_bytes=1500)

Load = Callable[[NamedTensors], None]


def model(seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}


def gathered(named: dict[str, torch.Tensor]) -> Iterator[NamedTensors]:
    for bucket in BUCKETS:
        yield [(entry.name, named[entry.name]) for entry in bucket.tensors]


class Party:
    """One learner rank, and engines whose model is a dictionary."""

    def __init__(self, transport: Transport, directory: Path, engines: int = 2, **settings: object) -> None:
        self.sender = WeightSender(0, CPU)
        self.receivers = [WeightReceiver(0, CPU) for _ in range(engines)]
        self.models: list[dict[str, torch.Tensor]] = [{} for _ in range(engines)]
        self.delivery = Delivery(
            link="first",
            number=0,
            transport=transport,
            address="127.0.0.1",
            port=self.sender.open_board(),
            version=0,
            buckets=BUCKETS,
            engines=engines,
            directory=str(directory) if transport == "file" else None,
            **{"timeout_seconds": 30.0, **settings},  # type: ignore[arg-type]
        )

    def load_into(self, engine: int) -> Load:
        def load(named: NamedTensors) -> None:
            self.models[engine].update((name, tensor.clone()) for name, tensor in named)

        return load

    def start(
        self, executor: ThreadPoolExecutor, named: dict[str, torch.Tensor], loads: list[Load] | None = None
    ) -> tuple[Future[tuple[str, ...]], list[Future[tuple[str, ...]]]]:
        loads = loads or [self.load_into(engine) for engine in range(len(self.receivers))]
        receptions = [
            executor.submit(receiver.receive, self.delivery.to_engine(engine), load)
            for engine, (receiver, load) in enumerate(zip(self.receivers, loads, strict=True))
        ]
        return executor.submit(self.sender.send, self.delivery, gathered(named)), receptions


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(max_workers=4) as pool:
        yield pool


def assert_served(party: Party, named: dict[str, torch.Tensor]) -> None:
    for served in party.models:
        assert list(served) == list(named)
        assert all(torch.equal(served[name], tensor) for name, tensor in named.items())


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_each_version_arrives_bit_by_bit_and_both_sides_agree_on_checksums(
    transport: Transport, tmp_path: Path, executor: ThreadPoolExecutor
) -> None:
    assert len(BUCKETS) > 3, "more than there are slots"
    party = Party(transport, tmp_path)
    seen = set()
    for version in range(3):
        party.delivery = replace(party.delivery, version=version, number=version)
        sending, receptions = party.start(executor, model(version))
        assert [reception.result(30) for reception in receptions] == [sending.result(30)] * 2
        assert_served(party, model(version))
        seen.add(sending.result())
    assert len(seen) == 3
    assert not list(tmp_path.rglob("*.safetensors")), "files that nobody needs any more"


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_an_engine_that_fails_ends_the_delivery_for_everybody_and_a_new_link_works(
    transport: Transport, tmp_path: Path, executor: ThreadPoolExecutor
) -> None:
    party = Party(transport, tmp_path)

    def refuse(named: NamedTensors) -> None:
        raise WeightTransferError(f"no place for {next(iter(named))[0]}")

    sending, receptions = party.start(executor, model(0), [party.load_into(0), refuse])
    with pytest.raises(WeightTransferError, match=r"no place for layer\.0"):
        receptions[1].result(30)
    for other in (sending, receptions[0]):
        with pytest.raises(
            WeightTransferError, match=r"engine 1 worker 0 failed: no place for layer\.0|lost the others"
        ):
            other.result(30)
    party.delivery = replace(party.delivery, link="second")
    sending, receptions = party.start(executor, model(1))
    assert [reception.result(30) for reception in receptions] == [sending.result(30)] * 2
    assert_served(party, model(1))


def test_bytes_that_changed_on_the_way_are_refused_before_they_are_loaded(
    tmp_path: Path, executor: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sender's checksum is of other bytes than those that it posts."""
    from thor_ray.weights import transfer

    original, pack = weights.checksum, weights.pack
    party = Party("shared_memory", tmp_path, engines=1)

    def damage_after_the_checksum(*arguments: object) -> str:
        computed = original(*arguments)  # type: ignore[arg-type]
        if threading.get_ident() in senders:
            arguments[0][3] ^= 255  # type: ignore[index]
        return computed

    senders: set[int] = set()

    def note_sender(*arguments: object) -> None:
        senders.add(threading.get_ident())
        pack(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(transfer, "checksum", damage_after_the_checksum)
    monkeypatch.setattr(transfer, "pack", note_sender)
    _, [reception] = party.start(executor, model(0))
    with pytest.raises(
        WeightTransferError, match=r"bucket 0 \(layer\.0\.weight to .*\): checksum \w+ was sent, \w+ arr"
    ):
        reception.result(30)
    assert party.models == [{}]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_watchdog_names_the_engine_that_does_not_go_on_with_its_bucket_and_tensor(
    transport: Transport, tmp_path: Path, executor: ThreadPoolExecutor
) -> None:
    party = Party(transport, tmp_path, timeout_seconds=0.5)
    released = threading.Event()

    def hang(named: NamedTensors) -> None:
        released.wait(30)

    sending, receptions = party.start(executor, model(0), [party.load_into(0), hang])
    try:
        with pytest.raises(WeightTransferError) as raised:
            sending.result(30)
        assert "engine 1 worker 0: loading bucket 0 (layer.0.weight to" in str(raised.value)
    finally:
        released.set()
    del receptions


def test_the_watchdog_names_the_learner_rank_that_does_not_gather(tmp_path: Path, executor: ThreadPoolExecutor) -> None:
    party = Party("shared_memory", tmp_path, engines=1, ranks=2, timeout_seconds=0.5)
    released = threading.Event()

    def gathering_without_rank_1() -> Iterator[NamedTensors]:
        whole = gathered(model(0))
        yield next(whole)
        released.wait(30)
        yield from whole

    reception = executor.submit(party.receivers[0].receive, party.delivery, party.load_into(0))
    sending = executor.submit(party.sender.send, party.delivery, gathering_without_rank_1())
    try:
        with pytest.raises(TransferHangError) as raised:
            reception.result(30)
        assert f"engine 0 worker 0 waited 0.5 s for learner rank 0 to pack bucket 1 ({BUCKETS[1].span})" in str(
            raised.value
        )
        assert f"learner rank 0: gathering bucket 1 ({BUCKETS[1].span})" in str(raised.value)
        assert "learner rank 1: not yet there" in str(raised.value)
    finally:
        released.set()
    with pytest.raises(WeightTransferError, match="engine 0 worker 0 failed"):
        sending.result(30)


def test_a_rank_that_only_gathers_goes_through_to_the_end() -> None:
    store = open_store()
    delivery = Delivery("l", 0, "shared_memory", "127.0.0.1", store.port, 1, BUCKETS, ranks=2)
    ended = []

    def watched() -> Iterator[NamedTensors]:
        yield from gathered(model(0))
        ended.append(True)

    assert WeightSender(1, CPU).send(delivery, watched()) == ()
    assert ended == [True]


def test_what_dies_while_it_receives_is_reported_by_the_driver_and_ranks_stay_in_step(
    tmp_path: Path, executor: ThreadPoolExecutor
) -> None:
    """Nobody waits for the dead until the time limit, and all is gathered, since other ranks take part in that."""
    party = Party("shared_memory", tmp_path, engines=1, timeout_seconds=600.0)
    asked = []

    def counted() -> Iterator[NamedTensors]:
        for index, bucket in enumerate(gathered(model(0))):
            asked.append(index)
            yield bucket

    sending = executor.submit(party.sender.send, party.delivery, counted())
    call_off(party.delivery, RuntimeError("engine 0 died"))
    with pytest.raises(WeightTransferError, match="driver failed: engine 0 died"):
        sending.result(60)
    assert asked == list(range(len(BUCKETS)))


def test_calling_off_what_nobody_listens_to_any_more_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(board, "CALL_OFF_TIMEOUT", timedelta(seconds=1))
    store = open_store()
    delivery = replace(Party("shared_memory", tmp_path).delivery, port=store.port)
    del store
    call_off(delivery, RuntimeError("learner rank 0 died"))


def test_memory_of_another_node_is_refused_with_what_to_do(
    tmp_path: Path, executor: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    from thor_ray.weights import memory_link

    elsewhere = tmp_path / "boot_id"
    elsewhere.write_text("another node")
    sender_reads = memory_link.MemorySender.__init__

    def then_move(self: memory_link.MemorySender, *arguments: object) -> None:
        sender_reads(self, *arguments)  # type: ignore[arg-type]
        monkeypatch.setattr(memory_link, "_BOOT", elsewhere)

    monkeypatch.setattr(memory_link.MemorySender, "__init__", then_move)
    party = Party("shared_memory", tmp_path, engines=1)
    _, [reception] = party.start(executor, model(0))
    with pytest.raises(WeightTransferError, match=r"runs on another node: .* choose gloo"):
        reception.result(30)


def test_a_delivery_survives_its_journey_as_text() -> None:
    delivery = Delivery("l", 2, "gloo", "host", 1, 7, BUCKETS, engines=3, workers=2, engine=1)
    assert Delivery.from_json(delivery.to_json()) == delivery
    assert delivery.participants()[-1] == "engine 2 worker 1"
    assert delivery.receiver(1) == 3


@pytest.mark.gpu
@pytest.mark.parametrize("transport", ["nccl", "cuda_ipc"])
def test_weights_reach_another_process_on_gpus(transport: Transport) -> None:
    """NCCL needs two GPUs, IPC one; ours are in this process and in a child."""
    devices = torch.cuda.device_count()
    if transport == "nccl" and devices < 2:
        pytest.skip("NCCL refuses two ranks on one GPU")
    context = torch.multiprocessing.get_context("spawn")
    sender = WeightSender(0, torch.device("cuda", 0))
    delivery = Delivery("l", 0, transport, "127.0.0.1", sender.open_board(), 1, BUCKETS)
    results = context.SimpleQueue()
    receiver = torch.device("cuda", 1 if transport == "nccl" else 0)
    child = context.Process(target=_receive_in_child, args=(delivery, receiver, results))
    child.start()
    sent = sender.send(delivery, gathered({name: tensor.cuda(0) for name, tensor in model(1).items()}))
    arrived, served = results.get()
    child.join()
    assert arrived == sent
    assert all(torch.equal(served[name], tensor) for name, tensor in model(1).items())


def _receive_in_child(delivery: Delivery, device: torch.device, results: object) -> None:
    served: dict[str, torch.Tensor] = {}
    arrived = WeightReceiver(0, device).receive(
        delivery, lambda named: served.update((name, tensor.cpu().clone()) for name, tensor in named)
    )
    results.put((arrived, served))  # type: ignore[attr-defined]
