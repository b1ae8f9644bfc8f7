/** The few things that every module does with the page's elements. */

export const byId = (id) => document.getElementById(id);

/** Show or hide an element, or the one with this id. */
export function show(element, isShown) {
  (typeof element === "string" ? byId(element) : element).hidden = !isShown;
}

/** An element with properties and children: `make("p", {className: "hint"}, "text")`. */
export function make(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("aria-") || key.startsWith("data-")) element.setAttribute(key, value);
    else element[key] = value;
  }
  element.append(...children);
  return element;
}

export function onClick(id, action) {
  byId(id).addEventListener("click", action);
}

/** Whether keys that are typed now are text for a field. */
export function isTyping(event) {
  const field = event.target.closest?.("input, select, textarea");
  return Boolean(field) && !["checkbox", "range"].includes(field.type);
}

/** Something went wrong and belongs to nothing in particular; empty takes it away. */
export function alertText(text) {
  byId("alert").textContent = text;
  show("alert", text !== "");
}
