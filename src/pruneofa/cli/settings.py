"""Settings that a command's flags give, checked."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from pydantic import BaseModel

Settings = TypeVar("Settings", bound="BaseModel")


def settings_from_flags(kind: type[Settings], values: Mapping[str, Any], flags: Mapping[str, str]) -> Settings:
    """The settings that flags give.

    Args:
        kind: of the settings.
        values: by the names of its fields.
        flags: name of a field -> its flag without dashes, where that is another one.

    Raises:
        ConfigurationError: a flag is out of range; all such are told at once.
    """
    from pydantic import TypeAdapter, ValidationError

    from pruneofa.errors import ConfigurationError

    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        lines = []
        for fault in error.errors(include_url=False):
            name = str(fault["loc"][0])
            message = fault["msg"].removeprefix("Value error, ")
            shown = "" if fault["type"] == "value_error" else f"is {fault['input']!r:.40}; "
            lines.append(f"--{flags.get(name, name)}: {shown}{message}")
        raise ConfigurationError("\n".join(lines)) from None
