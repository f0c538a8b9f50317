"""The retry budget: how many retries a gateway may afford while nothing succeeds.

Owns: one token bucket. Does not own: when to retry (the pump), nor first attempts, which cost nothing,
so the breaker's trial every 30 s can always earn the budget back.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BudgetSettings:
    """Prices in whole tokens; the prices are those of the AWS SDKs, the bucket is sized for one gateway."""

    tokens_max: int = 50
    retry_cost: int = 5
    timeout_retry_cost: int = 10
    success_return: int = 1

    def __post_init__(self) -> None:
        prices = (self.retry_cost, self.timeout_retry_cost, self.success_return)
        if min(prices) < 1 or max(prices) > self.tokens_max:
            raise ValueError("every price of a retry budget must lie between 1 and tokens_max")


class RetryBudget:
    """A bucket of tokens, full at the start, never below 0 and never above `tokens_max`.

    Share one per gateway, and retry at one layer only: nested retries would multiply behind its back.
    """

    __slots__ = ("_settings", "_tokens")

    def __init__(self, settings: BudgetSettings | None = None) -> None:
        self._settings = settings or BudgetSettings()
        self._tokens = self._settings.tokens_max

    @property
    def tokens(self) -> int:
        """Whole tokens left."""
        return self._tokens

    def spend(self, *, timed_out: bool = False) -> bool:
        """Pay for one retry; False, and nothing paid, if the budget cannot afford it: then do not retry.

        `timed_out` says that the attempt before it timed out, which costs more: it cost the road more.
        """
        cost = self._settings.timeout_retry_cost if timed_out else self._settings.retry_cost
        if cost > self._tokens:
            return False
        self._tokens -= cost
        return True

    def earn(self, successes: int = 1) -> None:
        """So many frames were delivered, whether or not by a retry."""
        gained = successes * self._settings.success_return
        self._tokens = min(self._settings.tokens_max, self._tokens + gained)
