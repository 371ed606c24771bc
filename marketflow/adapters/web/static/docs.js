// The API page: every operation of openapi.json, by tag.

import { code, element, pathCode, prose, words } from "/static/dom.js";
import { fields, nameOf, resolve, setDocument, typeOf } from "/static/schema.js";
import { tryForm } from "/static/try.js";

const METHODS = ["get", "post", "put", "patch", "delete"];
const PLACES = ["path", "query", "header"];
const place = (id) => document.getElementById(id);

function operationsOf(openapi) {
  return Object.entries(openapi.paths).flatMap(([path, item]) =>
    METHODS.filter((method) => method in item).map((method) => ({
      ...item[method],
      path,
      method,
      parameters: [...(item.parameters ?? []), ...(item[method].parameters ?? [])].map(resolve)
        .sort((one, other) => PLACES.indexOf(one.in) - PLACES.indexOf(other.in)),
    })));
}

/** Return the statuses that every operation answers in the same words. */
function sharedStatuses(operations) {
  const [first, ...others] = operations.map(({ responses }) => responses);
  return Object.keys(first).filter((status) =>
    nameOf(first[status]) && others.every((one) => nameOf(one[status])));
}

function method(name) {
  return element("span", { class: `method ${name}` }, name.toUpperCase());
}

function parameterTable(parameters) {
  if (!parameters.length) return null;
  return [element("h4", {}, "Parameters"), element("dl", { class: "fields" }, parameters.flatMap((one) => {
    const schema = resolve(one.schema);
    const about = one.in === "query" ? "" : one.in;
    return [
      element("dt", {},
        element("code", {}, one.name), " ",
        element("span", { class: "type" }, typeOf(schema)),
        one.required ? element("strong", {}, " required") : null,
        about && element("span", { class: "quiet" }, ` ${about}`),
        "default" in schema ? element("span", { class: "quiet" }, ` default ${schema.default}`) : null),
      element("dd", {}, words(one.description)),
    ];
  }))];
}

function answer(status, reference, isOpen) {
  const response = resolve(reference);
  const headers = Object.entries(response.headers ?? {});
  return element("details", { class: "answer", open: isOpen },
    element("summary", {}, element("code", { class: status < 400 ? "good" : "bad" }, status), " ",
      words(response.description)),
    Object.entries(response.content ?? {}).map(([kind, { schema, example }]) => [
      element("p", { class: "quiet" }, kind),
      example === undefined ? null
        : code(typeof example === "string" ? example : JSON.stringify(example, null, 2), `example ${kind}`),
      fieldList(schema),
    ]),
    headers.length ? headerList(headers) : null);
}

function fieldList(schema) {
  const list = fields(schema);
  return list && element("details", {}, element("summary", {}, "Fields"), list);
}

function headerList(headers) {
  return element("details", {}, element("summary", {}, "Headers"),
    element("dl", { class: "fields" }, headers.flatMap(([name, header]) => [
      element("dt", {}, element("code", {}, name)),
      element("dd", {}, words(resolve(header).description)),
    ])));
}

function operation(one, shared) {
  const own = Object.entries(one.responses).filter(([status, response]) =>
    !shared.includes(status) || nameOf(response) === "");
  const details = element("details", { class: "operation", id: one.operationId },
    element("summary", {}, method(one.method), " ", pathCode(one.path), " ",
      element("span", { class: "quiet" }, one.summary)));
  // most are never opened: their insides are made when they are
  details.addEventListener("toggle", () => {
    if (!details.open || details.childElementCount > 1) return;
    details.append(element("div", { class: "inside" },
      one.description ? prose(one.description) : null,
      one.security ? element("p", {}, words("With `http.admin_token` set it needs `Authorization: Bearer …`.")) : null,
      parameterTable(one.parameters),
      one.method === "get" ? tryForm(one.path, one.parameters, one.operationId) : postHint(one),
      element("h4", {}, "Answers"),
      own.map(([status, response]) => answer(status, response, status === "200")),
      element("p", { class: "quiet" }, "Any route may also answer with one of the ",
        element("a", { href: "#errors" }, "errors of every route"), ".")));
  });
  return details;
}

function postHint(one) {
  const path = one.path.replace(/\{(\w+)\}/g, (_, name) =>
    one.parameters.find((parameter) => parameter.name === name).example);
  return code(`curl -X POST "${location.origin}${path}"`, "command");
}

function section(tag, operations, shared) {
  return element("section", { "aria-labelledby": `tag-${tag.name}` },
    element("h2", { id: `tag-${tag.name}` }, tag.name),
    prose(tag.description),
    operations.map((one) => operation(one, shared)));
}

function indexOf(tag, operations) {
  return element("div", {}, element("h2", {}, tag.name),
    element("ul", {}, operations.map((one) => element("li", {},
      element("a", { href: `#${one.operationId}`, title: one.summary },
        method(one.method), " ", pathCode(one.path))))));
}

function errorSection(operations, shared) {
  return [
    element("h2", {}, "Errors of every route"),
    shared.map((status) => answer(status, operations[0].responses[status], false)),
  ];
}

function openTheNamed() {
  const named = place(decodeURIComponent(location.hash.slice(1)));
  if (named?.matches("details")) {
    named.open = true;
    named.querySelector("summary").focus({ preventScroll: true });
  }
  named?.scrollIntoView();
}

function keepFitting(operations) {
  const wanted = place("filter").value.trim().toLowerCase();
  for (const one of operations) {
    const text = `${one.method} ${one.path} ${one.summary}`.toLowerCase();
    const isHidden = !text.includes(wanted);
    place(one.operationId).hidden = isHidden;
    document.querySelector(`nav a[href="#${one.operationId}"]`).parentElement.hidden = isHidden;
  }
  for (const group of document.querySelectorAll("#index > div, #operations > section")) {
    group.hidden = !group.querySelector("li:not([hidden]), .operation:not([hidden])");
  }
}

function render(openapi) {
  setDocument(openapi);
  const operations = operationsOf(openapi);
  const shared = sharedStatuses(operations);
  const groups = openapi.tags.map((tag) =>
    [tag, operations.filter((one) => one.tags.includes(tag.name))]);
  place("title").append(" ", element("small", {}, openapi.info.version));
  place("about").append(...prose(openapi.info.description));
  place("index").append(...groups.map(([tag, some]) => indexOf(tag, some)));
  place("operations").append(...groups.map(([tag, some]) => section(tag, some, shared)));
  place("errors").append(...errorSection(operations, shared).flat());
  place("filter").addEventListener("input", () => keepFitting(operations));
  addEventListener("hashchange", openTheNamed);
  openTheNamed();
}

try {
  const response = await fetch("/openapi.json");
  if (!response.ok) throw new Error(`/openapi.json was answered ${response.status}`);
  render(await response.json());
} catch (error) {
  place("about").append(element("p", { class: "bad", role: "alert" }, `This page could not be made: ${error.message}`));
}
