// Schemas in few words: a type with its bounds, and the fields of objects.

import { element, words } from "/static/dom.js";

let root = {};

/** Look references up in this document from now on. */
export function setDocument(openapi) {
  root = openapi;
}

/** Return what a reference stands for; anything else as it is. */
export function resolve(value) {
  if (!value || typeof value !== "object" || !("$ref" in value)) return value;
  return resolve(value.$ref.slice(2).split("/").reduce((at, key) => at[key], root));
}

/** Return the name of the component that a value refers to, or "". */
export function nameOf(value) {
  return value && value.$ref ? value.$ref.split("/").pop() : "";
}

/** Return the type in words: `integer 1…5000`, `one of "json", "csv"`, `list of LatestPrice`. */
export function typeOf(reference) {
  const schema = resolve(reference) ?? {};
  if ("const" in schema) return JSON.stringify(schema.const);
  if (schema.enum) return `one of ${schema.enum.map((value) => JSON.stringify(value)).join(", ")}`;
  const several = schema.anyOf ?? schema.oneOf;
  if (several) return several.map((one) => nameOf(one) || typeOf(one)).join(" or ");
  const types = [schema.type ?? (schema.allOf ? "object" : "any")].flat();
  return types.map((type) => oneType(type, schema)).join(" or ");
}

function oneType(type, schema) {
  if (type === "array") {
    if (schema.prefixItems) return `[${schema.prefixItems.map(typeOf).join(", ")}]`;
    const most = schema.maxItems ? `, at most ${schema.maxItems}` : "";
    return `list of ${nameOf(schema.items) || typeOf(schema.items)}${most}`;
  }
  if (type === "string") {
    const most = schema.maxLength ? `, at most ${schema.maxLength} characters` : "";
    return `${schema.format ?? "string"}${most}`;
  }
  if (type === "integer" || type === "number") return `${type}${bounds(schema)}`;
  return type;
}

function bounds({ minimum, maximum, exclusiveMinimum }) {
  if (exclusiveMinimum !== undefined) return ` > ${exclusiveMinimum}`;
  // a bound that large is about digits, not about meaning
  if (minimum !== undefined && maximum < 1e6) return ` ${minimum}…${maximum}`;
  return minimum !== undefined ? ` ≥ ${minimum}` : "";
}

/** Return a list of an object's fields, those of objects inside it indented; null for others. */
export function fields(reference, within = []) {
  const name = nameOf(reference);
  if (name && within.includes(name)) return null;
  const inside = [...within, name];
  const schema = resolve(reference) ?? {};
  if (schema.anyOf) return alternatives(schema.anyOf, inside);
  const all = properties(schema);
  if (schema.items && !all.length) return fields(schema.items, inside);
  if (typeof schema.additionalProperties === "object" && !all.length) {
    return fields(schema.additionalProperties, inside);
  }
  if (!all.length) return null;
  return element("dl", { class: "fields" }, all.flatMap((field) => oneField(field, inside)));
}

function alternatives(several, inside) {
  return element("div", {}, several.map((one) => {
    const list = fields(one, inside);
    return list && element("div", {}, element("p", { class: "quiet" }, nameOf(one) || typeOf(one)), list);
  }));
}

function oneField({ name, schema, required }, inside) {
  const meant = resolve(schema);
  return [
    element("dt", {},
      element("code", {}, name), " ",
      element("span", { class: "type" }, typeOf(schema)),
      required ? null : element("span", { class: "quiet" }, " may be left out")),
    element("dd", {}, words(meant.description), fields(schema, inside)),
  ];
}

function properties(schema) {
  const parts = (schema.allOf ?? []).map(resolve).flatMap(properties);
  const own = Object.entries(schema.properties ?? {}).map(([name, value]) => ({
    name, schema: value, required: (schema.required ?? []).includes(name),
  }));
  return [...parts, ...own];
}
