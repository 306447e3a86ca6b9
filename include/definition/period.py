"""A period of time, as forms ask for it."""

from pydantic import AwareDatetime, ValidationInfo, field_validator

from include.kinds import Config


class Period(Config):
    """From `since` on and before `until`; None for no limit."""

    since: AwareDatetime | None = None
    until: AwareDatetime | None = None

    @field_validator("until")
    @classmethod
    def _after_since(cls, value: AwareDatetime | None, others: ValidationInfo) -> AwareDatetime | None:
        since = others.data.get("since")
        if value is not None and since is not None and value <= since:
            raise ValueError(f"the time must be after since, {since.isoformat()}")
        return value
