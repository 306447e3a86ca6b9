"""Text as one field of a JSON object."""

import json
from typing import Annotated, Literal

from pydantic import Field

from include.codecs._text import TextCodec
from include.refusal import InvalidRecord
from include.strict_json import Number, read_json


class JsonTextCodec(TextCodec):
    """The text is the value of the object's `field`; other fields may hold anything."""

    kind: Literal["text.json"] = "text.json"
    field: Annotated[str, Field(min_length=1)] = "text"

    def wrap(self, text: str) -> bytes:
        return json.dumps({self.field: text}, ensure_ascii=False).encode()

    def unwrap(self, value: bytes) -> bytes:
        content = read_json(value)
        if not isinstance(content, dict):
            raise InvalidRecord(
                "wrong-type", f"The JSON is not an object, and an object with field {self.field!r} was expected."
            )
        if self.field not in content:
            raise InvalidRecord("missing-field", f"The JSON object has no field {self.field!r}.")
        text = content[self.field]
        if not isinstance(text, str) or isinstance(text, Number):
            raise InvalidRecord("wrong-type", f"Field {self.field!r} of the JSON object is not text.")
        try:
            return text.encode()
        except UnicodeEncodeError as error:
            raise InvalidRecord(
                "invalid-utf8", f"Character {error.start} of the text is half a surrogate pair."
            ) from error
