"""What a server was seen to do: an endpoint benchmark as a value."""

import msgspec


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """One level: so many users at once with prompts of one length. Seconds and tokens per second; None: no request succeeded."""

    concurrency: int
    prompt_tokens: int
    requests: int
    errors: int
    output_tokens_per_s: float | None
    first_token: tuple[float, float, float] | None
    """10th percentile, median, 90th percentile"""
    between_tokens: tuple[float, float, float] | None
    samples: tuple[dict[str, object], ...]
    """every request as it was seen"""


class Endpoint(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All levels, and what a plan of the same model on this card promises for one user."""

    url: str
    model: str
    levels: tuple[Served, ...]
    planned: dict[str, tuple[float, float, float]] = {}
    """rate -> (low, likely, high) of the plan; empty where the catalogue does not know the model"""
    plan_id: str = ""

    @property
    def requests(self) -> int:
        return sum(level.requests for level in self.levels)

    @property
    def errors(self) -> int:
        return sum(level.errors for level in self.levels)
