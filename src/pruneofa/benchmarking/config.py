"""What is timed, how often, and beside which runtimes."""

from typing import Annotated

from pydantic import Field, field_validator

from pruneofa.benchmarking.peers import PEERS
from pruneofa.settings.base import Settings

__all__ = ["BenchConfig"]

_Count = Annotated[int, Field(ge=1)]


class BenchConfig(Settings):
    """A benchmark: every batch with every length, for each number of threads."""

    lengths: tuple[_Count, ...] = Field((128, 384), min_length=1, description="tokens of a sequence")
    batches: tuple[_Count, ...] = Field((1, 16), min_length=1, description="sequences of a call")
    threads: tuple[_Count, ...] = Field((1,), min_length=1, description="cores that a call may use")
    peers: tuple[str, ...] = Field(
        tuple(PEERS), description=f"runtimes to compare with: {', '.join(PEERS)}; empty: the engine alone"
    )
    max_tokens: int | None = Field(None, ge=1, description="leave out shapes of more tokens (batch x length) than this")
    repeats: int = Field(20, ge=1, description="turns of each runtime and shape")
    calls: int = Field(
        3, ge=1, description="calls of a turn; the first, which finds the caches as others left them, is told apart"
    )
    seconds: float = Field(
        40.0, gt=0.0, description="a shape ends early after this time, but not before min_repeats turns"
    )
    min_repeats: int = Field(5, ge=1, description="turns that every shape gets")
    pause: float = Field(
        0.003, ge=0.0, le=1.0, description="seconds between two turns, in which the last one's threads fall asleep"
    )
    seed: int = Field(0, ge=0, lt=2**32, description="of the token ids and the order of the inputs")

    @field_validator("peers")
    @classmethod
    def _peers_are_known(cls, peers: tuple[str, ...]) -> tuple[str, ...]:
        for peer in peers:
            if peer not in PEERS:
                raise ValueError(f"{peer!r} is no runtime to compare with; allowed: {', '.join(PEERS)}")
        return peers

    @field_validator("lengths", "batches", "threads", "peers")
    @classmethod
    def _each_once(cls, values: tuple[object, ...]) -> tuple[object, ...]:
        if len(set(values)) < len(values):
            raise ValueError(f"is {list(values)}; name each once")
        return values
