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
from potoserver.web.openapi_answers import (
    EVERYWHERE,
    JSON,
    OF_A_METHOD,
    PROBLEM,
    PROBLEM_CONTENT,
    REF,
    SIGNED_IN,
    WITH_BODY,
    Schema,
    described,
    problems,
)
from potoserver.web.pages import PAGES, STATIC
from potoserver.web.subscribe import Acknowledgement

_SIGNED_IN: list[Schema] = [{"bearer": []}, {"cookie": []}]
_TEXT: Schema = {"type": "string"}


class OpenApiHandler:
    """Describes the server to tools. Made at the first request, when all modules are there.

    Args:
        methods: What can be called.
    """

    def __init__(self, methods: Methods) -> None:
        self._methods = methods
        self._document: Schema | None = None

    async def describe(self, _request: web.Request) -> web.Response:
        """The document."""
        if self._document is None:
            self._document = openapi_document(self._methods)
        return json_response(self._document)


def openapi_document(methods: Methods) -> Schema:
    """The OpenAPI 3.1 document of the fixed routes and of every method."""
    described = list(methods)
    adapters: list[tuple[str, Literal["validation", "serialization"], TypeAdapter[Any]]] = []
    for module_name, method in described:
        path = f"/{module_name}/{method.wire_name}"
        adapters.append((f"{path} in", "validation", TypeAdapter(method.arguments)))
        adapters.append((f"{path} out", "serialization", method.result))
        if method.item is not None:
            adapters.append((f"{path} item", "serialization", method.item))
    schemas, definitions = TypeAdapter.json_schemas(adapters, ref_template=REF)
    by_key = {key: _camel(schema) for (key, _), schema in schemas.items()}
    components = {name: _camel(schema) for name, schema in definitions.get("$defs", {}).items()}
    paths = _fixed_paths()
    for module_name, method in described:
        path = f"/{module_name}/{method.wire_name}"
        paths[path] = {"post": _call(module_name, method, by_key)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "potoserver", "version": package_version()},
        "tags": [{"name": name, "description": text} for name, text in methods.summaries().items()],
        "paths": paths,
        "components": {
            "schemas": components | {"Problem": PROBLEM},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "cookie": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "potoserver",
                    "description": "Behind TLS its name is `__Host-potoserver`.",
                },
                "ticket": {"type": "apiKey", "in": "query", "name": "ticket"},
            },
        },
    }


def _call(module_name: str, method: RpcMethod, schemas: dict[str, Schema]) -> Schema:
    path = f"/{module_name}/{method.wire_name}"
    content: Schema = {JSON: {"schema": schemas[f"{path} out"]}}
    if method.downloads:
        content = {"*/*": {"schema": {"description": "A file; `Content-Disposition` has a name for it."}}}
    if method.item is not None:
        item = schemas[f"{path} item"]
        end = "until it ends with `error`" if method.endless else "then `done` with the result, or `error`"
        description = f"Events: `delta` for each item ({_said(item)}), {end}."
        content[EVENT_STREAM] = {
            "schema": {"description": description},
            "x-item": item,
            "x-endless": method.endless,
        }
    arguments = schemas[f"{path} in"]
    operation = _operation(
        method.summary,
        module_name,
        f"{module_name}_{method.wire_name}",
        content,
        body=arguments,
        body_required=any(field.is_required() for field in method.arguments.model_fields.values()),
        further=OF_A_METHOD,
    )
    needs = f"Needs the role {' or '.join(sorted(method.roles))}." if method.roles else ""
    if method.details or needs:
        operation["description"] = "\n".join(filter(None, (method.details, needs)))
    operation["x-roles"] = sorted(method.roles)
    operation["responses"]["default"] = described("What else the method tells of.", PROBLEM_CONTENT)
    key = {"type": "string", "pattern": "^[!-~]{1,128}$"}
    operation["parameters"] = [_header("Idempotency-Key", "1 to 128 visible ASCII characters.", key)]
    return operation


def _said(schema: Schema) -> str:
    return str(schema.get("type", "see the module"))


