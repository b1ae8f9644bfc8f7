/** Getting a picture: dropped, pasted, chosen, or the sample; uploaded and decoded. */

import { byId, isTyping, onClick } from "/studio/dom.js";

const TAKEN = ["image/png", "image/jpeg", "image/webp"];

/** `onPicture(blob, name)`, whichever way it came; `canTake()`: whether now is the time. */
export function listenForPictures(canTake, onPicture, onProblem) {
  const take = (files) => {
    const file = [...files].find((each) => TAKEN.includes(each.type)) ?? files[0];
    if (!file || !canTake()) return;
    if (TAKEN.includes(file.type) || file.type === "") onPicture(file, file.name);
    else onProblem(`${file.name || "This"} is not a PNG, JPEG or WebP picture.`);
  };
  byId("file").addEventListener("change", (event) => {
    take(event.target.files);
    event.target.value = ""; // the same file again is a change, too
  });
  onClick("choose", () => byId("file").click());
  document.addEventListener("paste", (event) => {
    if (!isTyping(event) && event.clipboardData.files.length) take(event.clipboardData.files);
  });
  const lightUp = (isOver) => byId("drop").classList.toggle("over", isOver);
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    lightUp(true);
  });
  document.addEventListener("dragleave", (event) => event.relatedTarget ?? lightUp(false));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    lightUp(false);
    take(event.dataTransfer.files);
  });
}

/**
 * The picture as the page has it: `id`, `width`, `height` and `contentType` are the server's,
 * `bitmap` is what is drawn, upright; `blob` are the bytes.
 */
export async function openPicture(api, blob, name) {
  const [uploaded, decoded] = await Promise.allSettled([api.upload(blob), decode(blob)]);
  if (uploaded.status === "rejected") throw uploaded.reason; // it knows better what is wrong
  if (decoded.status === "rejected") {
    throw new Error("The server takes this picture, but this browser cannot show it.");
  }
  const { id, width, height, content_type: contentType } = uploaded.value;
  return { id, width, height, contentType, bitmap: decoded.value, blob, name };
}

/** As it is seen: turned as its EXIF says, which is also what points are counted in. */
function decode(blob) {
  return createImageBitmap(blob, { imageOrientation: "from-image" });
}

export const SAMPLE = {
  name: "sample.png",
  picture: "/studio/sample/image.png",
  mask: "/studio/sample/mask.png",
  drags: [
    { handle: [168, 87], target: [167, 72] },
    { handle: [172, 145], target: [173, 160] },
  ],
};

export async function fetchOwn(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error("The sample could not be loaded.");
  return answer.blob();
}
