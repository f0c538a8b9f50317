// The page's own part: listens to the stream, paints the live weight, swaps what changed, sends presses.
// Owns no words and no rules: words come with the HTML, rules are the station's.
"use strict";

const FRESH_MS_MAX = 2000; // a weight this old is no weight any more
const SILENCE_MS_MAX = 3500; // the agent beats every second
const PRESS_MS_MAX = 6000;
const GHOST_MS = 350; // a second tap of a double tap must not hit what has just appeared
const RENEW_MS = 12 * 3600 * 1000; // a browser that runs for weeks grows: begin anew while nobody is here
const LIVE_BUTTONS = ["confirm", "tare", "preset_tare", "bin_weigh"];

const kiosk = () => document.getElementById("kiosk");
const regions = new Map(); // region name -> its HTML as the server sent it
let screen = null; // newest screen of the stream
let weighedAt = -Infinity; // when the newest weight was true, by the page's own clock
let heardAt = performance.now();
let swappedAt = -Infinity;
let shown = ""; // structure of what is on the page
let fetching = false;
let again = false;
let pressing = false;

// ---- the stream ----

function listen() {
  const source = new EventSource("/api/events");
  source.onopen = () => { screen = null; heardAt = performance.now(); };
  source.onmessage = (event) => { heard(); receive(JSON.parse(event.data)); };
  source.addEventListener("beat", heard);
  source.onerror = () => {
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, 1000); // refused: not retried by itself
  };
}

function heard() {
  heardAt = performance.now();
  showLost();
}

function receive(next) {
  if (screen && next.version < screen.version) return;
  if (!screen || next.version > screen.version || weighedAt === -Infinity) {
    weighedAt = next.weight ? performance.now() - next.weight.age_s * 1000 : -Infinity;
  }
  screen = next;
  enable();
  paint();
  kiosk().classList.toggle("is-busy", next.busy);
  if (!next.busy && structure(next) !== shown) refresh(); // while a commit runs, only wait: nothing flickers
}

function structure(s) {
  const buttons = s.buttons.filter((name) => !LIVE_BUTTONS.includes(name));
  const tare_g = s.weight ? s.weight.tare_g : 0;
  return JSON.stringify({ ...s, version: 0, weight: tare_g, buttons, busy: 0, catalog_age_s: 0,
    autonomy_h: s.autonomy_h === null ? null : Math.floor(s.autonomy_h) });
}

// ---- swapping what changed ----

async function refresh() {
  if (fetching) { again = true; return; }
  fetching = true;
  do {
    again = false;
    const wanted = screen ? structure(screen) : "";
    try {
      const answer = await fetch("/screen", { cache: "no-store" });
      if (answer.ok) { swap(await answer.text()); shown = wanted; }
    } catch { setTimeout(refresh, 1000); }
  } while (again);
  fetching = false;
}

function swap(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  const fresh = template.content.querySelector("#kiosk");
  const moved = fresh.dataset.name !== kiosk().dataset.name;
  const left = moved && fresh.dataset.name === "idle";
  if (left && (fresh.dataset.build !== kiosk().dataset.build || performance.now() > RENEW_MS)) location.reload();
  for (const region of fresh.querySelectorAll("[data-region]")) replace(region, moved);
  Object.assign(kiosk().dataset, fresh.dataset);
  document.documentElement.lang = fresh.dataset.language;
  if (moved) { swappedAt = performance.now(); closePad(); }
  if (left) forgetLanguage();
  enable();
  paint();
}

function replace(region, moved) {
  const name = region.dataset.region;
  const html = region.outerHTML;
  if (regions.get(name) === html && !(moved && name === "stage")) return;
  regions.set(name, html);
  const old = kiosk().querySelector(`[data-region="${name}"]`);
  const focus = old.contains(document.activeElement) ? keyOf(document.activeElement) : null;
  old.replaceWith(region);
  if (focus) [...region.querySelectorAll("button")].find((button) => keyOf(button) === focus)?.focus();
}

const keyOf = (element) => JSON.stringify({ ...element.dataset });

// ---- the live weight ----

function paint() {
  const scale = document.querySelector("[data-scale]");
  if (!scale) return;
  const weight = screen ? screen.weight : null;
  const old = performance.now() - weighedAt >= FRESH_MS_MAX || performance.now() - heardAt >= SILENCE_MS_MAX;
  const state = judge(weight, old, scale);
  const words = JSON.parse(scale.dataset.words);
  const known = weight !== null && weight.net_g !== null && !["absent", "fault", "overload", "underload", "error"].includes(state);
  write(scale, "[data-figure]", known ? kilograms(weight.net_g, scale) : "–.–––");
  write(scale, "[data-hint]", words[state]);
  write(scale, "[data-gain]", known && state === "stable" ? gain(weight, scale) : "");
  write(scale, "[data-tare-line]", weight && weight.tare_g ? scale.dataset.tare.replace("#", `${kilograms(weight.tare_g, scale)} ${scale.dataset.kg}`) : "");
  if (scale.dataset.state !== state) scale.dataset.state = state;
  announce(state, state === "stable" ? `${words.stable}: ${kilograms(weight.net_g, scale)} ${scale.dataset.kg}` : words[state]);
  document.querySelectorAll("[data-live]").forEach((button) => { if (old) button.disabled = true; });
}

