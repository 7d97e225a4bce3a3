/**
 * Makes an element. Text becomes text nodes, never HTML.
 *
 * @param {string} tag `tag.class.class`.
 * @param {object} [properties] Of the element; `on<event>` are listeners, names with a dash and `role` attributes.
 * @param {...(Node|string|null)} children
 * @returns {HTMLElement}
 */
export function el(tag, properties = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const element = document.createElement(name);
  if (classes.length) element.classList.add(...classes);
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key.includes("-") || key === "role") element.setAttribute(key, value);
    else element[key] = value;
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** @param {string} id @returns {HTMLElement} */
export function byId(id) {
  return document.getElementById(id);
}

/** A line drawing of 20 by 20, for buttons whose name stands elsewhere. @param {string} d A path. @returns {SVGElement} */
export function icon(d) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  svg.setAttribute("viewBox", "0 0 20 20");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", d);
  svg.append(path);
  return svg;
}

/** @returns {SVGElement} */
export function crossIcon() {
  return icon("m5 5 10 10M15 5 5 15");
}
