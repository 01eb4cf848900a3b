"""The processes of a learner: started together, called together, ended together."""

from collections.abc import Sequence
from typing import Any, Final

import ray
from ray.util.placement_group import remove_placement_group

from learners.policy_spec import PolicyFacts, PolicySpec
from learners.ranks import START_TIMEOUT_SECONDS, ReservedRanks, place, start, wait_all
from learners.worker import LearnerWorker
from learners.zero import Rendezvous

COLLECTIVE_SHARE: Final = 0.6
"""Of a call's time limit, after which a collective operation gives up on a missing rank. Less than all of it: ranks reach
the operation some time after the call began, and those that give up have to be heard before all of them count as hung."""


class WorkerGroup:
    """One ``LearnerWorker`` per rank, in a placement group, that have met and read the policy.

    Args:
        spec: Which policy, how it is held, and how many ranks share a sequence.
        ranks: How many.
        cpus: CPUs that Ray reserves for a rank, and its threads.
        gpus: 0 or 1 per rank.
        timeout_seconds: After which a rank that gives no answer counts as hung.
        reserved: Room for them, ``cpus`` and ``gpus`` each; ``None`` reserves some.

    Attributes:
        policy: What rank 0 says of the policy.

    Raises:
        LearnerPlacementError: the cluster has no room.
        ActorCallError: a rank could not be set up.
    """

    def __init__(
        self,
        spec: PolicySpec,
        *,
        ranks: int,
        cpus: int,
        gpus: int,
        timeout_seconds: float,
        reserved: ReservedRanks | None = None,
    ) -> None:
        self._timeout_seconds = timeout_seconds
        self._sharing = spec.sequence_parallel
        self._workers: list[Any] = []
        self._placement = place(ranks, cpus, gpus) if reserved is None else None
        room = reserved or ReservedRanks(self._placement, tuple(range(ranks)), gpus)
        try:
            self._workers = [
                start(LearnerWorker, room.group, bundle=bundle, cpus=cpus, gpus=room.gpus) for bundle in room.bundles
            ]
            endpoint = self._workers[0].endpoint.remote()
            address, port = wait_all([endpoint], "learner rank", START_TIMEOUT_SECONDS)[0]
            setups = [
                worker.setup.remote(Rendezvous(rank, ranks, address, port), spec, COLLECTIVE_SHARE * timeout_seconds)
                for rank, worker in enumerate(self._workers)
            ]
            self.policy: PolicyFacts = wait_all(setups, "learner rank", START_TIMEOUT_SECONDS)[0]
        except BaseException:
            self.close()
            raise

    def call(self, method: str, *arguments: Any) -> list[Any]:
        """Calls a method on every rank with the same arguments.

        Returns:
            Each rank's answer.

        Raises:
            ActorCallError: a rank failed, died or hangs.
        """
        return self._collect([getattr(worker, method).remote(*arguments) for worker in self._workers])

    def deal(self, method: str, shares: Sequence[Any], *arguments: Any) -> list[Any]:
        """Calls a method on every rank, with its replica's share before the arguments that are the same for all.

        Returns:
            The answer to each share, which all ranks of a replica have in common.

        Raises:
            ActorCallError: a rank failed, died or hangs.
        """
        pairs = zip(self._workers, (share for share in shares for _ in range(self._sharing)), strict=True)
        answers = self._collect([getattr(worker, method).remote(share, *arguments) for worker, share in pairs])
        return answers[:: self._sharing]

    def first(self, method: str, *arguments: Any) -> Any:
        """Calls a method on the first rank alone; the others have no part in it.

        Raises:
            ActorCallError: the rank failed, died or hangs.
        """
        return self._collect([getattr(self._workers[0], method).remote(*arguments)])[0]

    @property
    def handles(self) -> Sequence[Any]:
        """The ranks' actors, for calls that others take part in too."""
        return self._workers

    def close(self) -> None:
        """Ends the ranks and gives their resources back. May be called twice."""
        for worker in self._workers:
            ray.kill(worker)
        self._workers = []
        if self._placement is not None:
            remove_placement_group(self._placement)
            self._placement = None

    def _collect(self, references: Sequence[Any]) -> list[Any]:
        return wait_all(references, "learner rank", self._timeout_seconds)
