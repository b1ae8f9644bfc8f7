/** The calls of Towline's HTTP API that the page makes, and how it says no. */

const FINAL = new Set(["succeeded", "failed", "canceled", "expired"]);
const PAUSE_MS = 250; // a server with too many waits answers at once: do not hammer it

/** An answer that is an error; `errors` lists what is wrong with a body, by JSON pointer. */
export class ApiError extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title || `The server answered ${status}.`);
    this.status = status;
    this.code = problem.code || "";
    this.errors = problem.errors || [];
    this.requestId = problem.request_id || "";
  }
}

/** The server cannot be reached at all. */
export class Unreachable extends Error {
  constructor() {
    super("The server does not answer. Does it still run?");
  }
}

export const isFinal = (job) => FINAL.has(job.status);
export const isAbort = (error) => error?.name === "AbortError";
export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Signed URLs name the server as it calls itself; this page may know it by another name. */
export function reachable(url) {
  const there = new URL(url, location.href);
  return there.pathname.startsWith("/objects/") ? there.pathname + there.search : there.href;
}

export class Api {
  constructor(key, onUnauthorized) {
    this.key = key;
    this.onUnauthorized = onUnauthorized;
  }

  engines() {
    return this.#call("GET", "/v1/engines").then((answer) => answer.data);
  }

  /** The type is found from the bytes; the header must only name one that is taken. */
  upload(blob) {
    const type = blob.type.startsWith("image/") ? blob.type : "image/png";
    return this.#call("POST", "/v1/images", { body: blob, headers: { "Content-Type": type } });
  }

  image(id) {
    return this.#call("GET", `/v1/images/${id}`);
  }

  validate(body, signal) {
    return this.#json("/v1/jobs/validate", body, signal);
  }

  submit(body) {
    return this.#json("/v1/jobs", body);
  }

  job(id) {
    return this.#call("GET", `/v1/jobs/${id}`);
  }

  jobs(query) {
    return this.#call("GET", `/v1/jobs?${new URLSearchParams(query)}`).then((answer) => answer.data);
  }

  cancel(id) {
    return this.#call("POST", `/v1/jobs/${id}/cancel`);
  }

  deleteJob(id) {
    return this.#call("DELETE", `/v1/jobs/${id}`);
  }

  /** The job once it is final; `onJob` sees it at least every `waitS` seconds. */
  async finish(job, { waitS = 10, signal, onJob } = {}) {
    let now = job;
    while (!isFinal(now)) {
      onJob?.(now);
      const asked = performance.now();
      const headers = { Prefer: `wait=${waitS}` };
      now = await this.#call("GET", `/v1/jobs/${job.id}`, { headers, signal });
      if (!isFinal(now) && performance.now() - asked < PAUSE_MS) await pause(PAUSE_MS);
    }
    return now;
  }

  /** The bytes behind a signed URL, which needs no key. */
  async picture(url, signal) {
    const answer = await this.#fetch(reachable(url), { signal });
    if (!answer.ok) throw await asError(answer);
    return answer.blob();
  }

  #json(path, body, signal) {
    const headers = { "Content-Type": "application/json" };
    return this.#call("POST", path, { body: JSON.stringify(body), headers, signal });
  }

  async #call(method, path, { body, headers = {}, signal } = {}) {
    const known = { ...headers, Authorization: `Bearer ${this.key}` };
    const answer = await this.#fetch(path, { method, body, headers: known, signal });
    if (answer.status === 204) return null;
    if (answer.ok) return answer.json();
    const error = await asError(answer);
    if (error.status === 401) this.onUnauthorized?.(error);
    throw error;
  }

  async #fetch(path, options) {
    try {
      return await fetch(path, { cache: "no-store", ...options });
    } catch (error) {
      if (isAbort(error)) throw error;
      throw new Unreachable();
    }
  }
}

async function asError(answer) {
  const problem = await answer.json().catch(() => ({}));
  return new ApiError(answer.status, problem);
}