def _fixed_paths() -> dict[str, Schema]:
    """The routes that are there whatever modules run."""
    # OpenAPI 3.1 leaves open whether a stream's schema is of the text or of each event, so it names no type.
    stream = {EVENT_STREAM: {"schema": {"description": "Events, as `connected` opens them."}}}
    anything: Schema = {JSON: {"schema": {"type": "object"}}}
    subscribe = _operation("The event stream.", "events", "subscribe", stream, further=(422,))
    subscribe["security"] = [*_SIGNED_IN, {"ticket": []}]
    subscribe["parameters"] = [
        _header("Last-Event-ID", "Where the client left off.", _TEXT),
        _query("lastEventId", _TEXT),
        _query("lease", {"type": "integer", "minimum": 10, "maximum": 300}),
    ]
    ack_body = Acknowledgement.model_json_schema()
    ack = _operation("Answers a ping.", "events", "acknowledge", None, body=ack_body, further=(404,))
    ticket_content = _object({"ticket": _TEXT, "expiresInS": {"type": "integer"}})
    ticket = _operation("A ticket for one event stream.", "events", "ticket", ticket_content)
    roles: Schema = {"type": "array", "items": _TEXT}
    user_content = _object({"user": _TEXT, "name": _TEXT, "roles": roles})
    login_body = LoginRequest.model_json_schema()
    login = _operation(
        "Sets the cookie.", "login", "login", user_content, public=True, body=login_body, further=(401, 429)
    )
    user = {"type": ["string", "null"]}
    tokens = {"type": "array", "items": {"type": "object", "properties": {"token": _TEXT, "user": _TEXT}}}
    whoami_content = _object({"user": user, "name": _TEXT, "roles": roles, "developmentTokens": tokens})
    whoami = _operation(
        "Who is logged in.", "login", "whoami", whoami_content, public=True, further=(401, 429)
    )
    status = _object({"status": _TEXT})
    text: Schema = {"text/plain": {"schema": _TEXT}}
    gets = {
        "/health": _probe("How the server is.", "health", status),
        "/health/live": _operation("The process answers.", "health", "live", status, public=True),
        "/health/ready": _probe("Send it work.", "ready", status),
        "/metrics": _operation("Prometheus metrics.", "health", "metrics", text, public=True),
        "/openapi.json": _operation("This.", "health", "openapi", anything, public=True),
    }
    return {
        "/subscribe": {"get": subscribe},
        "/subscribe/ack": {"post": ack},
        "/subscribe/ticket": {"post": ticket},
        "/login": {"post": login},
        "/whoami": {"get": whoami},
        **{page.path: {"get": _page(page.summary, page.file)} for page in PAGES},
        f"{STATIC}/{{name}}": {"get": _static()},
        "/logout": {"post": _operation("Clears the cookie.", "login", "logout", None, public=True)},
        **{path: {"get": operation} for path, operation in gets.items()},
    }


def _page(summary: str, file: str) -> Schema:
    html: Schema = {"text/html": {"schema": _TEXT}}
    return _operation(summary, "pages", f"page_{file.partition('.')[0]}", html, public=True)


def _static() -> Schema:
    operation = _operation(
        "A file that the pages are made of.",
        "pages",
        "static",
        {"text/*": {"schema": _TEXT}, "image/*": {"schema": {}}},
        public=True,
        further=(404,),
    )
    operation["parameters"] = [{"name": "name", "in": "path", "required": True, "schema": _TEXT}]
    return operation


def _probe(summary: str, operation_id: str, content: Schema) -> Schema:
    """An operation that says by its status, too, whether the server takes work."""
    operation = _operation(summary, "health", operation_id, content, public=True)
    operation["responses"]["503"] = described("It takes no work now.", content | PROBLEM_CONTENT)
    return operation


def _operation(
    summary: str,
    tag: str,
    operation_id: str,
    content: Schema | None,
    *,
    public: bool = False,
    body: Schema | None = None,
    body_required: bool = True,
    further: tuple[int, ...] = (),
) -> Schema:
    """An operation that answers 200 with some content, or 204 without, and problems else.

    Args:
        summary: What it does.
        tag: Where it belongs.
        operation_id: Its name.
        content: What it answers.
        public: Whether it asks for no proof of who asks.
        body: The schema of its body; None where it reads none.
        body_required: Whether an empty one is refused.
        further: Its statuses beside those that follow from the above.
    """
    answer = {"204": described("Done.")} if content is None else {"200": described("The result.", content)}
    groups = (EVERYWHERE, () if public else SIGNED_IN, () if body is None else WITH_BODY, further)
    operation: Schema = {
        "summary": summary,
        "tags": [tag],
        "operationId": operation_id,
        "security": [] if public else _SIGNED_IN,
        "responses": answer | problems(*groups),
    }
    if body is not None:
        operation["requestBody"] = {"required": body_required, "content": {JSON: {"schema": _camel(body)}}}
    return operation


def _object(properties: Schema) -> Schema:
    return {JSON: {"schema": {"type": "object", "required": list(properties), "properties": properties}}}


def _header(name: str, description: str, schema: Schema) -> Schema:
    return {"name": name, "in": "header", "description": description, "schema": schema}


def _query(name: str, schema: Schema) -> Schema:
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
