// Which page is shown: the part of the address after the #.

import { key } from "./api.js";
import { board } from "./board.js";
import { create } from "./create.js";
import { job } from "./job.js";

let current;

function open() {
  // On the first page the reader begins at the top.
  const isFirst = !current;
  current?.abort();
  current = new AbortController();
  const [path, query = ""] = location.hash.replace(/^#/, "").split("?");
  const found = /^\/jobs\/([^/]+)$/.exec(path);
  if (found) job(current.signal, decodeURIComponent(found[1]));
  else if (path === "/new") create(current.signal);
  else board(current.signal, new URLSearchParams(query));
  if (!isFirst && path !== "/new") document.getElementById("main").focus({ preventScroll: true });
}

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
  if (event.key === "Escape" && location.hash !== "#/") location.hash = "#/";
});
open();
