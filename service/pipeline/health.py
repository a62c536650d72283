"""What the probes say: whether the process should get requests, and whether it should live on."""

from service.contract.errors import DeadError, NotReadyError


class Condition:
    """The state of the process that the load balancer and the orchestrator act on.

    Attributes:
        draining: It was told to stop: it answers all that comes, and asks for no more.
        trouble: Why the network cannot answer now; None where it can.
        dead: Nothing helps but another process.
    """

    def __init__(self) -> None:
        self.draining = self.dead = False
        self.trouble: str | None = None

    def drain(self) -> None:
        """Be not ready from now on."""
        self.draining = True

    def check_ready(self) -> None:
        """Raise a `NotReadyError` where no more requests should come."""
        if self.draining:
            raise NotReadyError("the service is stopping")
        if self.trouble:
            raise NotReadyError(self.trouble)

    def check_alive(self) -> None:
        """Raise a `DeadError` where the process should be killed."""
        if self.dead:
            raise DeadError("the network was loaded anew in vain; start another process")
