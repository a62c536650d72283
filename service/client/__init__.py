"""A client of the service for Python programs, plain (`Client`) and async (`AsyncClient`).

    with Client("http://127.0.0.1:8000") as client:
        found = client.segment("lesion.jpg")
        found.mask, found.score

It needs no torch. Images are sent without their file's name. `docs/client.md` shows it all.
"""

from service.client.async_client import AsyncClient
from service.client.calls import DEFAULT_URL, SentImage, SentMask
from service.client.client import Client
from service.client.errors import (
    AccessError,
    BusyError,
    ClientError,
    FailedError,
    FaultFound,
    ProblemError,
    RefusedError,
    ServiceUnreachableError,
    UnexpectedAnswerError,
)
from service.client.results import Health, Segmentation, segmentation_of
from service.client.retries import Retries
from service.contract.corrections import Correction, CorrectionCount
from service.contract.evaluation import Evaluation, MeanWithInterval, PairScores, ScoreSummary
from service.contract.schemas import ModelRef, VersionDetail, VersionEntry, VersionList

__all__ = [
    "DEFAULT_URL",
    "AccessError",
    "AsyncClient",
    "BusyError",
    "Client",
    "ClientError",
    "Correction",
    "CorrectionCount",
    "Evaluation",
    "FailedError",
    "FaultFound",
    "Health",
    "MeanWithInterval",
    "ModelRef",
    "PairScores",
    "ProblemError",
    "RefusedError",
    "Retries",
    "ScoreSummary",
    "Segmentation",
    "SentImage",
    "SentMask",
    "ServiceUnreachableError",
    "UnexpectedAnswerError",
    "VersionDetail",
    "VersionEntry",
    "VersionList",
    "segmentation_of",
]
