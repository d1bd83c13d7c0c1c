// The browser, and words for using the dashboard as a person does: by what is seen and by keys.

import { spawnSync } from "node:child_process";
import { strict as assert } from "node:assert";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import puppeteer from "puppeteer-core";

const BROWSERS = [
  "chromium",
  "chromium-browser",
  "google-chrome",
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
];

function browser() {
  for (const name of BROWSERS) {
    const found = spawnSync("/bin/sh", ["-c", 'command -v "$0"', name], { encoding: "utf8" });
    if (found.status === 0) return found.stdout.trim();
  }
  throw new Error("no Chromium was found; scripts/setup --test installs it");
}

export class Page {
  // Whatever the page complained about.
  complaints = [];
  // How often a document was loaded.
  loads = 0;

  static async open(pictures) {
    const self = new Page();
    self.pictures = pictures;
    mkdirSync(pictures, { recursive: true });
    // Chromium's own sandbox does not work for root; the pages that are opened here are this test's own.
    const args = ["--no-sandbox", "--disable-dev-shm-usage", "--autoplay-policy=no-user-gesture-required"];
    self.browser = await puppeteer.launch({ executablePath: browser(), args });
    self.page = await self.browser.newPage();
    self.page.setDefaultTimeout(30_000);
    await self.size(1280, 900);
    const complain = (text) => self.complaints.push(text);
    // A browser writes refused requests and what its policy kept from loading to the console as well.
    self.page.on("console", (message) => {
      if (["error", "warn"].includes(message.type())) complain(`console: ${message.text()}`);
    });
    self.page.on("pageerror", (error) => complain(`script: ${error}`));
    self.page.on("domcontentloaded", () => { self.loads += 1; });
    await self.page.evaluateOnNewDocument(() => {
      window.violations = [];
      document.addEventListener("securitypolicyviolation", (event) => {
        window.violations.push(`${event.violatedDirective}: ${event.blockedURI}`);
      });
    });
    return self;
  }

  async close() {
    await this.browser.close();
  }

  async size(width, height) {
    await this.page.setViewport({ width, height });
  }

  // Waits until this holds on the page; says what was waited for where it never does.
  async until(what, condition, ...given) {
    await this.page.waitForFunction(condition, { polling: "mutation" }, ...given).catch(async (error) => {
      const text = await this.page.evaluate(() => document.body.innerText);
      throw new Error(`never: ${what} (${error.message})\n${text}\n${this.complaints.join("\n")}`);
    });
  }

  async text(selector) {
    return this.page.$eval(selector, (found) => found.textContent.trim());
  }

  async count(selector) {
    return (await this.page.$$(selector)).length;
  }

  async status(wanted) {
    await this.until(`the job is ${wanted}`, (status) => document.querySelector("#status")?.textContent === status, wanted);
  }

  async press(key, options) {
    await this.page.keyboard.press(key, options);
  }

  // What has the focus: an element's id, name or text.
  async focused() {
    return this.page.evaluate(() => {
      const found = document.activeElement;
      if (!found || found === document.body) return "";
      const row = found.closest("#rows tr");
      if (row) return row.dataset.job;
      if (found.name === "status") return `filter ${found.value || "all"}`;
      return found.id || found.name || found.textContent.trim();
    });
  }

  // Opens another place of the page, as a link in it does.
  async go(path) {
    await this.page.evaluate((hash) => { location.hash = hash; }, `#${path}`);
  }

  async path() {
    return this.page.evaluate(() => location.hash);
  }

  // Nothing is to be scrolled sideways.
  async fits(where) {
    const { wide, room, culprits } = await this.page.evaluate(() => {
      const room = document.documentElement.clientWidth;
      const culprits = [...document.querySelectorAll("main *")]
        .filter((found) => found.getBoundingClientRect().right > room + 1)
        .map((found) => found.id || found.tagName);
      return { wide: document.documentElement.scrollWidth, room, culprits };
    });
    assert.ok(wide <= room, `${where}: ${wide} wide on ${room}: ${culprits}`);
  }

  async picture(name) {
    await this.page.screenshot({ path: join(this.pictures, `${name}.png`), fullPage: true });
  }

  // In the light and in the dark.
  async bothPictures(name) {
    for (const scheme of ["light", "dark"]) {
      await this.page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
      await this.picture(`${name}-${scheme}`);
    }
    await this.page.emulateMediaFeatures([]);
  }

  // Ends the test where the page complained, or was loaded a second time.
  async assertQuiet() {
    const violations = await this.page.evaluate(() => window.violations);
    assert.deepEqual(violations, [], "the policy was broken");
    assert.deepEqual(this.complaints, []);
    assert.equal(this.loads, 1);
  }
}
