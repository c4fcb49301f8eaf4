// The chat panel. Text arrives from people: it only ever becomes text.

import { sendChat } from "./app.channels.js";
import { on, state } from "./app.state.js";
import { nameOf } from "./app.tiles.js";

const find = (id) => document.getElementById(id);
const panel = find("chat");
const log = find("chat-log");
const input = find("chat-text");
const unread = find("unread");
const toggle = document.querySelector('.bar [data-act="chat"]');
const MAX_LINES = 500;
let unseen = 0;

export function toggleChat(open = panel.hidden) {
  panel.hidden = !open;
  toggle.setAttribute("aria-expanded", String(open));
  if (open) {
    countUnseen(0);
    log.scrollTop = log.scrollHeight;
    input.focus();
  } else {
    toggle.focus();
  }
}

function countUnseen(count) {
  unseen = count;
  unread.hidden = count === 0;
  unread.textContent = count > 9 ? "9+" : String(count);
  unread.setAttribute("aria-label", `${count} unread`);
}

function addLine({ from, text, reached }) {
  const mine = from === state.myId;
  const line = document.createElement("li");
  line.className = mine ? "mine" : "";
  const head = document.createElement("p");
  head.className = "chat-head";
  const time = new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  head.textContent = `${mine ? "You" : nameOf(from)} · ${time}`;
  const body = document.createElement("p");
  body.className = "chat-body";
  body.textContent = text;
  line.append(head, body);
  if (reached === 0) head.textContent += " · nobody is here to read it";
  log.append(line);
  while (log.children.length > MAX_LINES) log.firstChild.remove();
  log.scrollTop = log.scrollHeight;
  if (panel.hidden && !mine) countUnseen(unseen + 1);
}

on("chat", addLine);
on("room-state", (roomState) => {
  if (roomState !== "idle") return;
  log.replaceChildren();
  countUnseen(0);
  panel.hidden = true;
  toggle.setAttribute("aria-expanded", "false");
});
find("chat-close").addEventListener("click", () => toggleChat(false));
panel.addEventListener("keydown", (event) => {
  if (event.key === "Escape") toggleChat(false);
});
find("chat-form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!input.value.trim()) return;
  sendChat(input.value);
  input.value = "";
});