function judge(weight, old, scale) {
  if (weight === null) return "no_fresh";
  if (weight.health === "absent" || weight.health === "fault") return weight.health;
  if (old || weight.health === "stale") return "no_fresh";
  if (["overload", "underload", "error"].includes(weight.status)) return weight.status;
  if (!weight.armed) return scale.dataset.more === "yes" ? "not_armed_more" : "not_armed";
  if (weight.net_g === null || !weight.stable) return "moving";
  if (screen.buttons.includes(scale.dataset.confirm)) return "stable";
  return weight.net_g > 0 ? "light" : "ready";
}

function gain(weight, scale) {
  if (scale.dataset.confirm !== "confirm") return "";
  if (weight.points === null) return scale.dataset.pointsUnknown;
  return scale.dataset.points.replace("#", digits(String(weight.points), scale.dataset.digits));
}

function kilograms(mass_g, scale) {
  const text = `${mass_g < 0 ? "−" : ""}${Math.floor(Math.abs(mass_g) / 1000)}.${String(Math.abs(mass_g) % 1000).padStart(3, "0")}`;
  return digits(text, scale.dataset.digits);
}

const digits = (text, own) => text.replace(/[0-9]/g, (digit) => own[Number(digit)]);

function write(root, selector, text) {
  const element = root.querySelector(selector);
  if (element.textContent !== text) element.textContent = text;
}

let announced = "";
function announce(state, text) {
  // said once per state, and once per steady weight: a number that changes ten times a second is noise
  if (text === announced) return;
  announced = text;
  document.getElementById("announcer").textContent = text;
}

function showLost() {
  const lost = performance.now() - heardAt >= SILENCE_MS_MAX;
  document.getElementById("lost").hidden = !lost;
  kiosk().classList.toggle("is-lost", lost);
}

// ---- presses ----

function enable() {
  if (!screen) return;
  for (const button of document.querySelectorAll("[data-button]")) {
    button.disabled = pressing || screen.busy || !screen.buttons.includes(button.dataset.button);
  }
}

async function press(name, value, element) {
  if (pressing || performance.now() - swappedAt < GHOST_MS) return;
  pressing = true;
  element?.classList.add("is-pressed");
  try {
    const answer = await post("/api/press", { button: name, value });
    if (answer.ok) { closePad(); receive(await answer.json()); } else tell(kiosk().dataset.failed);
  } catch { tell(kiosk().dataset.failed); }
  pressing = false;
  element?.classList.remove("is-pressed");
  enable();
  paint();
}

const post = (path, body) => fetch(path, {
  method: "POST", headers: { "Content-Type": "application/json" },
  body: JSON.stringify(body), signal: AbortSignal.timeout(PRESS_MS_MAX),
});

function tell(text) {
  const lead = document.querySelector(".lead, .idle-words, .receipt-words");
  if (!lead) return;
  regions.delete("stage"); // what the server sent last is no longer what is shown
  const old = lead.querySelector(".message, h1");
  const message = document.createElement("p");
  message.className = "message";
  message.setAttribute("role", "alert");
  message.textContent = text;
  if (old) old.replaceWith(message); else lead.prepend(message);
}

async function chooseLanguage(language) {
  try { await post("/api/language", { language }); } catch { return; }
  await refresh();
}

function forgetLanguage() {
  // the next person is greeted in the kiosk's own language, whatever the last one chose
  if (document.documentElement.lang !== document.documentElement.dataset.defaultLanguage) chooseLanguage(null);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button || button.disabled) return;
  const data = button.dataset;
  if (data.button) press(data.button, data.value ?? null, button);
  else if (data.chooseLanguage) chooseLanguage(data.chooseLanguage);
  else if ("nextTiles" in data) nextTiles();
  else if (data.openPad) openPad(data.openPad);
  else if ("padClose" in data) closePad();
  else if (data.key) type(button.closest("[data-pad]"), data.key);
  else if ("padSave" in data) savePad(button.closest("[data-pad]"), button);
});

function nextTiles() {
  const tiles = [...document.querySelectorAll(".tile")];
  const pages = Number(tiles.at(-1).dataset.page) + 1;
  const next = (Number(tiles.find((tile) => !tile.hidden).dataset.page) + 1) % pages;
  for (const tile of tiles) tile.hidden = Number(tile.dataset.page) !== next;
}

// ---- the number pad: kilograms with up to three decimals, sent as whole grams ----

let typed = "";

function openPad(name) {
  typed = "";
  document.querySelector(`[data-pad="${name}"]`).hidden = false;
  kiosk().classList.add("has-pad");
  showTyped();
}

function closePad() {
  document.querySelectorAll("[data-pad]").forEach((pad) => { pad.hidden = true; });
  kiosk().classList.remove("has-pad");
}

function type(pad, key) {
  if (key === "erase") typed = typed.slice(0, -1);
  else if (/^(0|[1-9]\d{0,3})(\.\d{0,3})?$/.test(typed + key)) typed += key;
  else if (typed === "0" && key !== ".") typed = key;
  showTyped(pad);
}

function showTyped() {
  const scale = document.querySelector("[data-scale]");
  for (const pad of document.querySelectorAll("[data-pad]")) {
    pad.querySelector("[data-pad-figure]").textContent = digits(typed || "0", scale.dataset.digits);
    pad.querySelector("[data-pad-save]").disabled = grams() <= 0;
  }
}

function grams() {
  const [whole, part = ""] = typed.split(".");
  return Number(whole || "0") * 1000 + Number(part.padEnd(3, "0") || "0");
}

const savePad = (pad, element) => press(pad.dataset.pad, String(grams()), element);

// ---- start ----

for (const region of document.querySelectorAll("[data-region]")) regions.set(region.dataset.region, region.outerHTML);
document.addEventListener("contextmenu", (event) => event.preventDefault());
setInterval(() => { showLost(); paint(); }, 200);
listen();
