// A new clip: the file goes straight to the storage, then the job is made.

import { Refusal, call, send } from "./api.js";
import { problem, show } from "./dom.js";

export function create(signal) {
  const at = show("create");
  const form = at("form");
  form.elements.burn.onchange = () => { if (form.elements.burn.checked) form.elements.subtitles.checked = true; };
  form.elements.subtitles.onchange = () => { if (!form.elements.subtitles.checked) form.elements.burn.checked = false; };
  form.elements.file.focus();
  form.onsubmit = async (event) => {
    event.preventDefault();
    const button = form.querySelector("button");
    button.disabled = true;
    problem(at("problem"));
    try {
      const made = await make(form.elements, (part) => { at("sent").hidden = false; at("sent").value = part; });
      if (!signal.aborted) location.hash = `#/jobs/${made.id}`;
    } catch (error) {
      problem(at("problem"), error);
      at("sent").hidden = true;
    } finally {
      button.disabled = false;
    }
  };
}

async function make(fields, onProgress) {
  const file = fields.file.files[0];
  const extension = /\.([A-Za-z0-9]{1,16})$/.exec(file.name)?.[1];
  if (!extension) throw new Refusal("INVALID_INPUT", "the file's name has no extension, as in talk.mp4");
  const upload = await call("POST", "/v1/uploads", { extension });
  await send(upload, file, onProgress);
  return call("POST", "/v1/jobs", {
    source: upload.source,
    start: time(fields.start.value),
    end: time(fields.end.value),
    subtitles: fields.subtitles.checked,
    burn: fields.burn.checked,
    language: fields.language.value || "auto",
    priority: fields.priority.value,
  }, { "idempotency-key": upload.upload });
}

// A bare number is seconds; everything else is the server's to read.
function time(text) {
  const trimmed = text.trim();
  return /^\d+(\.\d+)?$/.test(trimmed) ? Number(trimmed) : trimmed;
}
