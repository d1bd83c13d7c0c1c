// The first page: counts, the last hour, and the list of jobs. Live on the newest page; an older page stands still.
// Who comes back to it from a job finds it as it was left.

import { call, follow } from "./api.js";
import { chart } from "./chart.js";
import { age, clock, connection, element, show, when } from "./dom.js";

const STATUSES = ["queued", "processing", "done", "failed"];

// Where a reader of the list is: the row with the focus, and how far the page is scrolled.
export function place() {
  const row = document.activeElement?.closest?.("#rows tr");
  return { job: row?.dataset.job, top: window.scrollY };
}

export function board(signal, parameters, left) {
  const at = show("board");
  const status = STATUSES.includes(parameters.get("status")) ? parameters.get("status") : "";
  const cursor = parameters.get("cursor") ?? "";
  filters(at("filter"), status);
  // The room that the numbers will take.
  at("cards").replaceChildren(...STATUSES.map((name) => card(name, "–", " ")));
  const query = new URLSearchParams();
  if (status) query.set("status", status);
  at("newer").hidden = !cursor;
  at("newer").onclick = () => go(status, "");

  const jobs = (page) => {
    rows(at("rows"), page.jobs);
    at("empty").hidden = page.jobs.length > 0;
    at("older").hidden = !page.next;
    at("older").onclick = () => go(status, page.next);
    if (left) restore(at("rows"), left);
    left = undefined;
  };
  follow(`/v1/live?${query}`, signal, (message) => {
    if (message.event === "stats") stats(at, message.data);
    if (message.event === "jobs" && !cursor) jobs(message.data);
    return undefined;
  }, connection);
  if (cursor) {
    query.set("cursor", cursor);
    call("GET", `/v1/jobs?${query}`).then((page) => !signal.aborted && jobs(page), (error) => connection(error.message));
  }
}

function go(status, cursor) {
  const query = new URLSearchParams();
  if (status) query.set("status", status);
  if (cursor) query.set("cursor", cursor);
  location.hash = `#/?${query}`;
}

function restore(place, { job, top }) {
  window.scrollTo(0, top);
  if (job) place.querySelector(`tr[data-job="${job}"] a`)?.focus();
}

function filters(place, chosen) {
  for (const status of ["", ...STATUSES]) {
    const input = element("input", { type: "radio", name: "status", value: status, checked: status === chosen });
    input.onchange = () => go(status, "");
    place.append(element("label", {}, input, status || "all"));
  }
}

function stats(at, { statuses, minutes, at: now }) {
  const cards = statuses.map(({ status, count, is_at_least, oldest_created_at }) => {
    const number = `${is_at_least ? "≥ " : ""}${count.toLocaleString()}`;
    const waits = status === "queued" && oldest_created_at ? `oldest ${age(oldest_created_at, now)}` : " ";
    return card(status, number, waits);
  });
  at("cards").replaceChildren(...cards);
  for (const outcome of ["done", "failed"]) {
    chart(at(`${outcome}-chart`), minutes, outcome);
  }
}

function card(status, number, note) {
  return element("li", {}, element("span", { class: `status ${status}` }, status), element("b", {}, number), element("small", {}, note));
}

function rows(place, jobs) {
  const focused = document.activeElement?.closest?.("tr")?.dataset.job;
  place.replaceChildren(...jobs.map((job) => {
    const href = `#/jobs/${job.id}`;
    // One stop for the Tab key in each row: the link that every width shows.
    const status = element("a", { href, class: `status ${job.status}`, "aria-label": `${job.status}, job ${job.id}` }, job.status);
    return element("tr", { "data-job": job.id },
      element("td", {}, status, detail(job)),
      element("td", {}, `${clock(job.start)} – ${clock(job.end)}`),
      element("td", {}, job.source.type),
      element("td", {}, when(job.created_at)),
      element("td", {}, element("a", { href, tabindex: "-1" }, element("code", {}, job.id))));
  }));
  if (focused) place.querySelector(`tr[data-job="${focused}"] a`)?.focus();
}

function detail(job) {
  if (job.status === "processing") return element("progress", { max: 100, value: job.progress, "aria-label": "Progress" });
  if (job.status === "failed" && job.error) return ` ${job.error.code}`;
  return undefined;
}
