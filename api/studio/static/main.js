/** The studio, put together: key, picture, drags and mask, preview, edit, result. Read it first. */

import { Bench } from "/studio/bench.js";
import { alertText, byId, onClick, show } from "/studio/dom.js";
import { MAX_DRAGS } from "/studio/edit.js";
import { sessionName } from "/studio/history.js";
import { forget, signIn, takeFromAddress } from "/studio/key.js";
import { tinted } from "/studio/mask.js";
import { Options } from "/studio/options.js";
import { SAMPLE, fetchOwn, listenForPictures, openPicture } from "/studio/picture.js";
import { Preview } from "/studio/preview.js";
import { Run } from "/studio/run.js";
import { outcomeInWords, sentence, violationInWords, warningInWords } from "/studio/words.js";

let api = null;
let masks = new WeakMap(); // of strokes: their image's id, promised
let isSound = false; // the edit, as the server said last

const announce = (text) => (byId("status").textContent = text);
const bench = new Bench({ onChange: changed, announce });
const options = new Options(changed);
const preview = new Preview(bodies, { busy: (text) => bench.showBusy(text), checked, shown, ended, failed });
const run = new Run({
  body: fullBody,
  onStart: () => preview.stop(),
  onClose: changed,
  onGoOn: usePicture,
  note: showNotes,
  failed,
});

/** The body that "Edit" sends. */
async function fullBody() {
  const { drags, strokes } = bench.edit;
  const body = { image: bench.picture.id, mask: await maskId(strokes), drags, ...options.chosen() };
  return { ...body, metadata: { studio: sessionName() } };
}

/** What to ask about, and what to preview: nothing while there are no drags. */
async function bodies() {
  if (!bench.edit.drags.length) return { check: null, preview: null };
  const check = await fullBody();
  const quick = byId("auto-preview").checked ? options.forPreview(bench.picture.contentType) : null;
  const metadata = { studio_preview: sessionName() };
  return { check, preview: quick && { ...check, ...quick, priority: "high", metadata } };
}

/** The painted mask as an uploaded image, once for each state of it; null: automatic. */
function maskId(strokes) {
  if (!strokes) return null;
  if (!masks.has(strokes)) {
    const upload = bench.mask.toPng().then((png) => api.upload(png));
    masks.set(strokes, upload.then((image) => image.id));
    upload.catch(() => masks.delete(strokes));
  }
  return masks.get(strokes);
}

function changed() {
  if (run.isOpen) {
    run.close(); // which comes back here
    return;
  }
  isSound = false;
  const isHeld = bench.edit.isHeld;
  showReadiness();
  if (!bench.picture || bench.isPlacingHandle || (isHeld && bench.toolName !== "drag")) preview.stop();
  else preview.schedule();
}

/** The answer of `validate`; null: there was nothing to ask. */
function checked(answer) {
  alertText("");
  isSound = answer?.valid ?? false;
  const others = bench.showProblems(answer?.problems ?? []);
  showNotes(others.map(violationInWords), "problem");
  showReadiness();
}

function shown(result) {
  bench.showPreview(result);
  if (result) showNotes(result.warnings.map(warningInWords), "warning");
}

/** A preview that came to nothing: so would the edit. */
function ended(job) {
  bench.showPreview(null);
  if (job.status === "failed") showNotes([outcomeInWords(job)], "problem");
}

function failed(error) {
  if (error.status === 401) return; // the key is asked for
  if (error.errors?.length) checked({ valid: false, problems: error.errors });
  else alertText(sentence(error.message) + (error.requestId ? ` (request ${error.requestId})` : ""));
}

function showNotes(texts, className) {
  const notes = texts.map((textContent) => Object.assign(document.createElement("li"), { className, textContent }));
  byId("notes").replaceChildren(...notes);
}

function showReadiness() {
  const count = bench.edit.drags.length;
  run.allow(isSound && !bench.edit.isHeld);
  byId("add-drag").disabled = count >= MAX_DRAGS;
  show("sample-drags", Boolean(bench.picture?.isSample) && count === 0);
}

async function takePicture(blob, name, marks = {}) {
  alertText("");
  byId("picture-step").setAttribute("aria-busy", "true");
  try {
    usePicture({ ...(await openPicture(api, blob, name)), ...marks });
  } catch (error) {
    failed(error);
  } finally {
    byId("picture-step").removeAttribute("aria-busy");
  }
}

function usePicture(picture) {
  showStep("work-step");
  masks = new WeakMap();
  run.close();
  bench.open(picture);
  byId("canvas").focus({ preventScroll: true });
}

async function takeSample() {
  await takePicture(await fetchOwn(SAMPLE.picture), SAMPLE.name, { isSample: true });
}

async function takeSampleDrags() {
  const mask = tinted(await createImageBitmap(await fetchOwn(SAMPLE.mask)));
  bench.edit.change({ drags: SAMPLE.drags, strokes: [{ kind: "canvas", canvas: mask }] });
}

function showStep(id) {
  for (const step of ["key-step", "picture-step", "work-step"]) show(step, step === id);
  show("other-picture", id === "work-step");
  show("keep-picture", bench.picture !== null);
  show("forget-key", id !== "key-step");
}

/** With a key that the server knows: go on where we were, or with a picture. */
async function begin() {
  preview.stop();
  showStep("key-step");
  const entry = await signIn(() => begin());
  api = preview.api = run.api = entry.api;
  options.offer(entry.engines);
  showStep(bench.picture ? "work-step" : "picture-step");
  if (bench.picture) changed();
  run.history.load(api).catch(failed);
}

function forgetKey() {
  forget();
  location.reload();
}

listenForPictures(() => api !== null && byId("key-step").hidden, takePicture, alertText);
onClick("sample", () => takeSample().catch(failed));
onClick("sample-drags", () => takeSampleDrags().catch(failed));
onClick("other-picture", () => showStep("picture-step"));
onClick("keep-picture", () => showStep("work-step"));
onClick("forget-key", forgetKey);
byId("auto-preview").addEventListener("change", changed);
window.addEventListener("hashchange", () => {
  takeFromAddress();
  begin();
});
takeFromAddress();
begin();
