"""A mapping of which a changed copy costs the same however much is in it.

A network holds tens of thousands of ports, and each boot changes one or two of them: to copy a dict for that is what
the boot would cost. The map is a hash array mapped trie; its order is nobody's, so it is written sorted by key.
"""

from typing import Annotated, Any, TypeVar, get_args

from immutables import Map
from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

T = TypeVar("T")


class _ReadAsDict:
    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        key, value = get_args(source)
        as_dict = core_schema.dict_schema(handler.generate_schema(key), handler.generate_schema(value))
        return core_schema.no_info_before_validator_function(
            lambda given: dict(given) if isinstance(given, Map) else given,
            core_schema.no_info_after_validator_function(Map, as_dict),
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda value: dict(sorted(value.items())), return_schema=as_dict
            ),
        )


Table = Annotated[Map[str, T], _ReadAsDict]
"""Type of a model's field that maps keys to T."""
EMPTY: Map[str, Any] = Map()
