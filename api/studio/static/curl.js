/** The same edit as a command for a terminal. */

const quote = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** It names pictures that the server has already, waits for the job, and prints it. */
export function asCurl(key, body) {
  return [
    `curl -sS ${location.origin}/v1/jobs`,
    `-H ${quote(`Authorization: Bearer ${key}`)}`,
    "-H 'Content-Type: application/json' -H 'Prefer: wait=30'",
    `-d ${quote(JSON.stringify(body))}`,
  ].join(" \\\n  ");
}

/** Into the clipboard; where a browser forbids it (no https), to be copied by hand. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    window.prompt("Copy this command:", text.replaceAll(" \\\n  ", " "));
    return false;
  }
}
