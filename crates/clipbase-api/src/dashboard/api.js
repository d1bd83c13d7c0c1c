// The HTTP API as functions: the envelope is taken off, a refusal becomes a Refusal.

const KEY = "clipbase-key";

export class Refusal extends Error {
  constructor(code, message, status) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

export const key = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (text) => (text ? sessionStorage.setItem(KEY, text) : sessionStorage.removeItem(KEY)),
};

function headers(more = {}) {
  const secret = key.get();
  return secret ? { ...more, authorization: `Bearer ${secret}` } : more;
}

async function refusal(response) {
  const body = await response.json().catch(() => ({}));
  return new Refusal(body.code ?? `HTTP_${response.status}`, body.message ?? response.statusText, response.status);
}

export async function call(method, path, body, more = {}) {
  const options = { method, headers: headers({ accept: "application/json", ...more }) };
  if (body !== undefined) {
    options.headers["content-type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  const response = await fetch(path, options);
  if (!response.ok) throw await refusal(response);
  return (await response.json()).data;
}

// Server-sent events by fetch: EventSource cannot carry a key. Yields {event, id, data}; ends with the stream.
export async function* events(path, signal, lastId) {
  const more = { accept: "text/event-stream" };
  if (lastId) more["last-event-id"] = String(lastId);
  const response = await fetch(path, { headers: headers(more), signal });
  if (!response.ok) throw await refusal(response);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value.replaceAll("\r", "");
    for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
      const message = read(text.slice(0, end));
      text = text.slice(end + 2);
      if (message) yield message;
    }
  }
}

function read(block) {
  const message = { event: "message", id: undefined, data: "" };
  let isComment = true;
  for (const line of block.split("\n")) {
    const colon = line.indexOf(":");
    if (colon === 0 || line === "") continue;
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    isComment = false;
    if (field === "data") message.data += message.data ? `\n${value}` : value;
    if (field === "event") message.event = value;
    if (field === "id") message.id = value;
  }
  if (isComment || !message.data) return undefined;
  return { ...message, data: JSON.parse(message.data) };
}

// Follows a stream for as long as the signal lets it, beginning again after a break with growing pauses.
export async function follow(path, signal, onMessage, onState) {
  let pause = 500;
  let lastId;
  while (!signal.aborted) {
    try {
      for await (const message of events(path, signal, lastId)) {
        pause = 500;
        if (message.id) lastId = message.id;
        onState("live");
        // The key was lost: another one is needed, not another try.
        if (message.event === "refused") throw new Refusal(message.data.code, message.data.message, 403);
        if (onMessage(message) === "end") return;
      }
    } catch (error) {
      if (signal.aborted) return;
      onState(error instanceof Refusal ? `${error.message} [${error.code}]` : "connection lost, trying again");
      if (error instanceof Refusal && [401, 403].includes(error.status)) return;
    }
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, pause * (0.5 + Math.random()));
      signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
    });
    pause = Math.min(pause * 2, 15000);
  }
}

// Where a signed link leads from this page. A link of this server's own storage is good under every name of the server.
export function reach(url) {
  return document.documentElement.dataset.links === "own" ? url.slice(url.indexOf("/storage/v1/")) : url;
}

// Sends a file straight to the storage; XMLHttpRequest is what tells how far it is.
export function send(upload, file, onProgress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open(upload.method, reach(upload.url));
    request.setRequestHeader("content-type", upload.content_type);
    request.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
    request.onload = () => (request.status < 300
      ? resolve()
      : reject(new Refusal(`HTTP_${request.status}`, "the storage refused the file", request.status)));
    request.onerror = () => reject(new Refusal("NETWORK", "the file could not be sent; try again", 0));
    request.send(file);
  });
}
