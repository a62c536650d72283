"""What the probes say: whether the process should get requests, and whether it should live on."""

from service.errors import NotReadyError


class Condition:
    """The state of the process that the load balancer and the orchestrator act on.

    Attributes:
        draining: It was told to stop: it answers all that comes, and asks for no more.
    """

    def __init__(self) -> None:
        self.draining = False

    def drain(self) -> None:
        """Be not ready from now on."""
        self.draining = True

    def check_ready(self) -> None:
        """Raise a `NotReadyError` where no more requests should come."""
        if self.draining:
            raise NotReadyError("the service is stopping")
