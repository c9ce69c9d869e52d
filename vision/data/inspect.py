import dataclasses


@dataclasses.dataclass(frozen=True)
class InspectConfig:
    """X.

    Args:
        data: x.
    """

    data: str | None = None


def inspect(config): ...
