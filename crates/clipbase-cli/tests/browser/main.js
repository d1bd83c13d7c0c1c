// usage: node main.js URL SAMPLE OPEN PICTURES
//
// Uses the dashboard of a running `clipbase serve --dev` as a person does. As long as the file OPEN exists, the
// server's ffmpeg works; once it is gone, each waits at its gate and the queue stands still.

import { strict as assert } from "node:assert";
import { rmSync } from "node:fs";
import { Page } from "./page.js";

const [url, sample, open, pictures] = process.argv.slice(2);
const seen = await Page.open(pictures);
const { page } = seen;

async function api(method, path, body) {
  const options = { method };
  if (body) Object.assign(options, { headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  const response = await fetch(url + path, options);
  const answer = await response.json();
  assert.ok(answer.ok, `${method} ${path}: ${JSON.stringify(answer)}`);
  return answer.data;
}

// An empty queue.
async function opens() {
  // By another name than the one that the server's links have.
  await page.goto(url.replace("127.0.0.1", "localhost"));
  await seen.until("the page is live", () => document.querySelector("#connection")?.textContent === "live");
  await seen.until("there are no jobs", () => document.querySelector("#empty")?.hidden === false);
  await seen.bothPictures("empty");
  const order = [];
  for (let presses = 0; presses < 6; presses += 1) {
    await seen.press("Tab");
    order.push(await seen.focused());
  }
  assert.deepEqual(order, ["Skip to content", "clipbase", "new", "key", "API", "filter all"]);
}

// The form refuses what makes no sense, and says so; then it makes a clip.
async function makes() {
  await page.click("#new");
  await seen.until("the form is open", () => document.activeElement?.name === "file");
  const file = await page.$("input[name=file]");
  await file.uploadFile(sample);
  await page.type("input[name=end]", "00:00:06.500");
  await page.$eval("input[name=start]", (input) => { input.value = ""; });
  await page.type("input[name=start]", "4");
  await page.click("input[name=burn]");
  assert.ok(await page.$eval("input[name=subtitles]", (input) => input.checked), "burning means subtitles");
  await seen.bothPictures("form");
  await page.click("#form button[type=submit]");
  await seen.until("the job's page is open", () => location.hash.startsWith("#/jobs/"));
  return (await seen.path()).split("/").at(-1);
}

// It ends before one's eyes, and plays.
async function plays(id) {
  await seen.status("done");
  assert.equal(await seen.text("#id"), id);
  await seen.until("the clip is there", () => document.querySelector("#result")?.hidden === false);
  const shown = await page.$eval("#player", async (player) => {
    player.muted = true;
    const reached = new Promise((resolve, reject) => {
      player.ontimeupdate = () => player.currentTime > 0.5 && resolve();
      player.onerror = () => reject(new Error(player.error.message));
    });
    await player.play();
    await reached;
    player.pause();
    return { ready: player.readyState, duration: player.duration, width: player.videoWidth };
  });
  assert.ok(shown.ready >= 2 && shown.width === 320, JSON.stringify(shown));
  assert.ok(Math.abs(shown.duration - 2.5) < 0.1, JSON.stringify(shown));
  await seen.until("the log is whole", () => document.querySelector("#timeline li:last-child b")?.textContent === "finished");
  const log = await page.$$eval("#timeline li b", (found) => found.map((each) => each.textContent));
  assert.deepEqual([log[0], log[1], log.at(-1)], ["created", "claimed", "finished"]);
  assert.equal(await seen.count("#links a"), 2);
  const visible = (selector) => page.$eval(selector, (found) => found.checkVisibility());
  assert.deepEqual([await visible("#progress"), await visible("#delete"), await visible("#cancel")], [false, true, false]);
  assert.match(await page.$eval("#facts", (facts) => facts.innerText), /0:04 – 0:06\.5\n/);
  await seen.bothPictures("done");
}

// Thirty jobs from one source, while no ffmpeg gets on. Returns their ids, the newest first.
async function queues(source) {
  rmSync(open);
  const made = [];
  for (let number = 0; number < 30; number += 1) {
    const range = { start: number / 2, end: number / 2 + 1 };
    made.unshift((await api("POST", "/v1/jobs", { source: { job: source }, ...range })).id);
  }
  return made;
}

// The list follows the queue; it has pages, and a filter that the address keeps.
async function browses(made) {
  await page.click(".brand");
  await seen.until("the newest job leads", (id) => document.querySelector("#rows tr")?.dataset.job === id, made[0]);
  const shown = () => page.$$eval("#rows tr", (rows) => rows.map((row) => row.dataset.job));
  const { jobs } = await api("GET", "/v1/jobs?limit=100");
  const all = jobs.map((job) => job.id);
  assert.deepEqual(await shown(), all.slice(0, 25));
  assert.equal(await page.$eval("#newer", (button) => button.hidden), true);
  const done = await page.$eval("#done-chart", (chart) => ({
    scale: chart.innerText.split("\n").map((line) => line.trim()).filter(Boolean),
    said: chart.querySelector("svg").getAttribute("aria-label"),
    bars: chart.querySelectorAll("svg g").length,
  }));
  assert.deepEqual(done.scale, ["Done, last hour 1", "1 a minute", "60 min ago", "now"]);
  assert.match(done.said, /^Jobs done in the last 60 minutes: 1, 1 in the busiest one, at /);
  assert.equal(done.bars, 60);
  const failed = await page.$eval("#failed-chart svg", (svg) => svg.getAttribute("aria-label"));
  assert.equal(failed, "No job failed in the last 60 minutes");
  await seen.until("work has begun", () => document.querySelector("#rows .processing, .cards .processing + b")?.textContent !== "0");
  await seen.bothPictures("board");

  await page.click("#older");
  await seen.until("the older page is shown", (id) => document.querySelector("#rows tr")?.dataset.job === id, all[25]);
  assert.deepEqual(await shown(), all.slice(25));
  assert.equal(await page.$eval("#older", (button) => button.hidden), true);
  await page.click("#newer");
  await seen.until("the newest page is shown", (id) => document.querySelector("#rows tr")?.dataset.job === id, all[0]);

  for (const status of ["done", "failed", "queued", ""]) {
    await page.evaluate((value) => document.querySelector(`#filter input[value="${value}"]`).click(), status);
    await seen.until(`the filter is ${status}`, (value) => document.querySelector("#filter input:checked")?.value === value, status);
    await seen.until(`only ${status} jobs are shown`, (value) => {
      const found = [...document.querySelectorAll("#rows a.status")];
      const fits = found.every((each) => !value || each.textContent === value);
      return value === "failed" ? document.querySelector("#empty").hidden === false : found.length > 0 && fits;
    }, status);
  }
}

// A job that waits is canceled at once, and waits again after a retry.
async function cancels(id) {
  await seen.go(`/jobs/${id}`);
  await seen.status("queued");
  await page.click("#cancel");
  await seen.status("failed");
  assert.match(await seen.text("#problem"), /\[CANCELED\]$/);
  assert.equal(await page.$eval("#cancel", (button) => button.hidden), true);
  await seen.until("the log tells of it", () => document.querySelectorAll("#timeline li").length === 2);
  await seen.bothPictures("canceled");
  await page.click("#retry");
  await seen.status("queued");
  await seen.until("the log tells of it", () => document.querySelectorAll("#timeline li").length >= 3);
  const log = await page.$$eval("#timeline li b", (found) => found.map((each) => each.textContent));
  assert.deepEqual(log, ["created", "canceled", "retried"]);
}

// A job that runs is asked to stop, and stops.
async function stops() {
  const { jobs } = await api("GET", "/v1/jobs?status=processing");
  await seen.go(`/jobs/${jobs.at(-1).id}`);
  await seen.status("processing");
  await seen.bothPictures("processing");
  await page.click("#cancel");
  await seen.status("failed");
  assert.match(await seen.text("#problem"), /\[CANCELED\]$/);
}

// Everything is reached by Tab, in the order in which it is seen; single keys do the rest.
async function types(made) {
  await seen.go("/");
  await seen.until("the list is shown", () => document.querySelectorAll("#rows tr").length === 25);
  await page.focus("#filter input:checked");
  const order = [];
  for (let presses = 0; presses < 27 && order.at(-1) !== "older"; presses += 1) {
    await seen.press("Tab");
    order.push(await seen.focused());
  }
  assert.deepEqual(order, [...made.slice(0, 25), "older"]);

  await page.focus(`#rows tr[data-job="${made[3]}"] a`);
  await seen.press("Enter");
  await seen.until("Enter opens the job", (id) => document.querySelector("#id")?.textContent === id, made[3]);
  await seen.press("Escape");
  await seen.until("Escape goes back", () => document.querySelector("#rows") !== null);
  await seen.press("n");
  await seen.until("n opens the form", () => document.activeElement?.name === "file");
  const form = [];
  for (let presses = 0; presses < 10 && form.at(-1) !== "Make the clip"; presses += 1) {
    form.push(await seen.focused());
    await seen.press("Tab");
    if ((await seen.focused()) === "Make the clip") form.push("Make the clip");
  }
  assert.deepEqual(form, ["file", "start", "end", "subtitles", "burn", "language", "priority", "Make the clip"]);
  await seen.press("Escape");
  await seen.until("Escape leaves the form", () => document.querySelector("#rows") !== null);
  await seen.press("n");
  await seen.until("n opens the form again", () => document.activeElement?.name === "file");
  await seen.press("Escape");
  await seen.until("Escape leaves it at once", () => document.querySelector("#rows") !== null);
}

// Who comes back from a job finds the list as it was left: its filter, its page, the row, and how far it was scrolled.
async function returns(made) {
  await seen.go("/?status=queued");
  await seen.until("the list is shown", (id) => document.querySelector(`#rows tr[data-job="${id}"]`) !== null, made[20]);
  const leave = async () => {
    await page.focus(`#rows tr[data-job="${made[20]}"] a`);
    const top = await page.evaluate(() => window.scrollY);
    assert.ok(top > 0, "the row is below the window's end");
    await seen.press("Enter");
    await seen.until("Enter opens the job", (id) => document.querySelector("#id")?.textContent === id, made[20]);
    assert.equal(await page.evaluate(() => window.scrollY), 0);
    return top;
  };
  for (const back of ["Escape", "the link", "the browser's own"]) {
    const top = await leave();
    if (back === "Escape") await seen.press("Escape");
    else if (back === "the link") await page.click("a.back");
    else await page.evaluate(() => history.back());
    await seen.until(`${back} goes back to the row`, (id) => document.activeElement?.closest("#rows tr")?.dataset.job === id, made[20]);
    assert.deepEqual([await seen.path(), await page.evaluate(() => window.scrollY)], ["#/?status=queued", top], back);
  }
  // The filter keeps the focus that changed it, and the skip link leaves the page alone.
  await page.focus("#filter input:checked");
  await seen.press("ArrowRight");
  await seen.until("the next filter is shown", () => location.hash === "#/?status=processing");
  assert.equal(await seen.focused(), "filter processing");
  await seen.go(`/jobs/${made[20]}`);
  await seen.status("queued");
  await page.focus(".skip");
  await seen.press("Enter");
  assert.deepEqual([await seen.focused(), await seen.path()], ["main", `#/jobs/${made[20]}`]);
}

// A telephone.
async function shrinks(done, made) {
  await seen.size(390, 844);
  const places = { board: "/", form: "/new", done: `/jobs/${done}`, queued: `/jobs/${made[5]}` };
  for (const [name, path] of Object.entries(places)) {
    await seen.go(path);
    const ready = { board: "#rows tr", form: "#form", done: "#result:not([hidden]) a", queued: "#timeline li" }[name];
    await page.waitForSelector(ready);
    await seen.fits(name);
    await seen.bothPictures(`narrow-${name}`);
  }
}

try {
  await opens();
  const done = await makes();
  await plays(done);
  const made = await queues(done);
  await browses(made);
  await cancels(made[0]);
  await stops();
  await types(made);
  await returns(made);
  await shrinks(done, made);
  await seen.assertQuiet();
  console.log("good");
} catch (error) {
  await seen.picture("failure").catch(() => undefined);
  console.error(seen.complaints.join("\n"));
  throw error;
} finally {
  await seen.close();
}
