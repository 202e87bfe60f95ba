element.addEventListener("click", (event) => {
  const map = element.querySelector("img.map");
  const action = event.target.closest("button")?.dataset.do;
  if (action === "enlarge") map.requestFullscreen();
  if (action === "save") Object.assign(document.createElement("a"), { href: map.src, download: "map.png" }).click();
  if (event.target.matches(".patch")) return selectPatch(event.target.dataset);
  if (event.target.tagName !== "IMG") return;
  if (document.fullscreenElement) return document.exitFullscreen();
  const box = event.target.getBoundingClientRect();
  trigger("select", { x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height });
});

// The button over a patch: the arrow keys move it, and a click, by the Enter or the space key, selects the patch.
let row = 0, column = 0;
let refocus = false; // after a selection by the keyboard: the answer draws the button anew, without the focus
function placePatch() {
  const button = element.querySelector(".patch");
  if (!button) return;
  const { rows, columns } = button.dataset;
  row = Math.max(0, Math.min(rows - 1, row));
  column = Math.max(0, Math.min(columns - 1, column));
  button.style.inset = `${100 * row / rows}% auto auto ${100 * column / columns}%`;
  Object.assign(button.style, { width: `${100 / columns}%`, height: `${100 / rows}%` });
  button.setAttribute("aria-label", `Patch in row ${row + 1}, column ${column + 1}; the arrow keys move`);
}
function selectPatch({ rows, columns }) {
  refocus = true;
  trigger("select", { x: (column + 0.5) / columns, y: (row + 0.5) / rows });
}
element.addEventListener("keydown", (event) => {
  const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
  if (!step || !event.target.matches(".patch")) return;
  event.preventDefault();
  row += step[0];
  column += step[1];
  placePatch();
});
watch("value", () => {
  placePatch();
  if (refocus && document.activeElement === document.body) element.querySelector(".patch")?.focus();
  refocus = false;
});

// While the button is held down, by mouse, touch or key, the picture is displayed without the map.
function hold(down) {
  const figure = element.querySelector(".over");
  if (!figure) return;
  figure.style.setProperty("--picture", `url("${element.querySelector("img:not(.map)").src}")`);
  figure.classList.toggle("bare", down);
}
const isHold = (event) => event.target.closest?.("[data-do='hold']");
const isPress = (event) => event.key === " " || event.key === "Enter";

element.addEventListener("pointerdown", (event) => {
  if (!isHold(event) || event.button) return;
  event.target.setPointerCapture(event.pointerId); // also when it is released elsewhere
  hold(true);
});
for (const name of ["pointerup", "pointercancel", "lostpointercapture", "focusout"]) {
  element.addEventListener(name, () => hold(false));
}
element.addEventListener("keydown", (event) => {
  if (!isHold(event) || !isPress(event)) return;
  event.preventDefault();
  hold(true);
});
element.addEventListener("keyup", (event) => { if (isPress(event)) hold(false); });
element.addEventListener("contextmenu", (event) => { if (isHold(event)) event.preventDefault(); });
