// A case is answered here; Python hears of it when an answer is committed. Time runs while the case is visible.
const CLOCK = "medvit-reader-clock"; // {key: case and phase, seconds}, so that a reload continues the time
const PLACE = "medvit-reader-place"; // the screen on display, which other_tabs.js compares
const MIDDLE = 0.75; // of the slider, which has no value before it is touched
const DEAD_TIME = 350; // ms after a new screen in which Enter does nothing, so that a double press commits once
let screen = null, answer = null, confidence = null, seconds = 0, last = 0, saved = 0, opened = 0, sent = false, paused = false;

const find = (selector) => element.querySelector(selector);
const all = (selector) => [...element.querySelectorAll(selector)];
const visible = () => element.isConnected && element.offsetParent !== null && !document.hidden;

function stored() {
  try {
    const clock = JSON.parse(localStorage.getItem(CLOCK));
    return clock && clock.key === screen.dataset.key && clock.seconds >= 0 ? clock.seconds : 0;
  } catch { return 0; }
}

function tick() {
  const now = performance.now();
  if (screen && visible() && !paused && !sent) seconds += Math.min(now - last, 1000) / 1000;
  last = now;
  if (!screen || now - saved < 1000) return;
  saved = now;
  try { localStorage.setItem(CLOCK, JSON.stringify({ key: screen.dataset.key, seconds })); } catch { /* full */ }
}

function start() {
  const focused = element.contains(document.activeElement);
  const before = screen;
  screen = find(".screen");
  announce(before);
  sent = paused = false;
  last = opened = performance.now();
  if (!screen) return;
  seconds = stored();
  // Gradio changes what differs and keeps the elements, so what was done to them is undone here.
  screen.classList.remove("paused", "no-map");
  find("[data-do=pause]").textContent = "Pause";
  find("[data-do=map]")?.setAttribute("aria-pressed", true);
  reset();
  if (focused) find("h3")?.focus({ preventScroll: true });
  if (window.innerWidth <= 760 && visible()) element.scrollIntoView({ block: "start" }); // a phone has no room for the header
}

// Other tabs of the browser hear which screen this one displays. A study that has ended leaves no time behind.
function announce(before) {
  if ("readerStale" in document.body.dataset || !(screen || before)) return;
  try {
    localStorage.setItem(PLACE, screen?.dataset.key ?? "");
    if (!screen) localStorage.removeItem(CLOCK);
  } catch { /* full */ }
}

// What the reader started with: nothing before a first answer, that answer before the final one.
function reset() {
  answer = screen.dataset.answer ? Number(screen.dataset.answer) : null;
  confidence = screen.dataset.confidence ? Number(screen.dataset.confidence) : null;
  draw();
}

function draw() {
  for (const button of all("[data-class]")) button.setAttribute("aria-pressed", Number(button.dataset.class) === answer);
  for (const button of all("[data-step]")) button.setAttribute("aria-pressed", Number(button.dataset.step) === confidence);
  const slider = find("input[type=range]");
  if (slider) {
    slider.value = 100 * (confidence ?? MIDDLE);
    find(".slider").classList.toggle("untouched", confidence === null);
    find("output").textContent = confidence === null ? "–" : `${Math.round(100 * confidence)} %`;
  }
  const commit = find(".commit");
  if (!commit || screen.dataset.phase === "truth") return;
  commit.disabled = sent || paused || answer === null || confidence === null;
  const changed = screen.dataset.phase === "final" && answer !== Number(screen.dataset.answer);
  find(".commit span").textContent = screen.dataset.phase === "first" ? "Commit" : changed
    ? `Change to ${find(`[data-class="${answer}"] span`).textContent}` : "Keep my answer";
  find("[data-do=undo]").disabled = answer === (screen.dataset.answer ? Number(screen.dataset.answer) : null)
    && confidence === (screen.dataset.confidence ? Number(screen.dataset.confidence) : null);
}

function commit() {
  if (!screen || sent || paused || performance.now() - opened < DEAD_TIME) return;
  const place = { case: Number(screen.dataset.case), phase: screen.dataset.phase };
  if (place.phase === "truth") { sent = true; return trigger("proceed", place); }
  if (answer === null || confidence === null) return;
  tick();
  sent = true;
  draw();
  trigger("commit", { ...place, answer, confidence, seconds });
  // A lost connection brings no new screen: allow another try.
  const key = screen.dataset.key;
  setTimeout(() => { if (screen?.dataset.key === key && sent) { sent = false; draw(); } }, 5000);
}

function pause(on) {
  paused = on;
  screen.classList.toggle("paused", on);
  find("[data-do=pause]").textContent = on ? "Continue" : "Pause";
  draw();
}

function toggleMap() {
  const hidden = screen.classList.toggle("no-map");
  const button = find("[data-do=map]");
  if (button) button.setAttribute("aria-pressed", !hidden);
}

function step(direction) {
  const steps = JSON.parse(screen.dataset.steps);
  const place = confidence === null ? Math.floor(steps.length / 2) : steps.indexOf(confidence) + direction;
  confidence = steps[Math.min(Math.max(place, 0), steps.length - 1)];
  draw();
}

element.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button || !screen) return;
  const { class: name, step: level, do: action } = button.dataset;
  if (action === "commit") commit();
  if (action === "pause") pause(!paused);
  if (action === "discard" && confirm("Discard this study and all answers so far?")) trigger("discard");
  if (paused) return;
  if (action === "undo") reset();
  if (action === "map") toggleMap();
  if (name !== undefined) { answer = Number(name); draw(); }
  if (level !== undefined) { confidence = Number(level); draw(); }
});

element.addEventListener("input", (event) => {
  if (event.target.type !== "range") return;
  const steps = JSON.parse(screen.dataset.steps), wanted = Number(event.target.value) / 100;
  confidence = steps.reduce((best, value) => Math.abs(value - wanted) < Math.abs(best - wanted) ? value : best);
  draw();
});

// Keys of the case work wherever the focus is, but for fields and controls that need them themselves.
function keydown(event) {
  if (!element.isConnected) return document.removeEventListener("keydown", keydown);
  if (!screen || !visible() || event.ctrlKey || event.metaKey || event.altKey) return;
  const target = event.target, own = element.contains(target), range = target.type === "range";
  if (!own && target.closest("input, textarea, select, button:not([role=tab]), a, [contenteditable=true]")) return;
  const control = target.closest("[data-do]"), tab = target.closest("[role=tab]");
  const key = event.key.toLowerCase();
  if (key === "enter" && !control && !event.repeat) { event.preventDefault(); return commit(); }
  if (key === "p") return pause(!paused);
  if (paused) return;
  if (key === "h" && find("img.map")) return toggleMap();
  if (screen.dataset.phase === "truth") return;
  const button = /^[1-9]$/.test(key) && find(`[data-class="${Number(key) - 1}"]`);
  if (button) { answer = Number(button.dataset.class); draw(); }
  if (key === "backspace") { event.preventDefault(); reset(); }
  if ((key === "arrowleft" || key === "arrowright") && !range && !tab) {
    event.preventDefault();
    step(key === "arrowleft" ? -1 : 1);
  }
}

document.addEventListener("keydown", keydown);
const timer = setInterval(() => element.isConnected ? tick() : clearInterval(timer), 200);
watch("value", start);
start();
