import { el } from "./dom.js";

/**
 * Asks something in a dialog of its own; Escape is a no.
 *
 * @param {string} title
 * @param {(Node|string)[]} content
 * @param {string} yes What the button says that agrees.
 * @param {{danger?: boolean, value?: (dialog: HTMLDialogElement) => any}} [options] `value` reads the answer.
 * @returns {Promise<any>} The answer; null for no.
 */
function ask(title, content, yes, { danger = false, value = () => true } = {}) {
  return new Promise((resolve) => {
    let answer = null;
    const heading = el("h2", { id: "modal-title" }, title);
    const form = el(
      "form",
      {
        noValidate: true,
        onsubmit: (event) => {
          event.preventDefault();
          answer = value(dialog);
          dialog.close();
        },
      },
      heading,
      ...content,
      el(
        "div.buttons",
        {},
        el("button.plain", { type: "button", onclick: () => dialog.close() }, "Cancel"),
        el(`button.primary${danger ? ".danger" : ""}`, { type: "submit" }, yes),
      ),
    );
    const dialog = el("dialog", { "aria-labelledby": "modal-title" }, form);
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(answer);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** @returns {Promise<?boolean>} */
export function confirmDelete(title) {
  const text = el("p.muted", {}, `“${title}” will be gone for good. You may want to export it first.`);
  return ask("Delete this dialog?", [text], "Delete", { danger: true });
}

/** Asks before something is done that can't be undone. @returns {Promise<?boolean>} */
export function confirmAction(title, text, yes) {
  return ask(title, [el("p.muted", {}, text)], yes, { danger: true });
}

/** @returns {Promise<?string>} The new title; empty to take the given one away. */
export function askTitle(title) {
  const input = el("input", { id: "modal-input", value: title, maxLength: 200, autocomplete: "off", autofocus: true });
  const label = el("label", { htmlFor: "modal-input" }, "Title");
  const hint = el("p.muted", {}, "Empty: the first words of the dialog.");
  const asked = ask("Rename this dialog", [el("div", {}, label, input), hint], "Rename", { value: () => input.value.trim() });
  input.select();
  return asked;
}

/** @returns {Promise<?string>} `json`, `markdown` or `zip`. */
export function askFormat(what) {
  const choice = (format, name, about, checked) =>
    el(
      "label",
      {},
      el("input", { type: "radio", name: "format", value: format, checked }),
      el("span", {}, name),
      el("small", {}, about),
    );
  const choices = el(
    "fieldset.choices",
    {},
    el("legend.hidden", {}, "Format"),
    choice("json", "JSON", "To import it again, here or elsewhere", true),
    choice("markdown", "Markdown", "To read, print or paste", false),
    choice("zip", "Zip of the files", "As the server keeps them", false),
  );
  const value = (dialog) => dialog.querySelector("input:checked").value;
  return ask(`Export ${what}`, [choices], "Export", { value });
}
