// A job's page: how far it is, what happened, what came out, and what can be done about it.

import { Refusal, call, follow, reach } from "./api.js";
import { clock, connection, element, problem, show, when } from "./dom.js";

export function job(signal, id, back) {
  const at = show("job");
  at("id").textContent = id;
  const path = `/v1/jobs/${encodeURIComponent(id)}`;
  let shown;

  const refresh = async () => {
    try {
      const now = await call("GET", path);
      if (signal.aborted) return;
      draw(at, now);
      if (now.status === "done" && shown !== "done") await result(at, path);
      if (now.status !== "done") at("result").hidden = true;
      shown = now.status;
    } catch (error) {
      if (!signal.aborted) problem(at("problem"), error);
    }
  };
  const act = (name, method, verb, question) => {
    at(name).onclick = async () => {
      if (question && !window.confirm(question)) return;
      at(name).disabled = true;
      try {
        await call(method, path + verb);
        if (name === "delete") { back(); return; }
        await refresh();
        if (name === "retry") watch();
      } catch (error) {
        problem(at("problem"), error);
      } finally {
        at(name).disabled = false;
      }
    };
  };
  act("cancel", "POST", "/cancel");
  act("retry", "POST", "/retry");
  act("delete", "DELETE", "", "Delete this job, its source and its clip?");

  const watch = () => follow(`${path}/events`, signal, (message) => {
    if (message.event === "progress") {
      at("progress").value = message.data.progress;
      return undefined;
    }
    if (message.event === "end") {
      refresh();
      return "end";
    }
    add(at("timeline"), message.data);
    refresh();
    return undefined;
  }, connection);
  refresh();
  watch();
}

function draw(at, job) {
  at("status").textContent = job.status;
  at("status").className = `status ${job.status}`;
  at("progress").value = job.progress;
  at("progress").hidden = !["queued", "processing"].includes(job.status);
  at("cancel").hidden = !["queued", "processing"].includes(job.status) || Boolean(job.cancel_requested_at);
  at("retry").hidden = job.status !== "failed";
  at("delete").hidden = job.status === "processing";
  problem(at("problem"), job.error ? new Refusal(job.error.code, job.error.message ?? "failed") : undefined);
  const facts = [
    ["Clip", `${clock(job.start)} – ${clock(job.end)}`],
    ["Source", job.source.url ?? job.source.type],
    ["Subtitles", job.subtitles ? `${job.language ?? "auto"}${job.burn ? ", in the picture" : ""}` : undefined],
    ["Priority", job.priority],
    ["Attempts", `${job.attempts} of ${job.max_attempts}`],
    ["Created", when(job.created_at)],
    ["Started", job.started_at && when(job.started_at)],
    ["Finished", job.finished_at && when(job.finished_at)],
    ["Kept until", job.expires_at && when(job.expires_at)],
    ["Cancel", job.cancel_requested_at && "asked for"],
  ];
  at("facts").replaceChildren(...facts.filter(([, value]) => value)
    .flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));
}

async function result(at, path) {
  const { video, subtitles } = await call("GET", `${path}/result`);
  at("player").src = reach(video.url);
  const links = [element("a", { href: reach(video.url), target: "_blank", rel: "noopener" }, "clip.mp4")];
  if (subtitles) links.push(" · ", element("a", { href: reach(subtitles.url), target: "_blank", rel: "noopener" }, "clip.srt"));
  at("links").replaceChildren(...links);
  at("result").hidden = false;
}

function add(place, event) {
  if (place.querySelector(`[data-seq="${event.seq}"]`)) return;
  const { set: _set, ...data } = event.data ?? {};
  const plain = (value) => (typeof value === "object" ? JSON.stringify(value) : String(value));
  const text = Object.entries(data).map(([name, value]) => `${name.replaceAll("_", " ")} ${plain(value)}`).join(" · ");
  place.append(element("li", { "data-seq": event.seq }, when(event.ts), element("b", {}, event.type), " ", element("span", {}, text)));
}
