"""The base of every config: strict, frozen, and with faults that are this package's own error."""

from collections.abc import Mapping
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from pruneofa.errors import ConfigurationError
from pruneofa.settings.faults import describe_faults

__all__ = ["Settings", "checked"]

Kind = TypeVar("Kind", bound="Settings")


class Settings(BaseModel):
    """Base of the configs: unknown keys are refused, values don't change.

    Raises:
        ConfigurationError: on making one, where a value is wrong or a key unknown; all such are told at once.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    def __init__(self, **data: Any) -> None:
        try:
            super().__init__(**data)
        except ValidationError as error:
            raise _error(type(self), error) from None

    # Tells pydantic that this is no reading of values of our own: a section inside another one is read by its rules,
    # and its faults are told together with those of the whole.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @classmethod
    def model_validate(cls, obj: Any, **kwargs: Any) -> Self:
        """One of a mapping; see `BaseModel.model_validate`.

        Raises:
            ConfigurationError: a value is wrong, or a key unknown.
        """
        try:
            return super().model_validate(obj, **kwargs)
        except ValidationError as error:
            raise _error(cls, error) from None

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, **kwargs: Any) -> Self:
        """One of a JSON text; see `BaseModel.model_validate_json`.

        Raises:
            ConfigurationError: a value is wrong, a key unknown, or the text is no JSON.
        """
        try:
            return super().model_validate_json(json_data, **kwargs)
        except ValidationError as error:
            raise _error(cls, error) from None


def checked(kind: type[Kind], document: Any, origin: str, flags: Mapping[str, str]) -> Kind:
    """Settings of a document from outside, such as a file or a command's flags.

    Args:
        kind: of the settings.
        document: what was read.
        origin: names it in the error.
        flags: dotted key -> the command's flag for it, for the error.

    Raises:
        ConfigurationError: it holds faults; the message lists all of them.
    """
    try:
        return TypeAdapter(kind).validate_python(document)
    except ValidationError as error:
        faults = describe_faults(error, kind, flags)
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        raise ConfigurationError(f"{origin}: {count}\n" + "\n".join(f"  {fault}" for fault in faults)) from None


def _error(kind: type[BaseModel], error: ValidationError) -> ConfigurationError:
    faults = describe_faults(error, kind)
    if len(faults) == 1:
        return ConfigurationError(f"{kind.__name__}: {faults[0]}")
    lines = "\n".join(f"  {fault}" for fault in faults)
    return ConfigurationError(f"{kind.__name__}: {len(faults)} faults\n{lines}")
