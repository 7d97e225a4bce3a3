import { byId, el } from "./dom.js";
import { errorWords } from "./words.js";

/**
 * Lets somebody sign in with a token.
 *
 * @param {import("./poto-client.js").PotoClient} client
 * @param {{token: string, user: string}[]} developmentTokens Those that are valid while none are configured.
 * @param {string} why What to say first: why one has to sign in (again); empty where that is plain.
 * @returns {Promise<object>} Who has signed in.
 */
export function signIn(client, developmentTokens, why = "") {
  const view = byId("signin");
  const form = view.querySelector("form");
  const input = byId("token");
  const error = byId("signin-error");
  view.hidden = false;
  error.textContent = why;
  input.value = "";
  input.focus();
  return new Promise((resolve) => {
    const submit = async (token) => {
      const buttons = form.querySelectorAll("button");
      error.textContent = "";
      if (!token) {
        error.textContent = "Enter your token.";
        input.focus();
        return;
      }
      buttons.forEach((button) => (button.disabled = true));
      try {
        const who = await client.login(token);
        view.hidden = true;
        resolve(who);
      } catch (thrown) {
        error.textContent = thrown.status === 401 ? "This token is not valid." : errorWords(thrown);
        input.select();
      } finally {
        buttons.forEach((button) => (button.disabled = false));
      }
    };
    form.onsubmit = (event) => {
      event.preventDefault();
      submit(input.value.trim());
    };
    const choices = developmentTokens.map(({ token, user }) =>
      el(
        "li",
        {},
        el(
          "button.plain",
          { type: "button", onclick: () => submit(token) },
          el("code", {}, token),
          el("span.muted", {}, `user ${user}`),
        ),
      ),
    );
    byId("development").hidden = !choices.length;
    byId("development").querySelector("ul").replaceChildren(...choices);
  });
}
