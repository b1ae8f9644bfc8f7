/** The API key: out of the URL's fragment, kept in this tab alone, or asked for. */

import { Api, ApiError } from "/studio/api.js";
import { byId, show } from "/studio/dom.js";

const STORED = "towline-studio-key";

/** The key that the address carries, which then no longer shows it. */
export function takeFromAddress() {
  const key = new URLSearchParams(location.hash.slice(1)).get("key");
  if (!key) return;
  sessionStorage.setItem(STORED, key.trim());
  history.replaceState(null, "", location.pathname + location.search);
}

export function forget() {
  sessionStorage.removeItem(STORED);
}

/** An `Api` whose key the server knows, with its engines; asks until there is one. */
export async function signIn(onUnauthorized) {
  let key = sessionStorage.getItem(STORED);
  let problem = "";
  for (;;) {
    if (!key) key = await ask(problem);
    try {
      const engines = await new Api(key).engines();
      sessionStorage.setItem(STORED, key);
      show("key-step", false);
      return { api: new Api(key, onUnauthorized), engines };
    } catch (error) {
      if (error.status === 401) forget();
      problem = inWords(error);
      key = null;
    }
  }
}

function inWords(error) {
  if (!(error instanceof ApiError)) return error.message;
  if (error.status !== 401) return `The server cannot check the key now: ${error.message}`;
  return "The server does not know this key: it is mistyped, revoked, or another server's.";
}

function ask(problem) {
  const [form, field, message] = [byId("key-form"), byId("key"), byId("key-problem")];
  show("key-step", true);
  message.textContent = problem;
  show(message, problem !== "");
  field.setAttribute("aria-invalid", String(problem !== ""));
  field.focus();
  return new Promise((resolve) => {
    form.onsubmit = (event) => {
      event.preventDefault();
      const key = field.value.trim();
      // A header holds no other characters; a key has none of them.
      resolve(/^[\x21-\x7e]+$/.test(key) ? key : "not-a-key");
      field.value = "";
    };
  });
}
