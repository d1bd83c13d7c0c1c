// Which page is shown: the part of the address after the #. The board that was left is where every way back leads.

import { key } from "./api.js";
import { board, place } from "./board.js";
import { create } from "./create.js";
import { job } from "./job.js";

let current;
// The address of the page that is shown, and the board as it was left.
let shown;
let left = { hash: "#/" };

const isBoard = (hash) => !/^#\/(jobs\/|new$)/.test(hash);
const back = () => { location.hash = left.hash; };

function open() {
  // On the first page the reader begins at the top.
  const isFirst = !current;
  if (shown !== undefined && isBoard(shown)) left = { hash: shown, ...place() };
  shown = location.hash || "#/";
  const isFiltering = document.activeElement?.name === "status";
  current?.abort();
  current = new AbortController();
  const [path, query = ""] = location.hash.replace(/^#/, "").split("?");
  const found = /^\/jobs\/([^/]+)$/.exec(path);
  if (found) job(current.signal, decodeURIComponent(found[1]), back);
  else if (path === "/new") create(current.signal);
  else board(current.signal, new URLSearchParams(query), shown === left.hash ? left : undefined);
  for (const link of document.querySelectorAll("a.back")) link.href = left.hash;
  if (!isFirst && !isBoard(shown)) window.scrollTo(0, 0);
  if (isFirst || path === "/new") return;
  const filter = isFiltering ? document.querySelector("#filter input:checked") : undefined;
  (filter ?? document.getElementById("main")).focus({ preventScroll: true });
}

// Not by the address, which says what is shown.
document.querySelector(".skip").onclick = (event) => {
  event.preventDefault();
  document.getElementById("main").focus();
};

const dialog = document.getElementById("key-dialog");
document.getElementById("key").onclick = () => {
  document.getElementById("key-input").value = key.get();
  dialog.showModal();
};
dialog.onclose = () => {
  if (dialog.returnValue === "set") {
    key.set(document.getElementById("key-input").value.trim());
    open();
  }
  document.getElementById("key-input").value = "";
};
document.getElementById("new").onclick = () => { location.hash = "#/new"; };
window.addEventListener("hashchange", open);
window.addEventListener("keydown", (event) => {
  const isTyping = event.target.closest?.("input:not([type=file], [type=checkbox], [type=radio]), select, dialog");
  if (isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "n") location.hash = "#/new";
  if (event.key === "Escape" && !isBoard(shown)) back();
});
// The page knows where its reader was; the browser does not, while the list is not there yet.
history.scrollRestoration = "manual";
open();
