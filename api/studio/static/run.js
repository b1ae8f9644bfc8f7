/** "Edit": the full job from submission to result, and what can be done with a result. */

import { Compare } from "/studio/compare.js";
import { asCurl, copy } from "/studio/curl.js";
import { byId, onClick, show } from "/studio/dom.js";
import { History } from "/studio/history.js";
import { openPicture } from "/studio/picture.js";
import { outcomeInWords, warningInWords } from "/studio/words.js";

const LOOK_S = 1; // between two looks at the progress

export class Run {
  #isAllowed = false;
  #running = null; // the job, once it has an id
  #isBusy = false;
  #shown = null; // {job, before, after}

  /**
   * `body()`: what to send; `onStart()`: no preview is wanted now; `onClose()`: back to the drags;
   * `onGoOn(picture)`: a result becomes the picture; `note(texts, className)`: show them beside
   * the button; `failed(error)`.
   */
  constructor(calls) {
    Object.assign(this, calls);
    this.api = null;
    this.compare = new Compare();
    this.history = new History((id) => this.#open(id));
    onClick("run", () => this.#start());
    onClick("cancel", () => this.#cancel());
    onClick("back", () => this.close());
    onClick("go-on", () => this.#goOn());
    onClick("copy-curl", () => this.#copyCurl());
  }

  /** Whether the edit, as it is now, would be accepted. */
  allow(isAllowed) {
    this.#isAllowed = isAllowed;
    byId("run").disabled = !isAllowed || this.#isBusy;
  }

  get isOpen() {
    return this.compare.isOpen;
  }

  /** Back from the result to the drags. */
  close() {
    this.#hide();
    this.onClose();
  }

  #hide() {
    this.compare.close();
    this.#shown = null;
    this.history.mark(null);
    this.#showResult(false);
  }

  async #start() {
    this.onStart();
    this.#hide();
    this.#setBusy(true);
    this.#say("Sending");
    try {
      this.#running = await this.api.submit(await this.body());
      const onJob = (job) => this.#showProgress(job);
      const job = await this.api.finish(this.#running, { waitS: LOOK_S, onJob });
      if (job.status === "succeeded") {
        this.history.add(job);
        await this.#show(job);
      } else {
        this.#say("");
        this.note([outcomeInWords(job)], job.status === "canceled" ? "plain" : "problem");
      }
    } catch (error) {
      this.#say("");
      this.failed(error);
    } finally {
      this.#running = null;
      this.#setBusy(false);
    }
  }

  async #cancel() {
    if (!this.#running) return;
    this.#say("Cancelling");
    await this.api.cancel(this.#running.id).catch(this.failed);
  }

  async #open(id) {
    try {
      await this.#show(await this.api.job(id));
    } catch (error) {
      this.failed(error);
    }
  }

  async #show(job) {
    const source = await this.api.image(job.request.image);
    const urls = [source.url, job.result.candidates[0].url];
    const [before, after] = await Promise.all(urls.map((url) => this.api.picture(url)));
    const [{ width, height }] = job.result.candidates;
    const name = `towline-${job.id.slice(-8)}.${after.type.split("/")[1].replace("jpeg", "jpg")}`;
    this.#shown = { job, after, name };
    this.compare.open(before, after, { width, height, name, at: middle(job.request, width) });
    this.history.mark(job.id);
    this.#showResult(true);
    const seconds = (job.result.timings.total_ms / 1000).toFixed(1);
    this.note(job.result.warnings.map(warningInWords), "warning");
    const { engine, cached } = job.result;
    this.#say(cached ? `Done by ${engine} before.` : `Done by ${engine} in ${seconds} s.`);
  }

  async #goOn() {
    const { after, name } = this.#shown;
    try {
      this.onGoOn(await openPicture(this.api, after, name));
      this.#say("The result is the picture now.");
    } catch (error) {
      this.failed(error);
    }
  }

  async #copyCurl() {
    const command = asCurl(this.api.key, this.#shown.job.request);
    if (await copy(command)) this.#say("Copied. The command holds your key: mind where you paste it.");
  }

  #showProgress({ status, queue, progress }) {
    const bar = byId("progress");
    if (progress.steps) Object.assign(bar, { max: progress.steps, value: progress.step });
    else bar.removeAttribute("value");
    if (status === "running") this.#say(progress.steps ? `Step ${progress.step} of ${progress.steps}` : "Running");
    else this.#say(queueInWords(queue));
  }

  #showResult(isShown) {
    show("tools", !isShown);
    show("result-bar", isShown);
    show("canvas", !isShown);
    show("keys", !isShown);
    byId("stage").classList.toggle("shows-result", isShown);
  }

  #setBusy(isBusy) {
    this.#isBusy = isBusy;
    show("progress", isBusy);
    show("cancel", isBusy);
    byId("progress").removeAttribute("value");
    this.allow(this.#isAllowed);
  }

  #say(text) {
    byId("status").textContent = text;
  }
}

/** Where the divider begins, in per cent: in the midst of what was moved. */
function middle({ drags = [] }, width) {
  const xs = drags.flatMap(({ handle, target }) => [handle[0], target[0]]);
  return xs.length ? (100 * (xs.reduce((sum, x) => sum + x) / xs.length + 0.5)) / width : 50;
}

function queueInWords(queue) {
  if (!queue) return "Waiting";
  const place = queue.position === 0 ? "next in the queue" : `${queue.position} before it in the queue`;
  const eta = queue.eta_s === null ? "no worker is up" : `done in about ${Math.max(1, Math.round(queue.eta_s))} s`;
  return `Waiting: ${place}, ${eta}`;
}
