/** What the API says in codes, in words for whoever drags; an unknown code has its own detail. */

const END = { handle: "The start", target: "The end" };

const VIOLATIONS = {
  point_outside_image: "is outside the picture.",
  point_outside_mask: "is outside the mask: paint it in, or go back to the automatic mask.",
  point_at_mask_border: "is too close to the mask's border: paint the mask wider there.",
  edge_point_moves_inward:
    "is on the picture's edge, where things only slide along it: put both ends on the edge, or both off it.",
  duplicate_handle: "is where another drag starts.",
  duplicate_target: "is where another drag ends.",
  drag_not_reachable: "is in another part of the mask than the start: join the two parts.",
};

const GENERAL = {
  zero_length_drags: "No drag goes anywhere yet.",
  mask_empty: "The mask is empty: paint what may change, or go back to the automatic mask.",
  mask_size_mismatch: "The mask has not the picture's size.",
  image_not_found: "The server no longer has this picture: open it again.",
  alpha_not_supported: "The picture has transparent parts, which JPEG cannot keep: choose PNG or WebP.",
  picture_too_long: "The picture is too long for this format: choose PNG.",
  canvas_too_long: "The picture is too long and narrow for this engine.",
  engine_unavailable: "This engine is not configured on this server.",
};

const WARNINGS = {
  drags_merged: "Drags that start at nearly the same point were moved as one.",
  zero_drags: "No drag goes anywhere: nothing was moved.",
  mask_holes_ignored: "Small holes in the mask were bridged; their pixels still stay as they are.",
  point_near_border: "An end is close to the mask's border, so its surroundings stretch a lot. Leave more room.",
  paths_cross: "Two drags cross each other's way; what lies between may look twisted.",
  detour: "A straight way would leave the mask: the drag was led around.",
  smeared: "Some of the picture is stretched more than three times and may look smeared. Pull less far, or leave more room.",
  extreme: "Some of the picture is stretched more than eight times and will look smeared. Pull less far, or leave more room.",
  warp_folds: "The picture lies over itself somewhere. Pull less far, or leave more room.",
};

const JOB_ERRORS = {
  timeout: "The edit took too long and was stopped.",
  worker_lost: "The workers that ran it were lost, three times. Look into the server's logs.",
  storage_unavailable: "The server cannot reach its store of pictures. Try again in a while.",
  engine_failed: "The engine failed in a way that nobody foresaw. Its log has more.",
};

/** An entry of `errors` or `problems`, with the end of the drag that it is about. */
export function violationInWords({ code, detail, end }) {
  if (GENERAL[code]) return GENERAL[code];
  if (!VIOLATIONS[code]) return sentence(detail);
  return `${END[end] ?? "An end"} ${VIOLATIONS[code]}`;
}

export function warningInWords({ code, detail }) {
  return WARNINGS[code] ?? sentence(detail);
}

/** A job that did not succeed. */
export function outcomeInWords({ status, error }) {
  if (status === "canceled") return "Cancelled.";
  if (status === "expired") return "Nobody could start it in time.";
  if (error.code === "drag_not_reachable") {
    // The API counts from 0, the arrows on the picture from 1.
    const text = error.message.replace(/\bdrag (\d+)/g, (_, index) => `drag ${+index + 1}`);
    return `${sentence(text)} Paint the mask wider between start and end, or pull less far.`;
  }
  return JOB_ERRORS[error.code] ?? sentence(error.message);
}

export function sentence(text) {
  const trimmed = String(text).trim();
  const end = /[.!?]$/.test(trimmed) ? "" : ".";
  return trimmed.charAt(0).toUpperCase() + trimmed.slice(1) + end;
}
