"""Who is asked, where, with which key, and by which model for each role."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from app.adapters.models.faults import Asked
from app.adapters.models.registry import Provider
from app.core.money import Rates
from app.core.prompts import Role


@dataclass(frozen=True, slots=True)
class Part:
    """A model that takes part in a review."""

    model: str
    rates: Rates = field(default_factory=Rates)
    max_output: int = 8192


@dataclass(frozen=True, slots=True)
class Target:
    """A model service as the operator set it up; ``parts`` are the roles not taken by ``main``."""

    provider: Provider
    address: str
    main: Part
    parts: Mapping[Role, Part] = field(default_factory=dict)
    key: str | None = field(default=None, repr=False)
    proxy: str | None = field(default=None, repr=False)

    def part_for(self, role: Role) -> Part:
        """Return the model that takes a role."""
        return self.parts.get(role, self.main)

    def asked(self, role: Role) -> Asked:
        """Return who is asked, for a fault's sentence and cost."""
        part = self.part_for(role)
        secrets = (self.key,) if self.key else ()
        return Asked(self.provider, part.model, part.rates, secrets)

    def headers(self) -> Mapping[str, str]:
        """Return the header that carries the key."""
        if self.key is None:
            return {}
        if self.provider.auth == "bearer":
            return {"authorization": f"Bearer {self.key}"}
        return {self.provider.auth: self.key}
