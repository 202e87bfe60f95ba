// Draws the points, names the one under the pointer, and tells Python which one was opened.
const canvas = element.querySelector("canvas");
const context = canvas.getContext("2d");
const hover = element.querySelector(".hover");
const legend = element.querySelector(".legend");
const explanation = hover.textContent;
const CORRECT = "#0072B2";
const WRONG = "#D55E00";
const REACH = 14; // pixels between the pointer and the point it names
let data = null;
let current = -1; // the point that is named

function unpack(text, Type) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  return new Type(bytes.buffer);
}

function read() {
  const value = props.value;
  current = -1;
  hover.textContent = explanation;
  if (!value || !value.positions) { data = null; return; }
  data = {
    positions: unpack(value.positions, Int16Array),
    truth: unpack(value.truth, Uint16Array),
    predicted: unpack(value.predicted, Uint16Array),
    correct: unpack(value.correct, Uint8Array),
    probs: unpack(value.probs, Int16Array),
    classes: value.classes,
    colours: value.colours,
  };
}

const byTruth = () => element.querySelector("input:checked").value === "truth";
const place = (i) => [
  (0.5 + data.positions[2 * i] / 32767 * 0.48) * canvas.clientWidth,
  (0.5 - data.positions[2 * i + 1] / 32767 * 0.48) * canvas.clientHeight,
];

function mark(x, y, correct, size) {
  context.beginPath();
  if (correct) {
    context.arc(x, y, size, 0, 2 * Math.PI);
    context.fill();
  } else {
    context.moveTo(x - size * 1.4, y - size * 1.4); context.lineTo(x + size * 1.4, y + size * 1.4);
    context.moveTo(x + size * 1.4, y - size * 1.4); context.lineTo(x - size * 1.4, y + size * 1.4);
    context.stroke();
  }
}

function draw() {
  const scale = window.devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  if (!width) return;
  canvas.width = width * scale;
  canvas.height = height * scale;
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  if (!data) return;
  const count = data.truth.length;
  const size = count > 2000 ? 1.8 : 3;
  context.lineWidth = 1.6;
  // The wrong ones last: they are few and would be covered.
  for (const correct of [1, 0]) {
    for (let i = 0; i < count; i++) {
      if (data.correct[i] !== correct) continue;
      const colour = byTruth() ? data.colours[data.truth[i]] : correct ? CORRECT : WRONG;
      context.fillStyle = context.strokeStyle = colour;
      mark(...place(i), correct, size);
    }
  }
  if (current >= 0) {
    const [x, y] = place(current);
    context.strokeStyle = getComputedStyle(canvas).color;
    context.lineWidth = 2;
    context.beginPath();
    context.arc(x, y, 8, 0, 2 * Math.PI);
    context.stroke();
  }
}

function drawLegend() {
  const entries = !data ? [] : byTruth()
    ? data.classes.map((name, i) => [name, data.colours[i]])
    : [["correct", CORRECT], ["wrong", WRONG]];
  legend.replaceChildren(...entries.map(([name, colour]) => {
    const entry = document.createElement("li");
    const chip = document.createElement("i");
    chip.style.background = colour;
    entry.append(chip, name);
    return entry;
  }));
}

function name(i) {
  if (i === current) return;
  current = i;
  if (i < 0) {
    hover.textContent = explanation;
  } else {
    const prob = (data.probs[i] / 10).toFixed(1);
    hover.textContent = `test image ${i} · true class: ${data.classes[data.truth[i]]} · `
      + `the model says: ${data.classes[data.predicted[i]]}, ${prob}% · ${data.correct[i] ? "correct" : "wrong"}`;
  }
  draw();
}

// The point nearest to (x, y) within `limit` pixels; with a direction, only those that lie that way.
function nearest(x, y, limit, direction) {
  let best = -1;
  let least = limit;
  for (let i = 0; i < data.truth.length; i++) {
    const [a, b] = place(i);
    const [dx, dy] = [a - x, b - y];
    const distance = Math.hypot(dx, dy);
    if (direction && (i === current || dx * direction[0] + dy * direction[1] <= 0.7 * distance)) continue;
    if (distance < least) { least = distance; best = i; }
  }
  return best;
}

function below(event) {
  const box = canvas.getBoundingClientRect();
  return data ? nearest(event.clientX - box.left, event.clientY - box.top, REACH) : -1;
}

canvas.addEventListener("pointermove", (event) => { if (event.pointerType !== "touch") name(below(event)); });
canvas.addEventListener("pointerleave", () => name(-1));
canvas.addEventListener("click", (event) => {
  const i = below(event);
  if (i < 0) return;
  name(i);
  trigger("select", { index: i });
});

const steps = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };
canvas.addEventListener("keydown", (event) => {
  if (!data) return;
  if (event.key === "Enter" && current >= 0) trigger("select", { index: current });
  if (!steps[event.key]) return;
  event.preventDefault();
  const from = current < 0 ? [canvas.clientWidth / 2, canvas.clientHeight / 2] : place(current);
  const next = nearest(...from, Infinity, current < 0 ? null : steps[event.key]);
  if (next >= 0) name(next);
});

function refresh() { drawLegend(); draw(); }
element.addEventListener("change", refresh);
// Its size is known only once its tab is open.
new ResizeObserver(draw).observe(canvas);
watch("value", () => { read(); refresh(); });
read();
refresh();
