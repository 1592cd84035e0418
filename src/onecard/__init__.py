"""onecard: what machine learning can this card do? Predict it, prove it by running it, do it, and correct the prediction.

    import onecard
    plan = onecard.plan("chat", model="llama-3-8b", quant="q4_k_m", context=8192, on="RTX 4070 Ti")

Every name is resolved on first use, so that `import onecard` stays instant.
"""

from typing import Any

__version__ = "0.1.0"

__all__ = ["batch_that_fits", "can", "compare", "plan", "prove", "records", "resume", "run", "trace"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from onecard import api

        return getattr(api, name)
    raise AttributeError(f"module 'onecard' has no attribute {name!r}")
