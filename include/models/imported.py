"""A user's network, imported by the name in the pipeline's file."""

from __future__ import annotations

import datetime as dt
import importlib
import math
import os
import re
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, ConfigDict, WithJsonSchema, model_validator

from include.errors import one_line
from include.models.base import ModelDefinition

if TYPE_CHECKING:
    from torch import nn

NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)


def _module_and_name(value: str) -> str:
    if not NAME.fullmatch(value):
        raise ValueError('a network of your own is named "my_package.my_module:build"')
    return value


ImportedName = Annotated[
    str, AfterValidator(_module_and_name), WithJsonSchema({"type": "string", "pattern": f"^{NAME.pattern}$"})
]


class ImportedModel(ModelDefinition):
    """`kind = "my_package.my_module:build"`: a function of the inputs' shape and the number of outputs.

    It gets every other key of `[model]` as a keyword argument and returns a network, see include.models.base. Its
    module is found on PYTHONPATH, which includes the project's root, and imported when a model is trained or loaded,
    never while DAGs are parsed. The network may be a Keras 3 model, on Keras's torch backend.
    """

    model_config = ConfigDict(extra="allow")

    kind: ImportedName

    @model_validator(mode="after")
    def _plain(self) -> ImportedModel:
        # The settings reach the trainer as JSON, which would turn a date into text and infinity into nothing.
        for name, value in (self.model_extra or {}).items():
            if isinstance(value, dt.date | dt.time):
                raise ValueError(f"{name} = {value} is a time; write it in quotes")  # noqa: TRY004 - pydantic's way
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{name} = {value} is no finite number, and JSON has no other: leave it out")
        return self

    def build(self, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        """The network that the named function returns.

        Raises:
            ValueError: it can't be imported, or fails.
        """
        # Keras reads this when it is imported, and uses TensorFlow by default.
        os.environ.setdefault("KERAS_BACKEND", "torch")
        module, _, name = self.kind.partition(":")
        try:
            build = getattr(importlib.import_module(module), name)
        except Exception as error:
            raise ValueError(
                f"[model] kind = {self.kind!r} can't be imported ({one_line(error)}): put its module on PYTHONPATH or "
                "into the project's root, and correct the name."
            ) from error
        settings: dict[str, Any] = self.model_extra or {}
        try:
            network: nn.Module = build(input_shape, outputs, **settings)
        except Exception as error:
            raise ValueError(
                f"[model] kind = {self.kind!r} fails for inputs of shape {input_shape}, {outputs} outputs and the "
                f"settings {settings} ({one_line(error)}): correct it, or the settings in [model]."
            ) from error
        return network
