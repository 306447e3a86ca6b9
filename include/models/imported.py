"""A network of the user's own, imported by the name that the pipeline's file gives it."""

from __future__ import annotations

import datetime as dt
import importlib
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
    """`kind = "my_package.my_module:build"`: what is called with the inputs' shape and the number of outputs.

    Every other key of `[model]` is given to it by name. It returns a network, see include.models.base. The module is
    found on PYTHONPATH, on which the project's root is, and imported when a model is trained or loaded, never while
    DAGs are parsed. It may be one that is written for Keras 3, whose models are networks of torch on that backend.
    """

    model_config = ConfigDict(extra="allow")

    kind: ImportedName

    @model_validator(mode="after")
    def _plain(self) -> ImportedModel:
        # It goes through JSON on its way to the trainer, from which a date comes back as text.
        for name, value in (self.model_extra or {}).items():
            if isinstance(value, dt.date | dt.time):
                raise ValueError(f"{name} = {value} is a time; write it in quotes")  # noqa: TRY004 - pydantic's way
        return self

    def build(self, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        """What the named function makes.

        Raises:
            ValueError: it can't be imported, or fails.
        """
        # Keras reads it when it is imported, and takes TensorFlow otherwise.
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
                f"[model] kind = {self.kind!r} makes no network of inputs of shape {input_shape}, {outputs} outputs "
                f"and the settings {settings} ({one_line(error)}): correct it, or the settings in [model]."
            ) from error
        return network
