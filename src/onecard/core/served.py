"""What a server was seen to do: an endpoint benchmark as a value."""

import msgspec


class Served(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
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
    counted_prompt: int | None = None
    """tokens of the prompts as the server counts them, median; None where it does not say"""
    refusals: dict[str, int] = {}
    """what went wrong -> how often"""


class Promise(msgspec.Struct, frozen=True, kw_only=True):
    """What one user got, beside what a plan of the same model on this card promises. Tokens per second."""

    name: str
    measured: float
    predicted: tuple[float, float, float]
    prompt_tokens: int

    @property
    def place(self) -> str:
        """slower, normal or faster"""
        low, _, high = self.predicted
        return "slower" if self.measured < low else "faster" if self.measured > high else "normal"


class Endpoint(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All levels, and what a plan of the same model on this card promises for one user."""

    url: str
    model: str
    levels: tuple[Served, ...]
    planned: dict[str, tuple[float, float, float]] = {}
    """rate -> (low, likely, high) of the plan; empty where the catalogue does not know the model"""
    plan_id: str = ""
    like: str = ""
    """the catalogue's name of the model and its format, that the plan is for"""
    promises: tuple[Promise, ...] = ()
    """of the levels with one user"""

    @property
    def requests(self) -> int:
        return sum(level.requests for level in self.levels)

    @property
    def errors(self) -> int:
        return sum(level.errors for level in self.levels)
