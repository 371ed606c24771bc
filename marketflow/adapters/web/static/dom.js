// Elements made of text: nothing is ever parsed as HTML.

/** Return an element; children are elements, texts or lists of them; null and "" are left out. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(name, "");
    else if (value !== undefined && value !== null && value !== false) made.setAttribute(name, value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

/** Return the pieces of a sentence, what stands between backticks as code. */
export function words(text = "") {
  return text.split("`").map((part, at) => (at % 2 ? element("code", {}, part) : part));
}

/** Return paragraphs and lists ("- ") of a description. */
export function prose(text = "") {
  return text.split("\n\n").map((block) => {
    const lines = block.split("\n");
    if (!lines.every((line) => line.startsWith("- "))) return element("p", {}, words(block));
    return element("ul", {}, lines.map((line) => element("li", {}, words(line.slice(2)))));
  });
}

/** Return a path that may be broken before its slashes. */
export function pathCode(path) {
  const parts = path.split(/(?=\/)/);
  return element("code", {}, parts.flatMap((part) => [element("wbr"), part]));
}

/** Return a block of code that the keyboard can scroll. */
export function code(text, label) {
  return element("pre", { tabindex: "0", "aria-label": label, role: "region" }, text);
}
