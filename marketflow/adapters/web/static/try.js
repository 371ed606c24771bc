// "Try it": a form for one GET, and what the service answered.

import { code, element } from "/static/dom.js";
import { resolve } from "/static/schema.js";

const MOST_SHOWN = 100000; // characters

/** Return a form that sends a GET for *path* with *parameters*, already resolved. */
export function tryForm(path, parameters, id) {
  const inputs = parameters
    .filter((parameter) => parameter.in !== "header")
    .map((parameter) => ({ parameter, input: inputFor(parameter, `${id}-${parameter.name}`) }));
  const send = element("button", { type: "submit" }, "Send");
  const stop = element("button", { type: "button", hidden: true }, "Stop");
  const output = element("div", { class: "output", "aria-live": "polite" });
  const form = element("form", { class: "try" },
    element("h4", {}, "Try it"),
    inputs.map(({ parameter, input }) => element("div", { class: "row" },
      element("label", { for: input.id }, parameter.name, parameter.required ? " *" : ""), input)),
    element("p", {}, send, " ", stop),
    output);
  let running = null;
  stop.addEventListener("click", () => running?.abort());
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    running = new AbortController();
    send.disabled = true;
    stop.hidden = false;
    await ask(target(path, inputs), running.signal, output);
    send.disabled = false;
    stop.hidden = true;
  });
  return form;
}

function inputFor(parameter, id) {
  const schema = resolve(parameter.schema);
  const example = exampleOf(parameter);
  const options = schema.enum ?? (schema.type === "boolean" ? [true, false] : null);
  if (!options) {
    const hint = parameter.required ? undefined : example || schema.default;
    const value = parameter.required ? example : "";
    return element("input", {
      id, value, placeholder: hint, required: parameter.required, autocomplete: "off", spellcheck: "false",
    });
  }
  const standard = "default" in schema ? `default: ${schema.default}` : "";
  const unset = parameter.required ? [] : [element("option", { value: "" }, standard)];
  return element("select", { id }, unset, options.map((option) => element("option", {}, String(option))));
}

function exampleOf({ example, examples, schema }) {
  const value = example ?? Object.values(examples ?? {})[0]?.value ?? schema.examples?.[0] ?? "";
  return Array.isArray(value) ? value.join(",") : String(value);
}

function target(path, inputs) {
  const query = new URLSearchParams();
  let filled = path;
  for (const { parameter, input } of inputs) {
    if (parameter.in === "path") {
      filled = filled.replace(`{${parameter.name}}`, encodeURIComponent(input.value));
    } else if (input.value) {
      query.set(parameter.name, input.value);
    }
  }
  const text = query.toString().replaceAll("%2C", ",").replaceAll("%3A", ":");
  return text ? `${filled}?${text}` : filled;
}

async function ask(address, signal, output) {
  const status = element("p", { class: "status" }, "…");
  const body = code("", "answer");
  const url = new URL(address, location.href).href;
  output.replaceChildren(code(`curl "${url}"`, "command"), status, body);
  const started = performance.now();
  try {
    const response = await fetch(address, { signal, cache: "no-store" });
    const ms = (performance.now() - started).toFixed(1);
    const kind = response.headers.get("Content-Type") ?? "";
    status.textContent = `${response.status} ${response.statusText}, ${ms} ms, ${kind}`;
    status.classList.add(response.ok ? "good" : "bad");
    await show(response, kind, body);
  } catch (error) {
    if (error.name === "AbortError") status.textContent += ", stopped";
    else {
      status.textContent = `no answer: ${error.message}`;
      status.classList.add("bad");
    }
  }
}

async function show(response, kind, body) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    text += part.value;
    if (kind.startsWith("text/event-stream")) {
      text = text.slice(-MOST_SHOWN);
      body.textContent = text;
      body.scrollTop = body.scrollHeight;
    }
  }
  body.textContent = shorten(kind.includes("json") ? pretty(text) : text);
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

function shorten(text) {
  return text.length > MOST_SHOWN ? `${text.slice(0, MOST_SHOWN)}\n… ${text.length} characters` : text;
}
