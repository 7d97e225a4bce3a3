/** JSON schemas of the description, in words: what a value is, and what its fields are. */
import { el } from "./dom.js";

const DEEPEST = 4;
const BOUNDS = {
  minimum: (value) => `at least ${value}`,
  maximum: (value) => `at most ${value}`,
  exclusiveMinimum: (value) => `more than ${value}`,
  exclusiveMaximum: (value) => `less than ${value}`,
  minLength: (value) => (value === 1 ? "not empty" : `at least ${value} characters`),
  maxLength: (value) => `at most ${value} characters`,
  minItems: (value) => (value === 1 ? "not empty" : `at least ${value}`),
  maxItems: (value) => `at most ${value}`,
};

/** @param {string} text What stands between backticks is code. @returns {(Node|string)[]} */
export function marked(text) {
  return text.split("`").map((part, index) => (index % 2 ? el("code", {}, part) : part));
}

/** Reads the schemas of one description. */
export class Schemas {
  #named;

  /** @param {Object<string, object>} named `components.schemas`. */
  constructor(named) {
    this.#named = named;
  }

  /** @returns {object} The schema itself, where there is a reference to it. */
  resolve(schema) {
    const name = schema?.$ref?.split("/").at(-1);
    return name ? { ...this.#named[name], ...schema, $ref: undefined } : (schema ?? {});
  }

  /** @returns {string} "text", "whole number or null", "list of ArchiveEntry". */
  words(schema) {
    if (!schema || !Object.keys(schema).length) return "anything";
    if (schema.$ref) {
      const named = this.resolve(schema);
      return named.enum ? this.words(named) : schema.$ref.split("/").at(-1);
    }
    const choices = schema.anyOf ?? schema.oneOf;
    if (choices) return choices.map((each) => this.words(each)).join(" or ");
    if (schema.const !== undefined) return JSON.stringify(schema.const);
    if (schema.enum) return schema.enum.map((each) => JSON.stringify(each)).join(" or ");
    if (Array.isArray(schema.type)) return schema.type.map((type) => this.words({ type })).join(" or ");
    if (schema.type === "array") return schema.prefixItems ? "list" : `list of ${this.words(schema.items)}`;
    const simple = { string: "text", integer: "whole number", number: "number", boolean: "true or false", null: "null" };
    return simple[schema.type] ?? (schema.title && schema.properties ? schema.title : (schema.type ?? "anything"));
  }

  /** @returns {string} What else must hold: "at least 1, at most 100". */
  bounds(schema) {
    const said = [schema, ...(schema.anyOf ?? [])].flatMap((each) =>
      Object.entries(BOUNDS)
        .filter(([name]) => each[name] !== undefined)
        .map(([name, words]) => words(each[name])),
    );
    return said.join(", ");
  }

  /** The object whose fields are worth telling, within lists and choices. @returns {?object} */
  object(schema) {
    const resolved = this.resolve(schema);
    if (resolved.properties) return resolved;
    if (resolved.items) return this.object(resolved.items);
    for (const each of resolved.anyOf ?? []) {
      const found = this.object(each);
      if (found) return found;
    }
    return null;
  }

  /** The fields of what a value is, each with the fields of its own. @returns {?HTMLElement} Null for none. */
  fields(schema, depth = 0) {
    const object = this.object(schema);
    if (!object || depth === DEEPEST || !Object.keys(object.properties).length) return null;
    const items = Object.entries(object.properties).map(([name, field]) =>
      el(
        "li",
        {},
        el("code", {}, name),
        " ",
        el("span.type", {}, this.words(field)),
        field.description ? el("span.about", {}, " ", ...marked(field.description)) : null,
        this.fields(field, depth + 1),
      ),
    );
    return el("ul.fields", { role: "list" }, ...items);
  }

  /** A value that would do, for an example. */
  example(schema) {
    const resolved = this.resolve(schema);
    if (resolved.default !== undefined) return resolved.default;
    if (resolved.enum) return resolved.enum[0];
    const choices = resolved.anyOf ?? resolved.oneOf;
    if (choices) return this.example(choices[0]);
    const type = Array.isArray(resolved.type) ? resolved.type[0] : resolved.type;
    return { string: "…", integer: resolved.minimum ?? 1, number: 1, boolean: true, array: [], object: {} }[type] ?? null;
  }
}
