"""Methods that modules offer over HTTP: the marker, and what the server reads off a signature."""

from __future__ import annotations

import collections.abc
import inspect
import types
import typing
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, overload

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, create_model
from pydantic.alias_generators import to_camel
from pydantic.errors import PydanticUserError
from typing_extensions import TypeVar

from potoserver.module.docstrings import read_docstring
from potoserver.module.download import Download
from potoserver.users import User

_MARK = "__potoserver_rpc__"
_F = TypeVar("_F", bound=Callable[..., Any])
_T = TypeVar("_T", default=Any)


class WireModel(BaseModel):
    """The base of pydantic models in a method's signature: frozen, camelCase on the wire, nothing unknown.

    Python code makes one by its snake_case names.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
    )


@dataclass(frozen=True, slots=True)
class Call:
    """The circumstances of one call, for a method with a parameter of this type.

    Attributes:
        user: Who asks.
        request_id: The request's id, as in logs and problem documents.
        idempotency_key: The `Idempotency-Key` header: 1 to 128 visible ASCII characters, or None.
        whole: The caller gets one answer: a streaming method that ends with `Done` need yield nothing before.
        pass_on: Of a streaming method: passes an item on at once, in place of yielding it, from wherever it
            is made. Only once all items before it were yielded (the method is waiting, not yielding). None
            where they must be yielded.
    """

    user: User
    request_id: str
    idempotency_key: str | None = None
    whole: bool = False
    pass_on: Callable[[Any], None] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Done(Generic[_T]):
    """The last item of a streaming method: its result.

    Gathered, it is the JSON answer; streamed, the data of `done`. A method that never yields one
    answers the list of its items, and its `done` carries null. Nothing may follow it.
    """

    result: _T


@dataclass(frozen=True, slots=True)
class _Mark:
    roles: frozenset[str]
    endless: bool
    body_bytes: int | None
    about: str | None
    anywhere: bool


@overload
def rpc(method: _F) -> _F: ...
@overload
def rpc(
    *,
    roles: Collection[str] | None = None,
    endless: bool = False,
    body_bytes: int | None = None,
    about: str | None = None,
    anywhere: bool = False,
) -> Callable[[_F], _F]: ...
def rpc(
    method: _F | None = None,
    *,
    roles: Collection[str] | None = None,
    endless: bool = False,
    body_bytes: int | None = None,
    about: str | None = None,
    anywhere: bool = False,
) -> _F | Callable[[_F], _F]:
    """Offers a module's method at `POST /<Module>/<methodName>`.

    Arguments come as a JSON object, camelCase names for Python's snake_case ones, checked strictly against
    the annotations (JSON types, `Annotated[…, Field(…)]`, `WireModel`s). A parameter annotated `User` or
    `Call` is filled in by the server; so is one annotated `User | None`, which Python code that calls the
    method may leave out. An async generator streams; a `Download` is sent as a file. Dataclasses and
    `WireModel`s in a result are camelCase on the wire.

    Args:
        method: The method, where used as `@rpc`.
        roles: The caller needs one of these; without it any signed-in user may call.
        endless: Its stream shows something for as long as somebody looks. So, unlike any other call, it is
            ended with its reader, with the token that asked for it, and with the server; and one that asks
            for no stream gets a list of the first item alone.
        body_bytes: It takes larger bodies than `limits.body_bytes` allows, up to so many bytes. Of one user
            one such call at a time is taken, and few in all.
        about: Where the module is `homed`: the parameter that names the user at whose home it runs; without
            it, the caller's.
        anywhere: Where the module is `homed`: it runs where it arrives, whoever asks.

    Raises:
        TypeError: `roles` is a text, or empty: who would be let in by that is anybody's guess. Or
            `body_bytes` is no size.
    """
    if roles is not None and (isinstance(roles, str) or not roles):
        raise TypeError(f'roles must be a set of at least one name, such as {{"admin"}}, not {roles!r}')
    if body_bytes is not None and body_bytes < 1:
        raise TypeError(f"body_bytes must be a positive number of bytes, not {body_bytes!r}")
    mark = _Mark(frozenset(roles or ()), endless, body_bytes, about, anywhere)

    def apply(function: _F) -> _F:
        setattr(function, _MARK, mark)
        return function

    return apply if method is None else apply(method)


@dataclass(frozen=True, slots=True)
class RpcMethod:
    """One offered method, its signature read once.

    Attributes:
        name: Its Python name.
        wire_name: Its name in the URL.
        function: The bound method.
        roles: One of these is needed; empty for any user.
        arguments: The model of the JSON object that it takes (`extra` forbidden, strict, by wire name).
        parameters: The model's field of each parameter that the caller may give.
        user_parameters: Parameters that get the `User`.
        call_parameters: Parameters that get the `Call`.
        streams: Whether it is an async generator.
        downloads: Whether it answers with a file.
        endless: Whether it runs for its reader alone.
        body_bytes: How large its body may be, where that is more than `limits.body_bytes`.
        about: The model's field that names whom it is about; None for the caller.
        anywhere: Whether it runs where it arrives, though its module is `homed`.
        result: Knows the schema of what it returns, gathered: a stream's `Done`, or the list of its items; a
            download's is of no use.
        item: Knows the schema of a stream's items; None without a stream.
        summary: The first line of its docstring.
        details: What its docstring says beyond that, but for the sections.
    """

    name: str
    wire_name: str
    function: Callable[..., Any]
    roles: frozenset[str]
    arguments: type[BaseModel]
    parameters: types.MappingProxyType[str, str]
    user_parameters: tuple[str, ...]
    call_parameters: tuple[str, ...]
    streams: bool
    downloads: bool
    endless: bool
    body_bytes: int | None
    about: str | None
    anywhere: bool
    result: TypeAdapter[Any]
    item: TypeAdapter[Any] | None
    summary: str
    details: str

    def whom(self, arguments: BaseModel, call: Call) -> str:
        """The id of the user whom a call is about."""
        return call.user.id if self.about is None else str(getattr(arguments, self.about))

    def invoke(self, arguments: BaseModel, call: Call) -> Any:
        """Calls it: a coroutine, or for a stream an async generator.

        Args:
            arguments: An instance of the model of its arguments.
            call: Who asks, and how.
        """
        given = {
            name: getattr(arguments, field)
            for name, field in self.parameters.items()
            if field in arguments.model_fields_set
        }
        given |= dict.fromkeys(self.user_parameters, call.user)
        given |= dict.fromkeys(self.call_parameters, call)
        return self.function(**given)


def rpc_methods(module: object) -> dict[str, RpcMethod]:
    """All methods that a module offers, by wire name.

    Raises:
        TypeError: A signature can't be offered; the message names the method and the parameter.
    """
    found: dict[str, RpcMethod] = {}
    # Looked up without touching instances: a property of a plugin must not run for this.
    for name, member in inspect.getmembers_static(type(module)):
        mark = getattr(member, _MARK, None)
        if not isinstance(mark, _Mark):
            continue
        where = f"{type(module).__name__}.{name}"
        if name.startswith("_"):
            raise TypeError(f"{where}: a private method can't be offered")
        method = _read_signature(where, name, getattr(module, name), mark)
        if method.wire_name in found:
            raise TypeError(f"{where}: {found[method.wire_name].name} has the same name in URLs")
        found[method.wire_name] = method
    return found


def _read_signature(where: str, name: str, function: Callable[..., Any], mark: _Mark) -> RpcMethod:
    streams = inspect.isasyncgenfunction(function)
    if not streams and not inspect.iscoroutinefunction(function):
        raise TypeError(f"{where}: an rpc method must be async")
    if mark.endless and not streams:
        raise TypeError(f"{where}: only an async generator can be endless")
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except NameError as error:
        raise TypeError(f"{where}: an annotation can't be resolved: {error}") from error
    returned = hints.pop("return", Any)
    doc = read_docstring(function)
    parameters: dict[str, str] = {}
    fields: dict[str, Any] = {}
    given: dict[type, list[str]] = {User: [], Call: []}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise TypeError(f"{where}: parameter {parameter.name!r} must be a named one")
        if parameter.name not in hints:
            raise TypeError(f"{where}: parameter {parameter.name!r} needs an annotation")
        hint = hints[parameter.name]
        if hint in (User, User | None):
            given[User].append(parameter.name)
            continue
        if hint is Call:
            given[Call].append(parameter.name)
            continue
        # Numbered, since a model can't have every name that a parameter can (`schema`, `model_config`).
        field = parameters[parameter.name] = f"p{len(parameters)}"
        default = ... if parameter.default is parameter.empty else parameter.default
        alias, said = to_camel(parameter.name), doc.arguments.get(parameter.name)
        info = Field(default, alias=alias, description=said) if said else Field(default, alias=alias)
        fields[field] = (hint, info)
    if mark.about is not None and mark.about not in parameters:
        raise TypeError(f"{where}: it can't be about {mark.about!r}, which is none of its parameters")
    try:
        model = create_model(
            f"{name}_arguments", __config__=ConfigDict(extra="forbid", strict=True, frozen=True), **fields
        )
        schema = model.model_json_schema()
        result, item = _adapters(returned, streams)
    except PydanticUserError as error:
        raise TypeError(f"{where}: the signature can't be put on the wire: {error.message}") from error
    for wire_name in _property_names(schema):
        if "_" in wire_name.strip("_"):
            raise TypeError(f"{where}: {wire_name!r} is not camelCase; derive the model from WireModel")
    return RpcMethod(
        name=name,
        wire_name=to_camel(name),
        function=function,
        roles=mark.roles,
        arguments=model,
        parameters=types.MappingProxyType(parameters),
        user_parameters=tuple(given[User]),
        call_parameters=tuple(given[Call]),
        streams=streams,
        downloads=returned is Download,
        endless=mark.endless,
        body_bytes=mark.body_bytes,
        about=parameters[mark.about] if mark.about is not None else None,
        anywhere=mark.anywhere,
        result=result,
        item=item,
        summary=doc.summary,
        details=doc.details,
    )


def _adapters(returned: Any, streams: bool) -> tuple[TypeAdapter[Any], TypeAdapter[Any] | None]:
    """For the gathered result and, of a stream, for one item; both can tell their JSON schema."""
    result, item = bytes if returned is Download else returned, None
    if streams:
        items, results = _item_types(returned)
        item = TypeAdapter(items)
        item.json_schema(mode="serialization")
        result = results if results is not None else list[items]  # type: ignore[valid-type]  # a value
    adapter = TypeAdapter(result)
    adapter.json_schema(mode="serialization")
    return adapter, item


def _item_types(returned: Any) -> tuple[Any, Any | None]:
    """`int` and `str` of `AsyncIterator[int | Done[str]]`; no second one where nothing is `Done`."""
    origin = typing.get_origin(returned)
    if origin not in (collections.abc.AsyncIterator, collections.abc.AsyncGenerator):
        return Any, Any
    item = typing.get_args(returned)[0]
    union = typing.get_origin(item) in (typing.Union, types.UnionType)
    members = typing.get_args(item) if union else (item,)
    kept = tuple(each for each in members if each is not Done and typing.get_origin(each) is not Done)
    done = [each for each in members if each not in kept]
    results = (typing.get_args(done[0]) or (Any,))[0] if done else None
    return (typing.Union[kept] if kept else Any), results  # noqa: UP007 - built from values


def _property_names(schema: Any) -> Iterator[str]:
    """The names of all properties of a JSON schema, of nested ones too."""
    if isinstance(schema, dict):
        properties = schema.get("properties")
        if isinstance(properties, dict):
            yield from properties
        for part in schema.values():
            yield from _property_names(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from _property_names(part)
