/** While the user works: ask whether the edit is sound, and show how it would come out. */

import { isAbort, isFinal, pause } from "/studio/api.js";
import { tinted } from "/studio/mask.js";

const DEBOUNCE_MS = 180;
const WAIT_S = 10;
const TIDY_TRIES = 20;
const TIDY_PAUSE_MS = 500;

/**
 * Each turn takes the place of the one before: its requests are dropped, its job is cancelled.
 * A preview's job is deleted once its picture is here, so that the list of jobs stays the user's.
 */
export class Preview {
  #turn = 0;
  #timer = 0;
  #stopper = new AbortController();

  /**
   * `bodies()`: {check, preview}, what "Edit" would send and what a preview sends (or null).
   * `on`: busy(text), checked(answer), shown({bitmap, mask, warnings} | null),
   * ended(a job without a result), failed(error).
   */
  constructor(bodies, on) {
    this.bodies = bodies;
    this.on = on;
    this.api = null;
  }

  /** Something changed. */
  schedule() {
    this.stop();
    this.on.busy("Checking");
    this.#timer = setTimeout(() => this.#run(this.#turn), DEBOUNCE_MS);
  }

  stop() {
    clearTimeout(this.#timer);
    this.#turn += 1;
    this.#stopper.abort();
    this.#stopper = new AbortController();
    this.on.busy("");
  }

  async #run(turn) {
    const { signal } = this.#stopper;
    try {
      const bodies = await this.bodies();
      if (turn !== this.#turn) return;
      const answer = bodies.check ? await this.api.validate(bodies.check, signal) : null;
      this.on.checked(answer);
      if (!answer?.valid || !bodies.preview) this.on.shown(null);
      else await this.#show(bodies.preview, turn, signal);
    } catch (error) {
      if (turn === this.#turn && !isAbort(error)) this.on.failed(error);
    } finally {
      if (turn === this.#turn) this.on.busy("");
    }
  }

  async #show(body, turn, signal) {
    this.on.busy("Previewing");
    let job = await this.api.submit(body); // not dropped: its id is needed to cancel it
    try {
      if (turn !== this.#turn) return;
      const onJob = (now) => this.on.busy(now.status === "queued" ? "Waiting for a worker" : "Previewing");
      job = await this.api.finish(job, { waitS: WAIT_S, signal, onJob });
      if (job.status !== "succeeded") {
        if (turn === this.#turn) this.on.ended(job);
        return;
      }
      const shown = await this.#fetch(job.result, signal);
      if (turn === this.#turn) this.on.shown(shown);
    } finally {
      this.#tidy(job);
    }
  }

  async #fetch(result, signal) {
    const urls = [result.candidates[0].url, result.mask_url].filter(Boolean);
    const blobs = await Promise.all(urls.map((url) => this.api.picture(url, signal)));
    const [bitmap, mask] = await Promise.all(blobs.map((blob) => createImageBitmap(blob)));
    return { bitmap, mask: mask ? tinted(mask) : null, warnings: result.warnings };
  }

  /** Cancel and delete; best effort, since the server collects what stays when its time is over. */
  async #tidy(job) {
    try {
      let now = isFinal(job) ? job : await this.api.cancel(job.id);
      for (let tries = 0; !isFinal(now) && tries < TIDY_TRIES; tries += 1) {
        await pause(TIDY_PAUSE_MS); // a running one stops between two steps
        now = await this.api.job(job.id);
      }
      if (isFinal(now)) await this.api.deleteJob(job.id);
    } catch {
      // The next preview matters more than the last one's remains.
    }
  }
}
