"""`GET /openapi.json`: an OpenAPI 3.1 description, made from the modules' signatures."""

from __future__ import annotations

from typing import Any, Literal

from aiohttp import web
from pydantic import TypeAdapter
from pydantic.alias_generators import to_camel

from potoserver.module.rpc import RpcMethod
from potoserver.version import package_version
from potoserver.web.calls import EVENT_STREAM
from potoserver.web.login import LoginRequest, json_response
from potoserver.web.methods import Methods
from potoserver.web.problems import CONTENT_TYPE

_Schema = dict[str, Any]
_REF = "#/components/schemas/{model}"
_SIGNED_IN: list[_Schema] = [{"bearer": []}, {"cookie": []}]
_JSON = "application/json"

_PROBLEM: _Schema = {
    "type": "object",
    "description": "A problem document (RFC 9457).",
    "required": ["type", "title", "status", "detail", "requestId"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "requestId": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
}


class OpenApiHandler:
    """Describes the server to tools. Made at the first request, when all modules are there.

    Args:
        methods: What can be called.
    """

    def __init__(self, methods: Methods) -> None:
        self._methods = methods
        self._document: _Schema | None = None

    async def describe(self, _request: web.Request) -> web.Response:
        """The document."""
        if self._document is None:
            self._document = openapi_document(self._methods)
        return json_response(self._document)


def openapi_document(methods: Methods) -> _Schema:
    """The OpenAPI 3.1 document of the fixed routes and of every method."""
    described = list(methods)
    adapters: list[tuple[str, Literal["validation", "serialization"], TypeAdapter[Any]]] = []
    for module_name, method in described:
        path = f"/{module_name}/{method.wire_name}"
        adapters.append((f"{path} in", "validation", TypeAdapter(method.arguments)))
        adapters.append((f"{path} out", "serialization", method.result))
        if method.item is not None:
            adapters.append((f"{path} item", "serialization", method.item))
    schemas, definitions = TypeAdapter.json_schemas(adapters, ref_template=_REF)
    by_key = {key: _camel(schema) for (key, _), schema in schemas.items()}
    components = {name: _camel(schema) for name, schema in definitions.get("$defs", {}).items()}
    paths = _fixed_paths()
    for module_name, method in described:
        path = f"/{module_name}/{method.wire_name}"
        paths[path] = {"post": _call(module_name, method, by_key)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "potoserver", "version": package_version()},
        "paths": paths,
        "components": {
            "schemas": components | {"Problem": _PROBLEM},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "cookie": {"type": "apiKey", "in": "cookie", "name": "potoserver"},
                "ticket": {"type": "apiKey", "in": "query", "name": "ticket"},
            },
        },
    }


def _call(module_name: str, method: RpcMethod, schemas: dict[str, _Schema]) -> _Schema:
    path = f"/{module_name}/{method.wire_name}"
    content: _Schema = {_JSON: {"schema": schemas[f"{path} out"]}}
    if method.item is not None:
        item = schemas[f"{path} item"]
        description = (
            f"Events: `delta` for each item ({_said(item)}), then `done` with the result, or `error`."
        )
        content[EVENT_STREAM] = {"schema": {"type": "string", "description": description}}
    operation = _operation(method.summary, module_name, f"{module_name}_{method.wire_name}", content)
    if method.roles:
        operation["description"] = f"Needs the role {' or '.join(sorted(method.roles))}."
    operation["parameters"] = [_header("Idempotency-Key", "1 to 128 visible ASCII characters.")]
    arguments = schemas[f"{path} in"]
    required = bool(arguments.get("required"))
    operation["requestBody"] = {"required": required, "content": {_JSON: {"schema": arguments}}}
    return operation


def _said(schema: _Schema) -> str:
    return str(schema.get("type", "see the module"))


def _fixed_paths() -> dict[str, _Schema]:
    """The routes that are there whatever modules run."""
    stream = {EVENT_STREAM: {"schema": {"type": "string"}}}
    anything: _Schema = {_JSON: {"schema": {"type": "object"}}}
    subscribe = _operation("The event stream.", "events", "subscribe", stream)
    subscribe["security"] = [*_SIGNED_IN, {"ticket": []}]
    subscribe["parameters"] = [
        _header("Last-Event-ID", "Where the client left off."),
        _query("lastEventId", {"type": "string"}),
        _query("lease", {"type": "integer", "minimum": 10, "maximum": 300}),
    ]
    ack = _operation("Answers a ping.", "events", "acknowledge", None)
    ack["requestBody"] = _body(
        {"connection": {"type": "string"}, "lastEventId": {"type": ["string", "null"]}}, ["connection"]
    )
    ticket = _operation("A ticket for one event stream.", "events", "ticket", anything)
    login = _operation("Sets the cookie.", "login", "login", anything, security=[])
    schema = _camel(LoginRequest.model_json_schema())
    login["requestBody"] = {"required": True, "content": {_JSON: {"schema": schema}}}
    logout = _operation("Clears the cookie.", "login", "logout", None, security=[])
    text: _Schema = {"text/plain": {"schema": {"type": "string"}}}
    health = "health"
    return {
        "/subscribe": {"get": subscribe},
        "/subscribe/ack": {"post": ack},
        "/subscribe/ticket": {"post": ticket},
        "/login": {"post": login},
        "/logout": {"post": logout},
        "/health": {"get": _operation("How the server is.", health, "health", anything, security=[])},
        "/health/live": {"get": _operation("The process answers.", health, "live", anything, security=[])},
        "/health/ready": {"get": _operation("Send it work.", health, "ready", anything, security=[])},
        "/metrics": {"get": _operation("Prometheus metrics.", health, "metrics", text, security=[])},
        "/openapi.json": {"get": _operation("This.", health, "openapi", anything, security=[])},
    }


def _operation(
    summary: str,
    tag: str,
    operation_id: str,
    content: _Schema | None,
    *,
    security: list[_Schema] | None = None,
) -> _Schema:
    """An operation that answers 200 with some content, or 204 without, and problems else."""
    answer = {"204": {"description": "Done."}} if content is None else {"200": _with("The result.", content)}
    problem = _with("A problem.", {CONTENT_TYPE: {"schema": {"$ref": _REF.format(model="Problem")}}})
    return {
        "summary": summary,
        "tags": [tag],
        "operationId": operation_id,
        "security": _SIGNED_IN if security is None else security,
        "responses": {**answer, "default": problem},
    }


def _with(description: str, content: _Schema) -> _Schema:
    return {"description": description, "content": content}


def _body(properties: _Schema, required: list[str]) -> _Schema:
    schema = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    return {"required": True, "content": {_JSON: {"schema": schema}}}


def _header(name: str, description: str) -> _Schema:
    return {"name": name, "in": "header", "description": description, "schema": {"type": "string"}}


def _query(name: str, schema: _Schema) -> _Schema:
    return {"name": name, "in": "query", "schema": schema}


def _camel(schema: Any) -> Any:
    """The schema with the names that dataclasses have on the wire (see `encode_result`)."""
    if isinstance(schema, list):
        return [_camel(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    changed = {key: _camel(part) for key, part in schema.items() if key not in ("properties", "required")}
    if isinstance(schema.get("properties"), dict):
        changed["properties"] = {to_camel(name): _camel(part) for name, part in schema["properties"].items()}
    if isinstance(schema.get("required"), list):
        changed["required"] = [to_camel(name) for name in schema["required"]]
    return changed
